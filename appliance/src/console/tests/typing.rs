//! What the operator types, and the answers.

use connector_proto::local::{KeyRefused, NoIdentity, Phase};
use connector_proto::message::EnrolRefusal;

use super::{KEY, KEY_DATA, Operator, connected, connecting};
use crate::console::text::COLUMNS;

#[test]
fn letters_are_shown_until_their_group_checks_and_a_whole_key_is_sent_by_itself() {
    let mut operator = Operator::asked_for_key();
    operator.types(0, "BRDTC");
    assert_eq!(operator.live(0), "Provisioning key: *****-");
    operator.types(0, "eufvc-gc");
    assert_eq!(operator.live(0), "Provisioning key: *****-*****-gc");
    assert_eq!(
        operator.live(1),
        "Provisioning key:",
        "the other terminal has its own line"
    );
    operator.forget_history();
    operator.types(0, "hbiidjegkflgfnhriftjuke\r\n");
    assert_eq!(operator.sent, [format!("Key {KEY_DATA:02x?}")]);
    for terminal in 0..2 {
        assert_eq!(operator.live(terminal), "Key sent to the connector");
        let line = "[    10.00] All groups of the key check; it was typed on tty1";
        assert_eq!(operator.history(terminal), [line]);
    }
}

#[test]
fn a_pasted_key_with_dashes_and_line_end_is_taken() {
    let curled = KEY.replace('-', "\u{2014}");
    for (paste, ignored) in [
        (format!("{KEY}\r\n"), ""),
        (
            format!(" \u{201c}{curled}\u{201d}\n"),
            " (ignored: 1 space, 6 dashes, 1 quote)",
        ),
    ] {
        let mut operator = Operator::asked_for_key();
        operator.types(1, &paste);
        assert_eq!(operator.sent, [format!("Key {KEY_DATA:02x?}")]);
        assert_eq!(
            operator
                .history(1)
                .join(" ")
                .replace("             ", " ")
                .split_once("[    10.00] All")
                .map(|(_, said)| said.to_owned()),
            Some(format!(
                " groups of the key check; it was typed on ttyS0{ignored}"
            ))
        );
    }
}

#[test]
fn what_is_ignored_of_a_key_is_shown_as_it_is_typed() {
    let mut operator = Operator::asked_for_key();
    for (keys, line) in [
        ("\"br", "Provisioning key (1 ignored): br"),
        (" d\u{200b}tc", "Provisioning key (3 ignored): *****-"),
        // The dash that the line shows by itself, and one more.
        ("-", "Provisioning key (3 ignored): *****-"),
        ("-", "Provisioning key (4 ignored): *****-"),
        ("e\x7f\x7f\x7f", "Provisioning key (4 ignored): brd"),
        ("\x15", "Provisioning key:"),
    ] {
        operator.types(0, keys);
        assert_eq!(operator.live(0), line);
    }
    assert_eq!(operator.live(1), "Provisioning key:");
    operator.types(0, &"'".repeat(1_000));
    operator.types(0, &KEY[..40]);
    let line = operator.live(0);
    assert!(line.starts_with("Provisioning key (999+ ignored): "));
    assert!(line.ends_with("-*****-tjuk"), "{line}");
}

#[test]
fn a_sent_key_is_on_no_line_and_in_no_input() {
    let mut operator = Operator::asked_for_key();
    operator.types(0, "brdtc-euf");
    operator.types(1, KEY);
    operator.forget_history();
    operator.refuse(KeyRefused::ByEdge(EnrolRefusal::TryLater));
    for terminal in 0..2 {
        assert_eq!(operator.live(terminal), "Provisioning key:");
        assert!(!operator.history(terminal).join("").contains("brdtc"));
    }
}

#[test]
fn a_screen_shows_no_group_of_a_key_whole_and_a_serial_port_no_letter() {
    for (terminal, letters_max) in [(0, 4), (1, 0)] {
        let mut operator = Operator::asked_for_key();
        for stroke in KEY.replacen("gchbi", "gchbcgchbi", 1).chars() {
            operator.types(terminal, stroke.encode_utf8(&mut [0; 4]));
        }
        assert_eq!(operator.sent.len(), 1);
        let prompts = operator.raw[terminal].split("Provisioning key: ").skip(1);
        let shown = prompts.filter_map(|prompt| prompt.split('\x1b').next());
        let letters = shown.map(|shown| shown.chars().filter(char::is_ascii_alphabetic).count());
        assert_eq!(
            letters.max(),
            Some(letters_max),
            "{}",
            operator.raw[terminal]
        );
    }
}

#[test]
fn a_wrong_group_is_named_at_once_and_erased() {
    let mut operator = Operator::asked_for_key();
    operator.types(0, "brdtceufvc");
    operator.forget_history();
    operator.types(0, "gchbc");
    assert_eq!(
        operator.history(0),
        ["Group 3 of 7 has a wrong letter. Type that group again."]
    );
    assert_eq!(operator.history(1), [""; 0]);
    assert_eq!(operator.live(0), "Provisioning key: *****-*****-");
    operator.types(0, &KEY[12..]);
    assert_eq!(operator.sent.len(), 1);
}

#[test]
fn a_paste_with_one_wrong_group_is_told_of_once() {
    let mut operator = Operator::asked_for_key();
    operator.forget_history();
    operator.types(0, &KEY.replacen("gchbi", "gchbc", 1));
    assert_eq!(
        operator.history(0),
        ["Group 3 of 7 has a wrong letter. Type that group again."]
    );
    assert_eq!(operator.live(0), "Provisioning key: *****-*****-");
}

