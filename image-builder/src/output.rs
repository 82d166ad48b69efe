//! Files appear whole or not at all, with their digests.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Error;

/// The file with one `digest  name` line for each artefact, as `sha256sum --check` reads it.
pub const SHA256SUMS: &str = "SHA256SUMS";

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artefact {
    /// Its name in the output directory.
    pub name: &'static str,
    /// Its content.
    pub content: Vec<u8>,
}

/// Writes `artefacts` and [`SHA256SUMS`] into `directory`, which is made when it is missing.
///
/// # Errors
/// When the directory cannot be written to. Files that were there before are whole then.
pub fn write(directory: &Path, artefacts: &[Artefact]) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(Error::file(directory))?;
    for artefact in artefacts {
        write_atomically(&directory.join(artefact.name), &artefact.content)?;
    }
    let sums = sha256sums(artefacts);
    write_atomically(&directory.join(SHA256SUMS), sums.as_bytes())
}

/// The text of [`SHA256SUMS`].
#[must_use]
pub fn sha256sums(artefacts: &[Artefact]) -> String {
    artefacts.iter().fold(String::new(), |mut sums, artefact| {
        let _ = writeln!(sums, "{}  {}", sha256_hex(&artefact.content), artefact.name);
        sums
    })
}

/// SHA-256 of `bytes` as 64 hex digits.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// A directory for intermediate files that is gone when this is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one inside `parent`.
    ///
    /// # Errors
    /// When `parent` cannot be written to.
    pub fn new(parent: &Path) -> Result<Self, Error> {
        let path = parent.join(format!(".scratch-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(Error::file(&path))?;
        Ok(Self(path))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover costs a few hundred kilobytes and harms no later build.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes a neighbour, flushes it, and renames it: readers see the old file or the new one.
fn write_atomically(path: &Path, content: &[u8]) -> Result<(), Error> {
    let mut neighbour = path.as_os_str().to_owned();
    neighbour.push(format!(".{}.new", std::process::id()));
    let neighbour = PathBuf::from(neighbour);
    let result = File::create(&neighbour)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&neighbour, path));
    result.map_err(|error| {
        let _ = fs::remove_file(&neighbour);
        Error::File {
            path: path.into(),
            error,
        }
    })
}
