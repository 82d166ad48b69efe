//! Programs of other projects find nothing to complain about.

use std::path::{Path, PathBuf};
use std::process::Command;

use disk_format::qcow2;
use image_builder::build::{QCOW2, Steps, artefacts};

use crate::support::{TempDir, has_grub, has_program, system};

#[test]
fn qemu_img_finds_no_error_and_the_same_disk() {
    let name = "qemu_img_finds_no_error_and_the_same_disk";
    if !has_grub(name) || !has_program(name, "qemu-img", "qemu-utils") {
        return;
    }
    let directory = TempDir::new("qemu-img");
    let (image, raw) = image_and_disk(directory.path());
    run(Command::new("qemu-img").arg("check").arg(&image));
    run(Command::new("qemu-img")
        .arg("compare")
        .arg(&image)
        .arg(&raw));
}

#[test]
fn sgdisk_verifies_both_copies_of_the_partition_table() {
    let name = "sgdisk_verifies_both_copies_of_the_partition_table";
    if !has_grub(name) || !has_program(name, "sgdisk", "gdisk") {
        return;
    }
    let directory = TempDir::new("sgdisk");
    let (_, raw) = image_and_disk(directory.path());
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
    let (_, raw) = image_and_disk(directory.path());
    let disk = std::fs::read(raw).unwrap();
    for (name, mib, length_mib) in [("esp", 2, 8), ("boot-state", 10, 1)] {
        let volume = directory.path().join(name);
        std::fs::write(&volume, &disk[mib << 20..(mib + length_mib) << 20]).unwrap();
        run(Command::new("fsck.fat").args(["-n", "-V"]).arg(&volume));
    }
}

/// The qcow2 image as a file, and the disk inside it as another.
fn image_and_disk(directory: &Path) -> (PathBuf, PathBuf) {
    let built = artefacts(
        &system(vec![7; 100_000]),
        "7",
        directory,
        &mut Steps::quiet(),
    )
    .unwrap();
    let image = built
        .iter()
        .find(|artefact| artefact.name == QCOW2)
        .unwrap();
    let disk = qcow2::parse(&image.content, 1 << 30).unwrap();
    let (image_path, raw_path) = (directory.join(QCOW2), directory.join("disk.raw"));
    std::fs::write(&image_path, &image.content).unwrap();
    std::fs::write(&raw_path, disk).unwrap();
    (image_path, raw_path)
}

/// Runs a checker that must succeed; what it said.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{complained}");
    said
}
