//! Small FAT12 and FAT16 filesystems, written once by the builder.
//!
//! Microsoft "FAT: General Overview of On-Disk Format" 1.03. The boot loader and the firmware read
//! them; nobody adds files later. Hence: short names only, every file contiguous, one fixed date.
//! The type follows from the number of clusters, as the specification demands. There is no reader
//! here: PID 1 finds the one block it rewrites at a known offset.

use std::collections::BTreeMap;
use std::fmt;

use crate::bytes::put;

/// A filesystem to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume {
    /// Its length in sectors of 512 bytes, at most 65535.
    pub sectors: u16,
    /// Sectors of the disk before it.
    pub hidden_sectors: u32,
    /// Its serial number.
    pub volume_id: u32,
    /// Its label in capitals, padded with spaces.
    pub label: [u8; 11],
}

/// A filesystem, and where its files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// The volume's bytes.
    pub bytes: Vec<u8>,
    /// First byte of each file inside the volume, by path.
    pub file_offsets: BTreeMap<String, usize>,
}

/// The volume with `files`: paths like `EFI/BOOT/BOOTX64.EFI` and their content. Directories
/// are made as the paths need them.
///
/// # Errors
/// When a name is not a short name in capitals, appears twice, or the files do not fit.
pub fn emit(volume: &Volume, files: &[(&str, &[u8])]) -> Result<Emitted, FatError> {
    let mut root = Directory::default();
    for (path, content) in files {
        insert(&mut root, path, content)?;
    }
    let geometry = Geometry::new(volume.sectors)?;
    let mut writer = Writer {
        bytes: vec![0; usize::from(volume.sectors) * SECTOR],
        next_cluster: FIRST_CLUSTER,
        file_offsets: BTreeMap::new(),
        geometry,
    };
    put(&mut writer.bytes, 0, &boot_sector(volume, &geometry));
    writer.set_fat_entry(0, 0xff00 | u16::from(MEDIA_FIXED));
    writer.set_fat_entry(1, END_OF_CHAIN);
    writer.emit_root(&root, volume.label)?;
    Ok(Emitted {
        bytes: writer.bytes,
        file_offsets: writer.file_offsets,
    })
}

/// Why a filesystem cannot be made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FatError {
    /// The files need more clusters than there are.
    Full {
        /// The path that did not fit.
        path: String,
        /// Clusters of [`CLUSTER_BYTES`] the volume has.
        clusters: u16,
    },
    /// A part of the path is no short name in capitals, appears twice, or is too deep.
    Name {
        /// The path.
        path: String,
    },
    /// A volume without room for its own tables.
    TooSmall {
        /// Its length.
        sectors: u16,
    },
}

impl fmt::Display for FatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { path, clusters } => write!(
                f,
                "{path:?} does not fit into a filesystem of {clusters} clusters of \
                 {CLUSTER_BYTES} bytes"
            ),
            Self::Name { path } => write!(
                f,
                "{path:?} must be unique, at most {DEPTH_MAX} parts deep, each of up to 8 and 3 \
                 capitals or digits"
            ),
            Self::TooSmall { sectors } => {
                write!(
                    f,
                    "a FAT filesystem of {sectors} sectors has no room for a file"
                )
            }
        }
    }
}

impl std::error::Error for FatError {}

/// Bytes in a cluster. Gives 8 MiB FAT16 and 1 MiB FAT12.
pub const CLUSTER_BYTES: usize = 1024;
/// Most parts of a path; bounds the recursion.
pub const DEPTH_MAX: usize = 8;

/// Where the parts of a volume are, in sectors.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    fat_sectors: u16,
    data_start: u16,
    clusters: u16,
    is_fat12: bool,
}

