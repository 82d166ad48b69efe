//! What PID 1 gives its NIC, against a real kernel: in a network namespace with a pair of virtual
//! Ethernet cards, of which the first is the machine's.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use connector_proto::local::{Lease, LeaseOrigin};
use connector_proto::time::Instant;
use init::ipv6::{Lifetime, Wanted, WantedAddress, check_static};
use init::network::{Change, Network, Settled};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tests::skip;

#[test]
fn another_lease_replaces_address_and_gateway_and_its_end_takes_them_away() {
    in_a_namespace(
        "another_lease_replaces_address_and_gateway_and_its_end_takes_them_away",
        || {
            let mut network = with_nic();
            network
                .apply_ipv4(&lease("10.0.2.15", 24, Some("10.0.2.2")))
                .unwrap();
            assert!(ip("-4 addr").contains("10.0.2.15/24 brd 10.0.2.255"));
            assert_eq!(
                ip("-4 route show default"),
                "default via 10.0.2.2 dev v0 proto static onlink\n"
            );
            for (address, len, router) in [
                ("10.0.2.16", 24, Some("10.0.2.2")),
                ("10.0.2.16", 25, Some("10.0.2.3")),
                ("192.0.2.7", 32, Some("192.0.2.1")),
                ("10.0.2.17", 24, None),
            ] {
                network.apply_ipv4(&lease(address, len, router)).unwrap();
                let addresses = ip("-4 -o addr show v0");
                assert_eq!(addresses.lines().count(), 1, "{addresses}");
                assert!(
                    addresses.contains(&format!("{address}/{len}")),
                    "{addresses}"
                );
                let route = ip("-4 route show default");
                assert_eq!(
                    route.lines().count(),
                    usize::from(router.is_some()),
                    "{route}"
                );
                assert!(route.contains(router.unwrap_or_default()), "{route}");
            }
            network
                .apply_ipv4(&lease("10.0.2.15", 24, Some("10.0.2.2")))
                .unwrap();
            network.remove_ipv4();
            assert_eq!(ip("-4 route show default") + &ip("-4 -o addr show v0"), "");
            network
                .apply_ipv4(&lease("10.0.2.15", 24, Some("10.0.2.2")))
                .unwrap();
            assert!(ip("-4 addr").contains("10.0.2.15/24"));
        },
    );
}

#[test]
fn the_mtu_of_a_lease_holds_until_the_next_and_below_1280_there_is_no_ipv6() {
    in_a_namespace(
        "the_mtu_of_a_lease_holds_until_the_next_and_below_1280_there_is_no_ipv6",
        || {
            let mut network = with_nic();
            for (mtu, expected, allows_ipv6) in [
                (Some(1400), 1400, true),
                (Some(1000), 1000, false),
                (None, 1500, true),
            ] {
                let lease = Lease {
                    mtu,
                    ..lease("10.0.2.15", 24, None)
                };
                network.apply_ipv4(&lease).unwrap();
                assert!(ip("link show v0").contains(&format!(" mtu {expected} ")));
                assert_eq!(network.allows_ipv6(), allows_ipv6);
            }
            // The kernel made IPv6 anew on the link, switched off as PID 1's defaults have it.
            network.switch_ipv6_on().unwrap();
            assert!(ip("-6 addr show v0").contains("fe80::ff:fe00:1/64"));
        },
    );
}

#[test]
fn nothing_of_ipv6_is_there_until_it_is_switched_on_and_after_it_is_switched_off() {
    in_a_namespace(
        "nothing_of_ipv6_is_there_until_it_is_switched_on_and_after_it_is_switched_off",
        || {
            let mut network = with_nic();
            assert_eq!(ip("-6 addr show v0"), "");
            assert_eq!(network.link_local(), None);
            network.switch_ipv6_on().unwrap();
            assert_eq!(
                network.link_local(),
                Some("fe80::ff:fe00:1".parse().unwrap())
            );
            assert_eq!(ip("-6 -o addr show v0").lines().count(), 1);
            let wanted = check_static(
                "2001:db8::15".parse().unwrap(),
                64,
                Some("2001:db8::1".parse().unwrap()),
            );
            network.apply_ipv6(at(0), &wanted.unwrap()).unwrap();
            assert!(ip("-6 addr show v0").contains("2001:db8::15/64"));
            network.switch_ipv6_off();
            assert_eq!(ip("-6 addr show v0") + &ip("-6 route show default"), "");
            network.switch_ipv6_on().unwrap();
            assert_eq!(ip("-6 -o addr show v0").lines().count(), 1);
        },
    );
}

