//! `qemu-img`. It does not ask for an end-of-stream marker, so it proves the content, not the stream.

use std::num::NonZeroUsize;
use std::process::Command;

use disk_format::qcow2;
use disk_format::vmdk::{GRAIN_BYTES, Vmdk};

use crate::skip::has_program;
use crate::support::{TempDir, run};

#[test]
fn qemu_img_finds_the_same_disk_in_the_vmdk_and_no_error() {
    let name = "qemu_img_finds_the_same_disk_in_the_vmdk_and_no_error";
    if !has_program(name, "qemu-img", "qemu-utils") {
        return;
    }
    let directory = TempDir::new("vmdk");
    let raw = directory.write("disk.raw", &disk());
    let vmdk = Vmdk::from_disk(&disk(), NonZeroUsize::MIN).unwrap();
    let file = directory.write("disk.vmdk", &vmdk.emit().unwrap());
    run(Command::new("qemu-img")
        .args(["check", "-f", "vmdk"])
        .arg(&file));
    run(Command::new("qemu-img")
        .args(["compare", "-f", "vmdk", "-F", "raw"])
        .arg(&file)
        .arg(&raw));
    let back = directory.path().join("back.raw");
    run(Command::new("qemu-img")
        .args(["convert", "-f", "vmdk", "-O", "raw"])
        .arg(&file)
        .arg(&back));
    assert!(std::fs::read(back).unwrap() == disk());
}

#[test]
fn qemu_img_reads_type_capacity_and_identifier_of_the_vmdk() {
    let name = "qemu_img_reads_type_capacity_and_identifier_of_the_vmdk";
    if !has_program(name, "qemu-img", "qemu-utils") {
        return;
    }
    let directory = TempDir::new("vmdk-info");
    let vmdk = Vmdk::from_disk(&disk(), NonZeroUsize::MIN).unwrap();
    let file = directory.write("disk.vmdk", &vmdk.emit().unwrap());
    let info = run(Command::new("qemu-img")
        .args(["info", "--output=json"])
        .arg(&file));
    for expected in [
        "\"format\": \"vmdk\"".to_owned(),
        "\"create-type\": \"streamOptimized\"".to_owned(),
        format!("\"virtual-size\": {}", disk().len()),
        format!("\"cid\": {}", vmdk.cid()),
        format!("\"parent-cid\": {}", u32::MAX),
        format!("\"cluster-size\": {GRAIN_BYTES}"),
        "\"compressed\": true".to_owned(),
    ] {
        assert!(info.contains(&expected), "{expected} is not in {info}");
    }
}

#[test]
fn a_vmdk_that_qemu_img_made_is_refused_for_what_it_lacks() {
    let name = "a_vmdk_that_qemu_img_made_is_refused_for_what_it_lacks";
    if !has_program(name, "qemu-img", "qemu-utils") {
        return;
    }
    let directory = TempDir::new("vmdk-theirs");
    let raw = directory.write("disk.raw", &disk());
    let theirs = directory.path().join("theirs.vmdk");
    run(Command::new("qemu-img")
        .args([
            "convert",
            "-f",
            "raw",
            "-O",
            "vmdk",
            "-o",
            "subformat=streamOptimized",
        ])
        .arg(&raw)
        .arg(&theirs));
    assert!(Vmdk::parse(&std::fs::read(theirs).unwrap()).is_err());
}

#[test]
fn qemu_img_finds_the_same_disk_in_the_qcow2_and_no_error() {
    let name = "qemu_img_finds_the_same_disk_in_the_qcow2_and_no_error";
    if !has_program(name, "qemu-img", "qemu-utils") {
        return;
    }
    let directory = TempDir::new("qcow2");
    let raw = directory.write("disk.raw", &disk());
    let image = directory.write("disk.qcow2", &qcow2::emit(&disk()).unwrap());
    run(Command::new("qemu-img")
        .args(["check", "-f", "qcow2"])
        .arg(&image));
    run(Command::new("qemu-img")
        .args(["compare", "-f", "qcow2", "-F", "raw"])
        .arg(&image)
        .arg(&raw));
}

/// 65 MiB and a grain: three grain tables, of which the second is empty. The grains hold patterns,
/// single bytes, and noise that no compressor makes shorter.
fn disk() -> Vec<u8> {
    let mut disk = vec![0; (65 << 20) + GRAIN_BYTES];
    disk[..100].fill(1);
    disk[3 * GRAIN_BYTES - 1] = 2;
    let mut state = 1u32;
    for byte in &mut disk[10 * GRAIN_BYTES..12 * GRAIN_BYTES] {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = state.to_be_bytes()[0];
    }
    *disk.last_mut().unwrap() = 3;
    disk
}
