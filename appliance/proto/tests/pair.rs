//! Both ends of each connection in one process: what they say to each other, and what each does with
//! a peer that does not keep to the protocol.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on says where")]

use std::time::Duration;

use connector_proto::control::{Channel, ConnectorEvent, ConnectorSide, EdgeEvent, EdgeSide};
use connector_proto::data::{Warm, Warming, attach, ready, refused};
use connector_proto::edge_time::{self, Answering, Asking};
use connector_proto::enrol;
use connector_proto::error::Error;
use connector_proto::frame;
use connector_proto::limits;
use connector_proto::message::{
    CloseCode, EnrolHello, Fingerprint, KNOWN, Message, OpenSession, Ping, RETIRED, RatchetValue,
    SessionRefusal, Welcome,
};
use connector_proto::renew;
use connector_proto::time::{Instant, UnixMicros};

const EXPORTER: [u8; 32] = [7; 32];
const FINGERPRINT: Fingerprint = Fingerprint {
    mac: [2; 6],
    smbios_uuid: [3; 16],
    vm_generation: [0; 16],
    tpm: [0; 32],
};

#[test]
fn a_message_in_the_wrong_state_is_a_typed_error_on_either_side() {
    for (id, name) in KNOWN {
        let bytes = frame_of(*id, &[0; 64]);
        let mut edge = enrol::Edge::new(Instant::default(), EXPORTER);
        let result = edge.handle_input(&bytes);
        assert!(
            result.is_err(),
            "{name} opens no enrolment with 64 zeros: {result:?}"
        );
        assert!(edge.poll_transmit().is_some(), "the peer is told why");
        let mut renewal = renew::Edge::new(Instant::default());
        assert!(
            renewal.handle_input(&bytes).is_err(),
            "{name} opens no renewal"
        );
        let mut channel = Channel::<EdgeSide>::edge(Instant::default(), 1);
        assert!(
            channel.handle_input(Instant::default(), &bytes).is_err(),
            "{name}"
        );
    }
}

#[test]
fn an_unknown_message_ends_the_connection_unless_it_is_ignorable() {
    let (mut connector, mut edge) = established();
    let now = Instant::default();
    edge.handle_input(now, &frame_of(0x7fff | frame::IGNORABLE, b"new"))
        .unwrap();
    assert!(edge.is_established());
    let unknown = edge.handle_input(now, &frame_of(0x7ffe, b"new"));
    assert_eq!(unknown, Err(Error::UnknownMessage { id: 0x7ffe }));
    let farewell = edge.poll_transmit().unwrap();
    connector.handle_input(now, &farewell).unwrap();
    assert_eq!(
        connector.poll_event(),
        Some(ConnectorEvent::Closed {
            code: CloseCode::UnknownMessage
        })
    );
}

#[test]
fn a_retired_message_is_an_unknown_one_wherever_it_comes() {
    let now = Instant::default();
    for id in RETIRED {
        let bytes = frame_of(id, &[0; 64]);
        let unknown = Err(Error::UnknownMessage { id });
        let mut greeting = Channel::<EdgeSide>::edge(now, 1);
        assert_eq!(greeting.handle_input(now, &bytes), unknown);
        let (mut connector, mut edge) = established();
        assert_eq!(edge.handle_input(now, &bytes), unknown);
        assert_eq!(connector.handle_input(now, &bytes), unknown);
        let mut enrolment = enrol::Edge::new(now, EXPORTER);
        assert_eq!(enrolment.handle_input(&bytes), unknown);
    }
}

#[test]
fn a_frame_of_4_gib_ends_the_channel_before_anything_is_stored() {
    let (_, mut edge) = established();
    let result = edge.handle_input(Instant::default(), &[0xff; 6]);
    assert_eq!(
        result,
        Err(Error::FrameLength {
            len: u32::MAX,
            max: limits::FRAME_BODY_MAX + 2
        })
    );
}

#[test]
fn a_session_is_offered_and_refused() {
    let (mut connector, mut edge) = established();
    let now = Instant::default();
    edge.open_session(b"grant").unwrap();
    connector
        .handle_input(now, &edge.poll_transmit().unwrap())
        .unwrap();
    let offered = ConnectorEvent::SessionOffered {
        grant: b"grant".to_vec(),
    };
    assert_eq!(connector.poll_event(), Some(offered));
    connector
        .refuse_session([4; 16], SessionRefusal::NameNotFound, "no such name")
        .unwrap();
    edge.handle_input(now, &connector.poll_transmit().unwrap())
        .unwrap();
    assert_eq!(
        edge.poll_event(),
        Some(EdgeEvent::SessionRefused {
            session: [4; 16],
            reason: SessionRefusal::NameNotFound,
            detail: "no such name".into(),
        })
    );
}

