//! The QEMU machine protocol: JSON lines over a socket, commands and events.
//!
//! Every answer is awaited for at most [`ANSWER_TIME_MAX`]; QEMU answers in milliseconds.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long an answer may take.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

/// Events kept until someone asks for them; the oldest are dropped beyond it.
const EVENTS_MAX: usize = 1000;

/// A control connection to a running QEMU.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
    /// A line that has not ended yet.
    line: Vec<u8>,
    events: VecDeque<Value>,
}

/// Why a command has no result.
#[derive(Debug)]
pub enum QmpError {
    /// QEMU closed the connection: it has ended.
    Closed,
    /// QEMU refused the command.
    Command {
        /// The command's name.
        name: String,
        /// QEMU's words.
        description: String,
    },
    /// The socket failed.
    Io(io::Error),
    /// QEMU sent what is not QMP.
    Protocol(String),
    /// Nothing came in time.
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
    },
}

impl Qmp {
    /// Shakes hands over a connected socket.
    ///
    /// # Errors
    /// When QEMU does not greet, or ends.
    pub fn new(stream: UnixStream) -> Result<Self, QmpError> {
        let mut qmp = Self {
            reader: BufReader::new(stream),
            line: Vec::new(),
            events: VecDeque::new(),
        };
        let greeting = qmp.read("the greeting", Instant::now() + ANSWER_TIME_MAX)?;
        if greeting.get("QMP").is_none() {
            return Err(QmpError::Protocol(greeting.to_string()));
        }
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and returns its result.
    ///
    /// # Errors
    /// [`QmpError::Command`] with QEMU's reason, or the connection's failure.
    pub fn execute(&mut self, name: &str, arguments: Value) -> Result<Value, QmpError> {
        let mut request = json!({ "execute": name, "arguments": arguments }).to_string();
        request.push('\n');
        self.reader
            .get_mut()
            .write_all(request.as_bytes())
            .map_err(QmpError::from_io)?;
        let deadline = Instant::now() + ANSWER_TIME_MAX;
        loop {
            let mut answer = self.read(name, deadline)?;
            if answer.get("event").is_some() {
                self.keep_event(answer);
            } else if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            } else if let Some(error) = answer.get("error") {
                let description = error["desc"]
                    .as_str()
                    .unwrap_or("no reason given")
                    .to_owned();
                return Err(QmpError::Command {
                    name: name.to_owned(),
                    description,
                });
            } else {
                return Err(QmpError::Protocol(answer.to_string()));
            }
        }
    }

    /// Waits for an event, which may have come already, and returns its data.
    ///
    /// # Errors
    /// [`QmpError::Timeout`], or [`QmpError::Closed`] when QEMU ends first.
    pub fn wait_event(&mut self, name: &str, timeout: Duration) -> Result<Value, QmpError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(at) = self.events.iter().position(|event| event["event"] == name) {
                let event = self.events.remove(at).unwrap_or_default();
                return Ok(event.get("data").cloned().unwrap_or_default());
            }
            let message = self.read(name, deadline)?;
            self.keep_event(message);
        }
    }

    /// Presses the power button.
    ///
    /// # Errors
    /// See [`Self::execute`]; so do all commands below.
    pub fn system_powerdown(&mut self) -> Result<(), QmpError> {
        self.execute("system_powerdown", json!({})).map(drop)
    }

    /// Presses the reset button.
    ///
    /// # Errors
    /// See [`Self::execute`].
    pub fn system_reset(&mut self) -> Result<(), QmpError> {
        self.execute("system_reset", json!({})).map(drop)
    }

    /// Halts the processors, as a suspend does.
    ///
    /// # Errors
    /// See [`Self::execute`].
    pub fn stop(&mut self) -> Result<(), QmpError> {
        self.execute("stop", json!({})).map(drop)
    }

    /// Lets the processors run on.
    ///
    /// # Errors
    /// See [`Self::execute`].
    pub fn cont(&mut self) -> Result<(), QmpError> {
        self.execute("cont", json!({})).map(drop)
    }

    /// Plugs or unplugs the network card's cable.
    ///
    /// # Errors
    /// See [`Self::execute`].
    pub fn set_link(&mut self, up: bool) -> Result<(), QmpError> {
        self.execute("set_link", json!({ "name": "nic0", "up": up }))
            .map(drop)
    }

    /// Writes a picture of the screen, PPM, to a file.
    ///
    /// # Errors
    /// See [`Self::execute`].
    pub fn screendump(&mut self, file: &Path) -> Result<(), QmpError> {
        self.execute("screendump", json!({ "filename": file }))
            .map(drop)
    }

    /// Writes `bytes` bytes of physical memory from `address` on to a file.
    ///
    /// # Errors
    /// See [`Self::execute`].
    pub fn pmemsave(&mut self, address: u64, bytes: usize, file: &Path) -> Result<(), QmpError> {
        let arguments = json!({ "val": address, "size": bytes, "filename": file });
        self.execute("pmemsave", arguments).map(drop)
    }

    /// Presses keys together, by QEMU's key codes, and releases them after `hold_ms`.
    /// QEMU keeps the order of several calls and the time between them.
    ///
    /// # Errors
    /// See [`Self::execute`].
    pub fn send_key(&mut self, codes: &[&str], hold_ms: u32) -> Result<(), QmpError> {
        let keys: Vec<_> = codes
            .iter()
            .map(|code| json!({ "type": "qcode", "data": code }))
            .collect();
        self.execute("send-key", json!({ "keys": keys, "hold-time": hold_ms }))
            .map(drop)
    }

    /// Saves the machine, memory and all, as a snapshot on its disk, which is to be a qcow2. A
    /// [`crate::machine::Machine::snapshot`] of this name goes on from there.
    ///
    /// # Errors
    /// See [`Self::execute`].
    pub fn save_snapshot(&mut self, name: &str) -> Result<(), QmpError> {
        self.monitor(&format!("savevm {name}"))
    }

    /// Takes the machine back to a snapshot while it runs. Its VM generation id stays as it is.
    ///
    /// # Errors
    /// See [`Self::execute`].
    pub fn load_snapshot(&mut self, name: &str) -> Result<(), QmpError> {
        self.monitor(&format!("loadvm {name}"))
    }

    /// Runs a command of the monitor for people, which says nothing unless it fails.
    fn monitor(&mut self, line: &str) -> Result<(), QmpError> {
        let said = self.execute("human-monitor-command", json!({ "command-line": line }))?;
        match said.as_str().map(str::trim) {
            Some("") => Ok(()),
            said => Err(QmpError::Command {
                name: line.to_owned(),
                description: said.unwrap_or("no words").to_owned(),
            }),
        }
    }

    /// Ends QEMU.
    ///
    /// # Errors
    /// See [`Self::execute`].
    pub fn quit(&mut self) -> Result<(), QmpError> {
        match self.execute("quit", json!({})) {
            Ok(_) | Err(QmpError::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn keep_event(&mut self, event: Value) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// The next message.
    fn read(&mut self, what: &str, deadline: Instant) -> Result<Value, QmpError> {
        let started = Instant::now();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let waited = deadline.saturating_duration_since(started);
                return Err(QmpError::Timeout {
                    what: what.to_owned(),
                    waited,
                });
            }
            self.reader
                .get_ref()
                .set_read_timeout(Some(left))
                .map_err(QmpError::Io)?;
            match self.reader.read_until(b'\n', &mut self.line) {
                Ok(0) => return Err(QmpError::Closed),
                Ok(_) if self.line.ends_with(b"\n") => break,
                Ok(_) => return Err(QmpError::Closed),
                // What was read so far stays in `line`.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(QmpError::from_io(error)),
            }
        }
        let line = std::mem::take(&mut self.line);
        serde_json::from_slice(&line)
            .map_err(|_| QmpError::Protocol(String::from_utf8_lossy(&line).into_owned()))
    }
}

