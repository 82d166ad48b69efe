//! The facts, and who is told of them.

use std::net::Ipv4Addr;

use connector_proto::local::{Boot, ClockSource, LeaseOrigin, SlotRequest};

use super::*;

#[test]
fn the_way_up_says_at_each_step_what_is_awaited() {
    let mut hub = Hub::new("1.0", at(1));
    assert_eq!(
        awaited(&hub.greeting(Service::Console)),
        Some((Awaited::Nic, 1))
    );
    assert_eq!(
        awaited(&hub.nic_found(at(2), "eth0", [0; 6])),
        Some((Awaited::Link, 2))
    );
    assert_eq!(
        awaited(&hub.carrier(at(3), true)),
        Some((Awaited::Lease, 3))
    );
    assert_eq!(
        awaited(&hub.leased(at(4), lease(15))),
        Some((Awaited::Time, 4))
    );
    assert_eq!(
        awaited(&hub.edge_asked(at(5))),
        Some((Awaited::EdgeTime, 5))
    );
    let letters = hub.clock_ok(at(5), NTP, 0, 0);
    assert_eq!(awaited(&letters), None);
    assert_eq!(awaited(&hub.greeting(Service::Console)), None);
}

#[test]
fn a_lost_lease_is_told_to_everybody_and_awaited_again() {
    let mut hub = up();
    let letters = hub.lease_lost(at(9));
    assert_eq!(awaited(&letters), Some((Awaited::Lease, 9)));
    assert!(letters.iter().any(|letter| matches!(
        letter,
        Letter::Connector(_, ToConnector::Network { network: None })
    )));
    assert!(hub.lease_lost(at(10)).is_empty());
}

#[test]
fn a_renewal_is_no_news_and_a_change_is() {
    let mut hub = up();
    assert!(
        hub.leased(
            at(9),
            Lease {
                lease_s: 77,
                ..lease(15)
            }
        )
        .is_empty()
    );
    let letters = hub.leased(at(10), lease(16));
    assert!(letters.iter().any(|letter| matches!(
        letter,
        Letter::Connector(_, ToConnector::Network { network: Some(_) })
    )));
}

#[test]
fn a_link_that_comes_back_under_a_lease_tells_the_lease_again() {
    let mut hub = up();
    assert_eq!(
        awaited(&hub.carrier(at(8), false)),
        Some((Awaited::Link, 8))
    );
    let letters = hub.carrier(at(9), true);
    assert!(letters.iter().any(|letter| matches!(
        letter,
        Letter::Console(
            _,
            ToConsole::Fact {
                fact: Fact::NetUp(_),
                at_boot_us: 9
            }
        )
    )));
    let told = letters.iter().filter_map(|letter| match letter {
        Letter::Connector(_, ToConnector::Network { network }) => network.as_ref(),
        _ => None,
    });
    assert_eq!(told.count(), 1, "the connector looks after its tunnel");
    assert_eq!(awaited(&hub.greeting(Service::Console)), None);
}

#[test]
fn a_console_that_starts_again_is_told_everything_in_order() {
    let mut hub = up();
    hub.died(at(7), Service::Console, "signal 9", 100);
    let times: Vec<_> = hub
        .greeting(Service::Console)
        .into_iter()
        .filter_map(|letter| match letter {
            Letter::Console(_, ToConsole::Fact { at_boot_us, .. }) => Some(at_boot_us),
            _ => None,
        })
        .collect();
    assert_eq!(times, [1, 2, 4, 5, 7]);
}

#[test]
fn a_flapping_machine_keeps_a_bounded_number_of_facts() {
    let mut hub = up();
    for round in 0..1000 {
        hub.died(at(round), Service::Connector, "exit 1", 100);
        hub.problem(at(round), Topic::Time, &format!("problem {round}"));
        hub.lease_lost(at(round));
        hub.leased(at(round), lease(15));
    }
    assert!(hub.facts.len() < 12, "{}", hub.facts.len());
}

#[test]
fn the_same_problem_is_told_once() {
    let mut hub = up();
    assert_eq!(hub.problem(at(9), Topic::State, "no disk").len(), 1);
    assert_eq!(hub.problem(at(10), Topic::State, "no disk").len(), 0);
    hub.solved(Topic::State);
    assert_eq!(hub.problem(at(11), Topic::State, "no disk").len(), 1);
}

#[test]
fn each_slip_in_the_settings_is_told_until_it_is_mended() {
    let mut hub = up();
    let slips = [text("vlan is no VLAN"), text("proxy is no proxy")];
    assert_eq!(hub.complaints(at(9), &slips).len(), 2);
    assert_eq!(hub.complaints(at(10), &slips).len(), 0);
    assert_eq!(hub.complaints(at(11), &slips[..1]).len(), 0);
    let problems = hub.greet_console().into_iter().filter(|letter| {
        matches!(
            letter,
            Letter::Console(
                _,
                ToConsole::Fact {
                    fact: Fact::Problem { .. },
                    ..
                }
            )
        )
    });
    assert_eq!(problems.count(), 1);
}

