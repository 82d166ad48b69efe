//! Why there is no image.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why [`crate::build::build`] failed. The text names what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A program of the appliance has not been compiled.
    BinaryMissing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A boot loader image does not have the shape that is patched here.
    BootImage {
        /// What is wrong.
        what: String,
    },
    /// Content is longer than its partition.
    DoesNotFit {
        /// The partition's name.
        partition: &'static str,
        /// Length of the content.
        bytes: u64,
        /// Length of the partition.
        max: u64,
    },
    /// A time stamp that is no number of seconds since 1970, or does not fit into 32 bits.
    Epoch {
        /// The text.
        text: String,
    },
    /// A file operation failed.
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A writer refused what it was given: a mistake in the recipe.
    Format(Box<dyn std::error::Error + Send + Sync>),
    /// The kernel could not be built.
    Kernel(crate::kernel::Error),
    /// The OVA could not be packed.
    Ova(crate::ova::OvaError),
    /// A Debian package is not installed.
    PackageMissing {
        /// The file that was looked for.
        path: PathBuf,
        /// The package that has it.
        package: &'static str,
    },
    /// The key or certificate to sign with cannot be used.
    Sign(crate::sign::SignError),
    /// An artefact is larger than promised.
    TooLarge {
        /// What people call it.
        what: &'static str,
        /// Its length.
        bytes: u64,
        /// The promise.
        max: u64,
    },
    /// A program failed.
    Tool {
        /// The program.
        program: &'static str,
        /// What it said.
        message: String,
    },
}

impl Error {
    /// A file operation on `path` failed.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { path, error }
    }

    /// A writer refused its input.
    pub(crate) fn format(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Format(Box::new(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BinaryMissing { path } => write!(
                f,
                "{} is missing; compile the appliance's programs first (`cargo image` does it all)",
                path.display()
            ),
            Self::BootImage { what } => write!(f, "GRUB's boot images: {what}"),
            Self::DoesNotFit {
                partition,
                bytes,
                max,
            } => write!(
                f,
                "{bytes} bytes do not fit into partition {partition} of {max} bytes; make the \
                 content smaller or the partition larger in recipe.rs"
            ),
            Self::Epoch { text } => write!(
                f,
                "time stamp {text:?} must be seconds since 1970, at most {}; check \
                 SOURCE_DATE_EPOCH",
                u32::MAX
            ),
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Format(error) => write!(f, "{error}"),
            Self::Kernel(error) => write!(f, "{error}"),
            Self::Ova(error) => write!(f, "{error}"),
            Self::PackageMissing { path, package } => write!(
                f,
                "{} is missing; install it with `apt-get install {package}`",
                path.display()
            ),
            Self::Sign(error) => write!(f, "{error}"),
            Self::TooLarge { what, bytes, max } => write!(
                f,
                "the {what} has {bytes} bytes; at most {max} are promised: make the content \
                 smaller (`outgate.txt` of an earlier build has the size of each part)"
            ),
            Self::Tool { program, message } => write!(f, "{program} failed: {message}"),
        }
    }
}

impl std::error::Error for Error {}
