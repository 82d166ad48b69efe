//! VMDK files of type streamOptimized: what an OVA carries and vSphere imports.
//!
//! VMware "Virtual Disk Format 5.0", with what its readers were seen to ask for. A file is one
//! stream that is written and read forwards only:
//!
//! ```text
//! header, descriptor, zeros up to sector 128
//! for every 32 MiB of the disk that hold something:
//!     grains (64 KiB of the disk each, compressed), ascending     grain of zeros: not stored
//!     grain table marker, grain table                             nothing stored: no table
//! grain directory marker, grain directory
//! footer marker, footer (the header, which now knows where the directory is)
//! end-of-stream marker (a sector of zeros), the last in the file
//! ```
//!
//! The end-of-stream marker is why this writer exists: `qemu-img convert` leaves it out, and
//! VMware's importers then count one sector too few. The reader accepts exactly what the writer
//! writes, except that the grains may have been compressed by somebody else: emitting what was
//! parsed gives the same bytes.

mod descriptor;
mod error;
mod grain;
mod header;
mod stream;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

pub use self::error::VmdkError;
use self::grain::Grain;

/// Bytes of the disk in a grain.
pub const GRAIN_BYTES: usize = 64 * 1024;

/// The longest disk that is written or read. It bounds the memory that [`Vmdk::to_disk`] takes
/// for a file of a few sectors; the appliance's disk is 77 MiB.
pub const CAPACITY_BYTES_MAX: u64 = 1 << 30;

/// The name the descriptor gives the file. Readers of a streamOptimized file ignore it, so it is
/// the same whatever the file is called and renaming a disk does not change its bytes.
pub const EXTENT_NAME: &str = "outgate.vmdk";

/// A disk as a streamOptimized VMDK holds it: its length, and the grains that are not all zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vmdk {
    /// A positive multiple of [`GRAIN_BYTES`], at most [`CAPACITY_BYTES_MAX`].
    capacity_bytes: u64,
    /// By index on the disk. Each is inside the capacity and has a byte that is not zero.
    grains: BTreeMap<u64, Grain>,
}

impl Vmdk {
    /// The VMDK of a disk whose content is `disk`, compressed by as many as `threads` threads. The
    /// result does not depend on their number.
    ///
    /// # Errors
    /// When the length is zero, no multiple of [`GRAIN_BYTES`], or above [`CAPACITY_BYTES_MAX`].
    pub fn from_disk(disk: &[u8], threads: NonZeroUsize) -> Result<Self, VmdkError> {
        let capacity_bytes = checked_capacity(disk.len() as u64)?;
        let grains = grain::deflate_all(disk, threads);
        Ok(Self {
            capacity_bytes,
            grains,
        })
    }

    /// The file.
    ///
    /// # Errors
    /// When the file needs more sectors than a grain table can number, which the limits of this
    /// module do not allow.
    pub fn emit(&self) -> Result<Vec<u8>, VmdkError> {
        stream::emit(self)
    }

    /// Reads a file that [`Self::emit`] wrote, forwards and once. Memory is bounded by the file's
    /// length: a grain that inflates to more than [`GRAIN_BYTES`] is refused.
    ///
    /// # Errors
    /// When a byte of it is not what the writer writes, or a grain does not inflate.
    pub fn parse(file: &[u8]) -> Result<Self, VmdkError> {
        stream::parse(file)
    }

    /// The disk's content, [`Self::capacity_bytes`] long.
    ///
    /// # Errors
    /// None that the constructors did not rule out; the type says so for the caller's `?`.
    pub fn to_disk(&self) -> Result<Vec<u8>, VmdkError> {
        self.read(0, in_memory(self.capacity_bytes))
    }

    /// The `length` bytes of the disk at `offset`.
    ///
    /// # Errors
    /// When they do not lie on the disk.
    pub fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, VmdkError> {
        self.check_range(offset, length)?;
        let mut content = vec![0; length];
        for span in Span::of(offset, length) {
            if let Some(grain) = self.grains.get(&span.grain) {
                let inflated = grain.inflate(span.grain)?;
                content[span.outer].copy_from_slice(&inflated[span.inner]);
            }
        }
        Ok(content)
    }

