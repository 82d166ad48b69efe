//! Files appear whole or not at all, with their digests.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use sha2::{Digest, Sha256};

use crate::Error;

/// The file with one `digest  name` line for each artefact, as `sha256sum --check` reads it.
pub const SHA256SUMS: &str = "SHA256SUMS";

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artefact {
    /// Its name in the output directory.
    pub name: String,
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
        write_atomically(&directory.join(&artefact.name), &artefact.content)?;
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
    hex(&Sha256::digest(bytes))
}

/// `bytes` as lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
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
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!(".scratch-{}-{count}", std::process::id()));
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
///
/// # Errors
/// When the folder cannot be written to.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<(), Error> {
    let mut neighbour = path.as_os_str().to_owned();
    neighbour.push(format!(".{}.new", std::process::id()));
    let neighbour = PathBuf::from(neighbour);
    let result = File::create(&neighbour)
        .and_then(|file| write_sparsely(&file, content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&neighbour, path));
    result.map_err(|error| {
        let _ = fs::remove_file(&neighbour);
        Error::File {
            path: path.into(),
            error,
        }
    })
}

/// Writes `content` into an empty file. Blocks of zeros become holes: most of a raw disk is zeros,
/// and reading them back gives the same bytes.
fn write_sparsely(file: &File, content: &[u8]) -> io::Result<()> {
    file.set_len(content.len() as u64)?;
    let mut offset = 0;
    for block in content.chunks(HOLE_BYTES) {
        if block.iter().any(|byte| *byte != 0) {
            file.write_all_at(block, offset)?;
        }
        offset += block.len() as u64;
    }
    Ok(())
}

/// A block of most file systems is 4 KiB; larger ones need fewer calls.
const HOLE_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn zeros_take_no_room_and_read_back_as_zeros() {
        let scratch = Scratch::new(&std::env::temp_dir()).unwrap();
        let path = scratch.path().join("disk");
        let mut content = vec![0; 16 << 20];
        content[5 << 20] = 1;
        let last = content.len() - 1;
        content[last - 100] = 2;
        content.truncate(last);
        write_atomically(&path, &content).unwrap();
        assert!(fs::read(&path).unwrap() == content);
        assert!(fs::metadata(&path).unwrap().blocks() * 512 < 1 << 20);
    }

    #[test]
    fn a_file_that_was_there_is_replaced_and_nothing_else_is_left() {
        let scratch = Scratch::new(&std::env::temp_dir()).unwrap();
        let path = scratch.path().join("file");
        write_atomically(&path, &[7; 100_000]).unwrap();
        write_atomically(&path, b"short").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"short");
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_scratch_directories_of_one_process_are_two() {
        let parent = std::env::temp_dir();
        let (one, two) = (
            Scratch::new(&parent).unwrap(),
            Scratch::new(&parent).unwrap(),
        );
        assert_ne!(one.path(), two.path());
    }
}
