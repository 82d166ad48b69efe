use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

/// An address that an answer must not lead to.
const EVIL: &[u8] = &[10, 6, 6, 6];
const GOOD: &[u8] = &[10, 0, 0, 7];

#[test]
fn a_question_has_the_bytes_of_the_standard() {
    let question = Question::new(0x1234, "Www.Example.", Family::V6).unwrap();
    let expected = b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x03www\x07example\0\x00\x1c\x00\x01";
    assert_eq!(question.encode(), expected);
}

#[test]
fn addresses_of_both_families_are_read() {
    let v4 = response(Family::V4, &[("www.example", TYPE_A, GOOD)]);
    assert_eq!(read(Family::V4, &v4), found(&["10.0.0.7"]));
    let v6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
    let v6 = response(Family::V6, &[("www.example", TYPE_AAAA, &v6)]);
    assert_eq!(read(Family::V6, &v6), found(&["2001:db8::7"]));
}

#[test]
fn case_means_nothing_in_names() {
    let mut bytes = response(Family::V4, &[("WWW.eXample", TYPE_A, GOOD)]);
    bytes[13] = b'W';
    assert_eq!(read(Family::V4, &bytes), found(&["10.0.0.7"]));
}

#[test]
fn aliases_are_followed_in_whatever_order_they_come() {
    let mut records = [
        ("www.example", TYPE_CNAME, &b"\x05other\x07example\x00"[..]),
        ("other.example", TYPE_CNAME, b"\x04host\x07example\x00"),
        ("host.example", TYPE_A, GOOD),
    ];
    for _ in 0..records.len() {
        records.rotate_left(1);
        let bytes = response(Family::V4, &records);
        assert_eq!(read(Family::V4, &bytes), found(&["10.0.0.7"]));
    }
}

#[test]
fn an_alias_written_with_a_pointer_is_followed() {
    // The alias is "host" and a pointer to "example" in the question, which begins at byte 12.
    let alias = [&b"\x04host"[..], &[0xc0, 12 + 4]].concat();
    let records = [
        ("www.example", TYPE_CNAME, &alias[..]),
        ("host.example", TYPE_A, GOOD),
    ];
    let bytes = response(Family::V4, &records);
    assert_eq!(read(Family::V4, &bytes), found(&["10.0.0.7"]));
}

#[test]
fn aliases_in_a_circle_lead_to_no_address() {
    let records = [
        ("www.example", TYPE_CNAME, &b"\x04host\x07example\x00"[..]),
        ("host.example", TYPE_CNAME, b"\x03www\x07example\x00"),
    ];
    let bytes = response(Family::V4, &records);
    assert_eq!(read(Family::V4, &bytes), Ok(Answer::NoAddress));
}

#[test]
fn addresses_of_other_names_types_and_classes_are_not_taken() {
    for record in [
        ("evil.example", TYPE_A, EVIL),
        ("www.example.evil", TYPE_A, EVIL),
        ("www.example", 16, EVIL),
        ("www.example", TYPE_AAAA, &[0xfd; 16]),
    ] {
        let bytes = response(Family::V4, &[record]);
        assert_eq!(
            read(Family::V4, &bytes),
            Ok(Answer::NoAddress),
            "{record:?}"
        );
    }
    let mut chaos = response(Family::V4, &[("www.example", TYPE_A, EVIL)]);
    let class_at = chaos.len() - EVIL.len() - 2 - 4 - 1;
    chaos[class_at] = 3;
    assert_eq!(read(Family::V4, &chaos), Ok(Answer::NoAddress));
}

#[test]
fn a_dot_inside_a_label_is_not_the_dot_between_two() {
    let mut bytes = response(Family::V4, &[("www.example", TYPE_A, EVIL)]);
    // The record's owner, right after the question, becomes one label of eleven bytes.
    let owner_at = 12 + 13 + 4;
    bytes[owner_at] = 11;
    bytes[owner_at + 4] = b'.';
    assert_eq!(read(Family::V4, &bytes), Ok(Answer::NoAddress));
}

