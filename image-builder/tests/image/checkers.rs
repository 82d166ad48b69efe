//! Programs of other projects find nothing to complain about.

use std::path::{Path, PathBuf};
use std::process::Command;

use disk_format::tar;
use image_builder::build::{OVA, QCOW2, RAW};

use crate::skip::has_program;
use crate::support::{TempDir, artefact, built, has_grub};

#[test]
fn qemu_img_finds_no_error_and_the_same_disk_in_every_format() {
    let name = "qemu_img_finds_no_error_and_the_same_disk_in_every_format";
    if !has_grub(name) || !has_program(name, "qemu-img", "qemu-utils") {
        return;
    }
    let directory = TempDir::new("qemu-img");
    let (qcow2, raw, vmdk) = images(directory.path());
    run(Command::new("qemu-img").arg("check").arg(&qcow2));
    for image in [&qcow2, &vmdk] {
        let verdict = run(Command::new("qemu-img").arg("compare").args([image, &raw]));
        // A difference in length would be a warning before this line.
        assert_eq!(verdict, "Images are identical.\n");
    }
}

#[test]
fn sgdisk_verifies_both_copies_of_the_partition_table() {
    let name = "sgdisk_verifies_both_copies_of_the_partition_table";
    if !has_grub(name) || !has_program(name, "sgdisk", "gdisk") {
        return;
    }
    let directory = TempDir::new("sgdisk");
    let (_, raw, _) = images(directory.path());
    let verdict = run(Command::new("sgdisk").arg("--verify").arg(&raw));
    assert!(verdict.contains("No problems found"), "{verdict}");
    assert!(!verdict.contains("Warning"), "{verdict}");
}

#[test]
fn fsck_finds_both_fat_filesystems_clean() {
    let name = "fsck_finds_both_fat_filesystems_clean";
    if !has_grub(name) || !has_program(name, "fsck.fat", "dosfstools") {
        return;
    }
    let directory = TempDir::new("fsck");
    let (_, raw, _) = images(directory.path());
    let disk = std::fs::read(raw).unwrap();
    for (name, mib, length_mib) in [("esp", 2, 8), ("boot-state", 10, 1)] {
        let volume = directory.path().join(name);
        std::fs::write(&volume, &disk[mib << 20..(mib + length_mib) << 20]).unwrap();
        run(Command::new("fsck.fat").args(["-n", "-V"]).arg(&volume));
    }
}

/// The qcow2, the raw disk, and the VMDK out of the OVA, as files.
fn images(directory: &Path) -> (PathBuf, PathBuf, PathBuf) {
    let built = built("checkers", vec![7; 100_000], 2);
    let write = |name: &str, content: &[u8]| {
        let path = directory.join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let entries = tar::parse(artefact(&built, OVA)).unwrap();
    (
        write(QCOW2, artefact(&built, QCOW2)),
        write(RAW, artefact(&built, RAW)),
        write("outgate.vmdk", entries.last().unwrap().content),
    )
}

/// Runs a checker that must succeed; what it said.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{complained}");
    said
}
