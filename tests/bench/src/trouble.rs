//! Why something of a run does not work.

use std::fmt;
use std::io;

/// What is the matter.
#[derive(Debug)]
pub enum Trouble {
    /// It went wrong; the sentence says what did.
    Failed(String),
    /// A program is not on this machine: its peer is skipped. The sentence names it.
    Missing(String),
}

impl Trouble {
    /// Turns an error of the system into a sentence about `what`.
    pub fn at<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self::Failed(format!("{what}: {error}"))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) | Self::Missing(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Trouble {}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
