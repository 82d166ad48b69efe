//! What PID 1 says, and how it stands on the screens.

use connector_proto::local::{Awaited, ClockSource, Fact, Lease, LeaseOrigin, Phase, Servers};

use super::{Operator, clock, connected, connecting, lease};
use crate::console::sentence::waiting;
use crate::console::view::{LINES_MAX, Live, Screen};

#[test]
fn a_boot_is_told_fact_by_fact() {
    let mut operator = Operator::new();
    operator.fact(
        0,
        Fact::Booted {
            version: "0.1.0".try_into().unwrap(),
        },
    );
    let nic = Fact::Nic {
        interface: "eth0".try_into().unwrap(),
        mac: [0, 0x50, 0x56, 0x12, 0x34, 0x56],
    };
    operator.fact(2_410_000, nic);
    operator.wait_for(2_500_000, Awaited::Link);
    operator.wait_for(2_600_000, Awaited::Lease);
    operator.fact(3_020_000, Fact::NetUp(lease()));
    operator.wait_for(3_030_000, Awaited::Time);
    operator.fact(3_200_000, clock(312_000));
    assert_eq!(operator.live(0), "Starting");
    let memory = Fact::Memory {
        total_kib: 108_820,
        available_kib: 66_940,
    };
    operator.fact(9_310_000, memory);
    assert_eq!(
        operator.history(0),
        [
            "Outgate 0.1.0",
            "[     2.41] NIC eth0 00:50:56:12:34:56",
            "[     3.02] Network up: 10.77.0.15/24, gateway 10.77.0.1, DHCP from 10.77.0.1",
            "[     3.20] Clock set by NTP server 10.77.0.123: moved +0.312 s, within 4 ms",
            "[     9.31] Memory: 41 MiB in use of 106 MiB",
        ]
    );
}

#[test]
fn a_wait_that_lasts_leaves_one_line_with_what_may_be_the_matter() {
    let mut operator = Operator::new();
    let mut at_us = 0;
    for what in [Awaited::Nic, Awaited::Link, Awaited::Lease, Awaited::Time] {
        operator.wait_for(at_us, what);
        assert_eq!(operator.model.poll_timeout(), Some(at_us + 2_000_000));
        for _ in 0..5 {
            operator.pass(1);
            operator.wait_for(at_us, what);
        }
        if what == Awaited::Lease {
            operator.fact(operator.now_us, Fact::NetUp(lease()));
        }
        assert_eq!(operator.model.poll_timeout(), None);
        at_us = operator.now_us;
    }
    assert_eq!(
        operator.history(0),
        [
            "[     2.00] Waiting for a NIC for 0:02. Add a network adapter to the virtual",
            "            machine.",
            "[     7.00] Waiting for the NIC's link for 0:02. Is the virtual NIC ticked",
            "            \"connected\", or the cable plugged in?",
            "[    12.00] Waiting for a DHCP server's answer for 0:02. Does its network have",
            "            DHCP? If not, set the property outgate.address, then restart.",
            "[    15.00] Network up: 10.77.0.15/24, gateway 10.77.0.1, DHCP from 10.77.0.1",
            "[    17.00] Waiting for an NTP server's answer for 0:02. Is one named, by DHCP",
            "            (option 42) or the property outgate.ntp? Does the firewall let UDP",
            "            port 123 out?",
        ]
    );
}

#[test]
fn every_wait_is_told_in_fewer_than_160_letters_with_a_remedy() {
    for what in [
        Awaited::Nic,
        Awaited::Link,
        Awaited::Lease,
        Awaited::Router,
        Awaited::Time,
        Awaited::EdgeTime,
    ] {
        let sentence = waiting(what, 11 * 3_600_000_000);
        assert!(sentence.len() < 160, "{} {sentence}", sentence.len());
        let (_, remedy) = sentence.split_once(" for 11:00:00. ").unwrap();
        assert!(remedy.ends_with(['.', '?']), "{sentence}");
    }
}

