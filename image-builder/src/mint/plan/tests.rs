//! What is planned, and what is refused.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const IMAGE: ImageDigest = ImageDigest([1; 32]);

#[test]
fn a_new_name_gets_what_was_asked_for() {
    let planned = mint(&full("mumbai-01"), &Ledger::new()).unwrap();
    let [planned] = &planned[..] else {
        panic!("{planned:?}")
    };
    assert_eq!(planned.kind, Kind::New);
    let connector = &planned.entry.connector;
    assert_eq!(connector.mac.to_string(), "00:50:56:00:00:09");
    assert_eq!(connector.group, Some("Mumbai".parse().unwrap()));
    assert_eq!(connector.edge, Some("edge.example.org".parse().unwrap()));
}

#[test]
fn the_same_again_is_allowed_and_what_is_left_out_comes_from_the_ledger() {
    let ledger = ledger(&full("mumbai-01"));
    for request in [full("mumbai-01"), named("mumbai-01")] {
        let again = mint(&request, &ledger).unwrap();
        assert_eq!(again[0].kind, Kind::Again);
        assert_eq!(Some(&again[0].entry), ledger.entries().next());
    }
}

#[test]
fn a_newer_image_keeps_everything_else_and_is_said() {
    let ledger = ledger(&full("mumbai-01"));
    let newer = ImageDigest([2; 32]);
    let later = Date::from_unix(2_000_000_000);
    let again = plan(&named("mumbai-01"), &ledger, newer, later).unwrap();
    assert_eq!(again[0].kind, Kind::FromOtherImage(IMAGE));
    let recorded = ledger.entries().next().unwrap();
    let image = newer;
    assert_eq!(
        again[0].entry,
        Entry {
            image,
            ..recorded.clone()
        }
    );
}

#[test]
fn each_refusal_names_the_value_and_the_remedy() {
    let ledger = ledger(&full("mumbai-01"));
    let with = |name: &str, change: fn(&mut Request)| {
        let mut request = named(name);
        change(&mut request);
        request
    };
    for (request, needles) in [
        (
            with("mumbai-01", |r| r.mac = Some(mac("00:50:56:00:00:0a"))),
            ["--mac 00:50:56:00:00:09", "leave --mac out"],
        ),
        (
            with("mumbai-01", |r| r.group = Some("Delhi".parse().unwrap())),
            ["--group Mumbai", "Delhi"],
        ),
        (
            with("mumbai-01", |r| {
                r.edge = Some("other.example.org".parse().unwrap())
            }),
            ["--edge edge.example.org:443", "other.example.org:443"],
        ),
        (
            with("delhi-01", |r| r.mac = Some(mac("00:50:56:00:00:09"))),
            ["belongs to mumbai-01", "leave --mac out"],
        ),
        (
            with("delhi-01", |r| r.mac = Some(mac("01:50:56:00:00:09"))),
            ["multicast", "00:50:56:3f:ff:ff"],
        ),
        (
            with("delhi-01", |r| {
                r.mac = Some(mac("00:50:56:00:00:0a"));
                r.count = 2;
            }),
            ["--count", "leave one of"],
        ),
        (
            with("delhi-01", |r| {
                set(r, "outgate.hostname", "delhi");
                r.count = 2;
            }),
            ["--hostname delhi is for one machine", "one by one"],
        ),
        (
            with("delhi-01", |r| set(r, "outgate.gateway", "192.0.2.1")),
            ["--gateway 192.0.2.1 needs", "address"],
        ),
        (
            with("delhi-01", |r| {
                let host = ["a".repeat(60).as_str(); 4].join(".");
                set(r, "outgate.ntp", &[host.as_str(); 2].join(","));
            }),
            ["takes 591 bytes", "512 is the limit"],
        ),
        (
            with("mumbai-01", |r| set(r, "outgate.vlan", "7")),
            ["without --vlan", "now --vlan is 7"],
        ),
        (with("delhi", |r| r.count = 2), ["no digit", "delhi-01"]),
        (with("delhi-9", |r| r.count = 2), ["delhi-9", "more zeros"]),
    ] {
        let said = mint(&request, &ledger).unwrap_err().to_string();
        assert!(needles.iter().all(|needle| said.contains(needle)), "{said}");
    }
}

#[test]
fn one_conflict_refuses_the_whole_fleet() {
    let ledger = ledger(&Request {
        group: Some("Delhi".parse().unwrap()),
        ..named("mumbai-03")
    });
    let fleet = Request {
        count: 4,
        group: Some("Mumbai".parse().unwrap()),
        ..named("mumbai-01")
    };
    let error = mint(&fleet, &ledger).unwrap_err();
    assert!(matches!(error, PlanError::Recorded { name, .. } if name.as_str() == "mumbai-03"));
}

#[test]
fn a_name_whose_address_was_chosen_by_another_gets_the_next_one() {
    let free = mint(&named("mumbai-01"), &Ledger::new()).unwrap();
    let theirs = free[0].entry.connector.mac;
    let ledger = ledger(&Request {
        mac: Some(theirs),
        ..named("delhi-01")
    });
    let ours = mint(&named("mumbai-01"), &ledger).unwrap();
    assert_ne!(ours[0].entry.connector.mac, theirs);
    assert_eq!(ours, mint(&named("mumbai-01"), &ledger).unwrap());
}

proptest! {
    #[test]
    fn any_mints_one_after_another_share_no_name_and_no_address(
        requests in proptest::collection::vec(("[a-c][0-9]{2}", 1u32..20), 1..12),
    ) {
        let mut ledger = Ledger::new();
        for (name, count) in requests {
            let request = Request { count, ..named(&name) };
            for planned in mint(&request, &ledger).unwrap_or_default() {
                ledger.record(planned.entry);
            }
        }
        let names: BTreeSet<_> = ledger.entries().map(|e| e.connector.name.clone()).collect();
        let macs: BTreeSet<_> = ledger.entries().map(|e| e.connector.mac).collect();
        prop_assert_eq!(names.len(), ledger.entries().count());
        prop_assert_eq!(macs.len(), names.len());
        prop_assert!(macs.iter().all(|mac| address::check(*mac).is_ok()));
    }
}

fn mint(request: &Request, ledger: &Ledger) -> Result<Vec<Planned>, PlanError> {
    plan(request, ledger, IMAGE, Date::from_unix(1_793_491_200))
}

/// The ledger after `request`.
fn ledger(request: &Request) -> Ledger {
    let mut ledger = Ledger::new();
    for planned in mint(request, &ledger).unwrap() {
        ledger.record(planned.entry);
    }
    ledger
}

fn full(name: &str) -> Request {
    Request {
        group: Some("Mumbai".parse().unwrap()),
        mac: Some(mac("00:50:56:00:00:09")),
        edge: Some("edge.example.org".parse().unwrap()),
        ..named(name)
    }
}

fn set(request: &mut Request, key: &str, text: &str) {
    let property = ovf::property::Property::find(key).unwrap();
    request.network.set(property, text).unwrap();
}

fn named(name: &str) -> Request {
    Request {
        name: name.parse().unwrap(),
        count: 1,
        group: None,
        mac: None,
        edge: None,
        network: NetworkSettings::default(),
    }
}

fn mac(text: &str) -> MacAddress {
    text.parse().unwrap()
}
