//! Bytes of a terminal to keystrokes.
//!
//! What cursor and function keys send is swallowed whole: `ESC [ .. letter`, `ESC O letter`, and the
//! Linux console's `ESC [ [ letter`. Characters may come as UTF-8, since a paste may carry dashes
//! and quotes that a word processor made.

/// What a person did at the keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stroke {
    /// A printable character.
    Character(char),
    /// Enter.
    Enter,
    /// Backspace, in either of its codes.
    Backspace,
    /// Ctrl-U: forget the line.
    Clear,
    /// Ctrl-L: draw the line again.
    Redraw,
    /// Ctrl-E: another service edge.
    Edge,
    /// Ctrl-R: factory reset.
    Reset,
    /// Esc, alone.
    Escape,
}

/// Turns one terminal's bytes into keystrokes, across reads.
#[derive(Debug, Default)]
pub struct Keyboard {
    state: State,
    last_us: u64,
    /// The last byte was a carriage return, whose line feed is part of it.
    after_return: bool,
}

impl Keyboard {
    /// Takes one byte that came at `now_us`; the stroke it completes, if any.
    pub fn take(&mut self, now_us: u64, byte: u8) -> Option<Stroke> {
        // A terminal sends a sequence in one go; what comes later is a new stroke after a lone Esc.
        if now_us.saturating_sub(self.last_us) > SEQUENCE_MAX_US && self.state.is_escape() {
            self.state = State::Ground;
        }
        self.last_us = now_us;
        let after_return = core::mem::replace(&mut self.after_return, byte == b'\r');
        if after_return && byte == b'\n' {
            return None;
        }
        match self.state {
            State::Ground => self.ground(byte),
            State::Escape => self.escape(byte),
            State::OneMore => {
                self.state = State::Ground;
                None
            }
            State::Sequence { len } => self.sequence(byte, len),
            State::Utf8 { bytes, len } => self.utf8(byte, bytes, len),
        }
    }

    /// An Esc that nothing followed in time is a stroke.
    pub fn handle_timeout(&mut self, now_us: u64) -> Option<Stroke> {
        self.poll_timeout().filter(|due_us| *due_us <= now_us)?;
        self.state = State::Ground;
        Some(Stroke::Escape)
    }

    /// When [`Self::handle_timeout`] has something to say, if no byte comes before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        matches!(self.state, State::Escape)
            .then(|| self.last_us.saturating_add(SEQUENCE_MAX_US + 1))
    }

    fn ground(&mut self, byte: u8) -> Option<Stroke> {
        match byte {
            ESC => {
                self.state = State::Escape;
                None
            }
            b'\r' | b'\n' => Some(Stroke::Enter),
            0x08 | 0x7f => Some(Stroke::Backspace),
            0x15 => Some(Stroke::Clear),
            0x0c => Some(Stroke::Redraw),
            0x05 => Some(Stroke::Edge),
            0x12 => Some(Stroke::Reset),
            b' '..=b'~' => Some(Stroke::Character(char::from(byte))),
            0xc2..=0xf4 => {
                self.state = State::Utf8 {
                    bytes: [byte, 0, 0, 0],
                    len: 1,
                };
                None
            }
            // A byte that no UTF-8 character starts with.
            0x80..=0xff => Some(Stroke::Character(char::REPLACEMENT_CHARACTER)),
            // The other control characters mean nothing here.
            0x00..=0x1f => None,
        }
    }

    fn escape(&mut self, byte: u8) -> Option<Stroke> {
        self.state = match byte {
            b'[' => State::Sequence { len: 0 },
            b'O' => State::OneMore,
            ESC => State::Escape,
            // Alt and a letter.
            _ => State::Ground,
        };
        None
    }

    fn sequence(&mut self, byte: u8, len: u8) -> Option<Stroke> {
        self.state = match byte {
            b'[' if len == 0 => State::OneMore,
            ESC => State::Escape,
            b'@'..=b'~' => State::Ground,
            _ if len >= SEQUENCE_LEN_MAX => State::Ground,
            _ => State::Sequence { len: len + 1 },
        };
        None
    }

    fn utf8(&mut self, byte: u8, mut bytes: [u8; 4], len: usize) -> Option<Stroke> {
        self.state = State::Ground;
        if !matches!(byte, 0x80..=0xbf) {
            // The character was broken off. The byte that broke it counts.
            return self.ground(byte);
        }
        bytes[len] = byte;
        let len = len + 1;
        let wanted = match bytes[0] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            _ => 4,
        };
        if len < wanted {
            self.state = State::Utf8 { bytes, len };
            return None;
        }
        let text = core::str::from_utf8(&bytes[..len]).unwrap_or("\u{fffd}");
        text.chars().next().map(Stroke::Character)
    }
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Ground,
    /// After `ESC`.
    Escape,
    /// The next byte ends the sequence, whatever it is.
    OneMore,
    /// After `ESC [` and `len` more bytes.
    Sequence { len: u8 },
    /// After the first `len` bytes of a character.
    Utf8 { bytes: [u8; 4], len: usize },
}

