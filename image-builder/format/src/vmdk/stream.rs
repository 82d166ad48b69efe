//! The file as one stream: written in order, and walked in order without ever seeking.

use std::collections::BTreeMap;

use super::grain::{DEFLATED_BYTES_MAX, Grain};
use super::header::{
    self, DESCRIPTOR_AT, DESCRIPTOR_SECTORS, GD_AT_END, GTES_PER_GT, OVERHEAD_SECTORS,
};
use super::{GRAIN_SECTORS, SECTOR, Vmdk, VmdkError, descriptor, lba};
use crate::SECTOR_BYTES;
use crate::bytes::{is_zero, put, u32_le, u64_le};

/// The file of `vmdk`.
pub(super) fn emit(vmdk: &Vmdk) -> Result<Vec<u8>, VmdkError> {
    let mut file = Vec::with_capacity(file_bytes(vmdk));
    file.extend(header::emit(vmdk.capacity_bytes, GD_AT_END));
    file.extend(descriptor::emit(vmdk.capacity_bytes, vmdk.cid()));
    file.resize(bytes(OVERHEAD_SECTORS), 0);

    let mut directory = vec![0; bytes(directory_sectors(vmdk.capacity_bytes))];
    for table_index in 0..tables(vmdk.capacity_bytes) {
        let first = table_index * GTES_PER_GT;
        let mut table = vec![0; bytes(TABLE_SECTORS)];
        for (index, grain) in vmdk.grains.range(first..first + GTES_PER_GT) {
            put_entry(&mut table, index - first, next_sector(&file)?);
            emit_grain(&mut file, lba(*index), grain);
        }
        if !is_zero(&table) {
            emit_marker(&mut file, MARKER_GT, TABLE_SECTORS);
            put_entry(&mut directory, table_index, next_sector(&file)?);
            file.extend(table);
        }
    }
    emit_marker(&mut file, MARKER_GD, directory_sectors(vmdk.capacity_bytes));
    let gd_offset = next_sector(&file)?;
    file.extend(directory);
    emit_marker(&mut file, MARKER_FOOTER, FOOTER_SECTORS);
    file.extend(header::emit(vmdk.capacity_bytes, gd_offset.into()));
    emit_marker(&mut file, MARKER_EOS, 0);
    Ok(file)
}

/// The disk in `file`, when every byte of it is as [`emit`] would write it around these grains.
pub(super) fn parse(file: &[u8]) -> Result<Vmdk, VmdkError> {
    let (vmdk, text) = parse_but_descriptor(file)?;
    descriptor::check(text, vmdk.capacity_bytes, vmdk.cid())?;
    Ok(vmdk)
}

/// The same without looking at the descriptor, which is the second part of the result.
pub(super) fn parse_but_descriptor(file: &[u8]) -> Result<(Vmdk, &[u8]), VmdkError> {
    let mut walk = Walk { file, at: 0 };
    let capacity_bytes = header::parse("header", walk.sectors("the header", 1)?, GD_AT_END)?;
    let text = walk.sectors("the descriptor", DESCRIPTOR_SECTORS as u64)?;
    let gap = OVERHEAD_SECTORS - DESCRIPTOR_SECTORS as u64 - DESCRIPTOR_AT;
    check_zero("gap before the grains", walk.sectors("the gap", gap)?)?;

    let (grains, directory) = walk.grains_and_tables(capacity_bytes)?;
    let gd_offset = walk.at;
    let found = walk.sectors("the grain directory", directory_sectors(capacity_bytes))?;
    check_table("grain directory", found, &directory)?;
    walk.footer(capacity_bytes, gd_offset)?;
    walk.marker("the end-of-stream marker", MARKER_EOS, 0)?;
    walk.end()?;
    let vmdk = Vmdk {
        capacity_bytes,
        grains,
    };
    Ok((vmdk, text))
}

/// A place in a file that only moves forwards.
struct Walk<'a> {
    file: &'a [u8],
    /// In sectors.
    at: u64,
}

