//! What carries the bytes of sessions.

use std::fmt;
use std::str::FromStr;

use super::{Problem, ValueError};

/// The engine of the data plane, or that the machine chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineChoice {
    /// The faster one on this machine.
    Auto,
    /// The kernel's TLS, where the kernel takes the keys.
    Kernel,
    /// The connector itself.
    User,
}

impl FromStr for EngineChoice {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "auto" => Ok(Self::Auto),
            "kernel" => Ok(Self::Kernel),
            "user" => Ok(Self::User),
            _ => Err(ValueError::new(text, Problem::Engine)),
        }
    }
}

impl fmt::Display for EngineChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Kernel => "kernel",
            Self::User => "user",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_one_of_three_words_and_prints_as_it_is_read() {
        for word in ["auto", "kernel", "user"] {
            assert_eq!(word.parse::<EngineChoice>().unwrap().to_string(), word);
        }
        for text in ["Kernel", "ktls", "auto ", "off"] {
            let error = text.parse::<EngineChoice>().unwrap_err();
            assert!(
                error.to_string().ends_with("type auto, kernel or user"),
                "{error}"
            );
        }
    }
}
