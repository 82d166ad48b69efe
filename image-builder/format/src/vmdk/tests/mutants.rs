//! Files that differ from a good one in one point, each refused for that point.

use super::*;

#[test]
fn every_mutant_is_refused_for_its_own_reason() {
    let good = checkered().emit().unwrap();
    for (name, change, is_reason) in MUTANTS {
        let mut bad = good.clone();
        change(&mut bad);
        match Vmdk::parse(&bad) {
            Ok(_) => panic!("accepted: {name}"),
            Err(error) => assert!(is_reason(&error), "{name}: {error}"),
        }
    }
}

/// A change to the file of [`checkered`], and the error it must lead to.
type Mutant = (&'static str, fn(&mut Vec<u8>), fn(&VmdkError) -> bool);

const MUTANTS: &[Mutant] = &[
    (
        "goes on after the end-of-stream marker",
        |file| file.push(0),
        |error| matches!(error, VmdkError::Trailing { bytes: 1 }),
    ),
    (
        "two end-of-stream markers",
        |file| file.extend([0; 512]),
        |error| matches!(error, VmdkError::Trailing { bytes: 512 }),
    ),
    (
        "capacity a grain more in header and footer than in the descriptor",
        |file| {
            put(file, 12, &(CAPACITY_SECTORS + 128).to_le_bytes());
            put(
                file,
                144 * 512 + 12,
                &(CAPACITY_SECTORS + 128).to_le_bytes(),
            );
        },
        |error| matches!(error, VmdkError::Descriptor { .. }),
    ),
    (
        "capacity a grain more in the descriptor",
        |file| replace(file, "RDONLY 131200", "RDONLY 131328"),
        |error| matches!(error, VmdkError::Descriptor { line: 9, .. }),
    ),
    (
        "capacity of the footer another than the header's",
        |file| {
            put(
                file,
                144 * 512 + 12,
                &(CAPACITY_SECTORS + 128).to_le_bytes(),
            )
        },
        |error| {
            matches!(
                error,
                VmdkError::Field {
                    part: "footer",
                    field: "capacity",
                    ..
                }
            )
        },
    ),
    (
        "footer with the directory at the end",
        |file| put(file, 144 * 512 + 56, &u64::MAX.to_le_bytes()),
        |error| {
            matches!(
                error,
                VmdkError::Field {
                    part: "footer",
                    field: "gdOffset",
                    ..
                }
            )
        },
    ),
    (
        "header that knows the directory",
        |file| put(file, 56, &142u64.to_le_bytes()),
        |error| {
            matches!(
                error,
                VmdkError::Field {
                    part: "header",
                    field: "gdOffset",
                    ..
                }
            )
        },
    ),
    (
        "content identifier of other content",
        |file| replace(file, "CID=", "CID=0"),
        |error| matches!(error, VmdkError::Descriptor { line: 4, .. }),
    ),
    (
        "two grains at one place",
        |file| put(file, 129 * 512, &0u64.to_le_bytes()),
        |error| {
            matches!(
                error,
                VmdkError::GrainPlace {
                    lba: 0,
                    min: 128,
                    ..
                }
            )
        },
    ),
    (
        "a grain that overlaps the one before it",
        |file| put(file, 129 * 512, &64u64.to_le_bytes()),
        |error| {
            matches!(
                error,
                VmdkError::GrainPlace {
                    lba: 64,
                    min: 128,
                    ..
                }
            )
        },
    ),
    (
        "grains in descending order",
        |file| swap_sectors(file, 128, 129),
        |error| {
            matches!(
                error,
                VmdkError::GrainPlace {
                    lba: 0,
                    min: 384,
                    ..
                }
            )
        },
    ),
    (
        "a grain beyond the disk",
        |file| put(file, 135 * 512, &CAPACITY_SECTORS.to_le_bytes()),
        |error| {
            matches!(
                error,
                VmdkError::GrainPlace {
                    end: CAPACITY_SECTORS,
                    ..
                }
            )
        },
    ),
    (
        "a grain of a table that was closed",
        |file| put(file, 135 * 512, &384u64.to_le_bytes()),
        |error| {
            matches!(
                error,
                VmdkError::GrainPlace {
                    lba: 384,
                    min: 65_536,
                    ..
                }
            )
        },
    ),
    (
        "a grain of the third table before the first is closed",
        |file| {
            put(file, 129 * 512, &131_072u64.to_le_bytes());
        },
        |error| matches!(error, VmdkError::Marker { sector: 129, .. }),
    ),
    (
        "no table after the last grain",
        |file| put(file, 136 * 512 + 12, &MARKER_GD.to_le_bytes()),
        |error| {
            matches!(
                error,
                VmdkError::Marker {
                    sector: 136,
                    found: MARKER_GD,
                    ..
                }
            )
        },
    ),
    (
        "a table without grains",
        |file| put(file, 141 * 512 + 12, &MARKER_GT.to_le_bytes()),
        |error| {
            matches!(
                error,
                VmdkError::Marker {
                    sector: 141,
                    found: MARKER_GT,
                    ..
                }
            )
        },
    ),
    (
        "no footer",
        |file| {
            file.drain(143 * 512..145 * 512);
        },
        |error| {
            matches!(
                error,
                VmdkError::Marker {
                    sector: 143,
                    found: 0,
                    ..
                }
            )
        },
    ),
    (
        "a table that is announced too short",
        |file| put(file, 130 * 512, &3u64.to_le_bytes()),
        |error| {
            matches!(
                error,
                VmdkError::Field {
                    field: "numSectors",
                    value: 3,
                    expected: 4,
                    ..
                }
            )
        },
    ),
    (
        "a table entry that points at another grain",
        |file| put(file, 131 * 512 + 8, &128u32.to_le_bytes()),
        |error| {
            matches!(
                error,
                VmdkError::Entry {
                    table: "grain table",
                    index: 2,
                    value: 128,
                    expected: 129
                }
            )
        },
    ),
    (
        "a table entry for a grain that is not stored",
        |file| put(file, 137 * 512 + 2044, &135u32.to_le_bytes()),
        |error| {
            matches!(
                error,
                VmdkError::Entry {
                    table: "grain table",
                    index: 511,
                    expected: 0,
                    ..
                }
            )
        },
    ),
    (
        "a directory entry that points at another table",
        |file| put(file, 142 * 512 + 8, &131u32.to_le_bytes()),
        |error| {
            matches!(
                error,
                VmdkError::Entry {
                    table: "grain directory",
                    index: 2,
                    ..
                }
            )
        },
    ),
    (
        "a directory entry beyond the disk",
        |file| put(file, 142 * 512 + 12, &131u32.to_le_bytes()),
        |error| {
            matches!(
                error,
                VmdkError::Entry {
                    table: "grain directory",
                    index: 3,
                    expected: 0,
                    ..
                }
            )
        },
    ),
    (
        "a grain with a huge announced length",
        |file| put(file, 128 * 512 + 8, &u32::MAX.to_le_bytes()),
        |error| {
            matches!(
                error,
                VmdkError::Deflated {
                    lba: 0,
                    bytes: u32::MAX
                }
            )
        },
    ),
    (
        "a grain that is announced a byte short",
        |file| {
            let size = u32_le(file, 128 * 512 + 8).unwrap();
            let last = 128 * 512 + 12 + size as usize - 1;
            put(file, 128 * 512 + 8, &(size - 1).to_le_bytes());
            file[last] = 0;
        },
        |error| matches!(error, VmdkError::Inflate { lba: 0 }),
    ),
    (
        "padding of a grain with something in it",
        |file| file[129 * 512 - 1] = 1,
        |error| {
            matches!(
                error,
                VmdkError::Padding {
                    part: "padding of a grain",
                    ..
                }
            )
        },
    ),
    (
        "something hidden before the grains",
        |file| file[127 * 512] = 1,
        |error| {
            matches!(
                error,
                VmdkError::Padding {
                    part: "gap before the grains",
                    ..
                }
            )
        },
    ),
    (
        "something hidden in a marker",
        |file| file[141 * 512 + 100] = 1,
        |error| matches!(error, VmdkError::Padding { .. }),
    ),
    (
        "version 1",
        |file| file[4] = 1,
        |error| {
            matches!(
                error,
                VmdkError::Field {
                    field: "version",
                    value: 1,
                    ..
                }
            )
        },
    ),
    (
        "line ends translated on the way",
        |file| put(file, 73, b"\n \n\n"),
        |error| {
            matches!(
                error,
                VmdkError::Field {
                    field: "newline test",
                    ..
                }
            )
        },
    ),
];

/// Overwrites the text after `from` in the descriptor.
fn replace(file: &mut [u8], from: &str, to: &str) {
    let at = file
        .windows(from.len())
        .position(|text| text == from.as_bytes());
    put(file, at.unwrap(), to.as_bytes());
}

fn swap_sectors(file: &mut [u8], one: usize, other: usize) {
    for offset in 0..512 {
        file.swap(one * 512 + offset, other * 512 + offset);
    }
}
