//! The disk's parts by name, and the header of a system slot.
//!
//! A slot is raw: `[header, 4096 bytes][kernel, padded to a sector][initramfs, padded]`. The header
//! begins with a GRUB environment block, because that is what the loader can read without a
//! filesystem; it tells the loader which sectors hold the kernel and the initramfs, and PID 1
//! which version this is and what the content must hash to.

use std::fmt;

use crate::SECTOR_BYTES;
use crate::grubenv::{GrubEnv, GrubEnvError};

/// GPT partition names, as the builder writes them and as PID 1 finds them (`PARTNAME` in sysfs).
pub mod partition {
    /// GRUB's core image for BIOS.
    pub const BIOS: &str = "outgate-bios";
    /// The EFI system partition with GRUB for UEFI.
    pub const ESP: &str = "outgate-esp";
    /// FAT12 with the one file `grubenv`: which slot to boot.
    pub const BOOT_STATE: &str = "outgate-boot-state";
    /// The first system slot.
    pub const SLOT_A: &str = "outgate-slot-a";
    /// The second system slot.
    pub const SLOT_B: &str = "outgate-slot-b";
    /// The state record; all zeros means "not enrolled".
    pub const STATE: &str = "outgate-state";
}

/// Bytes before the kernel.
pub const HEADER_BYTES: usize = 4096;
/// Where the environment block of `grubenv` lies inside the boot-state partition. The builder
/// checks that the filesystem it made put it there.
pub const BOOT_STATE_BLOCK_OFFSET_BYTES: u64 = 0x4e00;

/// What a slot's header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotHeader {
    /// Sectors of the kernel, relative to the slot's start.
    pub kernel: Extent,
    /// Sectors of the initramfs, relative to the slot's start.
    pub initrd: Extent,
    /// The version on the console, e.g. `0.1.0`.
    pub version: String,
    /// SHA-256 from the end of the header to the end of the initramfs' last sector.
    pub content_sha256: [u8; 32],
}

/// A run of sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First sector.
    pub start: u64,
    /// How many; at least one.
    pub sectors: u64,
}

impl Extent {
    /// The sector after the last one.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.start.saturating_add(self.sectors)
    }
}

impl SlotHeader {
    /// Bytes of the slot that are in use, header included.
    #[must_use]
    pub const fn used_bytes(&self) -> u64 {
        self.initrd.end() * SECTOR_BYTES
    }

    /// The header's bytes.
    ///
    /// # Errors
    /// When the version does not fit into an environment block.
    pub fn emit(&self) -> Result<[u8; HEADER_BYTES], SlotError> {
        let mut env = GrubEnv::new();
        let mut set = |key, value: &str| env.set(key, value).map_err(SlotError::Block);
        set(key::KERNEL_START, &self.kernel.start.to_string())?;
        set(key::KERNEL_SECTORS, &self.kernel.sectors.to_string())?;
        set(key::INITRD_START, &self.initrd.start.to_string())?;
        set(key::INITRD_SECTORS, &self.initrd.sectors.to_string())?;
        set(key::VERSION, &self.version)?;
        set(key::CONTENT_SHA256, &hex(&self.content_sha256))?;
        let mut header = [0; HEADER_BYTES];
        let block = env.emit();
        header[..block.len()].copy_from_slice(&block);
        Ok(header)
    }

    /// Reads the header of a slot that is `slot_sectors` long.
    ///
    /// # Errors
    /// When the block is no environment block, a key is missing or no number, or an extent
    /// is empty, out of order or outside the slot.
    pub fn parse(slot: &[u8], slot_sectors: u64) -> Result<Self, SlotError> {
        let env = GrubEnv::parse(slot).map_err(SlotError::Block)?;
        let kernel = extent(&env, key::KERNEL_START, key::KERNEL_SECTORS)?;
        let initrd = extent(&env, key::INITRD_START, key::INITRD_SECTORS)?;
        let content_start = HEADER_BYTES as u64 / SECTOR_BYTES;
        let ordered = kernel.start == content_start && initrd.start == kernel.end();
        let inside = initrd
            .start
            .checked_add(initrd.sectors)
            .is_some_and(|end| end <= slot_sectors);
        if !ordered || !inside {
            return Err(SlotError::Extents {
                kernel,
                initrd,
                slot_sectors,
            });
        }
        Ok(Self {
            kernel,
            initrd,
            version: text(&env, key::VERSION)?.into(),
            content_sha256: unhex(text(&env, key::CONTENT_SHA256)?).ok_or(
                SlotError::Malformed {
                    key: key::CONTENT_SHA256,
                },
            )?,
        })
    }
}

