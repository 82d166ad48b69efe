//! Why a network of real servers does not come up, or a story in it does not go on.

use std::fmt;
use std::io;
use std::path::PathBuf;

use qemu::console::ConsoleError;

use crate::edge_process::EdgeError;
use crate::lab::LabError;

/// See the module.
#[derive(Debug)]
pub enum ForeignError {
    /// A machine or a server did not say what was waited for.
    Console {
        /// Who.
        who: String,
        /// What it said instead.
        error: ConsoleError,
    },
    /// The service edge failed.
    Edge(EdgeError),
    /// A file, socket or process failed.
    Io(io::Error),
    /// Something that every whole-system test needs is not there.
    Lab(LabError),
    /// A server's program is not there.
    NoProgram {
        /// Its name.
        name: String,
        /// Where it was looked for last.
        path: PathBuf,
    },
    /// A command in the namespace, or the making of it, failed.
    Refused {
        /// The command.
        command: String,
        /// What it printed.
        output: String,
    },
}

impl fmt::Display for ForeignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Console { who, error } => write!(f, "{who}: {error}"),
            Self::Edge(error) => error.fmt(f),
            Self::Io(error) => write!(f, "a file, socket or process failed: {error}"),
            Self::Lab(error) => error.fmt(f),
            Self::NoProgram { name, path } => write!(
                f,
                "there is no {name} at {}: cargo verify unpacks it from its Debian package",
                path.display()
            ),
            Self::Refused { command, output } => write!(f, "{command} failed: {output}"),
        }
    }
}

impl std::error::Error for ForeignError {}

impl From<ConsoleError> for ForeignError {
    fn from(error: ConsoleError) -> Self {
        let who = "the appliance".to_owned();
        Self::Console { who, error }
    }
}

impl From<EdgeError> for ForeignError {
    fn from(error: EdgeError) -> Self {
        Self::Edge(error)
    }
}

impl From<LabError> for ForeignError {
    fn from(error: LabError) -> Self {
        Self::Lab(error)
    }
}

impl From<io::Error> for ForeignError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
