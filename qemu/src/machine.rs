//! A virtual machine as a value, and the QEMU command line it means.
//!
//! Pure: the same [`Machine`] yields the same arguments in the same order, whatever the host. What
//! depends on the host (where QEMU and OVMF are, whether KVM works) is found by [`crate::host`] and
//! [`crate::accel`] and put into the value by the caller.
//!
//! The options are those of qemu-system-x86_64(1), version 7.2 or later (`-netdev stream`).

use std::path::PathBuf;

use crate::mac::Mac;

mod argv;
#[cfg(test)]
mod tests;

/// Everything that QEMU is told about a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Who executes the guest's instructions.
    pub accelerator: Accelerator,
    /// The emulated main board.
    pub board: Board,
    /// What the machine tells its guest that it is.
    pub guise: Guise,
    /// Number of virtual processors.
    pub cpus: u8,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// What runs before the boot loader.
    pub firmware: Firmware,
    /// A kernel that QEMU loads by itself; the disk is then not booted from.
    pub kernel: Option<DirectKernel>,
    /// The disk, if any.
    pub disk: Option<Disk>,
    /// Whether the disk refuses writes, as one does whose file or datastore is read only.
    pub read_only_disk: bool,
    /// A disc image in a CD drive; no drive without.
    pub cd: Option<PathBuf>,
    /// A file, made beforehand, that receives each write and flush of a raw disk, in the format of
    /// Linux' dm-log-writes.
    pub write_log: Option<PathBuf>,
    /// The network card, if any.
    pub nic: Option<Nic>,
    /// Where the first serial port (ttyS0) goes.
    pub serial: Serial,
    /// A unix socket that someone listens on: the second serial port (ttyS1), where there is one.
    pub second_serial: Option<PathBuf>,
    /// A unix socket that someone listens on; QEMU connects to it and speaks QMP.
    pub qmp: Option<PathBuf>,
    /// Items the guest can read from the firmware configuration device.
    pub fw_cfg: Vec<FwCfg>,
    /// What the real-time clock shows at power-on.
    pub rtc: Rtc,
    /// The VM generation id, a UUID in its text form, if the machine has such a device. Who copies a
    /// machine or takes it back to a snapshot gives it another; every other start keeps it.
    pub vm_generation: Option<String>,
    /// A snapshot of the machine on its disk, by the name that it was saved under: goes on from there.
    pub snapshot: Option<String>,
    /// The control socket of swtpm, which listens on it: a TPM 2.0 of its own, if any.
    pub tpm: Option<PathBuf>,
    /// Whether there is a hardware watchdog (i6300esb) that resets the machine.
    pub watchdog: bool,
    /// The SMBIOS UUID, in its text form. QEMU's default is all zeros.
    pub uuid: Option<String>,
    /// Whether a reset by the guest restarts it. When false, QEMU exits at the first reset.
    pub restart_on_reset: bool,
    /// What watches the guest's instructions, if anything. Needs [`Accelerator::Tcg`].
    pub plugin: Option<Plugin>,
    /// Whether the guest's clock counts instructions, one a nanosecond, as long as there are any, so that
    /// what the guest does hardly depends on the host's speed. Needs [`Accelerator::Tcg`].
    pub clock_counts_instructions: bool,
}

/// A plugin of QEMU's translator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// The shared object.
    pub path: PathBuf,
    /// The name of its only argument.
    pub argument: String,
    /// The argument's value, a file.
    pub value: PathBuf,
}

/// Who executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor, through `/dev/kvm`.
    Kvm,
    /// QEMU's translator. Works everywhere, about ten times slower.
    Tcg,
}

/// The emulated main board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Board {
    /// Intel 440FX, PCI and IDE: what QEMU boots by default.
    Pc,
    /// Intel Q35, PCI Express and AHCI.
    Q35,
}

/// What a machine tells its guest that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guise {
    /// What it is: QEMU.
    Qemu,
    /// A virtual machine of VMware: its name in SMBIOS, its backdoor port, its display card, and no
    /// sign of another hypervisor. Linux then says "Hypervisor detected: VMware".
    Vmware,
}