#[test]
fn advertised_addresses_come_with_their_lifetimes_and_go_with_their_router() {
    in_a_namespace(
        "advertised_addresses_come_with_their_lifetimes_and_go_with_their_router",
        || {
            let mut network = with_nic();
            network.switch_ipv6_on().unwrap();
            let mut wanted = Wanted {
                addresses: vec![
                    address("2001:db8::15", 64, 7200),
                    address("2001:db8:1::15", 128, 600),
                ],
                router: Some("fe80::1".parse().unwrap()),
                mtu: Some(1400),
                ..Wanted::default()
            };
            network.apply_ipv6(at(0), &wanted).unwrap();
            let addresses = ip("-6 addr show v0");
            assert!(addresses.contains("2001:db8::15/64"), "{addresses}");
            assert!(
                addresses.contains("valid_lft 7200sec preferred_lft 3600sec"),
                "{addresses}"
            );
            assert!(addresses.contains("2001:db8:1::15/128"), "{addresses}");
            assert!(ip("-6 route show default").starts_with("default via fe80::1 dev v0"));
            // The kernel may set it anew while the link comes up.
            while sysctl("mtu") != "1400" {
                wait_for_change(&network);
                network.refresh();
            }
            // Another router, a longer life, no prefix on the link any more.
            wanted.addresses = vec![address("2001:db8::15", 64, 86_400)];
            wanted.router = Some("fe80::2".parse().unwrap());
            wanted.mtu = None;
            network.apply_ipv6(at(0), &wanted).unwrap();
            let addresses = ip("-6 addr show v0");
            assert!(addresses.contains("valid_lft 86400sec"), "{addresses}");
            assert!(!addresses.contains("2001:db8:1::15"), "{addresses}");
            let route = ip("-6 route show default");
            assert!(
                route.contains("fe80::2") && !route.contains("fe80::1 "),
                "{route}"
            );
            assert_eq!(sysctl("mtu"), "1500");
            network.apply_ipv6(at(0), &Wanted::default()).unwrap();
            assert_eq!(ip("-6 route show default"), "");
            assert_eq!(ip("-6 -o addr show v0").lines().count(), 1);
            // A life of no second, and an address the kernel dropped by itself, are no errors.
            wanted.addresses = vec![address("2001:db8::15", 64, 0)];
            network.apply_ipv6(at(0), &wanted).unwrap();
            ip("-6 addr del 2001:db8::15/64 dev v0");
            network.apply_ipv6(at(0), &Wanted::default()).unwrap();
        },
    );
}

#[test]
fn an_address_can_be_used_when_nobody_else_has_it_and_not_before() {
    let test = "an_address_can_be_used_when_nobody_else_has_it_and_not_before";
    in_a_namespace(test, || {
        let mut network = with_nic();
        std::fs::write("/proc/sys/net/ipv6/conf/v1/disable_ipv6", "0").unwrap();
        ip("-6 addr add 2001:db8::bad/64 dev v1 nodad");
        network.switch_ipv6_on().unwrap();
        let wanted = Wanted {
            addresses: vec![
                address("2001:db8::15", 64, 3600),
                address("2001:db8::bad", 64, 3600),
            ],
            ..Wanted::default()
        };
        network.apply_ipv6(at(0), &wanted).unwrap();
        assert_eq!(network.settled_ipv6(at(0)), Settled::default());
        let mut settled = Settled::default();
        while settled.usable.len() < 2 || settled.duplicate.is_none() {
            wait_for_change(&network);
            network.refresh();
            settled = network.settled_ipv6(at(0));
        }
        assert!(settled.usable.contains(&"2001:db8::15".parse().unwrap()));
        assert!(settled.usable.contains(&network.link_local().unwrap()));
        assert_eq!(settled.duplicate, Some("2001:db8::bad".parse().unwrap()));
    });
}

