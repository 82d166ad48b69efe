//! GRUB for BIOS and UEFI, and the boot-state partition.
//!
//! Debian's GRUB 2.06 is taken as it is: `grub-mkimage` links the modules of the recipe, the
//! configuration in a memory disk, and an early script that only hands over to it. What
//! `grub-install` would do with a mounted disk is two patches here, at offsets that GRUB 2.06
//! fixes (`include/grub/i386/pc/boot.h`).

use std::path::{Path, PathBuf};
use std::process::Command;

use disk_format::cpio::{self, Entry, Node};
use disk_format::gpt::BOOT_CODE_BYTES;
use disk_format::grubenv::GrubEnv;
use disk_format::slot::{BOOT_STATE_BLOCK_OFFSET_BYTES, RUNNING_SLOT_PATH, SlotName};
use disk_format::{fat, gpt};

use crate::Error;
use crate::layout::volume_id;
use crate::recipe::{BOOT_STATE, GRUB_MODULES, GRUB_MODULES_BIOS, GRUB_MODULES_EFI};

/// What the boot loader does.
pub const GRUB_CFG: &str = include_str!("../grub/grub.cfg");
/// Hands over to [`GRUB_CFG`]; read by GRUB's rescue parser, which knows no conditions.
const EARLY_CFG: &str = include_str!("../grub/early.cfg");

/// The boot loader's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grub {
    /// Code of the MBR.
    pub boot_code: [u8; BOOT_CODE_BYTES],
    /// Content of the BIOS partition.
    pub core: Vec<u8>,
    /// `BOOTX64.EFI`.
    pub efi: Vec<u8>,
}

/// Makes the boot loader for a BIOS partition at `core_lba`, using `scratch` for small files.
///
/// # Errors
/// When GRUB is not installed (the package is named), fails, or its images have another shape.
pub fn grub(core_lba: u64, scratch: &Path) -> Result<Grub, Error> {
    check_installed()?;
    let boot_img = read_grub_file(&Path::new(BIOS_MODULES).join("boot.img"), BIOS.package)?;
    let core = mkimage(&BIOS, scratch)?;
    Ok(Grub {
        boot_code: patch_boot(&boot_img, core_lba)?,
        core: patch_core(core, core_lba)?,
        efi: mkimage(&EFI, scratch)?,
    })
}

/// Looks for everything [`grub`] takes from the system.
///
/// # Errors
/// When something is missing; the package is named.
pub fn check_installed() -> Result<(), Error> {
    read_grub_file(&Path::new(BIOS_MODULES).join("boot.img"), BIOS.package)?;
    for platform in [&BIOS, &EFI] {
        read_grub_file(
            &Path::new(platform.modules).join("moddep.lst"),
            platform.package,
        )?;
    }
    run(Command::new(MKIMAGE).arg("--version"))
}

/// The EFI system partition.
///
/// # Errors
/// When GRUB does not fit into it.
pub fn esp(efi: &[u8], partition: &gpt::Partition) -> Result<Vec<u8>, Error> {
    let volume = volume(partition, *b"OUTGATE-ESP")?;
    let emitted = fat::emit(&volume, &[("EFI/BOOT/BOOTX64.EFI", efi)]).map_err(Error::format)?;
    Ok(emitted.bytes)
}

/// The boot-state partition of a fresh image.
///
/// # Errors
/// When the block is not where PID 1 will look for it.
pub fn boot_state(partition: &gpt::Partition) -> Result<Vec<u8>, Error> {
    let mut env = GrubEnv::new();
    BOOT_STATE
        .iter()
        .try_for_each(|(key, value)| env.set(key, value))
        .map_err(Error::format)?;
    let volume = volume(partition, *b"OUTGATEBOOT")?;
    let emitted = fat::emit(&volume, &[("GRUBENV", &env.emit())]).map_err(Error::format)?;
    let at = emitted.file_offsets.get("GRUBENV").map(|at| *at as u64);
    if at != Some(BOOT_STATE_BLOCK_OFFSET_BYTES) {
        let what = format!(
            "grubenv is at byte {at:?} of {}; disk_format::slot says {BOOT_STATE_BLOCK_OFFSET_BYTES}",
            partition.name
        );
        return Err(Error::BootImage { what });
    }
    Ok(emitted.bytes)
}

fn volume(partition: &gpt::Partition, label: [u8; 11]) -> Result<fat::Volume, Error> {
    Ok(fat::Volume {
        sectors: u16::try_from(partition.sectors()).map_err(Error::format)?,
        hidden_sectors: u32::try_from(partition.first_lba).map_err(Error::format)?,
        volume_id: volume_id(&partition.name),
        label,
    })
}

/// One of GRUB's platforms.
struct Platform {
    /// GRUB's name of it.
    format: &'static str,
    modules: &'static str,
    own_modules: &'static [(&'static str, &'static str)],
    package: &'static str,
}

