//! What an administrator changes about groups and connectors, and what is shown of it.

use connector_proto::control::ConnectorEvent;
use connector_proto::message::{CloseCode, Fingerprint, Verdict};

use crate::harness::{FINGERPRINT, Identity, Machine, Program, enrol, next_event, soon, until};

#[test]
fn a_group_says_how_long_certificates_hold_and_what_becomes_of_moved_machines() {
    let program = Program::with_edge();
    let shown = |name| program.json(&["group", "show", "hq"])[name].clone();
    assert_eq!(shown("certificate_life_s"), 86_400);
    assert_eq!(shown("moved_nic"), "hold");
    let set = |arguments: &[&str]| {
        let arguments = [&["group", "set", "hq"], arguments].concat();
        program.run(&arguments, "").status.code()
    };
    assert_eq!(
        set(&["--certificate-life", "7d", "--moved-nic", "accept"]),
        Some(0)
    );
    assert_eq!(shown("certificate_life_s"), 604_800);
    assert_eq!(set(&["--moved-nic", "hold"]), Some(0));
    assert_eq!(
        (shown("certificate_life_s"), shown("moved_nic")),
        (604_800.into(), "hold".into())
    );
    let text = program.text(&["group", "show", "hq"]);
    assert!(text.contains("certificates hold  7d"), "{text}");
    assert_eq!(set(&["--certificate-life", "8d"]), Some(1));
    assert_eq!(set(&["--certificate-life", "1w"]), Some(2));
    assert_eq!(set(&["--moved-nic", "perhaps"]), Some(2));
    assert_eq!(set(&[]), Some(2), "nothing to set");
    let code = |arguments: &[&str]| program.run(arguments, "").status.code();
    assert_eq!(code(&["group", "show", "none"]), Some(1));
    program.text(&["audit", "verify"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_is_disabled_and_enabled_by_commands_while_the_edge_serves() {
    let program = Program::with_edge();
    let edge = program.serve("127.0.0.1:0");
    let machine = Machine::new();
    let enrolment = enrol(edge.control, &program.mint(1), &machine)
        .await
        .unwrap();
    let identity = Identity { machine, enrolment };
    let (mut tls, mut channel) = identity.connect(edge.control).await;
    program.text(&["connector", "disable", identity.name()]);
    let farewell = async {
        loop {
            let event = next_event(&mut tls, &mut channel).await.unwrap();
            if let Some(ConnectorEvent::Closed { code }) = identity.heed(&mut channel, event) {
                return code;
            }
        }
    };
    assert_eq!(soon("the farewell", farewell).await, CloseCode::Disabled);
    let shown = program.json(&["connector", "show", identity.name()]);
    assert_eq!(shown["state"], "disabled");
    assert_eq!(shown["certificates"][0]["generation"], 1);
    assert!(shown["certificates"][0]["used_at"].is_i64(), "{shown}");
    program.text(&["connector", "enable", identity.name()]);
    drop(identity.connect(edge.control).await);
    assert_eq!(edge.terminate().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_held_is_shown_and_confirmed_by_its_connectors_name() {
    let program = Program::with_edge();
    let edge = program.serve("127.0.0.1:0");
    let machine = Machine::new();
    let enrolment = enrol(edge.control, &program.mint(1), &machine)
        .await
        .unwrap();
    let identity = Identity { machine, enrolment };
    drop(identity.connect(edge.control).await);
    let confirm = || {
        program
            .run(&["connector", "confirm", identity.name()], "")
            .status
            .code()
    };
    assert_eq!(confirm(), Some(1), "nobody is held");
    until("the end of the channel", || {
        program.connectors()[0]["connected"] == false
    })
    .await;

    let moved = identity.copied_to(Fingerprint {
        mac: [2, 0, 0, 0, 0, 9],
        ..FINGERPRINT
    });
    let (_, _, event) = moved.greet(edge.control).await;
    let held = ConnectorEvent::Recognised {
        verdict: Verdict::MovedNic,
        admitted: false,
    };
    assert_eq!(event, held);
    let shown = program.json(&["connector", "show", identity.name()]);
    assert_eq!(shown["held"]["mac"], "02:00:00:00:00:09");
    let text = program.text(&["connector", "show", identity.name()]);
    assert!(text.contains("02:00:00:00:00:09"), "{text}");
    assert_eq!(confirm(), Some(0));
    drop(moved.connect(edge.control).await);
    let shown = program.json(&["connector", "show", identity.name()]);
    assert_eq!(
        (&shown["mac"], &shown["held"]),
        (&"02:00:00:00:00:09".into(), &().into())
    );
    assert_eq!(edge.terminate().0, Some(0));
    program.text(&["audit", "verify"]);
}
