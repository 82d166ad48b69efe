//! Plain ustar archives, as an OVA wants them: regular files and nothing else.
//!
//! POSIX.1-2024 `pax`, section "ustar Interchange Format". Byte for byte what
//! `tar --format=ustar --blocking-factor=1 --numeric-owner --owner=0 --group=0 --mode=0644` writes:
//! a header of 512 bytes for each file, its content padded with zeros, two blocks of zeros at the
//! end. No extended headers, which VMware's importers stumble over; so a name is at most 100 bytes
//! and a file below 8 GiB.

use std::fmt;

use crate::bytes::put;

/// A regular file of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// 1 to 100 printable ASCII bytes without a slash or a space: an OVA has no folders.
    pub name: &'a str,
    /// The file's bytes.
    pub content: &'a [u8],
}

/// The archive of `entries` in this order, all changed at `mtime` (seconds since 1970), owned by
/// 0:0 with mode 0644.
///
/// # Errors
/// When a name or a length does not fit a ustar header.
pub fn emit(entries: &[Entry<'_>], mtime: u32) -> Result<Vec<u8>, TarError> {
    let blocks = |entry: &Entry<'_>| BLOCK_BYTES + padded(entry.content.len());
    let length: usize = entries.iter().map(blocks).sum();
    let mut archive = Vec::with_capacity(length + END_BYTES);
    for entry in entries {
        check_name(entry.name.as_bytes())?;
        let bytes = entry.content.len() as u64;
        if bytes > FILE_BYTES_MAX {
            let name = entry.name.to_owned();
            return Err(TarError::TooLong { name, bytes });
        }
        archive.extend(header(entry.name, bytes, mtime));
        archive.extend(entry.content);
        archive.resize(padded(archive.len()), 0);
    }
    archive.resize(archive.len() + END_BYTES, 0);
    Ok(archive)
}

/// The files of `archive`, which borrow from it. After the two blocks of zeros that end an archive
/// there may be more zeros, as GNU tar pads its output; nothing else.
///
/// # Errors
/// When a header is none that [`emit`] writes (the time excepted), or the archive is cut, goes on
/// after its end, or has two files of one name.
pub fn parse(archive: &[u8]) -> Result<Vec<Entry<'_>>, TarError> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    let mut rest = archive;
    loop {
        let offset = archive.len() - rest.len();
        let Some((block, after)) = rest.split_first_chunk::<BLOCK_BYTES>() else {
            return Err(TarError::Truncated { offset });
        };
        if block.iter().all(|byte| *byte == 0) {
            check_end(offset, rest)?;
            return Ok(entries);
        }
        let (name, length) = parse_header(offset, block)?;
        let is_here = after.len() >= padded(length);
        let Some((content, padding)) = after.split_at_checked(length).filter(|_| is_here) else {
            return Err(TarError::Truncated { offset });
        };
        let (padding, next) = padding.split_at(padded(length) - length);
        if padding.iter().any(|byte| *byte != 0) {
            return Err(TarError::Padding { offset });
        }
        if entries.iter().any(|entry| entry.name == name) {
            let name = name.to_owned();
            return Err(TarError::Duplicate { name });
        }
        if entries.len() == ENTRIES_MAX {
            return Err(TarError::TooMany { offset });
        }
        entries.push(Entry { name, content });
        rest = next;
    }
}

/// The most files that [`parse`] takes: an OVA has four, and the search for a second one of the
/// same name goes through all.
pub const ENTRIES_MAX: usize = 64;

/// The longest file that a header's eleven octal digits can announce: 8 GiB - 1.
pub const FILE_BYTES_MAX: u64 = (8 << 30) - 1;