    /// Overwrites the disk at `offset` with `bytes`. Only the grains it touches are compressed
    /// again, and they are the same bytes as if the whole disk had been written with them.
    ///
    /// # Errors
    /// When they do not fit on the disk.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), VmdkError> {
        self.check_range(offset, bytes.len())?;
        for span in Span::of(offset, bytes.len()) {
            let mut content = match self.grains.get(&span.grain) {
                Some(grain) => grain.inflate(span.grain)?,
                None => vec![0; GRAIN_BYTES],
            };
            content[span.inner].copy_from_slice(&bytes[span.outer]);
            match Grain::deflate(&content) {
                Some(grain) => self.grains.insert(span.grain, grain),
                None => self.grains.remove(&span.grain),
            };
        }
        Ok(())
    }

    /// Bytes of the disk.
    #[must_use]
    pub const fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// The content identifier: a CRC-32 of the capacity and of every stored grain's place and
    /// content. It does not depend on how the grains were compressed, and is never one of the two
    /// values with a meaning of their own (ffffffff: no parent; fffffffe: not yet known).
    #[must_use]
    pub fn cid(&self) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.capacity_bytes.to_le_bytes());
        for (index, grain) in &self.grains {
            crc.update(&lba(*index).to_le_bytes());
            crc.update(&grain.content_crc32.to_le_bytes());
        }
        match crc.finalize() {
            reserved @ (u32::MAX | 0xffff_fffe) => reserved - 2,
            cid => cid,
        }
    }

    /// Bytes of the disk that the file stores, before compression: OVF's `populatedSize`.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.grains.len() as u64 * GRAIN_BYTES as u64
    }

    fn check_range(&self, offset: u64, length: usize) -> Result<(), VmdkError> {
        match offset.checked_add(length as u64) {
            Some(end) if end <= self.capacity_bytes => Ok(()),
            Some(_) | None => Err(VmdkError::Range {
                offset,
                length,
                capacity_bytes: self.capacity_bytes,
            }),
        }
    }
}

/// Fuzz body: the reader never panics, and what it accepts is emitted as the same bytes. `data` is
/// read as a file, and as what follows the first 64 KiB of one: those are mostly zeros, and a
/// fuzzer would spend its time there.
pub fn fuzz_vmdk(data: &[u8]) {
    if let Ok(vmdk) = Vmdk::parse(data) {
        assert!(fuzz_emit(&vmdk) == data, "accepted what nobody writes");
    }
    let mut file = vec![0; GRAIN_BYTES];
    crate::bytes::put(
        &mut file,
        0,
        &header::emit(FUZZ_CAPACITY_BYTES, header::GD_AT_END),
    );
    file.extend(data);
    if let Ok((vmdk, _)) = stream::parse_but_descriptor(&file) {
        let emitted = fuzz_emit(&vmdk);
        assert!(
            emitted[GRAIN_BYTES..] == *data,
            "accepted what nobody writes"
        );
        assert_eq!(Vmdk::parse(&emitted), Ok(vmdk));
    }
}

fn fuzz_emit(vmdk: &Vmdk) -> Vec<u8> {
    let mut grains = vmdk.grains.iter();
    assert!(grains.all(|(index, grain)| grain.inflate(*index).is_ok()));
    vmdk.emit().expect("a file this short has few sectors")
}

/// The part of a range that lies in one grain.
struct Span {
    /// The grain's index on the disk.
    grain: u64,
    /// The part, counted from the grain's start.
    inner: std::ops::Range<usize>,
    /// The part, counted from the range's start.
    outer: std::ops::Range<usize>,
}

impl Span {
    /// The parts of the `length` bytes at `offset`, ascending. The caller checked the range.
    fn of(offset: u64, length: usize) -> impl Iterator<Item = Self> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let at = offset + done as u64;
            let start = in_memory(at % GRAIN_BYTES as u64);
            let part = (GRAIN_BYTES - start).min(length - done);
            let span = Self {
                grain: at / GRAIN_BYTES as u64,
                inner: start..start + part,
                outer: done..done + part,
            };
            done += part;
            (part > 0).then_some(span)
        })
    }
}

/// A disk's length, when it is one this module handles.
const fn checked_capacity(bytes: u64) -> Result<u64, VmdkError> {
    if bytes == 0 || !bytes.is_multiple_of(GRAIN_BYTES as u64) || bytes > CAPACITY_BYTES_MAX {
        return Err(VmdkError::Capacity { bytes });
    }
    Ok(bytes)
}

/// The first sector on the disk of the grain with this index.
const fn lba(index: u64) -> u64 {
    index * GRAIN_SECTORS
}

/// A length or offset below the capacity's limit, which every machine can address.
fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).expect("at most CAPACITY_BYTES_MAX")
}

/// The disk of the files that [`fuzz_vmdk`] completes: a grain more than two tables cover.
const FUZZ_CAPACITY_BYTES: u64 = 1025 * GRAIN_BYTES as u64;
/// Bytes in a sector, as a length in memory.
const SECTOR: usize = 512;
/// Sectors of the disk in a grain.
const GRAIN_SECTORS: u64 = (GRAIN_BYTES / SECTOR) as u64;

#[cfg(test)]
mod tests;