const BIOS_MODULES: &str = "/usr/lib/grub/i386-pc";

const BIOS: Platform = Platform {
    format: "i386-pc",
    modules: BIOS_MODULES,
    own_modules: GRUB_MODULES_BIOS,
    package: "grub-pc-bin",
};

const EFI: Platform = Platform {
    format: "x86_64-efi",
    modules: "/usr/lib/grub/x86_64-efi",
    own_modules: GRUB_MODULES_EFI,
    package: "grub-efi-amd64-bin",
};

/// Links one GRUB image.
fn mkimage(platform: &Platform, scratch: &Path) -> Result<Vec<u8>, Error> {
    let write = |name: String, content: &[u8]| -> Result<PathBuf, Error> {
        let path = scratch.join(name);
        std::fs::write(&path, content).map_err(Error::file(&path))?;
        Ok(path)
    };
    let memory_disk = write(format!("{}.cpio", platform.format), &memory_disk()?)?;
    let early = write(format!("{}.cfg", platform.format), EARLY_CFG.as_bytes())?;
    let image = scratch.join(format!("{}.img", platform.format));
    let modules = GRUB_MODULES
        .iter()
        .chain(platform.own_modules)
        .map(|(name, _)| name);

    let mut command = Command::new(MKIMAGE);
    command.args(["--format", platform.format, "--directory", platform.modules]);
    command
        .args(["--prefix", "(memdisk)"])
        .arg("--memdisk")
        .arg(memory_disk);
    command
        .arg("--config")
        .arg(early)
        .arg("--output")
        .arg(&image)
        .args(modules);
    run(&mut command)?;
    std::fs::read(&image).map_err(Error::file(&image))
}

/// Runs `grub-mkimage`, which must succeed.
fn run(command: &mut Command) -> Result<(), Error> {
    let output = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::PackageMissing {
            path: MKIMAGE.into(),
            package: "grub-common",
        },
        _ => Error::Tool {
            program: MKIMAGE,
            message: error.to_string(),
        },
    })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Tool {
            program: MKIMAGE,
            message,
        });
    }
    Ok(())
}

/// The archive GRUB mounts as `(memdisk)`.
fn memory_disk() -> Result<Vec<u8>, Error> {
    let mut files = vec![file("grub.cfg", GRUB_CFG.into())];
    for (name, slot) in SLOT_ARCHIVES {
        files.push(file(name, slot_archive(slot)?));
    }
    cpio::emit(&files, 0).map_err(Error::format)
}

/// A second initramfs that tells PID 1 which slot it is in: the kernel's command line is compiled
/// in, so GRUB cannot say it there. The kernel unpacks it over the first one.
fn slot_archive(slot: SlotName) -> Result<Vec<u8>, Error> {
    let directory = |path: &str| Entry {
        path: path.into(),
        permissions: 0o755,
        node: Node::Directory,
    };
    let content = format!("{slot}\n");
    cpio::emit(
        &[
            directory("etc"),
            directory("etc/outgate"),
            file(RUNNING_SLOT_PATH, content.into()),
        ],
        0,
    )
    .map_err(Error::format)
}

fn file(path: &str, content: Vec<u8>) -> Entry {
    Entry {
        path: path.into(),
        permissions: 0o444,
        node: Node::File(content),
    }
}

fn read_grub_file(path: &Path, package: &'static str) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::PackageMissing {
            path: path.into(),
            package,
        },
        _ => Error::File {
            path: path.into(),
            error,
        },
    })
}

/// Tells `boot.img` where the core image is, and to believe the BIOS about the boot drive: the
/// two NOPs replace a jump that some BIOSes need to be skipped, as `grub-install` does.
fn patch_boot(boot_img: &[u8], core_lba: u64) -> Result<[u8; BOOT_CODE_BYTES], Error> {
    let code = boot_img.first_chunk().filter(|_| boot_img.len() == SECTOR);
    let mut code: [u8; BOOT_CODE_BYTES] = *code.ok_or_else(|| Error::BootImage {
        what: format!("boot.img has {} bytes, wanted {SECTOR}", boot_img.len()),
    })?;
    code[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&core_lba.to_le_bytes());
    code[DRIVE_CHECK..DRIVE_CHECK + 2].copy_from_slice(&[NOP, NOP]);
    Ok(code)
}

/// Tells the core image's first sector where the others are: right behind it.
fn patch_core(mut core: Vec<u8>, core_lba: u64) -> Result<Vec<u8>, Error> {
    core.resize(core.len().next_multiple_of(SECTOR), 0);
    let sectors = u16::try_from(core.len() / SECTOR)
        .ok()
        .filter(|sectors| *sectors >= 2);
    let rest = sectors.ok_or_else(|| Error::BootImage {
        what: format!(
            "core.img has {} bytes, wanted 2 to 65535 sectors",
            core.len()
        ),
    })? - 1;
    core[BLOCK_LIST..BLOCK_LIST + 8].copy_from_slice(&(core_lba + 1).to_le_bytes());
    core[BLOCK_LIST + 8..BLOCK_LIST + 10].copy_from_slice(&rest.to_le_bytes());
    Ok(core)
}

