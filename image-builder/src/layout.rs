//! Pure: the recipe's partitions become sector ranges.
//!
//! Partitions follow one another without gaps from 1 MiB on, each a whole number of MiB, and one
//! more MiB at the end holds the backup table. So the disk is a whole number of MiB, which OVF
//! descriptors want, and every partition suits disks with 4 KiB sectors below.

use disk_format::SECTOR_BYTES;
use disk_format::gpt::{Attributes, Gpt, GptError, Partition};
use disk_format::guid::Guid;
use sha2::{Digest, Sha256};

use crate::recipe::{ID_LABEL, PartitionSpec};

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Length of the disk.
    pub disk_bytes: u64,
    /// The partition table; its entries are in the recipe's order.
    pub table: Gpt,
}

/// Lays `partitions` out.
///
/// # Errors
/// When the table refuses them: too many, or a name that is too long.
pub fn layout(partitions: &[PartitionSpec]) -> Result<Layout, GptError> {
    let mut next_mib = FIRST_MIB;
    let mut entries = Vec::new();
    for spec in partitions {
        let first_lba = next_mib * SECTORS_PER_MIB;
        next_mib += spec.mib;
        entries.push(Partition {
            type_guid: spec.type_guid,
            guid: guid(spec.name),
            first_lba,
            last_lba: next_mib * SECTORS_PER_MIB - 1,
            attributes: Attributes::NONE,
            name: spec.name.into(),
        });
    }
    let disk_mib = next_mib + BACKUP_MIB;
    // The constructor refuses entries that overlap or leave the disk.
    let table = Gpt::new(guid("disk"), disk_mib * SECTORS_PER_MIB, entries)?;
    Ok(Layout {
        disk_bytes: disk_mib * MIB,
        table,
    })
}

/// The GUID of a part of the disk.
#[must_use]
pub fn guid(name: &str) -> Guid {
    Guid::from_digest(&id_digest(name))
}

/// The serial number of a filesystem.
#[must_use]
pub fn volume_id(name: &str) -> u32 {
    let [a, b, c, d, ..] = id_digest(name);
    u32::from_le_bytes([a, b, c, d])
}

fn id_digest(name: &str) -> [u8; 32] {
    Sha256::new()
        .chain_update(ID_LABEL)
        .chain_update([0])
        .chain_update(name)
        .finalize()
        .into()
}

/// 2^20.
pub const MIB: u64 = 1 << 20;
const SECTORS_PER_MIB: u64 = MIB / SECTOR_BYTES;
const FIRST_MIB: u64 = 1;
const BACKUP_MIB: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::PARTITIONS;

    #[test]
    fn partitions_follow_one_another_on_mib_boundaries() {
        let layout = layout(PARTITIONS).unwrap();
        let mut next = 2048;
        for (partition, spec) in layout.table.partitions().iter().zip(PARTITIONS) {
            assert_eq!(partition.first_lba, next);
            assert_eq!(partition.sectors(), spec.mib * 2048);
            next = partition.last_lba + 1;
        }
    }

    #[test]
    fn the_disk_is_77_mib() {
        assert_eq!(layout(PARTITIONS).unwrap().disk_bytes, 77 * MIB);
    }

    #[test]
    fn identifiers_differ_between_parts_and_not_between_builds() {
        assert_eq!(guid("disk"), guid("disk"));
        assert_ne!(guid("disk"), guid("outgate-esp"));
        assert_ne!(volume_id("outgate-esp"), volume_id("outgate-boot-state"));
    }
}
