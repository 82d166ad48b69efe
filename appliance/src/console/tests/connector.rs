//! What the connector says: refusals, outages, enrolment.

use connector_proto::local::{Awaited, KeyRefused, NoIdentity, Phase, ToConsole};
use connector_proto::message::EnrolRefusal;
use connector_proto::time::UnixSeconds;

use super::{KEY, Operator, connected, connecting};
use crate::console::text::COLUMNS;

#[test]
fn every_refusal_says_which_and_what_to_do_and_asks_again() {
    let new_key = "Ask the administrator for a new key (edge key mint), then type it here.";
    let at = UnixSeconds(1_767_225_599);
    let cases = [
        (
            KeyRefused::ByEdge(EnrolRefusal::KeyUnknown),
            "edge.example has no such key.",
            new_key,
        ),
        (
            KeyRefused::ByEdge(EnrolRefusal::KeySpent { max_uses: 1 }),
            "its only use was spent.",
            new_key,
        ),
        (
            KeyRefused::ByEdge(EnrolRefusal::KeySpent { max_uses: 10 }),
            "all its 10 uses were spent.",
            new_key,
        ),
        (
            KeyRefused::ByEdge(EnrolRefusal::KeyExpired { at }),
            "it expired at 2025-12-31 23:59:59 UTC.",
            new_key,
        ),
        (
            KeyRefused::ByEdge(EnrolRefusal::KeyRevoked),
            "an administrator revoked it.",
            new_key,
        ),
        (
            KeyRefused::ByEdge(EnrolRefusal::RequestInvalid),
            "edge.example found the enrolment request invalid; no use was spent.",
            "Type the key again, or update the older of image and edge.",
        ),
        (
            KeyRefused::ByEdge(EnrolRefusal::TryLater),
            "edge.example cannot enrol at the moment.",
            "No use was spent. Type the key again in some minutes.",
        ),
        (
            KeyRefused::EdgeNotProven,
            "edge.example could not prove that it knows the key.",
            "Mend the way and type the key again, or another edge (Ctrl-E). [    10.00] For the \
             firewall team: exempt TCP 443 to edge.example from TLS inspection (bypass, no \
             decryption).",
        ),
        (
            KeyRefused::Protocol,
            "edge.example does not speak the protocol of a service edge.",
            "Check its name and port (Ctrl-E types another), then type the key again.",
        ),
    ];
    for (why, which, remedy) in cases {
        let mut operator = Operator::asked_for_key();
        operator.types(1, KEY);
        operator.status(Phase::Enrolling);
        operator.forget_history();
        operator.refuse(why);
        for terminal in 0..2 {
            let said = operator
                .history(terminal)
                .join(" ")
                .replace("             ", " ");
            assert_eq!(said, format!("[    10.00] Key refused: {which} {remedy}"));
            assert_eq!(operator.live(terminal), "Provisioning key:");
        }
    }
}

#[test]
fn a_refusal_is_said_once_although_the_status_is_repeated() {
    let mut operator = Operator::asked_for_key();
    let refused = Some(KeyRefused::ByEdge(EnrolRefusal::KeyRevoked));
    operator.status(Phase::NeedKey {
        refused,
        why: NoIdentity::Blank,
    });
    operator.forget_history();
    operator.status(Phase::NeedKey {
        refused,
        why: NoIdentity::Blank,
    });
    assert_eq!(operator.history(0), [""; 0]);
    operator.status(Phase::Enrolling);
    operator.forget_history();
    operator.pass(5);
    operator.status(Phase::NeedKey {
        refused,
        why: NoIdentity::Blank,
    });
    assert!(
        !operator.history(0).is_empty(),
        "the second key was refused for the same reason"
    );
}

#[test]
fn a_key_that_nobody_takes_is_asked_for_again() {
    let mut operator = Operator::asked_for_key();
    operator.types(0, KEY);
    operator.forget_history();
    operator.pass(9);
    assert_eq!(operator.live(0), "Key sent to the connector");
    operator.pass(1);
    assert_eq!(operator.live(0), "Provisioning key:");
    assert_eq!(
        operator.history(0),
        ["[    20.00] The connector did not take the key within 10 s. Type it again."]
    );
}

