//! Routers that are honest, that fall silent, and that lie.

use connector_proto::local::AdvertisedPrefix;
use proptest::prelude::*;

use super::*;

const MAC: [u8; 6] = [0x00, 0x50, 0x56, 0x00, 0x00, 0x01];
const HOUR: u32 = 3600;

#[test]
fn addresses_are_of_the_prefix_and_the_mac() {
    assert_eq!(link_local(MAC), ip("fe80::250:56ff:fe00:1"));
    let address = address_in(ip("2001:db8:0:7::"), MAC);
    assert_eq!(address, ip("2001:db8:0:7:250:56ff:fe00:1"));
}

#[test]
fn an_advert_gives_an_address_a_router_and_resolvers() {
    let mut autoconf = Autoconf::new(MAC);
    autoconf.handle_advert(
        at(0),
        &advert("fe80::1", 1800, &[("2001:db8::", 24 * HOUR)]),
    );
    let wanted = autoconf.wanted();
    assert_eq!(
        wanted.addresses,
        [WantedAddress {
            address: ip("2001:db8::250:56ff:fe00:1"),
            prefix_len: 64,
            until: Some(Lifetime {
                valid: at(24 * HOUR),
                preferred: at(12 * HOUR),
            }),
        }]
    );
    assert_eq!(wanted.router, Some(ip("fe80::1")));
    assert_eq!(wanted.mtu, Some(1480));
    assert_eq!(
        wanted.resolvers.as_slice(),
        [IpAddr::V6(ip("2001:db8::53"))]
    );
    assert!(!wanted.config().unwrap().is_static);
}

#[test]
fn a_prefix_that_is_not_on_the_link_gives_an_address_without_neighbours() {
    let mut autoconf = Autoconf::new(MAC);
    let mut off_link = advert("fe80::1", 1800, &[("2001:db8::", HOUR)]);
    off_link.prefixes[0].is_on_link = false;
    autoconf.handle_advert(at(0), &off_link);
    assert_eq!(autoconf.wanted().addresses[0].prefix_len, 128);
}

#[test]
fn router_resolvers_and_addresses_end_each_at_its_time() {
    let mut autoconf = Autoconf::new(MAC);
    autoconf.handle_advert(at(0), &advert("fe80::1", 1800, &[("2001:db8::", HOUR)]));
    let mut ends = Vec::new();
    while let Some(until) = autoconf.poll_timeout() {
        autoconf.handle_timeout(until);
        let wanted = autoconf.wanted();
        let counts = (
            wanted.router.is_some(),
            wanted.resolvers.len(),
            wanted.addresses.len(),
        );
        ends.push((until, counts));
    }
    assert_eq!(
        ends,
        [
            (at(900), (true, 0, 1)),
            (at(1800), (false, 0, 1)),
            (at(HOUR), (false, 0, 0)),
        ]
    );
    assert_eq!(autoconf.wanted().config(), None);
}

#[test]
fn a_forged_short_lifetime_leaves_a_held_address_two_hours() {
    for forged in [0, 1, 60, 3600] {
        let mut autoconf = Autoconf::new(MAC);
        autoconf.handle_advert(
            at(0),
            &advert("fe80::1", 1800, &[("2001:db8::", 24 * HOUR)]),
        );
        for second in 1..600 {
            autoconf.handle_advert(
                at(second),
                &advert("fe80::bad", 0, &[("2001:db8::", forged)]),
            );
        }
        let until = autoconf.wanted().addresses[0].until.unwrap();
        assert_eq!(until.valid, at(1 + 2 * HOUR), "{forged}");
        autoconf.handle_advert(
            at(600),
            &advert("fe80::1", 1800, &[("2001:db8::", 24 * HOUR)]),
        );
        let until = autoconf.wanted().addresses[0].until.unwrap();
        assert_eq!(until.valid, at(600 + 24 * HOUR));
        assert_eq!(until.preferred, at(600 + 12 * HOUR));
    }
}

