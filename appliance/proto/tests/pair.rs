//! Both ends of each connection in one process: what they say to each other, and what each does with
//! a peer that does not keep to the protocol.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on says where")]

use std::time::Duration;

use connector_proto::control::{Channel, ConnectorEvent, ConnectorSide, EdgeEvent, EdgeSide};
use connector_proto::data::{Accepting, Attaching, attached, refused};
use connector_proto::derive::EnrolSecrets;
use connector_proto::edge_time::{self, Answering, Asking};
use connector_proto::enrol;
use connector_proto::error::Error;
use connector_proto::frame;
use connector_proto::key::ProvisioningKey;
use connector_proto::limits;
use connector_proto::message::{
    CloseCode, EnrolAccepted, EnrolHello, EnrolRefusal, Fingerprint, KNOWN, Message, OpenSession,
    Ping, SessionRefusal, Welcome,
};
use connector_proto::time::{Instant, UnixMicros, UnixSeconds};

const EXPORTER: [u8; 32] = [7; 32];
const TIME: UnixSeconds = UnixSeconds(1_800_000_000);
const FINGERPRINT: Fingerprint = Fingerprint {
    mac: [2; 6],
    smbios_uuid: [3; 16],
    vm_generation: [0; 16],
    tpm: [0; 32],
};

#[test]
fn a_key_enrols_and_both_sides_agree() {
    let mut pair = EnrolPair::new(EXPORTER);
    assert_eq!(pair.run(Decision::Accept), Ok(()));
    let Some(enrol::ConnectorEvent::Enrolled(enrolment)) = pair.outcome else {
        panic!("{:?}", pair.outcome)
    };
    assert_eq!(
        (
            enrolment.identity.name.as_str(),
            enrolment.identity.group.as_str()
        ),
        ("mumbai-01", "Mumbai")
    );
    assert_eq!(
        (enrolment.identity.ca.clone(), enrolment.time),
        (b"the edge's CA".to_vec(), TIME)
    );
    assert_eq!(pair.csr_at_edge.as_deref(), Some(b"csr".as_slice()));
}

#[test]
fn a_middlebox_between_two_tls_sessions_learns_and_answers_nothing() {
    // The connector's exporter is not the edge's: somebody relays.
    let mut pair = EnrolPair::new([8; 32]);
    assert_eq!(pair.run(Decision::Accept), Err(Error::ProofInvalid));
    assert_eq!(pair.outcome, None);
    assert_eq!(
        pair.csr_at_edge, None,
        "nothing of the machine goes out before the proof holds"
    );
}

#[test]
fn a_refusal_after_the_proof_is_the_edges_for_certain() {
    let mut pair = EnrolPair::new(EXPORTER);
    let reason = EnrolRefusal::KeySpent { max_uses: 1 };
    assert_eq!(pair.run(Decision::Refuse(reason)), Ok(()));
    assert_eq!(
        pair.outcome,
        Some(enrol::ConnectorEvent::Refused {
            reason,
            proven: true
        })
    );
}

#[test]
fn an_unknown_key_is_refused_without_proof() {
    let mut pair = EnrolPair::new(EXPORTER);
    assert_eq!(pair.run(Decision::Unknown), Ok(()));
    let reason = EnrolRefusal::KeyUnknown;
    assert_eq!(
        pair.outcome,
        Some(enrol::ConnectorEvent::Refused {
            reason,
            proven: false
        })
    );
}

#[test]
fn the_edge_refuses_a_request_that_another_key_signed() {
    let now = Instant::default();
    let other = EnrolSecrets::derive(&ProvisioningKey::from_random([9; 14]));
    let real = secrets();
    let mut edge = enrol::Edge::new(now, EXPORTER);
    let mut connector =
        enrol::Connector::new(now, secrets(), EXPORTER, b"csr".to_vec(), FINGERPRINT).unwrap();
    edge.handle_input(&connector.poll_transmit().unwrap())
        .unwrap();
    assert!(edge.poll_event().is_some());
    // The edge's database has another public key for this id.
    edge.key_found(other.signer.public_key(), &real.edge_proof, b"ca", TIME)
        .unwrap();
    connector
        .handle_input(&edge.poll_transmit().unwrap())
        .unwrap();
    let request = connector.poll_transmit().unwrap();
    assert_eq!(edge.handle_input(&request), Err(Error::ProofInvalid));
    assert!(edge.is_done());
}

#[test]
fn an_enrolment_without_an_answer_ends_on_both_sides_with_a_farewell() {
    let now = Instant::default();
    let mut edge = enrol::Edge::new(now, EXPORTER);
    let mut connector =
        enrol::Connector::new(now, secrets(), EXPORTER, b"csr".to_vec(), FINGERPRINT).unwrap();
    assert!(connector.poll_transmit().is_some(), "the hello");
    let late = now + limits::GREETING_MAX;
    assert_eq!(connector.handle_timeout(now), Ok(()));
    let awaited = "EnrolProof";
    assert_eq!(
        connector.handle_timeout(late),
        Err(Error::TimedOut { awaited })
    );
    let awaited = "EnrolHello";
    assert_eq!(edge.handle_timeout(late), Err(Error::TimedOut { awaited }));
    for (farewell, timeout) in [
        (connector.poll_transmit(), connector.poll_timeout()),
        (edge.poll_transmit(), edge.poll_timeout()),
    ] {
        assert!(farewell.is_some() && timeout.is_none());
    }
}

