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

/// Keys of the boot-state block. Those up to [`boot_key::GROUP`] fit into its first sector, whatever
/// their values; how much of the settings behind them does is for the mint to see: see
/// [`BOOT_STATE_BYTES_MAX`].
pub mod boot_key {
    /// The slot to boot: `a` or `b`.
    pub const GOOD: &str = "good";
    /// The slot to try first: `a`, `b` or nothing.
    pub const TRIAL: &str = "trial";
    /// How often it is still tried: `0` to `3`.
    pub const LEFT: &str = "left";
    /// Seconds of a trial boot until it must have been promoted: 10 to 3600.
    pub const DEADLINE_S: &str = "deadline_s";
    /// The connector's name, of a minted image.
    pub const NAME: &str = "name";
    /// The MAC address its NIC is to have, of a minted image.
    pub const MAC: &str = "mac";
    /// The service edge, `host` or `host:port`, of a minted image.
    pub const EDGE: &str = "edge";
    /// The connector group, for people only, of a minted image.
    pub const GROUP: &str = "group";
    /// The settings of a minted image. They are called as the properties of the OVF descriptor are
    /// behind `outgate.`, and their values are written alike.
    pub const SETTINGS: &[&str] = &[
        "hostname",
        "address",
        "gateway",
        "resolvers",
        "ntp",
        "ipv6",
        "gateway6",
        "vlan",
        "proxy",
        "engine",
    ];
}

/// The most bytes of the boot-state block in use, the rest being padding. A disk writes a sector
/// whole or not at all, so that a block whose text is within one sector is never half old and half
/// new, whenever the power fails.
pub const BOOT_STATE_BYTES_MAX: usize = 512;

/// Where the boot loader tells PID 1 which slot it loaded, relative to the root: a [`SlotName`].
pub const RUNNING_SLOT_PATH: &str = "etc/outgate/slot";

/// One of the two system slots. Prints as its letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotName {
    /// The slot of a fresh image.
    A,
    /// The slot that takes the first update.
    B,
}

impl SlotName {
    /// The slot of a letter.
    #[must_use]
    pub fn of(letter: &str) -> Option<Self> {
        match letter {
            "a" => Some(Self::A),
            "b" => Some(Self::B),
            _ => None,
        }
    }

    /// Its letter.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The other slot.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The name of its partition.
    #[must_use]
    pub const fn partition(self) -> &'static str {
        match self {
            Self::A => partition::SLOT_A,
            Self::B => partition::SLOT_B,
        }
    }
}

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letter())
    }
}

/// The shortest disk that holds the image: its layout's length, which the builder checks. The kernel
/// refuses the partition table of a shorter one.
pub const DISK_BYTES_MIN: u64 = 77 << 20;

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
mod tests;
