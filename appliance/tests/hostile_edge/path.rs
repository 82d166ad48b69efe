//! The way to the edge: full-size packets, a network that changes, a DNS that is gone.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use connector_proto::limits::{PATH_PROOF_MAX, PROBE_MAX};
use connector_proto::local::{Phase, Servers};
use connector_proto::message::{CloseCode, Message as _, PathProbe};
use connector_proto::record::EdgeAddresses;

use crate::control::Control;
use crate::edge::HostileEdge;
use crate::machine::{LOOPBACK, Machine, OUTSIDE, network};

#[test]
fn an_edge_from_which_no_full_size_packet_comes_back_is_not_connected_to_and_the_mtu_is_named() {
    let edge = HostileEdge::new();
    let machine = connecting(&edge);
    let start = Instant::now();
    let _silent = edge.greet();
    machine.wait_for(|phase| match phase {
        Phase::Connecting { last_error, .. } => {
            last_error.contains("full-size packets") && last_error.contains("MTU")
        }
        Phase::Connected { .. } => panic!("connected by a path that is not proven"),
        _ => false,
    });
    assert!(start.elapsed() > PATH_PROOF_MAX - Duration::from_secs(1));
    let _tls = edge.welcome();
    machine.wait_until_connected();
    machine.stop();
}

#[test]
fn an_edge_that_does_not_know_the_probe_is_named_as_one_that_is_too_old() {
    let edge = HostileEdge::new();
    let machine = connecting(&edge);
    edge.greet().close(CloseCode::UnknownMessage);
    machine.wait_for_failure("needs an update");
    machine.stop();
}

#[test]
fn a_tunnel_whose_address_the_machine_lost_is_replaced_at_once() {
    for is_interrupted in [false, true] {
        let edge = HostileEdge::new();
        let machine = connecting(&edge);
        let _old = connected(&edge, &machine);
        if is_interrupted {
            machine.send_network(None);
        }
        machine.send_network(Some(network(OUTSIDE)));
        assert!(edge.is_dialled_within(PROBE_MAX / 2));
        let _new = edge.welcome();
        machine.wait_until_connected();
        machine.stop();
    }
}

#[test]
fn a_tunnel_whose_address_stays_is_probed_and_kept_while_the_edge_answers() {
    let edge = HostileEdge::new();
    let machine = connecting(&edge);
    let mut control = connected(&edge, &machine);
    let start = Instant::now();
    let mut other = network(LOOPBACK);
    other.resolvers = Servers::from_slice(&[OUTSIDE]).unwrap();
    // Another resolver, then the same network again: the link was away.
    for _ in 0..2 {
        machine.send_network(Some(other.clone()));
        control.read_ping();
        control.send();
    }
    assert!(start.elapsed() < Duration::from_secs(10), "not probed");
    let is_dialled = edge.is_dialled_within(PROBE_MAX + Duration::from_secs(1));
    assert!(!is_dialled, "a living tunnel was given up");

    // And given up in seconds when it does not.
    machine.send_network(Some(other));
    control.read_ping();
    let asked = Instant::now();
    let _new = edge.welcome();
    let took = asked.elapsed();
    assert!(
        (PROBE_MAX - Duration::from_secs(1)..PROBE_MAX * 2).contains(&took),
        "{took:?}"
    );
    machine.wait_until_connected();
    machine.stop();
}

#[test]
fn without_dns_the_edge_is_reached_where_it_was_before_and_the_address_that_works_comes_first() {
    const DEAD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));
    let nobody = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 53));
    for resolvers in [&[][..], &[nobody]] {
        let edge = HostileEdge::new().named("edge.example");
        let mut state = edge.enrolled_state("edge.example");
        state.edge_addresses = EdgeAddresses::from_slice(&[DEAD, LOOPBACK]).unwrap();
        let mut network = network(LOOPBACK);
        network.resolvers = Servers::from_slice(resolvers).unwrap();
        let start = Instant::now();
        let machine = Machine::start_enrolled(state, network);
        let _tls = edge.welcome();
        assert!(start.elapsed() < Duration::from_secs(10));
        machine.wait_until_connected();
        assert_eq!(machine.record().edge_addresses, [DEAD, LOOPBACK]);
        edge.tell_time(|now_us| now_us);
        machine.wait_for_time();
        assert_eq!(machine.record().edge_addresses, [LOOPBACK, DEAD]);
        machine.stop();
    }
}

/// A machine on its way to `edge`, whose address is that of its tunnels.
fn connecting(edge: &HostileEdge) -> Machine {
    Machine::start_enrolled(edge.enrolled_state("127.0.0.1"), network(LOOPBACK))
}

/// The machine's control channel, once it is connected and has asked for the time.
fn connected(edge: &HostileEdge, machine: &Machine) -> Control {
    let mut control = edge.greet();
    control.read_until(|control, id| {
        control.send();
        id == PathProbe::ID
    });
    machine.wait_until_connected();
    edge.tell_time(|now_us| now_us);
    machine.wait_for_time();
    control
}
