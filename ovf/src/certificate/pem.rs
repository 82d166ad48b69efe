//! PEM as certificate files hold it (RFC 7468): base 64 in lines of 64 letters.

use std::fmt;

/// Longest PEM text that is read, in bytes.
pub const PEM_BYTES_MAX: usize = 64 * 1024;

const HEADER: &str = "-----BEGIN CERTIFICATE-----";
const FOOTER: &str = "-----END CERTIFICATE-----";
/// RFC 7468 section 2: every line but the last has exactly so many.
const LINE_LETTERS: usize = 64;
/// Bytes of one such line.
const LINE_BYTES: usize = LINE_LETTERS / 4 * 3;
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The certificate `der` in PEM.
pub(super) fn emit(der: &[u8]) -> String {
    let mut text = format!("{HEADER}\n");
    for line in der.chunks(LINE_BYTES) {
        text.extend(line.chunks(3).flat_map(quartet).map(char::from));
        text.push('\n');
    }
    text + FOOTER + "\n"
}

/// The bytes of a text that is exactly what [`emit`] writes.
pub(super) fn parse(text: &str) -> Result<Vec<u8>, PemError> {
    let body = text
        .strip_prefix(HEADER)
        .and_then(|rest| rest.strip_prefix('\n'))
        .ok_or(PemError::NoHeader)?;
    let body = body
        .strip_suffix('\n')
        .and_then(|rest| rest.strip_suffix(FOOTER))
        .ok_or(PemError::NoFooter)?;
    if body.contains(HEADER) {
        return Err(PemError::Several);
    }
    let der = decode(body.bytes().filter(|byte| *byte != b'\n')).ok_or(PemError::Base64)?;
    if emit(&der) == text {
        Ok(der)
    } else {
        Err(PemError::Base64)
    }
}

/// The bytes of the one certificate in a file that any tool wrote.
pub(super) fn find(text: &str) -> Result<Vec<u8>, PemError> {
    if text.len() > PEM_BYTES_MAX {
        return Err(PemError::TooLong { bytes: text.len() });
    }
    let (_, body) = text.split_once(HEADER).ok_or(PemError::NoHeader)?;
    if body.contains(HEADER) {
        return Err(PemError::Several);
    }
    let (body, _) = body.split_once(FOOTER).ok_or(PemError::NoFooter)?;
    let letters = body.bytes().filter(|byte| !byte.is_ascii_whitespace());
    decode(letters).ok_or(PemError::Base64)
}

/// Four letters for one to three bytes.
fn quartet(bytes: &[u8]) -> [u8; 4] {
    let byte = |index: usize| bytes.get(index).copied().unwrap_or(0);
    let bits = u32::from_be_bytes([0, byte(0), byte(1), byte(2)]);
    let letter = |index: usize| {
        if index > bytes.len() {
            return b'=';
        }
        let sextet = bits >> (18 - 6 * index) & 0x3f;
        LETTERS[sextet as usize]
    };
    [letter(0), letter(1), letter(2), letter(3)]
}

/// The bytes of whole quartets of letters; padding only at the end, unused bits zero, not empty.
fn decode(letters: impl Iterator<Item = u8>) -> Option<Vec<u8>> {
    let letters: Vec<u8> = letters.collect();
    let mut bytes = Vec::with_capacity(letters.len() / 4 * 3);
    let quartets = letters.chunks(4);
    let last = quartets.len().checked_sub(1)?;
    for (index, group) in quartets.enumerate() {
        let &[a, b, c, d] = group else { return None };
        let pads = usize::from(d == b'=') + usize::from(c == b'=' && d == b'=');
        if pads > 0 && index != last {
            return None;
        }
        let bits = [a, b, c, d][..4 - pads]
            .iter()
            .try_fold(0u32, |bits, letter| Some(bits << 6 | sextet(*letter)?))?;
        let [_, x, y, z] = (bits << (6 * pads)).to_be_bytes();
        let triple = [x, y, z];
        let (kept, unused) = triple.split_at(3 - pads);
        if unused.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend(kept);
    }
    Some(bytes)
}

fn sextet(letter: u8) -> Option<u32> {
    let value = match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

/// Why a text holds no certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PemError {
    /// What is between header and footer is not base 64 of whole bytes.
    Base64,
    /// There is no last line of a certificate.
    NoFooter,
    /// There is no first line of a certificate.
    NoHeader,
    /// There is more than one certificate.
    Several,
    /// The text is too long.
    TooLong {
        /// How long.
        bytes: usize,
    },
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base64 => write!(
                f,
                "the certificate is not base 64 in lines of {LINE_LETTERS} letters; export it again \
                 as PEM"
            ),
            Self::NoFooter => write!(
                f,
                "the last line \"{FOOTER}\" is missing; the file may have been cut off"
            ),
            Self::NoHeader => write!(
                f,
                "the line \"{HEADER}\" is missing; give an X.509 certificate in PEM"
            ),
            Self::Several => write!(
                f,
                "there is more than one certificate; give the signer's own certificate alone"
            ),
            Self::TooLong { bytes } => write!(
                f,
                "the PEM text has {bytes} bytes; the limit is {PEM_BYTES_MAX}: this is not a \
                 certificate"
            ),
        }
    }
}

impl std::error::Error for PemError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648 section 10.
    #[test]
    fn base_64_is_that_of_the_standard() {
        for (bytes, letters) in [
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            let text = emit(bytes.as_bytes());
            assert_eq!(text, format!("{HEADER}\n{letters}\n{FOOTER}\n"));
            assert_eq!(parse(&text).unwrap(), bytes.as_bytes());
        }
    }

    #[test]
    fn broken_base_64_is_refused() {
        for letters in [
            "", "Z", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "Zg==Zg==", "Zm9v=", "Zm!v", "Zm8=\n\n",
        ] {
            let text = format!("{HEADER}\n{letters}\n{FOOTER}\n");
            assert!(parse(&text).is_err(), "{letters}");
        }
    }

    #[test]
    fn a_file_of_another_tool_may_have_text_around_and_other_line_ends() {
        let text = format!("subject=CN = Outgate\r\n{HEADER}\r\nZm\r\n9v\r\n{FOOTER}\r\n\r\n");
        assert_eq!(find(&text).unwrap(), b"foo");
        assert_eq!(parse(&text), Err(PemError::NoHeader));
        assert_eq!(find(&format!("{text}{text}")), Err(PemError::Several));
        assert_eq!(find("-----BEGIN PRIVATE KEY-----"), Err(PemError::NoHeader));
        let long = " ".repeat(PEM_BYTES_MAX + 1);
        assert_eq!(find(&long), Err(PemError::TooLong { bytes: long.len() }));
    }
}
