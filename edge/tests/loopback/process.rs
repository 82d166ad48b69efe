//! The program itself: what it prints, how it ends, and what survives when it is killed.

use std::path::PathBuf;

use connector_proto::control::ConnectorEvent;
use connector_proto::key::ProvisioningKey;
use connector_proto::message::CloseCode;

use crate::harness::{Identity, Machine, Program, enrol, next_event, soon, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_edge_starts_again_where_it_was_and_its_connectors_need_no_key() {
    let program = Program::with_edge();
    let edge = program.serve("127.0.0.1:0");
    let key = ProvisioningKey::parse(&program.text(&["key", "mint", "--group", "hq"])).unwrap();
    let machine = Machine::new();
    let enrolment = enrol(edge.control, &key, &machine).await.unwrap();
    let identity = Identity { machine, enrolment };
    let (_tls, _channel, event) = identity.greet(edge.control).await;
    assert!(
        matches!(event, ConnectorEvent::Welcomed { .. }),
        "{event:?}"
    );
    until("the list", || {
        program.json(&["connector", "list"])[0]["connected"] == true
    })
    .await;

    let control = edge.control.to_string();
    edge.kill();
    assert_eq!(program.json(&["connector", "list"])[0]["connected"], false);

    let edge = program.serve(&control);
    let (mut tls, mut channel) = identity.connect(edge.control).await;
    assert_eq!(program.json(&["key", "list"])[0]["uses"], 1);

    let ended = tokio::task::spawn_blocking(move || edge.terminate());
    let farewell = async {
        loop {
            let event = next_event(&mut tls, &mut channel).await.unwrap();
            if let Some(ConnectorEvent::Closed { code }) = identity.heed(&mut channel, event) {
                return code;
            }
        }
    };
    assert_eq!(soon("the farewell", farewell).await, CloseCode::GoingAway);
    let (code, more_output) = ended.await.unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(more_output, "", "one line is all it prints");
    program.text(&["audit", "verify"]);
}

#[test]
fn what_fails_exits_with_1_and_what_is_not_understood_with_2() {
    let program = Program::with_edge();
    let code = |arguments: &[&str]| program.run(arguments, "").status.code();
    assert_eq!(code(&["group", "list"]), Some(0));
    assert_eq!(code(&["group", "add", "hq"]), Some(1));
    assert_eq!(code(&["init", "--name", "again.example.org"]), Some(1));
    assert_eq!(code(&["key", "mint", "--group", "none"]), Some(1));
    assert_eq!(code(&["key", "mint"]), Some(2));
    assert_eq!(
        code(&["key", "mint", "--group", "hq", "--expires", "2 weeks"]),
        Some(2)
    );
    assert_eq!(
        code(&["key", "mint", "--group", "hq", "--max-uses", "0"]),
        Some(2)
    );
    assert_eq!(
        code(&[
            "app", "add", "--group", "hq", "--name", "a", "--host", "a b", "--port", "1"
        ]),
        Some(1)
    );
    assert_eq!(code(&["nonsense"]), Some(2));
}

#[test]
fn every_list_is_json_when_asked_and_no_secret_is_in_it() {
    let program = Program::with_edge();
    let minted = program.json(&["key", "mint", "--group", "hq", "--label", "plant"]);
    let made = program.json(&["user", "add", "mona"]);
    let typed = program.run(
        &["user", "add", "leo", "--password-stdin"],
        "typed secret\n",
    );
    assert!(typed.status.success());
    let secrets = [&minted["key"], &made["password"]].map(|value| value.as_str().unwrap());
    for (list, len) in [
        (["group", "list"], 1),
        (["key", "list"], 1),
        (["app", "list"], 0),
        (["user", "list"], 2),
        (["connector", "list"], 0),
        (["audit", "list"], 5),
    ] {
        let value = program.json(&list);
        assert_eq!(value.as_array().unwrap().len(), len, "{list:?}: {value}");
        let text = value.to_string() + &program.text(&list);
        for secret in secrets.iter().chain(&["typed secret", "argon2"]) {
            assert!(!text.contains(secret), "{list:?}");
        }
    }
    assert_eq!(program.json(&["key", "list"])[0]["label"], "plant");
}

#[test]
fn keys_and_database_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let program = Program::with_edge();
    let edge = program.serve("127.0.0.1:0");
    let mode = |path: &PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&program.dir), 0o700);
    for file in std::fs::read_dir(&program.dir).unwrap() {
        let path = file.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension != "lock")
        {
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }
    assert_eq!(edge.terminate().0, Some(0));
}
