//! The last lines of a service's log, in bounded memory.

use std::collections::VecDeque;

use connector_proto::time::Instant;

use crate::log_limit::LogLimit;

/// Bytes kept for one service. The oldest lines go first; the counter says how many went.
pub const RING_BYTES_MAX: usize = 64 * 1024;

/// Longest line in bytes; a longer one is cut into several.
pub const LINE_BYTES_MAX: usize = 512;

/// Collects a stream of foreign bytes into escaped lines and keeps the last of them.
#[derive(Debug, Default)]
pub struct LogRing {
    lines: VecDeque<String>,
    bytes: usize,
    lost: u64,
    partial: Vec<u8>,
    limit: LogLimit,
}

impl LogRing {
    /// Takes bytes as they come from the pipe and returns the lines they completed, as far as
    /// [`LogLimit`] lets them pass; a line of its own says how many it did not.
    pub fn push_bytes(&mut self, now: Instant, bytes: &[u8]) -> Vec<String> {
        let mut complete = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                self.partial.push(byte);
            }
            if byte == b'\n' || self.partial.len() >= LINE_BYTES_MAX {
                complete.extend(self.handle_timeout(now));
                if self.limit.admits(now) {
                    let line = escape(&self.partial);
                    self.push_line(line.clone());
                    complete.push(line);
                }
                self.partial.clear();
            }
        }
        complete
    }

    /// The line that says how many were left out, once it may pass.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<String> {
        let line = match self.limit.poll_notice(now)? {
            1 => "1 line left out: too many in a second".to_owned(),
            count => format!("{count} lines left out: too many in a second"),
        };
        self.push_line(line.clone());
        Some(line)
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.limit.poll_timeout()
    }

    /// Keeps one line, and forgets the oldest ones until everything fits.
    pub fn push_line(&mut self, line: String) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.bytes > RING_BYTES_MAX {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
            self.lost += 1;
        }
    }

    /// The lines kept, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// How many lines were forgotten.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }
}

/// Makes foreign bytes printable: ASCII without control characters stays, the rest is shown in hex.
fn escape(bytes: &[u8]) -> String {
    bytes
        .escape_ascii()
        .to_string()
        .replace("\\'", "'")
        .replace("\\\"", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_across_reads_and_escaped() {
        let mut ring = LogRing::default();
        assert!(ring.push_bytes(at(0), b"hel").is_empty());
        assert_eq!(
            ring.push_bytes(at(0), b"lo\n\x1b[2J\nit's"),
            ["hello", "\\x1b[2J"]
        );
        assert_eq!(ring.push_bytes(at(0), b"\n"), ["it's"]);
    }

    #[test]
    fn a_flood_of_one_second_leaves_ten_lines_and_a_count() {
        let mut ring = LogRing::default();
        let passed = ring.push_bytes(at(0), &b"0123456789abcdef\n".repeat(10_000));
        assert_eq!(passed.len(), 10);
        assert_eq!(ring.poll_timeout(), Some(at(1)));
        let notice = ring.handle_timeout(at(1)).unwrap();
        assert_eq!(notice, "9990 lines left out: too many in a second");
        assert_eq!(ring.lines().count(), 11);
        assert_eq!(ring.poll_timeout(), None);
    }

    #[test]
    fn a_flood_that_lasts_stays_within_the_bound_and_is_counted() {
        let mut ring = LogRing::default();
        for second in 0..10_000 {
            ring.push_bytes(at(second), b"0123456789abcdef\n");
        }
        assert_eq!(ring.lines().count(), RING_BYTES_MAX / 16);
        assert_eq!(ring.lost(), 10_000 - (RING_BYTES_MAX as u64) / 16);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut ring = LogRing::default();
        let lines = ring.push_bytes(at(0), &[b'a'; LINE_BYTES_MAX + 1]);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].len(), LINE_BYTES_MAX);
    }

    fn at(second: u64) -> Instant {
        Instant::from_micros(second * 1_000_000)
    }
}
