//! The name that a connector is minted under.

use std::fmt;
use std::str::FromStr;

use crate::value::{LABEL_BYTES_MAX, Problem, ValueError};

/// The name of a connector: lower-case letters, digits and inner dashes, 1 to 63 of them. It is
/// safe as a file name, as a label of a host name and inside every format that carries it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectorName(String);

impl ConnectorName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Exactly the name: no white space, no capital letters, since it becomes part of file names that
/// people compare.
impl FromStr for ConnectorName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let good = (1..=LABEL_BYTES_MAX).contains(&text.len())
            && text.bytes().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::new(text, Problem::ConnectorName))
        }
    }
}

impl fmt::Display for ConnectorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for ConnectorName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_1_to_63_letters_digits_and_inner_dashes() {
        let longest = "a".repeat(63);
        for text in ["a", "7", "mumbai-01", "a--b", &longest] {
            assert_eq!(text.parse::<ConnectorName>().unwrap().as_str(), text);
        }
        let too_long = "a".repeat(64);
        for text in [
            "", "-a", "a-", "Mumbai", "a b", " a", "a\n", "a.b", "a_b", "../a", "é", &too_long,
        ] {
            assert!(text.parse::<ConnectorName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_name_the_limit_and_the_remedy() {
        let error = "Mumbai 1".parse::<ConnectorName>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"Mumbai 1\": not a connector name; use 1 to 63 lower-case letters, digits and inner \
             dashes, like mumbai-01"
        );
    }
}
