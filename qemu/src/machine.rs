//! A virtual machine as a value, and the QEMU command line it means.
//!
//! Pure: the same [`Machine`] yields the same arguments in the same order, whatever the host. What
//! depends on the host (where QEMU and OVMF are, whether KVM works) is found by [`crate::host`] and
//! [`crate::accel`] and put into the value by the caller.
//!
//! The options are those of qemu-system-x86_64(1), version 7.2 or later (`-netdev stream`).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::mac::Mac;

/// Everything that QEMU is told about a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Who executes the guest's instructions.
    pub accelerator: Accelerator,
    /// The emulated main board.
    pub board: Board,
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
    /// Whether there is a VM generation id, random at each start.
    pub vm_generation_id: bool,
    /// Whether there is a hardware watchdog (i6300esb) that resets the machine.
    pub watchdog: bool,
    /// The SMBIOS UUID, in its text form. QEMU's default is all zeros.
    pub uuid: Option<String>,
    /// Whether a reset by the guest restarts it. When false, QEMU exits at the first reset.
    pub restart_on_reset: bool,
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
    /// A machine with nothing attached: 128 MiB, one processor, BIOS, a VM generation id.
    pub fn new(accelerator: Accelerator) -> Self {
        Self {
            accelerator,
            board: Board::Pc,
            cpus: 1,
            memory_mib: 128,
            firmware: Firmware::SeaBios,
            kernel: None,
            disk: None,
            nic: None,
            serial: Serial::None,
            second_serial: None,
            qmp: None,
            fw_cfg: Vec::new(),
            rtc: Rtc::Utc,
            vm_generation_id: true,
            watchdog: false,
            uuid: None,
            restart_on_reset: true,
        }
    }

    /// QEMU's arguments, without the program's name. Order and content depend on `self` only.
    pub fn argv(&self) -> Vec<OsString> {
        let mut argv = Argv::default();
        argv.flag("-nodefaults");
        argv.flag("-no-user-config");
        argv.pair("-display", "none");
        argv.pair("-vga", "std");
        argv.pair("-machine", self.machine_option());
        argv.pair("-cpu", "max");
        argv.pair("-smp", self.cpus.to_string());
        argv.pair("-m", self.memory_mib.to_string());
        if let Some(uuid) = &self.uuid {
            argv.pair("-uuid", uuid);
        }
        argv.pair("-rtc", self.rtc_option());
        if !self.restart_on_reset {
            argv.flag("-no-reboot");
        }
        self.push_firmware(&mut argv);
        self.push_kernel(&mut argv);
        self.push_disk(&mut argv);
        self.push_nic(&mut argv);
        self.push_serial(&mut argv);
        if let Some(path) = &self.qmp {
            argv.pair(
                "-chardev",
                join(&["socket,id=qmp,server=off,path=".as_ref(), &escaped(path)]),
            );
            argv.pair("-mon", "chardev=qmp,mode=control");
        }
        for item in &self.fw_cfg {
            let value = escaped(Path::new(&item.value));
            let name = format!("name={},string=", item.name);
            argv.pair("-fw_cfg", join(&[name.as_ref(), &value]));
        }
        if self.vm_generation_id {
            argv.pair("-device", "vmgenid,guid=auto");
        }
        if self.watchdog {
            argv.pair("-device", "i6300esb");
            argv.pair("-action", "watchdog=reset");
        }
        argv.0
    }

    fn machine_option(&self) -> String {
        let board = match self.board {
            Board::Pc => "pc",
            Board::Q35 => "q35",
        };
        let accelerator = match self.accelerator {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "tcg",
        };
        format!("{board},accel={accelerator}")
    }

    fn rtc_option(&self) -> String {
        match &self.rtc {
            Rtc::Utc => "base=utc".to_owned(),
            Rtc::At(time) => format!("base={time}"),
        }
    }

    fn push_firmware(&self, argv: &mut Argv) {
        let Firmware::Ovmf { code, vars } = &self.firmware else {
            return;
        };
        let code_prefix = "if=pflash,unit=0,format=raw,readonly=on,file=".as_ref();
        argv.pair("-drive", join(&[code_prefix, &escaped(code)]));
        let vars_prefix = "if=pflash,unit=1,format=raw,file=".as_ref();
        argv.pair("-drive", join(&[vars_prefix, &escaped(vars)]));
    }

    fn push_kernel(&self, argv: &mut Argv) {
        let Some(kernel) = &self.kernel else {
            return;
        };
        argv.pair("-kernel", &kernel.image);
        if let Some(initrd) = &kernel.initrd {
            argv.pair("-initrd", initrd);
        }
        argv.pair("-append", &kernel.command_line);
    }

    fn push_disk(&self, argv: &mut Argv) {
        let Some(disk) = &self.disk else {
            return;
        };
        let format = match disk.format {
            DiskFormat::Qcow2 => "qcow2",
            DiskFormat::Raw => "raw",
            DiskFormat::Vmdk => "vmdk",
        };
        let snapshot = if disk.discard_writes { "on" } else { "off" };
        let options = format!("if=none,id=disk0,format={format},snapshot={snapshot},file=");
        argv.pair("-drive", join(&[options.as_ref(), &escaped(&disk.path)]));
        let (controller, device) = match disk.bus {
            DiskBus::Ahci => (Some("ahci,id=ahci0"), "ide-hd,bus=ahci0.0"),
            DiskBus::Nvme => (None, "nvme,serial=outgate"),
            DiskBus::Pvscsi => (Some("pvscsi,id=scsi0"), "scsi-hd,bus=scsi0.0"),
            DiskBus::Virtio => (None, "virtio-blk-pci"),
        };
        if let Some(controller) = controller {
            argv.pair("-device", controller);
        }
        // A kernel that QEMU loads takes the first place in the boot order itself.
        let boot = if self.kernel.is_none() {
            ",bootindex=0"
        } else {
            ""
        };
        argv.pair("-device", format!("{device},drive=disk0{boot}"));
    }

    fn push_nic(&self, argv: &mut Argv) {
        let Some(nic) = &self.nic else {
            return;
        };
        let model = match nic.model {
            NicModel::Virtio => "virtio-net-pci",
            NicModel::Vmxnet3 => "vmxnet3",
        };
        let netdev = match &nic.cable {
            Cable::Unplugged => None,
            Cable::Stream(path) => {
                let options = "stream,id=net0,server=off,addr.type=unix,addr.path=".as_ref();
                Some(join(&[options, &escaped(path)]))
            }
            Cable::User => Some("user,id=net0".into()),
        };
        // An empty romfile leaves out the card's network boot, which would only slow the start.
        let mut device = format!("{model},id=nic0,mac={},romfile=", nic.mac);
        if let Some(netdev) = netdev {
            argv.pair("-netdev", netdev);
            device.push_str(",netdev=net0");
        }
        argv.pair("-device", device);
    }

    fn push_serial(&self, argv: &mut Argv) {
        let chardev = match &self.serial {
            Serial::None => return,
            Serial::Socket(path) => {
                let options = "socket,id=serial0,server=off,path=".as_ref();
                join(&[options, &escaped(path)])
            }
            Serial::Stdio => "stdio,id=serial0,signal=off".into(),
        };
        argv.pair("-chardev", chardev);
        argv.pair("-serial", "chardev:serial0");
        if let Some(path) = &self.second_serial {
            let options = "socket,id=serial1,server=off,path=".as_ref();
            argv.pair("-chardev", join(&[options, &escaped(path)]));
            argv.pair("-serial", "chardev:serial1");
        }
    }
}

