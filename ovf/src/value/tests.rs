//! What the parsers of values take.

use proptest::prelude::*;

use super::*;

fn refusal(kind: Kind, text: &str) -> Problem {
    parse(kind, text).unwrap_err().problem
}

#[test]
fn lists_are_bounded_and_forgive_spaces() {
    let resolvers = parse(Kind::Resolvers, "192.0.2.1, 2001:db8::53,").unwrap();
    assert_eq!(
        resolvers.unwrap().to_string(),
        "192.0.2.1,2001:db8::53",
        "both families, without spaces"
    );
    let five = "192.0.2.1,192.0.2.2,192.0.2.3,192.0.2.4,192.0.2.5";
    assert_eq!(
        refusal(Kind::Resolvers, five),
        Problem::List { entries: 5, max: 4 }
    );
    let servers = parse(Kind::TimeServers, "ntp.example.com,192.0.2.9,2001:DB8::7").unwrap();
    assert_eq!(
        servers.unwrap().to_string(),
        "ntp.example.com,192.0.2.9,2001:db8::7"
    );
}

#[test]
fn a_resolver_is_an_address_and_no_name() {
    for text in [
        "dns.example.com",
        "192.0.2",
        "::",
        "::1",
        "ff02::1",
        "fe80::1",
        "::ffff:192.0.2.1",
    ] {
        assert_eq!(
            refusal(Kind::Resolvers, text),
            Problem::ServerAddress,
            "{text}"
        );
    }
}

#[test]
fn a_minted_mac_is_one_that_a_card_can_have() {
    let mac = parse(Kind::Mac, "00:50:56:01:02:03").unwrap();
    assert!(matches!(mac, Some(Value::Mac(mac)) if mac.is_vmware_static_range()));
    for text in [
        "01:00:5e:00:00:01",
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
    ] {
        assert_eq!(refusal(Kind::Mac, text), Problem::MacOfNoCard, "{text}");
    }
}

#[test]
fn a_vlan_is_a_number_that_a_tag_can_carry() {
    for (text, vlan) in [("1", 1), ("4094", 4094), (" 7\n", 7)] {
        assert_eq!(parse(Kind::Vlan, text), Ok(Some(Value::Vlan(vlan))));
    }
    for text in ["0", "4095", "65537", "-1", "+1", "1.5", "VLAN 7"] {
        assert_eq!(refusal(Kind::Vlan, text), Problem::Vlan, "{text}");
    }
}

#[test]
fn the_machines_own_name_is_short_and_no_address() {
    assert!(parse(Kind::Hostname, "Mumbai-01.example").is_ok());
    let long = ["abcdefghi"; 7].join(".");
    for text in ["192.0.2.1", long.as_str()] {
        assert_eq!(refusal(Kind::Hostname, text), Problem::OwnName, "{text}");
    }
}

#[test]
fn a_text_is_measured_before_it_is_looked_at() {
    let error = parse(Kind::Edge, &" ".repeat(TEXT_BYTES_MAX + 1)).unwrap_err();
    assert_eq!(error.problem, Problem::Text);
}

#[test]
fn no_short_text_of_awkward_characters_makes_a_parser_panic() {
    let letters = [
        "", "a", "1", ".", ":", "/", ",", "-", " ", "\0", "é", "255", "[::1]", "@", "::",
    ];
    for (a, b) in letters
        .iter()
        .flat_map(|a| letters.iter().map(move |b| (a, b)))
    {
        for (c, d) in letters
            .iter()
            .flat_map(|c| letters.iter().map(move |d| (c, d)))
        {
            fuzz_value(format!("{a}{b}{c}{d}").as_bytes());
        }
    }
}

proptest! {
    #[test]
    fn what_is_accepted_prints_as_it_parses(
        text in "auto|off|[0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,2})?|[0-9a-f:]{2,24}(/[0-9]{1,3})?|[a-z0-9.-]{1,20}(:[0-9]{1,5})?(,[a-z0-9.:-]{1,20}){0,3}|[0-9]{1,5}",
    ) {
        fuzz_value(text.as_bytes());
    }
}
