//! The appliance among servers that nobody here wrote, three at a time: each DHCP server, each NTP
//! server and each DNS server is met once at least.

use std::net::SocketAddr;
use std::time::Duration;

use qemu::machine::Rtc;
use tests::audit::{Policy, Violation};
use tests::foreign::dhcp::DhcpServer;
use tests::foreign::names::{EdgeAnswer, NameServer, edge_addresses};
use tests::foreign::time::NtpServer;
use tests::foreign::{ForeignLab, Guest, proxy, router};
use tests::foreign_lab;
use tests::network::address::{APPLICATION, APPLICATION6, EDGE, PROXY, RESOLVER, TIME_SERVER};
use tests::network::dns;
use tests::pcap::{Direction, Frame};
use tests::scene::{BOOT_MAX, CONNECTED, STEP_MAX, expect};

mod packets;

#[test]
fn dnsmasq_chrony_and_unbound_bring_a_machine_up_from_1970() {
    brings_up(
        "foreign dnsmasq",
        &Peers {
            dhcp: DhcpServer::Dnsmasq,
            time: NtpServer::Chrony,
            names: NameServer::Unbound,
            edge_answer: EdgeAnswer::Short,
        },
        "1970-01-01T00:00:00",
    );
}

#[test]
fn kea_ntpsec_and_bind_bring_a_machine_up_from_2038() {
    brings_up(
        "foreign kea",
        &Peers {
            dhcp: DhcpServer::Kea,
            time: NtpServer::Ntpsec,
            names: NameServer::Bind,
            edge_answer: EdgeAnswer::Short,
        },
        "2038-01-20T00:00:00",
    );
}

#[test]
fn isc_dhcpd_chrony_and_an_answer_of_bind_that_takes_tcp_bring_a_machine_up_from_2000() {
    brings_up(
        "foreign isc",
        &Peers {
            dhcp: DhcpServer::Isc,
            time: NtpServer::Chrony,
            names: NameServer::Bind,
            edge_answer: EdgeAnswer::Long,
        },
        "2000-01-01T00:00:00",
    );
}

