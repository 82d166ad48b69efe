//! Golden bytes, round trips, and damage of every kind refused.

use super::*;
use proptest::prelude::*;

#[test]
fn both_copies_read_back_as_the_table_that_was_written() {
    let table = two_partitions();
    let emitted = table.emit(&[0x90; BOOT_CODE_BYTES]);
    assert_eq!(emitted.primary.len(), 34 * 512);
    assert_eq!(emitted.backup.len(), 33 * 512);
    assert_eq!(Gpt::parse_primary(&emitted.primary), Ok(table.clone()));
    assert_eq!(Gpt::parse_backup(&emitted.backup, 4096), Ok(table));
}

#[test]
fn the_bytes_of_a_table_are_those_of_the_golden_digest() {
    use sha2::{Digest, Sha256};
    let emitted = two_partitions().emit(&[0; BOOT_CODE_BYTES]);
    let digest = Sha256::new()
        .chain_update(emitted.primary)
        .chain_update(emitted.backup);
    assert_eq!(hex(&digest.finalize()), GOLDEN_SHA256);
}

#[test]
fn the_protective_mbr_covers_the_disk_and_carries_the_boot_code() {
    let primary = two_partitions().emit(&[0x90; BOOT_CODE_BYTES]).primary;
    assert!(primary[..440].iter().all(|byte| *byte == 0x90));
    assert_eq!(primary[446 + 4], 0xEE);
    assert_eq!(u32_le(&primary, 446 + 12), Some(4095));
    assert_eq!(&primary[510..512], &[0x55, 0xAA]);
}

#[test]
fn overlapping_partitions_are_refused_by_name() {
    let partitions = vec![partition("one", 64, 128), partition("two", 128, 200)];
    assert_eq!(
        Gpt::new(Guid::ZERO, 4096, partitions),
        Err(GptError::Overlap {
            first: "one".into(),
            second: "two".into()
        })
    );
}

#[test]
fn a_partition_may_not_reach_into_the_backup_table() {
    assert!(Gpt::new(Guid::ZERO, 4096, vec![partition("x", 64, 4096 - 34)]).is_ok());
    let error = Gpt::new(Guid::ZERO, 4096, vec![partition("x", 64, 4096 - 33)]);
    assert!(matches!(
        error,
        Err(GptError::OutOfBounds {
            last_usable: 4062,
            ..
        })
    ));
}

#[test]
fn every_flipped_bit_of_header_or_entries_is_noticed() {
    let good = two_partitions().emit(&[0; BOOT_CODE_BYTES]).primary;
    let header = 512..512 + 92;
    let entries = 1024..1024 + 256;
    for at in header.chain(entries) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert!(Gpt::parse_primary(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn attribute_bits_have_their_known_places() {
    assert_eq!(Attributes::REQUIRED.bits(), 0x1);
    assert_eq!(Attributes::LEGACY_BOOT.bits(), 0x4);
    assert!(Attributes::from_bits(0x5).is_required());
    assert!(Attributes::from_bits(0x5).is_legacy_boot());
    assert!(!Attributes::NONE.is_required());
}

proptest! {
    #[test]
    fn no_input_makes_the_readers_panic(data in proptest::collection::vec(any::<u8>(), 0..20_000)) {
        fuzz_gpt(&data);
    }

    #[test]
    fn a_damaged_table_never_makes_the_readers_panic(
        at in 512usize..34 * 512, value in any::<u8>(), cut in 0usize..34 * 512,
    ) {
        let mut data = two_partitions().emit(&[0; BOOT_CODE_BYTES]).primary;
        data[at] = value;
        fuzz_gpt(&data);
        data.truncate(cut);
        fuzz_gpt(&data);
    }
}

const GOLDEN_SHA256: &str = "d11d701cd24eaa7dd8d4e82d15106fcdf5c49b63821cd9d0ab591598069495d3";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn two_partitions() -> Gpt {
    let partitions = vec![
        partition("outgate-one", 64, 127),
        partition("zwei-ü", 128, 4000),
    ];
    Gpt::new(Guid::from_digest(&[7; 32]), 4096, partitions).unwrap()
}

fn partition(name: &str, first_lba: u64, last_lba: u64) -> Partition {
    Partition {
        type_guid: Guid::from_digest(&[1; 32]),
        guid: Guid::from_digest(&[2; 32]),
        first_lba,
        last_lba,
        attributes: Attributes::REQUIRED,
        name: name.into(),
    }
}
