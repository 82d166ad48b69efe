//! What can go wrong at the edge, as an administrator reads it.

use std::fmt;
use std::io;
use std::time::Duration;

/// Why a command or the edge failed: the value, the limit and the remedy.
#[derive(Debug)]
pub enum Error {
    /// A name is taken.
    AlreadyExists {
        /// The kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A name or prefix fits several things.
    Ambiguous {
        /// The kind of thing.
        what: &'static str,
        /// What was given.
        name: String,
        /// How many it fits.
        matches: usize,
    },
    /// The audit chain does not hold.
    AuditBroken {
        /// Number of the first row that is wrong.
        row: i64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A key or certificate could not be made or read.
    Crypto {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        cause: String,
    },
    /// The data directory is not fit.
    DataDir {
        /// The whole sentence.
        problem: String,
    },
    /// A value is outside its limits.
    InvalidValue {
        /// What it is a value of.
        what: &'static str,
        /// The value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// The operating system refused.
    Io {
        /// What was attempted.
        what: String,
        /// Its answer.
        cause: io::Error,
    },
    /// There is no such thing.
    NotFound {
        /// The kind of thing.
        what: &'static str,
        /// What was given.
        name: String,
        /// What to do.
        remedy: &'static str,
    },
    /// What there is does not allow it now.
    Refused {
        /// The whole sentence, with the remedy.
        problem: String,
    },
    /// The database refused.
    Store(rusqlite::Error),
    /// Too many operations before this one, or one that waits for another process.
    StoreBusy {
        /// How long it waited for its turn.
        waited: Duration,
    },
    /// A line of the audit log could not be written.
    Unwritten {
        /// Why; the same for all lines that were to be written with it.
        cause: String,
    },
}

impl Error {
    /// For `map_err` on operating system calls.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |cause| Self::Io { what, cause }
    }

    /// For `map_err` on cryptographic calls.
    pub(crate) fn crypto<E: fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |cause| Self::Crypto {
            what,
            cause: cause.to_string(),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyExists { what, name } => {
                write!(f, "{what} {name:?} exists already; choose another name")
            }
            Self::Ambiguous {
                what,
                name,
                matches,
            } => {
                write!(f, "{name:?} fits {matches} {what}s; give more of the id")
            }
            Self::AuditBroken { row, problem } => {
                write!(f, "the audit chain breaks at row {row}: {problem}")
            }
            Self::Crypto { what, cause } => write!(f, "{what}: {cause}"),
            Self::DataDir { problem } | Self::Refused { problem } => f.write_str(problem),
            Self::InvalidValue {
                what,
                value,
                allowed,
            } => {
                write!(f, "{what} {value:?} is not possible; allowed: {allowed}")
            }
            Self::Io { what, cause } => write!(f, "{what}: {cause}"),
            Self::NotFound { what, name, remedy } => {
                write!(f, "there is no {what} {name:?}; {remedy}")
            }
            Self::Store(error) => write!(f, "the store failed: {error}"),
            Self::StoreBusy { waited } => {
                let seconds = waited.as_secs();
                write!(f, "the store was busy for more than {seconds} s; try again")
            }
            Self::Unwritten { cause } => write!(f, "the audit log was not written: {cause}"),
        }
    }
}

impl std::error::Error for Error {}