#[test]
fn an_enrolment_is_told_from_key_to_connected() {
    let mut operator = Operator::asked_for_key();
    operator.types(0, KEY);
    operator.forget_history();
    operator.pass(1);
    operator.status(connecting(1, "", true));
    operator.pass(1);
    operator.status(Phase::Enrolling);
    operator.pass(2);
    assert_eq!(operator.live(0), "Enrolling at edge.example for 0:02");
    operator.status(connected());
    assert_eq!(
        operator.history(0),
        [
            "[    11.00] Connecting to edge.example to enrol. The key is kept and this goes",
            "            on by itself. Ctrl-E: another service edge.",
            "[    14.00] Connected to edge.example as mumbai-01 (group Mumbai)",
            "[    14.00] Ctrl-R: factory reset (erases this machine's identity)",
        ]
    );
}

#[test]
fn an_outage_is_told_once_for_each_reason() {
    let mut operator = Operator::asked_for_key();
    operator.status(connected());
    operator.forget_history();
    operator.pass(1);
    for attempt in 1..20 {
        let error = if attempt % 2 == 0 {
            "connection refused"
        } else {
            "the edge closed: restart"
        };
        operator.status(connecting(attempt, error, false));
        operator.pass(1);
    }
    operator.status(connected());
    assert_eq!(
        operator.history(0),
        [
            "[    11.00] Disconnected from edge.example: the edge closed: restart.",
            "            Connecting again by itself.",
            "[    12.00] Attempt 2 to connect to edge.example failed: connection refused",
            "[    30.00] Connected to edge.example as mumbai-01 (group Mumbai)",
        ]
    );
}

#[test]
fn the_live_line_of_every_phase_says_what_goes_on() {
    let mut operator = Operator::asked_for_key();
    let next = |error| Phase::Connecting {
        attempt: 4,
        last_error: error,
        next_boot_us: 17_000_000,
        enrolling: false,
    };
    let stuck = "the state partition is missing: attach the disk"
        .try_into()
        .unwrap();
    let cases = [
        (
            connecting(1, "", false),
            "Connecting to edge.example for 0:00, attempt 1",
        ),
        (
            next("connection refused".try_into().unwrap()),
            "Connecting for 0:00, attempt 4, next in 0:07: connection refused",
        ),
        (
            connecting(4, "connection refused", true),
            "Connecting to edge.example for 0:00, attempt 4: connection refused",
        ),
        (Phase::Enrolling, "Enrolling at edge.example for 0:00"),
        (
            connected(),
            "Connected to edge.example for 0:00. 2 sessions, 14 MB up, 3 MB down",
        ),
        (
            Phase::Stuck { text: stuck },
            "Stopped: the state partition is missing: attach the disk",
        ),
        (Phase::NeedEdge, "Service edge (name or name:port):"),
        (
            Phase::NeedKey {
                refused: None,
                why: NoIdentity::Blank,
            },
            "Provisioning key:",
        ),
    ];
    for (phase, line) in cases {
        operator.pass(0);
        operator.status(phase);
        assert_eq!(operator.live(0), line);
        assert!(operator.history(0).iter().all(|line| line.len() <= COLUMNS));
    }
}

#[test]
fn a_live_tunnel_is_shown_although_the_lease_is_lost() {
    let mut operator = Operator::asked_for_key();
    operator.status(connected());
    operator.wait_for(10_000_000, Awaited::Lease);
    assert!(operator.live(0).starts_with("Connected to edge.example"));
    operator.status(connecting(1, "timed out", false));
    assert_eq!(
        operator.live(0),
        "Waiting for a DHCP server's answer for 0:00"
    );
}

#[test]
fn a_connector_that_died_is_waited_for() {
    let mut operator = Operator::asked_for_key();
    operator.types(0, KEY);
    operator.forget_history();
    operator.message(ToConsole::ConnectorGone);
    operator.message(ToConsole::ConnectorGone);
    operator.pass(2);
    assert_eq!(
        operator.live(0),
        "Waiting for the connector to start for 0:02"
    );
    assert_eq!(
        operator.history(0),
        ["[    10.00] The connector is not running"]
    );
    operator.status(Phase::NeedKey {
        refused: None,
        why: NoIdentity::Blank,
    });
    assert_eq!(operator.live(0), "Provisioning key:");
}
