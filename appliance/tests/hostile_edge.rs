//! The whole connector in this process, with PID 1 played by the test, against an edge that enrols it
//! and then does not keep to the protocol.

#![expect(clippy::unwrap_used, reason = "a panic is a test's report")]

#[path = "hostile_edge/control.rs"]
mod control;
#[path = "hostile_edge/edge.rs"]
mod edge;
#[path = "hostile_edge/machine.rs"]
mod machine;
#[path = "common/partition.rs"]
mod partition;

#[path = "common/application.rs"]
mod application;
#[path = "hostile_edge/data.rs"]
mod data;
#[path = "hostile_edge/identity.rs"]
mod identity;
#[path = "hostile_edge/path.rs"]
mod path;
#[path = "hostile_edge/ratchet.rs"]
mod ratchet;
#[path = "hostile_edge/renewal.rs"]
mod renewal;
#[path = "hostile_edge/time.rs"]
mod time;

use std::io::Write as _;

use connector_proto::edge_time;
use connector_proto::local::{KeyRefused, Phase, ToConnector};
use connector_proto::message::{CloseCode, EnrolRefusal};
use connector_proto::time::UnixMicros;

use control::farewell;
use edge::{Answer, HostileEdge};
use machine::Machine;

#[test]
fn a_malformed_frame_of_the_edge_ends_that_connection_with_a_typed_error_and_no_more() {
    let edge = HostileEdge::new();
    let machine = Machine::start(&edge);
    machine.wait_for(|phase| matches!(phase, Phase::NeedKey { refused: None, .. }));
    machine.type_key();
    edge.enrol(Answer::Accept);
    for (garbage, code) in [
        (&[0xff; 8][..], CloseCode::FrameLength),
        (
            &[0, 0, 0, 3, 0x02, 0x04, 0xff][..],
            CloseCode::InvalidMessage,
        ),
        (&[0, 0, 0, 2, 0x7f, 0xff][..], CloseCode::UnknownMessage),
        (&[0, 0, 0, 2, 0x03, 0x02][..], CloseCode::UnexpectedMessage),
    ] {
        let mut tls = edge.welcome();
        machine.wait_until_connected();
        tls.write_all(garbage).unwrap();
        assert_eq!(farewell(&mut tls), Some(code));
    }
    // It is still there, and still the same connector.
    let _tls = edge.welcome();
    machine.wait_until_connected();
    machine.stop();
}

#[test]
fn an_edge_that_cannot_prove_itself_learns_nothing_and_the_console_is_told() {
    let edge = HostileEdge::new();
    let machine = Machine::start(&edge);
    machine.wait_for(|phase| matches!(phase, Phase::NeedKey { refused: None, .. }));
    machine.type_key();
    edge.enrol(Answer::WrongProof);
    machine.wait_for_status(|status| {
        let is_refused = matches!(
            status.phase,
            Phase::NeedKey {
                refused: Some(KeyRefused::EdgeNotProven),
                ..
            }
        );
        assert!(!is_refused || status.foreign_issuer.as_deref() == Some("rcgen self signed cert"));
        is_refused
    });
    machine.stop();
}

#[test]
fn a_refused_key_is_forgotten_and_the_next_one_enrols() {
    let edge = HostileEdge::new();
    let machine = Machine::start(&edge);
    machine.wait_for(|phase| matches!(phase, Phase::NeedKey { refused: None, .. }));
    machine.type_key();
    let reason = EnrolRefusal::KeySpent { max_uses: 1 };
    edge.enrol(Answer::Refuse(reason));
    let refused = Some(KeyRefused::ByEdge(reason));
    machine
        .wait_for(|phase| matches!(phase, Phase::NeedKey { refused: why, .. } if *why == refused));
    machine.type_key();
    edge.enrol(Answer::Accept);
    let _tls = edge.welcome();
    machine.wait_until_connected();
    machine.stop();
}

#[test]
fn without_a_clock_an_expired_edge_is_asked_for_the_time_and_trusted_with_nothing_else() {
    let edge = HostileEdge::dated(1999, 2000);
    let machine = Machine::start_with(&edge, false);
    machine.wait_for(|phase| matches!(phase, Phase::NeedKey { refused: None, .. }));
    machine.type_key();
    edge.enrol(Answer::Accept);
    edge.tell_time(|now_us| now_us + 7_200_000_000);
    let sample = machine.wait_for_time();
    let off_us = sample.offset_us - 7_200_000_000;
    assert!(
        off_us.unsigned_abs() <= u64::from(sample.bound_us) + 100_000,
        "{sample:?}"
    );
    assert_eq!(sample.edge, edge.text().as_str());
    assert!(!sample.is_strict, "{sample:?}");
    machine.send(&ToConnector::Clock { is_right: true }, None);
    edge.refuse_handshake();
    machine.wait_for(|phase| {
        matches!(phase, Phase::Connecting { last_error, .. } if last_error.contains("expired"))
    });
    machine.stop();
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_asked_as_well_and_a_right_clock_connects() {
    let edge = HostileEdge::new();
    let machine = Machine::start_with(&edge, false);
    machine.wait_for(|phase| matches!(phase, Phase::NeedKey { refused: None, .. }));
    machine.type_key();
    edge.enrol(Answer::Accept);
    let later = edge.redated(2090, 2091);
    later.tell_time(|now_us| now_us);
    machine.wait_for_time();
    machine.send(&ToConnector::Clock { is_right: true }, None);
    let edge = later.redated(1999, 4095);
    let _tls = edge.welcome();
    machine.wait_until_connected();
    machine.stop();
}

#[test]
fn a_stranger_or_another_name_or_an_old_answer_tells_no_time() {
    let edge = HostileEdge::new();
    let machine = Machine::start_with(&edge, false);
    machine.wait_for(|phase| matches!(phase, Phase::NeedKey { refused: None, .. }));
    machine.type_key();
    edge.enrol(Answer::Accept);
    let failed = |edge: &HostileEdge, why: &str| {
        edge.refuse_handshake();
        machine.wait_for(|phase| {
            matches!(phase, Phase::Connecting { last_error, .. } if last_error.contains(why))
        });
    };
    let stranger = edge.with_another_ca();
    failed(&stranger, "does not verify");
    let misnamed = stranger.back_to(&edge).named("elsewhere.example");
    failed(&misnamed, "does not verify");
    let edge = misnamed.named("127.0.0.1");
    edge.answer_time(|_, now_us| edge_time::reply([0; 32], UnixMicros(now_us)));
    machine.wait_for(|phase| {
        matches!(phase, Phase::Connecting { last_error, .. } if last_error.contains("another question"))
    });
    edge.tell_time(|now_us| now_us);
    machine.wait_for_time();
    machine.stop();
}
