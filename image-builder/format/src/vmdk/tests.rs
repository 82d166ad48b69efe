//! The whole format: golden bytes, round trips, and damage of every kind refused.

mod mutants;

use std::num::NonZeroUsize;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::SECTOR_BYTES;
use crate::bytes::{put, u32_le, u64_le};

#[test]
fn the_bytes_of_a_file_are_those_of_the_golden_digest() {
    let file = checkered().emit().unwrap();
    assert_eq!(
        hex(&Sha256::digest(file)),
        "bf882167dbf8f7ed18acafe98cda1284c605621a78b06a9ba495db536b0cecae",
        "zlib's output has changed if nothing here has: a new miniz_oxide in Cargo.lock?"
    );
}

#[test]
fn the_stream_has_its_parts_in_the_order_of_the_specification() {
    let file = checkered().emit().unwrap();
    let marker = |sector: usize| {
        let at = sector * 512;
        let field = |offset| u32_le(&file, at + offset).unwrap();
        (u64_le(&file, at).unwrap(), field(8), field(12))
    };
    assert_eq!(&file[..4], b"KDMV");
    // Grains 0 and 2, each a sector here, and the table that points at them.
    assert_eq!(marker(128).0, 0);
    assert_eq!(marker(129).0, 256);
    assert_eq!(marker(130), (4, 0, MARKER_GT));
    assert_eq!(entries(&file, 131, 4), [128, 0, 129, 0]);
    // The second table has nothing to hold. Grain 1024 starts the third.
    assert_eq!(marker(135).0, 131_072);
    assert_eq!(marker(136), (4, 0, MARKER_GT));
    assert_eq!(entries(&file, 137, 2), [135, 0]);
    assert_eq!(marker(141), (1, 0, MARKER_GD));
    assert_eq!(entries(&file, 142, 4), [131, 0, 137, 0]);
    assert_eq!(marker(143), (1, 0, MARKER_FOOTER));
    assert_eq!(&file[144 * 512..][..4], b"KDMV");
    assert_eq!(u64_le(&file, 144 * 512 + 56), Some(142));
    assert_eq!(&file[145 * 512..], [0; 512]);
}

#[test]
fn the_number_of_threads_does_not_show() {
    let disk = checkered().to_disk().unwrap();
    let [one, two, seven, many] =
        [1, 2, 7, 5000].map(|threads| from_disk(&disk, threads).emit().unwrap());
    assert!(one == two && one == seven && one == many);
}

#[test]
fn an_empty_disk_has_a_directory_and_no_tables() {
    let empty = from_disk(&[0; 3 * GRAIN_BYTES], 2);
    let file = empty.emit().unwrap();
    assert_eq!(file.len(), (128 + 5) * 512);
    assert_eq!(Vmdk::parse(&file), Ok(empty));
}

#[test]
fn the_content_identifier_names_content_place_and_capacity() {
    let one_grain = |capacity: usize, at: usize, value: u8| {
        let mut disk = vec![0; capacity * GRAIN_BYTES];
        disk[at * GRAIN_BYTES] = value;
        from_disk(&disk, 1).cid()
    };
    let cid = one_grain(4, 1, 1);
    assert_eq!(cid, one_grain(4, 1, 1));
    for other in [one_grain(5, 1, 1), one_grain(4, 2, 1), one_grain(4, 1, 2)] {
        assert_ne!(cid, other);
    }
}

#[test]
fn lengths_that_are_no_whole_grains_or_too_long_are_refused() {
    for bytes in [0, 1, 512, GRAIN_BYTES - 1, GRAIN_BYTES + 512] {
        let refused = Err(VmdkError::Capacity {
            bytes: bytes as u64,
        });
        assert_eq!(Vmdk::from_disk(&vec![0; bytes], NonZeroUsize::MIN), refused);
    }
    assert!(checked_capacity(CAPACITY_BYTES_MAX).is_ok());
    assert!(checked_capacity(CAPACITY_BYTES_MAX + GRAIN_BYTES as u64).is_err());
}

