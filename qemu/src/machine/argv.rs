//! The command line that a machine means.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use super::{
    Accelerator, Board, Cable, DiskBus, DiskFormat, Firmware, Guise, Machine, NicModel, Rtc, Serial,
};

impl Machine {
    /// QEMU's arguments, without the program's name. Order and content depend on `self` only.
    pub fn argv(&self) -> Vec<OsString> {
        let mut argv = Argv::default();
        argv.flag("-nodefaults");
        argv.flag("-no-user-config");
        argv.pair("-display", "none");
        argv.pair("-vga", self.display_card());
        argv.pair("-machine", self.machine_option());
        argv.pair("-cpu", self.processor());
        argv.pair("-smp", self.cpus.to_string());
        argv.pair("-m", self.memory_mib.to_string());
        if let Some(uuid) = &self.uuid {
            argv.pair("-uuid", uuid);
        }
        if self.guise == Guise::Vmware {
            argv.pair("-smbios", VMWARE_SMBIOS);
        }
        argv.pair("-rtc", self.rtc_option());
        if !self.restart_on_reset {
            argv.flag("-no-reboot");
        }
        self.push_firmware(&mut argv);
        self.push_kernel(&mut argv);
        self.push_disk(&mut argv);
        self.push_cd(&mut argv);
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
        if let Some(generation) = &self.vm_generation {
            argv.pair("-device", format!("vmgenid,guid={generation}"));
        }
        if let Some(path) = &self.tpm {
            let options = "socket,id=chrtpm,server=off,path=".as_ref();
            argv.pair("-chardev", join(&[options, &escaped(path)]));
            argv.pair("-tpmdev", "emulator,id=tpm0,chardev=chrtpm");
            argv.pair("-device", "tpm-tis,tpmdev=tpm0");
        }
        if self.watchdog {
            argv.pair("-device", "i6300esb");
            argv.pair("-action", "watchdog=reset");
        }
        if let Some(name) = &self.snapshot {
            argv.pair("-loadvm", name);
        }
        if let Some(plugin) = &self.plugin {
            let argument = format!(",{}=", plugin.argument);
            let (path, value) = (escaped(&plugin.path), escaped(&plugin.value));
            argv.pair("-plugin", join(&[&path, argument.as_ref(), &value]));
        }
        if self.clock_counts_instructions {
            argv.pair("-icount", "shift=0");
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
        let backdoor = match self.guise {
            Guise::Qemu => "",
            Guise::Vmware => ",vmport=on",
        };
        format!("{board},accel={accelerator}{backdoor}")
    }

    fn display_card(&self) -> &'static str {
        match self.guise {
            Guise::Qemu => "std",
            Guise::Vmware => "vmware",
        }
    }

    fn processor(&self) -> &'static str {
        match self.guise {
            Guise::Qemu => "max",
            Guise::Vmware => "max,-hypervisor",
        }
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
        if let Some(log) = &self.write_log {
            // Small sectors, so that a torn write is seen as the disk would see it.
            let parts: [&OsStr; 4] = [
                "if=none,id=disk0,driver=blklogwrites,log-sector-size=512,file.driver=file,file.filename=".as_ref(),
                &escaped(&disk.path),
                ",log.driver=file,log.filename=".as_ref(),
                &escaped(log),
            ];
            argv.pair("-drive", join(&parts));
        } else {
            let snapshot = if disk.discard_writes { "on" } else { "off" };
            let read_only = if self.read_only_disk {
                "readonly=on,"
            } else {
                ""
            };
            let options =
                format!("if=none,id=disk0,{read_only}format={format},snapshot={snapshot},file=");
            argv.pair("-drive", join(&[options.as_ref(), &escaped(&disk.path)]));
        }
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

    /// Both boards have this bus; nothing else hangs on it.
    fn push_cd(&self, argv: &mut Argv) {
        let Some(disc) = &self.cd else {
            return;
        };
        let options = "if=none,id=cd0,media=cdrom,readonly=on,format=raw,file=".as_ref();
        argv.pair("-drive", join(&[options, &escaped(disc)]));
        argv.pair("-device", "ide-cd,bus=ide.1,drive=cd0");
    }

    fn push_nic(&self, argv: &mut Argv) {
        let Some(nic) = &self.nic else {
            return;
        };
        let model = match nic.model {
            NicModel::E1000e => "e1000e",
            NicModel::Virtio => "virtio-net-pci",
            NicModel::Vmxnet3 => "vmxnet3",
        };
        let netdev = match &nic.cable {
            Cable::Unplugged => None,
            Cable::Stream(path) => {
                let options = "stream,id=net0,server=off,addr.type=unix,addr.path=".as_ref();
                Some(join(&[options, &escaped(path)]))
            }
            Cable::Tap { interface, .. } => {
                let fixed = "script=no,downscript=no,vhost=off,vnet_hdr=off";
                Some(format!("tap,id=net0,ifname={interface},{fixed}").into())
            }
            Cable::User => Some("user,id=net0".into()),
        };
        // An empty romfile leaves out the card's network boot, which would only slow the start.
        let mut device = format!("{model},id=nic0,mac={},romfile=", nic.mac);
        if let Some(netdev) = netdev {
            argv.pair("-netdev", netdev);
            device.push_str(",netdev=net0");
        }
        if let Cable::Tap {
            capture: Some(file),
            ..
        } = &nic.cable
        {
            let options = "filter-dump,id=capture0,netdev=net0,file=".as_ref();
            argv.pair("-object", join(&[options, &escaped(file)]));
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

/// What VMware's firmware says of itself in the system table; Linux looks at the beginning of the
/// serial number (`arch/x86/kernel/cpu/vmware.c`).
const VMWARE_SMBIOS: &str = "type=1,manufacturer=VMware,, Inc.,product=VMware7,,1,serial=VMware-56 \
    4d 00 00 00 00 00 00-00 00 00 00 00 00 00 00";

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
