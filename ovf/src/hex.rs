//! Bytes as lower-case hexadecimal digits.

use std::fmt::Write as _;

pub(crate) fn emit(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of an even number of lower-case digits; nothing for any other text.
pub(crate) fn parse(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}

const fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lower_case_bytes_are_read() {
        assert_eq!(emit(&[0x00, 0x9a, 0xff]), "009aff");
        assert_eq!(parse("009aff"), Some(vec![0x00, 0x9a, 0xff]));
        assert_eq!(parse(""), Some(vec![]));
        for text in ["0", "0A", "0g", "+1", "é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