#[test]
fn ranges_beyond_the_disk_are_refused_and_change_nothing() {
    let mut vmdk = checkered();
    let end = vmdk.capacity_bytes();
    for (offset, length) in [(end, 1), (end - 1, 2), (u64::MAX, 1), (0, usize::MAX)] {
        assert!(matches!(
            vmdk.read(offset, length),
            Err(VmdkError::Range { .. })
        ));
    }
    assert!(matches!(
        vmdk.write(end - 1, &[1, 1]),
        Err(VmdkError::Range { .. })
    ));
    assert_eq!(vmdk, checkered());
    assert_eq!(vmdk.read(end, 0), Ok(vec![]));
}

#[test]
fn a_grain_overwritten_with_zeros_is_stored_no_longer() {
    let mut vmdk = checkered();
    assert_eq!(vmdk.stored_bytes(), 3 * GRAIN_BYTES as u64);
    vmdk.write(0, &[0; GRAIN_BYTES]).unwrap();
    assert_eq!(vmdk.stored_bytes(), 2 * GRAIN_BYTES as u64);
    assert_eq!(Vmdk::parse(&vmdk.emit().unwrap()), Ok(vmdk));
}

#[test]
fn every_file_that_is_cut_short_is_refused() {
    let file = checkered().emit().unwrap();
    for length in (0..file.len()).step_by(256) {
        assert!(
            matches!(
                Vmdk::parse(&file[..length]),
                Err(VmdkError::Truncated { .. })
            ),
            "{length}"
        );
    }
}

#[test]
fn a_file_without_its_end_of_stream_marker_is_refused_as_cut() {
    let file = checkered().emit().unwrap();
    assert_eq!(
        Vmdk::parse(&file[..file.len() - 512])
            .unwrap_err()
            .to_string(),
        "the VMDK file ends after 74240 bytes, inside the end-of-stream marker"
    );
}

#[test]
fn every_wrong_bit_is_refused_but_those_that_zlib_leaves_open() {
    let good = checkered();
    let disk = good.to_disk();
    let file = good.emit().unwrap();
    for at in 0..file.len() {
        let mut bad = file.clone();
        bad[at] ^= 1 << (at % 8);
        if let Ok(parsed) = Vmdk::parse(&bad) {
            // The unused bits between the end of a compressed block and its checksum.
            assert!([128, 129, 135].contains(&(at / 512)), "{at}");
            assert!(parsed.to_disk() == disk, "{at}");
        }
    }
}

#[test]
fn a_stored_grain_of_zeros_is_refused() {
    let mut vmdk = checkered();
    let mut zlib = flate2::Compress::new(flate2::Compression::best(), true);
    let mut deflated = Vec::with_capacity(GRAIN_BYTES);
    zlib.compress_vec(
        &[0; GRAIN_BYTES],
        &mut deflated,
        flate2::FlushCompress::Finish,
    )
    .unwrap();
    let content_crc32 = crc32fast::hash(&[0; GRAIN_BYTES]);
    let zeros = Grain {
        content_crc32,
        deflated,
    };
    vmdk.grains.insert(1, zeros);
    let refused = Err(VmdkError::ZeroGrain { lba: 128 });
    assert_eq!(Vmdk::parse(&vmdk.emit().unwrap()), refused);
}