impl Geometry {
    fn new(sectors: u16) -> Result<Self, FatError> {
        let mut fat_sectors = 1;
        loop {
            let data_start = RESERVED_SECTORS + FATS * fat_sectors + ROOT_SECTORS;
            let data = sectors
                .checked_sub(data_start)
                .ok_or(FatError::TooSmall { sectors })?;
            let clusters = data / CLUSTER_SECTORS;
            if clusters == 0 {
                return Err(FatError::TooSmall { sectors });
            }
            let is_fat12 = clusters < FAT16_CLUSTERS_MIN;
            let entries = usize::from(clusters + FIRST_CLUSTER);
            let bytes = if is_fat12 {
                (entries * 3).div_ceil(2)
            } else {
                entries * 2
            };
            if bytes <= usize::from(fat_sectors) * SECTOR {
                return Ok(Self {
                    fat_sectors,
                    data_start,
                    clusters,
                    is_fat12,
                });
            }
            fat_sectors += 1;
        }
    }

    /// First byte of the root directory.
    fn root_offset(&self) -> usize {
        usize::from(self.data_start - ROOT_SECTORS) * SECTOR
    }

    /// First byte of a cluster.
    fn cluster_offset(&self, cluster: u16) -> usize {
        usize::from(self.data_start) * SECTOR + usize::from(cluster - FIRST_CLUSTER) * CLUSTER_BYTES
    }
}

/// The tree before it has places on disk. Ordered by name, so that the order of the input does not
/// show.
#[derive(Debug, Default)]
struct Directory<'a> {
    directories: BTreeMap<&'a str, Self>,
    files: BTreeMap<&'a str, File<'a>>,
}

#[derive(Debug)]
struct File<'a> {
    path: &'a str,
    content: &'a [u8],
}

fn insert<'a>(root: &mut Directory<'a>, path: &'a str, content: &'a [u8]) -> Result<(), FatError> {
    let error = || FatError::Name { path: path.into() };
    let mut directory = root;
    let mut name = path;
    let mut depth = 1;
    while let Some((parent, rest)) = name.split_once('/') {
        short_name(parent).ok_or_else(error)?;
        depth += 1;
        if depth > DEPTH_MAX || directory.files.contains_key(parent) {
            return Err(error());
        }
        directory = directory.directories.entry(parent).or_default();
        name = rest;
    }
    short_name(name).ok_or_else(error)?;
    let is_taken = directory.directories.contains_key(name);
    match directory.files.insert(name, File { path, content }) {
        None if !is_taken => Ok(()),
        _ => Err(error()),
    }
}

/// `BOOTX64.EFI` as the 11 bytes of a directory entry.
fn short_name(name: &str) -> Option<[u8; 11]> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let is_plain = |part: &str| {
        part.bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-')
    };
    let fits = (1..=8).contains(&base.len()) && extension.len() <= 3;
    if !fits || !is_plain(base) || !is_plain(extension) || name.ends_with('.') {
        return None;
    }
    let mut entry = [b' '; 11];
    put(&mut entry, 0, base.as_bytes());
    put(&mut entry, 8, extension.as_bytes());
    Some(entry)
}

/// Gives the tree its places, clusters ascending.
#[derive(Debug)]
struct Writer {
    bytes: Vec<u8>,
    next_cluster: u16,
    file_offsets: BTreeMap<String, usize>,
    geometry: Geometry,
}

impl Writer {
    fn emit_root(&mut self, root: &Directory<'_>, label: [u8; 11]) -> Result<(), FatError> {
        if 1 + root.directories.len() + root.files.len() > ROOT_ENTRIES_USABLE {
            let clusters = self.geometry.clusters;
            return Err(FatError::Full {
                path: "/".into(),
                clusters,
            });
        }
        let mut entries = directory_entry(label, ATTRIBUTE_LABEL, 0, 0).to_vec();
        self.emit_children(root, ROOT_CLUSTER, &mut entries)?;
        put(&mut self.bytes, self.geometry.root_offset(), &entries);
        Ok(())
    }

