//! Pure: the commands that deploy a connector, one list of words for each.
//!
//! Words in capitals are for the person who deploys to fill in. No word needs quoting in a shell:
//! names, MACs and UUIDs have no character that a shell reads.

use crate::mint::connector::Connector;

/// Memory of a machine in MiB: what UEFI firmware needs. BIOS machines run with 128.
pub const MEMORY_MIB: u32 = 256;
/// Where libvirt keeps disks, by the default of every distribution.
pub const LIBVIRT_IMAGES: &str = "/var/lib/libvirt/images";

/// A command and its arguments.
pub type Command = Vec<String>;

/// `virt-install`, with BIOS.
#[must_use]
pub fn virt_install(connector: &Connector) -> Command {
    let Connector { name, mac, .. } = connector;
    let mut command = words("virt-install --import --noautoconsole");
    command.extend(pairs(&[
        ("--name", name.to_string()),
        ("--uuid", connector.uuid()),
        ("--osinfo", "linux2022".into()),
        ("--machine", "q35".into()),
        ("--memory", MEMORY_MIB.to_string()),
        ("--vcpus", "1".into()),
        (
            "--disk",
            format!("path={LIBVIRT_IMAGES}/{name}.qcow2,format=qcow2,bus=virtio"),
        ),
        (
            "--network",
            format!("network=default,model=virtio,mac={mac}"),
        ),
        ("--watchdog", "model=i6300esb,action=reset".into()),
        ("--rng", "/dev/urandom".into()),
        ("--graphics", "vnc".into()),
        ("--video", "vga".into()),
        ("--console", "pty,target_type=serial".into()),
        ("--controller", "type=usb,model=none".into()),
        ("--input", "keyboard,bus=ps2".into()),
        ("--sound", "none".into()),
        ("--channel", "none".into()),
        ("--memballoon", "none".into()),
    ]));
    command
}

/// What [`virt_install`] is given in addition for UEFI: without Secure Boot, whose keys would
/// refuse the boot loader.
#[must_use]
pub fn virt_install_uefi() -> Command {
    pairs(&[(
        "--boot",
        "firmware=efi,firmware.feature0.name=secure-boot,firmware.feature0.enabled=no".into(),
    )])
}

/// `virsh` with the minted domain.
#[must_use]
pub fn virsh(connector: &Connector) -> [Command; 3] {
    let name = &connector.name;
    [
        words(&format!("virsh define {name}.xml")),
        words(&format!("virsh start {name}")),
        words(&format!("virsh console {name}")),
    ]
}

/// `qemu-system-x86_64`, with the console on the terminal.
#[must_use]
pub fn qemu(connector: &Connector) -> Command {
    let Connector { name, mac, .. } = connector;
    let mut command = words("qemu-system-x86_64 -nodefaults -no-user-config");
    command.extend(pairs(&[
        ("-name", name.to_string()),
        ("-uuid", connector.uuid()),
        ("-machine", "q35,accel=kvm:tcg".into()),
        ("-cpu", "max".into()),
        ("-m", MEMORY_MIB.to_string()),
        (
            "-drive",
            format!("if=none,id=disk0,format=qcow2,file={name}.qcow2"),
        ),
        ("-device", "virtio-blk-pci,drive=disk0,bootindex=0".into()),
        ("-netdev", "user,id=net0".into()),
        (
            "-device",
            format!("virtio-net-pci,netdev=net0,mac={mac},romfile="),
        ),
        ("-device", "i6300esb".into()),
        ("-action", "watchdog=reset".into()),
        ("-device", "virtio-rng-pci".into()),
        // The machine's own. Random at each start, it would say each time that the machine was reverted.
        ("-device", format!("vmgenid,guid={}", connector.uuid())),
        ("-vga", "std".into()),
        ("-display", "none".into()),
        ("-serial", "mon:stdio".into()),
    ]));
    command
}

