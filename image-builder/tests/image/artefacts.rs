//! The artefacts of one build belong together.

use std::collections::BTreeSet;

use disk_format::vmdk::Vmdk;
use disk_format::{qcow2, tar};
use image_builder::build::{MANIFEST, OVA, QCOW2, RAW, SBOM, build};
use image_builder::output::{SHA256SUMS, sha256_hex};
use image_builder::ova::Ova;
use serde_json::Value;

use crate::support::{TempDir, artefact, built, has_grub, options, try_built};

#[test]
fn every_format_holds_the_same_disk() {
    if !has_grub("every_format_holds_the_same_disk") {
        return;
    }
    let built = built("formats", vec![7; 100_000], 2);
    let raw = artefact(&built, RAW);
    assert!(qcow2::parse(artefact(&built, QCOW2), 1 << 30).unwrap() == raw);
    let vmdk = Vmdk::parse(artefact(&built, "outgate.vmdk")).unwrap();
    assert!(vmdk.to_disk().unwrap() == raw);
    let ova = Ova::parse(artefact(&built, OVA)).unwrap();
    assert!(ova.vmdk == vmdk);
    assert_eq!(ova.epoch, 1_700_000_000);
    assert_eq!((ova.descriptor.cpus, ova.descriptor.memory_mib), (1, 256));
    assert_eq!(ova.descriptor.disk.capacity_mib, 77);
    assert_eq!(ova.descriptor.mac, None);
}

#[test]
fn the_ova_is_the_loose_files_in_the_order_that_importers_read() {
    if !has_grub("the_ova_is_the_loose_files_in_the_order_that_importers_read") {
        return;
    }
    let built = built("loose", vec![7; 100_000], 2);
    let entries = tar::parse(artefact(&built, OVA)).unwrap();
    let names: Vec<&str> = entries.iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["outgate.ovf", "outgate.mf", "outgate.vmdk"]);
    for entry in entries {
        assert!(
            entry.content == artefact(&built, entry.name),
            "{}",
            entry.name
        );
    }
}

#[test]
fn the_sums_and_the_build_manifest_name_every_file_and_each_digest_holds() {
    let name = "the_sums_and_the_build_manifest_name_every_file_and_each_digest_holds";
    if !has_grub(name) {
        return;
    }
    let directory = TempDir::new("sums");
    let options = options(directory.path());
    build(&options).unwrap();
    let read = |name: &str| std::fs::read(options.out.join(name)).unwrap();
    let text = |name: &str| String::from_utf8(read(name)).unwrap();

    let sums = text(SHA256SUMS);
    let mut listed = BTreeSet::from([SHA256SUMS.to_owned()]);
    for line in sums.lines() {
        let (digest, name) = line.split_once("  ").unwrap();
        assert_eq!(digest, sha256_hex(&read(name)));
        listed.insert(name.to_owned());
    }
    // Neither scratch nor half-written files stay behind, and nothing is unlisted.
    let entries = std::fs::read_dir(&options.out).unwrap();
    let found: BTreeSet<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(listed, found);
    assert_eq!(found.len(), 9, "{found:?}");

    let facts = text(MANIFEST);
    for line in facts.lines().filter(|line| line.starts_with("output ")) {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(sums.contains(&format!("{}  {}", words[1], words[3])));
        listed.remove(words[3]);
    }
    listed.remove(SHA256SUMS);
    assert_eq!(listed, BTreeSet::from([MANIFEST.to_owned()]));
    for input in ["bzImage", "connector", "console", "init"] {
        assert!(facts.contains(&format!(" {input}\n")), "{facts}");
    }

    let bill: Value = serde_json::from_slice(&read(SBOM)).unwrap();
    let components = bill["components"].as_array().unwrap();
    for name in ["linux", "grub-pc-bin", "rust-std", "rustls", "init"] {
        let is_listed = components.iter().any(|one| one["name"] == name);
        assert!(is_listed, "{name} is not in the bill of materials");
    }
}

#[test]
fn a_kernel_of_the_real_size_leaves_room_below_every_limit_and_a_huge_one_fails_the_build() {
    let name =
        "a_kernel_of_the_real_size_leaves_room_below_every_limit_and_a_huge_one_fails_the_build";
    if !has_grub(name) {
        return;
    }
    let built = built("real-size", noise(6 << 20), 2);
    assert!(artefact(&built, OVA).len() <= 16 << 20);
    assert!(artefact(&built, QCOW2).len() <= 20 << 20);
    assert!(artefact(&built, RAW).len() <= 256 << 20);
    let error = try_built("huge", noise(17 << 20), 2, None).unwrap_err();
    assert!(error.to_string().contains("at most 16777216"), "{error}");
}

/// Bytes that no compressor makes fewer of (xorshift64).
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend(state.to_le_bytes());
    }
    noise
}