    /// Places everything below `directory` and appends its entries.
    fn emit_children(
        &mut self,
        directory: &Directory<'_>,
        own_cluster: u16,
        entries: &mut Vec<u8>,
    ) -> Result<(), FatError> {
        for (name, child) in &directory.directories {
            let count = 2 + child.directories.len() + child.files.len();
            let cluster = self.allocate(name, count * ENTRY_BYTES)?;
            let mut below = directory_entry(DOT, ATTRIBUTE_DIRECTORY, cluster, 0).to_vec();
            below.extend(directory_entry(
                DOT_DOT,
                ATTRIBUTE_DIRECTORY,
                own_cluster,
                0,
            ));
            self.emit_children(child, cluster, &mut below)?;
            put(
                &mut self.bytes,
                self.geometry.cluster_offset(cluster),
                &below,
            );
            entries.extend(directory_entry(
                padded(name),
                ATTRIBUTE_DIRECTORY,
                cluster,
                0,
            ));
        }
        for (name, file) in &directory.files {
            let cluster = self.allocate(file.path, file.content.len())?;
            // `allocate` bounds the length by that of the volume, 32 MiB.
            let bytes = u32::try_from(file.content.len()).unwrap_or(u32::MAX);
            entries.extend(directory_entry(padded(name), 0, cluster, bytes));
            if cluster != NO_CLUSTER {
                let offset = self.geometry.cluster_offset(cluster);
                put(&mut self.bytes, offset, file.content);
                self.file_offsets.insert(file.path.into(), offset);
            }
        }
        Ok(())
    }

    /// Chains as many clusters as `bytes` need; the first one, or none for no bytes.
    fn allocate(&mut self, path: &str, bytes: usize) -> Result<u16, FatError> {
        let clusters = self.geometry.clusters;
        let full = || FatError::Full {
            path: path.into(),
            clusters,
        };
        let first = self.next_cluster;
        let count = u16::try_from(bytes.div_ceil(CLUSTER_BYTES)).map_err(|_| full())?;
        if count > clusters + FIRST_CLUSTER - first {
            return Err(full());
        }
        if count == 0 {
            return Ok(NO_CLUSTER);
        }
        for cluster in first..first + count - 1 {
            self.set_fat_entry(cluster, cluster + 1);
        }
        self.set_fat_entry(first + count - 1, END_OF_CHAIN);
        self.next_cluster = first + count;
        Ok(first)
    }

    /// Sets an entry in both copies of the table. FAT12 keeps the low 12 bits.
    fn set_fat_entry(&mut self, cluster: u16, value: u16) {
        for copy in 0..FATS {
            let table = usize::from(RESERVED_SECTORS + copy * self.geometry.fat_sectors) * SECTOR;
            let cluster = usize::from(cluster);
            if self.geometry.is_fat12 {
                let at = table + cluster + cluster / 2;
                let old = u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]]);
                let new = if cluster.is_multiple_of(2) {
                    (old & 0xf000) | (value & 0x0fff)
                } else {
                    (old & 0x000f) | (value << 4)
                };
                put(&mut self.bytes, at, &new.to_le_bytes());
            } else {
                put(&mut self.bytes, table + 2 * cluster, &value.to_le_bytes());
            }
        }
    }
}

/// The name as an entry has it; [`insert`] let no other names in.
fn padded(name: &str) -> [u8; 11] {
    short_name(name).unwrap_or([b' '; 11])
}

fn directory_entry(name: [u8; 11], attributes: u8, cluster: u16, bytes: u32) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    put(&mut entry, 0, &name);
    put(&mut entry, field::entry::ATTRIBUTES, &[attributes]);
    put(
        &mut entry,
        field::entry::WRITE_DATE,
        &DATE_1980_01_01.to_le_bytes(),
    );
    put(&mut entry, field::entry::CLUSTER, &cluster.to_le_bytes());
    put(&mut entry, field::entry::BYTES, &bytes.to_le_bytes());
    entry
}