#[test]
fn a_silent_peer_is_dead_after_about_a_minute_and_a_living_one_never() {
    let (mut connector, mut edge) = established();
    let mut now = Instant::default();
    for _ in 0..1_000 {
        now = connector
            .poll_timeout()
            .unwrap()
            .min(edge.poll_timeout().unwrap());
        connector.handle_timeout(now).unwrap();
        edge.handle_timeout(now).unwrap();
        exchange(now, &mut connector, &mut edge);
    }
    assert!(connector.round_trip().is_some());
    let silent_since = now;
    let death = loop {
        now = connector.poll_timeout().unwrap();
        if let Err(error) = connector.handle_timeout(now) {
            break error;
        }
    };
    assert!(matches!(death, Error::TimedOut { .. }), "{death}");
    assert!(now.since(silent_since) < Duration::from_secs(80));
    assert!(!connector.is_established());
}

#[test]
fn a_peer_that_never_greets_is_given_up() {
    let mut edge = Channel::<EdgeSide>::edge(Instant::default(), 1);
    let deadline = edge.poll_timeout().unwrap();
    assert_eq!(edge.handle_timeout(Instant::default()), Ok(()));
    assert_eq!(
        edge.handle_timeout(deadline),
        Err(Error::TimedOut {
            awaited: "the greeting"
        })
    );
}

#[test]
fn a_peer_that_pings_and_never_reads_is_closed_at_the_bound() {
    let (_, mut edge) = established();
    let ping = frame_of(Ping::ID, &[1]);
    let result = (0..100_000).find_map(|_| edge.handle_input(Instant::default(), &ping).err());
    assert_eq!(
        result,
        Some(Error::OutboxFull {
            max: limits::OUTBOX_MAX
        })
    );
}

#[test]
fn grants_that_nobody_takes_are_bounded() {
    let (mut connector, _) = established();
    let offer = frame_of(OpenSession::ID, &[0]);
    let result =
        (0..100_000).find_map(|_| connector.handle_input(Instant::default(), &offer).err());
    assert!(result.is_some());
}

fn established() -> (Channel<ConnectorSide>, Channel<EdgeSide>) {
    let now = Instant::default();
    let mut connector =
        Channel::connector(now, 1, "0.1.0", FINGERPRINT, RatchetValue::default()).unwrap();
    let mut edge = Channel::edge(now, 2);
    edge.handle_input(now, &connector.poll_transmit().unwrap())
        .unwrap();
    let greeted = EdgeEvent::Greeted {
        version: "0.1.0".into(),
        fingerprint: FINGERPRINT,
        ratchet: RatchetValue::default(),
    };
    assert_eq!(edge.poll_event(), Some(greeted));
    edge.welcome(&Welcome {
        name: "mumbai-01",
        group: "Mumbai",
        reconnect_spread_ms: 2_000,
        reconnect_cap_ms: 30_000,
    })
    .unwrap();
    connector
        .handle_input(now, &edge.poll_transmit().unwrap())
        .unwrap();
    assert!(matches!(
        connector.poll_event(),
        Some(ConnectorEvent::Welcomed { .. })
    ));
    exchange(now, &mut connector, &mut edge);
    assert_eq!(connector.poll_event(), Some(ConnectorEvent::PathProven));
    let value = RatchetValue([9; 32]);
    edge.ratchet(1, value).unwrap();
    exchange(now, &mut connector, &mut edge);
    let ratchet = ConnectorEvent::Ratchet { step: 1, value };
    assert_eq!(connector.poll_event(), Some(ratchet));
    connector.ratchet_stored(1).unwrap();
    exchange(now, &mut connector, &mut edge);
    let stored = EdgeEvent::RatchetStored { step: 1 };
    assert_eq!(edge.poll_event(), Some(stored));
    (connector, edge)
}

fn exchange(now: Instant, connector: &mut Channel<ConnectorSide>, edge: &mut Channel<EdgeSide>) {
    loop {
        let to_edge = connector.poll_transmit();
        let to_connector = edge.poll_transmit();
        if to_edge.is_none() && to_connector.is_none() {
            return;
        }
        if let Some(bytes) = to_edge {
            edge.handle_input(now, &bytes).unwrap();
        }
        if let Some(bytes) = to_connector {
            connector.handle_input(now, &bytes).unwrap();
        }
    }
}

fn frame_of(id: u16, body: &[u8]) -> Vec<u8> {
    frame::encode(id, body).unwrap()
}

