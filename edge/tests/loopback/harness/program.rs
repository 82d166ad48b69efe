//! The program itself, as an administrator runs it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use connector_proto::key::ProvisioningKey;
use serde_json::Value;

use super::{EDGE_NAME, GROUP};

const PROGRAM: &str = env!("CARGO_BIN_EXE_edge");

/// A data directory with an edge and a group, and the program that works on it.
pub struct Program {
    pub dir: PathBuf,
}

/// An `edge serve` that runs.
pub struct Serving {
    pub child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    pub control: SocketAddr,
}

impl Program {
    /// On a directory that is there, or is to be made.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub fn with_edge() -> Self {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let name = format!("edge-process-{:016x}", u64::from_be_bytes(random));
        let program = Self {
            dir: std::env::temp_dir().join(name),
        };
        program.text(&["init", "--name", EDGE_NAME]);
        program.text(&["group", "add", GROUP]);
        program
    }

    fn command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--data").arg(&self.dir);
        command
    }

    pub fn run(&self, arguments: &[&str], input: &str) -> Output {
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

    pub fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments, "");
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {problem}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [&["--json"], arguments].concat();
        serde_json::from_str(&self.text(&arguments)).unwrap()
    }

    /// A key that enrols so many.
    pub fn mint(&self, max_uses: u32) -> ProvisioningKey {
        let max_uses = max_uses.to_string();
        let key = self.text(&["key", "mint", "--group", GROUP, "--max-uses", &max_uses]);
        ProvisioningKey::parse(&key).unwrap()
    }

    /// The listed connectors.
    pub fn connectors(&self) -> Vec<Value> {
        self.json(&["connector", "list"])
            .as_array()
            .unwrap()
            .clone()
    }

    /// Uses spent of all keys together.
    pub fn uses(&self) -> u64 {
        let keys = self.json(&["key", "list"]);
        let uses = keys
            .as_array()
            .unwrap()
            .iter()
            .map(|key| key["uses"].as_u64());
        uses.map(Option::unwrap).sum()
    }

    pub fn serve(&self, listen: &str) -> Serving {
        // A write beyond a limit of the file's size is an error, as on a full disk, and no signal.
        self.serve_after("trap '' XFSZ", listen)
    }

    /// Serves in a process of which the shell has said something before.
    pub fn serve_after(&self, preparation: &str, listen: &str) -> Serving {
        let script = format!("{preparation}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, PROGRAM]);
        command.arg("--data").arg(&self.dir);
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
    /// Ends it as a crash does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// From here on no file of the edge can be written (`false`), or all can again.
    pub fn set_disk_full(&self, full: bool) {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let limit = Rlimit {
            current: full.then_some(0),
            maximum: None,
        };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Fsize, limit).unwrap();
    }

    /// Sends SIGTERM; the exit code, and what else was printed.
    pub fn terminate(mut self) -> (Option<i32>, String) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let code = self.child.wait().unwrap().code();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (code, rest)
    }
}

impl Drop for Program {
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
