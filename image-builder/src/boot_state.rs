//! The boot-state block inside a disk: read, and written back in place.
//!
//! Which slot boots, and who a minted image is, are lines of one block at a fixed place of one
//! partition. So minting changes 1,024 bytes of a disk and nothing else.

use std::fmt;

use disk_format::grubenv::{BLOCK_BYTES, GrubEnv, GrubEnvError};
use disk_format::slot::{BOOT_STATE_BLOCK_OFFSET_BYTES, boot_key, partition};

use crate::disk::{self, Disk, DiskError};

/// What minting sets; an image from the builder has none of these keys.
pub const MINTED_KEYS: &[&str] = &[
    boot_key::NAME,
    boot_key::MAC,
    boot_key::EDGE,
    boot_key::GROUP,
];

/// The boot state of `disk`.
///
/// # Errors
/// When the disk has no partition for it or the block is damaged.
pub fn read(disk: &impl Disk) -> Result<GrubEnv, BootStateError> {
    let offset = block_offset(disk)?;
    let block = disk
        .read_at(offset, BLOCK_BYTES)
        .map_err(BootStateError::Disk)?;
    GrubEnv::parse(&block).map_err(BootStateError::Block)
}

/// Makes `state` the boot state of `disk`.
///
/// # Errors
/// When the disk has no partition for it, or that cannot be written.
pub fn write(disk: &mut impl Disk, state: &GrubEnv) -> Result<(), BootStateError> {
    let offset = block_offset(disk)?;
    disk.write_at(offset, &state.emit())
        .map_err(BootStateError::Disk)
}

/// `state` as it was before minting.
#[must_use]
pub fn without_minted(state: &GrubEnv) -> GrubEnv {
    let mut state = state.clone();
    MINTED_KEYS.iter().for_each(|key| state.unset(key));
    state
}

/// Where the block begins, in bytes from the disk's start.
///
/// # Errors
/// When the partition table is damaged or has no such partition.
pub fn block_offset(disk: &impl Disk) -> Result<u64, BootStateError> {
    let table = disk::table(disk).map_err(BootStateError::Disk)?;
    let partition = table
        .find(partition::BOOT_STATE)
        .ok_or(BootStateError::NoPartition)?;
    let (start, _) = disk::extent(partition);
    Ok(start.saturating_add(BOOT_STATE_BLOCK_OFFSET_BYTES))
}

/// Why the boot state cannot be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum BootStateError {
    /// The block is no environment block.
    Block(GrubEnvError),
    /// The disk cannot be read or written there.
    Disk(DiskError),
    /// The partition table has no partition for it.
    NoPartition,
}

impl fmt::Display for BootStateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(error) => write!(f, "boot state: {error}"),
            Self::Disk(error) => write!(f, "{error}"),
            Self::NoPartition => write!(
                f,
                "the disk has no partition {}: it is no disk of this product",
                partition::BOOT_STATE
            ),
        }
    }
}

impl std::error::Error for BootStateError {}
