//! The boot-state block inside a disk: read, and written back in place.
//!
//! Which slot boots, and who a minted image is, are lines of one block at a fixed place of one
//! partition. So minting changes 1,024 bytes of a disk and nothing else.

use std::fmt;

use disk_format::grubenv::{BLOCK_BYTES, GrubEnv, GrubEnvError, SIGNATURE};
use disk_format::slot::{BOOT_STATE_BLOCK_OFFSET_BYTES, boot_key, partition};

use crate::disk::{self, Disk, DiskError};

/// What minting sets; an image from the builder has none of these keys.
pub fn minted_keys() -> impl Iterator<Item = &'static str> {
    let identity = [
        boot_key::NAME,
        boot_key::MAC,
        boot_key::EDGE,
        boot_key::GROUP,
    ];
    identity
        .into_iter()
        .chain(boot_key::SETTINGS.iter().copied())
}

/// How many bytes of the block a machine with these minted values comes to use at most, when its boot
/// loader and PID 1 have written their longest: it may be [`BOOT_STATE_BYTES_MAX`].
///
/// [`BOOT_STATE_BYTES_MAX`]: disk_format::slot::BOOT_STATE_BYTES_MAX
#[must_use]
pub fn bytes_at_most(minted: &[(&str, String)]) -> usize {
    let line = |key: &str, value: &str| key.len() + value.len() + "=\n".len();
    let loader: usize = LONGEST.iter().map(|(key, value)| line(key, value)).sum();
    let minted: usize = minted.iter().map(|(key, value)| line(key, value)).sum();
    SIGNATURE.len() + loader + minted
}

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
    minted_keys().for_each(|key| state.unset(key));
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

/// The longest values that boot loader and PID 1 write.
const LONGEST: &[(&str, &str)] = &[
    (boot_key::GOOD, "a"),
    (boot_key::TRIAL, "b"),
    (boot_key::LEFT, "3"),
    (boot_key::DEADLINE_S, "3600"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use ovf::property::{PROPERTIES, Property};

    #[test]
    fn the_keys_of_settings_are_those_of_the_properties() {
        let properties = PROPERTIES.iter().map(Property::key_in_class);
        let not_identity = |key: &&str| !["edge", "name", "mac"].contains(key);
        let wanted: Vec<_> = properties.filter(not_identity).collect();
        assert_eq!(boot_key::SETTINGS, wanted);
    }

    #[test]
    fn bytes_are_counted_as_the_block_has_them() {
        let minted = [("name", "mumbai-01".to_owned()), ("vlan", "7".to_owned())];
        let mut state = GrubEnv::new();
        for (key, value) in LONGEST {
            state.set(key, value).unwrap();
        }
        for (key, value) in &minted {
            state.set(key, value).unwrap();
        }
        assert_eq!(bytes_at_most(&minted), state.used_bytes());
    }
}
