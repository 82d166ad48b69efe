//! Directory records (ECMA-119 section 9.1), with the Rock Ridge names behind them.

use super::{Extent, Names};

/// What is read of a directory record.
pub(super) struct Record {
    /// Where its content is.
    pub(super) extent: Extent,
    /// Neither interleaved nor continued by another record.
    pub(super) is_in_one_piece: bool,
    is_directory: bool,
    /// As the directory has it.
    name: Vec<u8>,
    /// By Rock Ridge.
    alternate_name: Vec<u8>,
}

/// The records of one sector of a directory; they never reach into the next one.
pub(super) fn records(sector: &[u8]) -> impl Iterator<Item = Record> {
    let mut rest = sector;
    std::iter::from_fn(move || {
        let len = usize::from(*rest.first()?);
        let (record, behind) = rest.split_at_checked(len)?;
        rest = behind;
        // A length of zero ends the sector, and so does a record that is none.
        Record::parse(record)
    })
}

impl Record {
    /// The record that `bytes` begin with and end with.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let name_len = usize::from(*bytes.get(NAME_LEN_AT)?);
        let (name, behind) = bytes.get(NAME_AT..)?.split_at_checked(name_len)?;
        let attributes = u32::from(*bytes.get(ATTRIBUTES_AT)?);
        let flags = *bytes.get(FLAGS_AT)?;
        let interleaving = bytes.get(UNIT_AT..UNIT_AT + 2)?;
        let sector = le_u32(bytes, SECTOR_AT)?.saturating_add(attributes);
        let bytes = le_u32(bytes, BYTES_AT)?;
        // A name of even length is followed by a padding byte.
        let padding = usize::from(name_len.is_multiple_of(2));
        Some(Self {
            extent: Extent { sector, bytes },
            is_in_one_piece: interleaving == [0, 0] && flags & FLAG_CONTINUED == 0,
            is_directory: flags & FLAG_DIRECTORY != 0,
            name: name.to_vec(),
            alternate_name: rock_ridge_name(behind.get(padding..).unwrap_or_default()),
        })
    }

    /// Whether this is the file called `wanted`, in lower case.
    pub(super) fn is_file_named(&self, wanted: &str, names: Names) -> bool {
        let name = match names {
            Names::Plain => text(&self.name),
            Names::Joliet => ucs2(&self.name),
        };
        // Plain ISO 9660 has no dash, and writers put an underscore in its place.
        let plain = wanted.replace('-', "_");
        let is_wanted = |name: &str| name == wanted || name == plain;
        !self.is_directory
            && (is_wanted(&bare(&name)) || bare(&text(&self.alternate_name)) == wanted)
    }
}

/// In lower case, without the version (`;1`) and the dot of an empty extension.
fn bare(name: &str) -> String {
    let name = name.split(';').next().unwrap_or_default();
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ucs2(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| match *pair {
        [high, low] => u16::from_be_bytes([high, low]),
        _ => 0,
    });
    char::decode_utf16(units)
        .map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// The `NM` entries of a system use area, joined. One that is continued elsewhere on the disc is a
/// longer name than the wanted one.
fn rock_ridge_name(mut area: &[u8]) -> Vec<u8> {
    let mut name = Vec::new();
    while let [first, second, len, ..] = *area {
        let Some((entry, behind)) = area.split_at_checked(usize::from(len)) else {
            break;
        };
        if entry.is_empty() {
            break;
        }
        if [first, second] == *b"NM" {
            // Signature, length, version, flags, then the name.
            name.extend(entry.get(5..).unwrap_or_default());
        }
        area = behind;
    }
    name
}

fn le_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes))
}

/// Offsets within a record; numbers are there in both byte orders, the little end first.
const ATTRIBUTES_AT: usize = 1;
const SECTOR_AT: usize = 2;
const BYTES_AT: usize = 10;
const FLAGS_AT: usize = 25;
const UNIT_AT: usize = 26;
const NAME_LEN_AT: usize = 32;
const NAME_AT: usize = 33;
const FLAG_DIRECTORY: u8 = 0x02;
const FLAG_CONTINUED: u8 = 0x80;
