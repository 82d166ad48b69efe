//! Why there is no kernel.

use kernel_config::Lost;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why [`super::ensure`] has no kernel to give. Its text names the remedy.
#[derive(Debug)]
pub enum Error {
    /// A fragment is malformed.
    Configuration(kernel_config::Error),
    /// A downloaded source package is not the pinned one.
    Digest {
        /// The package file; it is kept for inspection under this name.
        file: PathBuf,
        /// Pinned SHA-256, hex.
        wanted: String,
        /// SHA-256 of the file, hex.
        got: String,
    },
    /// A file operation failed.
    File {
        /// What it was about.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A step of the build failed: a patch that does not fit, or a compiler that does not compile.
    Make {
        /// Which one.
        step: String,
        /// Where everything that was said is written.
        log: PathBuf,
        /// The end of that log: at most [`LOG_TAIL_LINES`] lines.
        tail: String,
    },
    /// Programs or headers that a kernel build needs are not installed: the Debian packages that have them.
    MissingPackages(Vec<&'static str>),
    /// Neither `OUTGATE_CACHE`, `XDG_CACHE_HOME` nor `HOME` is set.
    NoCacheDirectory,
    /// The mirror has neither the pinned source nor another 6.12.
    NoSource {
        /// Name of the package.
        package: String,
        /// The pinned version.
        version: String,
        /// What apt said.
        said: String,
    },
    /// Kconfig did not take these symbols as asked.
    NotSurvived(Vec<Lost>),
}

/// How much of the build's log an error shows.
pub const LOG_TAIL_LINES: usize = 30;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(error) => write!(f, "kernel-config: {error}"),
            Self::Digest { file, wanted, got } => {
                let file = file.display();
                write!(
                    f,
                    "{file} has sha256 {got}, pinned is {wanted}; remove the file to download it again"
                )
            }
            Self::File { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Make { step, log, tail } => {
                write!(f, "{step} failed; the end of {}:\n{tail}", log.display())
            }
            Self::MissingPackages(packages) => {
                write!(
                    f,
                    "a kernel build needs packages that are not installed: apt-get install {}",
                    packages.join(" ")
                )
            }
            Self::NoCacheDirectory => {
                f.write_str("no place for the cache; set OUTGATE_CACHE or HOME")
            }
            Self::NoSource {
                package,
                version,
                said,
            } => {
                write!(
                    f,
                    "cannot get {package} {version} or another version of it; try `apt-get update`. apt said:\n{said}"
                )
            }
            Self::NotSurvived(lost) => {
                writeln!(
                    f,
                    "{} symbols did not survive Kconfig (a missing dependency, or gone from this version):",
                    lost.len()
                )?;
                lost.iter().try_for_each(|symbol| writeln!(f, "  {symbol}"))
            }
        }
    }
}

impl std::error::Error for Error {}

/// Adds the path to an [`io::Error`].
pub(super) trait At<T> {
    fn at(self, path: &Path) -> Result<T, Error>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, Error> {
        self.map_err(|error| Error::File {
            path: path.to_owned(),
            error,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_about_packages_is_the_command_that_installs_them() {
        let said = Error::MissingPackages(vec!["bison", "flex"]).to_string();
        assert!(said.ends_with("apt-get install bison flex"), "{said}");
    }

    #[test]
    fn a_failed_step_shows_its_log_and_where_the_rest_is() {
        let error = Error::Make {
            step: "make bzImage".into(),
            log: "/c/x.log".into(),
            tail: "error: boom".into(),
        };
        assert_eq!(
            error.to_string(),
            "make bzImage failed; the end of /c/x.log:\nerror: boom"
        );
    }
}
