//! The initramfs: cpio archives in the `newc` form that the kernel unpacks.
//!
//! Linux `Documentation/driver-api/early-userspace/buffer-format.rst`. Everything that could make
//! two archives of equal content differ is decided in [`normalize`]. The kernel makes no parent
//! directories, so an entry whose parent is missing or later is an error here and not a file
//! that is silently absent at boot; the sorted order puts parents first.

use std::fmt;

/// Largest file, a tenth of what the format could hold: an initramfs lives in memory.
pub const FILE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Longest path.
pub const PATH_BYTES_MAX: usize = 255;

/// One path of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Relative path without a leading slash: `bin/connector`.
    pub path: String,
    /// Permission bits, e.g. `0o755`.
    pub permissions: u16,
    /// What is there.
    pub node: Node,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A character device.
    CharDevice {
        /// Major number.
        major: u16,
        /// Minor number.
        minor: u16,
    },
    /// A directory.
    Directory,
    /// A regular file.
    File(Vec<u8>),
    /// A symbolic link and where it points.
    Symlink(String),
}

/// The archive with `entries` in sorted order; `mtime` is the one time stamp of all of them, in
/// seconds since 1970.
///
/// # Errors
/// When a path is not clean and relative, appears twice, has no parent directory, or a file is
/// longer than [`FILE_BYTES_MAX`].
pub fn emit(entries: &[Entry], mtime: u32) -> Result<Vec<u8>, CpioError> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    check(&sorted)?;
    let mut archive = Vec::new();
    for (index, entry) in (1..).zip(sorted) {
        let header = normalize(index, entry, mtime);
        emit_record(&mut archive, &header, &entry.path, entry.node.data());
    }
    let end = Header {
        links: 1,
        ..Header::default()
    };
    emit_record(&mut archive, &end, TRAILER, &[]);
    Ok(archive)
}

/// Reads an archive that [`emit`] wrote, back into its entries and their time stamp.
///
/// # Errors
/// When the bytes end early, a number is not hexadecimal, a type is unknown, or anything
/// differs from what [`normalize`] decides.
pub fn parse(archive: &[u8]) -> Result<(Vec<Entry>, u32), CpioError> {
    let mut entries = Vec::new();
    let mut mtime = 0;
    let mut at = 0;
    loop {
        let (header, path, data) = parse_record(archive, &mut at)?;
        if path == TRAILER {
            break;
        }
        mtime = header.mtime;
        entries.push(Entry {
            permissions: u16::try_from(header.mode & 0o7777).unwrap_or_default(),
            node: parse_node(&header, &path, data)?,
            path,
        });
    }
    // One form only: what was read must be what the writer would write.
    if emit(&entries, mtime)? != archive[..at] {
        return Err(CpioError::NotNormal);
    }
    Ok((entries, mtime))
}

/// Why an archive is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CpioError {
    /// Two entries have the same path.
    Duplicate {
        /// The path.
        path: String,
    },
    /// A header field is not what the format says.
    Malformed {
        /// Offset of the record.
        at: usize,
    },
    /// An archive that is readable but was not written by [`emit`].
    NotNormal,
    /// A path below a directory that the archive does not have.
    Orphan {
        /// The path.
        path: String,
    },
    /// A path that is empty, absolute, too long, or has empty, `.` or `..` parts.
    Path {
        /// The path.
        path: String,
    },
    /// A file that is too long.
    TooLong {
        /// The path.
        path: String,
        /// Its length.
        bytes: usize,
    },
    /// The input ends inside a record.
    Truncated,
    /// A type that this reader does not know.
    UnknownType {
        /// The path.
        path: String,
        /// The mode, in which the type is.
        mode: u32,
    },
}

