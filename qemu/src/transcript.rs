//! What a serial console has said: the bytes as they came, and the text a person would read.
//!
//! Pure. Escape sequences (ECMA-48) are left out of the text; one that moves the cursor to another
//! line counts as a line break, so that a repainted screen still reads as lines.

/// Everything that came from a console.
#[derive(Debug, Default)]
pub struct Transcript {
    raw: Vec<u8>,
    text: String,
    /// Bytes of a UTF-8 character that is not complete.
    partial: Vec<u8>,
    /// A carriage return came, and it is not known yet whether a line feed follows.
    returned: bool,
    state: State,
}

/// Where in an escape sequence the stream is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After `ESC [`, until a final byte 0x40-0x7e.
    Control,
    /// After `ESC ]`, `ESC P`, `ESC X`, `ESC ^` or `ESC _`, until BEL or `ESC \`.
    String,
    /// In a string, after ESC.
    StringEscape,
    /// After `ESC (` and its like: one more byte.
    Designate,
}

impl Transcript {
    /// Takes what the console said next.
    pub fn push(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        for &byte in bytes {
            self.push_byte(byte);
        }
    }

    /// The bytes as they came.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The text without escape sequences; lines end with `\n`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The last `count` lines of the text that are not empty.
    pub fn last_lines(&self, count: usize) -> String {
        let mut lines: Vec<_> = self
            .text
            .lines()
            .rev()
            .filter(|line| !line.trim().is_empty())
            .take(count)
            .collect();
        lines.reverse();
        lines.join("\n")
    }

    fn push_byte(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (State::Text, ESC) => State::Escape,
            (State::Text, _) => {
                self.push_text(byte);
                State::Text
            }
            (State::Escape, b'[') => State::Control,
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => State::String,
            (State::Escape, b'(' | b')' | b'*' | b'+' | b'#' | b'%') => State::Designate,
            (State::Escape, ESC) | (State::Control, ESC) => State::Escape,
            (State::Escape | State::Designate, _) => State::Text,
            (State::Control, 0x40..=0x7e) => {
                if matches!(byte, b'A' | b'B' | b'E' | b'F' | b'H' | b'f' | b'd') {
                    self.break_line();
                }
                State::Text
            }
            (State::Control, _) => State::Control,
            (State::String, BEL) | (State::StringEscape, b'\\') => State::Text,
            (State::String, ESC) => State::StringEscape,
            (State::String | State::StringEscape, _) => State::String,
        };
    }

    fn push_text(&mut self, byte: u8) {
        match byte {
            b'\r' => self.returned = true,
            b'\n' => {
                self.returned = false;
                self.text.push('\n');
            }
            b'\t' => self.text.push('\t'),
            0x08 => {
                self.text.pop();
            }
            0x00..=0x1f | 0x7f => {}
            0x20.. => {
                // A carriage return alone starts to overwrite the line: the old one is kept.
                if std::mem::take(&mut self.returned) {
                    self.break_line();
                }
                self.push_printable(byte);
            }
        }
    }

    fn push_printable(&mut self, byte: u8) {
        if byte.is_ascii() {
            self.text.push(char::from(byte));
        } else {
            self.push_utf8(byte);
        }
    }

    fn break_line(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    fn push_utf8(&mut self, byte: u8) {
        self.partial.push(byte);
        match std::str::from_utf8(&self.partial) {
            Ok(character) => {
                self.text.push_str(character);
                self.partial.clear();
            }
            Err(error) if error.error_len().is_some() || self.partial.len() >= 4 => {
                self.text.push(char::REPLACEMENT_CHARACTER);
                self.partial.clear();
            }
            Err(_) => {}
        }
    }
}

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_leave_no_trace_in_the_text() {
        assert_eq!(
            text(b"\x1b[1;32mOut\x1b[0mgate\x1b]0;title\x07!\x1b(B"),
            "Outgate!"
        );
        assert_eq!(text(b"a\x1bP1$r\x1b\\b\x1b7c"), "abc");
    }

    #[test]
    fn every_line_ending_is_one_line_break() {
        assert_eq!(text(b"a\r\nb\nc\rd\r\r\ne"), "a\nb\nc\nd\ne");
        assert_eq!(text(b"a\r\n\r\nb"), "a\n\nb");
    }

    #[test]
    fn a_repainted_screen_reads_as_lines() {
        assert_eq!(text(b"\x1b[2J\x1b[1;1Htop\x1b[24;1Hbottom"), "top\nbottom");
    }

    #[test]
    fn sequences_and_characters_may_arrive_in_pieces() {
        let mut transcript = Transcript::default();
        for byte in "\x1b[31mgr\u{fc}n\x1b[0m".bytes() {
            transcript.push(&[byte]);
        }
        assert_eq!(transcript.text(), "gr\u{fc}n");
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_and_kept_raw() {
        let mut transcript = Transcript::default();
        transcript.push(b"a\xffb");
        assert_eq!(transcript.text(), "a\u{fffd}b");
        assert_eq!(transcript.raw(), b"a\xffb");
    }

    #[test]
    fn the_last_lines_skip_empty_ones() {
        let mut transcript = Transcript::default();
        transcript.push(b"one\n\ntwo\n\n\nthree\n");
        assert_eq!(transcript.last_lines(2), "two\nthree");
    }

    fn text(bytes: &[u8]) -> String {
        let mut transcript = Transcript::default();
        transcript.push(bytes);
        transcript.text().to_owned()
    }
}
