//! qcow2 version 3 images without compression: what QEMU and libvirt take.
//!
//! QEMU `docs/interop/qcow2.txt`. The file is laid out in this order: header, refcount table,
//! refcount blocks, L1 table, L2 tables, data clusters ascending. A cluster of zeros is not
//! stored. Nothing in the file depends on anything but the disk's bytes.

use std::fmt;
use std::ops::Range;

use crate::bytes::{is_zero, put, u16_be, u32_be, u64_be};

/// Bytes in a cluster, QEMU's default.
pub const CLUSTER_BYTES: usize = 64 * 1024;

/// The image of a disk whose content is `disk`.
///
/// # Errors
/// When the length is no multiple of 512 or zero, which no guest disk has.
pub fn emit(disk: &[u8]) -> Result<Vec<u8>, Qcow2Error> {
    if disk.is_empty() || !disk.len().is_multiple_of(512) {
        return Err(Qcow2Error::DiskBytes {
            bytes: disk.len() as u64,
        });
    }
    let stored: Vec<usize> = disk
        .chunks(CLUSTER_BYTES)
        .enumerate()
        .filter(|(_, cluster)| !is_zero(cluster))
        .map(|(index, _)| index)
        .collect();
    let plan = Plan::new(disk.len().div_ceil(CLUSTER_BYTES), stored.len());

    let mut image = vec![0; plan.clusters() * CLUSTER_BYTES];
    emit_header(&mut image, &plan, disk.len() as u64);
    emit_refcounts(&mut image, &plan);
    for (at, cluster) in plan.l2_tables.clone().enumerate() {
        put(
            &mut image,
            plan.l1_table.start * CLUSTER_BYTES + at * POINTER,
            &pointer(cluster),
        );
    }
    for (place, index) in plan.data.clone().zip(stored) {
        let l2_entry = plan.l2_tables.start * CLUSTER_BYTES + index * POINTER;
        put(&mut image, l2_entry, &pointer(place));
        let content = disk.chunks(CLUSTER_BYTES).nth(index).unwrap_or_default();
        put(&mut image, place * CLUSTER_BYTES, content);
    }
    Ok(image)
}

/// The disk inside an image that [`emit`] wrote and nothing changed since, when it is no longer than
/// `disk_bytes_max`: what a published image must be. Every byte of the file is compared, so nothing
/// hides in it, no cluster is used twice, and every refcount is right.
///
/// # Errors
/// Those of [`parse`], and where the image first differs from what [`emit`] writes for its disk.
pub fn parse_untouched(image: &[u8], disk_bytes_max: u64) -> Result<Vec<u8>, Qcow2Error> {
    let disk = parse(image, disk_bytes_max)?;
    let ours = emit(&disk)?;
    if ours == image {
        return Ok(disk);
    }
    let offset = ours.iter().zip(image).position(|(a, b)| a != b);
    let offset = offset.unwrap_or_else(|| ours.len().min(image.len())) as u64;
    Err(Qcow2Error::Foreign { offset })
}

/// The disk inside `image`, when it is no longer than `disk_bytes_max`. A virtual machine may have
/// written to it: refcounts are not looked at, nor is what no table points to.
///
/// # Errors
/// When the image uses a feature this writer does not, a pointer leaves the file, or the disk
/// is longer than the limit, which bounds the memory used.
pub fn parse(image: &[u8], disk_bytes_max: u64) -> Result<Vec<u8>, Qcow2Error> {
    let header = parse_header(image, disk_bytes_max)?;
    let mut disk = vec![0; header.disk_bytes];
    for (index, cluster) in disk.chunks_mut(CLUSTER_BYTES).enumerate() {
        let l1_entry = header.l1_offset.checked_add(index / L2_ENTRIES * POINTER);
        let Some(l2_offset) = follow(image, l1_entry)? else {
            continue;
        };
        let l2_entry = l2_offset.checked_add(index % L2_ENTRIES * POINTER);
        let Some(offset) = follow(image, l2_entry)? else {
            continue;
        };
        let content = offset
            .checked_add(cluster.len())
            .and_then(|end| image.get(offset..end))
            .ok_or(Qcow2Error::Truncated)?;
        cluster.copy_from_slice(content);
    }
    Ok(disk)
}