impl QmpError {
    fn from_io(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

impl fmt::Display for QmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("QEMU has ended"),
            Self::Command { name, description } => write!(f, "QEMU refused {name}: {description}"),
            Self::Io(error) => write!(f, "QEMU's control socket failed: {error}"),
            Self::Protocol(message) => write!(f, "QEMU sent an unknown message: {message}"),
            Self::Timeout { what, waited } => {
                write!(f, "QEMU did not send {what} within {waited:?}")
            }
        }
    }
}

impl std::error::Error for QmpError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn events_between_command_and_answer_are_kept() {
        let mut qmp = scripted(&[
            "{\"event\": \"STOP\", \"data\": {\"why\": 1}}\n{\"return\": {\"ok\": true}}\n",
        ]);
        assert_eq!(
            qmp.execute("stop", json!({})).unwrap(),
            json!({ "ok": true })
        );
        assert_eq!(
            qmp.wait_event("STOP", ANSWER_TIME_MAX).unwrap(),
            json!({ "why": 1 })
        );
    }

    #[test]
    fn a_refusal_carries_qemus_words() {
        let mut qmp = scripted(&[
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such device\"}}\n",
        ]);
        let error = qmp.set_link(false).unwrap_err();
        assert_eq!(error.to_string(), "QEMU refused set_link: no such device");
    }

    #[test]
    fn a_snapshot_that_cannot_be_saved_is_an_error_though_qemu_only_says_so() {
        let mut qmp = scripted(&[
            "{\"return\": \"\"}\n",
            "{\"return\": \"Error: no block device\\r\\n\"}\n",
        ]);
        qmp.save_snapshot("one").unwrap();
        let error = qmp.load_snapshot("one").unwrap_err().to_string();
        assert_eq!(error, "QEMU refused loadvm one: Error: no block device");
    }

    #[test]
    fn the_end_of_qemu_is_told_from_silence() {
        let mut qmp = scripted(&[]);
        assert!(matches!(qmp.stop(), Err(QmpError::Closed)));
    }

    /// A peer that greets, agrees to the capabilities, answers each command with the next line,
    /// and ends.
    fn scripted(answers: &'static [&'static str]) -> Qmp {
        let (near, far) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut far = BufReader::new(far);
            far.get_mut().write_all(b"{\"QMP\": {}}\n").unwrap();
            let mut request = String::new();
            for answer in ["{\"return\": {}}\n"].iter().chain(answers) {
                far.read_line(&mut request).unwrap();
                far.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        });
        Qmp::new(near).unwrap()
    }
}
