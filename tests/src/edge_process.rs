//! The service edge as a child process: started, killed, restarted, administered.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use qemu::child::Child;
use serde_json::Value;

use crate::folders;
use crate::network::address::EDGE_NAME;

/// Names the edge's executable, when it is not beside the tests'.
pub const EXECUTABLE_VARIABLE: &str = "OUTGATE_EDGE";

/// How long the edge may take to listen.
const READY_TIME_MAX: Duration = Duration::from_secs(20);

/// Any free port of the loopback.
const ANY_PORT: &str = "127.0.0.1:0";

/// Before it has said where it listens.
const UNKNOWN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// A service edge that runs on the host's loopback.
#[derive(Debug)]
pub struct EdgeProcess {
    executable: PathBuf,
    data: PathBuf,
    child: Option<Child>,
    /// Where connectors reach it.
    control: SocketAddr,
    /// Where users reach it.
    proxy: SocketAddr,
}

/// Why the edge does not run or does not obey.
#[derive(Debug)]
pub enum EdgeError {
    /// An administrator's command failed.
    Admin {
        /// The command's words.
        command: String,
        /// What it printed.
        output: String,
    },
    /// The executable is nowhere.
    NoExecutable(PathBuf),
    /// A file or process could not be made.
    Io(io::Error),
    /// It did not say where it listens.
    NotReady {
        /// What it printed instead.
        line: String,
        /// Its log.
        log: String,
    },
}

impl EdgeProcess {
    /// Makes a new edge in the folder `data` and starts it, on free ports.
    ///
    /// # Errors
    /// [`EdgeError`], with the edge's own words when it ends.
    pub fn start(data: &Path) -> Result<Self, EdgeError> {
        let executable = find_executable()?;
        fs::create_dir_all(data).map_err(EdgeError::Io)?;
        let mut edge = Self {
            executable,
            data: data.to_owned(),
            child: None,
            control: UNKNOWN,
            proxy: UNKNOWN,
        };
        edge.admin(&["init", "--name", EDGE_NAME])?;
        let (child, control, proxy) = spawn(&edge.executable, data, ANY_PORT, ANY_PORT)?;
        (edge.child, edge.control, edge.proxy) = (Some(child), control, proxy);
        Ok(edge)
    }

    /// Where connectors reach it on the host.
    pub fn control(&self) -> SocketAddr {
        self.control
    }

    /// Where users reach it on the host: an HTTP proxy.
    pub fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    /// Kills it without warning (SIGKILL).
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// Starts it again, after [`Self::kill`] or not, with the same data and the same ports.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self) -> Result<(), EdgeError> {
        self.kill();
        let (control, proxy) = (self.control.to_string(), self.proxy.to_string());
        let (child, ..) = spawn(&self.executable, &self.data, &control, &proxy)?;
        self.child = Some(child);
        Ok(())
    }

    /// Runs an administrator's command, `edge --data DIR --json <words>`, and returns its answer.
    ///
    /// # Errors
    /// [`EdgeError::Admin`] when it fails or does not print JSON.
    pub fn admin<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Value, EdgeError> {
        let output = Command::new(&self.executable)
            .arg("--data")
            .arg(&self.data)
            .arg("--json")
            .args(words)
            .stdin(Stdio::null())
            .output()
            .map_err(EdgeError::Io)?;
        let parsed = serde_json::from_slice(&output.stdout);
        match parsed {
            Ok(value) if output.status.success() => Ok(value),
            _ => Err(EdgeError::Admin {
                command: words
                    .iter()
                    .map(|word| word.as_ref().to_string_lossy())
                    .collect::<Vec<_>>()
                    .join(" "),
                output: format!(
                    "{}{}",
                    String::from_utf8_lossy(&output.stdout),
                    String::from_utf8_lossy(&output.stderr)
                ),
            }),
        }
    }

    /// What it wrote to stderr, over all its starts.
    pub fn log(&self) -> String {
        read_log(&self.data)
    }
}

fn spawn(
    executable: &Path,
    data: &Path,
    control: &str,
    proxy: &str,
) -> Result<(Child, SocketAddr, SocketAddr), EdgeError> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(data.join(LOG_FILE));
    let log = log.map_err(EdgeError::Io)?;
    let mut child = Child::start(executable, |command| {
        command
            .arg("--data")
            .arg(data)
            .args(["serve", "--listen", control, "--proxy", proxy]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
    })
    .map_err(EdgeError::Io)?;
    let line = child.take_stdout().map(first_line).unwrap_or_default();
    let (control, proxy) = parse_ready(&line).ok_or_else(|| EdgeError::NotReady {
        line: line.clone(),
        log: read_log(data),
    })?;
    Ok((child, control, proxy))
}

/// The first line of output, empty when none comes in time. What follows is read and dropped, so
/// that the pipe never fills.
fn first_line(stdout: ChildStdout) -> String {
    let (sender, lines) = mpsc::sync_channel(1);
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // Full or closed: only the first line is waited for.
            let _ = sender.try_send(line);
        }
    });
    // Without a line in time, or at the end of the output.
    lines.recv_timeout(READY_TIME_MAX).unwrap_or_default()
}

/// `ready control=ADDRESS proxy=ADDRESS`
fn parse_ready(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = line.strip_prefix("ready ")?.split_whitespace();
    let control = words.next()?.strip_prefix("control=")?.parse().ok()?;
    let proxy = words.next()?.strip_prefix("proxy=")?.parse().ok()?;
    Some((control, proxy))
}

/// What the environment names, else the build's own.
fn find_executable() -> Result<PathBuf, EdgeError> {
    let path = std::env::var_os(EXECUTABLE_VARIABLE)
        .map_or_else(|| folders::build_profile().join("edge"), PathBuf::from);
    if path.is_file() {
        Ok(path)
    } else {
        Err(EdgeError::NoExecutable(path))
    }
}

fn read_log(data: &Path) -> String {
    fs::read(data.join(LOG_FILE))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// In the data folder.
const LOG_FILE: &str = "edge.log";

impl fmt::Display for EdgeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin { command, output } => write!(f, "edge {command} failed: {output}"),
            Self::NoExecutable(path) => write!(
                f,
                "the service edge is not at {}: build it with cargo build --package edge, or name \
                 it in {EXECUTABLE_VARIABLE}",
                path.display()
            ),
            Self::Io(error) => write!(f, "the service edge cannot be started: {error}"),
            Self::NotReady { line, log } => write!(
                f,
                "the service edge did not say that it is ready within {READY_TIME_MAX:?} but \
                 {line:?}; its log:\n{log}"
            ),
        }
    }
}

impl std::error::Error for EdgeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_names_both_addresses() {
        let ready = parse_ready("ready control=127.0.0.1:1 proxy=127.0.0.1:2");
        assert_eq!(
            ready,
            Some((
                "127.0.0.1:1".parse().unwrap(),
                "127.0.0.1:2".parse().unwrap()
            ))
        );
        for other in ["", "ready", "ready control=127.0.0.1:1", "error: no"] {
            assert_eq!(parse_ready(other), None);
        }
    }
}
