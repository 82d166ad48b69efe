//! A disk's bytes at an offset, whatever file they are in.

use std::fmt;

use disk_format::SECTOR_BYTES;
use disk_format::gpt::{Gpt, GptError, PRIMARY_SECTORS, Partition};
use disk_format::vmdk::{Vmdk, VmdkError};

/// A disk that is read, and changed, piece by piece: the bytes of a raw image (also what is inside
/// a qcow2) or a [`Vmdk`], of which only the grains in question are inflated.
pub trait Disk {
    /// Its length.
    fn capacity_bytes(&self) -> u64;

    /// `length` bytes at `offset`.
    ///
    /// # Errors
    /// When they are not all on the disk, or cannot be inflated.
    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>, DiskError>;

    /// Replaces the bytes at `offset`.
    ///
    /// # Errors
    /// As [`Self::read_at`].
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;
}

impl Disk for Vec<u8> {
    fn capacity_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        Ok(self[range(self.len(), offset, length)?].to_vec())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let range = range(self.len(), offset, bytes.len())?;
        self[range].copy_from_slice(bytes);
        Ok(())
    }
}

impl Disk for Vmdk {
    fn capacity_bytes(&self) -> u64 {
        Self::capacity_bytes(self)
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        self.read(offset, length).map_err(DiskError::Vmdk)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.write(offset, bytes).map_err(DiskError::Vmdk)
    }
}

/// The partition table at the disk's start.
///
/// # Errors
/// When it cannot be read or is damaged.
pub fn table(disk: &impl Disk) -> Result<Gpt, DiskError> {
    let sectors = disk.read_at(0, bytes(PRIMARY_SECTORS))?;
    Gpt::parse_primary(&sectors).map_err(DiskError::Table)
}

/// Where `partition` begins, in bytes, and how long it is. What a hostile table makes longer than
/// memory becomes the longest there is, and no disk has that piece.
#[must_use]
pub fn extent(partition: &Partition) -> (u64, usize) {
    let offset = partition.first_lba.saturating_mul(SECTOR_BYTES);
    (offset, bytes(partition.sectors()))
}

fn bytes(sectors: u64) -> usize {
    usize::try_from(sectors.saturating_mul(SECTOR_BYTES)).unwrap_or(usize::MAX)
}

fn range(capacity: usize, offset: u64, length: usize) -> Result<std::ops::Range<usize>, DiskError> {
    let outside = DiskError::Outside {
        offset,
        length: length as u64,
        capacity: capacity as u64,
    };
    let Ok(start) = usize::try_from(offset) else {
        return Err(outside);
    };
    match start.checked_add(length) {
        Some(end) if end <= capacity => Ok(start..end),
        _ => Err(outside),
    }
}

/// Why a piece of a disk cannot be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum DiskError {
    /// The piece is not on the disk.
    Outside {
        /// Where it begins.
        offset: u64,
        /// How long it is.
        length: u64,
        /// How long the disk is.
        capacity: u64,
    },
    /// The partition table is damaged, or there is none.
    Table(GptError),
    /// A grain cannot be inflated or replaced.
    Vmdk(VmdkError),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside {
                offset,
                length,
                capacity,
            } => write!(
                f,
                "{length} bytes at {offset} are not on the disk of {capacity} bytes"
            ),
            Self::Table(error) => write!(f, "partition table: {error}"),
            Self::Vmdk(error) => write!(f, "VMDK: {error}"),
        }
    }
}

impl std::error::Error for DiskError {}