#[test]
fn the_edges_time_comes_with_the_nonce_of_the_question_and_how_long_it_took() {
    let (asked, answered) = (Instant::from_micros(500), Instant::from_micros(40_500));
    let time = UnixMicros(1_800_000_000_000_000);
    let mut asking = Asking::new(asked, [1; 32]).unwrap();
    let mut answering = Answering::new(asked);
    let request = asking.poll_transmit().unwrap();
    let (first, rest) = request.split_at(9);
    assert_eq!(answering.handle_input(first), Ok(None));
    let nonce = answering.handle_input(rest).unwrap().unwrap();
    let reply = edge_time::reply(nonce, time);
    let (first, rest) = reply.split_at(20);
    assert_eq!(asking.handle_input(answered, first), Ok(None));
    let answer = asking.handle_input(answered, rest).unwrap().unwrap();
    assert_eq!((answer.time, answer.asked), (time, asked));
    assert_eq!(answer.round_trip, Duration::from_millis(40));

    // The same answer to the next question is an old one.
    let mut next = Asking::new(answered, [2; 32]).unwrap();
    let replayed = next.handle_input(answered, &reply);
    assert_eq!(replayed, Err(Error::NonceMismatch));
}

#[test]
fn anything_else_in_the_place_of_the_time_is_a_typed_error() {
    let mut answering = Answering::new(Instant::default());
    let result = answering.handle_input(&frame_of(EnrolHello::ID, &[0; 16]));
    let awaited = "TimeRequest";
    let id = EnrolHello::ID;
    assert_eq!(result, Err(Error::UnexpectedMessage { id, awaited }));
    let mut asking = Asking::new(Instant::default(), [1; 32]).unwrap();
    let closed = asking.handle_input(
        Instant::default(),
        &connector_proto::data::refused(CloseCode::GoingAway),
    );
    let code = CloseCode::GoingAway;
    assert_eq!(closed, Err(Error::PeerClosed { code }));
}

#[test]
fn a_channel_is_warm_after_ready_and_a_session_s_after_attach() {
    let now = Instant::default();
    let mut warming = Warming::new(now);
    let bytes = ready();
    let (head, tail) = bytes.split_at(3);
    assert_eq!(warming.handle_input(head), Ok(false));
    assert_eq!(warming.handle_input(tail), Ok(true));
    let mut warm = Warm::new(now);
    let bytes = attach([5; 16], 7);
    let (last, rest) = bytes.split_last().unwrap();
    assert_eq!(warm.handle_input(rest), Ok(None));
    let attached = warm.handle_input(&[*last]).unwrap().unwrap();
    assert_eq!((attached.session, attached.channel), ([5; 16], 7));
}

#[test]
fn neither_end_of_a_warm_channel_takes_more_than_it_awaits() {
    let now = Instant::default();
    let with_more = |mut bytes: Vec<u8>| {
        bytes.push(0);
        bytes
    };
    assert!(matches!(
        Warming::new(now).handle_input(&with_more(ready())),
        Err(Error::TrailingBytes { extra: 1, .. })
    ));
    assert!(matches!(
        Warm::new(now).handle_input(&with_more(attach([5; 16], 0))),
        Err(Error::TrailingBytes { extra: 1, .. })
    ));
    assert!(Warming::new(now).handle_input(&attach([5; 16], 0)).is_err());
    assert!(Warm::new(now).handle_input(&ready()).is_err());
}

#[test]
fn a_connector_that_is_turned_away_learns_why_in_place_of_ready() {
    let turned_away = Warming::new(Instant::default()).handle_input(&refused(CloseCode::Revoked));
    assert_eq!(
        turned_away,
        Err(Error::PeerClosed {
            code: CloseCode::Revoked
        })
    );
}

#[test]
fn a_warm_channel_outlives_the_connector_s_retirement_of_it() {
    let now = Instant::default();
    let (warm, warming) = (Warm::new(now), Warming::new(now));
    assert!(warming.deadline() < warm.deadline());
    assert!(now + limits::WARM_RETIRED < warm.deadline());
}

#[test]
fn capacity_and_succession_are_told_once_the_channel_is_up() {
    let now = Instant::default();
    let mut greeting =
        Channel::connector(now, 1, "1", FINGERPRINT, RatchetValue::default()).unwrap();
    assert!(greeting.announce_capacity(9_000).is_err());
    let (mut connector, mut edge) = established();
    while connector.poll_event().is_some() || edge.poll_event().is_some() {}
    connector.announce_capacity(u32::MAX).unwrap();
    edge.ask_successor([4; 16], 7).unwrap();
    exchange(now, &mut connector, &mut edge);
    let sessions = limits::CAPACITY_MAX;
    assert_eq!(edge.poll_event(), Some(EdgeEvent::Capacity { sessions }));
    let (session, channel) = ([4; 16], 7);
    assert_eq!(
        connector.poll_event(),
        Some(ConnectorEvent::Succeed { session, channel })
    );
}
