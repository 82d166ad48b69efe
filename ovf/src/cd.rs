//! The disc on which an OVF environment may come (DSP0243 section 11.2: transport `iso`).
//!
//! Reads one file of one directory: `ovf-env.xml` in the root of an ISO 9660 file system (ECMA-119),
//! by the name that plain ISO 9660 leaves of it, by its Rock Ridge name (IEEE P1282) or by its Joliet
//! name. Hostile input: every length is bounded before it is used, and one look reads at most
//! [`SECTORS_MAX`] sectors, whatever the disc says.

mod record;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;

use crate::environment::ENVIRONMENT_BYTES_MAX;
use record::{Record, records};

/// Length of a sector. Logical blocks of other lengths exist on paper only.
pub const SECTOR_BYTES: usize = 2048;
/// Where a disc's first volume descriptor is, in bytes: 16 sectors belong to nobody (ECMA-119
/// section 6.2.1).
pub const DESCRIPTORS_AT: u64 = 16 * SECTOR_BYTES as u64;
/// Most volume descriptors that are looked at; a disc with Joliet and a boot record has four.
pub const DESCRIPTORS_MAX: u32 = 16;
/// Longest root directory that is read, in bytes; one file needs 100.
pub const DIRECTORY_BYTES_MAX: usize = 64 * 1024;
/// Most sectors that one look at a disc reads: descriptors, two directories, the file.
pub const SECTORS_MAX: usize = 16 + 2 * 32 + 32;

/// The OVF environment on a disc; nothing when it has none, or is no ISO 9660 disc. `read_at` fills
/// its buffer from an offset in bytes, a multiple of [`SECTOR_BYTES`].
///
/// # Errors
/// When the disc cannot be read, or the file is longer than [`ENVIRONMENT_BYTES_MAX`] or laid out in
/// a way that no writer of such discs uses.
pub fn environment(
    read_at: &mut dyn FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> Result<Option<Vec<u8>>, CdError> {
    let mut disc = Disc { read_at };
    for root in disc.roots()? {
        if let Some(file) = disc.find(root)? {
            return disc.content(&file).map(Some);
        }
    }
    Ok(None)
}

/// Fuzz body: whatever a disc holds, a look at it ends, reads a bounded number of sectors, and
/// yields a bounded file.
///
/// # Panics
/// If that does not hold.
pub fn fuzz_cd(data: &[u8]) {
    let mut sectors = 0;
    let found = environment(&mut |offset, buffer| {
        sectors += buffer.len() / SECTOR_BYTES;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let part = data.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    });
    assert!(sectors <= SECTORS_MAX);
    match found {
        Ok(file) => assert!(file.unwrap_or_default().len() <= ENVIRONMENT_BYTES_MAX),
        Err(error) => assert!(error.to_string().len() <= 120),
    }
}

/// Why a disc's environment cannot be had.
#[derive(Debug)]
pub enum CdError {
    /// The root directory or the file has a length that is not taken.
    Length {
        /// Of what.
        what: &'static str,
        /// Its length in bytes.
        bytes: u32,
        /// The limit in bytes.
        max: usize,
    },
    /// The file is spread over the disc in a way that is not read.
    Layout,
    /// The disc cannot be read.
    Read(io::Error),
}

impl fmt::Display for CdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { what, bytes, max } => {
                write!(f, "its {what} has {bytes} bytes; the limit is {max}")
            }
            Self::Layout => write!(f, "its {FILE} is interleaved or in several extents"),
            Self::Read(error) => write!(f, "it cannot be read: {}", error.kind()),
        }
    }
}

impl std::error::Error for CdError {}

/// A disc that is looked at.
struct Disc<'a> {
    read_at: &'a mut dyn FnMut(u64, &mut [u8]) -> io::Result<()>,
}

/// The root directory of one volume descriptor.
struct Root {
    extent: Extent,
    names: Names,
}

/// A run of bytes from the beginning of a sector.
#[derive(Clone, Copy)]
struct Extent {
    sector: u32,
    bytes: u32,
}

/// How the names of a directory are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// ASCII, perhaps with Rock Ridge names beside.
    Plain,
    /// UCS-2, big-endian.
    Joliet,
}

