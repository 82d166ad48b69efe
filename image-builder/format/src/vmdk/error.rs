//! Why a VMDK is refused.

use std::fmt;

use super::grain::DEFLATED_BYTES_MAX;
use super::{CAPACITY_BYTES_MAX, GRAIN_BYTES, GRAIN_SECTORS};

/// Why a disk cannot be a VMDK, or a file is none of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VmdkError {
    /// A disk length that is zero, no multiple of a grain, or too long.
    Capacity {
        /// The length.
        bytes: u64,
    },
    /// A grain's zlib stream is longer than any writer makes it.
    Deflated {
        /// The grain's first sector on the disk.
        lba: u64,
        /// The stream's length.
        bytes: u32,
    },
    /// A line of the descriptor is not what the rest of the file asks for.
    Descriptor {
        /// Its number, from one.
        line: usize,
        /// The line, escaped and cut.
        found: String,
        /// The line as it must be.
        expected: String,
    },
    /// An entry of a grain table or of the grain directory points elsewhere than to where the
    /// stream has what it is for.
    Entry {
        /// Which table.
        table: &'static str,
        /// The entry's index in it.
        index: usize,
        /// Its value, a sector of the file.
        value: u32,
        /// The value it must have.
        expected: u32,
    },
    /// A header field has another value than the writer's.
    Field {
        /// Header, footer, or a marker.
        part: &'static str,
        /// The field, by its name in the specification.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The value it must have.
        expected: u64,
    },
    /// A grain starts where none may: beyond the disk, before its predecessor's end, or inside
    /// another.
    GrainPlace {
        /// Its first sector on the disk.
        lba: u64,
        /// The first at which it could.
        min: u64,
        /// The first sector beyond the disk.
        end: u64,
    },
    /// A zlib stream is damaged, or holds more or less than a grain.
    Inflate {
        /// The grain's first sector on the disk.
        lba: u64,
    },
    /// A marker of another type than may come here.
    Marker {
        /// Where it is, in sectors of the file.
        sector: u64,
        /// Its type.
        found: u32,
        /// What must come here.
        expected: &'static str,
    },
    /// A byte that must be zero is not.
    Padding {
        /// What it pads.
        part: &'static str,
        /// Where it is, in bytes from the start of the part.
        offset: usize,
    },
    /// A range that does not lie on the disk.
    Range {
        /// Where it starts.
        offset: u64,
        /// How long it is.
        length: usize,
        /// The disk's length in bytes.
        capacity_bytes: u64,
    },
    /// More sectors than a grain table's 32-bit entries can number.
    Sectors {
        /// How many there are.
        sectors: u64,
    },
    /// The file goes on after the end-of-stream marker.
    Trailing {
        /// By how many bytes.
        bytes: usize,
    },
    /// The file ends before the end-of-stream marker.
    Truncated {
        /// Its length.
        bytes: usize,
        /// The part that is not whole.
        part: &'static str,
    },
    /// A stored grain of zeros, which the writer leaves out.
    ZeroGrain {
        /// Its first sector on the disk.
        lba: u64,
    },
}

impl fmt::Display for VmdkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capacity { bytes } => write!(
                f,
                "a VMDK disk of {bytes} bytes; it must be a positive multiple of {GRAIN_BYTES}, at most {CAPACITY_BYTES_MAX}"
            ),
            Self::Deflated { lba, bytes } => write!(
                f,
                "the VMDK grain at LBA {lba} takes {bytes} bytes compressed; the limit is {DEFLATED_BYTES_MAX}"
            ),
            Self::Descriptor {
                line,
                found,
                expected,
            } => write!(
                f,
                "VMDK descriptor: line {line} is \"{found}\"; it must be \"{}\"",
                expected.escape_debug()
            ),
            Self::Entry {
                table,
                index,
                value,
                expected,
            } => write!(
                f,
                "VMDK {table}: entry {index} is sector {value}; what it is for is at sector {expected}"
            ),
            Self::Field {
                part,
                field,
                value,
                expected,
            } => write!(
                f,
                "VMDK {part}: {field} is {value:#x}; it must be {expected:#x}"
            ),
            Self::GrainPlace { lba, min, end } => write!(
                f,
                "a VMDK grain at LBA {lba}; it must be a multiple of {GRAIN_SECTORS} from {min} and below {end}"
            ),
            Self::Inflate { lba } => write!(
                f,
                "the VMDK grain at LBA {lba} is no zlib stream of exactly {GRAIN_BYTES} bytes"
            ),
            Self::Marker {
                sector,
                found,
                expected,
            } => write!(
                f,
                "a VMDK marker of type {found} at sector {sector} of the file; here must be {expected}"
            ),
            Self::Padding { part, offset } => write!(
                f,
                "VMDK {part}: the byte at offset {offset} must be zero padding"
            ),
            Self::Range {
                offset,
                length,
                capacity_bytes,
            } => write!(
                f,
                "{length} bytes at {offset} do not lie on a VMDK disk of {capacity_bytes} bytes"
            ),
            Self::Sectors { sectors } => write!(
                f,
                "a VMDK file of {sectors} sectors; the limit is {}",
                u32::MAX
            ),
            Self::Trailing { bytes } => write!(
                f,
                "{bytes} bytes follow the VMDK's end-of-stream marker; it must be the last sector"
            ),
            Self::Truncated { bytes, part } => {
                write!(f, "the VMDK file ends after {bytes} bytes, inside {part}")
            }
            Self::ZeroGrain { lba } => write!(
                f,
                "the VMDK stores a grain of zeros at LBA {lba}; it must be left out"
            ),
        }
    }
}

impl std::error::Error for VmdkError {}
