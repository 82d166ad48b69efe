//! What is written to: a partition, or in tests a disk whose power fails.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{Advice, fadvise, fdatasync};

/// A block device. Writes are durable, and in order, only up to the last [`Self::flush`].
pub trait BlockDevice {
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// If the device fails or ends earlier.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes `bytes` at `offset`.
    ///
    /// # Errors
    /// If the device fails, ends earlier or is read-only.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Waits until everything written is on the device; what is read next comes from there.
    ///
    /// # Errors
    /// If something could not be written.
    fn flush(&mut self) -> io::Result<()>;
}

impl BlockDevice for File {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        fdatasync(&*self)?;
        // Drop the page cache, so that the next reading is the disk's.
        Ok(fadvise(&*self, 0, None, Advice::DontNeed)?)
    }
}

/// A device in memory, for fuzzing.
impl BlockDevice for Vec<u8> {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        buffer.copy_from_slice(range(self, offset, buffer.len())?);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        range(self, offset, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn range(device: &mut [u8], offset: u64, len: usize) -> io::Result<&mut [u8]> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    let end = start.checked_add(len);
    end.and_then(|end| device.get_mut(start..end))
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Writes `bytes` at `offset`, waits until they are on the device and reads them back.
///
/// # Errors
/// If the device fails, or does not keep what is written to it.
pub fn write_durably(device: &mut impl BlockDevice, offset: u64, bytes: &[u8]) -> io::Result<()> {
    device.write_at(offset, bytes)?;
    device.flush()?;
    let mut read = vec![0; bytes.len()];
    device.read_at(offset, &mut read)?;
    if read == bytes {
        Ok(())
    } else {
        Err(io::Error::other(
            "the disk does not keep what is written to it",
        ))
    }
}
