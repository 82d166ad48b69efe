//! The serial console of a running machine: reads all the time, waits for words, types.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::transcript::Transcript;

/// How many lines a failed wait quotes.
const QUOTED_LINES: usize = 40;

/// The near end of a serial line.
///
/// A thread reads whatever comes, so that the guest is never held up, and keeps all of it.
#[derive(Debug)]
pub struct Console {
    line: UnixStream,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    heard: Mutex<Heard>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Heard {
    transcript: Transcript,
    /// Where in the text the next wait begins, in bytes.
    cursor: usize,
    /// The machine is gone.
    closed: bool,
}

/// Why a wait ended without what it waited for.
#[derive(Debug)]
pub enum ConsoleError {
    /// The machine ended first.
    Closed {
        /// What was waited for.
        patterns: Vec<String>,
        /// The last lines of the console.
        last_lines: String,
    },
    /// Writing to the line failed.
    Io(io::Error),
    /// It did not come in time.
    Timeout {
        /// What was waited for.
        patterns: Vec<String>,
        /// How long.
        waited: Duration,
        /// The last lines of the console.
        last_lines: String,
    },
}

/// What a wait found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which of the patterns it was, as an index.
    pub pattern: usize,
    /// The text since the previous find, up to this one.
    pub before: String,
}

impl Console {
    /// A console over a connected socket.
    ///
    /// # Errors
    /// Those of duplicating the socket.
    pub fn new(line: UnixStream) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let reader = line.try_clone()?;
        let shared_with_reader = Arc::clone(&shared);
        thread::Builder::new()
            .name("serial console".to_owned())
            .spawn(move || read_all(reader, &shared_with_reader))?;
        Ok(Self { line, shared })
    }

    /// Waits until the text after the previous find contains `pattern`, and returns what came
    /// before it. The next wait begins after it.
    ///
    /// # Errors
    /// [`ConsoleError::Timeout`] or [`ConsoleError::Closed`], with the last 40 lines.
    pub fn wait_for(&self, pattern: &str, timeout: Duration) -> Result<String, ConsoleError> {
        self.wait_for_any(&[pattern], timeout)
            .map(|found| found.before)
    }

    /// Like [`Self::wait_for`] for the pattern that comes first; of two at the same place, the one
    /// listed first.
    ///
    /// # Errors
    /// [`ConsoleError::Timeout`] or [`ConsoleError::Closed`], with the last 40 lines.
    pub fn wait_for_any(
        &self,
        patterns: &[&str],
        timeout: Duration,
    ) -> Result<Found, ConsoleError> {
        let deadline = Instant::now() + timeout;
        let mut heard = self.shared.lock();
        loop {
            if let Some(found) = heard.find(patterns) {
                return Ok(found);
            }
            let owned = || patterns.iter().map(|&pattern| pattern.to_owned()).collect();
            let last_lines = || heard.transcript.last_lines(QUOTED_LINES);
            if heard.closed {
                return Err(ConsoleError::Closed {
                    patterns: owned(),
                    last_lines: last_lines(),
                });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ConsoleError::Timeout {
                    patterns: owned(),
                    waited: timeout,
                    last_lines: last_lines(),
                });
            }
            heard = self
                .shared
                .more
                .wait_timeout(heard, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Types `text` one character at a time, as a person's terminal does. `\r` is Enter.
    ///
    /// # Errors
    /// [`ConsoleError::Io`] when the machine is gone.
    pub fn type_text(&self, text: &str) -> Result<(), ConsoleError> {
        let mut buffer = [0; 4];
        for character in text.chars() {
            self.send(character.encode_utf8(&mut buffer).as_bytes())?;
        }
        Ok(())
    }

    /// Types `text` and Enter.
    ///
    /// # Errors
    /// [`ConsoleError::Io`] when the machine is gone.
    pub fn type_line(&self, text: &str) -> Result<(), ConsoleError> {
        self.type_text(text)?;
        self.type_text("\r")
    }

    /// Sends bytes in one piece.
    ///
    /// # Errors
    /// [`ConsoleError::Io`] when the machine is gone.
    pub fn send(&self, bytes: &[u8]) -> Result<(), ConsoleError> {
        (&self.line).write_all(bytes).map_err(ConsoleError::Io)
    }

    /// A socket on which everything the machine said and will say can be read as well. It ends
    /// when the machine does.
    ///
    /// # Errors
    /// Those of creating the socket and the thread that fills it.
    pub fn tap(&self) -> io::Result<UnixStream> {
        let (near, far) = UnixStream::pair()?;
        let shared = Arc::clone(&self.shared);
        thread::Builder::new()
            .name("console tap".to_owned())
            .spawn(move || fill_tap(near, &shared))?;
        Ok(far)
    }

    /// Lets the next wait see only what has not come yet.
    pub fn skip_to_end(&self) {
        let mut heard = self.shared.lock();
        heard.cursor = heard.transcript.text().len();
    }

    /// All text so far, without escape sequences.
    pub fn text(&self) -> String {
        self.shared.lock().transcript.text().to_owned()
    }

    /// All bytes so far.
    pub fn raw(&self) -> Vec<u8> {
        self.shared.lock().transcript.raw().to_owned()
    }

    /// The last `count` lines that are not empty.
    pub fn last_lines(&self, count: usize) -> String {
        self.shared.lock().transcript.last_lines(count)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // Ends the reader. An error means that the line is closed already.
        let _ = self.line.shutdown(Shutdown::Both);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    /// The earliest pattern after the cursor, which then moves behind it.
    fn find(&mut self, patterns: &[&str]) -> Option<Found> {
        // The last character of the text may be taken back by a backspace, and the cursor with it.
        let rest = self.transcript.text().get(self.cursor..).unwrap_or("");
        let (at, pattern) = patterns
            .iter()
            .enumerate()
            .filter_map(|(index, pattern)| rest.find(pattern).map(|at| (at, index)))
            .min()?;
        let before = rest[..at].to_owned();
        self.cursor += at + patterns[pattern].len();
        Some(Found { pattern, before })
    }
}

fn read_all(mut line: UnixStream, shared: &Shared) {
    let mut buffer = [0; 4096];
    loop {
        // An error (a reset when QEMU is killed) ends the line as its close does.
        let count = line.read(&mut buffer).unwrap_or(0);
        let mut heard = shared.lock();
        heard.transcript.push(&buffer[..count]);
        heard.closed = count == 0;
        shared.more.notify_all();
        if count == 0 {
            return;
        }
    }
}

/// Writes all that was and will be heard, until the line or the tap is closed.
fn fill_tap(mut tap: UnixStream, shared: &Shared) {
    let mut written = 0;
    loop {
        let chunk = {
            let heard = shared
                .more
                .wait_while(shared.lock(), |heard| {
                    !heard.closed && heard.transcript.raw().len() == written
                })
                .unwrap_or_else(PoisonError::into_inner);
            heard.transcript.raw()[written..].to_owned()
        };
        if chunk.is_empty() || tap.write_all(&chunk).is_err() {
            return;
        }
        written += chunk.len();
    }
}

impl fmt::Display for ConsoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed {
                patterns,
                last_lines,
            } => write!(
                f,
                "the machine ended before its console said {patterns:?}; last lines:\n{last_lines}"
            ),
            Self::Io(error) => write!(f, "the console cannot be written to: {error}"),
            Self::Timeout {
                patterns,
                waited,
                last_lines,
            } => write!(
                f,
                "the console did not say {patterns:?} within {waited:?}; last lines:\n{last_lines}"
            ),
        }
    }
}