/// Why files cannot be an archive, or an archive is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TarError {
    /// Two files have one name.
    Duplicate {
        /// The name.
        name: String,
    },
    /// A header field has a value that this writer does not give it.
    Header {
        /// Where the header is, in bytes.
        offset: usize,
        /// The field, by its name in the specification.
        field: &'static str,
    },
    /// A name that is empty, too long, or has a byte it may not.
    Name {
        /// The name, escaped.
        name: String,
    },
    /// The bytes between a file's end and the next block are not zeros.
    Padding {
        /// Where the file's header is, in bytes.
        offset: usize,
    },
    /// A file that is longer than a header can say.
    TooLong {
        /// Its name.
        name: String,
        /// Its length.
        bytes: u64,
    },
    /// More files than the reader takes.
    TooMany {
        /// Where the header of the first one too many is, in bytes.
        offset: usize,
    },
    /// Bytes that are not zero follow the end of the archive.
    Trailing {
        /// Where the first is.
        offset: usize,
    },
    /// The archive ends inside a file, or without its two blocks of zeros.
    Truncated {
        /// Where the last header is or must be, in bytes.
        offset: usize,
    },
}

impl fmt::Display for TarError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { name } => write!(f, "the archive has two files named {name}"),
            Self::Header { offset, field } => write!(
                f,
                "the archive's header at {offset}: {field} is not that of a plain ustar file (regular, mode 0644, owner 0:0)"
            ),
            Self::Name { name } => write!(
                f,
                "\"{name}\" is no name for the archive: 1 to {NAME_BYTES_MAX} printable ASCII characters, no space, no slash"
            ),
            Self::Padding { offset } => write!(
                f,
                "the file whose header is at {offset} of the archive is not padded with zeros"
            ),
            Self::TooLong { name, bytes } => write!(
                f,
                "{name} has {bytes} bytes; the limit of an archive is {FILE_BYTES_MAX}"
            ),
            Self::TooMany { offset } => write!(
                f,
                "the archive has another file at {offset}; the limit is {ENTRIES_MAX} files"
            ),
            Self::Trailing { offset } => write!(
                f,
                "the archive has a byte at {offset}, after its end; only zeros may follow"
            ),
            Self::Truncated { offset } => write!(
                f,
                "the archive is cut: what starts at {offset} is not whole"
            ),
        }
    }
}

impl std::error::Error for TarError {}

/// Fuzz body: the reader never panics, and what it accepts survives a round trip.
pub fn fuzz_tar(data: &[u8]) {
    if let Ok(entries) = parse(data) {
        let archive = emit(&entries, 1).expect("the reader accepts what the writer takes");
        assert_eq!(parse(&archive), Ok(entries));
        assert!(archive.len() <= data.len());
    }
}

/// The header of a file.
fn header(name: &str, bytes: u64, mtime: u32) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    put(&mut block, field::NAME, name.as_bytes());
    put(&mut block, field::MODE, b"0000644\0");
    put(&mut block, field::OWNER, b"0000000\0");
    put(&mut block, field::GROUP, b"0000000\0");
    put(
        &mut block,
        field::LENGTH,
        format!("{bytes:011o}\0").as_bytes(),
    );
    put(
        &mut block,
        field::TIME,
        format!("{mtime:011o}\0").as_bytes(),
    );
    put(&mut block, field::KIND, b"0");
    put(&mut block, field::MAGIC, b"ustar\x0000");
    put(&mut block, field::DEVICE, b"0000000\x000000000\0");
    let sum = checksum_field(&block);
    put(&mut block, field::CHECKSUM, &sum);
    block
}