#[test]
fn enrolment_survives_any_cut_of_its_bytes() {
    for piece in [1, 2, 3, 7, 64] {
        let mut pair = EnrolPair::new(EXPORTER);
        pair.piece = piece;
        assert_eq!(pair.run(Decision::Accept), Ok(()), "pieces of {piece}");
        assert!(matches!(
            pair.outcome,
            Some(enrol::ConnectorEvent::Enrolled(_))
        ));
    }
}

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

#[test]
fn what_follows_the_edges_consent_belongs_to_the_session() {
    let mut attaching = Attaching::new(Instant::default(), [5; 16]).unwrap();
    let mut accepting = Accepting::new(Instant::default());
    let mut ask = attaching.poll_transmit().unwrap();
    ask.extend_from_slice(b"early");
    let mut bytes = ask.as_slice();
    assert_eq!(accepting.handle_input(&mut bytes), Ok(Some([5; 16])));
    assert_eq!(bytes, b"early");
    let mut answer = attached();
    answer.extend_from_slice(b"GET / HTTP/1.1");
    let mut bytes = answer.as_slice();
    assert_eq!(attaching.handle_input(&mut bytes), Ok(true));
    assert_eq!(bytes, b"GET / HTTP/1.1");
}

#[test]
fn an_unknown_session_is_refused_with_its_code() {
    let mut attaching = Attaching::new(Instant::default(), [5; 16]).unwrap();
    let answer = refused(CloseCode::UnknownSession);
    let result = attaching.handle_input(&mut answer.as_slice());
    assert_eq!(
        result,
        Err(Error::PeerClosed {
            code: CloseCode::UnknownSession
        })
    );
}

/// What the edge decides.
#[derive(Clone, Copy)]
enum Decision {
    Accept,
    Refuse(EnrolRefusal),
    Unknown,
}

/// A connector and an edge that enrol over a wire which cuts bytes into pieces.
struct EnrolPair {
    connector: enrol::Connector,
    edge: enrol::Edge,
    piece: usize,
    outcome: Option<enrol::ConnectorEvent>,
    csr_at_edge: Option<Vec<u8>>,
}

impl EnrolPair {
    fn new(connector_exporter: [u8; 32]) -> Self {
        let now = Instant::default();
        Self {
            connector: enrol::Connector::new(
                now,
                secrets(),
                connector_exporter,
                b"csr".to_vec(),
                FINGERPRINT,
            )
            .unwrap(),
            edge: enrol::Edge::new(now, EXPORTER),
            piece: usize::MAX,
            outcome: None,
            csr_at_edge: None,
        }
    }

    fn run(&mut self, decision: Decision) -> Result<(), Error> {
        loop {
            let mut quiet = true;
            while let Some(bytes) = self.connector.poll_transmit() {
                quiet = false;
                for piece in bytes.chunks(self.piece.min(bytes.len())) {
                    self.edge.handle_input(piece)?;
                    if let Some(event) = self.edge.poll_event() {
                        self.decide(&event, decision);
                    }
                }
            }
            while let Some(bytes) = self.edge.poll_transmit() {
                quiet = false;
                for piece in bytes.chunks(self.piece.min(bytes.len())) {
                    self.connector.handle_input(piece)?;
                    if let Some(event) = self.connector.poll_event()
                        && event != enrol::ConnectorEvent::EdgeProven
                    {
                        self.outcome = Some(event);
                    }
                }
            }
            if quiet {
                return Ok(());
            }
        }
    }

    fn decide(&mut self, event: &enrol::EdgeEvent, decision: Decision) {
        let real = secrets();
        match (event, decision) {
            (enrol::EdgeEvent::Lookup { .. }, Decision::Unknown) => {
                self.edge.refuse(EnrolRefusal::KeyUnknown);
            }
            (enrol::EdgeEvent::Lookup { key_id }, _) => {
                assert_eq!(*key_id, real.id);
                self.edge
                    .key_found(
                        real.signer.public_key(),
                        &real.edge_proof,
                        b"the edge's CA",
                        TIME,
                    )
                    .unwrap();
            }
            (enrol::EdgeEvent::Request { .. }, Decision::Refuse(reason)) => {
                self.edge.refuse(reason)
            }
            (enrol::EdgeEvent::Request { csr, fingerprint }, _) => {
                assert_eq!(*fingerprint, FINGERPRINT);
                self.csr_at_edge = Some(csr.clone());
                self.edge
                    .accept(&EnrolAccepted {
                        certificate: b"certificate",
                        connector_id: [1; 16],
                        name: "mumbai-01",
                        group: "Mumbai",
                        grant_key: [2; 32],
                    })
                    .unwrap();
            }
        }
    }
}

fn secrets() -> EnrolSecrets {
    EnrolSecrets::derive(&ProvisioningKey::from_random([6; 14]))
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
fn a_hello_that_is_too_long_is_an_error() {
    let mut edge = enrol::Edge::new(Instant::default(), EXPORTER);
    let result = edge.handle_input(&frame_of(EnrolHello::ID, &[0; 17]));
    assert_eq!(
        result,
        Err(Error::TrailingBytes {
            id: EnrolHello::ID,
            extra: 1
        })
    );
}
