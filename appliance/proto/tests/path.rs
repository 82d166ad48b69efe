//! The proof that full-size packets pass, over wires that lose them and with peers that cheat.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on says where")]

use std::time::Duration;

use connector_proto::control::{Channel, ConnectorEvent, ConnectorSide, EdgeSide};
use connector_proto::error::Error;
use connector_proto::frame::{self, Deframer};
use connector_proto::limits::{
    FRAME_BODY_MAX, FRAME_HEADER_LEN, OUTBOX_MAX, PATH_PADDING_LEN, PATH_PROOF_MAX, PROBE_MAX,
};
use connector_proto::message::{
    CloseCode, Fingerprint, KNOWN, Message, PathProbe, PathProbeReply, RatchetValue, Welcome,
};
use connector_proto::time::Instant;

const START: Instant = Instant::from_micros(0);

#[test]
fn the_probe_and_its_answer_are_as_large_as_a_message_gets() {
    let (mut connector, mut edge) = welcomed();
    assert!(connector.is_established() && !connector.is_path_proven());
    let probe = connector.poll_transmit().unwrap();
    edge.handle_input(START, &probe).unwrap();
    let reply = edge.poll_transmit().unwrap();
    for bytes in [&probe, &reply] {
        let most = FRAME_BODY_MAX + FRAME_HEADER_LEN;
        assert!(
            (most - 9..=most).contains(&bytes.len()),
            "{} bytes",
            bytes.len()
        );
    }
    connector.handle_input(START, &reply).unwrap();
    assert_eq!(connector.poll_event(), Some(ConnectorEvent::PathProven));
    assert!(connector.is_path_proven());
    // It holds for this channel's life.
    let later = START + PATH_PROOF_MAX;
    assert_eq!(connector.handle_timeout(later), Ok(()));
    assert!(connector.is_path_proven());
}

#[test]
fn a_path_that_swallows_full_size_packets_either_way_ends_the_channel_and_names_the_mtu() {
    for to_edge in [true, false] {
        let (mut connector, mut edge) = welcomed();
        let mut now = START;
        let error = loop {
            now = now.max(connector.poll_timeout().unwrap().min(now + SECOND));
            if let Err(error) = connector.handle_timeout(now) {
                break error;
            }
            edge.handle_timeout(now).unwrap();
            carry(&mut connector, !to_edge, |bytes| {
                edge.handle_input(now, bytes).unwrap();
            });
            carry(&mut edge, to_edge, |bytes| {
                connector.handle_input(now, bytes).unwrap();
            });
            assert!(!connector.is_path_proven());
        };
        assert_eq!(now, START + PATH_PROOF_MAX);
        assert_eq!(error, Error::PathUnproven { waited_s: 15 });
        assert!(error.to_string().contains("MTU"), "{error}");
        assert!(!connector.is_established());
        assert!(connector.poll_transmit().is_some(), "the edge is told");
    }
}

#[test]
fn an_edge_that_answers_another_question_or_a_smaller_one_or_twice_proves_nothing() {
    let asked = |connector: &mut Channel<ConnectorSide>| nonce_of(connector);
    let reply = |nonce, padding: &[u8]| encoded(&PathProbeReply { nonce, padding });
    let full = [0; PATH_PADDING_LEN];

    let (mut connector, _) = welcomed();
    let nonce = asked(&mut connector);
    let result = connector.handle_input(START, &reply(nonce + 1, &full));
    assert_eq!(result, Err(Error::NonceMismatch));

    let (mut connector, _) = welcomed();
    let nonce = asked(&mut connector);
    let result = connector.handle_input(START, &reply(nonce, &full[1..]));
    let id = PathProbeReply::ID;
    assert_eq!(result, Err(Error::InvalidMessage { id }));
    assert!(!connector.is_path_proven());

    let (mut connector, _) = welcomed();
    let nonce = asked(&mut connector);
    connector.handle_input(START, &reply(nonce, &full)).unwrap();
    let twice = connector.handle_input(START, &reply(nonce, &full));
    assert!(matches!(twice, Err(Error::UnexpectedMessage { .. })));
    assert!(!connector.is_path_proven(), "the channel is over");

    let mut early =
        Channel::connector(START, 1, "0.1.0", FINGERPRINT, RatchetValue::default()).unwrap();
    let result = early.handle_input(START, &reply(1, &full));
    assert!(matches!(result, Err(Error::UnexpectedMessage { .. })));
}

#[test]
fn a_connector_that_probes_out_of_turn_or_without_reading_ends_its_own_channel_only() {
    let probe = encoded(&PathProbe {
        nonce: 1,
        padding: &[0; PATH_PADDING_LEN],
    });
    let mut early = Channel::<EdgeSide>::edge(START, 1);
    let result = early.handle_input(START, &probe);
    assert!(matches!(result, Err(Error::UnexpectedMessage { .. })));

    let (_, mut edge) = welcomed();
    let result = (0..100).find_map(|_| edge.handle_input(START, &probe).err());
    assert_eq!(result, Some(Error::OutboxFull { max: OUTBOX_MAX }));

    // What is asked small is answered small: nobody is made to send more than he was sent.
    let (_, mut edge) = welcomed();
    let small = encoded(&PathProbe {
        nonce: 1,
        padding: &[],
    });
    edge.handle_input(START, &small).unwrap();
    assert_eq!(edge.poll_transmit().unwrap().len(), small.len());
}