impl fmt::Display for CpioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { path } => write!(f, "two entries are called {path:?}"),
            Self::Malformed { at } => write!(f, "the record at byte {at} is not a newc record"),
            Self::NotNormal => write!(f, "the archive is not in the normal form of this writer"),
            Self::Orphan { path } => {
                write!(
                    f,
                    "{path:?} has no parent directory in the archive; add the directory"
                )
            }
            Self::Path { path } => write!(
                f,
                "path {path:?} must be relative, at most {PATH_BYTES_MAX} bytes, without NUL and \
                 without empty, `.` or `..` parts"
            ),
            Self::TooLong { path, bytes } => {
                write!(
                    f,
                    "{path:?} has {bytes} bytes; the limit is {FILE_BYTES_MAX}"
                )
            }
            Self::Truncated => write!(f, "the archive ends inside a record"),
            Self::UnknownType { path, mode } => {
                write!(f, "{path:?} has mode {mode:o}, whose type is not supported")
            }
        }
    }
}

impl std::error::Error for CpioError {}

/// Fuzz body: the reader never panics.
pub fn fuzz_cpio(data: &[u8]) {
    if let Ok((entries, mtime)) = parse(data) {
        let emitted = emit(&entries, mtime).expect("entries that were read are valid");
        assert!(data.starts_with(&emitted));
    }
}

/// The numbers of a record, in the order of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Header {
    inode: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    links: u32,
    mtime: u32,
    file_bytes: u32,
    device_major: u32,
    device_minor: u32,
    node_major: u32,
    node_minor: u32,
    path_bytes: u32,
    checksum: u32,
}

/// Every decision that makes the archive reproducible.
///
/// - The inode number is the entry's place in sorted order: unique, so the kernel sees no hard
///   links, and independent of the builder's disk.
/// - Owner and group are root: PID 1 gives nothing in the initramfs away.
/// - Links: 2 for directories, 1 otherwise, whatever lies below.
/// - Time is the build's one epoch.
/// - The device the file was on is 0:0, as nothing was read from a device.
fn normalize(index: u32, entry: &Entry, mtime: u32) -> Header {
    let (node_type, links) = match entry.node {
        Node::CharDevice { .. } => (TYPE_CHAR_DEVICE, 1),
        Node::Directory => (TYPE_DIRECTORY, 2),
        Node::File(_) => (TYPE_FILE, 1),
        Node::Symlink(_) => (TYPE_SYMLINK, 1),
    };
    let (node_major, node_minor) = match entry.node {
        Node::CharDevice { major, minor } => (u32::from(major), u32::from(minor)),
        Node::Directory | Node::File(_) | Node::Symlink(_) => (0, 0),
    };
    Header {
        inode: index,
        mode: node_type | u32::from(entry.permissions & 0o7777),
        uid: 0,
        gid: 0,
        links,
        mtime,
        file_bytes: 0,
        device_major: 0,
        device_minor: 0,
        node_major,
        node_minor,
        path_bytes: 0,
        checksum: 0,
    }
}

impl Node {
    /// What follows the path in a record.
    const fn data(&self) -> &[u8] {
        match self {
            Self::CharDevice { .. } | Self::Directory => &[],
            Self::File(data) => data.as_slice(),
            Self::Symlink(target) => target.as_bytes(),
        }
    }
}

