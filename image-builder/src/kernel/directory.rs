//! The cache directory: scratch space for a build, and moving its result into place.

use super::error::{At as _, Error};
use std::env;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where built kernels are kept: `$OUTGATE_CACHE`, else `$XDG_CACHE_HOME/outgate`, else `~/.cache/outgate`.
///
/// # Errors
/// [`Error::NoCacheDirectory`] when none of the variables is set.
pub fn cache_directory() -> Result<PathBuf, Error> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("OUTGATE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("outgate")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/outgate")))
        .ok_or(Error::NoCacheDirectory)
}

/// A directory that is removed with all it holds when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

const SCRATCH_PREFIX: &str = "build-";

impl Scratch {
    /// Makes a directory of its own under `parent`.
    pub(super) fn new(parent: &Path) -> Result<Self, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{SCRATCH_PREFIX}{}-{count}", std::process::id()));
        fs::create_dir(&path).at(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is found by the next builder, which reports it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes what killed builders left. The caller holds the lock, so nobody is building.
pub(super) fn remove_abandoned_builds(directory: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(directory).at(directory)? {
        let entry = entry.at(directory)?;
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(SCRATCH_PREFIX)
        {
            fs::remove_dir_all(entry.path()).at(&entry.path())?;
        }
    }
    Ok(())
}

/// Makes `result` durable, then visible as `home` in one step. Both are on one file system.
pub(super) fn publish(result: &Path, home: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(result).at(result)? {
        let path = entry.at(result)?.path();
        File::open(&path)
            .and_then(|file| file.sync_all())
            .at(&path)?;
    }
    match fs::remove_dir_all(home) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at(home),
        _ => {}
    }
    fs::rename(result, home).at(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_space_is_gone_when_it_is_dropped() {
        let scratch = Scratch::new(&env::temp_dir()).unwrap();
        let path = scratch.path().to_owned();
        fs::write(path.join("file"), "x").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_builder_left_is_removed_and_the_rest_kept() {
        let cache = Scratch::new(&env::temp_dir()).unwrap();
        for name in ["build-1-0", "sources", "0123"] {
            fs::create_dir(cache.path().join(name)).unwrap();
        }
        remove_abandoned_builds(cache.path()).unwrap();
        assert!(!cache.path().join("build-1-0").exists());
        assert!(cache.path().join("sources").exists() && cache.path().join("0123").exists());
    }

    #[test]
    fn a_result_replaces_an_incomplete_one() {
        let cache = Scratch::new(&env::temp_dir()).unwrap();
        let (result, home) = (cache.path().join("out"), cache.path().join("key"));
        fs::create_dir(&result).unwrap();
        fs::write(result.join("bzImage"), "new").unwrap();
        fs::create_dir(&home).unwrap();
        fs::write(home.join("half"), "old").unwrap();
        publish(&result, &home).unwrap();
        assert_eq!(fs::read_to_string(home.join("bzImage")).unwrap(), "new");
        assert!(!home.join("half").exists() && !result.exists());
    }
}
