//! Golden bytes, round trips, and damage.

use super::*;
use proptest::prelude::*;

#[test]
fn a_disk_reads_back_and_its_zero_clusters_take_no_room() {
    let disk = checkered(10);
    let image = emit(&disk).unwrap();
    // Header, refcount table, one block, L1, one L2, and the five stored clusters.
    assert_eq!(image.len(), 10 * CLUSTER_BYTES);
    assert_eq!(parse(&image, disk.len() as u64), Ok(disk));
}

#[test]
fn the_header_is_the_one_of_the_specification() {
    let image = emit(&[1; 512]).unwrap();
    assert_eq!(&image[..8], b"QFI\xfb\0\0\0\x03");
    assert_eq!(u64_be(&image, 24), Some(512));
    assert_eq!(u32_be(&image, 100), Some(104));
    assert_eq!(&image[104..112], &[0; 8]);
}

#[test]
fn the_bytes_of_an_image_are_those_of_the_golden_digest() {
    use sha2::{Digest, Sha256};
    let image = emit(&checkered(10)).unwrap();
    let digest: String = Sha256::digest(image)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert_eq!(
        digest,
        "1f218de95abda982eb82fae59768e5df02a94375bd3751cf4919e227a80cd20a"
    );
}

#[test]
fn every_cluster_of_the_file_is_counted_once_and_none_beyond_it() {
    let image = emit(&checkered(10)).unwrap();
    assert!((0..10).all(|cluster| refcount(&image, cluster) == Some(1)));
    assert_eq!(refcount(&image, 10), Some(0));
}

#[test]
fn refcount_blocks_cover_themselves_when_the_disk_is_large() {
    // The smallest number of stored clusters at which a second block is needed, and around.
    for stored in 32_755..32_775 {
        let plan = Plan::new(stored, stored);
        assert!(plan.refcount_blocks.len() * REFCOUNTS >= plan.clusters());
    }
    assert_eq!(Plan::new(32_770, 32_770).refcount_blocks.len(), 2);
}

#[test]
fn a_disk_longer_than_the_limit_is_refused_before_memory_is_taken() {
    let mut image = emit(&[1; 512]).unwrap();
    put(&mut image, field::DISK_BYTES, &(1u64 << 60).to_be_bytes());
    assert_eq!(
        parse(&image, 512),
        Err(Qcow2Error::TooLong {
            bytes: 1 << 60,
            max: 512
        })
    );
}

#[test]
fn an_untouched_image_is_one_whose_every_byte_is_as_written() {
    let good = emit(&checkered(3)).unwrap();
    let bytes = checkered(3).len() as u64;
    assert!(parse_untouched(&good, bytes) == Ok(checkered(3)));
    // Compatible features, a snapshot, a header extension, a refcount, the end of the L1 table,
    // the room behind the disk's last sector.
    for at in [
        87,
        63,
        104,
        2 * CLUSTER_BYTES + 1,
        4 * CLUSTER_BYTES - 1,
        good.len() - 1,
    ] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(parse(&bad, bytes).is_ok(), "{at}");
        let offset = at as u64;
        assert!(
            parse_untouched(&bad, bytes) == Err(Qcow2Error::Foreign { offset }),
            "{at}"
        );
    }
}

#[test]
fn an_image_that_goes_on_or_uses_a_cluster_twice_is_not_untouched() {
    let good = emit(&checkered(3)).unwrap();
    let bytes = checkered(3).len() as u64;
    let longer = [good.as_slice(), &[0; 512]].concat();
    let offset = good.len() as u64;
    assert!(parse_untouched(&longer, bytes) == Err(Qcow2Error::Foreign { offset }));

    let mut twice = good;
    let l2_entry = 4 * CLUSTER_BYTES;
    twice.copy_within(l2_entry..l2_entry + POINTER, l2_entry + 2 * POINTER);
    assert!(parse(&twice, bytes).is_ok());
    assert!(matches!(
        parse_untouched(&twice, bytes),
        Err(Qcow2Error::Foreign { .. })
    ));
}

#[test]
fn odd_lengths_are_refused() {
    assert_eq!(emit(&[]), Err(Qcow2Error::DiskBytes { bytes: 0 }));
    assert_eq!(emit(&[0; 513]), Err(Qcow2Error::DiskBytes { bytes: 513 }));
}

#[test]
fn damaged_metadata_never_makes_the_reader_panic() {
    let good = emit(&checkered(3)).unwrap();
    let tables = [
        0..112,
        3 * CLUSTER_BYTES..3 * CLUSTER_BYTES + 8,
        4 * CLUSTER_BYTES..4 * CLUSTER_BYTES + 24,
    ];
    for at in tables.into_iter().flatten() {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            fuzz_qcow2(&bad);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_disk_survives_the_round_trip(
        sectors in 1usize..400, writes in proptest::collection::vec((any::<u32>(), any::<u8>()), 0..9),
    ) {
        let mut disk = vec![0; sectors * 512];
        for (at, value) in writes {
            let at = at as usize % disk.len();
            disk[at] = value;
        }
        let image = emit(&disk).unwrap();
        prop_assert!(parse(&image, disk.len() as u64).unwrap() == disk);
    }
}

/// Every second cluster holds its index, the others zeros; the last one is a sector short.
fn checkered(clusters: usize) -> Vec<u8> {
    let mut disk = vec![0; clusters * CLUSTER_BYTES - 512];
    for (index, cluster) in disk.chunks_mut(CLUSTER_BYTES).enumerate().step_by(2) {
        cluster.fill(u8::try_from(index + 1).unwrap());
    }
    disk
}