/// Name and length of the file with this header. The header is parsed for these and the time, and
/// must then be the one that they give.
fn parse_header(offset: usize, block: &[u8; BLOCK_BYTES]) -> Result<(&str, usize), TarError> {
    let refused = |field| TarError::Header { offset, field };
    if block[field::CHECKSUM..field::KIND] != checksum_field(block) {
        return Err(refused("chksum"));
    }
    let name = &block[..NAME_BYTES_MAX];
    let name = name.split(|byte| *byte == 0).next().unwrap_or(name);
    let name = check_name(name)?;
    let bytes = octal(&block[field::LENGTH..]).ok_or_else(|| refused("size"))?;
    let mtime = octal(&block[field::TIME..]).and_then(|time| u32::try_from(time).ok());
    let expected = header(name, bytes, mtime.ok_or_else(|| refused("mtime"))?);
    let differs = |at: &usize| block[*at] != expected[*at];
    let is_summed = |at: &usize| !(field::CHECKSUM..field::KIND).contains(at);
    match (0..BLOCK_BYTES).filter(is_summed).find(differs) {
        Some(at) => Err(refused(field::name(at))),
        None => Ok((name, usize::try_from(bytes).unwrap_or(usize::MAX))),
    }
}

/// The number of eleven octal digits at the start of `digits`.
fn octal(digits: &[u8]) -> Option<u64> {
    digits
        .get(..OCTAL_DIGITS)?
        .iter()
        .try_fold(0, |number, digit| {
            let value = digit.checked_sub(b'0').filter(|value| *value < 8)?;
            Some(number * 8 + u64::from(value))
        })
}

/// A header's checksum field: the sum of its bytes, this field taken for spaces.
fn checksum_field(block: &[u8; BLOCK_BYTES]) -> [u8; 8] {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let own = &block[field::CHECKSUM..field::KIND];
    let sum = sum(block) - sum(own) + u32::from(b' ') * 8;
    let mut field = *b"000000\0 ";
    put(&mut field, 0, format!("{sum:06o}").as_bytes());
    field
}

fn check_name(name: &[u8]) -> Result<&str, TarError> {
    let is_allowed = |byte: &u8| byte.is_ascii_graphic() && *byte != b'/';
    let refused = || TarError::Name {
        name: name[..name.len().min(NAME_BYTES_MAX)]
            .escape_ascii()
            .to_string(),
    };
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.iter().all(is_allowed) {
        return Err(refused());
    }
    std::str::from_utf8(name).map_err(|_| refused())
}

/// Checks that `rest`, which starts at `offset`, is the end of an archive.
fn check_end(offset: usize, rest: &[u8]) -> Result<(), TarError> {
    if let Some(at) = rest.iter().position(|byte| *byte != 0) {
        return Err(TarError::Trailing {
            offset: offset + at,
        });
    }
    if rest.len() < END_BYTES || !rest.len().is_multiple_of(BLOCK_BYTES) {
        return Err(TarError::Truncated { offset });
    }
    Ok(())
}

const fn padded(bytes: usize) -> usize {
    bytes.saturating_add(BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES
}

const BLOCK_BYTES: usize = 512;
const END_BYTES: usize = 2 * BLOCK_BYTES;
const NAME_BYTES_MAX: usize = 100;
const OCTAL_DIGITS: usize = 11;

/// Byte offsets of header fields.
mod field {
    pub(super) const NAME: usize = 0;
    pub(super) const MODE: usize = 100;
    pub(super) const OWNER: usize = 108;
    pub(super) const GROUP: usize = 116;
    pub(super) const LENGTH: usize = 124;
    pub(super) const TIME: usize = 136;
    pub(super) const CHECKSUM: usize = 148;
    pub(super) const KIND: usize = 156;
    pub(super) const MAGIC: usize = 257;
    pub(super) const DEVICE: usize = 329;

    /// The name of the field that the byte at this offset belongs to.
    pub(super) const fn name(at: usize) -> &'static str {
        match at {
            0..100 => "name",
            100..108 => "mode",
            108..116 => "uid",
            116..124 => "gid",
            124..136 => "size",
            136..148 => "mtime",
            148..156 => "chksum",
            156 => "typeflag",
            157..257 => "linkname",
            257..263 => "magic",
            263..265 => "version",
            265..297 => "uname",
            297..329 => "gname",
            329..337 => "devmajor",
            337..345 => "devminor",
            345..500 => "prefix",
            _ => "padding",
        }
    }
}

#[cfg(test)]
mod tests;
