//! Why nothing was minted.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::mint::ledger::LedgerError;
use crate::mint::plan::PlanError;

/// Why [`crate::mint::mint`] failed. The text names what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum MintError {
    /// The image to mint from is not there.
    BaseMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The image to mint from is none, or is damaged.
    BaseDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The image to mint from was minted itself.
    BaseMinted {
        /// The file.
        path: PathBuf,
        /// For whom.
        name: String,
    },
    /// A file operation failed.
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A writer refused what it was given.
    Format(Box<dyn std::error::Error + Send + Sync>),
    /// The ledger cannot be read.
    Ledger {
        /// The file.
        path: PathBuf,
        /// Which line, and what is wrong with it.
        error: LedgerError,
    },
    /// There is no place for a ledger.
    NoLedger,
    /// The request cannot be fulfilled.
    Plan(PlanError),
    /// Key or certificate cannot be used.
    Sign(Box<dyn std::error::Error + Send + Sync>),
}

impl MintError {
    /// A file operation on `path` failed.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, error }
    }

    /// The image at `path` cannot be read as one.
    pub(crate) fn damaged<E>(path: &Path) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let path = path.to_owned();
        move |error| Self::BaseDamaged {
            path,
            why: Box::new(error),
        }
    }

    /// A writer refused its input.
    pub(crate) fn format(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Format(Box::new(error))
    }
}

impl fmt::Display for MintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BaseMissing { path } => write!(
                f,
                "there is no image {}; `cargo image` builds one, and --from names another",
                path.display()
            ),
            Self::BaseDamaged { path, why } => write!(
                f,
                "{} is no whole Outgate image: {why}. Fetch or build it again and check it with \
                 `cargo image verify`",
                path.display()
            ),
            Self::BaseMinted { path, name } => write!(
                f,
                "{} was minted for {name}; mint from the image as it was built (outgate.ova)",
                path.display()
            ),
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Format(error) => write!(f, "{error}"),
            Self::Ledger { path, error } => write!(f, "ledger {} {error}", path.display()),
            Self::NoLedger => write!(
                f,
                "neither XDG_DATA_HOME nor HOME is set, so there is no place for the ledger; name \
                 one with --ledger"
            ),
            Self::Plan(error) => write!(f, "{error}"),
            Self::Sign(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for MintError {}
