//! What is read of advertisements, honest, broken and hostile.

use proptest::prelude::*;

use super::*;

#[test]
fn an_ordinary_advert_is_read() {
    let advert = parse(&frame(&ORDINARY)).unwrap();
    assert_eq!(advert, ordinary());
}

#[test]
fn what_is_emitted_is_read_back() {
    assert_eq!(parse(&emit(&ordinary(), [2; 6])), Some(ordinary()));
}

#[test]
fn an_advert_that_a_router_forwarded_or_that_is_not_of_the_link_is_dropped() {
    let whole = frame(&ORDINARY);
    let mut forwarded = whole.clone();
    forwarded[21] = 254;
    assert_eq!(parse(&forwarded), None);
    for source in ["2001:db8::1", "::", "::1", "fec0::1", "fe40::1"] {
        let frame = icmpv6::emit(
            ([2; 6], ALL_NODES_MAC),
            source.parse().unwrap(),
            ALL_NODES,
            body(&ORDINARY),
        );
        assert_eq!(parse(&frame), None, "{source}");
    }
    let mut coded = body(&ORDINARY);
    coded[1] = 1;
    assert_eq!(parse(&wrapped(coded)), None);
}

#[test]
fn an_option_of_no_length_or_beyond_the_end_drops_the_whole_advert() {
    for options in [
        [3, 0, 0, 0, 0, 0, 0, 0].as_slice(),
        &[1, 2, 0, 0, 0, 0, 0, 0],
        &[1, 1, 0, 0, 0, 0, 0, 0, 1],
        &[255, 255],
        &[7],
    ] {
        assert_eq!(parse(&frame(options)), None, "{options:?}");
    }
    assert_eq!(parse(&wrapped(vec![134, 0, 0, 0, 64, 0, 7, 8])), None);
}

#[test]
fn prefixes_in_which_no_address_can_be_formed_are_passed_over() {
    type Change = (usize, u8);
    let cases: [(&str, &[Change]); 7] = [
        ("48 bits", &[(2, 48)]),
        ("65 bits", &[(2, 65)]),
        ("not autonomous", &[(3, 0x80)]),
        ("preferred for longer than valid", &[(8, 0xff)]),
        ("link-local", &[(16, 0xfe), (17, 0x80), (18, 0), (19, 0)]),
        ("multicast", &[(16, 0xff)]),
        ("unspecified", &[(16, 0), (17, 0), (18, 0), (19, 0)]),
    ];
    for (name, changes) in cases {
        let mut options = ORDINARY;
        for (at, byte) in changes {
            options[*at] = *byte;
        }
        assert!(
            parse(&frame(&options)).unwrap().prefixes.is_empty(),
            "{name}"
        );
    }
}

#[test]
fn a_managed_network_without_a_prefix_is_named_so() {
    for (options, flags, is_managed) in [
        (&ORDINARY[..32], 0x80, false),
        (&ORDINARY[32..], 0x80, true),
        (&ORDINARY[32..], 0x40, false),
    ] {
        let mut body = body(options);
        body[5] = flags;
        assert_eq!(parse(&wrapped(body)).unwrap().is_managed, is_managed);
    }
}

#[test]
fn an_mtu_that_no_ipv6_link_has_is_passed_over() {
    for (mtu, read) in [
        (0_u32, None),
        (1279, None),
        (1280, Some(1280)),
        (9000, Some(9000)),
        (9001, None),
        (65_536 + 1500, None),
        (u32::MAX, None),
    ] {
        let mut options = vec![5, 1, 0, 0];
        options.extend(mtu.to_be_bytes());
        assert_eq!(parse(&frame(&options)).unwrap().mtu, read, "{mtu}");
    }
}

#[test]
fn routes_and_options_nobody_knows_change_nothing() {
    let mut options = ORDINARY.to_vec();
    // 2001:db8:ed9e::/48 with high preference, and an option of no known type.
    options.extend([24, 2, 48, 0x08, 0, 0, 7, 8]);
    options.extend([0x20, 0x01, 0x0d, 0xb8, 0xed, 0x9e, 0, 0]);
    options.extend([253, 1, 1, 2, 3, 4, 5, 6]);
    assert_eq!(parse(&frame(&options)), Some(ordinary()));
}