/// Names in the memory disk, which `grub.cfg` makes of the slot's letter.
const SLOT_ARCHIVES: [(&str, SlotName); 2] =
    [("slot-a.cpio", SlotName::A), ("slot-b.cpio", SlotName::B)];

const MKIMAGE: &str = "grub-mkimage";
const SECTOR: usize = 512;
/// `GRUB_BOOT_MACHINE_KERNEL_SECTOR`: LBA of the core image in `boot.img`, 64 bits.
const KERNEL_SECTOR: usize = 0x5c;
/// `GRUB_BOOT_MACHINE_DRIVE_CHECK`: a short jump over the check of the boot drive.
const DRIVE_CHECK: usize = 0x66;
const NOP: u8 = 0x90;
/// First entry of the list in the core image's first sector: 64 bits LBA, 16 bits length, 16 bits
/// segment. `GRUB_DISK_SECTOR_SIZE - GRUB_BOOT_MACHINE_LIST_SIZE`.
const BLOCK_LIST: usize = 0x1f4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::layout;
    use crate::recipe::{INITRAMFS, PARTITIONS};
    use disk_format::slot::partition;

    #[test]
    fn the_boot_sector_loads_the_core_image_from_its_partition() {
        let code = patch_boot(&[0xcc; 512], 2048).unwrap();
        assert_eq!(code[0x5c..0x64], 2048u64.to_le_bytes());
        assert_eq!(code[0x64..0x68], [0xcc, 0xcc, 0x90, 0x90]);
        assert!(patch_boot(&[0; 511], 2048).is_err());
    }

    #[test]
    fn the_core_image_knows_where_its_other_sectors_are() {
        let core = patch_core(vec![0; 1500], 2048).unwrap();
        assert_eq!(core.len(), 1536);
        assert_eq!(core[0x1f4..0x1fc], 2049u64.to_le_bytes());
        assert_eq!(core[0x1fc..0x1fe], 2u16.to_le_bytes());
        assert!(patch_core(vec![0; 512], 2048).is_err());
    }

    #[test]
    fn each_slots_archive_says_its_letter_under_directories_as_the_first_archive_has_them() {
        let (files, _) = cpio::parse(&memory_disk().unwrap()).unwrap();
        for (name, letter) in [("slot-a.cpio", "a\n"), ("slot-b.cpio", "b\n")] {
            let archive = files.iter().find(|file| file.path == name).unwrap();
            let Node::File(archive) = &archive.node else {
                panic!("{name} is no file");
            };
            let (entries, _) = cpio::parse(archive).unwrap();
            for entry in &entries {
                match &entry.node {
                    Node::File(content) => assert_eq!(content, letter.as_bytes()),
                    node => {
                        let first = INITRAMFS.iter().find(|file| file.path == entry.path);
                        assert_eq!(Some(entry.permissions), first.map(|file| file.permissions));
                        assert_eq!(*node, Node::Directory);
                    }
                }
            }
            assert_eq!(entries.last().unwrap().path, "etc/outgate/slot");
        }
        assert!(GRUB_CFG.contains(r#""(memdisk)/slot-$1.cpio""#));
    }

    #[test]
    fn pid_1_knows_how_long_the_disk_is() {
        let layout = layout(PARTITIONS).unwrap();
        assert_eq!(layout.disk_bytes, disk_format::slot::DISK_BYTES_MIN);
    }

    #[test]
    fn the_boot_loader_knows_the_places_of_block_and_slots_by_number() {
        let layout = layout(PARTITIONS).unwrap();
        let find = |name| layout.table.find(name).unwrap();
        let block = find(partition::BOOT_STATE).first_lba + BOOT_STATE_BLOCK_OFFSET_BYTES / 512;
        assert!(GRUB_CFG.contains(&format!("($disk){block}+2\" good")));
        for name in [partition::SLOT_A, partition::SLOT_B] {
            let slot = find(name);
            let place = format!("place={}+{}\n", slot.first_lba, slot.sectors());
            assert!(GRUB_CFG.contains(&place), "{name}: {place}");
        }
    }

    #[test]
    fn the_boot_state_is_where_pid_1_looks_for_it() {
        let layout = layout(PARTITIONS).unwrap();
        let volume = boot_state(layout.table.find(partition::BOOT_STATE).unwrap()).unwrap();
        let at = usize::try_from(BOOT_STATE_BLOCK_OFFSET_BYTES).unwrap();
        let env = GrubEnv::parse(&volume[at..]).unwrap();
        assert_eq!(env.get("good"), Some("a"));
    }
}