#[test]
fn a_short_lifetime_may_be_lengthened() {
    let mut autoconf = Autoconf::new(MAC);
    autoconf.handle_advert(at(0), &advert("fe80::1", 1800, &[("2001:db8::", 600)]));
    autoconf.handle_advert(at(300), &advert("fe80::1", 1800, &[("2001:db8::", 600)]));
    let until = autoconf.wanted().addresses[0].until.unwrap();
    assert_eq!(until.valid, at(900));
}

#[test]
fn a_router_that_leaves_is_replaced_by_the_other_one() {
    let mut autoconf = Autoconf::new(MAC);
    autoconf.handle_advert(at(0), &advert("fe80::1", 1800, &[]));
    autoconf.handle_advert(at(1), &advert("fe80::2", 1800, &[]));
    assert_eq!(autoconf.wanted().router, Some(ip("fe80::1")));
    autoconf.handle_advert(at(2), &advert("fe80::1", 0, &[]));
    assert_eq!(autoconf.wanted().router, Some(ip("fe80::2")));
}

#[test]
fn more_routers_and_prefixes_than_can_be_held_are_passed_over() {
    let mut autoconf = Autoconf::new(MAC);
    for n in 1..200_u16 {
        let mut advert = advert(&format!("fe80::{n:x}"), 1800, &[]);
        let prefix = Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 0);
        advert.prefixes = [prefix_of(prefix, HOUR)].into_iter().collect();
        autoconf.handle_advert(at(0), &advert);
    }
    let wanted = autoconf.wanted();
    assert_eq!(wanted.addresses.len(), 4);
    assert_eq!(wanted.router, Some(ip("fe80::1")));
    assert_eq!(autoconf.routers.len(), 2);
}

#[test]
fn what_netd_should_not_have_passed_on_is_refused_again() {
    let mut autoconf = Autoconf::new(MAC);
    autoconf.handle_advert(at(0), &advert("2001:db8::1", 1800, &[("2001:db8::", HOUR)]));
    assert_eq!(autoconf.wanted(), Wanted::default());
    for prefix in ["fe80::", "ff02::", "::", "2001:db8::1", "0:0:0:1::"] {
        autoconf.handle_advert(at(0), &advert("fe80::1", 1800, &[(prefix, HOUR)]));
        assert!(autoconf.wanted().addresses.is_empty(), "{prefix}");
    }
    let mut lying = advert("fe80::1", 1800, &[]);
    lying.mtu = Some(68);
    lying.resolvers = ["fe80::53", "10.0.0.1", "::1"]
        .iter()
        .map(|server| server.parse().unwrap())
        .collect();
    let mut autoconf = Autoconf::new(MAC);
    autoconf.handle_advert(at(0), &lying);
    let wanted = autoconf.wanted();
    assert_eq!((wanted.mtu, wanted.resolvers.len()), (None, 0));
}

#[test]
fn an_advert_without_resolvers_keeps_those_before_and_a_withdrawal_drops_them() {
    let mut autoconf = Autoconf::new(MAC);
    autoconf.handle_advert(at(0), &advert("fe80::1", 1800, &[]));
    let mut silent = advert("fe80::1", 1800, &[]);
    silent.resolvers.clear();
    autoconf.handle_advert(at(1), &silent);
    assert_eq!(autoconf.wanted().resolvers.len(), 1);
    let mut withdrawal = advert("fe80::1", 1800, &[]);
    withdrawal.resolvers_s = 0;
    autoconf.handle_advert(at(2), &withdrawal);
    assert_eq!(autoconf.wanted().resolvers.len(), 0);
}

#[test]
fn a_link_that_comes_back_in_its_network_keeps_everything() {
    let mut autoconf = Autoconf::new(MAC);
    let ours = advert("fe80::1", 1800, &[("2001:db8::", 24 * HOUR)]);
    autoconf.handle_advert(at(0), &ours);
    autoconf.handle_carrier_up();
    assert_eq!(autoconf.wanted().addresses.len(), 1);
    autoconf.handle_advert(at(2), &ours);
    autoconf.handle_timeout(at(60));
    assert_eq!(autoconf.wanted().addresses.len(), 1);
}

