//! The appliance image as data: what is in it, and why.

use disk_format::guid::Guid;
use disk_format::slot::partition;

/// One path of the initramfs, which is the whole root filesystem of the appliance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSpec {
    /// Path relative to the root.
    pub path: &'static str,
    /// Permission bits. The owner is always root.
    pub permissions: u16,
    /// Where the content comes from.
    pub source: Source,
    /// Why the appliance has it.
    pub reason: &'static str,
}

/// Where a file's content comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A compiled program of this workspace, by the name of its executable.
    Binary(&'static str),
    /// The version and time of the build: see [`build_facts`].
    BuildFacts,
    /// A character device with its major and minor number.
    CharDevice(u16, u16),
    /// A directory.
    Directory,
    /// The service edge given to the builder; the file is left out when there is none.
    Edge,
    /// A symbolic link to this path.
    Symlink(&'static str),
}

/// Every path of the initramfs.
pub const INITRAMFS: &[FileSpec] = &[
    file("bin", 0o755, Source::Directory, "holds the programs"),
    file(
        "bin/connector",
        0o755,
        Source::Binary("connector"),
        "the connector",
    ),
    file(
        "bin/console",
        0o755,
        Source::Binary("console"),
        "the operator's screen on tty1 and ttyS0",
    ),
    file(
        "bin/installer",
        0o777,
        Source::Symlink("/init"),
        "writes the idle slot; init acts by the name it is called",
    ),
    file(
        "bin/netd",
        0o777,
        Source::Symlink("/init"),
        "DHCP; init acts by the name it is called",
    ),
    file(
        "bin/settings",
        0o777,
        Source::Symlink("/init"),
        "reads what was set for the machine; init acts by the name it is called",
    ),
    file(
        "bin/timed",
        0o777,
        Source::Symlink("/init"),
        "NTP; init acts by the name it is called",
    ),
    file("dev", 0o755, Source::Directory, "devtmpfs is mounted here"),
    file(
        "dev/console",
        0o600,
        Source::CharDevice(5, 1),
        "descriptors 0 to 2 of PID 1",
    ),
    file(
        "dev/null",
        0o666,
        Source::CharDevice(1, 3),
        "Rust aborts before main without it",
    ),
    file("etc", 0o755, Source::Directory, "holds the two texts below"),
    file(
        "etc/outgate",
        0o755,
        Source::Directory,
        "holds the two texts below",
    ),
    file(
        "etc/outgate/build",
        0o444,
        Source::BuildFacts,
        "the version, and the clock's floor",
    ),
    file(
        "etc/outgate/edge",
        0o444,
        Source::Edge,
        "the edge of an image made for one site",
    ),
    file("init", 0o755, Source::Binary("init"), "PID 1"),
    file("proc", 0o555, Source::Directory, "procfs is mounted here"),
    file(
        "run",
        0o755,
        Source::Directory,
        "a bounded tmpfs is mounted here",
    ),
    file("sbin", 0o755, Source::Directory, "holds the link below"),
    file(
        "sbin/init",
        0o777,
        Source::Symlink("/init"),
        "the kernel's usermode helper path",
    ),
    file("sys", 0o555, Source::Directory, "sysfs is mounted here"),
];

/// One partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionSpec {
    /// Its GPT name.
    pub name: &'static str,
    /// Its GPT type.
    pub type_guid: Guid,
    /// Its length in MiB.
    pub mib: u64,
    /// What is written into it.
    pub content: Content,
    /// Why the disk has it.
    pub reason: &'static str,
}

/// What is written into a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// GRUB's core image for BIOS.
    BiosCore,
    /// The FAT filesystem with `grubenv`.
    BootState,
    /// The FAT filesystem with GRUB for UEFI.
    Esp,
    /// Kernel and initramfs behind a slot header.
    System,
    /// Zeros.
    Zeros,
}

/// The disk, in order. `grub.cfg` counts on the numbers: boot-state is 3, the slots 4 and 5.
pub const PARTITIONS: &[PartitionSpec] = &[
    PartitionSpec {
        name: partition::BIOS,
        type_guid: BIOS_BOOT,
        mib: 1,
        content: Content::BiosCore,
        reason: "a BIOS loads one sector; that sector loads GRUB from here",
    },
    PartitionSpec {
        name: partition::ESP,
        type_guid: EFI_SYSTEM,
        mib: 8,
        content: Content::Esp,
        reason: "UEFI loads GRUB from here; never written again",
    },
    PartitionSpec {
        name: partition::BOOT_STATE,
        type_guid: LINUX_RESERVED,
        mib: 1,
        content: Content::BootState,
        reason: "save_env needs a file; this filesystem holds nothing else",
    },
    PartitionSpec {
        name: partition::SLOT_A,
        type_guid: LINUX_RESERVED,
        mib: 32,
        content: Content::System,
        reason: "the system of a fresh image",
    },
    PartitionSpec {
        name: partition::SLOT_B,
        type_guid: LINUX_RESERVED,
        mib: 32,
        content: Content::Zeros,
        reason: "takes the first update",
    },
    PartitionSpec {
        name: partition::STATE,
        type_guid: LINUX_RESERVED,
        mib: 1,
        content: Content::Zeros,
        reason: "the state record; zeros mean not enrolled",
    },
];

