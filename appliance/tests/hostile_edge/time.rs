//! The edge's time beside the control channel.

use appliance::clock;
use connector_proto::local::ToConnector;

use crate::edge::HostileEdge;
use crate::machine::{LOOPBACK, Machine, network};

const HOUR_US: u64 = 3_600_000_000;

#[test]
fn the_edge_is_asked_after_a_connect_and_when_init_wants_it_and_confirms_the_last_good_time() {
    let edge = HostileEdge::new();
    let machine = started(&edge);
    let _tls = edge.welcome();
    machine.wait_until_connected();
    edge.tell_time(|now_us| now_us);
    let sample = machine.wait_for_time();
    assert!(sample.is_strict, "{sample:?}");
    let off_us = sample.offset_us.unsigned_abs();
    assert!(off_us <= u64::from(sample.bound_us) + 100_000, "{sample:?}");
    let confirmed = machine.record().last_good_time;
    assert!((clock::unix().0 - 60..=clock::unix().0).contains(&confirmed));

    // Somebody is wrong: init is told, and nothing is remembered until they agree.
    machine.send(&ToConnector::AskTime, None);
    edge.tell_time(|now_us| now_us + 2 * HOUR_US);
    let sample = machine.wait_for_time();
    assert!(sample.is_strict && sample.offset_us > 7_000_000_000);
    assert_eq!(machine.record().last_good_time, confirmed);
    machine.stop();
}

#[test]
fn a_certificate_out_of_date_has_the_edge_asked_beside_and_a_mended_clock_connects() {
    for (from, until, words) in [(1999, 2000, "expired"), (2090, 2091, "not valid yet")] {
        let edge = HostileEdge::dated(from, until);
        let machine = started(&edge);
        edge.refuse_handshake();
        machine.wait_for_failure(words);
        edge.tell_time(|now_us| now_us - 2 * HOUR_US);
        let sample = machine.wait_for_time();
        assert!(!sample.is_strict && sample.offset_us < -7_000_000_000);
        assert_eq!(machine.record().last_good_time, 0);
        machine.send(&ToConnector::Clock { is_right: true }, None);
        let edge = edge.redated(1999, 4095);
        let _tls = edge.welcome();
        machine.wait_until_connected();
        machine.stop();
    }
}

#[test]
fn a_question_that_fails_is_asked_again_and_harms_no_tunnel() {
    let edge = HostileEdge::new();
    let machine = started(&edge);
    let mut control = edge.greet();
    control.read_until(|control, _| {
        control.send();
        true
    });
    machine.wait_until_connected();
    // The answer to another question, and nothing at all.
    edge.answer_time(|_, _| connector_proto::data::ready());
    edge.answer_time(|_, _| Vec::new());
    edge.tell_time(|now_us| now_us);
    assert!(machine.wait_for_time().is_strict);
    // The tunnel is the same: it is probed by it.
    machine.send_network(Some(network(LOOPBACK)));
    control.read_ping();
    machine.stop();
}

fn started(edge: &HostileEdge) -> Machine {
    Machine::start_enrolled(edge.enrolled_state("127.0.0.1"), network(LOOPBACK))
}
