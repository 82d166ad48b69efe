//! The network's IPv6 side, with a guest whose IPv6 is smoltcp's.

use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::time::Duration;

use tests::audit::Policy;
use tests::guest::Guest;
use tests::network::RouterTerms;
use tests::network::TimeServer;
use tests::network::address::{APPLICATION6, EDGE, EDGE_NAME, EDGE6, RESOLVER6, TIME_SERVER6};
use tests::network::http::PAGE_MARKER;

use crate::bench::{A_WHILE, Bench, MAC, SOON, query};

/// The address that the guest's hardware address means in the advertised prefix (RFC 4291 appendix A).
const EXPECTED: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0x0250, 0x56ff, 0xfe00, 0x1);

#[test]
fn a_guest_forms_an_address_as_the_router_advertises_and_reaches_every_host_by_it() {
    let mut bench = Bench::with_router(RouterTerms::default());
    let _edge = bench.start_edge();
    assert_eq!(bench.guest.form_address(SOON).unwrap(), Some(EXPECTED));

    let stream = bench.guest.connect(APPLICATION6, SOON).unwrap().unwrap();
    let request = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
    let page = bench
        .guest
        .converse(stream, request, false, SOON, |_| false);
    assert!(
        String::from_utf8(page.unwrap().unwrap())
            .unwrap()
            .contains(PAGE_MARKER)
    );

    // Beyond the router.
    let stream = bench.guest.connect(EDGE6, SOON).unwrap().unwrap();
    bench.echo(stream).unwrap();
    assert_eq!(bench.network.edge_connections(), 1);
    let policy = Policy::lab(&[APPLICATION6]);
    assert_eq!(policy.violations(&bench.network.capture().frames()), []);
}

#[test]
fn names_and_the_time_are_told_by_ipv6_too() {
    let mut bench = Bench::with_router(RouterTerms::default());
    let both: [IpAddr; 2] = [(*EDGE.ip()).into(), (*EDGE6.ip()).into()];
    bench.network.set_addresses(EDGE_NAME, &both);
    bench
        .network
        .set_time_server(TIME_SERVER6, TimeServer::HONEST);
    bench.guest.form_address(SOON).unwrap().unwrap();
    let resolver = SocketAddrV6::new(RESOLVER6, 53, 0, 0);
    let answer = bench.guest.ask(resolver, &query(EDGE_NAME, 28), SOON);
    assert!(answer.unwrap().unwrap().ends_with(&EDGE6.ip().octets()));
    assert!(bench.ask_time_of(TIME_SERVER6.into(), SOON).is_some());
}

#[test]
fn without_a_router_there_is_no_ipv6() {
    let mut bench = Bench::new();
    bench.guest = Guest::plug_with_ipv6(&bench.network.socket(), MAC).unwrap();
    assert_eq!(bench.guest.form_address(A_WHILE).unwrap(), None);
    bench.network.set_router(Some(RouterTerms::default()));
    // The network's first advertisement comes unasked.
    assert_eq!(
        bench.guest.form_address(Duration::from_secs(2)).unwrap(),
        Some(EXPECTED)
    );
}
