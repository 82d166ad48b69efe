//! The state record on its partition: read once, written slot by slot.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use connector_proto::record::{self, Record, SLOT_LEN, SLOTS, SlotError, State};
use rustix::fs::{Advice, fadvise, fdatasync};
use zeroize::Zeroizing;

/// Writes are padded to this, the largest sector size of the disks we run on.
const ALIGNMENT: usize = 4096;

/// The open state record.
#[derive(Debug)]
pub struct Store {
    partition: File,
    generation: u64,
    write_to: usize,
    state: State,
}

/// Why the state record cannot be used.
#[derive(Debug)]
pub enum StoreError {
    /// PID 1 found no state partition.
    NoPartition,
    /// The disk failed.
    Io(io::Error),
    /// What was read back is not what was written.
    ReadBack,
    /// The record does not fit a slot.
    Record(SlotError),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPartition => f.write_str("there is no state partition on any disk"),
            Self::Io(error) => write!(f, "the state partition fails: {error}"),
            Self::ReadBack => {
                f.write_str("the state partition does not keep what is written to it")
            }
            Self::Record(error) => write!(f, "the state record does not fit: {error}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Store {
    /// Reads the newest record of the partition. A blank or broken one reads as "not enrolled".
    ///
    /// # Errors
    /// If there is no partition, or it cannot be read.
    pub fn open(partition: Option<OwnedFd>) -> Result<Self, StoreError> {
        let partition = File::from(partition.ok_or(StoreError::NoPartition)?);
        let mut bytes = Zeroizing::new(vec![0; SLOTS * SLOT_LEN]);
        partition.read_exact_at(&mut bytes, 0)?;
        let (a, b) = bytes.split_at(SLOT_LEN);
        let newest = record::newest([a, b]);
        for (slot, error) in newest.errors.iter().enumerate() {
            match error {
                None | Some(SlotError::Blank) => {}
                Some(error) => log::warn!("slot {slot} of the state record is not used: {error}"),
            }
        }
        let write_to = newest.write_to;
        let (generation, state) = match newest.record {
            Some(record) => (record.generation, record.state),
            None => (0, State::default()),
        };
        Ok(Self {
            partition,
            generation,
            write_to,
            state,
        })
    }

    /// What is remembered.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Counts the writes of this record, over all restarts.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Remembers `state`: writes the older slot, flushes, reads back. On an error the old state
    /// stays in force, on disk and here.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn save(&mut self, state: State) -> Result<(), StoreError> {
        let record = Record {
            generation: self.generation + 1,
            state,
        };
        let emitted = Zeroizing::new(record::emit(&record).map_err(StoreError::Record)?);
        let mut bytes = Zeroizing::new(vec![0; emitted.len().next_multiple_of(ALIGNMENT)]);
        bytes[..emitted.len()].copy_from_slice(&emitted);
        let offset = (self.write_to * SLOT_LEN) as u64;
        self.partition.write_all_at(&bytes, offset)?;
        fdatasync(&self.partition).map_err(io::Error::from)?;
        // Drop the page cache, so that the reading is the disk's.
        fadvise(&self.partition, offset, None, Advice::DontNeed).map_err(io::Error::from)?;
        let mut read = Zeroizing::new(vec![0; bytes.len()]);
        self.partition.read_exact_at(&mut read, offset)?;
        if read != bytes {
            return Err(StoreError::ReadBack);
        }
        self.generation = record.generation;
        self.write_to = 1 - self.write_to;
        self.state = record.state;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    #[test]
    fn a_saved_state_is_there_after_a_restart() {
        let path = partition("restart");
        let mut store = open(&path);
        for edge in ["one:443", "two:443", "three:443"] {
            store.save(naming(edge)).unwrap();
            assert_eq!(open(&path).state().edge, edge);
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn the_previous_record_survives_the_loss_of_the_newest() {
        let path = partition("loss");
        let mut store = open(&path);
        for edge in ["one:443", "two:443"] {
            store.save(naming(edge)).unwrap();
        }
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[0xff; 512], SLOT_LEN as u64).unwrap();
        assert_eq!(open(&path).state().edge, "one:443");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_partition_that_is_too_small_is_an_error_and_none_is_named() {
        let path = std::env::temp_dir().join(format!("outgate-store-small-{}", std::process::id()));
        std::fs::write(&path, [0; 512]).unwrap();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        assert!(matches!(
            Store::open(Some(file.into())),
            Err(StoreError::Io(_))
        ));
        assert!(matches!(Store::open(None), Err(StoreError::NoPartition)));
        std::fs::remove_file(path).unwrap();
    }

    fn naming(edge: &str) -> State {
        let mut state = State::default();
        edge.clone_into(&mut state.edge);
        state
    }

    fn partition(name: &str) -> std::path::PathBuf {
        let path =
            std::env::temp_dir().join(format!("outgate-store-{name}-{}", std::process::id()));
        std::fs::write(&path, vec![0; 1024 * 1024]).unwrap();
        path
    }

    fn open(path: &std::path::Path) -> Store {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        Store::open(Some(file.into())).unwrap()
    }
}