impl Disc<'_> {
    /// The root directories, that of the primary descriptor first.
    fn roots(&mut self) -> Result<Vec<Root>, CdError> {
        let mut roots = Vec::new();
        for sector in 0..DESCRIPTORS_MAX {
            let descriptor = self.sector(FIRST_DESCRIPTOR + sector)?;
            if descriptor.get(1..6) != Some(IDENTIFIER) {
                break;
            }
            let names = match descriptor.first() {
                Some(&PRIMARY) => Names::Plain,
                Some(&SUPPLEMENTARY) if is_joliet(&descriptor) => Names::Joliet,
                Some(&TERMINATOR) => break,
                _ => continue,
            };
            let is_taken = roots.iter().any(|root: &Root| root.names == names);
            if !is_taken && let Some(extent) = root_extent(&descriptor) {
                roots.push(Root { extent, names });
            }
        }
        Ok(roots)
    }

    /// The file's record in a root directory.
    fn find(&mut self, root: Root) -> Result<Option<Record>, CdError> {
        let Extent { sector, bytes } = root.extent;
        check_length("root directory", bytes, DIRECTORY_BYTES_MAX)?;
        for index in 0..sectors(bytes) {
            let content = self.sector(sector.saturating_add(index))?;
            let mut all = records(&content);
            if let Some(found) = all.find(|record| record.is_file_named(FILE, root.names)) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn content(&mut self, file: &Record) -> Result<Vec<u8>, CdError> {
        if !file.is_in_one_piece {
            return Err(CdError::Layout);
        }
        let Extent { sector, bytes } = file.extent;
        check_length(FILE, bytes, ENVIRONMENT_BYTES_MAX)?;
        let mut content = Vec::new();
        for index in 0..sectors(bytes) {
            content.extend(self.sector(sector.saturating_add(index))?);
        }
        content.truncate(bytes as usize);
        Ok(content)
    }

    fn sector(&mut self, number: u32) -> Result<[u8; SECTOR_BYTES], CdError> {
        let mut sector = [0; SECTOR_BYTES];
        let offset = u64::from(number) * SECTOR_BYTES as u64;
        (self.read_at)(offset, &mut sector).map_err(CdError::Read)?;
        Ok(sector)
    }
}

const fn check_length(what: &'static str, bytes: u32, max: usize) -> Result<(), CdError> {
    if bytes as usize <= max {
        Ok(())
    } else {
        Err(CdError::Length { what, bytes, max })
    }
}

/// How many sectors `bytes` bytes take.
const fn sectors(bytes: u32) -> u32 {
    bytes.div_ceil(2048)
}

/// The root directory of a volume descriptor whose logical blocks are sectors.
fn root_extent(descriptor: &[u8]) -> Option<Extent> {
    let block_bytes = descriptor.get(BLOCK_BYTES_AT..)?.first_chunk()?;
    if usize::from(u16::from_le_bytes(*block_bytes)) != SECTOR_BYTES {
        return None;
    }
    let root = Record::parse(descriptor.get(ROOT_AT..ROOT_AT + ROOT_BYTES)?)?;
    Some(root.extent)
}

/// The escape sequences of UCS-2 levels 1 to 3 (Joliet specification, ECMA-35).
fn is_joliet(descriptor: &[u8]) -> bool {
    let escapes = descriptor.get(ESCAPES_AT..ESCAPES_AT + 3);
    matches!(escapes, Some([b'%', b'/', b'@' | b'C' | b'E']))
}

/// The file's name, in lower case (DSP0243 section 11.2).
const FILE: &str = "ovf-env.xml";
/// The sector of [`DESCRIPTORS_AT`].
const FIRST_DESCRIPTOR: u32 = 16;
const IDENTIFIER: &[u8] = b"CD001";
const PRIMARY: u8 = 1;
const SUPPLEMENTARY: u8 = 2;
const TERMINATOR: u8 = 255;
/// Offsets within a volume descriptor (ECMA-119 section 8.4).
const ESCAPES_AT: usize = 88;
const BLOCK_BYTES_AT: usize = 128;
const ROOT_AT: usize = 156;
const ROOT_BYTES: usize = 34;

const _: () = assert!(sectors(1) == 1 && sectors(2049) == 2 && SECTOR_BYTES == 2048);
const _: () = assert!(
    SECTORS_MAX
        == DESCRIPTORS_MAX as usize
            + 2 * DIRECTORY_BYTES_MAX / SECTOR_BYTES
            + ENVIRONMENT_BYTES_MAX / SECTOR_BYTES
);
