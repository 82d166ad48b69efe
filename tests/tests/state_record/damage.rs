//! Both slots and the device secret altered, zeroed, replaced: the old record, or "not enrolled".

use connector_proto::local::NoIdentity;
use connector_proto::record::{DEVICE_AT, DEVICE_LEN, SLOT_LEN};
use proptest::prelude::*;

use super::machine::{Hardware, MACHINE, Machine, USED, enrolled};

/// Both slots and both places, by offset and length.
const AREAS: [(usize, usize); 4] = [
    (0, SLOT_LEN),
    (SLOT_LEN, SLOT_LEN),
    (DEVICE_AT, DEVICE_LEN),
    (DEVICE_AT + DEVICE_LEN, DEVICE_LEN),
];

#[test]
fn every_flipped_bit_costs_one_slot_or_nothing() {
    let (good, used) = good_disk();
    let mut disk = good.clone();
    for (area, range) in used.into_iter().enumerate() {
        for bit in range.start * 8..range.end * 8 {
            disk[bit / 8] ^= 1 << (bit % 8);
            let machine = Machine::start(MACHINE, &disk);
            assert_eq!(machine.name(), "mumbai-01", "bit {bit}");
            // The newest record is in slot 0.
            let write = if area == 0 { 2 } else { 3 };
            let ratchet = machine.store.state().ratchet.0;
            assert_eq!(ratchet, [write; 32], "bit {bit}");
            disk[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn every_zeroed_sector_costs_one_slot_or_nothing() {
    let (good, _) = good_disk();
    for sector in (0..USED).step_by(512) {
        let mut disk = good.clone();
        disk[sector..sector + 512].fill(0);
        let machine = Machine::start(MACHINE, &disk);
        assert_eq!(machine.name(), "mumbai-01", "sector at {sector}");
        assert!(machine.store.state().ratchet.0[0] >= 2);
    }
}

/// What lies in an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Own,
    Zeros,
    /// Of a machine with another UUID and another secret.
    OtherMachine,
    /// Of a machine with the same UUID, as a careless administrator makes it, and another secret.
    Twin,
    /// A file system that begins with a boot sector.
    Fat,
    /// One that begins with zeros.
    Ext4,
}

const CONTENTS: [Content; 6] = [
    Content::Own,
    Content::Zeros,
    Content::OtherMachine,
    Content::Twin,
    Content::Fat,
    Content::Ext4,
];

#[test]
fn what_lies_in_the_slots_and_places_decides_alone_what_is_remembered() {
    let disks = CONTENTS.map(disk_with);
    let mut met = Vec::new();
    for number in 0..CONTENTS.len().pow(4) {
        let chosen = [0, 1, 2, 3].map(|area| number / CONTENTS.len().pow(area) % CONTENTS.len());
        let mut disk = vec![0; USED];
        for (index, (at, len)) in chosen.into_iter().zip(AREAS) {
            disk[at..at + len].copy_from_slice(&disks[index][at..at + len]);
        }
        let contents = chosen.map(|index| CONTENTS[index]);
        let machine = Machine::start(MACHINE, &disk);
        let found = (machine.name().to_owned(), machine.why.clone());
        assert_eq!(found, expected(contents), "{contents:?}");
        if !met.contains(&found) {
            met.push(found);
        }
        check_that_it_can_be_enrolled(machine);
    }
    // Two names, three foreign ones, unreadable, blank.
    assert_eq!(met.len(), 7, "{met:?}");
}

/// Name and reason, said a second time: a slot is opened by its own machine's secret in any place, and
/// only under its UUID. The newest one that is opened counts, else the newest that is not.
fn expected([a, b, first, second]: [Content; 4]) -> (String, Option<NoIdentity>) {
    let owner = |content| match content {
        Content::Own => Some("mumbai-01"),
        Content::OtherMachine => Some("mumbai-02"),
        Content::Twin => Some("mumbai-03"),
        Content::Zeros | Content::Fat | Content::Ext4 => None,
    };
    // On every disk the newest record is in slot 0.
    let slots = [a, b];
    let is_opened = |slot: &Content| {
        let is_ours = matches!(slot, Content::Own | Content::Twin);
        is_ours && [first, second].contains(slot)
    };
    let opened = slots.into_iter().find(is_opened).and_then(owner);
    if let Some(name) = opened {
        return (name.into(), None);
    }
    let sealed = slots.into_iter().find_map(owner);
    let is_blank = |slot: &Content| matches!(slot, Content::Zeros | Content::Ext4);
    let why = match sealed {
        Some(name)
            if [first, second]
                .into_iter()
                .any(|place| owner(place).is_some()) =>
        {
            NoIdentity::Foreign {
                name: name.parse().unwrap(),
            }
        }
        Some(_) => NoIdentity::Unreadable,
        None if slots.iter().all(is_blank) => NoIdentity::Blank,
        None => NoIdentity::Unreadable,
    };
    (String::new(), Some(why))
}

/// A disk all of whose areas hold that. The machines' records have the same generations.
fn disk_with(content: Content) -> Vec<u8> {
    let other = Hardware {
        uuid: [4; 16],
        tpm: None,
    };
    match content {
        Content::Own => good_disk().0,
        Content::Zeros => vec![0; USED],
        Content::OtherMachine => Machine::enrolled(other, "mumbai-02", 3).content(),
        Content::Twin => Machine::enrolled(MACHINE, "mumbai-03", 3).content(),
        Content::Fat => repeated(&fat_boot_sector()),
        Content::Ext4 => repeated(&ext4_first_block()),
    }
}

/// The beginning of a file system in each area.
fn repeated(beginning: &[u8]) -> Vec<u8> {
    let mut disk = vec![0; USED];
    for (at, _) in AREAS {
        disk[at..at + beginning.len()].copy_from_slice(beginning);
    }
    disk
}

/// As `mkfs.fat` writes it (Microsoft's "FAT: General Overview", boot sector and BPB).
fn fat_boot_sector() -> Vec<u8> {
    let mut sector = vec![0; 512];
    sector[..3].copy_from_slice(&[0xeb, 0x3c, 0x90]);
    sector[3..11].copy_from_slice(b"mkfs.fat");
    sector[11..13].copy_from_slice(&512_u16.to_le_bytes());
    sector[13] = 4;
    sector[54..62].copy_from_slice(b"FAT12   ");
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// As `mkfs.ext4` writes it: 1024 bytes for a boot loader, then the superblock (Linux,
/// `Documentation/filesystems/ext4/super.rst`).
fn ext4_first_block() -> Vec<u8> {
    let mut block = vec![0; 4096];
    block[1024..1028].copy_from_slice(&128_u32.to_le_bytes());
    block[1028..1032].copy_from_slice(&1024_u32.to_le_bytes());
    block[1024 + 0x38..1024 + 0x3a].copy_from_slice(&0xef53_u16.to_le_bytes());
    block
}

/// Whatever was there, a new identity is kept.
fn check_that_it_can_be_enrolled(mut machine: Machine) {
    machine.store.save(enrolled("mumbai-04", 1)).unwrap();
    let again = Machine::start(MACHINE, &machine.content());
    assert_eq!((again.name(), &again.why), ("mumbai-04", &None));
}

proptest! {
    #[test]
    fn any_bytes_in_any_place_are_handled(
        holes in proptest::collection::vec((0..USED, proptest::collection::vec(any::<u8>(), 0..600)), 1..12)
    ) {
        let (mut disk, _) = good_disk();
        for (at, bytes) in holes {
            let end = (at + bytes.len()).min(USED);
            disk[at..end].copy_from_slice(&bytes[..end - at]);
        }
        let machine = Machine::start(MACHINE, &disk);
        prop_assert!(["", "mumbai-01"].contains(&machine.name()));
        check_that_it_can_be_enrolled(machine);
    }
}

/// A disk with two records, and the bytes of each area that are used.
fn good_disk() -> (Vec<u8>, [std::ops::Range<usize>; 4]) {
    let disk = Machine::enrolled(MACHINE, "mumbai-01", 3).content();
    let used = AREAS.map(|(at, len)| {
        let used = disk[at..at + len].iter().rposition(|byte| *byte != 0);
        at..at + used.unwrap() + 1
    });
    (disk, used)
}
