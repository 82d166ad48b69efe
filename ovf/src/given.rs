//! What one place says about the machine: values by property, and complaints about the rest.

use std::fmt;

use crate::property::{KEY_PREFIX, Kind, Property};
use crate::value::Value;

/// Longest name of a place in a sentence, in bytes.
pub const PLACE_BYTES_MAX: usize = 24;
/// Longest [`Complaint::sentence`], in bytes: what a console shows of a problem.
pub const SENTENCE_BYTES_MAX: usize = 160;

/// The values that one place gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// The values of our properties, in the order in which they were given. One left empty is not
    /// here.
    pub values: Vec<(&'static Property, Value)>,
    /// What could not be understood, in the same order.
    pub complaints: Vec<Complaint>,
}

impl Given {
    /// The value of the property called `key`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        let found = self.values.iter().find(|(property, _)| property.key == key);
        found.map(|(_, value)| value)
    }

    /// Notes the text that was given for one property.
    pub fn take(&mut self, property: &'static Property, text: &str) {
        match property.parse(text) {
            Ok(Some(value)) => self.values.push((property, value)),
            Ok(None) => {}
            Err(_) => self.complaints.push(Complaint::of_value(property, text)),
        }
    }

    /// Notes a key of ours that this version does not know.
    pub fn take_unknown(&mut self, key: &str, text: &str) {
        self.complaints
            .push(Complaint::new(key, text, Why::UnknownKey));
    }

    /// Notes bytes that were given for one property, which may be no text at all.
    pub fn take_bytes(&mut self, property: &'static Property, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.take(property, text),
            Err(_) => {
                let shown = bytes.escape_ascii().to_string();
                self.complaints.push(Complaint::of_value(property, &shown));
            }
        }
    }
}

/// Why something that was given is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The key, without what all keys of ours begin with.
    key: String,
    /// The beginning of the value, in printable ASCII.
    shown: String,
    why: Why,
}

/// What is wrong with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    /// It is not what the property takes.
    NotA(Kind),
    /// No property of this version has the key.
    UnknownKey,
    /// It needs another property, which is not given or cannot be used.
    Without(&'static str),
    /// It is no neighbour of the machine's address, which is this.
    OutsideOf(String),
}

impl Complaint {
    pub(crate) fn new(key: &str, value: &str, why: Why) -> Self {
        let key = key.strip_prefix(KEY_PREFIX).unwrap_or(key);
        Self {
            key: printable(key, KEY_BYTES_MAX),
            shown: printable(value, SHOWN_BYTES_MAX),
            why,
        }
    }

    fn of_value(property: &Property, text: &str) -> Self {
        let text = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
        // What is in front of the sign may be a password.
        let is_secret = property.kind == Kind::Proxy && text.contains('@');
        let shown = if is_secret { "...@..." } else { text };
        Self::new(property.key, shown, Why::NotA(property.kind))
    }

    /// The key, without what all keys of ours begin with.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// One sentence for the operator, at most [`SENTENCE_BYTES_MAX`] bytes of printable ASCII, about
    /// what was found at `place`: at most [`PLACE_BYTES_MAX`] bytes, as the sentence's first words.
    #[must_use]
    pub fn sentence(&self, place: &str) -> String {
        let Self { key, shown, why } = self;
        let place = printable(place, PLACE_BYTES_MAX);
        format!("{place} says {key}=\"{shown}\", which {why}: ignored.")
    }
}

/// Key, value and what is wrong, for whoever typed them.
impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.key, self.shown, self.why)
    }
}

impl std::error::Error for Complaint {}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotA(kind) => write!(f, "is not {}", kind.expected()),
            Self::OutsideOf(subnet) => write!(f, "is no neighbour in {subnet}"),
            Self::UnknownKey => f.write_str("is no setting of this version"),
            Self::Without(key) => write!(f, "needs a good {key} beside it"),
        }
    }
}

/// The beginning of `text` in at most `bytes_max` bytes of printable ASCII, everything else and the
/// quotation mark escaped; no escape is cut in half.
fn printable(text: &str, bytes_max: usize) -> String {
    let mut line = String::new();
    for letter in text.chars() {
        let before = line.len();
        match letter {
            '"' | '\\' => line.extend(letter.escape_default()),
            ' '..='~' => line.push(letter),
            _ => line.extend(letter.escape_default()),
        }
        if line.len() > bytes_max {
            line.truncate(before);
            break;
        }
    }
    line
}

/// How much of a key is shown.
const KEY_BYTES_MAX: usize = 12;
/// How much of a value is shown.
const SHOWN_BYTES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::property::PROPERTIES;
    use proptest::prelude::*;

    fn sentence(key: &str, text: &str) -> String {
        let mut given = Given::default();
        given.take(Property::find(key).unwrap(), text);
        assert_eq!(given.values, []);
        given.complaints[0].sentence("QEMU's fw_cfg")
    }

    #[test]
    fn a_sentence_names_the_place_the_key_the_value_and_what_is_expected() {
        assert_eq!(
            sentence("outgate.address", "192.0.2.10\n"),
            "QEMU's fw_cfg says address=\"192.0.2.10\", which is not an IPv4 address like \
             192.0.2.10/24: ignored."
        );
    }

    #[test]
    fn a_password_in_front_of_a_proxy_is_not_repeated() {
        let sentence = sentence("outgate.proxy", "asha:secret@proxy:3128");
        assert!(sentence.contains("proxy=\"...@...\", which is not host:port without user"));
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_escaped() {
        let mut given = Given::default();
        given.take_bytes(Property::find("outgate.edge").unwrap(), b"edge\xff\x1b[2J");
        let sentence = given.complaints[0].sentence("The disk");
        assert!(
            sentence.starts_with("The disk says edge=\"edge"),
            "{sentence}"
        );
        assert!(sentence.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
    }

    proptest! {
        #[test]
        fn every_sentence_fits_the_console(
            at in 0..PROPERTIES.len(), text in "\\PC{0,70}|(.|\n){0,9}|x{300}", place in ".{0,40}",
        ) {
            let property = &PROPERTIES[at];
            let mut given = Given::default();
            given.take(property, &text);
            let longest_subnet = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff/128".to_owned();
            let more = [
                Complaint::new(&text, &text, Why::UnknownKey),
                Complaint::new("outgate.gateway6", &text, Why::OutsideOf(longest_subnet)),
                Complaint::new("outgate.gateway6", &text, Why::Without("address")),
            ];
            for complaint in given.complaints.iter().chain(&more) {
                let sentence = complaint.sentence(&place);
                prop_assert!(sentence.len() <= SENTENCE_BYTES_MAX, "{}", sentence);
                prop_assert!(sentence.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            }
        }
    }
}
