//! A system in a slot: installing it from a stream, and checking it before it is tried.
//!
//! This reads foreign bytes and runs in the installer's process only; PID 1 reads no more of a slot
//! than its header.

use std::fmt;
use std::io::{self, Read};

use disk_format::SECTOR_BYTES;
use disk_format::slot::{HEADER_BYTES, SlotError, SlotHeader};
use ring::digest::{Context, SHA256};

use super::device::{BlockDevice, write_durably};

/// Bytes moved at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Writes the system that `stream` yields, and nothing but it, into a slot of `slot_bytes`.
///
/// In this order, each step on the disk before the next: the old header is wiped, so that nothing
/// boots half a system; the content; it is read back and hashed; the header, which is read back.
///
/// # Errors
/// See [`Error`]. The slot holds the old system if the stream's header was refused, else nothing.
pub fn install(
    stream: &mut impl Read,
    slot: &mut impl BlockDevice,
    slot_bytes: u64,
) -> Result<SlotHeader, Error> {
    let mut bytes = [0; HEADER_BYTES];
    stream.read_exact(&mut bytes).map_err(Error::Stream)?;
    let header = parse(&bytes, slot_bytes)?;
    write_durably(slot, 0, &[0; HEADER_BYTES]).map_err(Error::Disk)?;
    copy(stream, slot, header.used_bytes())?;
    slot.flush().map_err(Error::Disk)?;
    check_content(slot, &header)?;
    write_durably(slot, 0, &bytes).map_err(Error::Disk)?;
    Ok(header)
}

/// Reads a slot of `slot_bytes` and checks that its content is what its header says.
///
/// # Errors
/// See [`Error`].
pub fn check(slot: &mut impl BlockDevice, slot_bytes: u64) -> Result<SlotHeader, Error> {
    let header = header(slot, slot_bytes)?;
    check_content(slot, &header)?;
    Ok(header)
}

/// Reads a slot's header.
///
/// # Errors
/// See [`Error`].
pub fn header(slot: &mut impl BlockDevice, slot_bytes: u64) -> Result<SlotHeader, Error> {
    let mut bytes = [0; HEADER_BYTES];
    slot.read_at(0, &mut bytes).map_err(Error::Disk)?;
    parse(&bytes, slot_bytes)
}

fn parse(bytes: &[u8; HEADER_BYTES], slot_bytes: u64) -> Result<SlotHeader, Error> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Err(Error::Empty);
    }
    let header = SlotHeader::parse(bytes, slot_bytes / SECTOR_BYTES).map_err(Error::Header)?;
    // One form only: every byte of a slot is then either checked here or hashed.
    match header.emit() {
        Ok(emitted) if emitted == *bytes => Ok(header),
        Ok(_) | Err(_) => Err(Error::Form),
    }
}

/// Copies the stream's rest behind the header, up to `end` of the slot, where it must end as well.
fn copy(stream: &mut impl Read, slot: &mut impl BlockDevice, end: u64) -> Result<(), Error> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = HEADER_BYTES as u64;
    while at < end {
        let chunk = up_to(&mut chunk, end - at);
        stream.read_exact(chunk).map_err(Error::Stream)?;
        slot.write_at(at, chunk).map_err(Error::Disk)?;
        at += chunk.len() as u64;
    }
    match stream.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Error::TooLong { bytes: end }),
        Err(error) => Err(Error::Stream(error)),
    }
}

fn check_content(slot: &mut impl BlockDevice, header: &SlotHeader) -> Result<(), Error> {
    let mut digest = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = HEADER_BYTES as u64;
    while at < header.used_bytes() {
        let chunk = up_to(&mut chunk, header.used_bytes() - at);
        slot.read_at(at, chunk).map_err(Error::Disk)?;
        digest.update(chunk);
        at += chunk.len() as u64;
    }
    if digest.finish().as_ref() == header.content_sha256 {
        Ok(())
    } else {
        Err(Error::Content)
    }
}

