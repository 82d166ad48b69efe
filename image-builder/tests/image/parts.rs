//! Pieces of artefacts: the boot state inside a disk, and the files inside an OVA.

use disk_format::gpt::Gpt;
use disk_format::slot::{boot_key, partition};
use disk_format::tar::{self, Entry};
use image_builder::boot_state::{self, BootStateError};
use image_builder::disk::{self, Disk as _, DiskError};
use image_builder::ova::{Ova, OvaError};
use ovf::descriptor::{Descriptor, Disk};
use sha2::{Digest as _, Sha256};

use crate::support::{small_disk, vmdk};

#[test]
fn the_boot_state_is_changed_alike_in_a_raw_disk_and_in_a_vmdk_and_nothing_else_is() {
    let fresh = small_disk();
    let (mut raw, mut packed) = (fresh.clone(), vmdk(&fresh));
    let mut state = boot_state::read(&raw).unwrap();
    assert_eq!(state.get(boot_key::GOOD), Some("a"));
    state.set(boot_key::NAME, "mumbai-01").unwrap();
    boot_state::write(&mut raw, &state).unwrap();
    boot_state::write(&mut packed, &state).unwrap();
    assert!(packed.to_disk().unwrap() == raw);
    assert!(packed == vmdk(&raw), "the grain is not as if packed anew");
    assert_eq!(boot_state::read(&packed).unwrap(), state);

    let at = usize::try_from(boot_state::block_offset(&raw).unwrap()).unwrap();
    let changed = (0..raw.len()).filter(|index| raw[*index] != fresh[*index]);
    assert!(changed.clone().count() > 0);
    assert!(
        changed
            .into_iter()
            .all(|index| (at..at + 1024).contains(&index))
    );

    boot_state::write(&mut raw, &boot_state::without_minted(&state)).unwrap();
    assert!(raw == fresh);
}

#[test]
fn a_disk_without_our_partitions_is_refused_and_so_is_a_read_beyond_its_end() {
    let mut disk = vec![0; 1 << 20];
    assert!(matches!(
        boot_state::read(&disk),
        Err(BootStateError::Disk(DiskError::Table(_)))
    ));
    let end = disk.len() as u64;
    for (offset, length) in [(end - 1, 2), (u64::MAX, 1), (0, usize::MAX)] {
        assert!(disk.read_at(offset, length).is_err());
    }
    assert!(disk.write_at(end, &[1]).is_err());

    let mut other = small_disk();
    let table = disk::table(&other).unwrap();
    let partitions = table.partitions().iter();
    let others = partitions.filter(|one| one.name != partition::BOOT_STATE);
    let guid = table.disk_guid();
    let table = Gpt::new(guid, table.disk_sectors(), others.cloned().collect()).unwrap();
    other.write_at(0, &table.emit(&[0; 440]).primary).unwrap();
    let refused = boot_state::read(&other);
    assert!(matches!(refused, Err(BootStateError::NoPartition)));
}

#[test]
fn an_ova_reads_back_as_what_was_packed() {
    let disk = vmdk(&small_disk());
    let packed = Ova::pack("mumbai-01", &descriptor(), &disk, 1_700_000_000, None).unwrap();
    let ova = Ova::parse(&packed.ova).unwrap();
    assert_eq!(ova.name, "mumbai-01");
    assert_eq!(ova.epoch, 1_700_000_000);
    assert_eq!(ova.manifest, packed.mf);
    assert_eq!(ova.certificate, None);
    assert!(ova.vmdk == disk);
    assert_eq!(ova.descriptor.disk.file_name, "mumbai-01.vmdk");
    assert_eq!(ova.descriptor.disk.file_bytes, packed.vmdk.len() as u64);
    assert_eq!(ova.descriptor.disk.populated_bytes, disk.stored_bytes());
    let again = Ova::pack("mumbai-01", &ova.descriptor, &ova.vmdk, ova.epoch, None).unwrap();
    assert!(again == packed);
}

#[test]
fn each_thing_that_is_wrong_with_an_ova_is_named() {
    let disk = vmdk(&small_disk());
    let packed = Ova::pack("a", &descriptor(), &disk, 0, None).unwrap();
    let (ovf, mf, image) = (
        ("a.ovf", packed.ovf.as_slice()),
        ("a.mf", packed.mf.as_slice()),
        ("a.vmdk", packed.vmdk.as_slice()),
    );
    let mut smaller = packed.ovf.clone();
    let at = smaller
        .windows(3)
        .position(|three| three == b"256")
        .unwrap();
    smaller[at] = b'1';
    let cut = &packed.vmdk[..packed.vmdk.len() - 512];
    for (files, needle) in [
        (vec![mf, ovf, image], "[a.mf, a.ovf, a.vmdk]"),
        (vec![ovf, mf], "in this order"),
        (vec![ovf, mf, image, ("b", b"")], "in this order"),
        (vec![ovf, mf, ("b.cert", b""), image], "b.cert"),
        (vec![ovf, mf, ("b.vmdk", image.1)], "b.vmdk"),
        (vec![("a.ovf", &smaller), mf, image], "a.ovf has sha256"),
        (vec![ovf, mf, ("a.vmdk", cut)], "a.vmdk has sha256"),
        (vec![ovf, ("a.mf", b"x"), image], "manifest"),
    ] {
        let entries: Vec<Entry<'_>> = files
            .into_iter()
            .map(|(name, content)| Entry { name, content })
            .collect();
        let said = Ova::parse(&tar::emit(&entries, 0).unwrap()).unwrap_err();
        assert!(said.to_string().contains(needle), "{said}");
    }
}

#[test]
fn a_descriptor_of_another_disk_is_refused_although_every_digest_holds() {
    let disk = small_disk();
    let [small, large] = [&disk, &[disk.clone(), vec![0; 1 << 20]].concat()]
        .map(|disk| Ova::pack("a", &descriptor(), &vmdk(disk), 0, None).unwrap());
    let digests = [("a.ovf", &small.ovf), ("a.vmdk", &large.vmdk)]
        .map(|(name, content)| (name, Sha256::digest(content).into()));
    let mf = ovf::manifest::emit(&digests);
    let entries = [
        ("a.ovf", small.ovf.as_slice()),
        ("a.mf", mf.as_bytes()),
        ("a.vmdk", &large.vmdk),
    ]
    .map(|(name, content)| Entry { name, content });
    let refused = Ova::parse(&tar::emit(&entries, 0).unwrap());
    assert!(matches!(refused, Err(OvaError::Disk { .. })));
}

#[test]
fn names_that_make_no_file_names_are_refused() {
    let disk = vmdk(&small_disk());
    for name in ["", ".", "../a", "a b", "a/b", &"a".repeat(100)] {
        let refused = Ova::pack(name, &descriptor(), &disk, 0, None);
        assert!(matches!(refused, Err(OvaError::Name { .. })), "{name:?}");
    }
}

fn descriptor() -> Descriptor {
    Descriptor {
        name: "Outgate connector".into(),
        version: "0.1.0".into(),
        full_version: "0.1.0 (source tree 0123456789ab)".into(),
        annotation: "A connector.".into(),
        disk: Disk {
            file_name: String::new(),
            file_bytes: 0,
            capacity_mib: 0,
            populated_bytes: 0,
        },
        mac: None,
        cpus: 1,
        memory_mib: 256,
        properties: Vec::new(),
    }
}
