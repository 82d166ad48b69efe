//! Slot headers and the boot state's room.

use super::*;
use proptest::prelude::*;

#[test]
fn the_longest_boot_state_fits_into_the_sector_that_changes() {
    let mut env = GrubEnv::new();
    for (key, longest) in [
        (boot_key::GOOD, "a".into()),
        (boot_key::TRIAL, "b".into()),
        (boot_key::LEFT, "3".into()),
        (boot_key::DEADLINE_S, "3600".into()),
        (boot_key::NAME, "n".repeat(63)),
        (boot_key::MAC, "00:50:56:01:02:03".into()),
        (boot_key::EDGE, format!("{}:65535", "e".repeat(253))),
        (boot_key::GROUP, "g".repeat(63)),
    ] {
        let longest: String = longest;
        env.set(key, &longest).unwrap();
    }
    assert!(env.used_bytes() <= BOOT_STATE_BYTES_MAX);
}

#[test]
fn a_header_reads_back_as_written() {
    let header = header();
    let emitted = header.emit().unwrap();
    assert_eq!(SlotHeader::parse(&emitted, 65_536), Ok(header));
}

#[test]
fn the_first_lines_are_what_the_loader_reads() {
    let emitted = header().emit().unwrap();
    let golden = "# GRUB Environment Block\nkernel_start=8\nkernel_sectors=100\n\
                  initrd_start=108\ninitrd_sectors=7\nversion=0.1.0\ncontent_sha256=abab";
    assert!(emitted.starts_with(golden.as_bytes()));
    assert!(emitted[1024..].iter().all(|byte| *byte == 0));
}

#[test]
fn an_initramfs_past_the_slots_end_is_refused() {
    let emitted = header().emit().unwrap();
    assert!(SlotHeader::parse(&emitted, 115).is_ok());
    assert!(matches!(
        SlotHeader::parse(&emitted, 114),
        Err(SlotError::Extents { .. })
    ));
}

#[test]
fn extents_that_overflow_are_refused_without_a_panic() {
    let mut header = header();
    header.initrd.sectors = u64::MAX;
    let emitted = header.emit().unwrap();
    assert!(matches!(
        SlotHeader::parse(&emitted, u64::MAX),
        Err(SlotError::Extents { .. })
    ));
}

#[test]
fn an_empty_slot_has_no_header() {
    let empty = SlotHeader::parse(&[0; HEADER_BYTES], 65_536);
    assert_eq!(empty, Err(SlotError::Block(GrubEnvError::Signature)));
}

proptest! {
    #[test]
    fn a_damaged_header_never_makes_the_reader_panic(at in 0usize..300, value in any::<u8>()) {
        let mut data = header().emit().unwrap().to_vec();
        data[at] = value;
        fuzz_slot(&data);
    }
}

fn header() -> SlotHeader {
    SlotHeader {
        kernel: Extent {
            start: 8,
            sectors: 100,
        },
        initrd: Extent {
            start: 108,
            sectors: 7,
        },
        version: "0.1.0".into(),
        content_sha256: [0xab; 32],
    }
}