/// Proxmox VE 7.2 or later, on the node that is to run the machine.
#[must_use]
pub fn proxmox(connector: &Connector) -> [Command; 3] {
    let Connector { name, mac, .. } = connector;
    let mut create = words("qm create VMID");
    create.extend(pairs(&[
        ("--name", name.to_string()),
        ("--ostype", "l26".into()),
        ("--machine", "q35".into()),
        ("--memory", MEMORY_MIB.to_string()),
        ("--cores", "1".into()),
        ("--smbios1", format!("uuid={}", connector.uuid())),
        ("--net0", format!("virtio={mac},bridge=BRIDGE,firewall=0")),
        ("--serial0", "socket".into()),
        ("--watchdog", "model=i6300esb,action=reset".into()),
        ("--rng0", "source=/dev/urandom".into()),
        ("--tablet", "0".into()),
    ]));
    let mut disk = words("qm set VMID");
    disk.extend(pairs(&[
        (
            "--virtio0",
            format!("STORAGE:0,import-from={PROXMOX_UPLOAD}/{name}.qcow2"),
        ),
        ("--boot", "order=virtio0".into()),
    ]));
    [create, disk, words("qm start VMID")]
}

/// What Proxmox VE before 7.2 has in place of `import-from`.
#[must_use]
pub fn proxmox_before_7_2(connector: &Connector) -> [Command; 2] {
    let name = &connector.name;
    [
        words(&format!(
            "qm importdisk VMID {PROXMOX_UPLOAD}/{name}.qcow2 STORAGE"
        )),
        words("qm set VMID --virtio0 STORAGE:vm-VMID-disk-0 --boot order=virtio0"),
    ]
}

/// Proxmox VE: UEFI instead of BIOS, without Secure Boot's keys.
#[must_use]
pub fn proxmox_uefi() -> Command {
    words("qm set VMID --bios ovmf --efidisk0 STORAGE:1,efitype=4m,pre-enrolled-keys=0")
}

/// VirtualBox. The machine is made here and the OVA only gives its disk: `VBoxManage import`
/// replaces the MAC, the network card and the disk controller, and takes a controller that the
/// connector has no driver for.
#[must_use]
pub fn virtualbox(connector: &Connector) -> Vec<Command> {
    let Connector { name, mac, .. } = connector;
    let bare_mac = mac.to_string().replace(':', "").to_ascii_uppercase();
    let mut modify = words(&format!("VBoxManage modifyvm {name}"));
    modify.extend(pairs(&[
        ("--memory", MEMORY_MIB.to_string()),
        ("--vram", "16".into()),
        ("--rtcuseutc", "on".into()),
        ("--nic1", "bridged".into()),
        ("--bridgeadapter1", "ADAPTER".into()),
        ("--nictype1", "virtio".into()),
        ("--macaddress1", bare_mac),
    ]));
    vec![
        words(&format!("tar -xf {name}.ova {name}.vmdk")),
        words(&format!(
            "VBoxManage clonemedium disk {name}.vmdk {name}.vdi --format VDI"
        )),
        words(&format!(
            "VBoxManage createvm --name {name} --ostype Linux_64 --uuid {} --register",
            connector.uuid()
        )),
        modify,
        words(&format!(
            "VBoxManage storagectl {name} --name SATA --add sata --controller IntelAhci \
             --portcount 1"
        )),
        words(&format!(
            "VBoxManage storageattach {name} --storagectl SATA --port 0 --device 0 --type hdd \
             --medium {name}.vdi"
        )),
        words(&format!("VBoxManage startvm {name}")),
    ]
}

/// `ovftool` to a vCenter. It leaves the machine off, so that its MAC can be looked at first.
#[must_use]
pub fn ovftool_vcenter(connector: &Connector) -> Command {
    ovftool(connector, "vi://USER@VCENTER/DATACENTER/host/CLUSTER")
}

/// `ovftool` to a host without vCenter.
#[must_use]
pub fn ovftool_esxi(connector: &Connector) -> Command {
    ovftool(connector, "vi://USER@HOST/")
}