impl<'a> Walk<'a> {
    /// The grains, and the grain directory that their tables ask for. Stops behind the grain
    /// directory's marker.
    fn grains_and_tables(
        &mut self,
        capacity_bytes: u64,
    ) -> Result<(BTreeMap<u64, Grain>, Vec<u8>), VmdkError> {
        let mut grains = BTreeMap::new();
        let mut directory = vec![0; bytes(directory_sectors(capacity_bytes))];
        let mut open: Option<OpenTable> = None;
        // The first sector of the disk at which the next grain may start.
        let mut lba_min = 0;
        loop {
            let sector = self.at;
            let marker = self.peek("a marker")?;
            if u32_le(marker, MARKER_SIZE).unwrap_or(0) > 0 {
                let (index, grain) = self.grain(lba_min, capacity_bytes)?;
                let table = open.get_or_insert_with(|| OpenTable::new(index / GTES_PER_GT));
                if index / GTES_PER_GT != table.index {
                    return Err(VmdkError::Marker {
                        sector,
                        found: 0,
                        expected: "the marker of the grain table that is full",
                    });
                }
                table.put(index, sector)?;
                grains.insert(index, grain);
                lba_min = lba(index + 1);
            } else if let Some(table) = open.take() {
                self.marker("a grain or a grain table marker", MARKER_GT, TABLE_SECTORS)?;
                put_entry(&mut directory, table.index, sector_number(self.at)?);
                let found = self.sectors("a grain table", TABLE_SECTORS)?;
                check_table("grain table", found, &table.entries)?;
                lba_min = lba((table.index + 1) * GTES_PER_GT);
            } else {
                let length = directory_sectors(capacity_bytes);
                self.marker("a grain or the grain directory marker", MARKER_GD, length)?;
                return Ok((grains, directory));
            }
        }
    }

    /// One grain with its marker and padding, and its index on the disk.
    fn grain(&mut self, lba_min: u64, capacity_bytes: u64) -> Result<(u64, Grain), VmdkError> {
        let marker = self.peek("a grain's marker")?;
        let lba = u64_le(marker, 0).unwrap_or(0);
        let end = capacity_bytes / SECTOR_BYTES;
        if !lba.is_multiple_of(GRAIN_SECTORS) || lba < lba_min || lba >= end {
            return Err(VmdkError::GrainPlace {
                lba,
                min: lba_min,
                end,
            });
        }
        let size = u32_le(marker, MARKER_SIZE).unwrap_or(0);
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        if length > DEFLATED_BYTES_MAX {
            return Err(VmdkError::Deflated { lba, bytes: size });
        }
        let sectors = ((GRAIN_DATA + length) as u64).div_ceil(SECTOR_BYTES);
        let stored = self.sectors("a grain", sectors)?;
        let (deflated, padding) = stored[GRAIN_DATA..].split_at(length);
        check_zero("padding of a grain", padding)?;
        let index = lba / GRAIN_SECTORS;
        Ok((index, Grain::from_deflated(index, deflated)?))
    }

    /// The footer with its marker: the header once more, with the directory's place.
    fn footer(&mut self, capacity_bytes: u64, gd_offset: u64) -> Result<(), VmdkError> {
        self.marker("the footer marker", MARKER_FOOTER, FOOTER_SECTORS)?;
        let footer = self.sectors("the footer", FOOTER_SECTORS)?;
        let capacity_here = header::parse("footer", footer, gd_offset)?;
        if capacity_here != capacity_bytes {
            return Err(VmdkError::Field {
                part: "footer",
                field: "capacity",
                value: capacity_here / SECTOR_BYTES,
                expected: capacity_bytes / SECTOR_BYTES,
            });
        }
        Ok(())
    }

    /// Steps over a marker that is no grain, must be of this `kind` and announce `length` sectors.
    fn marker(&mut self, expected: &'static str, kind: u32, length: u64) -> Result<(), VmdkError> {
        let sector = self.at;
        let marker = self.sectors(expected, 1)?;
        let found = u32_le(marker, MARKER_TYPE).unwrap_or(u32::MAX);
        let size = u32_le(marker, MARKER_SIZE).unwrap_or(u32::MAX);
        if found != kind || size != 0 {
            return Err(VmdkError::Marker {
                sector,
                found,
                expected,
            });
        }
        let value = u64_le(marker, 0).unwrap_or(0);
        if value != length {
            return Err(VmdkError::Field {
                part: expected,
                field: "numSectors",
                value,
                expected: length,
            });
        }
        check_zero(expected, &marker[MARKER_TYPE + 4..])
    }

