//! GUID partition tables: protective MBR, primary and backup header, partition entries.
//!
//! UEFI 2.10 chapter 5. [`Gpt::new`] is the only door: a table that exists has partitions in
//! bounds that do not overlap. Both copies carry 128 entries of 128 bytes, so the first usable
//! sector is 34 and the last 33 sectors of the disk belong to the backup.

mod fuzz;

use std::fmt;

pub use self::fuzz::fuzz_gpt;
use crate::SECTOR_BYTES;
use crate::bytes::{array, put, u32_le, u64_le};
use crate::guid::Guid;

/// Sectors at the start of the disk that hold MBR, header and entries.
pub const PRIMARY_SECTORS: u64 = 34;
/// Sectors at the end of the disk that hold entries and header.
pub const BACKUP_SECTORS: u64 = 33;
/// Bytes of the MBR that may hold boot code; the rest is disk signature, partition table and mark.
pub const BOOT_CODE_BYTES: usize = 440;
/// Longest partition name, in UTF-16 units.
pub const NAME_UNITS_MAX: usize = 36;
/// Partition entries in a table we write, and the most we read.
pub const ENTRIES_MAX: usize = 128;

/// A valid partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpt {
    disk_guid: Guid,
    disk_sectors: u64,
    partitions: Vec<Partition>,
}

/// One used entry of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// What the partition is for, as firmware and tools see it.
    pub type_guid: Guid,
    /// The partition's own identity.
    pub guid: Guid,
    /// Its first sector.
    pub first_lba: u64,
    /// Its last sector, inclusive.
    pub last_lba: u64,
    /// The 64 attribute bits.
    pub attributes: Attributes,
    /// Its name, by which PID 1 and tools find it.
    pub name: String,
}

impl Partition {
    /// Length in sectors.
    #[must_use]
    pub const fn sectors(&self) -> u64 {
        self.last_lba - self.first_lba + 1
    }
}

/// Attribute bits of a partition entry (UEFI 2.10 table 5-7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(u64);

impl Attributes {
    /// No bit set.
    pub const NONE: Self = Self(0);
    /// Bit 0: the platform needs this partition; tools must not delete it.
    pub const REQUIRED: Self = Self(1);
    /// Bit 2: a legacy BIOS may boot from it.
    pub const LEGACY_BOOT: Self = Self(1 << 2);

    /// From the bits on disk; unknown bits are kept.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits on disk.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// True when the platform needs this partition.
    #[must_use]
    pub const fn is_required(self) -> bool {
        self.0 & Self::REQUIRED.0 != 0
    }

    /// True when a legacy BIOS may boot from it.
    #[must_use]
    pub const fn is_legacy_boot(self) -> bool {
        self.0 & Self::LEGACY_BOOT.0 != 0
    }
}

/// Both copies of a table as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// The disk's first [`PRIMARY_SECTORS`] sectors.
    pub primary: Vec<u8>,
    /// The disk's last [`BACKUP_SECTORS`] sectors.
    pub backup: Vec<u8>,
}

impl Gpt {
    /// A table for a disk of `disk_sectors`; entry numbers follow the order of `partitions`.
    ///
    /// # Errors
    /// When a partition is out of bounds, overlaps another, has no type, or a name that does
    /// not fit, or when there are more than [`ENTRIES_MAX`].
    pub fn new(
        disk_guid: Guid,
        disk_sectors: u64,
        partitions: Vec<Partition>,
    ) -> Result<Self, GptError> {
        if disk_sectors < PRIMARY_SECTORS + BACKUP_SECTORS + 1 {
            return Err(GptError::DiskTooSmall {
                sectors: disk_sectors,
            });
        }
        if partitions.len() > ENTRIES_MAX {
            return Err(GptError::TooManyEntries {
                entries: partitions.len(),
            });
        }
        let last_usable = disk_sectors - BACKUP_SECTORS - 1;
        partitions
            .iter()
            .try_for_each(|partition| check_partition(partition, last_usable))?;
        check_overlap(&partitions)?;
        Ok(Self {
            disk_guid,
            disk_sectors,
            partitions,
        })
    }

    /// Identity of the disk.
    #[must_use]
    pub const fn disk_guid(&self) -> Guid {
        self.disk_guid
    }