impl State {
    const fn is_escape(self) -> bool {
        matches!(self, Self::Escape | Self::OneMore | Self::Sequence { .. })
    }
}

const ESC: u8 = 0x1b;

/// Bytes after `ESC [` that are swallowed at most. The longest a keyboard sends has about eight.
const SEQUENCE_LEN_MAX: u8 = 32;

/// Time between two bytes of one sequence at most; a person needs longer between two strokes.
const SEQUENCE_MAX_US: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn strokes(bytes: &[u8]) -> Vec<Stroke> {
        let mut keyboard = Keyboard::default();
        bytes
            .iter()
            .filter_map(|byte| keyboard.take(0, *byte))
            .collect()
    }

    #[test]
    fn cursor_and_function_keys_are_swallowed_whole() {
        let keys: [&[u8]; 7] = [
            b"\x1b[A",
            b"\x1b[1;5D",
            b"\x1b[[A",
            b"\x1bOP",
            b"\x1b[15~",
            b"\x1bx",
            b"\x1b\x1b[B",
        ];
        for key in keys {
            assert_eq!(
                strokes(&[key, b"c"].concat()),
                [Stroke::Character('c')],
                "{key:?}"
            );
        }
    }

    #[test]
    fn a_letter_after_a_lone_escape_is_a_letter() {
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.take(1_000_000, ESC), None);
        assert_eq!(keyboard.take(1_300_000, b'c'), Some(Stroke::Character('c')));
    }

    #[test]
    fn an_escape_that_stays_alone_is_a_stroke() {
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.take(1_000_000, ESC), None);
        assert_eq!(keyboard.poll_timeout(), Some(1_100_001));
        assert_eq!(keyboard.handle_timeout(1_100_000), None);
        assert_eq!(keyboard.handle_timeout(1_100_001), Some(Stroke::Escape));
        assert_eq!(keyboard.poll_timeout(), None);
        for byte in *b"\x1b[A\x1bOP" {
            assert_eq!(keyboard.take(2_000_000, byte), None);
        }
        assert_eq!(keyboard.poll_timeout(), None, "these were cursor keys");
    }

    #[test]
    fn a_sequence_without_an_end_is_given_up() {
        let mut endless = b"\x1b[".to_vec();
        endless.extend([b'1'; 40]);
        assert_eq!(strokes(&endless).len(), 7);
    }

    #[test]
    fn characters_of_two_to_four_bytes_are_one_stroke() {
        let strokes = strokes("\u{e9}\u{2014}\u{1f511}".as_bytes());
        let expected = ['\u{e9}', '\u{2014}', '\u{1f511}'].map(Stroke::Character);
        assert_eq!(strokes, expected);
    }

    #[test]
    fn broken_characters_do_not_take_the_next_one_with_them() {
        assert_eq!(strokes(b"\xe2\x80c"), [Stroke::Character('c')]);
        assert_eq!(strokes(b"\xff"), [Stroke::Character('\u{fffd}')]);
        assert_eq!(strokes(b"\xe0\x80\x80"), [Stroke::Character('\u{fffd}')]);
    }

    #[test]
    fn control_keys_are_what_terminals_send() {
        use Stroke::{Backspace, Clear, Edge, Enter, Redraw, Reset};
        let expected = [
            Enter, Enter, Enter, Backspace, Backspace, Clear, Redraw, Edge, Reset,
        ];
        assert_eq!(
            strokes(b"\r\r\n\n\x08\x7f\x15\x0c\x05\x12\x00\x03\x1a"),
            expected
        );
    }
}
