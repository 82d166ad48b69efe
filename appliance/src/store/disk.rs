//! What the store needs of a disk, so that the same code runs on a partition and on a model of one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Advice, fadvise, fdatasync};
use zeroize::Zeroizing;

use super::StoreError;

/// A disk that may lose every write that was not flushed, whole or in part and in any order.
pub trait Disk {
    /// Fills `into` from `offset` bytes on.
    ///
    /// # Errors
    /// If the disk fails or is too small.
    fn read(&self, offset: usize, into: &mut [u8]) -> io::Result<()>;

    /// Writes from `offset` bytes on. Both ends are at multiples of 4096 bytes.
    ///
    /// # Errors
    /// If the disk fails or is too small.
    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()>;

    /// Everything written before is on the medium afterwards, and what is read comes from there.
    ///
    /// # Errors
    /// If the disk fails. What was written before is then anything.
    fn flush(&mut self) -> io::Result<()>;
}

impl Disk for File {
    fn read(&self, offset: usize, into: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(into, offset as u64)
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset as u64)
    }

    fn flush(&mut self) -> io::Result<()> {
        fdatasync(&*self)?;
        // Drop the page cache, so that the reading is the disk's.
        fadvise(&*self, 0, None, Advice::DontNeed)?;
        Ok(())
    }
}

/// Writes, flushes, and reads back whether it is there.
pub(super) fn write_and_check(
    disk: &mut impl Disk,
    offset: usize,
    bytes: &[u8],
) -> Result<(), StoreError> {
    disk.write(offset, bytes)?;
    disk.flush()?;
    let mut read = Zeroizing::new(vec![0; bytes.len()]);
    disk.read(offset, &mut read)?;
    if *read != bytes {
        return Err(StoreError::ReadBack);
    }
    Ok(())
}