    /// Sectors the table was made for. The disk may be longer when it was grown afterwards.
    #[must_use]
    pub const fn disk_sectors(&self) -> u64 {
        self.disk_sectors
    }

    /// The used entries in the table's order.
    #[must_use]
    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    /// The first partition called `name`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Partition> {
        self.partitions
            .iter()
            .find(|partition| partition.name == name)
    }

    /// Both copies as bytes, with `boot_code` in the protective MBR.
    #[must_use]
    pub fn emit(&self, boot_code: &[u8; BOOT_CODE_BYTES]) -> Emitted {
        let entries = self.emit_entries();
        let last_lba = self.disk_sectors - 1;
        let primary_header = self.emit_header(&entries, 1, last_lba, 2);
        let backup_header =
            self.emit_header(&entries, last_lba, 1, self.disk_sectors - BACKUP_SECTORS);
        Emitted {
            primary: [&self.emit_mbr(boot_code)[..], &primary_header, &entries].concat(),
            backup: [&entries[..], &backup_header].concat(),
        }
    }

    /// Reads the primary copy from the disk's first sectors ([`PRIMARY_SECTORS`] are enough).
    ///
    /// # Errors
    /// When a checksum, a bound or a name is wrong, or `first_sectors` is too short.
    pub fn parse_primary(first_sectors: &[u8]) -> Result<Self, GptError> {
        parse_copy(first_sectors, 0, 1)
    }

    /// Reads the backup copy from the disk's last [`BACKUP_SECTORS`] sectors of a disk that is
    /// `disk_sectors` long.
    ///
    /// # Errors
    /// As [`Self::parse_primary`].
    pub fn parse_backup(last_sectors: &[u8], disk_sectors: u64) -> Result<Self, GptError> {
        let start = disk_sectors
            .checked_sub(BACKUP_SECTORS)
            .ok_or(GptError::DiskTooSmall {
                sectors: disk_sectors,
            })?;
        parse_copy(last_sectors, start, disk_sectors - 1)
    }

    /// One partition of type 0xEE that covers the disk, so that MBR-only tools keep off.
    fn emit_mbr(&self, boot_code: &[u8; BOOT_CODE_BYTES]) -> [u8; SECTOR] {
        let mut mbr = [0; SECTOR];
        put(&mut mbr, 0, boot_code);
        let covered = u32::try_from(self.disk_sectors - 1).unwrap_or(u32::MAX);
        // Not bootable; CHS 0/0/2 to the end; type; first LBA 1. UEFI 2.10 table 5-4.
        put(
            &mut mbr,
            field::mbr::ENTRY,
            &[0x00, 0x00, 0x02, 0x00, 0xEE, 0xFF, 0xFF, 0xFF],
        );
        put(&mut mbr, field::mbr::ENTRY + 8, &1u32.to_le_bytes());
        put(&mut mbr, field::mbr::ENTRY + 12, &covered.to_le_bytes());
        put(&mut mbr, field::mbr::MARK, &[0x55, 0xAA]);
        mbr
    }

    fn emit_entries(&self) -> Vec<u8> {
        let mut table = vec![0; ENTRIES_MAX * ENTRY_BYTES];
        for (partition, entry) in self
            .partitions
            .iter()
            .zip(table.chunks_exact_mut(ENTRY_BYTES))
        {
            put(entry, field::entry::TYPE, &partition.type_guid.to_disk());
            put(entry, field::entry::GUID, &partition.guid.to_disk());
            put(
                entry,
                field::entry::FIRST,
                &partition.first_lba.to_le_bytes(),
            );
            put(entry, field::entry::LAST, &partition.last_lba.to_le_bytes());
            put(
                entry,
                field::entry::ATTRIBUTES,
                &partition.attributes.bits().to_le_bytes(),
            );
            for (at, unit) in partition.name.encode_utf16().enumerate() {
                put(entry, field::entry::NAME + 2 * at, &unit.to_le_bytes());
            }
        }
        table
    }

    fn emit_header(&self, entries: &[u8], own: u64, other: u64, table: u64) -> [u8; SECTOR] {
        let mut header = [0; SECTOR];
        put(&mut header, 0, SIGNATURE);
        put(
            &mut header,
            field::header::REVISION,
            &REVISION_1_0.to_le_bytes(),
        );
        put(
            &mut header,
            field::header::SIZE,
            &HEADER_BYTES.to_le_bytes(),
        );
        put(&mut header, field::header::OWN_LBA, &own.to_le_bytes());
        put(&mut header, field::header::OTHER_LBA, &other.to_le_bytes());
        put(
            &mut header,
            field::header::FIRST_USABLE,
            &PRIMARY_SECTORS.to_le_bytes(),
        );
        let last_usable = self.disk_sectors - BACKUP_SECTORS - 1;
        put(
            &mut header,
            field::header::LAST_USABLE,
            &last_usable.to_le_bytes(),
        );
        put(
            &mut header,
            field::header::DISK_GUID,
            &self.disk_guid.to_disk(),
        );
        put(
            &mut header,
            field::header::ENTRIES_LBA,
            &table.to_le_bytes(),
        );
        put(
            &mut header,
            field::header::ENTRIES,
            &ENTRIES_ON_DISK.to_le_bytes(),
        );
        put(
            &mut header,
            field::header::ENTRY_SIZE,
            &ENTRY_SIZE_ON_DISK.to_le_bytes(),
        );
        put(
            &mut header,
            field::header::ENTRIES_CRC,
            &crc32fast::hash(entries).to_le_bytes(),
        );
        let crc = crc32fast::hash(&header[..HEADER_BYTES as usize]);
        put(&mut header, field::header::CRC, &crc.to_le_bytes());
        header
    }
}