#[test]
fn resolvers_that_cannot_be_asked_are_left_out_and_so_are_those_that_do_not_fit() {
    let mut options = vec![25, 1 + 2 * 8, 0, 0, 0, 0, 0x0e, 0x10];
    for server in [
        "fe80::53",
        "::",
        "ff02::1",
        "::1",
        "2001:db8::1",
        "2001:db8::1",
        "2001:db8::2",
        "::ffff:10.0.0.1",
    ] {
        options.extend(server.parse::<Ipv6Addr>().unwrap().octets());
    }
    let advert = parse(&frame(&options)).unwrap();
    assert_eq!(advert.resolvers.len(), 2);
    let many = [25, 255]
        .into_iter()
        .chain((0..2038_u32).map(|n| u8::try_from(n % 251).unwrap() | 0x20));
    let advert = parse(&frame(&many.collect::<Vec<_>>())).unwrap();
    assert_eq!(advert.resolvers.len(), 4);
}

#[test]
fn resolvers_with_two_lifetimes_hold_for_the_shorter_and_a_withdrawal_is_told() {
    let rdnss = |seconds: u8, last: u8| {
        let mut option = vec![25, 3, 0, 0, 0, 0, 0, seconds];
        option.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).octets());
        option
    };
    for (lifetimes, count, held) in [
        ([60, 30], 2, 30),
        ([0, 30], 1, 30),
        ([60, 0], 1, 60),
        ([0, 0], 2, 0),
    ] {
        let [a, b] = lifetimes;
        let options = [rdnss(a, 1), rdnss(b, 2)].concat();
        let advert = parse(&frame(&options)).unwrap();
        assert_eq!(
            (advert.resolvers.len(), advert.resolvers_s),
            (count, held),
            "{lifetimes:?}"
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        fuzz_router_advert(&data);
    }

    #[test]
    fn any_options_of_an_advert_are_read_back_or_dropped(
        options in proptest::collection::vec((prop_oneof![Just(3), Just(5), Just(25), Just(24), any::<u8>()], 1_u8..8, any::<[u8; 64]>()), 0..6)
    ) {
        let mut body = body(&[]);
        for (kind, len, bytes) in options {
            body.extend([kind, len]);
            body.extend(&bytes[2..usize::from(len) * 8]);
        }
        fuzz_router_advert(&body);
    }
}

fn frame(options: &[u8]) -> Vec<u8> {
    wrapped(body(options))
}

fn wrapped(body: Vec<u8>) -> Vec<u8> {
    let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    icmpv6::emit(([2; 6], ALL_NODES_MAC), router, ALL_NODES, body)
}

fn body(options: &[u8]) -> Vec<u8> {
    let mut body = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    body.extend(options);
    body
}

fn ordinary() -> RouterAdvert {
    RouterAdvert {
        router: "fe80::1".parse().unwrap(),
        lifetime_s: 1800,
        prefixes: [AdvertisedPrefix {
            prefix: "2001:db8:0:7::".parse().unwrap(),
            valid_s: 0x0001_5180,
            preferred_s: 0x3840,
            is_on_link: true,
        }]
        .into_iter()
        .collect(),
        resolvers: Servers::from_slice(&["2001:db8::53".parse().unwrap()]).unwrap(),
        resolvers_s: 3600,
        mtu: Some(1500),
        is_managed: false,
    }
}

/// A prefix (whose host part is not all zero), an MTU, a DNS server.
const ORDINARY: [u8; 64] = [
    3, 4, 64, 0xc0, 0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0, 0x20, 0x01, 0x0d, 0xb8, 0, 0,
    0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 5, 1, 0, 0, 0, 0, 5, 0xdc, 25, 3, 0, 0, 0, 0, 0x0e, 0x10, 0x20,
    0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53,
];
