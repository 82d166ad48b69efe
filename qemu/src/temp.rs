//! Folders that vanish.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of our own below the system's temporary folder, removed when dropped. It is short
/// enough for the names of unix sockets, which the kernel limits to 107 bytes.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// Makes a folder whose name starts with `name`.
    ///
    /// # Errors
    /// Those of creating a folder.
    pub fn new(name: &str) -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let serial = NEXT.fetch_add(1, Ordering::Relaxed);
            let folder = format!("{name}-{}-{serial}", std::process::id());
            let path = std::env::temp_dir().join(folder);
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self { path }),
                // Left behind by a killed process that had our number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Nobody is left to be told; the system clears its temporary folder by itself.
        let _ = fs::remove_dir_all(&self.path);
    }
}