/// Why a table is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GptError {
    /// The entries' checksum does not match the header.
    EntriesCrc,
    /// Entries of a size or number this reader does not support.
    EntriesUnsupported {
        /// Entries the header announces.
        entries: u32,
        /// Bytes of each.
        bytes: u32,
    },
    /// No room for both copies of the table and one sector.
    DiskTooSmall {
        /// The disk's length.
        sectors: u64,
    },
    /// The header's checksum does not match.
    HeaderCrc,
    /// The header's length is not between 92 and 512 bytes.
    HeaderSize {
        /// What the header says.
        bytes: u32,
    },
    /// The header says it lies elsewhere, so it is a stray copy.
    HeaderMisplaced {
        /// Where the header says it is.
        says_lba: u64,
        /// Where it was read.
        lba: u64,
    },
    /// A name is longer than 36 UTF-16 units, contains NUL, or is not UTF-16.
    Name {
        /// The name as far as it could be read.
        name: String,
    },
    /// Two partitions share a sector.
    Overlap {
        /// Name of the one that starts first.
        first: String,
        /// Name of the other.
        second: String,
    },
    /// A partition reaches into the table or past the end, or ends before it starts.
    OutOfBounds {
        /// The partition's name.
        name: String,
        /// Its first sector.
        first_lba: u64,
        /// Its last sector.
        last_lba: u64,
        /// The disk's last usable sector.
        last_usable: u64,
    },
    /// There is no `EFI PART` where the header should be.
    Signature,
    /// More partitions than the table has entries.
    TooManyEntries {
        /// How many.
        entries: usize,
    },
    /// The input ends inside the table.
    Truncated,
    /// A partition has the all-zero type, which marks an unused entry.
    Typeless {
        /// The partition's name.
        name: String,
    },
}

