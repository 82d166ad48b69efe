//! Everything becomes one disk.

use disk_format::SECTOR_BYTES;
use disk_format::gpt::BACKUP_SECTORS;

use crate::Error;
use crate::boot::{self, Grub};
use crate::layout::Layout;
use crate::recipe::{Content, PartitionSpec};

/// The bytes of the disk: partition table, boot loader, and `slot` in each system partition.
///
/// # Errors
/// When some content does not fit into its partition.
pub fn disk(
    layout: &Layout,
    partitions: &[PartitionSpec],
    grub: &Grub,
    slot: &[u8],
) -> Result<Vec<u8>, Error> {
    let mut disk = vec![0; index(layout.disk_bytes)?];
    let table = layout.table.emit(&grub.boot_code);
    disk[..table.primary.len()].copy_from_slice(&table.primary);
    let backup_at = index(layout.disk_bytes - BACKUP_SECTORS * SECTOR_BYTES)?;
    disk[backup_at..].copy_from_slice(&table.backup);

    for (spec, partition) in partitions.iter().zip(layout.table.partitions()) {
        let content = match spec.content {
            Content::BiosCore => grub.core.clone(),
            Content::BootState => boot::boot_state(partition)?,
            Content::Esp => boot::esp(&grub.efi, partition)?,
            Content::System => slot.to_vec(),
            Content::Zeros => Vec::new(),
        };
        let max = partition.sectors() * SECTOR_BYTES;
        let bytes = content.len() as u64;
        if bytes > max {
            return Err(Error::DoesNotFit {
                partition: spec.name,
                bytes,
                max,
            });
        }
        let start = index(partition.first_lba * SECTOR_BYTES)?;
        disk[start..start + content.len()].copy_from_slice(&content);
    }
    Ok(disk)
}

/// An offset in memory. Fails only on machines with addresses shorter than the disk.
fn index(bytes: u64) -> Result<usize, Error> {
    usize::try_from(bytes).map_err(Error::format)
}