fn check(sorted: &[&Entry]) -> Result<(), CpioError> {
    let mut directories = std::collections::BTreeSet::new();
    let mut previous = None;
    for entry in sorted {
        let path = entry.path.as_str();
        check_path(path)?;
        if previous == Some(path) {
            return Err(CpioError::Duplicate { path: path.into() });
        }
        let parent = path.rsplit_once('/').map(|(parent, _)| parent);
        if parent.is_some_and(|parent| !directories.contains(parent)) {
            return Err(CpioError::Orphan { path: path.into() });
        }
        let bytes = entry.node.data().len();
        if bytes > FILE_BYTES_MAX {
            return Err(CpioError::TooLong {
                path: path.into(),
                bytes,
            });
        }
        if entry.node == Node::Directory {
            directories.insert(path);
        }
        previous = Some(path);
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), CpioError> {
    let clean = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if !clean || path.len() > PATH_BYTES_MAX || path.contains('\0') || path == TRAILER {
        return Err(CpioError::Path { path: path.into() });
    }
    Ok(())
}

/// Header, path with NUL, padding, data, padding; both paddings to a multiple of four.
fn emit_record(archive: &mut Vec<u8>, header: &Header, path: &str, data: &[u8]) {
    // `check` bounds both lengths far below 4 GiB.
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    let Header {
        inode,
        mode,
        uid,
        gid,
        links,
        mtime,
        ..
    } = *header;
    let Header {
        device_major,
        device_minor,
        node_major,
        node_minor,
        checksum,
        ..
    } = *header;
    archive.extend_from_slice(MAGIC);
    for number in [
        inode,
        mode,
        uid,
        gid,
        links,
        mtime,
        length(data.len()),
        device_major,
        device_minor,
        node_major,
        node_minor,
        length(path.len() + 1),
        checksum,
    ] {
        archive.extend_from_slice(format!("{number:08x}").as_bytes());
    }
    archive.extend_from_slice(path.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(ALIGN), 0);
    archive.extend_from_slice(data);
    archive.resize(archive.len().next_multiple_of(ALIGN), 0);
}

/// The record at `at`, which then points behind it.
fn parse_record<'a>(
    archive: &'a [u8],
    at: &mut usize,
) -> Result<(Header, String, &'a [u8]), CpioError> {
    let malformed = CpioError::Malformed { at: *at };
    let mut take = |bytes: usize| {
        let end = at.checked_add(bytes).ok_or(CpioError::Truncated)?;
        let taken = archive.get(*at..end).ok_or(CpioError::Truncated)?;
        *at = end;
        Ok::<_, CpioError>(taken)
    };
    if take(MAGIC.len())? != MAGIC {
        return Err(malformed);
    }
    let header = parse_header(take(FIELDS * DIGITS)?).ok_or_else(|| malformed.clone())?;
    let path_bytes = header.path_bytes as usize;
    let path = take(path_bytes)?
        .strip_suffix(&[0])
        .ok_or_else(|| malformed.clone())?;
    let path = std::str::from_utf8(path).map_err(|_| malformed)?.to_owned();
    take(padding(MAGIC.len() + FIELDS * DIGITS + path_bytes))?;
    let data = take(header.file_bytes as usize)?;
    take(padding(data.len()))?;
    Ok((header, path, data))
}

fn parse_header(text: &[u8]) -> Option<Header> {
    let mut numbers = [0; FIELDS];
    for (number, digits) in numbers.iter_mut().zip(text.chunks_exact(DIGITS)) {
        *number = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    let [inode, mode, uid, gid, links, mtime, file_bytes, rest @ ..] = numbers;
    let [
        device_major,
        device_minor,
        node_major,
        node_minor,
        path_bytes,
        checksum,
    ] = rest;
    Some(Header {
        inode,
        mode,
        uid,
        gid,
        links,
        mtime,
        file_bytes,
        device_major,
        device_minor,
        node_major,
        node_minor,
        path_bytes,
        checksum,
    })
}

fn parse_node(header: &Header, path: &str, data: &[u8]) -> Result<Node, CpioError> {
    let unknown = || CpioError::UnknownType {
        path: path.into(),
        mode: header.mode,
    };
    let number = |number| u16::try_from(number).map_err(|_| unknown());
    match header.mode & !0o7777 {
        TYPE_CHAR_DEVICE => Ok(Node::CharDevice {
            major: number(header.node_major)?,
            minor: number(header.node_minor)?,
        }),
        TYPE_DIRECTORY => Ok(Node::Directory),
        TYPE_FILE => Ok(Node::File(data.to_vec())),
        TYPE_SYMLINK => Ok(Node::Symlink(
            String::from_utf8(data.to_vec()).map_err(|_| unknown())?,
        )),
        _ => Err(unknown()),
    }
}

const fn padding(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN) - bytes
}

