//! Whose machine this is: identities that are not usable, held, revoked, erased; a machine that was reverted.

use std::io::{ErrorKind, Read as _};
use std::time::Duration;

use connector_proto::local::{FromConsole, NoIdentity, Phase, ToConnector};
use connector_proto::message::{CloseCode, Fingerprint, Verdict};
use rcgen::KeyPair;

use crate::control::{Control, farewell};
use crate::edge::{Answer, HostileEdge};
use crate::machine::{FINGERPRINT, LOOPBACK, Machine, network};

#[test]
fn certificate_and_key_that_do_not_belong_together_are_told_of_and_a_key_enrols_anew() {
    let edge = HostileEdge::new();
    let mut state = edge.enrolled_state("127.0.0.1");
    state.private_key = KeyPair::generate().unwrap().serialize_der();
    let unusable = state.private_key.clone();
    let machine = Machine::start_enrolled(state, network(LOOPBACK));
    machine.wait_for(|phase| {
        let why = NoIdentity::Unusable;
        *phase == Phase::NeedKey { refused: None, why }
    });
    machine.type_key();
    edge.enrol(Answer::Accept);
    let _tls = edge.welcome();
    machine.wait_until_connected();
    assert_ne!(machine.record().private_key, unusable);
    machine.stop();
}

#[test]
fn a_held_machine_says_as_what_and_a_key_enrols_it_as_a_new_connector() {
    let edge = HostileEdge::new();
    let state = edge.enrolled_state("127.0.0.1");
    let old_key = state.private_key.clone();
    let machine = Machine::start_enrolled(state, network(LOOPBACK));
    let mut control = edge.meet();
    control.channel.recognise(Verdict::Copy, false).unwrap();
    control.close(CloseCode::Held);
    machine.wait_for(|phase| match phase {
        Phase::Held {
            verdict,
            name,
            refused,
        } => {
            assert_eq!((*verdict, name.as_str()), (Verdict::Copy, "mumbai-01"));
            refused.is_none()
        }
        _ => false,
    });
    assert!(
        !edge.is_dialled_within(Duration::from_secs(3)),
        "a held machine is in no hurry"
    );
    assert_eq!(machine.record().private_key, old_key);
    machine.type_key();
    edge.enrol(Answer::Accept);
    let _tls = edge.welcome();
    machine.wait_until_connected();
    assert_ne!(machine.record().private_key, old_key);
    machine.stop();
}

#[test]
fn a_machine_that_is_taken_in_all_the_same_says_as_what() {
    let edge = HostileEdge::new();
    let machine = connecting(&edge);
    let mut control = edge.meet();
    control.channel.recognise(Verdict::Reverted, true).unwrap();
    control.welcome();
    control.answer_path_probe();
    machine.wait_for_status(|status| {
        matches!(status.phase, Phase::Connected { .. })
            && status.recognised == Some(Verdict::Reverted)
    });
    machine.stop();
}

#[test]
fn a_revoked_machine_asks_for_a_key_and_leaves_the_edge_alone() {
    let edge = HostileEdge::new();
    let machine = connecting(&edge);
    edge.meet().close(CloseCode::Revoked);
    machine.wait_for(|phase| {
        matches!(
            phase,
            Phase::NeedKey { why: NoIdentity::Revoked { name }, .. } if name == "mumbai-01"
        )
    });
    assert!(!edge.is_dialled_within(Duration::from_secs(3)));
    machine.stop();
}

#[test]
fn a_factory_reset_erases_the_identity_and_the_machine_enrols_without_a_restart() {
    let edge = HostileEdge::new();
    let machine = connecting(&edge);
    let mut tls = edge.welcome();
    machine.wait_until_connected();
    let old_key = machine.record().private_key.clone();
    machine.send(&ToConnector::Operator(FromConsole::FactoryReset), None);
    machine.wait_for(|phase| *phase == Phase::NeedEdge);
    let code = farewell(&mut tls);
    assert_eq!(code, Some(CloseCode::Normal));
    assert!(machine.record().identity.is_none() && machine.record().private_key.is_empty());
    let typed = FromConsole::Edge(edge.text().parse().unwrap());
    machine.send(&ToConnector::Operator(typed), None);
    machine.wait_for(|phase| {
        let why = NoIdentity::Blank;
        *phase == Phase::NeedKey { refused: None, why }
    });
    machine.type_key();
    edge.enrol(Answer::Accept);
    let _tls = edge.welcome();
    machine.wait_until_connected();
    assert_ne!(machine.record().private_key, old_key);
    machine.stop();
}

#[test]
fn with_another_vm_generation_no_byte_leaves_on_a_connection_from_before() {
    let edge = HostileEdge::new();
    let machine = connecting(&edge);
    let mut control = edge.established();
    assert_eq!(control.greeting().0, FINGERPRINT);
    machine.wait_until_connected();
    let now = Fingerprint {
        vm_generation: [5; 16],
        ..FINGERPRINT
    };
    machine.send(&ToConnector::Fingerprint(now), None);
    assert_eq!(rest(&mut control), Err(ErrorKind::ConnectionReset));
    let control = edge.established();
    assert_eq!(control.greeting().0, now);
    machine.wait_until_connected();
    machine.stop();
}

#[test]
fn another_mac_address_is_told_with_the_next_hello_and_drops_nothing() {
    let edge = HostileEdge::new();
    let machine = connecting(&edge);
    let mut control = edge.established();
    machine.wait_until_connected();
    let now = Fingerprint {
        mac: [6; 6],
        ..FINGERPRINT
    };
    machine.send(&ToConnector::Fingerprint(now), None);
    // It is probed: the tunnel is the same.
    machine.send_network(Some(network(LOOPBACK)));
    control.read_ping();
    control.close(CloseCode::GoingAway);
    let control = edge.established();
    assert_eq!(control.greeting().0, now);
    machine.stop();
}

/// Reads to the end: what came, or how it broke.
fn rest(control: &mut Control) -> Result<Vec<u8>, ErrorKind> {
    let mut bytes = Vec::new();
    match control.tls.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => {
            assert!(bytes.is_empty(), "{bytes:?}");
            Err(error.kind())
        }
    }
}

fn connecting(edge: &HostileEdge) -> Machine {
    Machine::start_enrolled(edge.enrolled_state("127.0.0.1"), network(LOOPBACK))
}
