//! The ledger on disk: locked while it is read and rewritten, and always whole.
//!
//! The lock is on a neighbour, `LEDGER.lock`, because a rewrite replaces the ledger's own file.
//! The kernel lets go of it when the process ends, however it ends.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::mint::error::MintError;
use crate::mint::ledger::{LEDGER_BYTES_MAX, Ledger};

/// A ledger that nobody else mints from until this is dropped.
#[derive(Debug)]
pub struct LedgerFile {
    path: PathBuf,
    /// Holds the lock for as long as it is open.
    _lock: File,
}

impl LedgerFile {
    /// Waits until nobody else has the ledger at `path`. Its folder is made when it is missing.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn lock(path: &Path) -> Result<Self, MintError> {
        if let Some(folder) = folder(path) {
            fs::create_dir_all(folder).map_err(MintError::file(folder))?;
        }
        let lock_path = with_suffix(path, ".lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(MintError::file(&lock_path))?;
        Ok(Self {
            path: path.into(),
            _lock: lock,
        })
    }

    /// What it says; an empty ledger when there is none yet.
    ///
    /// # Errors
    /// When it cannot be read, or a line of it is wrong.
    pub fn read(&self) -> Result<Ledger, MintError> {
        let mut text = Vec::new();
        let opened = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Ledger::new()),
            opened => opened,
        };
        // One byte more than the limit, so that a longer one is seen to be longer.
        opened
            .and_then(|file| {
                file.take(LEDGER_BYTES_MAX as u64 + 1)
                    .read_to_end(&mut text)
            })
            .map_err(MintError::file(&self.path))?;
        Ledger::parse(&text).map_err(|error| MintError::Ledger {
            path: self.path.clone(),
            error,
        })
    }

    /// Replaces it. A reader, or a power cut, finds the old one or the new one.
    ///
    /// # Errors
    /// When the folder cannot be written to; the ledger is as it was then.
    pub fn write(&self, ledger: &Ledger) -> Result<(), MintError> {
        // One fixed name: the lock keeps others away, and what a killed mint left is overwritten.
        let new = with_suffix(&self.path, ".new");
        File::create(&new)
            .and_then(|mut file| {
                file.write_all(ledger.emit().as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&new, &self.path))
            .and_then(|()| File::open(folder(&self.path).unwrap_or(Path::new(".")))?.sync_all())
            .map_err(MintError::file(&self.path))
    }
}

/// Where the ledger is unless `--ledger` says otherwise: `$XDG_DATA_HOME/outgate/mint.ledger`, else
/// `~/.local/share/outgate/mint.ledger`. Outside of the checkout: `cargo clean` must not make the
/// next mint give an address out twice, and all checkouts of a person mint from one range.
///
/// # Errors
/// When neither variable is set.
pub fn default_path() -> Result<PathBuf, MintError> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("XDG_DATA_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("outgate/mint.ledger"))
        .ok_or(MintError::NoLedger)
}

/// The folder of `path`, unless that is the current one.
fn folder(path: &Path) -> Option<&Path> {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