#[test]
fn a_link_that_comes_back_in_another_network_drops_the_old_one_after_a_grace() {
    let mut autoconf = Autoconf::new(MAC);
    autoconf.handle_advert(
        at(0),
        &advert("fe80::1", 9000, &[("2001:db8::", 24 * HOUR)]),
    );
    autoconf.handle_carrier_up();
    autoconf.handle_timeout(at(1000));
    assert_eq!(autoconf.wanted().addresses.len(), 1);
    autoconf.handle_advert(
        at(1000),
        &advert("fe80::2", 9000, &[("2001:db8:1::", HOUR)]),
    );
    assert_eq!(autoconf.wanted().addresses.len(), 2);
    assert_eq!(autoconf.poll_timeout(), Some(at(1005)));
    autoconf.handle_timeout(at(1005));
    let wanted = autoconf.wanted();
    assert_eq!(wanted.router, Some(ip("fe80::2")));
    let [only] = wanted.addresses.as_slice() else {
        panic!("{wanted:?}")
    };
    assert_eq!(only.address, address_in(ip("2001:db8:1::"), MAC));
}

#[test]
fn a_network_that_wants_dhcpv6_is_named_until_it_offers_a_prefix() {
    let mut autoconf = Autoconf::new(MAC);
    let mut managed = advert("fe80::1:2:3:4", 1800, &[]);
    managed.is_managed = true;
    autoconf.handle_advert(at(0), &managed);
    let problem = autoconf.problem().unwrap();
    assert!(
        problem.contains("fe80::1:2:3:4") && problem.len() < 160,
        "{problem}"
    );
    autoconf.handle_advert(at(1), &advert("fe80::2", 1800, &[("2001:db8::", HOUR)]));
    assert_eq!(autoconf.problem(), None);
}

proptest! {
    #[test]
    fn no_adverts_hold_more_than_fits_or_have_it_called_without_end(
        adverts in proptest::collection::vec((0..5_u16, any::<u16>(), 0..9_u16, any::<u32>(), 0..100_000_u32), 0..40)
    ) {
        let mut autoconf = Autoconf::new(MAC);
        let mut now = at(0);
        for (router, lifetime_s, prefix, valid_s, later) in adverts {
            now = now + seconds(later);
            let mut advert = advert(&format!("fe80::{router:x}"), lifetime_s, &[]);
            let prefix = Ipv6Addr::new(0x2001, 0xdb8, prefix, 0, 0, 0, 0, 0);
            advert.prefixes = [prefix_of(prefix, valid_s)].into_iter().collect();
            autoconf.handle_advert(now, &advert);
            if later % 3 == 0 {
                autoconf.handle_carrier_up();
            }
            let wanted = autoconf.wanted();
            prop_assert!(wanted.addresses.len() <= 4);
            prop_assert!(autoconf.poll_timeout().is_none_or(|at| at > now));
            for address in &wanted.addresses {
                let until = address.until.unwrap();
                prop_assert!(until.preferred <= until.valid && until.valid > now);
            }
        }
        while let Some(at) = autoconf.poll_timeout() {
            prop_assert!(at > now);
            now = at;
            autoconf.handle_timeout(now);
        }
        prop_assert_eq!(autoconf.wanted().config(), None);
    }
}

fn advert(router: &str, lifetime_s: u16, prefixes: &[(&str, u32)]) -> RouterAdvert {
    let prefixes = prefixes.iter();
    RouterAdvert {
        router: ip(router),
        lifetime_s,
        prefixes: prefixes
            .map(|(prefix, valid_s)| prefix_of(ip(prefix), *valid_s))
            .collect(),
        resolvers: [IpAddr::V6(ip("2001:db8::53"))].into_iter().collect(),
        resolvers_s: 900,
        mtu: Some(1480),
        is_managed: false,
    }
}

fn prefix_of(prefix: Ipv6Addr, valid_s: u32) -> AdvertisedPrefix {
    AdvertisedPrefix {
        prefix,
        valid_s,
        preferred_s: valid_s / 2,
        is_on_link: true,
    }
}

fn ip(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn at(seconds: u32) -> Instant {
    Instant::from_micros(u64::from(seconds) * 1_000_000)
}