#[test]
fn a_grain_that_somebody_else_compressed_keeps_its_bytes_and_the_identifier() {
    let ours = checkered();
    let mut theirs = ours.clone();
    let content = ours.read(0, GRAIN_BYTES).unwrap();
    let mut stored = flate2::Compress::new(flate2::Compression::none(), true);
    let mut deflated = Vec::with_capacity(2 * GRAIN_BYTES);
    stored
        .compress_vec(&content, &mut deflated, flate2::FlushCompress::Finish)
        .unwrap();
    theirs.grains.get_mut(&0).unwrap().deflated = deflated;
    let file = theirs.emit().unwrap();
    let parsed = Vmdk::parse(&file).unwrap();
    assert!(parsed.emit().unwrap() == file);
    assert_eq!(parsed.cid(), ours.cid());
    assert!(parsed.to_disk() == ours.to_disk());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_disk_survives_the_round_trip(disk in disks(), threads in 1usize..5) {
        let vmdk = from_disk(&disk, threads);
        prop_assert!(vmdk.to_disk().unwrap() == disk);
        let file = vmdk.emit().unwrap();
        prop_assert!(Vmdk::parse(&file).unwrap() == vmdk);
        fuzz_vmdk(&file);
    }

    #[test]
    fn writing_to_the_file_is_writing_to_the_disk(
        mut disk in disks(),
        offset in any::<proptest::sample::Index>(),
        length in 0usize..3 * GRAIN_BYTES,
        value in 0u8..3,
    ) {
        let mut vmdk = Vmdk::parse(&from_disk(&disk, 1).emit().unwrap()).unwrap();
        let offset = offset.index(disk.len());
        let length = length.min(disk.len() - offset);
        let bytes = vec![value; length];
        put(&mut disk, offset, &bytes);
        vmdk.write(offset as u64, &bytes).unwrap();
        prop_assert!(vmdk.read(offset as u64, length).unwrap() == bytes);
        prop_assert!(vmdk.to_disk().unwrap() == disk);
        prop_assert!(vmdk.emit().unwrap() == from_disk(&disk, 2).emit().unwrap());
    }

    #[test]
    fn a_read_is_a_slice_of_the_disk(
        disk in disks(), offset in any::<proptest::sample::Index>(), length in 0usize..3 * GRAIN_BYTES,
    ) {
        let offset = offset.index(disk.len());
        let length = length.min(disk.len() - offset);
        let read = from_disk(&disk, 1).read(offset as u64, length).unwrap();
        prop_assert!(read == disk[offset..offset + length]);
    }

    #[test]
    fn random_bytes_and_damaged_files_never_make_the_reader_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..2048),
        at in any::<proptest::sample::Index>(),
    ) {
        fuzz_vmdk(&bytes);
        let mut file = checkered().emit().unwrap();
        let at = at.index(file.len());
        let end = file.len().min(at + bytes.len());
        put(&mut file, at, &bytes[..end - at]);
        fuzz_vmdk(&file);
        fuzz_vmdk(&file[GRAIN_BYTES..]);
    }
}

/// 1025 grains and so three tables. Stored: grains 0, 2 and 1024, each in a sector of the file.
fn checkered() -> Vmdk {
    let capacity_bytes = CAPACITY_SECTORS * SECTOR_BYTES;
    let mut vmdk = Vmdk {
        capacity_bytes,
        grains: BTreeMap::new(),
    };
    for index in [0, 2, 1024] {
        let value = u8::try_from(index % 251 + 1).unwrap();
        vmdk.write(index * GRAIN_BYTES as u64, &[value; GRAIN_BYTES])
            .unwrap();
    }
    vmdk
}

/// Small disks of which some grains are zeros, some patterns, and some have a byte here and there.
fn disks() -> impl Strategy<Value = Vec<u8>> {
    let write = (
        any::<u32>(),
        any::<u8>(),
        prop_oneof![Just(1usize), Just(100_000)],
    );
    (1usize..9, proptest::collection::vec(write, 0..6)).prop_map(|(grains, writes)| {
        let mut disk = vec![0; grains * GRAIN_BYTES];
        for (at, value, length) in writes {
            let at = at as usize % disk.len();
            let end = disk.len().min(at + length);
            disk[at..end].fill(value);
        }
        disk
    })
}

fn from_disk(disk: &[u8], threads: usize) -> Vmdk {
    Vmdk::from_disk(disk, NonZeroUsize::new(threads).unwrap()).unwrap()
}

/// The first `count` entries of the table at a sector.
fn entries(file: &[u8], sector: usize, count: usize) -> Vec<u32> {
    let entry = |index| u32_le(file, sector * 512 + index * 4).unwrap();
    (0..count).map(entry).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const CAPACITY_SECTORS: u64 = FUZZ_CAPACITY_BYTES / SECTOR_BYTES;
const MARKER_GT: u32 = 1;
const MARKER_GD: u32 = 2;
const MARKER_FOOTER: u32 = 3;
