//! Whose machine this is: copies, reverts, moved NICs, lost identities, the factory reset.

use connector_proto::local::{KeyRefused, NoIdentity, Phase, text};
use connector_proto::message::{EnrolRefusal, Verdict};

use super::{KEY, Operator, connected, connecting};

#[test]
fn each_reason_for_having_no_identity_is_said_and_a_key_is_asked_for() {
    let name = text("mumbai-01");
    for (why, said) in [
        (
            NoIdentity::Unreadable,
            "Not enrolled: the state record cannot be read. Ask the administrator for a new key \
             (edge key mint), then type it here.",
        ),
        (
            NoIdentity::Foreign { name: name.clone() },
            "This machine is a copy of mumbai-01. Enrol it as a new connector? Type a key made for \
             it.",
        ),
        (
            NoIdentity::Sealed { name: name.clone() },
            "mumbai-01 is sealed by a TPM that this machine does not have. Put it back and restart, \
             or type a new key to enrol it anew.",
        ),
        (
            NoIdentity::Unusable,
            "Not enrolled: the stored certificate and private key do not belong together. Ask the \
             administrator for a new key (edge key mint), then type it here.",
        ),
        (
            NoIdentity::Revoked { name: name.clone() },
            "mumbai-01 was revoked at edge.example. A new key enrols this machine as a new \
             connector.",
        ),
        (
            NoIdentity::Superseded { name: name.clone() },
            "mumbai-01 went back to a state from before its certificate was renewed. Ask the \
             administrator for a new key (edge key mint), then type it here.",
        ),
        (
            NoIdentity::Sealed { name: name.clone() },
            "mumbai-01 is sealed by a TPM that this machine does not have. Put it back and restart, \
             or type a new key to enrol it anew.",
        ),
        (
            NoIdentity::TooLate { name },
            "mumbai-01 was off for too long to renew its certificate. Ask the administrator for a \
             new key (edge key mint), then type it here.",
        ),
    ] {
        let mut operator = Operator::new();
        operator.status(Phase::NeedKey { refused: None, why });
        assert_eq!(history(&operator, 0), format!("[     0.00] {said}"));
        assert!(said.len() < 160, "{said}");
        assert_eq!(operator.live(0), "Provisioning key:");
        operator.types(0, KEY);
        assert_eq!(operator.sent.len(), 1);
    }
}

#[test]
fn a_held_machine_says_why_and_takes_a_key() {
    for (verdict, said) in [
        (
            Verdict::Copy,
            "This machine is a copy of mumbai-01. Enrol it as a new connector? Type a key made for \
             it.",
        ),
        (
            Verdict::MovedNic,
            "mumbai-01 has another MAC address than before. An administrator confirms it (edge \
             connector confirm), or type a new key to enrol it anew.",
        ),
        (
            Verdict::RestoredBackup,
            "mumbai-01 was restored from a backup on other hardware. An administrator confirms it \
             (edge connector confirm), or type a new key to enrol it anew.",
        ),
    ] {
        let mut operator = Operator::new();
        operator.status(held(verdict, None));
        let help = "[     0.00] Ctrl-R: factory reset (erases this machine's identity)";
        assert_eq!(history(&operator, 0), format!("[     0.00] {said} {help}"));
        assert!(said.len() < 160, "{said}");
        operator.types(1, KEY);
        assert_eq!(operator.sent.len(), 1);
        operator.forget_history();
        operator.status(Phase::Enrolling);
        operator.status(held(
            verdict,
            Some(KeyRefused::ByEdge(EnrolRefusal::KeyRevoked)),
        ));
        assert!(history(&operator, 0).contains("Key refused: an administrator revoked it."));
        assert_eq!(operator.live(0), "Provisioning key:");
    }
}

#[test]
fn what_the_edge_took_the_machine_for_is_said_when_it_is_connected() {
    for (verdict, said) in [
        (Verdict::Reverted, "was reverted to a snapshot"),
        (Verdict::MovedNic, "has another MAC address"),
        (Verdict::RestoredBackup, "was restored from a backup"),
    ] {
        let mut operator = Operator::new();
        operator.recognised = Some(verdict);
        operator.status(connecting(1, "", false));
        operator.status(connected());
        operator.repeat_status(connected());
        let history = history(&operator, 1);
        assert_eq!(history.matches(said).count(), 1, "{history}");
        assert!(history.contains("the edge noted it"), "{history}");
    }
}

#[test]
fn what_carries_sessions_is_said_when_it_is_connected_and_when_that_changes() {
    let mut operator = Operator::new();
    for (is_kernel, times) in [(true, 1), (true, 1), (false, 1)] {
        operator.is_kernel_engine = Some(is_kernel);
        operator.status(connecting(1, "", false));
        operator.status(connected());
        operator.repeat_status(connected());
        let history = history(&operator, 0);
        assert_eq!(
            history.matches("by the kernel's TLS.").count(),
            1,
            "{history}"
        );
        let own = history.matches("by the connector itself.").count();
        assert_eq!(own, usize::from(!is_kernel) * times, "{history}");
    }
}

