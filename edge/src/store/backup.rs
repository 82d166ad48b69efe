//! A copy of the store, taken while edges and commands go on.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::backup::Backup;

use super::roots::{self, Root};
use super::{BUSY_MAX, Store};
use crate::Error;

impl Store {
    /// Writes the whole store into the empty file at `path`; the roots that are in the copy.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub(crate) fn copy_to(&self, path: &Path) -> Result<Vec<Root>, Error> {
        let mut copy = Connection::open(path)?;
        copy.busy_timeout(BUSY_MAX)?;
        let source = self.lock();
        // All pages in one step are one state: nobody's transaction comes in between.
        Backup::new(&source, &mut copy)?.step(ALL_PAGES)?;
        drop(source);
        let roots = roots::roots(&copy)?;
        copy.close().map_err(|(_, error)| error)?;
        Ok(roots)
    }
}

/// What `sqlite3_backup_step` takes for "all that are left".
const ALL_PAGES: i32 = -1;
