//! The sparse extent header: sector 0, and once more as the footer.

use super::{GRAIN_SECTORS, SECTOR, VmdkError, checked_capacity};
use crate::SECTOR_BYTES;
use crate::bytes::{array, put};

/// The header of a disk of `capacity_bytes`, whose grain directory starts at sector `gd_offset`.
pub(super) fn emit(capacity_bytes: u64, gd_offset: u64) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    for field in fields(capacity_bytes / SECTOR_BYTES, gd_offset) {
        let value = field.value.to_le_bytes();
        put(&mut sector, field.at, &value[..field.bytes]);
    }
    sector
}

/// The capacity in bytes that a header gives, when everything else in it is as the writer's with
/// the grain directory at `gd_offset`. `part` names the header in the error.
pub(super) fn parse(part: &'static str, sector: &[u8], gd_offset: u64) -> Result<u64, VmdkError> {
    let capacity_sectors = array(sector, CAPACITY_AT).map_or(0, u64::from_le_bytes);
    for field in fields(capacity_sectors, gd_offset) {
        let value = field.read(sector);
        if value != field.value {
            return Err(VmdkError::Field {
                part,
                field: field.name,
                value,
                expected: field.value,
            });
        }
    }
    let capacity_bytes = checked_capacity(capacity_sectors.saturating_mul(SECTOR_BYTES))?;
    let expected = emit(capacity_bytes, gd_offset);
    match expected.iter().zip(sector).position(|(a, b)| a != b) {
        None => Ok(capacity_bytes),
        Some(offset) => Err(VmdkError::Padding { part, offset }),
    }
}

/// `gdOffset` of the header: the directory's place is in the footer.
pub(super) const GD_AT_END: u64 = u64::MAX;

/// The first sector of the descriptor.
pub(super) const DESCRIPTOR_AT: u64 = 1;
/// Sectors of the descriptor.
pub(super) const DESCRIPTOR_SECTORS: usize = 20;
/// Sectors before the first grain: header, descriptor, and zeros up to one grain.
pub(super) const OVERHEAD_SECTORS: u64 = 128;
/// Entries of a grain table.
pub(super) const GTES_PER_GT: u64 = 512;

/// A field of the header and the value it has here.
struct Field {
    at: usize,
    bytes: usize,
    name: &'static str,
    value: u64,
}

impl Field {
    /// The field's value in `sector`.
    fn read(&self, sector: &[u8]) -> u64 {
        let mut value = [0; 8];
        let field = sector.get(self.at..self.at + self.bytes);
        put(&mut value, 0, field.unwrap_or_default());
        u64::from_le_bytes(value)
    }
}

/// Every field, little-endian and without gaps between them.
const fn fields(capacity_sectors: u64, gd_offset: u64) -> [Field; 14] {
    const fn field(at: usize, bytes: usize, name: &'static str, value: u64) -> Field {
        Field {
            at,
            bytes,
            name,
            value,
        }
    }
    [
        field(0, 4, "magicNumber", MAGIC),
        field(4, 4, "version", 3),
        field(8, 4, "flags", NEWLINES_VALID | COMPRESSED | MARKERS),
        field(CAPACITY_AT, 8, "capacity", capacity_sectors),
        field(20, 8, "grainSize", GRAIN_SECTORS),
        field(28, 8, "descriptorOffset", DESCRIPTOR_AT),
        field(36, 8, "descriptorSize", DESCRIPTOR_SECTORS as u64),
        field(44, 4, "numGTEsPerGT", GTES_PER_GT),
        field(48, 8, "rgdOffset", 0),
        field(56, 8, "gdOffset", gd_offset),
        field(64, 8, "overHead", OVERHEAD_SECTORS),
        field(72, 1, "uncleanShutdown", 0),
        field(73, 4, "newline test", NEWLINES),
        field(77, 2, "compressAlgorithm", DEFLATE),
    ]
}

const CAPACITY_AT: usize = 12;
const MAGIC: u64 = u32::from_le_bytes(*b"KDMV") as u64;
/// A transfer that translates line ends shows itself in these bytes.
const NEWLINES: u64 = u32::from_le_bytes(*b"\n \r\n") as u64;
const DEFLATE: u64 = 1;
const NEWLINES_VALID: u64 = 1;
const COMPRESSED: u64 = 1 << 16;
const MARKERS: u64 = 1 << 17;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_the_one_of_the_specification() {
        let sector = emit(77 << 20, GD_AT_END);
        let golden = [
            b"KDMV".as_slice(),
            &[3, 0, 0, 0, 1, 0, 3, 0],
            &[0, 0x68, 2, 0, 0, 0, 0, 0],
            &[128, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            &[20, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0xff; 8],
            &[128, 0, 0, 0, 0, 0, 0, 0, 0],
            b"\n \r\n\x01\0",
            &[0; 433],
        ];
        assert_eq!(sector.as_slice(), golden.concat());
    }

    #[test]
    fn a_header_reads_back_and_each_of_its_bytes_is_checked() {
        let good = emit(77 << 20, 9);
        assert_eq!(parse("footer", &good, 9), Ok(77 << 20));
        for at in (0..good.len()).filter(|at| !(CAPACITY_AT..CAPACITY_AT + 8).contains(at)) {
            let mut bad = good;
            bad[at] ^= 1;
            assert!(parse("footer", &bad, 9).is_err(), "{at}");
        }
    }

    #[test]
    fn a_wrong_field_is_named_with_both_values() {
        let error = parse("header", &emit(1 << 20, 7), GD_AT_END).unwrap_err();
        assert_eq!(
            error.to_string(),
            "VMDK header: gdOffset is 0x7; it must be 0xffffffffffffffff"
        );
    }

    #[test]
    fn a_capacity_beyond_the_limit_is_refused() {
        for bytes in [0, 512, 1 << 31, 1 << 60] {
            let refused = Err(VmdkError::Capacity { bytes });
            assert_eq!(parse("header", &emit(bytes, 0), 0), refused);
        }
    }
}
