//! An HTTP proxy on the way to the edge, and what it wants to know.

use connector_proto::local::{Awaited, ClockSource, Fact, Phase};

use super::{Operator, connected, connecting};

fn behind_a_proxy() -> Operator {
    let mut operator = Operator::new();
    operator.now_us = 10_000_000;
    operator.proxy = Some("proxy.example:3128".try_into().unwrap());
    operator
}

fn asked(refused: bool) -> Operator {
    let mut operator = behind_a_proxy();
    operator.status(Phase::NeedProxyCredentials { refused });
    operator
}

#[test]
fn user_and_password_are_asked_for_in_turn_and_the_password_is_never_shown() {
    let mut operator = asked(false);
    assert_eq!(operator.live(0), "Proxy user:");
    operator.types(0, "Mona");
    assert_eq!(operator.live(0), "Proxy user: Mona");
    operator.types(0, "\r\n");
    assert_eq!(operator.live(0), "Proxy password:");
    operator.types(0, "a:b Cx\x7f\u{e9}");
    assert_eq!(operator.live(0), "Proxy password: ******");
    assert_eq!(operator.live(1), "Proxy user:", "it has its own line");
    operator.forget_history();
    operator.types(0, "\r");
    assert_eq!(operator.sent, ["Proxy Mona a:b C\u{e9}"]);
    for terminal in 0..2 {
        assert_eq!(
            operator.live(terminal),
            "User and password sent to the connector"
        );
        assert_eq!(
            operator.history(terminal),
            ["[    10.00] User and password for the proxy were typed on tty1"]
        );
        assert!(!operator.raw[terminal].contains("a:b"));
    }
}

#[test]
fn a_paste_of_both_lines_on_the_serial_port_is_taken() {
    let mut operator = asked(false);
    operator.types(1, "mona\r\nopen sesame\r\n");
    assert_eq!(operator.sent, ["Proxy mona open sesame"]);
    assert!(!operator.raw.concat().contains("sesame"));
}

#[test]
fn ctrl_u_and_escape_begin_again_with_the_user() {
    for again in ["\x15", "\x1b"] {
        let mut operator = asked(false);
        operator.types(0, "mnoa\rses");
        operator.types(0, again);
        operator.pass(1);
        assert_eq!(operator.live(0), "Proxy user:", "{again:?}");
        operator.types(0, "mona\rsesame\r");
        assert_eq!(operator.sent, ["Proxy mona sesame"]);
    }
}

#[test]
fn an_escape_is_taken_when_nothing_follows_it_and_a_cursor_key_is_not_one() {
    let mut operator = asked(false);
    operator.types(0, "mona\x1b[D\x1bOP");
    assert_eq!(operator.live(0), "Proxy user: mona");
    operator.types(0, "\x1b");
    let due_us = operator.model.poll_timeout().unwrap();
    assert!(due_us > operator.now_us && due_us < operator.now_us + 200_000);
    operator.now_us = due_us;
    operator.pass(0);
    assert_eq!(operator.live(0), "Proxy user:");
    // The key after it is not swallowed, even if the console was late.
    operator.types(0, "mona\x1b");
    operator.now_us += 300_000;
    operator.types(0, "x");
    assert_eq!(operator.live(0), "Proxy user: x");
}

#[test]
fn nothing_typed_is_no_answer_and_what_cannot_be_sent_is_said() {
    let mut operator = asked(false);
    operator.forget_history();
    operator.types(0, "\r\r");
    operator.types(0, "mona:");
    operator.types(0, "\r\r\r");
    assert_eq!(operator.live(0), "Proxy password:");
    operator.types(0, &"x".repeat(128));
    operator.types(0, "y");
    assert_eq!(operator.sent, [""; 0]);
    assert_eq!(
        operator.history(0),
        [
            "A proxy's user holds no ':'. Is it the password?",
            "A proxy's password has at most 128 bytes here. Ctrl-U begins again.",
        ]
    );
    let stars = operator.live(0);
    assert!(
        stars.starts_with("Proxy password: ...***") && stars.len() < 79,
        "{stars}"
    );
    operator.types(0, "\r");
    assert_eq!(operator.sent, [format!("Proxy mona {}", "x".repeat(128))]);
}

