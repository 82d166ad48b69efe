//! What the fuzzer runs. The checksums would keep it from everything behind them, so its input is
//! also read as a table whose checksums are mended.

use super::{BOOT_CODE_BYTES, ENTRIES_MAX, ENTRY_BYTES, Gpt, HEADER_BYTES, SECTOR, field};
use crate::SECTOR_BYTES;
use crate::bytes::{put, u32_le};

/// Fuzz body: neither reader panics, and what one accepts survives a round trip. `data` is read as
/// the sectors of either copy, and as the bytes of a header followed by those of the entries.
pub fn fuzz_gpt(data: &[u8]) {
    let disk_sectors = data.len() as u64 / SECTOR_BYTES;
    let mended = mended(data);
    for table in [
        Gpt::parse_primary(data),
        Gpt::parse_backup(data, disk_sectors),
        Gpt::parse_primary(&mended),
    ] {
        let Ok(table) = table else { continue };
        let emitted = table.emit(&[0; BOOT_CODE_BYTES]);
        assert_eq!(Gpt::parse_primary(&emitted.primary).as_ref(), Ok(&table));
        assert_eq!(
            Gpt::parse_backup(&emitted.backup, table.disk_sectors).as_ref(),
            Ok(&table)
        );
    }
}

/// A primary copy with the header and the entries of `data`, and the checksums they ask for.
fn mended(data: &[u8]) -> Vec<u8> {
    let (header, entries) = data.split_at(data.len().min(HEADER_BYTES as usize));
    let mut disk = vec![0; 2 * SECTOR + ENTRIES_MAX * ENTRY_BYTES];
    put(&mut disk, SECTOR, header);
    let length = entries.len().min(ENTRIES_MAX * ENTRY_BYTES);
    put(&mut disk, 2 * SECTOR, &entries[..length]);

    let (start, table) = disk.split_at_mut(2 * SECTOR);
    let header = &mut start[SECTOR..];
    let count = u32_le(header, field::header::ENTRIES).unwrap_or(0) as usize;
    if let Some(hashed) = table.get(..count.saturating_mul(ENTRY_BYTES)) {
        let crc = crc32fast::hash(hashed);
        put(header, field::header::ENTRIES_CRC, &crc.to_le_bytes());
    }
    put(header, field::header::CRC, &[0; 4]);
    let bytes = u32_le(header, field::header::SIZE).unwrap_or(0) as usize;
    if let Some(hashed) = header.get(..bytes) {
        let crc = crc32fast::hash(hashed);
        put(header, field::header::CRC, &crc.to_le_bytes());
    }
    disk
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpt::tests::two_partitions;

    #[test]
    fn a_damaged_table_is_mended_so_that_the_reader_gets_behind_its_checksums() {
        let emitted = two_partitions().emit(&[0; BOOT_CODE_BYTES]);
        let mut data = emitted.primary[SECTOR..][..HEADER_BYTES as usize].to_vec();
        data.extend(&emitted.primary[2 * SECTOR..][..2 * ENTRY_BYTES]);
        assert_eq!(Gpt::parse_primary(&mended(&data)), Ok(two_partitions()));
        let name = HEADER_BYTES as usize + field::entry::NAME;
        data[name] ^= 1;
        let renamed = Gpt::parse_primary(&mended(&data)).unwrap();
        assert_ne!(renamed, two_partitions());
        fuzz_gpt(&data);
    }
}