fn boot_sector(volume: &Volume, geometry: &Geometry) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    put(&mut sector, 0, &[0xeb, 0x3c, 0x90]); // a jump, by which drivers recognise the sector
    put(&mut sector, field::boot::OEM, b"MSWIN4.1"); // what the specification recommends
    put(
        &mut sector,
        field::boot::SECTOR_BYTES,
        &512u16.to_le_bytes(),
    );
    put(
        &mut sector,
        field::boot::CLUSTER_SECTORS,
        &CLUSTER_SECTORS.to_le_bytes()[..1],
    );
    put(
        &mut sector,
        field::boot::RESERVED,
        &RESERVED_SECTORS.to_le_bytes(),
    );
    put(&mut sector, field::boot::FATS, &FATS.to_le_bytes()[..1]);
    put(
        &mut sector,
        field::boot::ROOT_ENTRIES,
        &ROOT_ENTRIES.to_le_bytes(),
    );
    put(
        &mut sector,
        field::boot::SECTORS,
        &volume.sectors.to_le_bytes(),
    );
    put(&mut sector, field::boot::MEDIA, &[MEDIA_FIXED]);
    put(
        &mut sector,
        field::boot::FAT_SECTORS,
        &geometry.fat_sectors.to_le_bytes(),
    );
    put(
        &mut sector,
        field::boot::TRACK_SECTORS,
        &63u16.to_le_bytes(),
    );
    put(&mut sector, field::boot::HEADS, &255u16.to_le_bytes());
    put(
        &mut sector,
        field::boot::HIDDEN,
        &volume.hidden_sectors.to_le_bytes(),
    );
    put(&mut sector, field::boot::DRIVE, &[0x80]);
    put(&mut sector, field::boot::EXTENDED, &[0x29]); // the next three fields are present
    put(
        &mut sector,
        field::boot::VOLUME_ID,
        &volume.volume_id.to_le_bytes(),
    );
    put(&mut sector, field::boot::LABEL, &volume.label);
    let name = if geometry.is_fat12 {
        b"FAT12   "
    } else {
        b"FAT16   "
    };
    put(&mut sector, field::boot::TYPE, name);
    put(&mut sector, field::boot::MARK, &[0x55, 0xaa]);
    sector
}

const SECTOR: usize = 512;
const CLUSTER_SECTORS: u16 = 2;
const RESERVED_SECTORS: u16 = 1;
const FATS: u16 = 2;
/// What every driver expects; fewer are legal and less tried.
const ROOT_ENTRIES: u16 = 512;
const ROOT_SECTORS: u16 = 32;
const ROOT_ENTRIES_USABLE: usize = 512;
const ENTRY_BYTES: usize = 32;
/// The first two table entries are no clusters.
const FIRST_CLUSTER: u16 = 2;
/// Fewer clusters than this are FAT12.
const FAT16_CLUSTERS_MIN: u16 = 4085;
const END_OF_CHAIN: u16 = 0xffff;
const NO_CLUSTER: u16 = 0;
/// How `..` names the root directory.
const ROOT_CLUSTER: u16 = 0;
const MEDIA_FIXED: u8 = 0xf8;
const ATTRIBUTE_LABEL: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
/// Year 0 since 1980, month 1, day 1.
const DATE_1980_01_01: u16 = 1 << 5 | 1;
const DOT: [u8; 11] = *b".          ";
const DOT_DOT: [u8; 11] = *b"..         ";

/// Byte offsets.
mod field {
    pub(super) mod boot {
        pub(in super::super) const OEM: usize = 3;
        pub(in super::super) const SECTOR_BYTES: usize = 11;
        pub(in super::super) const CLUSTER_SECTORS: usize = 13;
        pub(in super::super) const RESERVED: usize = 14;
        pub(in super::super) const FATS: usize = 16;
        pub(in super::super) const ROOT_ENTRIES: usize = 17;
        pub(in super::super) const SECTORS: usize = 19;
        pub(in super::super) const MEDIA: usize = 21;
        pub(in super::super) const FAT_SECTORS: usize = 22;
        pub(in super::super) const TRACK_SECTORS: usize = 24;
        pub(in super::super) const HEADS: usize = 26;
        pub(in super::super) const HIDDEN: usize = 28;
        pub(in super::super) const DRIVE: usize = 36;
        pub(in super::super) const EXTENDED: usize = 38;
        pub(in super::super) const VOLUME_ID: usize = 39;
        pub(in super::super) const LABEL: usize = 43;
        pub(in super::super) const TYPE: usize = 54;
        pub(in super::super) const MARK: usize = 510;
    }
    pub(super) mod entry {
        pub(in super::super) const ATTRIBUTES: usize = 11;
        pub(in super::super) const WRITE_DATE: usize = 24;
        pub(in super::super) const CLUSTER: usize = 26;
        pub(in super::super) const BYTES: usize = 28;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mib_is_fat12_and_eight_mib_are_fat16() {
        let small = emit(&volume(2048), &[]).unwrap().bytes;
        let large = emit(&volume(16384), &[]).unwrap().bytes;
        assert_eq!((&small[54..62], small.len()), (&b"FAT12   "[..], 1 << 20));
        assert_eq!((&large[54..62], large.len()), (&b"FAT16   "[..], 8 << 20));
    }

