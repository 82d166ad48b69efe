//! `cargo image verify`: every artefact is told for what it is, and damage is named.

use std::path::Path;

use disk_format::qcow2;
use disk_format::slot::{boot_key, partition};
use disk_format::vmdk::Vmdk;
use image_builder::boot_state;
use image_builder::build::{OVA, QCOW2, RAW, build};
use image_builder::disk;
use image_builder::output::SHA256SUMS;
use image_builder::ova::{Ova, Packed, fuzz_ova};
use image_builder::verify::checkout::Build;
use image_builder::verify::{Report, fuzz_verify, verify};
use ovf::descriptor::{Descriptor, Disk};
use ovf::mac::MacAddress;

use crate::signed::{has_openssl, signer};
use crate::support::{TempDir, has_grub, options, small_disk, vmdk};

#[test]
fn every_artefact_of_this_checkout_is_recognised_bit_for_bit() {
    let name = "every_artefact_of_this_checkout_is_recognised_bit_for_bit";
    if !has_grub(name) {
        return;
    }
    let directory = TempDir::new("recognised");
    let options = options(directory.path());
    let built = build(&options).unwrap();
    let build = Build::load(&options.out);
    for artefact in &built {
        let report = verify(&options.out.join(&artefact.name), &build);
        let said = report.to_string();
        assert!(report.holds(), "{said}");
        let verdict = format!("bit for bit its {}", artefact.name);
        assert!(said.contains(&verdict), "{said}");
    }
    let sums = verify(&options.out.join(SHA256SUMS), &build);
    assert!(sums.holds(), "{sums}");
    assert_eq!(sums.to_string().matches("ok ").count(), built.len());
}

#[test]
fn a_minted_disk_is_the_same_but_for_what_was_minted_and_another_build_differs_in_its_slot() {
    let name =
        "a_minted_disk_is_the_same_but_for_what_was_minted_and_another_build_differs_in_its_slot";
    if !has_grub(name) {
        return;
    }
    let directory = TempDir::new("minted-same");
    let options = options(directory.path());
    build(&options).unwrap();
    let build = Build::load(&options.out);
    let ova = Ova::parse(&std::fs::read(options.out.join(OVA)).unwrap()).unwrap();
    let mut minted = ova.vmdk.clone();
    mint(&mut minted);
    let descriptor = Descriptor {
        name: "mumbai-01".into(),
        mac: Some(MAC),
        ..ova.descriptor
    };
    let packed = Ova::pack("mumbai-01", &descriptor, &minted, ova.epoch, None).unwrap();
    let report = of(&directory, &packed.ova, &build);
    assert!(report.holds(), "{report}");
    let said = report.to_string();
    for part in [
        "minted name: mumbai-01",
        "minted MAC address: 00:50:56:00:00:01",
        "minted connector group: Mumbai",
        "00:50:56:00:00:01 in the descriptor, 00:50:56:00:00:01 on the disk",
        "the disk is the same, but for what minting writes into it",
        "the machine is the same, but for what minting",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }

    let mut other = std::fs::read(options.out.join(RAW)).unwrap();
    let table = disk::table(&other).unwrap();
    let (slot, _) = disk::extent(table.find(partition::SLOT_A).unwrap());
    other[usize::try_from(slot).unwrap() + 5000] ^= 1;
    let report = of(&directory, &other, &build);
    let said = report.to_string();
    assert!(said.contains("different in outgate-slot-a\n"), "{said}");
    assert!(said.contains("WRONG slot a: version"), "{said}");
    assert!(!report.holds());
}

#[test]
fn a_mac_address_that_descriptor_and_disk_disagree_on_is_wrong() {
    let directory = TempDir::new("disagree");
    for (mac, is_minted) in [(Some(MAC), false), (None, true)] {
        let mut disk = vmdk(&small_disk());
        if is_minted {
            mint(&mut disk);
        }
        let packed = packed(&disk, mac);
        let report = of(&directory, &packed.ova, &Build::default());
        assert!(!report.holds(), "{report}");
        assert!(
            report.to_string().contains("WRONG MAC address:"),
            "{report}"
        );
    }
    let mut disk = vmdk(&small_disk());
    mint(&mut disk);
    let report = of(&directory, &packed(&disk, Some(MAC)).ova, &Build::default());
    assert!(report.holds(), "{report}");
}

#[test]
fn a_kind_is_told_by_content_and_not_by_name() {
    let directory = TempDir::new("kinds");
    let disk = small_disk();
    let packed = packed(&vmdk(&disk), None);
    for (content, kind) in [
        (disk.clone(), "raw disk"),
        (qcow2::emit(&disk).unwrap(), "qcow2 disk image"),
        (packed.vmdk, "streamOptimized VMDK"),
        (packed.ovf, "OVF descriptor"),
        (packed.ova, "OVA"),
    ] {
        let report = of(&directory, &content, &Build::default());
        assert!(report.holds(), "{report}");
        let said = report.to_string();
        assert!(
            said.trim_start().starts_with(&format!("{kind}, ")),
            "{said}"
        );
        assert!(said.contains("not compared: there is no build"), "{said}");
    }
}