#[test]
fn who_answers_in_the_edges_place_is_named_with_the_rule_for_the_firewall() {
    let rule = "For the firewall team: exempt TCP 443 to edge.example from TLS inspection";
    let mut operator = Operator::asked_for_key();
    operator.foreign_issuer = Some(text("Corp Inspection\u{7}"));
    operator.refuse(KeyRefused::EdgeNotProven);
    let said = history(&operator, 0);
    assert!(
        said.contains("(its certificate was issued by \"Corp Inspection\\u{7}\")"),
        "{said}"
    );
    assert!(said.contains(rule), "{said}");

    // An enrolled machine meets it as well.
    let rule = "For the firewall team: exempt TCP 8443 to edge.example from TLS inspection";
    let mut operator = Operator::new();
    operator.edge = Some(text("edge.example:8443"));
    operator.status(connecting(1, "", false));
    operator.forget_history();
    operator.foreign_issuer = Some(text("Corp"));
    for attempt in 2..5 {
        operator.status(connecting(
            attempt,
            "the edge's certificate does not verify",
            false,
        ));
    }
    assert_eq!(history(&operator, 0).matches(rule).count(), 1);
}

#[test]
fn a_certificate_that_is_not_renewed_is_warned_of_ever_more_often_and_a_renewal_is_silent() {
    let mut operator = Operator::new();
    operator.status(connected());
    operator.forget_history();
    for left_h in (0..=56).rev() {
        operator.certificate_left_h = Some(left_h);
        operator.repeat_status(connected());
    }
    let said: Vec<_> = operator.history(0);
    let ends = |line: &String| {
        let (_, rest) = line.split_once("ends in ")?;
        Some(rest.split_once(';')?.0.to_owned())
    };
    assert_eq!(
        said.iter().filter_map(ends).collect::<Vec<_>>(),
        [
            "2 days",
            "28 hours",
            "14 hours",
            "7 hours",
            "3 hours",
            "1 hour",
            "less than an hour"
        ]
    );
    operator.forget_history();
    operator.certificate_left_h = None;
    operator.repeat_status(connected());
    assert_eq!(operator.history(0), [""; 0]);
}

#[test]
fn a_factory_reset_is_confirmed_by_a_word_in_every_phase() {
    for phase in [
        connected(),
        connecting(3, "no such host", false),
        held(Verdict::Copy, None),
        Phase::NeedKey {
            refused: None,
            why: NoIdentity::Unreadable,
        },
        Phase::NeedEdge,
        Phase::Enrolling,
        Phase::NeedProxyCredentials { refused: false },
    ] {
        let mut operator = Operator::new();
        operator.status(phase.clone());
        operator.forget_history();
        operator.types(0, "\x12RESEX\x7fT");
        assert_eq!(
            operator.live(0),
            "Type RESET to erase this machine's identity: RESET"
        );
        assert!(!operator.live(1).contains("RESET"));
        assert_eq!(operator.sent, [""; 0]);
        operator.types(0, "\r");
        assert_eq!(operator.sent, ["FactoryReset"], "{phase:?}");
        assert_eq!(operator.live(0), "Erasing this machine's identity");
        assert_eq!(
            history(&operator, 1),
            "[     0.00] Factory reset: this machine's identity is erased, as typed on tty1"
        );
        operator.now_us += 1_000_000;
        operator.phase_kind = None;
        operator.status(Phase::NeedKey {
            refused: None,
            why: NoIdentity::Blank,
        });
        assert_eq!(operator.live(0), "Provisioning key:");
    }
}

#[test]
fn anything_else_than_the_word_erases_nothing() {
    for keys in [
        "\r",
        "reset\r",
        "RESETT\r",
        "RESET\x12",
        "RESET\x15\r",
        "yes\r",
        "RESET RESET RESET RESET\r",
        "\x05",
    ] {
        let mut operator = Operator::new();
        operator.status(connected());
        let before = operator.live(0);
        operator.forget_history();
        operator.types(0, "\x12");
        operator.types(0, keys);
        assert_eq!(operator.sent, [""; 0], "{keys:?}");
        assert_eq!(operator.history(0), ["Nothing was erased."], "{keys:?}");
        assert_eq!(operator.live(0), before);
    }
    let mut operator = Operator::new();
    operator.status(connected());
    operator.types(0, "\x12RESET\x1b");
    operator.pass(1);
    operator.types(0, "\r");
    assert_eq!(operator.sent, [""; 0], "Esc cancels");
}

#[test]
fn a_reset_that_nobody_carries_out_is_told_of_and_a_reset_outlives_a_reconnect() {
    let mut operator = Operator::new();
    operator.status(connected());
    operator.types(0, "\x12RES");
    operator.status(connecting(1, "timed out", false));
    operator.status(connected());
    operator.types(0, "ET\r");
    assert_eq!(operator.sent, ["FactoryReset"]);
    operator.forget_history();
    operator.pass(10);
    assert_eq!(
        operator.history(0),
        ["[    10.00] The identity was not erased within 10 s. Ctrl-R: try again."]
    );
    // Nobody is there to erase anything.
    operator.message(connector_proto::local::ToConsole::ConnectorGone);
    operator.types(0, "\x12RESET\r");
    operator.status(Phase::Stuck {
        text: text("the state partition fails"),
    });
    operator.types(0, "\x12RESET\r");
    assert_eq!(operator.sent, ["FactoryReset"]);
}

fn held(verdict: Verdict, refused: Option<KeyRefused>) -> Phase {
    Phase::Held {
        verdict,
        name: text("mumbai-01"),
        refused,
    }
}

/// What scrolled by on a terminal, as if its lines were endless.
fn history(operator: &Operator, terminal: usize) -> String {
    let lines = operator.history(terminal).join(" ");
    lines.replace("             ", " ")
}