    #[test]
    fn a_file_is_where_its_offset_says_and_its_chain_covers_it() {
        let content = [7; 2500];
        let emitted = emit(&volume(2048), &[("GRUBENV", &content)]).unwrap();
        let at = emitted.file_offsets["GRUBENV"];
        assert_eq!(emitted.bytes[at..at + 2500], content);
        // FAT12: media, end; then cluster 2 -> 3 -> 4 -> end.
        assert_eq!(
            emitted.bytes[512..512 + 8],
            [0xf8, 0xff, 0xff, 0x03, 0x40, 0x00, 0xff, 0x0f]
        );
    }

    #[test]
    fn the_bytes_of_a_volume_are_those_of_the_golden_digest() {
        use sha2::{Digest, Sha256};
        let files = [
            ("EFI/BOOT/BOOTX64.EFI", &b"MZ"[..]),
            ("GRUBENV", &[b'#'; 1024]),
        ];
        let bytes = emit(&volume(2048), &files).unwrap().bytes;
        let digest: String = Sha256::digest(bytes)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(
            digest,
            "38d956bfc26fbabde7068b3b30849871c857b3a4e7b0fe9b21c04e64beafc9c0"
        );
    }

    #[test]
    fn every_directory_begins_with_itself_and_its_parent() {
        let bytes = emit(&volume(16384), &[("EFI/BOOT/BOOTX64.EFI", b"MZ")])
            .unwrap()
            .bytes;
        let geometry = Geometry::new(16384).unwrap();
        let boot = geometry.cluster_offset(3);
        assert_eq!(&bytes[boot..boot + 11], b".          ");
        assert_eq!(bytes[boot + 26], 3);
        assert_eq!(&bytes[boot + 32..boot + 43], b"..         ");
        assert_eq!(bytes[boot + 32 + 26], 2);
        assert_eq!(&bytes[boot + 64..boot + 75], b"BOOTX64 EFI");
        let efi = geometry.cluster_offset(2);
        assert_eq!(bytes[efi + 32 + 26], 0);
    }

    #[test]
    fn a_file_may_fill_the_volume_and_not_a_byte_more() {
        let room = usize::from(Geometry::new(2048).unwrap().clusters) * CLUSTER_BYTES;
        assert!(emit(&volume(2048), &[("FULL", &vec![1; room])]).is_ok());
        let error = emit(&volume(2048), &[("FULL", &vec![1; room + 1])]);
        assert!(matches!(error, Err(FatError::Full { .. })));
    }

    #[test]
    fn every_volume_that_is_large_enough_has_room_for_its_tables() {
        for sectors in (0..=u16::MAX).step_by(7) {
            match emit(&volume(sectors), &[]) {
                Ok(emitted) => assert_eq!(emitted.bytes.len(), usize::from(sectors) * 512),
                Err(error) => assert!(sectors < 37, "{sectors}: {error}"),
            }
        }
    }

    #[test]
    fn names_that_are_not_short_are_refused() {
        for name in [
            "grubenv",
            "TOOLONGNAME",
            "A.LONG",
            "",
            "A/",
            "/A",
            ".",
            "..",
            "A.",
            "A B",
        ] {
            assert!(emit(&volume(2048), &[(name, b"")]).is_err(), "{name}");
        }
        for pair in [["A", "A"], ["A", "A/B"], ["A/B", "A"]] {
            assert!(
                emit(&volume(2048), &pair.map(|name| (name, &b""[..]))).is_err(),
                "{pair:?}"
            );
        }
    }

    fn volume(sectors: u16) -> Volume {
        Volume {
            sectors,
            hidden_sectors: 2048,
            volume_id: 1,
            label: *b"OUTGATE    ",
        }
    }
}