#[test]
fn each_damage_is_named() {
    let directory = TempDir::new("damage");
    let disk = small_disk();
    let table = disk::table(&disk).unwrap();
    let start = |name: &str| {
        let (offset, _) = disk::extent(table.find(name).unwrap());
        usize::try_from(offset).unwrap()
    };
    let backup = disk.len() - 512 + 20;
    let boot_state = usize::try_from(boot_state::block_offset(&disk).unwrap()).unwrap();
    for (at, needle) in [
        (
            start(partition::SLOT_A) + 4096,
            "WRONG slot a: version 0.1.0",
        ),
        (start(partition::SLOT_A) + 3, "WRONG slot a: "),
        (start(partition::SLOT_B) + 9000, "WRONG slot b: "),
        (600, "WRONG partition table"),
        (backup, "WRONG partition table: both copies"),
        (boot_state + 2, "WRONG boot state"),
        (start(partition::STATE), "state record: in use"),
    ] {
        let mut damaged = disk.clone();
        damaged[at] ^= 0x15;
        let report = of(&directory, &damaged, &Build::default());
        let said = report.to_string();
        assert!(said.contains(needle), "{needle:?} is not in\n{said}");
        assert_eq!(report.holds(), !needle.starts_with("WRONG"), "{said}");
    }
    let empty = of(&directory, &[], &Build::default());
    assert!(!empty.holds(), "{empty}");
    let missing = verify(Path::new("/nowhere/outgate.ova"), &Build::default());
    assert!(!missing.holds(), "{missing}");
}

#[test]
fn a_grown_disk_is_said_to_be_grown_and_an_empty_good_slot_is_wrong() {
    let directory = TempDir::new("grown");
    let mut grown = small_disk();
    grown.resize(grown.len() + (3 << 20), 0);
    let report = of(&directory, &grown, &Build::default());
    assert!(report.holds(), "{report}");
    assert!(
        report.to_string().contains("by 3 MiB: it was grown"),
        "{report}"
    );

    let mut empty = small_disk();
    let mut state = boot_state::read(&empty).unwrap();
    state.set(boot_key::GOOD, "b").unwrap();
    boot_state::write(&mut empty, &state).unwrap();
    let report = of(&directory, &empty, &Build::default());
    let said = report.to_string();
    assert!(
        said.contains("WRONG slot b: empty, and it is the one to boot"),
        "{said}"
    );
}

#[test]
fn a_signature_is_told_and_a_changed_manifest_found() {
    let name = "a_signature_is_told_and_a_changed_manifest_found";
    if !has_openssl(name) {
        return;
    }
    let directory = TempDir::new("told-signature");
    let publisher = signer(directory.path(), "publisher");
    let disk = vmdk(&small_disk());
    let signed = Ova::pack("outgate", &descriptor(None), &disk, 0, Some(&publisher)).unwrap();
    let report = of(&directory, &signed.ova, &Build::default());
    assert!(report.holds(), "{report}");
    let said = report.to_string();
    assert!(said.contains("ok    signature: by CN=publisher"), "{said}");

    // The same signature around another machine, whose own manifest is right.
    let other = Ova::pack("outgate", &descriptor(Some(MAC)), &disk, 0, None).unwrap();
    let entries = [
        ("outgate.ovf", &other.ovf),
        ("outgate.mf", &other.mf),
        ("outgate.cert", signed.cert.as_ref().unwrap()),
        ("outgate.vmdk", &other.vmdk),
    ]
    .map(|(name, content)| disk_format::tar::Entry { name, content });
    let forged = disk_format::tar::emit(&entries, 0).unwrap();
    let report = of(&directory, &forged, &Build::default());
    assert!(report.to_string().contains("WRONG signature:"), "{report}");
}

#[test]
fn no_mutation_of_an_artefact_panics() {
    let disk = small_disk();
    let mut minted = vmdk(&disk);
    mint(&mut minted);
    let packed = packed(&minted, Some(MAC));
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % below as u64).unwrap()
    };
    let qcow2 = qcow2::emit(&disk).unwrap();
    for artefact in [disk, qcow2, packed.ova, packed.vmdk, packed.ovf, packed.mf] {
        fuzz_verify(&artefact);
        fuzz_ova(&artefact);
        for _ in 0..300 {
            let mut mutated = artefact.clone();
            // Structures are at the beginning, mostly.
            let reach = if next(2) == 0 { 4096 } else { mutated.len() };
            for _ in 0..=next(3) {
                let at = next(reach.min(mutated.len()));
                mutated[at] = u8::try_from(next(256)).unwrap();
            }
            if next(4) == 0 {
                mutated.truncate(next(artefact.len()));
            }
            fuzz_verify(&mutated);
            fuzz_ova(&mutated);
        }
    }
}

const MAC: MacAddress = MacAddress([0x00, 0x50, 0x56, 0x00, 0x00, 0x01]);

/// Writes into `disk` what minting writes.
fn mint(disk: &mut Vmdk) {
    let mut state = boot_state::read(disk).unwrap();
    for (key, value) in [
        (boot_key::NAME, "mumbai-01"),
        (boot_key::MAC, "00:50:56:00:00:01"),
        (boot_key::GROUP, "Mumbai"),
    ] {
        state.set(key, value).unwrap();
    }
    boot_state::write(disk, &state).unwrap();
}

fn packed(disk: &Vmdk, mac: Option<MacAddress>) -> Packed {
    Ova::pack("mumbai-01", &descriptor(mac), disk, 1_700_000_000, None).unwrap()
}

fn descriptor(mac: Option<MacAddress>) -> Descriptor {
    Descriptor {
        name: "mumbai-01".into(),
        version: "0.1.0".into(),
        full_version: "0.1.0 (source tree 0123456789ab)".into(),
        annotation: "A connector.".into(),
        disk: Disk {
            file_name: String::new(),
            file_bytes: 0,
            capacity_mib: 0,
            populated_bytes: 0,
        },
        mac,
        cpus: 1,
        memory_mib: 256,
        properties: Vec::new(),
    }
}

/// The report on a file with this content.
fn of(directory: &TempDir, content: &[u8], build: &Build) -> Report {
    let file = directory.path().join(QCOW2);
    std::fs::write(&file, content).unwrap();
    verify(&file, build)
}
