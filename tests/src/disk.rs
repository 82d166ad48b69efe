//! An appliance's disk, edited from outside between two boots, as damage and updates edit it.
//!
//! The disk is a raw file: a write log replays over it, and a power cut is a copy of it. [`Setup`] is a
//! machine on such a disk; what restarts it, restarts it through firmware and boot loader.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use disk_format::SECTOR_BYTES;
use disk_format::gpt::{Gpt, Partition};
use disk_format::grubenv::{BLOCK_BYTES, GrubEnv};
use disk_format::qcow2;
use disk_format::slot::{BOOT_STATE_BLOCK_OFFSET_BYTES, SlotHeader, SlotName, partition};
use qemu::accel;
use qemu::host;
use qemu::mac::Mac;
use qemu::machine::{Cable, Disk, DiskBus, DiskFormat, FwCfg, Machine, Nic, NicModel};
use qemu::process::Vm;

use crate::appliance::BootOptions;
use crate::lab::{self, LabError};
use crate::network::address::EDGE_NAME;

/// Largest virtual disk that is read.
const DISK_BYTES_MAX: u64 = 1 << 30;
/// Holes are kept in units of this many bytes.
const PIECE_BYTES: usize = 64 << 10;

/// The firmware that starts the boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirmwareKind {
    /// SeaBIOS.
    Bios,
    /// OVMF.
    Uefi,
}

/// A machine on a [`TestDisk`].
#[derive(Debug)]
pub struct Setup<'disk> {
    /// Its disk.
    pub disk: &'disk TestDisk,
    /// Its firmware.
    pub firmware: FirmwareKind,
    /// The network's socket; without one the cable goes nowhere.
    pub network: Option<PathBuf>,
    /// Whether there is a hardware watchdog.
    pub watchdog: bool,
    /// Whether the disk refuses writes.
    pub read_only: bool,
    /// Where writes and flushes are recorded.
    pub write_log: Option<PathBuf>,
    /// Whether there is a second serial port, for the test agent.
    pub agent_port: bool,
}

impl<'disk> Setup<'disk> {
    /// A machine with BIOS and a watchdog, and without a network.
    pub const fn new(disk: &'disk TestDisk) -> Self {
        Self {
            disk,
            firmware: FirmwareKind::Bios,
            network: None,
            watchdog: true,
            read_only: false,
            write_log: None,
            agent_port: false,
        }
    }

    /// Switches it on.
    ///
    /// # Errors
    /// [`LabError`], naming what is missing.
    pub fn switch_on(&self) -> Result<Vm, LabError> {
        let qemu = host::find_qemu().map_err(LabError::Host)?;
        let choice = accel::choose(&qemu).map_err(LabError::Accelerator)?;
        let mut machine = Machine::new(choice.accelerator);
        let alike = BootOptions::default();
        (machine.uuid, machine.vm_generation) = (Some(alike.uuid), Some(alike.generation));
        if self.firmware == FirmwareKind::Uefi {
            let ovmf = host::find_ovmf().map_err(LabError::Host)?;
            let vars = self.disk.path().with_extension("vars.fd");
            machine.firmware = ovmf.with_vars(vars).map_err(LabError::Io)?;
            // What README asks for with UEFI.
            machine.memory_mib = 256;
        }
        if let Some(log) = &self.write_log {
            File::create(log).map_err(LabError::Io)?;
        }
        machine.write_log.clone_from(&self.write_log);
        machine.read_only_disk = self.read_only;
        machine.watchdog = self.watchdog;
        machine.second_serial = self.agent_port.then(PathBuf::new);
        machine.disk = Some(Disk {
            path: self.disk.path().to_owned(),
            format: DiskFormat::Raw,
            bus: DiskBus::Virtio,
            discard_writes: false,
        });
        let plugged = self.network.clone().map(Cable::Stream);
        machine.nic = Some(Nic {
            mac: Mac::in_static_range(1),
            model: NicModel::Virtio,
            cable: plugged.unwrap_or(Cable::Unplugged),
        });
        machine.fw_cfg = vec![FwCfg {
            name: "opt/outgate/edge".to_owned(),
            value: EDGE_NAME.to_owned(),
        }];
        Vm::start(machine).map_err(LabError::Vm)
    }
}

/// A disk in a raw file. Its partition table was read when it was made, so that it can be edited
/// after the table on it is destroyed.
#[derive(Debug)]
pub struct TestDisk {
    path: PathBuf,
    table: Gpt,
    bytes: u64,
}

impl TestDisk {
    /// The disk of the image that the lab boots, in a new file.
    ///
    /// # Errors
    /// See [`Self::from_image`].
    pub fn fresh(path: PathBuf) -> Result<Self, LabError> {
        Self::from_image(&lab::find_image()?, path)
    }

    /// The disk of an image, in a new file.
    ///
    /// # Errors
    /// When the image is not one of ours, or a file fails.
    pub fn from_image(image: &Path, path: PathBuf) -> Result<Self, LabError> {
        let bytes = fs::read(image).map_err(LabError::Io)?;
        let disk = qcow2::parse(&bytes, DISK_BYTES_MAX).map_err(invalid)?;
        Self::from_bytes(&disk, path)
    }