impl std::error::Error for ConsoleError {}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn a_wait_returns_what_came_before_and_the_next_begins_after() {
        let (console, mut guest) = pair();
        guest.write_all(b"boot\r\nlogin: name\r\nlogin: ").unwrap();
        assert_eq!(console.wait_for("login: ", SOON).unwrap(), "boot\n");
        assert_eq!(console.wait_for("login: ", SOON).unwrap(), "name\n");
    }

    #[test]
    fn words_are_found_across_escape_sequences_and_reads() {
        let (console, mut guest) = pair();
        guest.write_all(b"Conn\x1b[32mec").unwrap();
        guest.write_all(b"\x1b[0mted").unwrap();
        console.wait_for("Connected", SOON).unwrap();
    }

    #[test]
    fn the_pattern_that_comes_first_wins() {
        let (console, mut guest) = pair();
        guest.write_all(b"refused, then accepted").unwrap();
        let found = console
            .wait_for_any(&["accepted", "refused"], SOON)
            .unwrap();
        assert_eq!(
            found,
            Found {
                pattern: 1,
                before: String::new()
            }
        );
    }

    #[test]
    fn a_wait_in_vain_quotes_the_last_lines() {
        let (console, mut guest) = pair();
        guest.write_all(b"waiting for a lease\r\n").unwrap();
        console.wait_for("waiting", SOON).unwrap();
        let error = console
            .wait_for("Connected", Duration::from_millis(20))
            .unwrap_err();
        assert!(matches!(error, ConsoleError::Timeout { .. }));
        assert!(error.to_string().contains("waiting for a lease"));
    }

    #[test]
    fn the_end_of_the_machine_ends_the_wait_at_once() {
        let (console, mut guest) = pair();
        guest.write_all(b"panic").unwrap();
        drop(guest);
        let error = console.wait_for("Connected", SOON).unwrap_err();
        assert!(matches!(&error, ConsoleError::Closed { last_lines, .. } if last_lines == "panic"));
    }

    #[test]
    fn what_is_typed_arrives_in_order() {
        let (console, mut guest) = pair();
        console.type_line("ccccb").unwrap();
        let mut typed = [0; 6];
        guest.read_exact(&mut typed).unwrap();
        assert_eq!(&typed, b"ccccb\r");
    }

    #[test]
    fn a_tap_hears_all_from_the_beginning_to_the_end() {
        let (console, mut guest) = pair();
        guest.write_all(b"before ").unwrap();
        console.wait_for("before", SOON).unwrap();
        let mut tap = console.tap().unwrap();
        guest.write_all(b"after").unwrap();
        drop(guest);
        let mut heard = String::new();
        tap.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "before after");
    }

    fn pair() -> (Console, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        (Console::new(near).unwrap(), far)
    }
}