/// Why an image is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Qcow2Error {
    /// A disk length that is zero or no multiple of 512.
    DiskBytes {
        /// The length.
        bytes: u64,
    },
    /// The image is not the one that this crate writes for its disk.
    Foreign {
        /// Where it first differs, in bytes.
        offset: u64,
    },
    /// A header field has a value this reader does not support.
    Header {
        /// The field, by its name in the specification.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A table entry that is compressed, marked zero, or not at a cluster's start.
    Pointer {
        /// The entry.
        entry: u64,
    },
    /// The disk is longer than the caller allows.
    TooLong {
        /// The disk's length.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The file ends before what it points to.
    Truncated,
}

impl fmt::Display for Qcow2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiskBytes { bytes } => {
                write!(
                    f,
                    "a disk of {bytes} bytes; it must be a positive multiple of 512"
                )
            }
            Self::Foreign { offset } => {
                write!(
                    f,
                    "the qcow2 file differs at {offset} from the one its disk makes: it was written by another program or changed"
                )
            }
            Self::Header { field, value } => {
                write!(
                    f,
                    "qcow2 header field {field} has the unsupported value {value:#x}"
                )
            }
            Self::Pointer { entry } => {
                write!(f, "qcow2 table entry {entry:#x} is not a plain cluster")
            }
            Self::TooLong { bytes, max } => {
                write!(
                    f,
                    "the qcow2 disk has {bytes} bytes; the limit here is {max}"
                )
            }
            Self::Truncated => write!(f, "the qcow2 file ends before what it points to"),
        }
    }
}

impl std::error::Error for Qcow2Error {}

/// Fuzz body: the reader never panics and what it accepts survives a round trip. `data` is read as
/// an image, and as the first bytes of each cluster of one: the rest of a table is mostly zeros, and
/// a fuzzer would spend its time there.
pub fn fuzz_qcow2(data: &[u8]) {
    fuzz_image(data);
    let mut image = vec![0; data.len().div_ceil(FUZZ_CLUSTER_BYTES).min(8) * CLUSTER_BYTES];
    for (cluster, start) in image
        .chunks_mut(CLUSTER_BYTES)
        .zip(data.chunks(FUZZ_CLUSTER_BYTES))
    {
        put(cluster, 0, start);
    }
    fuzz_image(&image);
}

fn fuzz_image(image: &[u8]) {
    if let Ok(disk) = parse(image, FUZZ_DISK_BYTES_MAX) {
        let ours = emit(&disk).expect("the reader accepts valid lengths only");
        assert!(parse_untouched(&ours, disk.len() as u64).as_ref() == Ok(&disk));
        let is_untouched = parse_untouched(image, FUZZ_DISK_BYTES_MAX).is_ok();
        assert_eq!(is_untouched, ours == image);
    }
}

/// Which clusters of the file hold what. Contiguous, in this order, after the header's cluster.
#[derive(Debug)]
struct Plan {
    refcount_table: Range<usize>,
    refcount_blocks: Range<usize>,
    l1_table: Range<usize>,
    l2_tables: Range<usize>,
    data: Range<usize>,
}

impl Plan {
    fn new(disk_clusters: usize, stored_clusters: usize) -> Self {
        let l2_tables = disk_clusters.div_ceil(L2_ENTRIES);
        let l1_clusters = (l2_tables * POINTER).div_ceil(CLUSTER_BYTES);
        let mut blocks = 1;
        loop {
            let table = (blocks * POINTER).div_ceil(CLUSTER_BYTES);
            let total = 1 + table + blocks + l1_clusters + l2_tables + stored_clusters;
            let needed = total.div_ceil(REFCOUNTS);
            if needed <= blocks {
                return Self::contiguous([table, blocks, l1_clusters, l2_tables, stored_clusters]);
            }
            // The refcounts count their own clusters: grow until they cover themselves.
            blocks = needed;
        }
    }

