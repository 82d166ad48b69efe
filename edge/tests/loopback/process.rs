//! The program itself: what it prints, how it ends, and what survives when it is killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use connector_proto::control::ConnectorEvent;
use connector_proto::key::ProvisioningKey;
use connector_proto::message::CloseCode;
use serde_json::Value;

use crate::harness::{Identity, Machine, enrol, next_event, soon, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_edge_starts_again_where_it_was_and_its_connectors_need_no_key() {
    let scratch = Scratch::with_edge();
    let mut edge = scratch.serve("127.0.0.1:0");
    let key = ProvisioningKey::parse(&scratch.text(&["key", "mint", "--group", "hq"])).unwrap();
    let machine = Machine::new();
    let enrolment = enrol(edge.control, &key, &machine).await.unwrap();
    let identity = Identity { machine, enrolment };
    let (_tls, _channel, event) = identity.greet(edge.control).await;
    assert!(
        matches!(event, ConnectorEvent::Welcomed { .. }),
        "{event:?}"
    );
    until("the list", || {
        scratch.json(&["connector", "list"])[0]["connected"] == true
    })
    .await;

    edge.child.kill().unwrap();
    edge.child.wait().unwrap();
    assert_eq!(scratch.json(&["connector", "list"])[0]["connected"], false);

    let edge = scratch.serve(&edge.control.to_string());
    let (mut tls, mut channel, event) = identity.greet(edge.control).await;
    assert!(
        matches!(event, ConnectorEvent::Welcomed { .. }),
        "{event:?}"
    );
    assert_eq!(scratch.json(&["key", "list"])[0]["uses"], 1);
    let proof = soon("the proof", next_event(&mut tls, &mut channel)).await;
    assert_eq!(proof.unwrap(), ConnectorEvent::PathProven);

    let ended = tokio::task::spawn_blocking(move || edge.terminate());
    let farewell = soon("the farewell", next_event(&mut tls, &mut channel))
        .await
        .unwrap();
    assert_eq!(
        farewell,
        ConnectorEvent::Closed {
            code: CloseCode::GoingAway
        }
    );
    let (code, more_output) = ended.await.unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(more_output, "", "one line is all it prints");
    scratch.text(&["audit", "verify"]);
}

#[test]
fn what_fails_exits_with_1_and_what_is_not_understood_with_2() {
    let scratch = Scratch::with_edge();
    let code = |arguments: &[&str]| scratch.run(arguments, "").status.code();
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
    let scratch = Scratch::with_edge();
    let minted = scratch.json(&["key", "mint", "--group", "hq", "--label", "plant"]);
    let made = scratch.json(&["user", "add", "mona"]);
    let typed = scratch.run(
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
        let value = scratch.json(&list);
        assert_eq!(value.as_array().unwrap().len(), len, "{list:?}: {value}");
        let text = value.to_string() + &scratch.text(&list);
        for secret in secrets.iter().chain(&["typed secret", "argon2"]) {
            assert!(!text.contains(secret), "{list:?}");
        }
    }
    assert_eq!(scratch.json(&["key", "list"])[0]["label"], "plant");
}

#[test]
fn keys_and_database_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::with_edge();
    let edge = scratch.serve("127.0.0.1:0");
    let mode = |path: &PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&scratch.dir), 0o700);
    for file in std::fs::read_dir(&scratch.dir).unwrap() {
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

/// A data directory with an edge and a group.
struct Scratch {
    dir: PathBuf,
}

/// An `edge serve` that runs.
struct Serving {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    control: SocketAddr,
}

impl Scratch {
    fn with_edge() -> Self {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let name = format!("edge-process-{:016x}", u64::from_be_bytes(random));
        let scratch = Self {
            dir: std::env::temp_dir().join(name),
        };
        scratch.text(&["init", "--name", "edge.example.org"]);
        scratch.text(&["group", "add", "hq"]);
        scratch
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge"));
        command.arg("--data").arg(&self.dir);
        command
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command();
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        // A command that reads nothing may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments, "");
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {problem}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [&["--json"], arguments].concat();
        serde_json::from_str(&self.text(&arguments)).unwrap()
    }

    fn serve(&self, listen: &str) -> Serving {
        let mut command = self.command();
        command.args(["serve", "--listen", listen, "--proxy", "127.0.0.1:0"]);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        let ["ready", control, proxy] = words[..] else {
            panic!("{line:?}")
        };
        assert!(
            proxy
                .strip_prefix("proxy=")
                .unwrap()
                .parse::<SocketAddr>()
                .is_ok()
        );
        let control = control.strip_prefix("control=").unwrap().parse().unwrap();
        Serving {
            child,
            stdout,
            control,
        }
    }
}

impl Serving {
    /// Sends SIGTERM; the exit code, and what else was printed.
    fn terminate(mut self) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let code = self.child.wait().unwrap().code();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (code, rest)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // A test that failed must leave no edge behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
