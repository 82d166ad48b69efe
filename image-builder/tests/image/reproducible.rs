//! Equal inputs, equal bytes.

use image_builder::build::{Options, QCOW2, Steps, artefacts, build};
use image_builder::output::{Artefact, SHA256SUMS, sha256_hex};

use crate::support::{TempDir, has_grub, system};

#[test]
fn two_builds_in_different_directories_give_the_same_bytes() {
    let name = "two_builds_in_different_directories_give_the_same_bytes";
    if !has_grub(name) {
        return;
    }
    let once = built_in("here", vec![7; 100_000]);
    let again = built_in("a-directory-with-another-and-longer-name", vec![7; 100_000]);
    assert!(once == again);
}

#[test]
fn one_changed_byte_of_the_kernel_changes_the_image() {
    if !has_grub("one_changed_byte_of_the_kernel_changes_the_image") {
        return;
    }
    let mut kernel = vec![7; 100_000];
    let once = built_in("kernel-1", kernel.clone());
    kernel[50_000] = 8;
    assert!(once != built_in("kernel-2", kernel));
}

#[test]
fn what_is_on_disk_is_what_the_sums_say() {
    if !has_grub("what_is_on_disk_is_what_the_sums_say") {
        return;
    }
    let directory = TempDir::new("sums");
    let file = |name: &str| directory.path().join(name);
    for name in ["connector", "console", "init", "kernel"] {
        std::fs::write(file(name), name).unwrap();
    }
    let options = Options {
        out: file("out"),
        binaries: directory.path().into(),
        edge: None,
        kernel: Some(file("kernel")),
    };
    build(&options).unwrap();
    let sums = std::fs::read_to_string(file("out").join(SHA256SUMS)).unwrap();
    assert_eq!(sums.lines().count(), 2);
    for line in sums.lines() {
        let (digest, name) = line.split_once("  ").unwrap();
        assert_eq!(
            digest,
            sha256_hex(&std::fs::read(file("out").join(name)).unwrap())
        );
    }
    assert!(sums.contains(QCOW2));
    // Neither scratch nor half-written files stay behind.
    assert_eq!(std::fs::read_dir(file("out")).unwrap().count(), 3);
}

#[test]
fn a_program_that_was_not_compiled_is_named_with_its_path() {
    let directory = TempDir::new("missing");
    let kernel = directory.path().join("kernel");
    std::fs::write(&kernel, "kernel").unwrap();
    let options = Options {
        out: directory.path().join("out"),
        binaries: directory.path().into(),
        edge: None,
        kernel: Some(kernel),
    };
    let error = build(&options).unwrap_err().to_string();
    assert!(error.contains("/connector is missing; compile"), "{error}");
    assert!(!options.out.exists());
}

fn built_in(name: &str, kernel: Vec<u8>) -> Vec<Artefact> {
    let scratch = TempDir::new(name);
    artefacts(&system(kernel), "7", scratch.path(), &mut Steps::quiet()).unwrap()
}