#[test]
fn a_link_that_blinks_leaves_no_line_and_one_that_stays_away_leaves_two() {
    let mut operator = Operator::new();
    operator.fact(1, Fact::NetUp(lease()));
    operator.forget_history();
    operator.wait_for(5_000_000, Awaited::Link);
    assert_eq!(operator.live(0), "Waiting for the NIC's link for 0:00");
    operator.fact(5_500_000, Fact::NetUp(lease()));
    assert_eq!(operator.history(0), [""; 0]);
    // The second wait of an outage is short, the first was not.
    operator.wait_for(6_000_000, Awaited::Link);
    operator.wait_for(9_000_000, Awaited::Lease);
    operator.fact(9_100_000, Fact::NetUp(lease()));
    assert!(operator.history(0)[0].starts_with("[     9.00] Waiting for the NIC's link for 0:03."));
    assert!(operator.history(0)[2].starts_with("[     9.10] Network up:"));
}

#[test]
fn a_nic_that_comes_back_after_a_wait_is_said_although_it_is_the_same() {
    let nic = || Fact::Nic {
        interface: "eth0".try_into().unwrap(),
        mac: [2; 6],
    };
    let mut operator = Operator::new();
    operator.fact(1, nic());
    operator.fact(2, Fact::NetUp(lease()));
    operator.wait_for(3, Awaited::Nic);
    operator.pass(3);
    operator.forget_history();
    operator.fact(operator.now_us, nic());
    operator.wait_for(operator.now_us, Awaited::Lease);
    operator.fact(operator.now_us, Fact::NetUp(lease()));
    let said = operator.history(0);
    assert!(said[0].ends_with("NIC eth0 02:02:02:02:02:02"), "{said:?}");
    assert!(said[1].contains("Network up:"), "{said:?}");
}

#[test]
fn a_console_that_starts_again_says_at_once_what_has_been_waited_for() {
    let mut operator = Operator::new();
    operator.now_us = 60_000_000;
    operator.wait_for(2_000_000, Awaited::Lease);
    operator.pass(0);
    assert!(
        operator.history(0)[0]
            .starts_with("[    60.00] Waiting for a DHCP server's answer for 0:58.")
    );
}

#[test]
fn what_is_waited_for_stands_on_the_live_line_with_its_duration() {
    let mut operator = Operator::new();
    for (what, line) in [
        (Awaited::Nic, "Waiting for a NIC for 0:12"),
        (Awaited::Link, "Waiting for the NIC's link for 0:12"),
        (
            Awaited::Lease,
            "Waiting for a DHCP server's answer for 0:12",
        ),
    ] {
        operator.wait_for(operator.now_us, what);
        operator.pass(12);
        assert_eq!(operator.live(0), line);
    }
    operator.fact(operator.now_us, Fact::NetUp(lease()));
    operator.wait_for(operator.now_us, Awaited::Time);
    operator.pass(3600);
    assert_eq!(
        operator.live(0),
        "Waiting for an NTP server's answer for 1:00:00"
    );
}

#[test]
fn without_an_ntp_server_the_edge_is_asked_and_named_as_the_source() {
    let mut operator = Operator::new();
    operator.fact(0, Fact::NetUp(lease()));
    operator.wait_for(0, Awaited::Time);
    operator.pass(1);
    operator.wait_for(operator.now_us, Awaited::EdgeTime);
    operator.pass(2);
    operator.pass(1);
    assert_eq!(
        operator.live(0),
        "Waiting for the service edge's time for 0:03"
    );
    operator.status(connecting(1, "no DNS server answered", false));
    assert!(operator.live(0).starts_with("Connecting to edge.example"));
    let edge = "edge.example.org".try_into().unwrap();
    let set = Fact::ClockOk {
        source: ClockSource::Edge(edge),
        offset_us: 3_200_000,
        bound_us: 40_000,
    };
    operator.fact(5_000_000, set);
    let history = operator.history(0).join(" ");
    for sentence in [
        "Waiting for the service edge's time for 0:02. No NTP server",
        "[     5.00] Clock set by service edge edge.example.org: moved +3.200 s, within",
        "(no NTP server answered)",
    ] {
        assert!(history.contains(sentence), "{history}");
    }
}