#[test]
fn a_long_sentence_is_cut_at_a_character() {
    assert_eq!(text::<4>("abcdef").as_str(), "abcd");
    assert_eq!(text::<4>("abc\u{e9}").as_str(), "abc");
}

#[test]
fn memory_is_measured_once_for_each_start_of_the_connector() {
    let memory = Memory {
        total_kib: 108_820,
        available_kib: 66_940,
    };
    let mut hub = up();
    assert!(!hub.is_memory_due());
    hub.status(status(Phase::Enrolling));
    assert!(!hub.is_memory_due());
    for start in 0..2 {
        hub.status(status(connected()));
        assert!(hub.is_memory_due(), "start {start}");
        assert_eq!(hub.memory(at(9), memory).len(), 1);
        hub.status(status(Phase::Enrolling));
        hub.status(status(connected()));
        assert!(!hub.is_memory_due(), "start {start}");
        hub.died(at(10), Service::Connector, "signal 9", 100);
    }
}

#[test]
fn a_system_fact_is_told_once_and_again_when_it_changes() {
    let system = |boot| Fact::System {
        slot: None,
        version: text("1.0"),
        boot,
    };
    let mut hub = up();
    assert_eq!(hub.system(at(9), system(Boot::Unknown)).len(), 1);
    assert_eq!(hub.system(at(10), system(Boot::Unknown)).len(), 0);
    assert_eq!(hub.system(at(11), system(Boot::Good)).len(), 1);
    let told = hub.greeting(Service::Console);
    let systems = told.iter().filter(|letter| {
        let Letter::Console(_, ToConsole::Fact { fact, .. }) = letter else {
            return false;
        };
        matches!(fact, Fact::System { .. })
    });
    assert_eq!(systems.count(), 1);
}

#[test]
fn connected_is_what_the_connector_said_last() {
    let mut hub = up();
    assert!(!hub.is_connected());
    hub.status(status(connected()));
    assert!(hub.is_connected());
    hub.died(at(9), Service::Connector, "signal 9", 100);
    assert!(!hub.is_connected());
}

#[test]
fn what_is_asked_about_slots_goes_to_no_other_process() {
    let request = FromConsole::Slot(SlotRequest::Status);
    assert!(up().operator(request).is_empty());
}

fn status(phase: Phase) -> ConnectorStatus {
    ConnectorStatus {
        phase,
        since_boot_us: 8,
        edge: None,
        proxy: None,
        recognised: None,
        foreign_issuer: None,
        certificate_left_h: None,
        is_kernel_engine: None,
        sessions: 0,
        sessions_total: 0,
        bytes_up: 0,
        bytes_down: 0,
    }
}

fn connected() -> Phase {
    Phase::Connected {
        name: text("mumbai-01"),
        group: text("Mumbai"),
    }
}

const NTP: ClockSource = ClockSource::Ntp(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST));

#[test]
fn the_connector_is_told_what_the_clock_is_worth_before_the_network_and_when_it_becomes_right() {
    let told = |letters: &[Letter]| {
        letters.iter().position(|letter| {
            matches!(
                letter,
                Letter::Connector(_, ToConnector::Clock { is_right: true })
            )
        })
    };
    let mut hub = Hub::new("1.0", at(1));
    let greeting = hub.greeting(Service::Connector);
    assert!(matches!(
        greeting.as_slice(),
        [
            Letter::Connector(_, ToConnector::Clock { is_right: false }),
            Letter::Connector(_, ToConnector::Network { .. })
        ]
    ));
    assert_eq!(told(&hub.clock_ok(at(2), NTP, 0, 0)), Some(0));
    assert!(hub.clock_ok(at(3), NTP, 0, 0).is_empty());
    assert_eq!(told(&hub.clock_moved(at(4), NTP, 7, 0)), Some(0));
    assert_eq!(told(&hub.greeting(Service::Connector)), Some(0));
}

fn up() -> Hub {
    let mut hub = Hub::new("1.0", at(1));
    hub.nic_found(at(2), "eth0", [0; 6]);
    hub.carrier(at(3), true);
    hub.leased(at(4), lease(15));
    hub.clock_ok(at(5), NTP, 0, 0);
    hub
}

fn awaited(letters: &[Letter]) -> Option<(Awaited, u64)> {
    letters.iter().find_map(|letter| match letter {
        Letter::Console(
            _,
            ToConsole::Fact {
                fact:
                    Fact::Waiting {
                        what,
                        since_boot_us,
                    },
                ..
            },
        ) => Some((*what, *since_boot_us)),
        _ => None,
    })
}

fn at(micros: u64) -> Instant {
    Instant::from_micros(micros)
}

fn lease(last: u8) -> Lease {
    Lease {
        address: Ipv4Addr::new(10, 0, 2, last),
        prefix_len: 24,
        router: None,
        resolvers: Servers::new(),
        ntp_servers: Servers::new(),
        mtu: None,
        lease_s: 3600,
        hostname: None,
        origin: LeaseOrigin::Dhcp {
            server: Ipv4Addr::new(10, 0, 2, 2),
        },
    }
}