#[test]
fn a_foreign_character_is_answered_at_once_and_not_taken() {
    let mut operator = Operator::asked_for_key();
    operator.forget_history();
    operator.types(0, "brxd\u{e9}");
    assert_eq!(
        operator.history(0),
        [
            "'x' is in no key. The letters are cbdefghijklnrtuv.",
            "'\\u{e9}' is in no key. The letters are cbdefghijklnrtuv.",
        ]
    );
    assert_eq!(operator.live(0), "Provisioning key: brd");
}

#[test]
fn backspace_goes_back_across_a_dash_and_ctrl_u_to_the_beginning() {
    let mut operator = Operator::asked_for_key();
    operator.types(0, "brdtce\x7f");
    assert_eq!(operator.live(0), "Provisioning key: *****-");
    operator.types(0, "\x08");
    assert_eq!(operator.live(0), "Provisioning key: brdt");
    operator.types(0, "\x15");
    assert_eq!(operator.live(0), "Provisioning key:");
    operator.types(0, "\x7f\x7f");
    operator.types(0, KEY);
    assert_eq!(operator.sent.len(), 1);
}

#[test]
fn enter_says_how_many_letters_are_missing() {
    let mut operator = Operator::asked_for_key();
    operator.forget_history();
    operator.types(0, "brdtceuf\r\n");
    operator.types(0, &format!("{}\r", &KEY[9..40]));
    assert_eq!(
        operator.history(0),
        [
            "27 of the key's 35 letters are missing.",
            "1 of the key's 35 letters is missing."
        ]
    );
    operator.types(0, "e");
    assert_eq!(operator.sent.len(), 1);
}

#[test]
fn cursor_keys_leave_no_trace() {
    let mut operator = Operator::asked_for_key();
    operator.forget_history();
    operator.types(0, "br\x1b[A\x1b[1;5C\x1bOP\x1b[[Bdtc");
    assert_eq!(operator.live(0), "Provisioning key: *****-");
    assert_eq!(operator.history(0), [""; 0]);
}

#[test]
fn a_key_of_a_newer_version_is_refused_with_the_remedy() {
    let mut operator = Operator::asked_for_key();
    operator.forget_history();
    operator.types(0, &newer_key());
    assert_eq!(operator.sent, [""; 0]);
    assert_eq!(
        operator.history(0).join(" "),
        "Key refused: the key is of version 2, this connector knows version 1; use a newer image."
    );
    assert_eq!(operator.live(0), "Provisioning key:");
}

#[test]
fn the_edge_is_asked_for_when_nobody_has_said_where_it_is() {
    let mut operator = Operator::asked_for_key();
    operator.status(Phase::NeedEdge);
    operator.forget_history();
    operator.types(0, "\r");
    operator.types(0, "Edge.Example:70000\r");
    operator.types(0, "/");
    operator.types(0, "\x7f\x7f\x7f\x7f\x7f443\r\n");
    assert_eq!(operator.sent, ["Edge edge.example:443"]);
    assert_eq!(operator.live(0), "Service edge sent to the connector");
    assert_eq!(
        operator.history(0),
        [
            "\"edge.example:70000\": not a TCP port; type a number from 1 to 65535 behind the",
            "colon, or leave both out for 443",
            "'/' is in no host name. Type letters, digits, '-' and '.', then perhaps :port.",
            "[    10.00] Service edge edge.example:443 was typed on tty1",
        ]
    );
}

#[test]
fn a_wrongly_typed_edge_can_be_corrected_until_enrolment() {
    let mut operator = Operator::asked_for_key();
    for phase in [
        Phase::NeedKey {
            refused: None,
            why: NoIdentity::Blank,
        },
        connecting(3, "no such host", true),
    ] {
        operator.status(phase);
        let before = operator.live(0);
        operator.types(0, "\x05other.exam");
        assert_eq!(
            operator.live(0),
            "Service edge (name or name:port): other.exam"
        );
        assert_eq!(operator.live(1), before);
        operator.types(0, "ple\r");
        assert_eq!(operator.sent.pop().unwrap(), "Edge other.example");
        assert_eq!(operator.live(0), before);
        operator.types(0, "\x05\x05");
        assert_eq!(operator.live(0), before, "Ctrl-E again goes back");
    }
    operator.status(connected());
    operator.types(0, "\x05x\r");
    assert_eq!(operator.sent, [""; 0]);
}

#[test]
fn a_long_edge_name_is_typed_with_its_end_in_view() {
    let mut operator = Operator::asked_for_key();
    operator.status(Phase::NeedEdge);
    operator.types(0, &format!("{}.example", "a".repeat(60)));
    let line = operator.live(0);
    assert!(line.len() < COLUMNS && line.ends_with("aaa.example") && line.contains(": ..."));
}

#[test]
fn enter_draws_the_line_again_after_the_kernel_wrote_over_it() {
    let mut operator = Operator::asked_for_key();
    operator.types(0, "brdtc");
    for keys in ["\x0c", "\x15\r"] {
        operator.raw[0].clear();
        operator.types(0, keys);
        assert!(
            operator.raw[0].starts_with("\rProvisioning key: "),
            "{keys:?}"
        );
    }
}

/// [`KEY`], but of version 2; its check letter is found by trying.
fn newer_key() -> String {
    use connector_proto::key::{KeyInput, Pushed};
    let right = |check: &char| {
        let mut input = KeyInput::new();
        let group = format!("drdt{check}");
        group.chars().map(|letter| input.push(letter)).last()
            == Some(Pushed::GroupRight { group: 0 })
    };
    let check = "cbdefghijklnrtuv".chars().find(right).unwrap();
    format!("drdt{check}{}", &KEY[5..])
}