#[test]
fn response_codes_and_truncation_are_told_apart() {
    let table = [
        (0x80, 0x80, Answer::NoAddress),
        (0x80, 0x83, Answer::NoName),
        (0x80, 0x82, Answer::Failed(2)),
        (0x80, 0x85, Answer::Failed(5)),
        (0x82, 0x80, Answer::Truncated),
        (0x82, 0x83, Answer::NoName),
    ];
    for (high, low, answer) in table {
        let mut bytes = response(Family::V4, &[]);
        (bytes[2], bytes[3]) = (high, low);
        assert_eq!(read(Family::V4, &bytes), Ok(answer), "{high:x} {low:x}");
    }
}

#[test]
fn what_answers_another_question_is_not_ours() {
    let good = response(Family::V4, &[("www.example", TYPE_A, EVIL)]);
    type Forge = fn(&mut Vec<u8>);
    let forgeries: [(&str, Forge); 7] = [
        ("its id", |bytes| bytes[1] ^= 1),
        ("a question, no answer", |bytes| bytes[2] &= 0x7f),
        ("another opcode", |bytes| bytes[2] |= 0x28),
        ("no question", |bytes| bytes[5] = 0),
        ("another name", |bytes| bytes[13] = b'x'),
        ("another type", |bytes| bytes[12 + 13 + 1] = 28),
        ("another class", |bytes| bytes[12 + 13 + 3] = 3),
    ];
    assert_eq!(read(Family::V4, &good), found(&["10.6.6.6"]));
    for (what, forge) in forgeries {
        let mut bytes = good.clone();
        forge(&mut bytes);
        assert_eq!(read(Family::V4, &bytes), Err(DnsError::NotOurs), "{what}");
    }
}

#[test]
fn pointers_that_lead_nowhere_or_in_circles_are_malformed() {
    let end = u8::try_from(response(Family::V4, &[]).len()).unwrap();
    for target in [[0xc0, end], [0xc0, end + 2], [0xff, 0xff]] {
        let mut bytes = response(Family::V4, &[]);
        bytes[7] = 1;
        bytes.extend(target);
        bytes.extend(b"\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x06\x06\x06");
        assert_eq!(
            read(Family::V4, &bytes),
            Err(DnsError::Malformed),
            "{target:?}"
        );
    }
}

#[test]
fn a_long_chain_of_pointers_is_malformed_even_if_it_ends() {
    let mut bytes = response(Family::V4, &[]);
    bytes[7] = 2;
    // Data of a record that nobody reads: each pointer leads to the one before it.
    let data_at = bytes.len() + 1 + 10;
    let chain: Vec<u8> = (0..40usize)
        .flat_map(|link| {
            let target = if link == 0 {
                12
            } else {
                data_at + 2 * (link - 1)
            };
            (0xc000 | u16::try_from(target).unwrap()).to_be_bytes()
        })
        .collect();
    bytes.extend([
        0,
        0,
        16,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        u8::try_from(chain.len()).unwrap(),
    ]);
    bytes.extend(&chain);
    let owner = (0xc000 | u16::try_from(data_at + chain.len() - 2).unwrap()).to_be_bytes();
    bytes.extend(owner);
    bytes.extend(b"\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x06\x06\x06");
    assert_eq!(read(Family::V4, &bytes), Err(DnsError::Malformed));
}

#[test]
fn names_longer_than_any_are_malformed() {
    let mut bytes = response(Family::V4, &[]);
    bytes[7] = 1;
    for _ in 0..5 {
        bytes.push(63);
        bytes.extend([b'a'; 63]);
    }
    bytes.extend(b"\x00\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x06\x06\x06");
    assert_eq!(read(Family::V4, &bytes), Err(DnsError::Malformed));
}

