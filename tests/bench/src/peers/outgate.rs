//! Outgate itself: the service edge, and the connector with this program in PID 1's place.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use connector_proto::local::EngineSetting;
use serde_json::Value;

use crate::load::door::Door;
use crate::program::Program;
use crate::scene::{Running, Scene, TARGET, TUNNEL, USERS};
use crate::trouble::Trouble;

mod pid_one;

/// With the engine in user space.
pub fn in_place(scene: &Scene) -> Result<Running, Trouble> {
    start(scene, EngineSetting::User)
}

/// With the kernel's TLS.
pub fn kernel(scene: &Scene) -> Result<Running, Trouble> {
    let protocols = fs::read_to_string(UPPER_PROTOCOLS).unwrap_or_default();
    match protocols.split_whitespace().any(|name| name == "tls") {
        true => start(scene, EngineSetting::Kernel),
        false => Err(Trouble::Missing(format!(
            "this kernel has no TLS (modprobe tls, then {UPPER_PROTOCOLS} names it)"
        ))),
    }
}

/// What the kernel can run on top of TCP.
const UPPER_PROTOCOLS: &str = "/proc/sys/net/ipv4/tcp_available_ulp";

/// Starts edge and connector, and enrols the connector.
fn start(scene: &Scene, engine: EngineSetting) -> Result<Running, Trouble> {
    let program = scene.places().edge.as_ref();
    let missing = || Trouble::Missing("the service edge was not built".to_owned());
    let admin = Admin {
        scene,
        edge: program.ok_or_else(missing)?,
    };
    admin.make()?;
    let edge = admin.serve()?;
    let minted = admin.run(&["key", "mint", "--group", "bench"])?;
    let connector = pid_one::start(scene, &text(&minted, "key")?, engine)?;
    let user = admin.run(&["user", "add", "mona"])?;
    let password = text(&user, "password")?;
    let door = Door::proxy(USERS, TARGET, "mona", &password);
    Ok(Running::new(door, edge, connector))
}

/// The edge's administrator.
struct Admin<'a> {
    scene: &'a Scene,
    edge: &'a std::path::Path,
}

impl Admin<'_> {
    /// Makes an edge with the application, in memory; the one of the round before goes.
    fn make(&self) -> Result<(), Trouble> {
        let data = self.scene.file("edge-data");
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        let (name, host) = (TUNNEL.ip().to_string(), TARGET.ip().to_string());
        let port = TARGET.port().to_string();
        self.run(&["init", "--name", &name])?;
        self.run(&["group", "add", "bench"])?;
        self.run(&[
            "app", "add", "--group", "bench", "--name", "load", "--host", &host, "--port", &port,
        ])?;
        Ok(())
    }

    /// Runs a command and returns its answer.
    fn run(&self, words: &[&str]) -> Result<Value, Trouble> {
        let output = self.command().arg("--json").args(words).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let what = || format!("edge {}: {}", words.join(" "), said.trim());
        match serde_json::from_slice(&output.stdout) {
            Ok(answer) if output.status.success() => Ok(answer),
            _ => Err(Trouble::Failed(what())),
        }
    }

    /// Starts it, and returns when it listens.
    fn serve(&self) -> Result<Program, Trouble> {
        let mut command = self.command();
        command.args(["serve", "--listen", &TUNNEL.to_string()]);
        command
            .args(["--proxy", &USERS.to_string()])
            .stdin(Stdio::null());
        let mut program = self.scene.start_piped("edge", command)?;
        let mut line = String::new();
        if let Some(output) = program.take_output() {
            BufReader::new(output).read_line(&mut line)?;
        }
        match line.starts_with("ready ") {
            true => Ok(program),
            false => {
                let words = program.last_words();
                Err(Trouble::Failed(format!(
                    "the service edge said {line:?} and logged:\n{words}"
                )))
            }
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.edge);
        command.arg("--data").arg(self.scene.file("edge-data"));
        command
    }
}

fn text(answer: &Value, key: &str) -> Result<String, Trouble> {
    let missing = || Trouble::Failed(format!("the service edge's answer has no {key:?}"));
    answer[key].as_str().map(str::to_owned).ok_or_else(missing)
}