#[test]
fn a_proxy_that_asks_says_what_becomes_of_the_answer_and_one_that_refuses_what_to_do() {
    for (refused, sentence) in [
        (
            false,
            "HTTP proxy proxy.example:3128 wants a user and a password. Type them: they are kept on \
             this machine, and the proxy alone is told.",
        ),
        (
            true,
            "HTTP proxy proxy.example:3128 refuses the user and password it was given. Type others, \
             or ask who runs it.",
        ),
    ] {
        let operator = asked(refused);
        let said = operator.history(0).join(" ").replace("             ", " ");
        assert_eq!(said, format!("[    10.00] {sentence}"));
    }
}

#[test]
fn a_proxys_second_refusal_asks_again_on_both_terminals() {
    let mut operator = asked(false);
    operator.types(1, "half");
    operator.types(0, "mona\rwrong\r");
    operator.status(connecting(1, "", false));
    operator.pass(1);
    operator.status(Phase::NeedProxyCredentials { refused: true });
    for terminal in 0..2 {
        assert_eq!(operator.live(terminal), "Proxy user:");
        let said = operator.history(terminal).join(" ");
        assert!(said.contains("refuses the user and password"), "{said}");
    }
}

#[test]
fn credentials_that_nobody_takes_are_asked_for_again() {
    let mut operator = asked(false);
    operator.types(0, "mona\rsesame\r");
    operator.forget_history();
    operator.pass(10);
    assert_eq!(operator.live(0), "Proxy user:");
    assert_eq!(
        operator.history(0).join(" "),
        "[    20.00] The connector did not take the user and password within 10 s. Type             \
         them again."
    );
}

#[test]
fn what_was_half_typed_is_forgotten_when_the_machine_is_connected() {
    let mut operator = asked(false);
    operator.types(0, "mona\rsesa");
    operator.status(connected());
    operator.status(Phase::NeedProxyCredentials { refused: false });
    operator.types(0, "me\r");
    assert_eq!(operator.live(0), "Proxy password:");
    assert_eq!(operator.sent, [""; 0]);
}

#[test]
fn the_way_to_the_edge_is_told_with_the_proxy() {
    let mut operator = behind_a_proxy();
    operator.status(connecting(1, "", false));
    assert_eq!(
        operator.live(0),
        "Connecting to edge.example through proxy proxy.example:3128 for 0:00, attempt 1"
            .split_at(79)
            .0
    );
    operator.status(connecting(2, "the proxy answers 502", false));
    operator.status(connected());
    assert_eq!(
        operator.history(0),
        [
            "[    10.00] Connecting to edge.example through proxy proxy.example:3128",
            "[    10.00] Attempt 2 to connect to edge.example through proxy",
            "            proxy.example:3128 failed: the proxy answers 502",
            "[    10.00] Connected to edge.example as mumbai-01 (group Mumbai), through",
            "            proxy proxy.example:3128",
            "[    10.00] Ctrl-R: factory reset (erases this machine's identity)",
        ]
    );
}

#[test]
fn an_edge_that_settles_a_dispute_about_the_time_is_not_said_to_be_the_only_one() {
    let mut operator = Operator::new();
    let set = |offset_us| Fact::ClockOk {
        source: ClockSource::Edge("edge.example".try_into().unwrap()),
        offset_us,
        bound_us: 40_000,
    };
    operator.fact(1_000_000, set(3_000_000));
    let said = operator.history(0).join("");
    assert!(said.ends_with("within 40            ms"), "{said}");
    operator.wait_for(2_000_000, Awaited::EdgeTime);
    operator.fact(3_000_000, set(4_000_000));
    let said = operator.history(0).join("");
    assert!(said.ends_with("(no NTP server answered)"), "{said}");
}