#[test]
fn records_of_another_length_than_their_type_has_are_malformed() {
    for data in [&[10, 0, 0][..], &[10, 0, 0, 7, 8], &[]] {
        let bytes = response(Family::V4, &[("www.example", TYPE_A, data)]);
        assert_eq!(read(Family::V4, &bytes), Err(DnsError::Malformed));
    }
    let alias = b"\x04host\x07example\x00\x00";
    let bytes = response(Family::V4, &[("www.example", TYPE_CNAME, alias)]);
    assert_eq!(read(Family::V4, &bytes), Err(DnsError::Malformed));
}

#[test]
fn sixty_four_kilobytes_are_not_read() {
    let mut bytes = response(Family::V4, &[("www.example", TYPE_A, EVIL)]);
    bytes.resize(65_535, 0);
    let oversized = DnsError::Oversized {
        len: 65_535,
        max: TCP_MAX,
    };
    assert_eq!(read(Family::V4, &bytes), Err(oversized));
}

#[test]
fn each_address_is_kept_once_and_no_more_than_the_limit() {
    let data: Vec<[u8; 4]> = (0..20).map(|last| [10, 0, 0, last / 2]).collect();
    let records: Vec<_> = (data.iter())
        .map(|data| ("www.example", TYPE_A, &data[..]))
        .collect();
    let Ok(Answer::Addresses(found)) = read(Family::V4, &response(Family::V4, &records)) else {
        panic!("no addresses");
    };
    let last: Vec<IpAddr> = (0..8).map(|last| IpAddr::from([10, 0, 0, last])).collect();
    assert_eq!(found, last);
}

#[test]
fn every_cut_of_an_answer_is_an_error() {
    let bytes = response(Family::V4, &[("www.example", TYPE_A, GOOD)]);
    for cut in 0..bytes.len() {
        assert!(read(Family::V4, &bytes[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn one_wrong_byte_of_id_or_question_makes_an_answer_worthless() {
    let good = response(Family::V4, &[("www.example", TYPE_A, GOOD)]);
    // The id, the count of questions, the question.
    for at in (0..2).chain(4..6).chain(12..29) {
        for to in (0..=255u8).filter(|to| !to.eq_ignore_ascii_case(&good[at])) {
            let mut bytes = good.clone();
            bytes[at] = to;
            assert!(read(Family::V4, &bytes).is_err(), "{to} at {at}");
        }
    }
}

#[test]
fn names_that_no_host_has_are_not_asked_for() {
    for name in [
        "",
        ".",
        "a..b",
        "-".repeat(64).as_str(),
        "a b",
        "\u{e9}.example",
        &"a.".repeat(128),
    ] {
        let question = Question::new(1, name, Family::V4);
        assert_eq!(question, Err(DnsError::Name), "{name:?}");
    }
    assert!(Question::new(1, "a-1_b.example.", Family::V4).is_ok());
    assert!(Question::new(1, &"a.".repeat(127), Family::V4).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn any_bytes_are_handled(data in prop::collection::vec(any::<u8>(), 0..120)) {
        fuzz_dns(&data);
    }

    #[test]
    fn every_host_name_is_recognised_in_its_echo(name in "[a-zA-Z0-9_-]{1,63}(\\.[a-z0-9-]{1,40}){0,4}") {
        fuzz_dns(name.as_bytes());
        prop_assert!(Question::new(0, &name, Family::V6).is_ok());
    }
}

fn read(family: Family, bytes: &[u8]) -> Result<Answer, DnsError> {
    Question::new(7, "www.example", family)?.read(bytes)
}

fn found(addresses: &[&str]) -> Result<Answer, DnsError> {
    let addresses = addresses.iter().map(|address| address.parse().unwrap());
    Ok(Answer::Addresses(addresses.collect()))
}

fn response(family: Family, records: &[(&str, u16, &[u8])]) -> Vec<u8> {
    let question = Question::new(7, "www.example", family).unwrap();
    let mut bytes = question.encode();
    bytes[2] |= 0x80;
    bytes[7] = u8::try_from(records.len()).unwrap();
    for (owner, kind, data) in records {
        bytes.extend_from_slice(Name::of_host(owner).unwrap().as_bytes());
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
        bytes.extend_from_slice(&[0, 0, 0, 60]);
        bytes.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(data);
    }
    bytes
}