    const fn contiguous(lengths: [usize; 5]) -> Self {
        let [table, blocks, l1, l2, data] = lengths;
        let table_end = 1 + table;
        let blocks_end = table_end + blocks;
        let l1_end = blocks_end + l1;
        let l2_end = l1_end + l2;
        Self {
            refcount_table: 1..table_end,
            refcount_blocks: table_end..blocks_end,
            l1_table: blocks_end..l1_end,
            l2_tables: l1_end..l2_end,
            data: l2_end..l2_end + data,
        }
    }

    const fn clusters(&self) -> usize {
        self.data.end
    }
}

fn emit_header(image: &mut [u8], plan: &Plan, disk_bytes: u64) {
    let offset = |cluster: usize| (cluster * CLUSTER_BYTES) as u64;
    // Counts of clusters and tables are far below 2^32: the image is in memory.
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    put(image, 0, MAGIC);
    put(image, field::VERSION, &3u32.to_be_bytes());
    put(image, field::CLUSTER_BITS, &CLUSTER_BITS.to_be_bytes());
    put(image, field::DISK_BYTES, &disk_bytes.to_be_bytes());
    put(image, field::L1_ENTRIES, &count(plan.l2_tables.len()));
    put(
        image,
        field::L1_OFFSET,
        &offset(plan.l1_table.start).to_be_bytes(),
    );
    put(
        image,
        field::REFCOUNT_OFFSET,
        &offset(plan.refcount_table.start).to_be_bytes(),
    );
    put(
        image,
        field::REFCOUNT_CLUSTERS,
        &count(plan.refcount_table.len()),
    );
    put(image, field::REFCOUNT_ORDER, &REFCOUNT_ORDER.to_be_bytes());
    put(image, field::HEADER_BYTES, &HEADER_BYTES.to_be_bytes());
    // The bytes after the header are the extension type 0: the end of extensions.
}

/// Every cluster of the file is used exactly once.
fn emit_refcounts(image: &mut [u8], plan: &Plan) {
    for (at, block) in plan.refcount_blocks.clone().enumerate() {
        let entry = plan.refcount_table.start * CLUSTER_BYTES + at * POINTER;
        put(
            image,
            entry,
            &((block * CLUSTER_BYTES) as u64).to_be_bytes(),
        );
    }
    for cluster in 0..plan.clusters() {
        // Blocks are contiguous, so one index runs through all of them.
        let entry = plan.refcount_blocks.start * CLUSTER_BYTES + cluster * REFCOUNT_BYTES;
        put(image, entry, &1u16.to_be_bytes());
    }
}

/// An L1 or L2 entry for a cluster with refcount one.
const fn pointer(cluster: usize) -> [u8; POINTER] {
    ((cluster * CLUSTER_BYTES) as u64 | COPIED).to_be_bytes()
}

#[derive(Debug)]
struct Header {
    disk_bytes: usize,
    l1_offset: usize,
}

fn parse_header(image: &[u8], disk_bytes_max: u64) -> Result<Header, Qcow2Error> {
    let u32_at = |at| {
        u32_be(image, at)
            .map(u64::from)
            .ok_or(Qcow2Error::Truncated)
    };
    let u64_at = |at| u64_be(image, at).ok_or(Qcow2Error::Truncated);
    for (field, value, supported) in [
        ("magic", u32_at(0)?, u64::from(u32::from_be_bytes(*MAGIC))),
        ("version", u32_at(field::VERSION)?, 3),
        ("backing_file_offset", u64_at(field::BACKING_OFFSET)?, 0),
        (
            "cluster_bits",
            u32_at(field::CLUSTER_BITS)?,
            u64::from(CLUSTER_BITS),
        ),
        ("crypt_method", u32_at(field::CRYPT_METHOD)?, 0),
        ("incompatible_features", u64_at(field::INCOMPATIBLE)?, 0),
    ] {
        if value != supported {
            return Err(Qcow2Error::Header { field, value });
        }
    }
    let bytes = u64_at(field::DISK_BYTES)?;
    if bytes > disk_bytes_max {
        return Err(Qcow2Error::TooLong {
            bytes,
            max: disk_bytes_max,
        });
    }
    let disk_bytes = usize::try_from(bytes).map_err(|_| Qcow2Error::DiskBytes { bytes })?;
    if disk_bytes == 0 || !disk_bytes.is_multiple_of(512) {
        return Err(Qcow2Error::DiskBytes { bytes });
    }
    let l1_entries = u32_at(field::L1_ENTRIES)?;
    if l1_entries < disk_bytes.div_ceil(CLUSTER_BYTES).div_ceil(L2_ENTRIES) as u64 {
        return Err(Qcow2Error::Header {
            field: "l1_size",
            value: l1_entries,
        });
    }
    let l1_offset = u64_at(field::L1_OFFSET)?;
    let l1_offset = usize::try_from(l1_offset).map_err(|_| Qcow2Error::Header {
        field: "l1_table_offset",
        value: l1_offset,
    })?;
    Ok(Header {
        disk_bytes,
        l1_offset,
    })
}