    /// The next sector, which stays the next.
    fn peek(&self, part: &'static str) -> Result<&'a [u8], VmdkError> {
        Walk { ..*self }.sectors(part, 1)
    }

    /// The next `count` sectors.
    fn sectors(&mut self, part: &'static str, count: u64) -> Result<&'a [u8], VmdkError> {
        let start = bytes(self.at);
        let sectors = self.file.get(start..start + bytes(count));
        self.at += count;
        sectors.ok_or(VmdkError::Truncated {
            bytes: self.file.len(),
            part,
        })
    }

    /// Checks that nothing follows.
    fn end(&self) -> Result<(), VmdkError> {
        let rest = self.file.len() - bytes(self.at);
        if rest > 0 {
            return Err(VmdkError::Trailing { bytes: rest });
        }
        Ok(())
    }
}

/// The grain table of the grains since the last one.
struct OpenTable {
    /// Its entry in the grain directory.
    index: u64,
    entries: Vec<u8>,
}

impl OpenTable {
    fn new(index: u64) -> Self {
        Self {
            index,
            entries: vec![0; bytes(TABLE_SECTORS)],
        }
    }

    fn put(&mut self, grain: u64, sector: u64) -> Result<(), VmdkError> {
        let entry = grain % GTES_PER_GT;
        put_entry(&mut self.entries, entry, sector_number(sector)?);
        Ok(())
    }
}

fn check_table(table: &'static str, found: &[u8], expected: &[u8]) -> Result<(), VmdkError> {
    if found == expected {
        return Ok(());
    }
    let entries = |table: &[u8]| {
        let (entries, _) = table.as_chunks();
        entries
            .iter()
            .copied()
            .map(u32::from_le_bytes)
            .collect::<Vec<_>>()
    };
    let pairs = entries(found).into_iter().zip(entries(expected));
    for (index, (value, expected)) in pairs.enumerate() {
        if value != expected {
            return Err(VmdkError::Entry {
                table,
                index,
                value,
                expected,
            });
        }
    }
    Ok(())
}

fn check_zero(part: &'static str, padding: &[u8]) -> Result<(), VmdkError> {
    if is_zero(padding) {
        return Ok(());
    }
    let offset = padding.iter().position(|byte| *byte != 0).unwrap_or(0);
    Err(VmdkError::Padding { part, offset })
}

fn emit_grain(file: &mut Vec<u8>, lba: u64, grain: &Grain) {
    let size = u32::try_from(grain.deflated.len()).expect("at most DEFLATED_BYTES_MAX");
    file.extend(lba.to_le_bytes());
    file.extend(size.to_le_bytes());
    file.extend(&grain.deflated);
    file.resize(file.len().next_multiple_of(SECTOR), 0);
}

/// A sector that says what the next `length` sectors are.
fn emit_marker(file: &mut Vec<u8>, kind: u32, length: u64) {
    let mut marker = [0; SECTOR];
    put(&mut marker, 0, &length.to_le_bytes());
    put(&mut marker, MARKER_TYPE, &kind.to_le_bytes());
    file.extend(marker);
}

fn put_entry(table: &mut [u8], index: u64, sector: u32) {
    let index = usize::try_from(index).expect("a table is in memory");
    put(table, index * ENTRY_BYTES, &sector.to_le_bytes());
}

fn next_sector(file: &[u8]) -> Result<u32, VmdkError> {
    sector_number(file.len() as u64 / SECTOR_BYTES)
}

fn sector_number(sector: u64) -> Result<u32, VmdkError> {
    u32::try_from(sector).map_err(|_| VmdkError::Sectors { sectors: sector })
}

/// Grain tables that cover the disk, whether stored or not.
const fn tables(capacity_bytes: u64) -> u64 {
    capacity_bytes.div_ceil(GTES_PER_GT * GRAIN_SECTORS * SECTOR_BYTES)
}

const fn directory_sectors(capacity_bytes: u64) -> u64 {
    (tables(capacity_bytes) * ENTRY_BYTES as u64).div_ceil(SECTOR_BYTES)
}

/// The length of the file, so that its memory is taken once. An estimate would do.
fn file_bytes(vmdk: &Vmdk) -> usize {
    let tables = tables(vmdk.capacity_bytes) * (1 + TABLE_SECTORS);
    let end = 1 + directory_sectors(vmdk.capacity_bytes) + 1 + FOOTER_SECTORS + 1;
    let grains = vmdk.grains.values();
    let grains: usize = grains
        .map(|grain| (GRAIN_DATA + grain.deflated.len()).next_multiple_of(SECTOR))
        .sum();
    grains + bytes(OVERHEAD_SECTORS + tables + end)
}

/// The bytes of so many sectors of a file that is in memory.
fn bytes(sectors: u64) -> usize {
    usize::try_from(sectors * SECTOR_BYTES).expect("the file is in memory")
}

/// Where a marker has the length of the zlib stream that follows; zero in one that is no grain.
const MARKER_SIZE: usize = 8;
/// Where a marker that is no grain has its type.
const MARKER_TYPE: usize = 12;
/// Where a grain's zlib stream starts, behind the LBA and the length.
const GRAIN_DATA: usize = 12;
const MARKER_EOS: u32 = 0;
const MARKER_GT: u32 = 1;
const MARKER_GD: u32 = 2;
const MARKER_FOOTER: u32 = 3;
const ENTRY_BYTES: usize = 4;
const TABLE_SECTORS: u64 = GTES_PER_GT * ENTRY_BYTES as u64 / SECTOR_BYTES;
const FOOTER_SECTORS: u64 = 1;