fn ovftool(connector: &Connector, target: &str) -> Command {
    let name = &connector.name;
    words(&format!(
        "ovftool --name={name} --datastore=DATASTORE --network=NETWORK --diskMode=thin \
         {name}.ova {target}"
    ))
}

/// A command as it is typed, with the shell's continuation where a line would be longer than
/// `columns`; lines after the first are indented.
#[must_use]
pub fn shell_text(command: &[String], columns: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for part in units(command) {
        let needed = line.len() + part.len() + " ".len() + " \\".len();
        if !line.is_empty() && needed > columns {
            lines.push(std::mem::replace(&mut line, INDENT.into()));
        }
        if !line.is_empty() && line != INDENT {
            line.push(' ');
        }
        line.push_str(&part);
    }
    lines.push(line);
    lines.join(" \\\n")
}

/// Options with their values: a line break between the two would be hard to read.
fn units(command: &[String]) -> Vec<String> {
    let mut units: Vec<String> = Vec::new();
    let mut takes_value = false;
    for word in command {
        let is_option = word.starts_with('-') && !word.contains('=');
        match units.last_mut() {
            Some(unit) if takes_value && !is_option => {
                unit.push(' ');
                unit.push_str(word);
            }
            _ => units.push(word.clone()),
        }
        takes_value = is_option;
    }
    units
}

fn words(text: &str) -> Command {
    text.split_ascii_whitespace().map(str::to_owned).collect()
}

fn pairs(options: &[(&str, String)]) -> Command {
    options
        .iter()
        .flat_map(|(option, value)| [(*option).to_owned(), value.clone()])
        .collect()
}

const INDENT: &str = "    ";
/// Where the text tells people to copy the disk to on a Proxmox node.
pub const PROXMOX_UPLOAD: &str = "/var/lib/vz";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_any_command_needs_quoting() {
        for command in every() {
            for word in &command {
                let is_plain =
                    |byte: u8| byte.is_ascii_alphanumeric() || b"-_=+.,:/@".contains(&byte);
                assert!(!word.is_empty() && word.bytes().all(is_plain), "{word}");
            }
        }
    }

    #[test]
    fn every_machine_that_is_made_here_has_the_mac() {
        let connector = connector();
        let makers = [
            virt_install(&connector),
            qemu(&connector),
            proxmox(&connector)[0].clone(),
        ];
        for command in makers {
            assert!(
                command.join(" ").contains("=00:50:56:0a:0b:0c"),
                "{command:?}"
            );
        }
        let boxed = virtualbox(&connector).concat().join(" ");
        assert!(boxed.contains("--macaddress1 0050560A0B0C"), "{boxed}");
    }

    #[test]
    fn a_wrapped_command_is_the_same_words() {
        for command in every() {
            let text = shell_text(&command, 100);
            assert!(text.lines().all(|line| line.len() <= 100), "{text}");
            let joined = text.replace(" \\\n", " ");
            assert_eq!(joined.split_ascii_whitespace().collect::<Vec<_>>(), command);
        }
    }

    fn every() -> Vec<Command> {
        let connector = connector();
        let mut all = vec![
            virt_install(&connector),
            virt_install_uefi(),
            qemu(&connector),
            proxmox_uefi(),
            ovftool_vcenter(&connector),
            ovftool_esxi(&connector),
        ];
        all.extend(virsh(&connector));
        all.extend(proxmox(&connector));
        all.extend(proxmox_before_7_2(&connector));
        all.extend(virtualbox(&connector));
        all
    }

    fn connector() -> Connector {
        Connector {
            name: "mumbai-01".parse().unwrap(),
            mac: "00:50:56:0a:0b:0c".parse().unwrap(),
            group: Some("Mumbai".parse().unwrap()),
            edge: None,
            network: crate::mint::settings::NetworkSettings::default(),
        }
    }
}