/// Where the table entry at `at` points; nothing when it is unallocated.
fn follow(image: &[u8], at: Option<usize>) -> Result<Option<usize>, Qcow2Error> {
    let entry = at
        .and_then(|at| u64_be(image, at))
        .ok_or(Qcow2Error::Truncated)?;
    let offset = entry & !COPIED;
    if entry == 0 {
        return Ok(None);
    }
    match usize::try_from(offset) {
        Ok(offset) if offset != 0 && offset.is_multiple_of(CLUSTER_BYTES) => Ok(Some(offset)),
        Ok(_) | Err(_) => Err(Qcow2Error::Pointer { entry }),
    }
}

/// The refcount of a cluster of an image that [`emit`] wrote with one refcount block.
#[must_use]
pub fn refcount(image: &[u8], cluster: usize) -> Option<u16> {
    let table = usize::try_from(u64_be(image, field::REFCOUNT_OFFSET)?).ok()?;
    let block = usize::try_from(u64_be(image, table + cluster / REFCOUNTS * POINTER)?).ok()?;
    u16_be(
        image,
        block.checked_add(cluster % REFCOUNTS * REFCOUNT_BYTES)?,
    )
}

/// Bytes of the fuzzer's input that start a cluster: more than the header, and tables of 16 entries.
const FUZZ_CLUSTER_BYTES: usize = 128;
const FUZZ_DISK_BYTES_MAX: u64 = 4 * CLUSTER_BYTES as u64;
const MAGIC: &[u8; 4] = b"QFI\xfb";
const CLUSTER_BITS: u32 = 16;
/// 2^4 = 16 bits for each refcount.
const REFCOUNT_ORDER: u32 = 4;
const REFCOUNT_BYTES: usize = 2;
const REFCOUNTS: usize = CLUSTER_BYTES / REFCOUNT_BYTES;
const HEADER_BYTES: u32 = 104;
const POINTER: usize = 8;
const L2_ENTRIES: usize = CLUSTER_BYTES / POINTER;
/// Bit 63 of an L1 or L2 entry: the refcount is exactly one.
const COPIED: u64 = 1 << 63;

/// Byte offsets of header fields, all big-endian.
mod field {
    pub(super) const VERSION: usize = 4;
    pub(super) const BACKING_OFFSET: usize = 8;
    pub(super) const CLUSTER_BITS: usize = 20;
    pub(super) const DISK_BYTES: usize = 24;
    pub(super) const CRYPT_METHOD: usize = 32;
    pub(super) const L1_ENTRIES: usize = 36;
    pub(super) const L1_OFFSET: usize = 40;
    pub(super) const REFCOUNT_OFFSET: usize = 48;
    pub(super) const REFCOUNT_CLUSTERS: usize = 56;
    pub(super) const INCOMPATIBLE: usize = 72;
    pub(super) const REFCOUNT_ORDER: usize = 96;
    pub(super) const HEADER_BYTES: usize = 100;
}

#[cfg(test)]
mod tests;