const MAGIC: &[u8; 6] = b"070701";
const TRAILER: &str = "TRAILER!!!";
const ALIGN: usize = 4;
const FIELDS: usize = 13;
const DIGITS: usize = 8;
const TYPE_CHAR_DEVICE: u32 = 0o020_000;
const TYPE_DIRECTORY: u32 = 0o040_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_SYMLINK: u32 = 0o120_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_console_device_is_the_record_the_kernel_documents() {
        let archive = emit(&small(), 0).unwrap();
        let text = String::from_utf8_lossy(&archive);
        // ino 2, mode 020600, root, one link, 5:1, a path of 12 bytes with its NUL.
        let record = "070701000000020000218000000000000000000000000100000000\
                      00000000000000000000000000000005000000010000000c00000000dev/console\0";
        assert!(text.contains(record), "{text}");
        assert!(text.ends_with("TRAILER!!!\0\0\0\0"));
    }

    #[test]
    fn the_order_of_the_input_does_not_show_in_the_archive() {
        let mut reversed = small();
        reversed.reverse();
        assert_eq!(emit(&reversed, 7), emit(&small(), 7));
    }

    #[test]
    fn what_was_written_is_read_back() {
        let (entries, mtime) = parse(&emit(&small(), 1_700_000_000).unwrap()).unwrap();
        let mut sorted = small();
        sorted.sort_by(|a, b| a.path.cmp(&b.path));
        assert_eq!(entries, sorted);
        assert_eq!(mtime, 1_700_000_000);
    }

    #[test]
    fn a_file_without_its_directory_is_an_error_that_names_it() {
        let orphan = [entry("bin/connector", 0o755, Node::File(vec![]))];
        assert_eq!(
            emit(&orphan, 0),
            Err(CpioError::Orphan {
                path: "bin/connector".into()
            })
        );
    }

    #[test]
    fn absolute_climbing_and_double_paths_are_refused() {
        for path in ["/init", "../init", "a//b", "", ".", "TRAILER!!!"] {
            let bad = [entry(path, 0o755, Node::Directory)];
            assert_eq!(emit(&bad, 0), Err(CpioError::Path { path: path.into() }));
        }
        let twice = [
            entry("x", 0o755, Node::Directory),
            entry("x", 0o644, Node::Directory),
        ];
        assert_eq!(
            emit(&twice, 0),
            Err(CpioError::Duplicate { path: "x".into() })
        );
    }

    proptest! {
        #[test]
        fn any_tree_of_files_survives_the_round_trip(
            files in proptest::collection::btree_map("[a-z]{1,8}", proptest::collection::vec(any::<u8>(), 0..99), 0..9),
        ) {
            let entries: Vec<_> = files
                .into_iter()
                .map(|(path, data)| entry(&path, 0o644, Node::File(data)))
                .collect();
            let (read, _) = parse(&emit(&entries, 1).unwrap()).unwrap();
            prop_assert_eq!(read, entries);
        }

        #[test]
        fn a_damaged_archive_never_makes_the_reader_panic(at in 0usize..900, value in any::<u8>(), cut in 0usize..900) {
            let mut data = emit(&small(), 1).unwrap();
            let at = at % data.len();
            data[at] = value;
            fuzz_cpio(&data);
            data.truncate(cut);
            fuzz_cpio(&data);
        }
    }

    fn small() -> Vec<Entry> {
        vec![
            entry("init", 0o755, Node::File(b"\x7fELF".to_vec())),
            entry("dev", 0o755, Node::Directory),
            entry(
                "dev/console",
                0o600,
                Node::CharDevice { major: 5, minor: 1 },
            ),
            entry("sbin", 0o755, Node::Directory),
            entry("sbin/init", 0o777, Node::Symlink("/init".into())),
        ]
    }

    fn entry(path: &str, permissions: u16, node: Node) -> Entry {
        Entry {
            path: path.into(),
            permissions,
            node,
        }
    }
}
