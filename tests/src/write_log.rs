//! What a machine wrote to its disk and when it flushed: QEMU's `blklogwrites`.
//!
//! The format is that of Linux' dm-log-writes (`Documentation/admin-guide/device-mapper/log-writes.rst`,
//! QEMU `block/blklogwrites.c`), little-endian. The first sector holds magic, version, number of
//! entries and sector size; then follows each entry: one sector with target sector, sector count, flags
//! and zero, and the data.

use std::fmt;

/// What was done to the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Everything before it is on the medium.
    Flush,
    /// Bytes from this offset on, in whole sectors.
    Write {
        /// Where on the disk.
        offset: u64,
        /// What.
        data: Vec<u8>,
    },
    /// A range whose content the guest no longer needs.
    Discard,
}

/// Why a log is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteLogError {
    /// It does not begin as one.
    Magic,
    /// It ends within an entry.
    Truncated {
        /// The entry's number, from 0.
        entry: u64,
    },
    /// A version or sector size that QEMU does not write.
    Unsupported {
        /// The version; 1 is read.
        version: u64,
        /// Bytes in a sector; 512 to 4096 are read.
        sector_bytes: u32,
    },
}

/// The operations of a log, in order.
///
/// # Errors
/// [`WriteLogError`].
pub fn parse(log: &[u8]) -> Result<Vec<Operation>, WriteLogError> {
    if number(log, 0) != Some(MAGIC) {
        return Err(WriteLogError::Magic);
    }
    let truncated = |entry| move || WriteLogError::Truncated { entry };
    let version = number(log, 8).ok_or_else(truncated(0))?;
    let entries = number(log, 16).ok_or_else(truncated(0))?;
    // The size's upper half is padding.
    let sector_bytes = number(log, 24).ok_or_else(truncated(0))? & u64::from(u32::MAX);
    if version != 1 || !(512..=4096).contains(&sector_bytes) {
        return Err(WriteLogError::Unsupported {
            version,
            sector_bytes: u32::try_from(sector_bytes).unwrap_or(u32::MAX),
        });
    }
    let mut operations = Vec::new();
    let mut at = sector_bytes;
    for entry in 0..entries {
        let (operation, next) = read_entry(log, at, sector_bytes).ok_or_else(truncated(entry))?;
        operations.extend(operation);
        at = next;
    }
    Ok(operations)
}

/// Does an operation to a disk in memory; what lies outside of it is left out.
pub fn apply(disk: &mut [u8], operation: &Operation) {
    let Operation::Write { offset, data } = operation else {
        return;
    };
    let start = usize::try_from(*offset).unwrap_or(usize::MAX);
    let end = start.saturating_add(data.len());
    if let Some(place) = disk.get_mut(start..end) {
        place.copy_from_slice(data);
    }
}

/// Fuzz body: no log makes the reader panic, and data it yields was in the log.
pub fn fuzz_write_log(data: &[u8]) {
    let Ok(operations) = parse(data) else { return };
    let bytes: usize = operations.iter().map(Operation::data_bytes).sum();
    assert!(bytes <= data.len());
}

impl Operation {
    fn data_bytes(&self) -> usize {
        match self {
            Self::Flush | Self::Discard => 0,
            Self::Write { data, .. } => data.len(),
        }
    }
}

/// The operations of an entry, and where the next one is. An entry can be a write that is flushed at
/// once.
fn read_entry(log: &[u8], at: u64, sector_bytes: u64) -> Option<(Vec<Operation>, u64)> {
    let field = |index: u64| number(log, usize::try_from(at.checked_add(8 * index)?).ok()?);
    let (sector, sectors, flags) = (field(0)?, field(1)?, field(2)?);
    field(3)?;
    let data_at = at.checked_add(sector_bytes)?;
    if flags & DISCARD != 0 {
        return Some((vec![Operation::Discard], data_at));
    }
    let end = data_at.checked_add(sectors.checked_mul(sector_bytes)?)?;
    let mut operations = Vec::new();
    if sectors > 0 {
        let data = log.get(usize::try_from(data_at).ok()?..usize::try_from(end).ok()?)?;
        operations.push(Operation::Write {
            offset: sector.checked_mul(sector_bytes)?,
            data: data.to_vec(),
        });
    }
    if flags & (FLUSH | FUA) != 0 {
        operations.push(Operation::Flush);
    }
    Some((operations, end))
}

fn number(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(8)?)?;
    field.try_into().ok().map(u64::from_le_bytes)
}

impl fmt::Display for WriteLogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("no write log: the magic number is missing"),
            Self::Truncated { entry } => write!(f, "the write log ends within entry {entry}"),
            Self::Unsupported {
                version,
                sector_bytes,
            } => write!(
                f,
                "write log of version {version} with sectors of {sector_bytes} bytes; version 1 with \
                 512 to 4096 is read"
            ),
        }
    }
}

impl std::error::Error for WriteLogError {}

const MAGIC: u64 = 0x6a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_log_yields_its_writes_and_flushes_in_order() {
        let log = log(&[(7, 2, 0), (0, 0, FLUSH), (9, 4, DISCARD), (3, 1, FUA)]);
        let write = |sector: u64, sectors: usize, fill: u8| Operation::Write {
            offset: sector * 512,
            data: vec![fill; sectors * 512],
        };
        let expected = [
            write(7, 2, 1),
            Operation::Flush,
            Operation::Discard,
            write(3, 1, 4),
            Operation::Flush,
        ];
        assert_eq!(parse(&log).unwrap(), expected);
    }

    #[test]
    fn a_log_that_ends_early_is_an_error_that_says_where() {
        let mut log = log(&[(7, 2, 0), (1, 1, 0)]);
        log.truncate(log.len() - 1);
        assert_eq!(parse(&log), Err(WriteLogError::Truncated { entry: 1 }));
        assert_eq!(parse(&[0; 512]), Err(WriteLogError::Magic));
    }

    #[test]
    fn a_write_lands_where_it_says_and_never_outside() {
        let mut disk = vec![0; 1024];
        let write = |offset| Operation::Write {
            offset,
            data: vec![9; 512],
        };
        apply(&mut disk, &write(512));
        apply(&mut disk, &write(1024));
        apply(&mut disk, &write(u64::MAX));
        assert!(disk[..512].iter().all(|byte| *byte == 0));
        assert!(disk[512..].iter().all(|byte| *byte == 9));
    }

    proptest! {
        #[test]
        fn no_entries_make_the_reader_panic(
            entries in proptest::collection::vec(any::<(u64, u64, u64)>(), 0..5),
            small in any::<bool>(),
        ) {
            let entries: Vec<_> = entries
                .into_iter()
                .map(|(sector, sectors, flags)| if small { (sector, sectors % 4, flags) } else { (sector, sectors, flags) })
                .collect();
            fuzz_write_log(&log(&entries));
        }
    }

    /// A log of (sector, sectors, flags); the data of each entry is its number, from 1.
    fn log(entries: &[(u64, u64, u64)]) -> Vec<u8> {
        let sector = |fields: &[u64]| {
            let mut bytes: Vec<u8> = fields
                .iter()
                .flat_map(|field| field.to_le_bytes())
                .collect();
            bytes.resize(512, 0);
            bytes
        };
        let mut log = sector(&[MAGIC, 1, entries.len() as u64, 512]);
        for (&(at, sectors, flags), fill) in entries.iter().zip(1..) {
            log.extend(sector(&[at, sectors, flags, 0]));
            if flags & DISCARD == 0 && sectors < 16 {
                log.resize(log.len() + usize::try_from(sectors).unwrap() * 512, fill);
            }
        }
        log
    }
}