/// The list under construction.
#[derive(Debug, Default)]
struct Argv(Vec<OsString>);

impl Argv {
    fn flag(&mut self, name: &str) {
        self.0.push(name.into());
    }

    fn pair(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.0.push(name.into());
        self.0.push(value.as_ref().to_owned());
    }
}

/// `path` as the value of a QEMU option, where a comma ends the value unless it is doubled.
fn escaped(path: &Path) -> OsString {
    let mut bytes = Vec::with_capacity(path.as_os_str().len());
    for &byte in path.as_os_str().as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    OsString::from_vec(bytes)
}

fn join(parts: &[&OsStr]) -> OsString {
    parts.iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_machine_yields_exactly_this_command_line() {
        let expected = "\
-nodefaults
-no-user-config
-display none
-vga std
-machine q35,accel=tcg
-cpu max
-smp 2
-m 128
-uuid 4f757467-6174-6500-8000-000000000001
-rtc base=2038-01-20T00:00:00
-no-reboot
-drive if=pflash,unit=0,format=raw,readonly=on,file=/fw/CODE.fd
-drive if=pflash,unit=1,format=raw,file=/vm/VARS.fd
-drive if=none,id=disk0,format=qcow2,snapshot=on,file=/vm/disk.qcow2
-device virtio-blk-pci,drive=disk0,bootindex=0
-netdev stream,id=net0,server=off,addr.type=unix,addr.path=/vm/net
-device virtio-net-pci,id=nic0,mac=00:50:56:00:00:01,romfile=,netdev=net0
-chardev socket,id=serial0,server=off,path=/vm/serial
-serial chardev:serial0
-chardev socket,id=serial1,server=off,path=/vm/serial2
-serial chardev:serial1
-chardev socket,id=qmp,server=off,path=/vm/qmp
-mon chardev=qmp,mode=control
-fw_cfg name=opt/outgate/edge,string=edge.outgate.example
-device vmgenid,guid=auto
-device i6300esb
-action watchdog=reset";
        assert_eq!(lines(&full()), expected);
    }

    #[test]
    fn an_empty_machine_has_no_devices_but_the_generation_id() {
        let expected = "\
-nodefaults
-no-user-config
-display none
-vga std
-machine pc,accel=kvm
-cpu max
-smp 1
-m 128
-rtc base=utc
-device vmgenid,guid=auto";
        assert_eq!(lines(&Machine::new(Accelerator::Kvm)), expected);
    }

    #[test]
    fn each_bus_names_its_controller_before_the_disk() {
        for (bus, expected) in [
            (
                DiskBus::Ahci,
                "ahci,id=ahci0|ide-hd,bus=ahci0.0,drive=disk0,bootindex=0",
            ),
            (DiskBus::Nvme, "nvme,serial=outgate,drive=disk0,bootindex=0"),
            (
                DiskBus::Pvscsi,
                "pvscsi,id=scsi0|scsi-hd,bus=scsi0.0,drive=disk0,bootindex=0",
            ),
            (DiskBus::Virtio, "virtio-blk-pci,drive=disk0,bootindex=0"),
        ] {
            let mut machine = Machine::new(Accelerator::Tcg);
            machine.vm_generation_id = false;
            machine.disk = Some(Disk {
                path: "/d".into(),
                format: DiskFormat::Raw,
                bus,
                discard_writes: false,
            });
            let argv = machine.argv();
            let devices: Vec<_> = argv
                .windows(2)
                .filter(|pair| pair[0] == "-device")
                .map(|pair| pair[1].to_str().unwrap())
                .collect();
            assert_eq!(devices.join("|"), expected);
        }
    }

    #[test]
    fn a_comma_in_a_path_does_not_end_the_option() {
        let mut machine = Machine::new(Accelerator::Tcg);
        machine.qmp = Some("/a,b/qmp".into());
        assert!(lines(&machine).contains("path=/a,,b/qmp"));
    }

    #[test]
    fn an_unplugged_card_is_there_without_a_network() {
        let mut machine = Machine::new(Accelerator::Tcg);
        machine.nic = Some(Nic {
            mac: Mac::new([0, 0x50, 0x56, 0, 0, 2]).unwrap(),
            model: NicModel::Vmxnet3,
            cable: Cable::Unplugged,
        });
        let text = lines(&machine);
        assert!(text.contains("-device vmxnet3,id=nic0,mac=00:50:56:00:00:02,romfile="));
        assert!(!text.contains("netdev"));
    }

    fn full() -> Machine {
        Machine {
            accelerator: Accelerator::Tcg,
            board: Board::Q35,
            cpus: 2,
            memory_mib: 128,
            firmware: Firmware::Ovmf {
                code: "/fw/CODE.fd".into(),
                vars: "/vm/VARS.fd".into(),
            },
            kernel: None,
            disk: Some(Disk {
                path: "/vm/disk.qcow2".into(),
                format: DiskFormat::Qcow2,
                bus: DiskBus::Virtio,
                discard_writes: true,
            }),
            nic: Some(Nic {
                mac: Mac::new([0, 0x50, 0x56, 0, 0, 1]).unwrap(),
                model: NicModel::Virtio,
                cable: Cable::Stream("/vm/net".into()),
            }),
            serial: Serial::Socket("/vm/serial".into()),
            second_serial: Some("/vm/serial2".into()),
            qmp: Some("/vm/qmp".into()),
            fw_cfg: vec![FwCfg {
                name: "opt/outgate/edge".into(),
                value: "edge.outgate.example".into(),
            }],
            rtc: Rtc::At("2038-01-20T00:00:00".into()),
            vm_generation_id: true,
            watchdog: true,
            uuid: Some("4f757467-6174-6500-8000-000000000001".into()),
            restart_on_reset: false,
        }
    }

    /// One option per line, as a person would read it.
    fn lines(machine: &Machine) -> String {
        let mut text = String::new();
        for argument in machine.argv() {
            let argument = argument.into_string().unwrap();
            let separator = match (text.is_empty(), argument.starts_with('-')) {
                (true, _) => "",
                (false, true) => "\n",
                (false, false) => " ",
            };
            text.push_str(separator);
            text.push_str(&argument);
        }
        text
    }
}