/// As much of `chunk` as `left` bytes fill.
fn up_to(chunk: &mut [u8], left: u64) -> &mut [u8] {
    let len = usize::try_from(left).unwrap_or(usize::MAX).min(chunk.len());
    &mut chunk[..len]
}

/// Fuzz body: any stream is installed or refused without a panic; what was installed passes the check
/// and is the stream's bytes, and what was refused is not bootable.
///
/// # Panics
/// If one of these does not hold.
pub fn fuzz_install(data: &[u8]) {
    let mut slot = vec![0; FUZZ_SLOT_BYTES];
    let slot_bytes = slot.len() as u64;
    let outcome = install(&mut &*data, &mut slot, slot_bytes);
    match (outcome, check(&mut slot, slot_bytes)) {
        (Ok(installed), Ok(checked)) => {
            assert_eq!(installed, checked);
            assert!(slot.starts_with(data));
        }
        (Err(_), Err(_)) => {}
        (outcome, check) => panic!("installing: {outcome:?}, but checking: {check:?}"),
    }
}

/// Bytes of the slot in [`fuzz_install`].
const FUZZ_SLOT_BYTES: usize = 64 * 1024;

/// Why a slot holds no system, or a stream brings none.
#[derive(Debug)]
pub enum Error {
    /// The content's hash is not the header's.
    Content,
    /// The disk fails.
    Disk(io::Error),
    /// There is no header.
    Empty,
    /// The header is not in the one form in which it is written.
    Form,
    /// The header is wrong.
    Header(SlotError),
    /// The stream fails or ends too early.
    Stream(io::Error),
    /// The stream goes on behind the system.
    TooLong {
        /// Where the system ends.
        bytes: u64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content => f.write_str("the content does not hash to what the header says"),
            Self::Disk(error) => write!(f, "the disk fails: {error}"),
            Self::Empty => f.write_str("it is empty"),
            Self::Form => f.write_str("slot header: not in the form in which it is written"),
            Self::Header(error) => error.fmt(f),
            Self::Stream(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the stream ends before the system does")
            }
            Self::Stream(error) => write!(f, "the stream fails: {error}"),
            Self::TooLong { bytes } => {
                write!(f, "the stream goes on after the system's {bytes} bytes")
            }
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use disk_format::slot::Extent;
    use proptest::prelude::*;
    use ring::digest::digest;

    #[test]
    fn a_whole_system_is_installed() {
        let mut slot = vec![0xff; FUZZ_SLOT_BYTES];
        let system = system(3);
        let header = install(&mut &*system, &mut slot, FUZZ_SLOT_BYTES as u64).unwrap();
        assert_eq!(header.version, "0.1.0");
        assert!(slot.starts_with(&system));
        fuzz_install(&system);
    }

    proptest! {
        #[test]
        fn no_stream_makes_the_installer_panic_or_leave_half_a_system(
            sectors in 2_u64..200,
            cut in 0_usize..20_000,
            at in 0_usize..20_000,
            value in any::<u8>(),
        ) {
            let mut stream = system(sectors);
            fuzz_install(&stream[..cut.min(stream.len())]);
            let at = at % stream.len();
            stream[at] = value;
            fuzz_install(&stream);
        }
    }

    /// A slot's bytes with a kernel of one sector and an initramfs of the other `sectors`.
    fn system(sectors: u64) -> Vec<u8> {
        let content = vec![7; usize::try_from(sectors * SECTOR_BYTES).unwrap()];
        let header = SlotHeader {
            kernel: Extent {
                start: 8,
                sectors: 1,
            },
            initrd: Extent {
                start: 9,
                sectors: sectors - 1,
            },
            version: "0.1.0".into(),
            content_sha256: digest(&SHA256, &content).as_ref().try_into().unwrap(),
        };
        let mut slot = header.emit().unwrap().to_vec();
        slot.extend(content);
        slot
    }
}
