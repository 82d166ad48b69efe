//! The service edge as a child process: started, killed, restarted, administered.

use std::ffi::{OsStr, OsString};
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
use rustix::process::Pid;
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

/// Where an edge runs and listens. The default is any free ports of the host's loopback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The command that starts it there, before its own: `nsenter` with its options, for instance.
    pub before: Vec<OsString>,
    /// The name in its certificate, by which connectors know it.
    pub name: String,
    /// Where connectors are to reach it, `address:port`.
    pub control: String,
    /// Where users are to reach it, `address:port`.
    pub proxy: String,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            before: Vec::new(),
            name: EDGE_NAME.to_owned(),
            control: ANY_PORT.to_owned(),
            proxy: ANY_PORT.to_owned(),
        }
    }
}

/// A service edge, on the host's loopback unless it was started elsewhere.
#[derive(Debug)]
pub struct EdgeProcess {
    executable: PathBuf,
    data: PathBuf,
    before: Vec<OsString>,
    child: Option<Child>,
    /// Where connectors reach it.
    control: SocketAddr,
    /// Where users reach it.
    proxy: SocketAddr,
    /// What its clock shows when it is started, where that is not this machine's time.
    clock: Option<String>,
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
    /// There is no library that tells a process another time.
    NoFakeTime,
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
        Self::start_at(data, Place::default())
    }

    /// The same, of an edge that is made and runs while its clock shows `clock`, as
    /// `2025-01-01 00:00:00` in UTC, and goes on from there. Its CA and certificate are of that time.
    ///
    /// # Errors
    /// As [`Self::start`], and [`EdgeError::NoFakeTime`].
    pub fn start_with_clock(data: &Path, clock: &str) -> Result<Self, EdgeError> {
        Self::start_by(data, Place::default(), Some(clock.to_owned()))
    }

    /// The same elsewhere.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_at(data: &Path, place: Place) -> Result<Self, EdgeError> {
        Self::start_by(data, place, None)
    }

    fn start_by(data: &Path, place: Place, clock: Option<String>) -> Result<Self, EdgeError> {
        let executable = find_executable()?;
        fs::create_dir_all(data).map_err(EdgeError::Io)?;
        let mut edge = Self {
            executable,
            data: data.to_owned(),
            before: place.before,
            child: None,
            control: UNKNOWN,
            proxy: UNKNOWN,
            clock,
        };
        edge.admin(&["init", "--name", &place.name])?;
        let (child, control, proxy) = edge.spawn(&place.control, &place.proxy)?;
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

    /// Its process; `None` while it does not run.
    pub fn pid(&self) -> Option<Pid> {
        self.child.as_ref().map(Child::pid)
    }

    /// Kills it without warning (SIGKILL).
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// The certificate that it shows, DER. It makes a new one when, by its clock, a third of the old
    /// one's life is left.
    ///
    /// # Errors
    /// If there is none yet.
    pub fn certificate(&self) -> io::Result<Vec<u8>> {
        fs::read(self.data.join(CERTIFICATE))
    }

    /// Has it show an older certificate of its own again, from the next start on and if that one holds
    /// by its clock then.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn replay_certificate(&self, der: &[u8]) -> io::Result<()> {
        fs::write(self.data.join(CERTIFICATE), der)
    }

    /// Starts it again, after [`Self::kill`] or not, with the same data, the same ports and this
    /// machine's time.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self) -> Result<(), EdgeError> {
        self.restart_by(None)
    }

    /// The same with a clock as in [`Self::start_with_clock`].
    ///
    /// # Errors
    /// As [`Self::start_with_clock`].
    pub fn restart_with_clock(&mut self, clock: &str) -> Result<(), EdgeError> {
        self.restart_by(Some(clock.to_owned()))
    }

    fn restart_by(&mut self, clock: Option<String>) -> Result<(), EdgeError> {
        self.kill();
        self.clock = clock;
        let (control, proxy) = (self.control.to_string(), self.proxy.to_string());
        let (child, ..) = self.spawn(&control, &proxy)?;
        self.child = Some(child);
        Ok(())
    }

    /// Runs an administrator's command, `edge --data DIR --json <words>`, and returns its answer.
    ///
    /// # Errors
    /// [`EdgeError::Admin`] when it fails or does not print JSON.
    pub fn admin<S: AsRef<OsStr>>(&self, words: &[S]) -> Result<Value, EdgeError> {
        let mut command = Command::new(&self.executable);
        let output = command
            .envs(self.environment()?)
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

    fn spawn(
        &self,
        control: &str,
        proxy: &str,
    ) -> Result<(Child, SocketAddr, SocketAddr), EdgeError> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.data.join(LOG_FILE));
        let log = log.map_err(EdgeError::Io)?;
        let environment = self.environment()?;
        let mut words = self.before.clone();
        words.push(self.executable.clone().into());
        let program = PathBuf::from(words.remove(0));
        let mut child = Child::start(&program, |command| {
            command
                .args(words)
                .arg("--data")
                .arg(&self.data)
                .args(["serve", "--listen", control, "--proxy", proxy]);
            command
                .envs(environment)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(log);
        })
        .map_err(EdgeError::Io)?;
        let line = child.take_stdout().map(first_line).unwrap_or_default();
        let (control, proxy) = parse_ready(&line).ok_or_else(|| EdgeError::NotReady {
            line: line.clone(),
            log: self.log(),
        })?;
        Ok((child, control, proxy))
    }

    /// What has its process see another time. Its timers are those of this machine: what it waits for
    /// does not depend on the calendar.
    fn environment(&self) -> Result<Vec<(&'static str, OsString)>, EdgeError> {
        let Some(clock) = &self.clock else {
            return Ok(Vec::new());
        };
        let library = fake_time_library().ok_or(EdgeError::NoFakeTime)?;
        Ok(vec![
            ("LD_PRELOAD", library.into()),
            ("FAKETIME", format!("@{clock}").into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("TZ", "UTC".into()),
        ])
    }
}

/// Debian's libfaketime, the flavour for programs with threads.
fn fake_time_library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    folders
        .flatten()
        .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.is_file())
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
/// In the data folder; the edge's own work.
const CERTIFICATE: &str = "edge.der";

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
            Self::NoFakeTime => f.write_str(
                "no libfaketime is installed, which shows the service edge another time: install \
                 Debian's package faketime",
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
    fn an_edge_of_another_time_shows_the_certificate_of_that_time_until_its_clock_is_right() {
        let data =
            std::env::temp_dir().join(format!("outgate-edge-of-2025-{}", std::process::id()));
        let mut edge = EdgeProcess::start_with_clock(&data, "2025-01-01 00:00:00").unwrap();
        assert!(edge.log().contains("2025-01-01T00:00"), "{}", edge.log());
        let old = edge.certificate().unwrap();
        edge.restart().unwrap();
        assert_ne!(edge.certificate().unwrap(), old, "it was made anew");
        edge.kill();
        edge.replay_certificate(&old).unwrap();
        edge.restart_with_clock("2025-01-05 00:00:00").unwrap();
        assert!(edge.log().contains("2025-01-05T00:00"), "{}", edge.log());
        assert_eq!(edge.certificate().unwrap(), old, "it is shown as it was");
        fs::remove_dir_all(data).unwrap();
    }

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
