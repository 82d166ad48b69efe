//! Systems for a slot that fail on purpose, each made of the image's own kernel.

use std::fs;
use std::io;

use disk_format::SECTOR_BYTES;
use disk_format::cpio::{self, Entry, Node};
use disk_format::slot::{Extent, HEADER_BYTES, SlotHeader};
use sha2::{Digest as _, Sha256};

use crate::agent;
use crate::lab::LabError;

/// What a system does instead of working.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// PID 1 ends at once: the kernel panics.
    Ends,
    /// PID 1 stands still and the machine has no watchdog, or nobody armed it.
    Hangs,
    /// PID 1 arms the watchdog, and then stands still.
    HangsWithWatchdog,
    /// There is no PID 1.
    HasNoInit,
    /// The initramfs ends in its middle: the rest of its sectors are zeros.
    IsTruncated,
    /// Nothing was ever written.
    IsZeros,
    /// PID 1 restarts the machine at once.
    Restarts,
}

impl Fault {
    /// All of them, in pairs that take about the same time.
    pub const ALL: [Self; 7] = [
        Self::HangsWithWatchdog,
        Self::Restarts,
        Self::Ends,
        Self::HasNoInit,
        Self::IsTruncated,
        Self::Hangs,
        Self::IsZeros,
    ];

    /// What the test agent does as PID 1, unless the fault is of another kind.
    const fn mode(self) -> Option<&'static str> {
        match self {
            Self::Ends => Some("end"),
            Self::Hangs => Some("hang"),
            Self::HangsWithWatchdog => Some("hang with watchdog"),
            Self::Restarts => Some("restart"),
            Self::HasNoInit | Self::IsTruncated | Self::IsZeros => None,
        }
    }
}

/// What a system says on the console as it begins to fail, `Hangs` for one.
pub const FAILING: &str = "agent as PID 1: ";

/// The content of a slot that fails so, made from that of one that works.
///
/// # Errors
/// When `good` is no slot of ours, or the agent was not built.
pub fn failing(good: &[u8], fault: Fault) -> Result<Vec<u8>, LabError> {
    let parts = Parts::of(good)?;
    let archive = match (fault, fault.mode()) {
        (Fault::IsZeros, _) => return Ok(vec![0; good.len()]),
        (Fault::IsTruncated, _) => {
            let mut slot = good.to_vec();
            let half = bytes(parts.initrd.start + parts.initrd.sectors / 2)?;
            slot[half..].fill(0);
            return Ok(slot);
        }
        (_, Some(mode)) => agent_alone(mode)?,
        (_, None) => archive(vec![directory("etc")])?,
    };
    parts.with_initramfs(&archive)
}

/// The content of a slot that works, with the test agent beside PID 1 (see [`crate::agent`]) and in
/// the console's place, where it installs and arms slots on request.
///
/// # Errors
/// When `good` is no slot of ours, or the agent was not built.
pub fn updating(good: &[u8]) -> Result<Vec<u8>, LabError> {
    let parts = Parts::of(good)?;
    let agent = fs::read(agent::find_executable()?).map_err(LabError::Io)?;
    let whole = agent::with_agent(&agent::decompressed(parts.initramfs)?, agent)
        .ok_or_else(|| invalid("the initramfs has no /init"))?;
    let (mut entries, mtime) = cpio::parse(&whole).map_err(|error| invalid(&error.to_string()))?;
    let console = entries.iter_mut().find(|entry| entry.path == "bin/console");
    let console = console.ok_or_else(|| invalid("the initramfs has no /bin/console"))?;
    console.node = Node::Symlink("/init".to_owned());
    let changed = cpio::emit(&entries, mtime).map_err(|error| invalid(&error.to_string()))?;
    // The boot loader reads slowly.
    let small = zstd::bulk::compress(&changed, 1).map_err(LabError::Io)?;
    parts.with_initramfs(&small)
}

/// A slot, taken apart.
struct Parts<'slot> {
    version: String,
    kernel: &'slot [u8],
    kernel_extent: Extent,
    initramfs: &'slot [u8],
    initrd: Extent,
}

impl<'slot> Parts<'slot> {
    fn of(slot: &'slot [u8]) -> Result<Self, LabError> {
        let header = SlotHeader::parse(slot, slot.len() as u64 / SECTOR_BYTES)
            .map_err(|error| invalid(&error.to_string()))?;
        let part = |extent: Extent| Ok::<_, LabError>(bytes(extent.start)?..bytes(extent.end())?);
        Ok(Self {
            version: header.version,
            kernel_extent: header.kernel,
            kernel: &slot[part(header.kernel)?],
            initramfs: &slot[part(header.initrd)?],
            initrd: header.initrd,
        })
    }

    /// The same kernel with another initramfs, as the image builder puts them together.
    fn with_initramfs(&self, archive: &[u8]) -> Result<Vec<u8>, LabError> {
        let mut slot = vec![0; HEADER_BYTES];
        slot.extend_from_slice(self.kernel);
        slot.extend_from_slice(archive);
        slot.resize(slot.len().next_multiple_of(bytes(1)?), 0);
        let initrd_start = self.kernel_extent.end();
        let header = SlotHeader {
            kernel: self.kernel_extent,
            initrd: Extent {
                start: initrd_start,
                sectors: slot.len() as u64 / SECTOR_BYTES - initrd_start,
            },
            version: self.version.clone(),
            content_sha256: Sha256::digest(&slot[HEADER_BYTES..]).into(),
        };
        let emitted = header.emit().map_err(|error| invalid(&error.to_string()))?;
        slot[..HEADER_BYTES].copy_from_slice(&emitted);
        Ok(slot)
    }
}

/// An initramfs with nothing but the agent and what it needs for its one deed.
fn agent_alone(mode: &str) -> Result<Vec<u8>, LabError> {
    let agent = fs::read(agent::find_executable()?).map_err(LabError::Io)?;
    let device = |path, major, minor| entry(path, Node::CharDevice { major, minor });
    archive(vec![
        directory("dev"),
        device("dev/console", 5, 1),
        device("dev/null", 1, 3),
        device("dev/watchdog", 10, 130),
        directory("etc"),
        entry("etc/agent-mode", Node::File(mode.into())),
        entry("init", Node::File(agent)),
    ])
}

/// The kernel takes an archive that is not compressed as well.
fn archive(entries: Vec<Entry>) -> Result<Vec<u8>, LabError> {
    cpio::emit(&entries, 0).map_err(|error| invalid(&error.to_string()))
}

fn directory(path: &str) -> Entry {
    entry(path, Node::Directory)
}

fn entry(path: &str, node: Node) -> Entry {
    Entry {
        path: path.to_owned(),
        permissions: 0o755,
        node,
    }
}

fn bytes(sectors: u64) -> Result<usize, LabError> {
    usize::try_from(sectors * SECTOR_BYTES).map_err(|error| invalid(&error.to_string()))
}

fn invalid(what: &str) -> LabError {
    LabError::Io(io::Error::new(io::ErrorKind::InvalidData, what.to_owned()))
}