#[test]
fn facts_that_say_nothing_new_leave_no_line() {
    let mut operator = Operator::new();
    operator.fact(1, Fact::NetUp(lease()));
    operator.fact(2, clock(312_000));
    operator.forget_history();
    operator.fact(
        3,
        Fact::NetUp(Lease {
            lease_s: 7200,
            ..lease()
        }),
    );
    operator.fact(4, clock(-2_000));
    assert_eq!(operator.history(0), [""; 0]);
    operator.fact(7_000_000, clock(-200_000));
    assert!(operator.history(0)[0].starts_with("[     7.00] Clock set by"));
}

#[test]
fn a_static_address_and_missing_servers_are_said() {
    let mut operator = Operator::new();
    let bare = Lease {
        router: None,
        resolvers: Servers::new(),
        origin: LeaseOrigin::Static,
        ..lease()
    };
    operator.fact(0, Fact::NetUp(bare));
    assert_eq!(
        operator.history(0).join(""),
        "[     0.00] Network up: 10.77.0.15/24, no gateway, static, no DNS server"
    );
}

#[test]
fn deaths_problems_and_the_end_are_said() {
    let mut operator = Operator::new();
    let died = Fact::ServiceDied {
        service: "connector".try_into().unwrap(),
        how: "signal 9".try_into().unwrap(),
        restart_in_ms: 400,
    };
    operator.fact(1_000_000, died);
    let text = "the host's clock stands in 1999: set it"
        .try_into()
        .unwrap();
    let problem = Fact::Problem { text };
    operator.fact(2_000_000, problem.clone());
    operator.fact(2_000_000, problem);
    operator.fact(3_000_000, Fact::ShuttingDown { restart: false });
    assert_eq!(
        operator.history(0),
        [
            "[     1.00] Service connector ended: signal 9. It is started again in 0.4 s",
            "[     2.00] the host's clock stands in 1999: set it",
            "[     3.00] Shutting down to power off",
        ]
    );
    assert_eq!(operator.live(0), "Shutting down to power off");
}

#[test]
fn hostile_strings_reach_no_terminal_unescaped() {
    let hostile = "a\x1b[2J\x1b]0;owned\x07\r\n\u{9b}31m\u{202e}";
    let mut operator = Operator::asked_for_key();
    operator.edge = Some(hostile.try_into().unwrap());
    operator.fact(
        0,
        Fact::Booted {
            version: hostile.try_into().unwrap(),
        },
    );
    operator.fact(
        0,
        Fact::Problem {
            text: hostile.try_into().unwrap(),
        },
    );
    operator.status(Phase::Stuck {
        text: hostile.try_into().unwrap(),
    });
    operator.status(connecting(1, hostile, false));
    let name = hostile.try_into().unwrap();
    operator.status(Phase::Connected {
        name,
        group: hostile.try_into().unwrap(),
    });
    let raw = &operator.raw[0].replace("\x1b[K", "");
    assert!(
        raw.bytes()
            .all(|byte| matches!(byte, b'\r' | b'\n' | b' '..=b'~')),
        "{raw:?}"
    );
    assert!(
        raw.contains(r"a\u{1b}[2J\u{1b}]0;owned\u{7}\r\n\u{9b}31m\u{202e}"),
        "{raw}"
    );
}

#[test]
fn the_status_line_is_drawn_once_a_second_at_most() {
    let mut operator = Operator::asked_for_key();
    operator.status(connected());
    operator.raw = [String::new(), String::new()];
    for _ in 0..50 {
        operator.bytes_up += 1_000_000;
        operator.now_us += 100_000;
        operator.repeat_status(connected());
    }
    assert_eq!(operator.raw[0].matches('\r').count(), 5);
}

#[test]
fn a_terminal_that_takes_nothing_holds_a_bounded_number_of_lines() {
    let mut screen = Screen::default();
    for number in 0..1000 {
        screen.say(&format!("line {number}"));
    }
    let shown = screen.poll_transmit(0, Live::default());
    assert!(
        shown.starts_with("\r(800 lines could not be shown in time)\x1b[K\r\n\rline 800\x1b[K")
    );
    assert_eq!(shown.matches("\r\n").count(), LINES_MAX + 1);
}