#[test]
fn an_edge_that_does_not_know_the_probe_says_so() {
    // By its id it may not be skipped: silence would be taken for a path that loses packets.
    for (id, name) in KNOWN {
        let is_probe = [PathProbe::ID, PathProbeReply::ID].contains(id);
        assert!(
            !is_probe || id & frame::IGNORABLE == 0,
            "{name} would be skipped"
        );
    }
    let (mut connector, _) = welcomed();
    let older = frame::encode(0x0001, &[5, 0]).unwrap();
    connector.handle_input(START, &older).unwrap();
    let code = CloseCode::UnknownMessage;
    assert_eq!(
        connector.poll_event(),
        Some(ConnectorEvent::Closed { code })
    );
}

#[test]
fn a_probed_channel_is_dead_within_five_seconds_whatever_else_arrives() {
    let (mut connector, mut edge) = proven();
    let mut now = START + SECOND;
    connector.probe(now);
    connector.handle_timeout(now).unwrap();
    assert!(connector.poll_transmit().is_some(), "a ping, at once");
    // Its answer is lost; something else that was on its way is not the answer.
    now = now + SECOND;
    edge.trust(b"ca", b"").unwrap();
    connector
        .handle_input(now, &edge.poll_transmit().unwrap())
        .unwrap();
    let dead_at = connector.poll_timeout().unwrap();
    assert_eq!(dead_at, START + SECOND + PROBE_MAX);
    let result = connector.handle_timeout(dead_at);
    assert!(matches!(result, Err(Error::TimedOut { .. })), "{result:?}");

    let (mut connector, mut edge) = proven();
    connector.probe(now);
    connector.handle_timeout(now).unwrap();
    carry(&mut connector, true, |bytes| {
        edge.handle_input(now, bytes).unwrap();
    });
    carry(&mut edge, true, |bytes| {
        connector.handle_input(now, bytes).unwrap();
    });
    assert_eq!(connector.handle_timeout(now + PROBE_MAX), Ok(()));
}

const SECOND: Duration = Duration::from_secs(1);
/// What a packet of an ordinary network carries.
const PACKET_MAX: usize = 1_400;
const FINGERPRINT: Fingerprint = Fingerprint {
    mac: [2; 6],
    smbios_uuid: [3; 16],
    vm_generation: [0; 16],
    tpm: [0; 32],
};

/// Both ends after the welcome; the connector's probe has not left it yet.
fn welcomed() -> (Channel<ConnectorSide>, Channel<EdgeSide>) {
    let mut connector =
        Channel::connector(START, 1, "0.1.0", FINGERPRINT, RatchetValue::default()).unwrap();
    let mut edge = Channel::edge(START, 2);
    edge.handle_input(START, &connector.poll_transmit().unwrap())
        .unwrap();
    assert!(edge.poll_event().is_some());
    let welcome = Welcome {
        name: "mumbai-01",
        group: "Mumbai",
        reconnect_spread_ms: 2_000,
        reconnect_cap_ms: 30_000,
    };
    edge.welcome(&welcome).unwrap();
    connector
        .handle_input(START, &edge.poll_transmit().unwrap())
        .unwrap();
    assert!(connector.poll_event().is_some());
    (connector, edge)
}

fn proven() -> (Channel<ConnectorSide>, Channel<EdgeSide>) {
    let (mut connector, mut edge) = welcomed();
    carry(&mut connector, true, |bytes| {
        edge.handle_input(START, bytes).unwrap();
    });
    carry(&mut edge, true, |bytes| {
        connector.handle_input(START, bytes).unwrap();
    });
    assert_eq!(connector.poll_event(), Some(ConnectorEvent::PathProven));
    (connector, edge)
}

/// Takes what `from` sends to the other end; up to the first full-size message only, unless those pass.
fn carry<S: connector_proto::control::Side>(
    from: &mut Channel<S>,
    full_size_passes: bool,
    mut deliver: impl FnMut(&[u8]),
) {
    let mut is_stuck = false;
    while let Some(bytes) = from.poll_transmit() {
        is_stuck |= bytes.len() > PACKET_MAX && !full_size_passes;
        if !is_stuck {
            deliver(&bytes);
        }
    }
}

fn nonce_of(connector: &mut Channel<ConnectorSide>) -> u64 {
    let bytes = connector.poll_transmit().unwrap();
    let mut deframer = Deframer::new();
    let frame = deframer.next(&mut bytes.as_slice()).unwrap().unwrap();
    PathProbe::decode(frame).unwrap().nonce
}

fn encoded<'a, M: Message<'a>>(message: &M) -> Vec<u8> {
    frame::encode(M::ID, &postcard::to_allocvec(message).unwrap()).unwrap()
}
