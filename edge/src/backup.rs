//! A copy of a data directory, taken while it is served. It is restored by being used: `--data`.

use std::fs::{self, File};
use std::path::Path;

use connector_proto::time::UnixSeconds;

use crate::Error;
use crate::authority::{KEY_FILES, key_file, make_directory, read, write_secret};
use crate::config::DataDir;
use crate::store::Store;
use crate::store::audit::Entry;

/// Copies the directory `data`, whose store is `store`, to the new directory `to`. The copy holds all
/// keys, as the original does.
///
/// # Errors
/// [`Error::DataDir`] if `to` holds something, or if a key went away meanwhile; [`Error::Io`],
/// [`Error::Store`]. What was copied so far is left.
pub fn back_up(data: &DataDir, store: &Store, to: &Path, now: UnixSeconds) -> Result<(), Error> {
    if fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()) {
        let problem = format!("{} is not empty; choose another directory", to.display());
        return Err(Error::DataDir { problem });
    }
    make_directory(to)?;
    let copy = DataDir::new(to);
    // Before the copy, so that the copy's own audit log says what it is.
    let entry = Entry::new("backup_made").with("to", to.display().to_string());
    store.audit(now, entry)?;
    write_secret(&copy.store(), &[])?;
    let roots = store.copy_to(&copy.store())?;
    for name in KEY_FILES {
        write_secret(&copy.file(name), &read(&data.file(name))?)?;
    }
    for root in &roots {
        let from = key_file(data, &root.certificate);
        if !from.exists() {
            let problem = "the roots changed while they were copied; make the backup again".into();
            return Err(Error::DataDir { problem });
        }
        write_secret(&key_file(&copy, &root.certificate), &read(&from)?)?;
    }
    let written = || Error::io(format!("writing {}", to.display()));
    File::open(copy.store())
        .and_then(|file| file.sync_all())
        .map_err(written())?;
    File::open(to)
        .and_then(|file| file.sync_all())
        .map_err(written())
}