impl fmt::Display for GptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EntriesCrc => write!(f, "partition entries do not match their checksum"),
            Self::EntriesUnsupported { entries, bytes } => write!(
                f,
                "{entries} partition entries of {bytes} bytes; supported are up to {ENTRIES_MAX} \
                 of {ENTRY_BYTES} bytes"
            ),
            Self::DiskTooSmall { sectors } => write!(
                f,
                "a disk of {sectors} sectors has no room for a partition table; it needs {}",
                PRIMARY_SECTORS + BACKUP_SECTORS + 1
            ),
            Self::HeaderCrc => write!(f, "partition table header does not match its checksum"),
            Self::HeaderSize { bytes } => {
                write!(
                    f,
                    "partition table header of {bytes} bytes; it must be 92 to 512"
                )
            }
            Self::HeaderMisplaced { says_lba, lba } => write!(
                f,
                "partition table header at sector {lba} says it belongs at sector {says_lba}"
            ),
            Self::Name { name } => write!(
                f,
                "partition name {name:?} must be at most {NAME_UNITS_MAX} UTF-16 units without NUL"
            ),
            Self::Overlap { first, second } => {
                write!(f, "partitions {first:?} and {second:?} overlap")
            }
            Self::OutOfBounds {
                name,
                first_lba,
                last_lba,
                last_usable,
            } => write!(
                f,
                "partition {name:?} covers sectors {first_lba} to {last_lba}; usable are \
                 {PRIMARY_SECTORS} to {last_usable}"
            ),
            Self::Signature => write!(f, "no partition table header (EFI PART) found"),
            Self::TooManyEntries { entries } => {
                write!(
                    f,
                    "{entries} partitions; a table holds at most {ENTRIES_MAX}"
                )
            }
            Self::Truncated => write!(f, "the input ends inside the partition table"),
            Self::Typeless { name } => {
                write!(f, "partition {name:?} has no type; give it a type GUID")
            }
        }
    }
}

impl std::error::Error for GptError {}

fn check_partition(partition: &Partition, last_usable: u64) -> Result<(), GptError> {
    let Partition {
        first_lba,
        last_lba,
        ref name,
        ..
    } = *partition;
    if partition.type_guid == Guid::ZERO {
        return Err(GptError::Typeless { name: name.clone() });
    }
    if first_lba < PRIMARY_SECTORS || last_lba < first_lba || last_lba > last_usable {
        let name = name.clone();
        return Err(GptError::OutOfBounds {
            name,
            first_lba,
            last_lba,
            last_usable,
        });
    }
    if name.encode_utf16().count() > NAME_UNITS_MAX || name.contains('\0') {
        return Err(GptError::Name { name: name.clone() });
    }
    Ok(())
}

fn check_overlap(partitions: &[Partition]) -> Result<(), GptError> {
    let mut by_start: Vec<_> = partitions.iter().collect();
    by_start.sort_by_key(|partition| partition.first_lba);
    match by_start
        .windows(2)
        .find(|pair| pair[0].last_lba >= pair[1].first_lba)
    {
        Some(pair) => Err(GptError::Overlap {
            first: pair[0].name.clone(),
            second: pair[1].name.clone(),
        }),
        None => Ok(()),
    }
}

/// Reads the copy whose header is at `header_lba` from a buffer that starts at `buffer_lba`.
fn parse_copy(buffer: &[u8], buffer_lba: u64, header_lba: u64) -> Result<Gpt, GptError> {
    let header = sectors(buffer, buffer_lba, header_lba, SECTOR)?;
    check_header(header, header_lba)?;
    let u32_at = |at| u32_le(header, at).ok_or(GptError::Truncated);
    let u64_at = |at| u64_le(header, at).ok_or(GptError::Truncated);

    let (entries, bytes) = (
        u32_at(field::header::ENTRIES)?,
        u32_at(field::header::ENTRY_SIZE)?,
    );
    if entries > ENTRIES_ON_DISK || bytes != ENTRY_SIZE_ON_DISK {
        return Err(GptError::EntriesUnsupported { entries, bytes });
    }
    let table_bytes = entries as usize * ENTRY_BYTES;
    let table = sectors(
        buffer,
        buffer_lba,
        u64_at(field::header::ENTRIES_LBA)?,
        table_bytes,
    )?;
    if crc32fast::hash(table) != u32_at(field::header::ENTRIES_CRC)? {
        return Err(GptError::EntriesCrc);
    }
    let partitions = table
        .chunks_exact(ENTRY_BYTES)
        .filter_map(|entry| parse_entry(entry).transpose())
        .collect::<Result<_, _>>()?;
    let disk_guid = array(header, field::header::DISK_GUID).ok_or(GptError::Truncated)?;
    let end_lba = header_lba.max(u64_at(field::header::OTHER_LBA)?);
    Gpt::new(
        Guid::from_disk(disk_guid),
        end_lba.saturating_add(1),
        partitions,
    )
}