#[test]
fn a_nic_that_is_replaced_is_lost_and_the_next_one_found_bare() {
    in_a_namespace(
        "a_nic_that_is_replaced_is_lost_and_the_next_one_found_bare",
        || {
            let mut network = with_nic();
            network
                .apply_ipv4(&lease("10.0.2.15", 24, Some("10.0.2.2")))
                .unwrap();
            network.switch_ipv6_on().unwrap();
            ip("link del v0");
            assert_eq!(network.refresh(), [Change::Lost]);
            assert!(network.apply_ipv4(&lease("10.0.2.15", 24, None)).is_err());
            ip(
                "link add v1 address 02:00:00:00:00:99 type veth peer name v0 address 02:00:00:00:00:02",
            );
            ip("link set v1 up");
            let changes = network.refresh();
            assert!(
                matches!(changes.as_slice(), [Change::Found(_), ..]),
                "{changes:?}"
            );
            assert_eq!(network.mac(), Some([2, 0, 0, 0, 0, 2]));
            assert_eq!(network.link_local(), None);
            network
                .apply_ipv4(&lease("10.0.2.15", 24, Some("10.0.2.2")))
                .unwrap();
            assert!(ip("-4 addr").contains("10.0.2.15/24"));
        },
    );
}

#[test]
fn what_the_kernel_refuses_is_said_in_a_sentence() {
    in_a_namespace("what_the_kernel_refuses_is_said_in_a_sentence", || {
        let mut network = with_nic();
        let wanted = Wanted {
            addresses: vec![address("2001:db8::15", 64, 60)],
            ..Wanted::default()
        };
        let refused = network.apply_ipv6(at(0), &wanted).unwrap_err().to_string();
        assert!(
            refused.starts_with("The kernel refuses address 2001:db8::15/64: ")
                && refused.len() < 160,
            "{refused}"
        );
    });
}

/// Runs a test's body in a network namespace of its own: this program again, for that one test.
fn in_a_namespace(test: &str, body: impl FnOnce()) {
    const INSIDE: &str = "OUTGATE_TEST_NAMESPACE";
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "--mount", "--"]);
        command
    };
    if !unshare()
        .arg("true")
        .status()
        .is_ok_and(|status| status.success())
    {
        skip!("no network namespace can be made here");
    }
    let inside = unshare()
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    assert!(
        inside.status.success(),
        "{}{}",
        String::from_utf8_lossy(&inside.stdout),
        String::from_utf8_lossy(&inside.stderr)
    );
}

/// A network whose NIC `v0` has a cable, and a kernel set up as PID 1 does it.
fn with_nic() -> Network {
    for name in ["all", "default"] {
        for (key, value) in [
            ("disable_ipv6", "1"),
            ("addr_gen_mode", "1"),
            ("accept_ra", "0"),
        ] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/{key}"), value).unwrap();
        }
    }
    ip("link add v1 address 02:00:00:00:00:99 type veth peer name v0 address 02:00:00:00:00:01");
    ip("link set v1 up");
    let mut network = Network::open().unwrap();
    let mut changes = network.refresh();
    assert!(
        matches!(changes.as_slice(), [Change::Found(_), ..]),
        "{changes:?}"
    );
    assert_eq!(network.mac(), Some([2, 0, 0, 0, 0, 1]));
    while !changes.contains(&Change::Carrier(true)) {
        wait_for_change(&network);
        changes = network.refresh();
    }
    network
}

fn wait_for_change(network: &Network) {
    let mut events = [PollFd::from_borrowed_fd(network.events_fd(), PollFlags::IN)];
    let ready = poll(&mut events, Some(&CHANGE_MAX));
    assert_eq!(ready, Ok(1), "nothing changed");
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

fn sysctl(key: &str) -> String {
    let value = std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/v0/{key}")).unwrap();
    value.trim().to_owned()
}

fn lease(address: &str, prefix_len: u8, router: Option<&str>) -> Lease {
    Lease {
        address: address.parse().unwrap(),
        prefix_len,
        router: router.map(|router| router.parse::<Ipv4Addr>().unwrap()),
        resolvers: <Vec<IpAddr>>::new().into_iter().collect(),
        ntp_servers: <Vec<IpAddr>>::new().into_iter().collect(),
        mtu: None,
        hostname: None,
        lease_s: 3600,
        origin: LeaseOrigin::Static,
    }
}

fn address(address: &str, prefix_len: u8, valid_s: u64) -> WantedAddress {
    WantedAddress {
        address: address.parse::<Ipv6Addr>().unwrap(),
        prefix_len,
        until: Some(Lifetime {
            valid: at(valid_s),
            preferred: at(valid_s / 2),
        }),
    }
}

/// A virtual card's carrier takes milliseconds, the check for duplicate addresses two seconds.
const CHANGE_MAX: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

fn at(seconds: u64) -> Instant {
    Instant::from_micros(0) + Duration::from_secs(seconds)
}