/// What runs before the boot loader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firmware {
    /// QEMU's own BIOS.
    SeaBios,
    /// UEFI: the code is read only, the variables are written by the guest.
    Ovmf {
        /// `OVMF_CODE*.fd`, shared.
        code: PathBuf,
        /// A private copy of `OVMF_VARS*.fd`.
        vars: PathBuf,
    },
}

/// A kernel that QEMU loads by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectKernel {
    /// A bzImage.
    pub image: PathBuf,
    /// The initramfs, when the kernel does not embed one.
    pub initrd: Option<PathBuf>,
    /// The kernel command line.
    pub command_line: String,
}

/// The disk and the controller it hangs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The image file.
    pub path: PathBuf,
    /// How the file is to be read. Never guessed: guessing lets a guest change it.
    pub format: DiskFormat,
    /// The emulated controller.
    pub bus: DiskBus,
    /// When true the file stays untouched: writes go to a temporary file that ends with QEMU.
    pub discard_writes: bool,
}

/// Formats of image files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskFormat {
    /// QEMU's own.
    Qcow2,
    /// Sector after sector.
    Raw,
    /// VMware's.
    Vmdk,
}

/// Emulated disk controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskBus {
    /// SATA.
    Ahci,
    /// NVM Express.
    Nvme,
    /// VMware's paravirtual SCSI.
    Pvscsi,
    /// virtio-blk.
    Virtio,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nic {
    /// Its hardware address.
    pub mac: Mac,
    /// What it pretends to be.
    pub model: NicModel,
    /// Where its cable goes.
    pub cable: Cable,
}

/// Emulated network cards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NicModel {
    /// Intel's 82574L.
    E1000e,
    /// virtio-net.
    Virtio,
    /// VMware's paravirtual card.
    Vmxnet3,
}

/// Where a network card's cable goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cable {
    /// Nowhere: the card is there and nothing answers.
    Unplugged,
    /// A unix socket that someone listens on; each frame is preceded by its length, 4 bytes
    /// big-endian.
    Stream(PathBuf),
    /// A tap interface that exists, in the network namespace that QEMU runs in. Frames pass whole:
    /// checksums are computed, nothing is left to the other side.
    Tap {
        /// The interface's name.
        interface: String,
        /// A file that receives each frame in the classic pcap format.
        capture: Option<PathBuf>,
    },
    /// QEMU's user-mode network: DHCP, DNS and NAT to the host's network, without privileges.
    User,
}

/// Where the first serial port goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serial {
    /// Nowhere.
    None,
    /// A unix socket that someone listens on.
    Socket(PathBuf),
    /// QEMU's standard input and output.
    Stdio,
}

/// An item of the firmware configuration device (`/sys/firmware/qemu_fw_cfg/by_name/`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FwCfg {
    /// For items that are not QEMU's own: `opt/` and a name.
    pub name: String,
    /// The content.
    pub value: String,
}

/// What the real-time clock shows at power-on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rtc {
    /// The host's time in UTC.
    Utc,
    /// A UTC time, `YYYY-MM-DDThh:mm:ss`.
    At(String),
}

impl Machine {
    /// A machine with nothing attached: 128 MiB, one processor, BIOS.
    pub fn new(accelerator: Accelerator) -> Self {
        Self {
            accelerator,
            board: Board::Pc,
            guise: Guise::Qemu,
            cpus: 1,
            memory_mib: 128,
            firmware: Firmware::SeaBios,
            kernel: None,
            disk: None,
            read_only_disk: false,
            cd: None,
            write_log: None,
            nic: None,
            serial: Serial::None,
            second_serial: None,
            qmp: None,
            fw_cfg: Vec::new(),
            rtc: Rtc::Utc,
            vm_generation: None,
            snapshot: None,
            tpm: None,
            watchdog: false,
            uuid: None,
            restart_on_reset: true,
            plugin: None,
            clock_counts_instructions: false,
        }
    }
}