fn check_header(header: &[u8], lba: u64) -> Result<(), GptError> {
    if !header.starts_with(SIGNATURE) {
        return Err(GptError::Signature);
    }
    let bytes = u32_le(header, field::header::SIZE).ok_or(GptError::Truncated)?;
    if !(HEADER_BYTES..=HEADER_BYTES_MAX).contains(&bytes) {
        return Err(GptError::HeaderSize { bytes });
    }
    let mut hashed = header[..bytes as usize].to_vec();
    put(&mut hashed, field::header::CRC, &[0; 4]);
    if u32_le(header, field::header::CRC) != Some(crc32fast::hash(&hashed)) {
        return Err(GptError::HeaderCrc);
    }
    let says_lba = u64_le(header, field::header::OWN_LBA).ok_or(GptError::Truncated)?;
    if says_lba != lba {
        return Err(GptError::HeaderMisplaced { says_lba, lba });
    }
    Ok(())
}

/// The entry, or nothing when it is unused.
fn parse_entry(entry: &[u8]) -> Result<Option<Partition>, GptError> {
    let guid_at = |at| {
        array(entry, at)
            .map(Guid::from_disk)
            .ok_or(GptError::Truncated)
    };
    let u64_at = |at| u64_le(entry, at).ok_or(GptError::Truncated);
    let type_guid = guid_at(field::entry::TYPE)?;
    if type_guid == Guid::ZERO {
        return Ok(None);
    }
    let units: Vec<u16> = entry[field::entry::NAME..]
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0)
        .collect();
    let name = String::from_utf16(&units).map_err(|_| GptError::Name {
        name: String::from_utf16_lossy(&units),
    })?;
    Ok(Some(Partition {
        type_guid,
        guid: guid_at(field::entry::GUID)?,
        first_lba: u64_at(field::entry::FIRST)?,
        last_lba: u64_at(field::entry::LAST)?,
        attributes: Attributes::from_bits(u64_at(field::entry::ATTRIBUTES)?),
        name,
    }))
}

/// `bytes` bytes from sector `lba` of a buffer that starts at sector `buffer_lba`.
fn sectors(buffer: &[u8], buffer_lba: u64, lba: u64, bytes: usize) -> Result<&[u8], GptError> {
    lba.checked_sub(buffer_lba)
        .and_then(|sector| sector.checked_mul(SECTOR_BYTES))
        .and_then(|start| usize::try_from(start).ok())
        .and_then(|start| buffer.get(start..start.checked_add(bytes)?))
        .ok_or(GptError::Truncated)
}

const SECTOR: usize = 512;
const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION_1_0: u32 = 0x0001_0000;
const HEADER_BYTES: u32 = 92;
/// A header may fill its sector.
const HEADER_BYTES_MAX: u32 = 512;
const ENTRY_BYTES: usize = 128;
const ENTRY_SIZE_ON_DISK: u32 = 128;
const ENTRIES_ON_DISK: u32 = 128;

/// Byte offsets.
mod field {
    pub(super) mod mbr {
        pub(in super::super) const ENTRY: usize = 446;
        pub(in super::super) const MARK: usize = 510;
    }
    pub(super) mod header {
        pub(in super::super) const REVISION: usize = 8;
        pub(in super::super) const SIZE: usize = 12;
        pub(in super::super) const CRC: usize = 16;
        pub(in super::super) const OWN_LBA: usize = 24;
        pub(in super::super) const OTHER_LBA: usize = 32;
        pub(in super::super) const FIRST_USABLE: usize = 40;
        pub(in super::super) const LAST_USABLE: usize = 48;
        pub(in super::super) const DISK_GUID: usize = 56;
        pub(in super::super) const ENTRIES_LBA: usize = 72;
        pub(in super::super) const ENTRIES: usize = 80;
        pub(in super::super) const ENTRY_SIZE: usize = 84;
        pub(in super::super) const ENTRIES_CRC: usize = 88;
    }
    pub(super) mod entry {
        pub(in super::super) const TYPE: usize = 0;
        pub(in super::super) const GUID: usize = 16;
        pub(in super::super) const FIRST: usize = 32;
        pub(in super::super) const LAST: usize = 40;
        pub(in super::super) const ATTRIBUTES: usize = 48;
        pub(in super::super) const NAME: usize = 56;
    }
}

#[cfg(test)]
mod tests;
