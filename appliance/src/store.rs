//! The state record on its partition: read once, written slot by slot.
//!
//! A record is sealed with a key that is derived from the device secret, which lies behind the slots and is
//! made with the first record. Both are written the same way: beside what is in force, flushed, read
//! back. A power cut leaves what was there before or what is there now.
//!
//! A record that this machine cannot open (another machine's, or sealed by a TPM that is not here) is
//! written over only once this machine was enrolled: the disk may have to go back to where it belongs.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use connector_proto::local::NoIdentity;
use connector_proto::record::{
    self, DEVICE_AT, DeviceError, Record, SLOT_LEN, SLOTS, SlotError, State,
};
use zeroize::Zeroizing;

mod disk;
mod reading;
mod secret;
mod unsealer;

#[cfg(test)]
mod tests;

pub use disk::Disk;
use disk::write_and_check;
use reading::Reading;
use secret::{Places, Secret};
pub use unsealer::{NoTpm, UnsealError, Unsealer};

/// Writes are padded to this, the largest sector size of the disks we run on.
const ALIGNMENT: usize = 4096;

/// The open state record.
#[derive(Debug)]
pub struct Store<D = File> {
    disk: D,
    uuid: [u8; 16],
    unsealer: Box<dyn Unsealer>,
    secret: Secret,
    places: Places,
    /// Whether a slot holds nothing that only another secret than `secret` opens.
    is_settled: [bool; SLOTS],
    /// The slot with a record that this machine cannot open, until an identity takes its place.
    kept: Option<usize>,
    generation: u64,
    write_to: usize,
    state: State,
}

/// What was found on the disk.
#[derive(Debug)]
pub struct Opened<D = File> {
    /// The record.
    pub store: Store<D>,
    /// Why it has no identity: `Blank`, `Foreign`, `Sealed` or `Unreadable`. `None`: what the state says holds.
    pub why: Option<NoIdentity>,
}

/// Why the state record cannot be used.
#[derive(Debug)]
pub enum StoreError {
    /// The disk failed.
    Io(io::Error),
    /// PID 1 found no state partition.
    NoPartition,
    /// The kernel gives no random numbers.
    Random(String),
    /// What was read back is not what was written.
    ReadBack,
    /// The record does not fit a slot.
    Record(SlotError),
    /// The device secret does not fit its place.
    Secret(DeviceError),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "the state partition fails: {error}"),
            Self::NoPartition => f.write_str("there is no state partition on any disk"),
            Self::Random(error) => write!(f, "there are no random numbers: {error}"),
            Self::ReadBack => {
                f.write_str("the state partition does not keep what is written to it")
            }
            Self::Record(error) => write!(f, "the state record does not fit: {error}"),
            Self::Secret(error) => write!(f, "the device secret does not fit: {error}"),
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
    /// Reads the newest record of the partition; `uuid` is the SMBIOS UUID in the byte order of its text.
    /// A blank, broken or foreign one reads as "not enrolled". Nothing is written.
    ///
    /// # Errors
    /// If there is no partition, or it cannot be read.
    pub fn open(
        partition: Option<OwnedFd>,
        uuid: [u8; 16],
        unsealer: Box<dyn Unsealer>,
    ) -> Result<Opened, StoreError> {
        let partition = partition.ok_or(StoreError::NoPartition)?;
        Self::open_disk(File::from(partition), uuid, unsealer)
    }
}

impl<D: Disk> Store<D> {
    /// As [`Store::open`], on any disk.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn open_disk(
        disk: D,
        uuid: [u8; 16],
        mut unsealer: Box<dyn Unsealer>,
    ) -> Result<Opened<D>, StoreError> {
        let mut bytes = Zeroizing::new(vec![0; reading::LEN]);
        disk.read(0, &mut bytes)?;
        let reading = Reading::new(&bytes, &uuid, &mut *unsealer)?;
        for (slot, error) in reading.newest.errors.iter().enumerate() {
            match error {
                None | Some(SlotError::Blank) => {}
                Some(error) => log::warn!("slot {slot} of the state record is not used: {error}"),
            }
        }
        let (generation, state) = match reading.newest.record {
            Some(record) => (record.generation, record.state),
            None => (0, State::default()),
        };
        let mut store = Self {
            disk,
            uuid,
            unsealer,
            secret: reading.secret,
            places: reading.places,
            is_settled: [0, 1].map(|slot| reading.kept != Some(slot)),
            kept: reading.kept,
            generation,
            write_to: reading.newest.write_to,
            state,
        };
        if !reading.is_new {
            store.seal_if_plain();
        }
        Ok(Opened {
            store,
            why: reading.why,
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
        self.places.hold(&mut self.disk, &self.secret)?;
        let slot = match self.kept {
            Some(kept) if state.identity.is_none() => 1 - kept,
            Some(kept) => kept,
            None => self.write_to,
        };
        self.write(slot, state)?;
        if self.state.identity.is_some() {
            self.kept = None;
        }
        if let Err(error) = self.settle() {
            log::warn!("the device secret is not in all of its places: {error}");
        }
        Ok(())
    }

    /// Forgets everything, and the secret that sealed it: a factory reset. The secret goes first; a power
    /// cut leaves the old state, or none.
    ///
    /// # Errors
    /// See [`StoreError`]. The old state is then in force here, and perhaps gone from the disk.
    pub fn erase(&mut self) -> Result<(), StoreError> {
        let secret = Secret::make(&self.uuid, &mut *self.unsealer)?;
        self.places.forget();
        let zeros = vec![0; reading::LEN];
        write_and_check(&mut self.disk, DEVICE_AT, &zeros[DEVICE_AT..])?;
        write_and_check(&mut self.disk, 0, &zeros[..DEVICE_AT])?;
        self.secret = secret;
        self.is_settled = [true; SLOTS];
        self.kept = None;
        self.generation = 0;
        self.write_to = 0;
        self.state = State::default();
        Ok(())
    }

    /// A secret that lies plain on the disk although there is a TPM is replaced with the next save.
    fn seal_if_plain(&mut self) {
        if !self.secret.is_plain || !self.unsealer.has_tpm() {
            return;
        }
        match Secret::make(&self.uuid, &mut *self.unsealer) {
            Ok(secret) if !secret.is_plain => {
                self.secret = secret;
                self.is_settled = [false; SLOTS];
            }
            Ok(_) => {}
            Err(error) => log::warn!("the device secret stays unsealed: {error}"),
        }
    }

    fn write(&mut self, slot: usize, state: State) -> Result<(), StoreError> {
        let record = Record {
            generation: self.generation.saturating_add(1),
            state,
        };
        let mut bytes = record::emit(&record, &self.secret.key).map_err(StoreError::Record)?;
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        write_and_check(&mut self.disk, slot * SLOT_LEN, &bytes)?;
        self.generation = record.generation;
        self.write_to = 1 - slot;
        self.is_settled[slot] = true;
        self.state = record.state;
        Ok(())
    }

    /// Puts everything under the secret in force, once nothing needs another one.
    fn settle(&mut self) -> Result<(), StoreError> {
        if self.kept.is_some() {
            return Ok(());
        }
        if !self.is_settled[self.write_to] {
            self.write(self.write_to, self.state.clone())?;
        }
        self.places.settle(&mut self.disk, &self.secret)
    }
}