/// Why a header is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlotError {
    /// The environment block is missing or wrong. An empty slot ends here.
    Block(GrubEnvError),
    /// Kernel and initramfs do not follow the header and one another within the slot.
    Extents {
        /// Where the header says the kernel is.
        kernel: Extent,
        /// Where the header says the initramfs is.
        initrd: Extent,
        /// The slot's length.
        slot_sectors: u64,
    },
    /// A key is missing, or its value is not of its kind.
    Malformed {
        /// The key.
        key: &'static str,
    },
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(error) => write!(f, "slot header: {error}"),
            Self::Extents {
                kernel,
                initrd,
                slot_sectors,
            } => write!(
                f,
                "slot header: kernel at {}+{} and initramfs at {}+{} must follow sector {} and \
                 one another within {slot_sectors} sectors",
                kernel.start,
                kernel.sectors,
                initrd.start,
                initrd.sectors,
                HEADER_BYTES as u64 / SECTOR_BYTES,
            ),
            Self::Malformed { key } => write!(f, "slot header: {key} is missing or malformed"),
        }
    }
}

impl std::error::Error for SlotError {}

/// Fuzz body: the reader never panics, and what it accepts survives a round trip.
pub fn fuzz_slot(data: &[u8]) {
    if let Ok(header) = SlotHeader::parse(data, data.len() as u64) {
        let emitted = header
            .emit()
            .expect("a header that was read fits into a block");
        assert_eq!(SlotHeader::parse(&emitted, data.len() as u64), Ok(header));
    }
}

fn text<'env>(env: &'env GrubEnv, key: &'static str) -> Result<&'env str, SlotError> {
    env.get(key).ok_or(SlotError::Malformed { key })
}

/// The extent named by two keys. Leading zeros and signs are refused, so one header has one form.
fn extent(env: &GrubEnv, start: &'static str, sectors: &'static str) -> Result<Extent, SlotError> {
    let number = |key| {
        let text = text(env, key)?;
        let number = text
            .parse::<u64>()
            .map_err(|_| SlotError::Malformed { key })?;
        if number.to_string() == text {
            Ok(number)
        } else {
            Err(SlotError::Malformed { key })
        }
    };
    let extent = Extent {
        start: number(start)?,
        sectors: number(sectors)?,
    };
    if extent.sectors == 0 {
        return Err(SlotError::Malformed { key: sectors });
    }
    Ok(extent)
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|nibble| HEX[usize::from(nibble)] as char)
        .collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let nibble = |byte| {
        HEX.iter()
            .position(|digit| *digit == byte)
            .and_then(|at| u8::try_from(at).ok())
    };
    let nibbles: Vec<u8> = text.bytes().map(nibble).collect::<Option<_>>()?;
    let bytes: Vec<u8> = nibbles
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect();
    if nibbles.len().is_multiple_of(2) {
        bytes.try_into().ok()
    } else {
        None
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Keys of the environment block. `grub.cfg` reads the first four.
mod key {
    pub(super) const KERNEL_START: &str = "kernel_start";
    pub(super) const KERNEL_SECTORS: &str = "kernel_sectors";
    pub(super) const INITRD_START: &str = "initrd_start";
    pub(super) const INITRD_SECTORS: &str = "initrd_sectors";
    pub(super) const VERSION: &str = "version";
    pub(super) const CONTENT_SHA256: &str = "content_sha256";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_reads_back_as_written() {
        let header = header();
        let emitted = header.emit().unwrap();
        assert_eq!(SlotHeader::parse(&emitted, 65_536), Ok(header));
    }

    #[test]
    fn the_first_lines_are_what_the_loader_reads() {
        let emitted = header().emit().unwrap();
        let golden = "# GRUB Environment Block\nkernel_start=8\nkernel_sectors=100\n\
                      initrd_start=108\ninitrd_sectors=7\nversion=0.1.0\ncontent_sha256=abab";
        assert!(emitted.starts_with(golden.as_bytes()));
        assert!(emitted[1024..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn an_initramfs_past_the_slots_end_is_refused() {
        let emitted = header().emit().unwrap();
        assert!(SlotHeader::parse(&emitted, 115).is_ok());
        assert!(matches!(
            SlotHeader::parse(&emitted, 114),
            Err(SlotError::Extents { .. })
        ));
    }

    #[test]
    fn extents_that_overflow_are_refused_without_a_panic() {
        let mut header = header();
        header.initrd.sectors = u64::MAX;
        let emitted = header.emit().unwrap();
        assert!(matches!(
            SlotHeader::parse(&emitted, u64::MAX),
            Err(SlotError::Extents { .. })
        ));
    }

    #[test]
    fn an_empty_slot_has_no_header() {
        let empty = SlotHeader::parse(&[0; HEADER_BYTES], 65_536);
        assert_eq!(empty, Err(SlotError::Block(GrubEnvError::Signature)));
    }

    proptest! {
        #[test]
        fn a_damaged_header_never_makes_the_reader_panic(at in 0usize..300, value in any::<u8>()) {
            let mut data = header().emit().unwrap().to_vec();
            data[at] = value;
            fuzz_slot(&data);
        }
    }

    fn header() -> SlotHeader {
        SlotHeader {
            kernel: Extent {
                start: 8,
                sectors: 100,
            },
            initrd: Extent {
                start: 108,
                sectors: 7,
            },
            version: "0.1.0".into(),
            content_sha256: [0xab; 32],
        }
    }
}
