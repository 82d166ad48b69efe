//! Golden bytes, round trips, and every header but ours refused.

use super::*;
use proptest::prelude::*;

const FILES: &[Entry<'_>] = &[
    Entry {
        name: "outgate.ovf",
        content: b"<Envelope/>\n",
    },
    Entry {
        name: "outgate.vmdk",
        content: &[7; 512],
    },
    Entry {
        name: "empty",
        content: b"",
    },
];

#[test]
fn a_header_is_the_golden_one() {
    let archive = emit(&FILES[..1], 1_700_000_000).unwrap();
    let golden = [
        b"outgate.ovf".as_slice(),
        &[0; 89],
        b"0000644\x000000000\x000000000\x0000000000014\x0014524770400\x00011426\0 0",
        &[0; 100],
        b"ustar\x0000",
        &[0; 64],
        b"0000000\x000000000\0",
        &[0; 167],
        b"<Envelope/>\n",
        &[0; 500],
        &[0; 1024],
    ];
    assert_eq!(archive, golden.concat());
}

#[test]
fn files_read_back_in_their_order() {
    let archive = emit(FILES, 7).unwrap();
    assert_eq!(archive.len(), 512 * (2 + 2 + 1 + 2));
    assert_eq!(parse(&archive), Ok(FILES.to_vec()));
}

#[test]
fn zeros_after_the_end_are_accepted_and_nothing_else() {
    let mut archive = emit(FILES, 7).unwrap();
    archive.resize(10_240, 0);
    assert_eq!(parse(&archive), Ok(FILES.to_vec()));
    *archive.last_mut().unwrap() = 1;
    assert_eq!(parse(&archive), Err(TarError::Trailing { offset: 10_239 }));
}

#[test]
fn every_archive_that_is_cut_short_is_refused() {
    let archive = emit(FILES, 7).unwrap();
    for length in 0..archive.len() {
        let cut = parse(&archive[..length]);
        assert!(matches!(cut, Err(TarError::Truncated { .. })), "{length}");
    }
}

#[test]
fn every_wrong_byte_of_a_header_is_refused() {
    let good = emit(FILES, 7).unwrap();
    for at in 0..512 {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(parse(&bad).is_err(), "{at}");
    }
}

#[test]
fn only_regular_files_are_accepted_even_with_a_right_checksum() {
    for kind in *b"\x001234567xgLKS" {
        assert_eq!(
            parse(&with(|block| block[field::KIND] = kind)),
            Err(TarError::Header {
                offset: 0,
                field: "typeflag"
            })
        );
    }
}

#[test]
fn modes_owners_links_and_prefixes_of_others_are_refused_by_name() {
    for (at, name) in [
        (field::MODE + 4, "mode"),
        (field::OWNER + 6, "uid"),
        (field::GROUP + 6, "gid"),
        (160, "linkname"),
        (265, "uname"),
        (297, "gname"),
        (345, "prefix"),
        (511, "padding"),
    ] {
        let refused = Err(TarError::Header {
            offset: 0,
            field: name,
        });
        assert_eq!(parse(&with(|block| block[at] = b'7')), refused);
    }
}

#[test]
fn lengths_that_are_no_octal_digits_are_refused() {
    // GNU tar's base-256 lengths start with a byte of 0x80.
    for first in [0x80, b' ', b'8', b'-', 0] {
        let refused = Err(TarError::Header {
            offset: 0,
            field: "size",
        });
        assert_eq!(parse(&with(|block| block[field::LENGTH] = first)), refused);
    }
}

#[test]
fn a_length_beyond_the_archive_is_refused() {
    let long = with(|block| put(block, field::LENGTH, b"77777777777"));
    assert_eq!(parse(&long), Err(TarError::Truncated { offset: 0 }));
}

#[test]
fn names_that_could_leave_the_folder_are_refused_by_both_sides() {
    let long = "n".repeat(101);
    for name in ["", "a/b", "../a", "/a", "a b", "é", "a\nb", &long] {
        let entry = Entry { name, content: b"" };
        let refused = emit(&[entry], 0).unwrap_err();
        assert!(matches!(refused, TarError::Name { .. }), "{name}");
    }
    let hostile = with(|block| put(block, 0, b"../../etc/x"));
    assert_eq!(
        parse(&hostile).unwrap_err().to_string(),
        "\"../../etc/x\" is no name for the archive: 1 to 100 printable ASCII characters, no space, no slash"
    );
    let longest = Entry {
        name: &long[..100],
        content: b"x",
    };
    let archive = emit(&[longest], 0).unwrap();
    assert_eq!(parse(&archive), Ok(vec![longest]));
}

#[test]
fn two_files_of_one_name_are_refused() {
    let archive = emit(&[FILES[0], FILES[1], FILES[0]], 0).unwrap();
    let name = "outgate.ovf".to_owned();
    assert_eq!(parse(&archive), Err(TarError::Duplicate { name }));
}

#[test]
fn more_files_than_the_limit_are_refused() {
    let names: Vec<String> = (0..=ENTRIES_MAX).map(|n| n.to_string()).collect();
    let entries = names.iter().map(|name| Entry { name, content: b"" });
    let archive = emit(&entries.collect::<Vec<_>>(), 0).unwrap();
    let offset = ENTRIES_MAX * 512;
    assert_eq!(parse(&archive), Err(TarError::TooMany { offset }));
}

#[test]
fn something_hidden_in_the_padding_of_a_file_is_refused() {
    let mut archive = emit(FILES, 0).unwrap();
    archive[1023] = 1;
    assert_eq!(parse(&archive), Err(TarError::Padding { offset: 0 }));
}

proptest! {
    #[test]
    fn any_files_survive_the_round_trip(
        files in proptest::collection::btree_map(
            "[!-.0-~]{1,100}", proptest::collection::vec(any::<u8>(), 0..1500), 0..6),
        mtime: u32,
    ) {
        let entries: Vec<Entry<'_>> =
            files.iter().map(|(name, content)| Entry { name, content }).collect();
        let archive = emit(&entries, mtime).unwrap();
        prop_assert_eq!(parse(&archive), Ok(entries));
        fuzz_tar(&archive);
    }

    #[test]
    fn damaged_archives_never_make_the_reader_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..600), at in 0usize..3500,
    ) {
        fuzz_tar(&bytes);
        let mut archive = emit(FILES, 0).unwrap();
        let end = archive.len().min(at + bytes.len());
        put(&mut archive, at, &bytes[..end - at]);
        fuzz_tar(&archive);
    }
}

/// An archive of one file whose header was changed and has the right checksum again.
fn with(change: impl FnOnce(&mut [u8; BLOCK_BYTES])) -> Vec<u8> {
    let mut archive = emit(&FILES[..1], 0).unwrap();
    let (block, _) = archive.split_first_chunk_mut().unwrap();
    change(block);
    let sum = checksum_field(block);
    put(block, field::CHECKSUM, &sum);
    archive
}
