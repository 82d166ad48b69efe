//! The emulated screen and keyboard, as someone in front of the machine has them.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use crate::qmp::{Qmp, QmpError};

/// Columns of the VGA text screen.
pub const COLUMNS: usize = 80;

/// Rows of the VGA text screen.
pub const ROWS: usize = 25;

/// How many characters one call may type: QEMU queues about this many key events.
pub const TYPED_CHARS_MAX: usize = 128;

/// Physical address of the text buffer: per cell one byte of character, one of colour.
const TEXT_BUFFER: u64 = 0xb8000;

/// How long a key is held. Shorter, and the 16 bytes of the keyboard's buffer overflow.
const HOLD_MS: u32 = 20;

/// Why the screen cannot be read or the keyboard not used.
#[derive(Debug)]
pub enum ScreenError {
    /// The file with the memory's content cannot be read.
    Io(io::Error),
    /// No key of the US layout gives this character.
    NoKey(char),
    /// QEMU failed.
    Qmp(QmpError),
    /// More than [`TYPED_CHARS_MAX`] characters in one call.
    TooLong(usize),
}

/// The 25 rows of the VGA text screen, trailing blanks removed.
///
/// Only what is drawn in text mode is there: with a framebuffer console, as under UEFI, the rows
/// mean nothing.
///
/// # Errors
/// [`ScreenError`] when QEMU or the file `scratch`, which is overwritten, fails.
pub fn vga_text(qmp: &mut Qmp, scratch: &Path) -> Result<Vec<String>, ScreenError> {
    qmp.pmemsave(TEXT_BUFFER, ROWS * COLUMNS * 2, scratch)
        .map_err(ScreenError::Qmp)?;
    let cells = fs::read(scratch).map_err(ScreenError::Io)?;
    Ok(rows(&cells))
}

/// Presses the keys, US layout, that give `text`. `\n` is Enter, `\u{8}` is backspace.
///
/// Returns when QEMU has queued them; it presses one after the other.
///
/// # Errors
/// [`ScreenError::NoKey`] and [`ScreenError::TooLong`] before any key is pressed.
pub fn type_on_keyboard(qmp: &mut Qmp, text: &str) -> Result<(), ScreenError> {
    let count = text.chars().count();
    if count > TYPED_CHARS_MAX {
        return Err(ScreenError::TooLong(count));
    }
    let keys: Vec<_> = text.chars().map(key).collect::<Result<_, _>>()?;
    for (code, shift) in keys {
        let codes: &[&str] = if shift { &["shift", code] } else { &[code] };
        qmp.send_key(codes, HOLD_MS).map_err(ScreenError::Qmp)?;
    }
    Ok(())
}

fn rows(cells: &[u8]) -> Vec<String> {
    cells
        .chunks(COLUMNS * 2)
        .map(|row| {
            let text: String = row.iter().step_by(2).map(|&byte| shown(byte)).collect();
            text.trim_end().to_owned()
        })
        .collect()
}

/// The character of a cell. Beyond ASCII the font is code page 437, of which nothing is needed.
fn shown(byte: u8) -> char {
    match byte {
        0 => ' ',
        0x20..=0x7e => char::from(byte),
        _ => char::REPLACEMENT_CHARACTER,
    }
}

/// QEMU's code for the key of a character, and whether shift is held.
fn key(character: char) -> Result<(&'static str, bool), ScreenError> {
    let lower = character.to_ascii_lowercase();
    if let Some(index) = LETTERS.find(lower) {
        return Ok((&LETTERS[index..=index], character.is_ascii_uppercase()));
    }
    if let Some(index) = DIGITS.find(character) {
        return Ok((&DIGITS[index..=index], false));
    }
    OTHERS
        .iter()
        .find(|(known, ..)| *known == character)
        .map(|&(_, code, shift)| (code, shift))
        .ok_or(ScreenError::NoKey(character))
}

const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";
const DIGITS: &str = "0123456789";
const OTHERS: [(char, &str, bool); 14] = [
    ('\n', "ret", false),
    ('\t', "tab", false),
    ('\u{8}', "backspace", false),
    ('\u{1b}', "esc", false),
    (' ', "spc", false),
    ('-', "minus", false),
    ('_', "minus", true),
    ('.', "dot", false),
    (',', "comma", false),
    ('/', "slash", false),
    (':', "semicolon", true),
    ('!', "1", true),
    ('@', "2", true),
    ('\'', "apostrophe", false),
];

impl fmt::Display for ScreenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the screen's memory cannot be read: {error}"),
            Self::NoKey(character) => write!(f, "no key is known for {character:?}"),
            Self::Qmp(error) => error.fmt(f),
            Self::TooLong(count) => {
                write!(
                    f,
                    "{count} characters in one call, more than {TYPED_CHARS_MAX}: split them"
                )
            }
        }
    }
}

impl std::error::Error for ScreenError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_become_rows_without_colours_and_trailing_blanks() {
        let mut cells = vec![0; ROWS * COLUMNS * 2];
        for (column, byte) in b"Key: ".iter().enumerate() {
            cells[COLUMNS * 2 + column * 2] = *byte;
            cells[COLUMNS * 2 + column * 2 + 1] = 0x07;
        }
        let rows = rows(&cells);
        assert_eq!(rows.len(), ROWS);
        assert_eq!((rows[0].as_str(), rows[1].as_str()), ("", "Key:"));
    }

    #[test]
    fn every_character_of_a_key_has_a_key() {
        for character in "cbdefghijklnrtuv- \n".chars() {
            assert!(key(character).is_ok(), "{character:?}");
        }
        assert!(matches!(key('C'), Ok(("c", true))));
        assert!(matches!(key('\u{df}'), Err(ScreenError::NoKey('\u{df}'))));
    }
}
