use super::*;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::network::address::{APPLICATION, GATEWAY_MAC, GUEST};
use crate::network::datagram::Datagram;

#[test]
fn all_that_a_connector_needs_is_allowed() {
    let policy = Policy::lab(&[APPLICATION]);
    let broadcast = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
    for frame in [
        ethernet(0x0806, &[0; 28]),
        udp(68, broadcast),
        udp(68, SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 1), 67)),
        udp(40000, SocketAddrV4::new(RESOLVER, 53)),
        udp(123, SocketAddrV4::new(TIME_SERVER, 123)),
        icmpv6(133, "ff02::2", 255),
        icmpv6(135, "ff02::1:ff00:15", 255),
        icmpv6(135, "fe80::1", 255),
        icmpv6(136, "fe80::1", 255),
        report(),
        vlan::tagged(&tcp(EDGE, SYN), 7),
        tcp(EDGE, SYN),
        tcp(APPLICATION, 0x10),
    ] {
        assert_eq!(policy.violations(&[sent(frame)]), []);
    }
}

#[test]
fn everything_else_is_named() {
    let policy = Policy::lab::<SocketAddr>(&[]);
    let stranger = Ipv4Addr::new(198, 51, 100, 1);
    let mut fragment = tcp(EDGE, SYN);
    fragment[20] = 0x20;
    for (frame, description) in [
        (
            tcp(SocketAddrV4::new(stranger, 443), SYN),
            "TCP SYN to 198.51.100.1:443",
        ),
        (
            tcp(SocketAddrV4::new(*EDGE.ip(), 80), SYN),
            "TCP SYN to 203.0.113.10:80",
        ),
        (tcp(APPLICATION, 0x10), "TCP segment to 10.77.0.80:80"),
        (tcp(APPLICATION, 0x04), "TCP RST to 10.77.0.80:80"),
        (
            udp(40000, SocketAddrV4::new(stranger, 53)),
            "UDP from port 40000 to 198.51.100.1:53",
        ),
        (
            udp(123, SocketAddrV4::new(stranger, 123)),
            "UDP from port 123 to 198.51.100.1:123",
        ),
        (
            udp(69, SocketAddrV4::new(Ipv4Addr::BROADCAST, 67)),
            "UDP from port 69 to 255.255.255.255:67",
        ),
        (ipv4(1, stranger, &[8, 0, 0, 0]), "ICMP to 198.51.100.1"),
        (
            ipv4(2, Ipv4Addr::new(224, 0, 0, 22), &[0; 8]),
            "IGMP to 224.0.0.22",
        ),
        (fragment, "a fragment of TCP to 203.0.113.10"),
        (ethernet(0x88cc, &[0; 46]), "Ethernet protocol 0x88cc"),
        (ethernet(0x0800, &[0x45]), "a broken IPv4 packet"),
        (icmpv6(133, "ff02::1", 255), "ICMPv6 of type 133 to ff02::1"),
        (icmpv6(128, "ff02::2", 255), "ICMPv6 of type 128 to ff02::2"),
        (icmpv6(134, "ff02::1", 255), "ICMPv6 of type 134 to ff02::1"),
        (icmpv6(136, "ff02::1", 255), "ICMPv6 of type 136 to ff02::1"),
        (
            icmpv6(135, "ff02::16", 255),
            "ICMPv6 of type 135 to ff02::16",
        ),
        (icmpv6(133, "ff02::2", 64), "ICMPv6 of type 133 to ff02::2"),
        (ipv6(44, "fe80::1", 255, &[0; 8]), "IPv6-Frag to fe80::1"),
        (
            vlan::tagged(&tcp(APPLICATION, SYN), 7),
            "TCP SYN to 10.77.0.80:80",
        ),
        (vec![0; 5], "a frame of 5 bytes"),
    ] {
        let violations = policy.violations(&[sent(frame)]);
        let descriptions: Vec<_> = violations.iter().map(|v| v.description.as_str()).collect();
        assert_eq!(descriptions, [description]);
    }
}

#[test]
fn a_restored_machine_may_announce_itself_to_its_neighbours_and_no_further() {
    let policy = Policy::lab::<SocketAddr>(&[]).of_restored_machines();
    assert_eq!(policy.violations(&[sent(icmpv6(136, "ff02::1", 255))]), []);
    for frame in [icmpv6(136, "ff02::1", 64), icmpv6(134, "ff02::1", 255)] {
        assert_eq!(policy.violations(&[sent(frame)]).len(), 1);
    }
}

#[test]
fn repetitions_are_counted_and_what_the_guest_received_is_not_its_fault() {
    let policy = Policy {
        ipv6: false,
        ..Policy::lab::<SocketAddr>(&[])
    };
    let solicitation = || sent(icmpv6(133, "ff02::2", 255));
    let received = Frame {
        direction: Direction::ToGuest,
        ..solicitation()
    };
    let violations = policy.violations(&[solicitation(), received, solicitation()]);
    assert_eq!(violations.len(), 1);
    assert!(violations[0].to_string().contains("2 times"));
    assert_eq!(violations[0].description, "IPv6 ICMPv6 to ff02::2");
}

const SYN: u8 = 0x02;

fn sent(bytes: Vec<u8>) -> Frame {
    Frame {
        at: Duration::from_millis(1),
        direction: Direction::FromGuest,
        bytes,
    }
}

fn ethernet(protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = GATEWAY_MAC.to_vec();
    frame.extend([0, 0x50, 0x56, 0, 0, 1]);
    frame.extend(protocol.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ipv4(protocol: u8, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend(u16::try_from(20 + payload.len()).unwrap().to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(GUEST.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    ethernet(0x0800, &packet)
}

fn tcp(to: SocketAddrV4, flags: u8) -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment[..2].copy_from_slice(&50000_u16.to_be_bytes());
    segment[2..4].copy_from_slice(&to.port().to_be_bytes());
    segment[12] = 0x50;
    segment[13] = flags;
    ipv4(6, *to.ip(), &segment)
}

fn udp(from_port: u16, to: SocketAddrV4) -> Vec<u8> {
    Datagram {
        from_mac: [0, 0x50, 0x56, 0, 0, 1],
        to_mac: GATEWAY_MAC,
        from: SocketAddrV4::new(GUEST, from_port).into(),
        to: to.into(),
        payload: vec![0; 8],
    }
    .emit()
}

fn ipv6(next_header: u8, to: &str, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    let mut packet = vec![0x60, 0, 0, 0, 0, length, next_header, hop_limit];
    packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend(to.parse::<Ipv6Addr>().unwrap().octets());
    packet.extend(payload);
    ethernet(0x86dd, &packet)
}

fn icmpv6(kind: u8, to: &str, hop_limit: u8) -> Vec<u8> {
    ipv6(58, to, hop_limit, &[kind, 0, 0, 0, 0, 0, 0, 0])
}

/// A multicast report behind the router alert option.
fn report() -> Vec<u8> {
    let alert = [58, 0, 5, 2, 0, 0, 1, 0];
    let payload = [&alert[..], &[143, 0, 0, 0, 0, 0, 0, 0]].concat();
    ipv6(0, "ff02::16", 1, &payload)
}