#[test]
fn an_ipv6_network_of_dnsmasq_and_unbound_is_enough_and_the_edge_tells_the_time() {
    let lab = foreign_lab!(
        "foreign ipv6",
        router::PROGRAM,
        NameServer::Unbound.program()
    );
    let (network, folder) = (lab.namespace(), lab.folder());
    let _names = expect(NameServer::Unbound.start(network, folder, EdgeAnswer::Ipv6));
    let _router = expect(router::start(network, folder));

    let guest = expect(lab.boot(Rtc::At("1970-01-01T00:00:00".to_owned()), &[]));
    expect(guest.wait_for("advertised by a router", BOOT_MAX));
    expect(lab.type_key(&guest));
    expect(guest.wait_for("Clock set by service edge", STEP_MAX));
    expect(guest.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(expect(lab.fetch_page()), 200);
    let policy = Policy::lab(&[APPLICATION6]);
    assert_only_allowed_traffic(&lab, &guest, &policy);
}

#[test]
fn tinyproxy_asks_for_a_password_and_carries_the_tunnel() {
    let dhcp = DhcpServer::Dnsmasq;
    let (time, names) = (NtpServer::Chrony, NameServer::Bind);
    let lab = foreign_lab!(
        "foreign proxy",
        dhcp.program(),
        time.program(),
        names.program(),
        proxy::PROGRAM
    );
    let (network, folder) = (lab.namespace(), lab.folder());
    let _names = expect(names.start(network, folder, EdgeAnswer::Short));
    let _time = expect(time.start(network, folder));
    let _proxy = expect(proxy::start(network, folder));
    let _lender = expect(dhcp.start(network, folder, None));

    let guest = expect(lab.boot(Rtc::Utc, &[("proxy", &PROXY.to_string())]));
    expect(lab.type_key(&guest));
    expect(guest.wait_for("Proxy user:", STEP_MAX));
    expect(guest.type_line(proxy::USER));
    expect(guest.wait_for("Proxy password:", STEP_MAX));
    expect(guest.type_line(proxy::PASSWORD));
    expect(guest.wait_for(CONNECTED, STEP_MAX));
    assert_eq!(expect(lab.fetch_page()), 200);
    assert!(!guest.text().contains(proxy::PASSWORD));
    let policy = Policy::through_proxy(PROXY, &[APPLICATION]);
    assert_only_allowed_traffic(&lab, &guest, &policy);
}

#[test]
fn a_lease_of_kea_that_ended_for_want_of_a_server_is_had_again_and_the_tunnel_kept() {
    if std::env::var_os("OUTGATE_LONG").is_none() {
        eprintln!("only with OUTGATE_LONG: a lease that ends takes more than a minute");
        return;
    }
    let dhcp = DhcpServer::Kea;
    let (time, names) = (NtpServer::Ntpsec, NameServer::Unbound);
    let lab = foreign_lab!(
        "foreign end",
        dhcp.program(),
        time.program(),
        names.program()
    );
    let (network, folder) = (lab.namespace(), lab.folder());
    let _names = expect(names.start(network, folder, EdgeAnswer::Short));
    let _time = expect(time.start(network, folder));
    let lender = expect(dhcp.start(network, folder, None));

    let guest = expect(lab.boot(Rtc::Utc, &[]));
    let address = expect(guest.wait_for_address(BOOT_MAX));
    expect(lab.enrol(&guest));
    drop(lender);
    expect(guest.wait_for("Waiting for a DHCP server's answer", LEASE_END_MAX));
    let _lender = expect(dhcp.start(network, folder, None));
    assert_eq!(expect(guest.wait_for_address(STEP_MAX)), address);
    assert_eq!(expect(lab.fetch_page()), 200);
    assert!(!guest.text().contains("Disconnected from"));
    assert_only_allowed_traffic(&lab, &guest, &Policy::lab(&[APPLICATION]));
}

/// Who is there.
struct Peers {
    dhcp: DhcpServer,
    time: NtpServer,
    names: NameServer,
    edge_answer: EdgeAnswer,
}

/// The whole life of an address: lent, renewed at T1, refused, replaced by another, and the tunnel
/// back each time.
fn brings_up(name: &str, peers: &Peers, rtc: &str) {
    let (dhcp, time, names) = (peers.dhcp, peers.time, peers.names);
    let lab = foreign_lab!(name, dhcp.program(), time.program(), names.program());
    let (network, folder) = (lab.namespace(), lab.folder());
    let _names = expect(names.start(network, folder, peers.edge_answer));
    let _time = expect(time.start(network, folder));
    let lender = expect(dhcp.start(network, folder, None));

    let guest = expect(lab.boot(Rtc::At(rtc.to_owned()), &[]));
    let address = expect(guest.wait_for_address(BOOT_MAX));
    let set = format!("Clock set by NTP server {TIME_SERVER}");
    expect(guest.wait_for(&set, STEP_MAX));
    expect(lab.enrol(&guest));
    assert_eq!(expect(lab.fetch_page()), 200);

    expect(lender.wait_for(dhcp.granted(), STEP_MAX));
    expect(lender.wait_for(dhcp.granted(), RENEWAL_MAX));
    drop(lender);
    let lender = expect(dhcp.start(network, folder, Some(address)));
    expect(lender.wait_for(dhcp.refused(), RENEWAL_MAX));
    let other = expect(guest.wait_for_address(STEP_MAX));
    assert_ne!(other, address);
    expect(guest.wait_for(CONNECTED, TUNNEL_BACK_MAX));
    assert_eq!(expect(lab.fetch_page()), 200);

    let frames = expect(lab.frames());
    assert!(
        packets::asked_by_unicast(&frames, address),
        "the lease of {address} was not renewed with the server that gave it"
    );
    if peers.edge_answer == EdgeAnswer::Long {
        let resolver = SocketAddr::from((RESOLVER, dns::PORT));
        assert!(packets::opened(&frames, resolver), "no question by TCP");
    }
    let mut policy = Policy::lab(&[APPLICATION]);
    let edges = edge_addresses().map(|address| SocketAddr::from((address, EDGE.port())));
    policy.edges.extend(edges);
    assert_only_allowed_traffic(&lab, &guest, &policy);
}

/// T1 is after 30 s; the rest is for a busy computer.
const RENEWAL_MAX: Duration = Duration::from_secs(60);

/// Leases are for 60 s; the rest is for a busy computer.
const LEASE_END_MAX: Duration = Duration::from_secs(100);

/// How soon the tunnel is to be back after a change of address: half of what it takes to find out by
/// pings that nobody answers.
const TUNNEL_BACK_MAX: Duration = Duration::from_secs(15);

/// Also that the guest sent something: an empty capture would allow everything.
fn assert_only_allowed_traffic(lab: &ForeignLab, guest: &Guest, policy: &Policy) {
    let frames = expect(lab.frames());
    let is_from_guest = |frame: &&Frame| frame.direction == Direction::FromGuest;
    assert!(frames.iter().filter(is_from_guest).count() > 10);
    let violations = policy.violations(&frames);
    let lines: Vec<_> = violations.iter().map(Violation::to_string).collect();
    assert!(
        lines.is_empty(),
        "the guest sent what it must not:\n{}\n{}",
        lines.join("\n"),
        guest.text()
    );
}