    /// A disk with this content, in a new file.
    ///
    /// # Errors
    /// When it has no partition table of ours, or a file fails.
    pub fn from_bytes(disk: &[u8], path: PathBuf) -> Result<Self, LabError> {
        let table = Gpt::parse_primary(disk).map_err(invalid)?;
        let file = File::create(&path).map_err(LabError::Io)?;
        let bytes = disk.len() as u64;
        file.set_len(bytes).map_err(LabError::Io)?;
        for (piece, at) in disk.chunks(PIECE_BYTES).zip((0..).step_by(PIECE_BYTES)) {
            if piece.iter().any(|byte| *byte != 0) {
                file.write_all_at(piece, at).map_err(LabError::Io)?;
            }
        }
        Ok(Self { path, table, bytes })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the disk as it was made.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Everything on it.
    ///
    /// # Panics
    /// When the file fails; so do all methods below: the story cannot go on.
    pub fn content(&self) -> Vec<u8> {
        done(fs::read(&self.path), "reading the disk")
    }

    /// `length` bytes from `offset` on.
    ///
    /// # Panics
    /// See [`Self::content`].
    pub fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let file = done(File::open(&self.path), "opening the disk");
        done(file.read_exact_at(&mut bytes, offset), "reading the disk");
        bytes
    }

    /// Overwrites the disk from `offset` on.
    ///
    /// # Panics
    /// See [`Self::content`].
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).open(&self.path);
        let file = done(file, "opening the disk");
        done(file.write_all_at(bytes, offset), "writing the disk");
    }

    /// Makes the disk longer or shorter.
    ///
    /// # Panics
    /// See [`Self::content`].
    pub fn set_bytes(&self, bytes: u64) {
        let file = OpenOptions::new().write(true).open(&self.path);
        done(
            file.and_then(|file| file.set_len(bytes)),
            "resizing the disk",
        );
    }

    /// Inverts one bit; bit 0 is the lowest of byte 0.
    ///
    /// # Panics
    /// See [`Self::content`].
    pub fn flip_bit(&self, bit: u64) {
        let mut byte = self.read(bit / 8, 1);
        byte[0] ^= 1 << (bit % 8);
        self.write(bit / 8, &byte);
    }

    /// The bytes of a partition.
    ///
    /// # Panics
    /// When there is none of this name: no image of ours lacks one.
    pub fn partition(&self, name: &str) -> Range<u64> {
        range(find(&self.table, name))
    }

    /// What GRUB and PID 1 know about the slots.
    ///
    /// # Panics
    /// When the block is damaged.
    pub fn boot_state(&self) -> GrubEnv {
        let block = self.read(self.boot_state_block(), BLOCK_BYTES);
        done(GrubEnv::parse(&block), "reading the boot state")
    }

    /// Sets keys of the boot state; a key that is there keeps its place.
    ///
    /// # Panics
    /// See [`Self::boot_state`].
    pub fn set_boot_state(&self, changes: &[(&str, &str)]) {
        let mut env = self.boot_state();
        for (key, value) in changes {
            done(env.set(key, value), "changing the boot state");
        }
        self.write(self.boot_state_block(), &env.emit());
    }

    /// Makes slot `slot` a trial for `left` boots, each of `deadline_s` seconds at most.
    ///
    /// # Panics
    /// See [`Self::boot_state`].
    pub fn arm(&self, slot: SlotName, left: u8, deadline_s: u32) {
        self.set_boot_state(&[
            ("trial", slot.letter()),
            ("left", &left.to_string()),
            ("deadline_s", &deadline_s.to_string()),
        ]);
    }

    /// `good`, `trial` and `left`, in this order.
    ///
    /// # Panics
    /// See [`Self::boot_state`].
    pub fn good_trial_left(&self) -> [String; 3] {
        let env = self.boot_state();
        ["good", "trial", "left"].map(|key| env.get(key).unwrap_or_default().to_owned())
    }

    /// The used bytes of a slot, header included.
    ///
    /// # Panics
    /// When it has no valid header.
    pub fn slot(&self, slot: SlotName) -> Vec<u8> {
        let at = self.partition(slot.partition());
        let sectors = (at.end - at.start) / SECTOR_BYTES;
        let header = SlotHeader::parse(&self.read(at.start, BLOCK_BYTES), sectors);
        let used = done(header, "reading a slot").used_bytes();
        self.read(at.start, length(used))
    }

    /// Replaces the content of a slot; what it does not fill becomes zeros.
    ///
    /// # Panics
    /// When it does not fit.
    pub fn write_slot(&self, slot: SlotName, content: &[u8]) {
        let at = self.partition(slot.partition());
        let mut bytes = vec![0; length(at.end - at.start)];
        bytes[..content.len()].copy_from_slice(content);
        self.write(at.start, &bytes);
    }

    /// Installs slot a's system in slot b as well, which a fresh image leaves empty.
    ///
    /// # Panics
    /// See [`Self::slot`].
    pub fn fill_slot_b(&self) {
        self.write_slot(SlotName::B, &self.slot(SlotName::A));
    }

    /// Where the boot state's block begins on the disk.
    pub fn boot_state_block(&self) -> u64 {
        self.partition(partition::BOOT_STATE).start + BOOT_STATE_BLOCK_OFFSET_BYTES
    }
}

/// The partition named so.
///
/// # Panics
/// See [`TestDisk::partition`].
pub(crate) fn find<'table>(table: &'table Gpt, name: &str) -> &'table Partition {
    match table.find(name) {
        Some(partition) => partition,
        None => panic!("the disk has no partition {name}"),
    }
}

/// The bytes of a partition.
pub(crate) const fn range(partition: &Partition) -> Range<u64> {
    partition.first_lba * SECTOR_BYTES..(partition.last_lba + 1) * SECTOR_BYTES
}

/// A length in memory.
fn length(bytes: u64) -> usize {
    done(usize::try_from(bytes), "addressing the disk")
}

fn done<T, E: fmt::Display>(result: Result<T, E>, doing: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{doing}: {error}"),
    }
}

fn invalid(error: impl fmt::Display) -> LabError {
    LabError::Io(io::Error::new(
        io::ErrorKind::InvalidData,
        error.to_string(),
    ))
}
