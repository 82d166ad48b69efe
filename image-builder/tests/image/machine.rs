//! A machine whose "kernel" says which slot it came from and stops: a boot takes about a second.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use disk_format::SECTOR_BYTES;
use disk_format::grubenv::{BLOCK_BYTES, GrubEnv};
use disk_format::slot::{BOOT_STATE_BLOCK_OFFSET_BYTES, partition};
use image_builder::layout::{Layout, layout};
use image_builder::recipe::PARTITIONS;
use image_builder::{assemble, boot, slot};

use crate::support::TempDir;

/// A disk, and the machine it is put into.
pub struct Machine {
    directory: TempDir,
    layout: Layout,
    arguments: Vec<String>,
}

/// How a boot ended.
pub struct Outcome {
    /// What came out of the serial port.
    pub serial: String,
    /// How QEMU ended.
    pub status: ExitStatus,
}

impl Outcome {
    /// True when a kernel ran to its end, whether or not there was a serial port.
    pub fn kernel_ran(&self) -> bool {
        self.status.code() == Some(KERNEL_RAN)
    }
}

impl Machine {
    /// A BIOS machine with a fresh image and, in both slots, kernels that say their slot's letter.
    pub fn new(name: &str) -> Self {
        let directory = TempDir::new(name);
        let layout = layout(PARTITIONS).unwrap();
        let core_lba = layout.table.find(partition::BIOS).unwrap().first_lba;
        let grub = boot::grub(core_lba, directory.path()).unwrap();
        let disk = assemble::disk(&layout, PARTITIONS, &grub, &[]).unwrap();
        let machine = Self {
            directory,
            layout,
            arguments: Vec::new(),
        };
        std::fs::write(machine.disk_path(), disk).unwrap();
        machine.write_slot(partition::SLOT_A, "slot a boots", b"initramfs");
        machine.write_slot(partition::SLOT_B, "slot b boots", b"initramfs");
        machine
    }

    /// Writes a system whose kernel says `message`.
    pub fn write_slot(&self, partition: &str, message: &str, initramfs: &[u8]) {
        let slot = slot::slot("0.1.0", &kernel(message), initramfs).unwrap();
        self.write(partition, 0, &slot);
    }

    /// Adds arguments for QEMU.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Overwrites part of a partition.
    pub fn write(&self, partition: &str, offset: u64, bytes: &[u8]) {
        self.write_disk(self.offset(partition, offset), bytes);
    }

    /// Overwrites the disk from the byte `start` on.
    pub fn write_disk(&self, start: usize, bytes: &[u8]) {
        let mut disk = std::fs::read(self.disk_path()).unwrap();
        disk[start..start + bytes.len()].copy_from_slice(bytes);
        std::fs::write(self.disk_path(), disk).unwrap();
    }

    /// Sets variables of the boot state.
    pub fn set_boot_state(&self, variables: &[(&str, &str)]) {
        let mut env = self.boot_state();
        variables
            .iter()
            .for_each(|(key, value)| env.set(key, value).unwrap());
        self.write(
            partition::BOOT_STATE,
            BOOT_STATE_BLOCK_OFFSET_BYTES,
            &env.emit(),
        );
    }

    /// The boot state on disk.
    pub fn boot_state(&self) -> GrubEnv {
        let disk = std::fs::read(self.disk_path()).unwrap();
        let start = self.offset(partition::BOOT_STATE, BOOT_STATE_BLOCK_OFFSET_BYTES);
        GrubEnv::parse(&disk[start..start + BLOCK_BYTES]).unwrap()
    }

    /// Boots once, until the kernel stops or the machine would restart.
    pub fn boot(&self) -> Outcome {
        self.boot_pressing(&[])
    }

    /// As [`Self::boot`], pressing `keys` (QEMU's names) over and over meanwhile.
    pub fn boot_pressing(&self, keys: &[&str]) -> Outcome {
        let serial = self.directory.path().join("serial");
        let monitor = self.directory.path().join("monitor");
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg", "-cpu", "max", "-m", "128", "-no-reboot"]);
        command.args([
            "-display",
            "none",
            "-device",
            "isa-debug-exit,iobase=0x501,iosize=1",
        ]);
        command.args([
            "-net",
            "none",
            "-serial",
            &format!("file:{}", serial.display()),
        ]);
        command.args([
            "-monitor",
            &format!("unix:{},server,nowait", monitor.display()),
        ]);
        let disk = self.disk_path();
        command.args([
            "-drive",
            &format!("if=virtio,format=raw,file={}", disk.display()),
        ]);
        let child = command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let status = wait(child, || press(&monitor, keys));
        let serial = std::fs::read(serial).unwrap_or_default();
        Outcome {
            serial: String::from_utf8_lossy(&serial).into_owned(),
            status,
        }
    }

    fn disk_path(&self) -> PathBuf {
        self.directory.path().join("disk.raw")
    }

    fn offset(&self, partition: &str, offset: u64) -> usize {
        let first_lba = self.layout.table.find(partition).unwrap().first_lba;
        usize::try_from(first_lba * SECTOR_BYTES + offset).unwrap()
    }
}

/// Waits for QEMU, calling `meanwhile` at each look; kills it after [`BOOT_MAX`].
fn wait(mut child: Child, mut meanwhile: impl FnMut()) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > BOOT_MAX {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the machine neither booted nor gave up within {BOOT_MAX:?}");
        }
        meanwhile();
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Sends key presses; a monitor that is not there yet or no longer is no failure.
fn press(monitor: &std::path::Path, keys: &[&str]) {
    if keys.is_empty() {
        return;
    }
    if let Ok(mut stream) = UnixStream::connect(monitor) {
        for key in keys {
            let _ = writeln!(stream, "sendkey {key} 1");
        }
    }
}

/// The least that GRUB loads as a Linux kernel (boot protocol 2.03), which writes `message` to
/// the first serial port and ends QEMU through its debug port.
pub fn kernel(message: &str) -> Vec<u8> {
    let mut kernel = vec![0; 1024];
    kernel[0x1f1] = 1; // setup sectors behind the first
    kernel[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    kernel[0x200..0x202].copy_from_slice(&[0xeb, 0x66]); // jump, whose length ends the header
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x206..0x208].copy_from_slice(&0x0203u16.to_le_bytes());
    kernel[0x211] = 1; // loaded high
    kernel[0x214..0x218].copy_from_slice(&0x0010_0000u32.to_le_bytes()); // entry
    kernel[0x22c..0x230].copy_from_slice(&0x37ff_ffffu32.to_le_bytes()); // initramfs below
    kernel.extend_from_slice(&[
        0x66, 0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xe8, 0x00, 0x00, 0x00, 0x00, // call the next instruction
        0x5e, // pop esi: its own address
        0x83, 0xc6, 0x14, // add esi, 20: the message
        0xac, // lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x03, // jz behind the loop
        0xee, // out dx, al
        0xeb, 0xf8, // jmp lodsb
        0xb0, 0x10, // mov al, 16
        0x66, 0xba, 0x01, 0x05, // mov dx, 0x501
        0xee, // out dx, al: QEMU ends with status 2 * 16 + 1
        0xf4, // hlt
    ]);
    kernel.extend_from_slice(message.as_bytes());
    kernel.push(0);
    kernel
}

/// QEMU's exit status when the kernel above wrote 16 to the debug port.
const KERNEL_RAN: i32 = 33;
/// The longest boot: GRUB waits 10 s when nothing can be loaded, and the machine may be busy.
const BOOT_MAX: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(50);