/// The machine that the OVA describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Its name, until it is minted.
    pub name: &'static str,
    /// What the person who deploys it should read first.
    pub annotation: &'static str,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
}

/// One processor serves a connector. 128 MiB of memory are enough with a BIOS; UEFI firmware keeps
/// as much for itself.
pub const MACHINE: Machine = Machine {
    name: "Outgate connector",
    annotation: "Outgate connector: dials out to its service edge on TCP 443 and carries \
                 authorised user sessions to private applications. Nothing dials in. Mint one OVA \
                 for each connector and deploy it once: deployed twice, it gives two machines the \
                 same MAC address. Type the provisioning key on the console of the first boot.",
    cpus: 1,
    memory_mib: 256,
};

/// What the boot-state block says in a fresh image.
pub const BOOT_STATE: &[(&str, &str)] = &[("good", "a"), ("trial", ""), ("left", "0")];

/// Modules of both GRUB images, each with its reason.
pub const GRUB_MODULES: &[(&str, &str)] = &[
    ("boot", "starts what linux and initrd loaded"),
    ("echo", "the sentence when nothing boots"),
    ("fat", "the filesystem of grubenv"),
    ("linux", "loads kernel and initramfs"),
    ("loadenv", "boot state and slot headers"),
    (
        "loopback",
        "a slot as a device, where there is no partition table",
    ),
    ("memdisk", "carries grub.cfg inside the image"),
    ("newc", "the memory disk is a cpio archive"),
    ("normal", "the script language of grub.cfg"),
    ("part_gpt", "finds the partitions"),
    ("reboot", "when nothing boots"),
    (
        "regexp",
        "cuts the disk out of the path GRUB was loaded from",
    ),
    ("serial", "errors on the serial port"),
    ("sleep", "so that errors can be read"),
    ("terminal", "output on several consoles at once"),
    ("terminfo", "keeps the serial terminal from being cleared"),
    ("test", "conditions"),
];

/// Modules of the BIOS image only.
pub const GRUB_MODULES_BIOS: &[(&str, &str)] = &[("biosdisk", "reads the disk through the BIOS")];

/// Modules of the UEFI image only.
pub const GRUB_MODULES_EFI: &[(&str, &str)] = &[
    ("all_video", "hands the framebuffer to the kernel"),
    ("efi_gop", "the framebuffer itself"),
];

/// From this label and the partition's name all GUIDs and volume identifiers are hashed. They are
/// the same in every image: nothing in the appliance tells machines apart by them.
pub const ID_LABEL: &str = "outgate disk identifiers v1";

/// The text of `/etc/outgate/build`: `version` and `epoch` (seconds since 1970) as `key=value`.
#[must_use]
pub fn build_facts(version: &str, epoch: u32) -> String {
    format!("version={version}\nepoch={epoch}\n")
}

const fn file(
    path: &'static str,
    permissions: u16,
    source: Source,
    reason: &'static str,
) -> FileSpec {
    FileSpec {
        path,
        permissions,
        source,
        reason,
    }
}

/// GRUB's place on a GPT disk (GRUB manual, "BIOS installation").
const BIOS_BOOT: Guid = Guid::from_groups(0x2168_6148, 0x6449, 0x6E6F, 0x744E_6565_6445_4649);
/// UEFI 2.10 table 5-5.
const EFI_SYSTEM: Guid = Guid::from_groups(0xC12A_7328, 0xF81F, 0x11D2, 0xBA4B_00A0_C93E_C93B);
/// "Linux reserved": no other system offers to mount or format it.
const LINUX_RESERVED: Guid = Guid::from_groups(0x8DA6_3339, 0x0007, 0x60C0, 0xC436_083A_C823_0908);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partitions_have_the_numbers_that_the_boot_loader_counts_on() {
        let names: Vec<_> = PARTITIONS.iter().map(|partition| partition.name).collect();
        assert_eq!(
            names[2..5],
            [partition::BOOT_STATE, partition::SLOT_A, partition::SLOT_B]
        );
        let script = crate::boot::GRUB_CFG;
        assert!(
            ["gpt3", "gpt4", "gpt5"]
                .iter()
                .all(|number| script.contains(number))
        );
    }

    #[test]
    fn nothing_but_links_and_devices_may_be_written_to() {
        for file in INITRAMFS {
            let is_exempt = matches!(file.source, Source::Symlink(_) | Source::CharDevice(..));
            assert!(is_exempt || file.permissions & 0o022 == 0, "{}", file.path);
        }
    }

    #[test]
    fn there_is_no_shell_and_no_program_without_a_source_here() {
        let programs = INITRAMFS.iter().filter_map(|file| match file.source {
            Source::Binary(name) => Some(name),
            _ => None,
        });
        assert_eq!(
            programs.collect::<Vec<_>>(),
            ["connector", "console", "init"]
        );
    }
}
