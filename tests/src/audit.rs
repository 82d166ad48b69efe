//! Whether a guest sent anything that it must not: judged from the captured frames alone.
//!
//! Allowed are ARP, DHCP, DNS to the given resolvers, NTP to the given servers, and TCP to the
//! edge and to granted applications. Everything else is a violation: any IPv6, ICMP or IGMP, any
//! other port or host, a reset to a stranger included.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::time::Duration;

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket, UdpPacket,
};

use crate::network::address::{EDGE, RESOLVER, TIME_SERVER};
use crate::network::{dhcp, dns, ntp};
use crate::pcap::{Direction, Frame};

/// What a guest may send, beside ARP and DHCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Where questions for names may go.
    pub resolvers: Vec<Ipv4Addr>,
    /// Where questions for the time may go.
    pub time_servers: Vec<Ipv4Addr>,
    /// Service edges.
    pub edges: Vec<SocketAddrV4>,
    /// Applications that were granted.
    pub applications: Vec<SocketAddrV4>,
}

/// Something a guest must not send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// When it was first sent, since the capture began.
    pub at: Duration,
    /// How often.
    pub count: usize,
    /// What it was, for people.
    pub description: String,
}

impl Policy {
    /// The lab's resolver, time server and edge, and these applications.
    pub fn lab(applications: &[SocketAddrV4]) -> Self {
        Self {
            resolvers: vec![RESOLVER],
            time_servers: vec![TIME_SERVER],
            edges: vec![EDGE],
            applications: applications.to_vec(),
        }
    }

    /// What guests sent that is not allowed, each kind once, in order of the first time.
    pub fn violations<'a>(&self, frames: impl IntoIterator<Item = &'a Frame>) -> Vec<Violation> {
        let mut kinds: BTreeMap<String, (Duration, usize)> = BTreeMap::new();
        for frame in frames
            .into_iter()
            .filter(|frame| frame.direction == Direction::FromGuest)
        {
            if let Err(description) = self.judge(&frame.bytes) {
                kinds.entry(description).or_insert((frame.at, 0)).1 += 1;
            }
        }
        let mut violations: Vec<_> = kinds
            .into_iter()
            .map(|(description, (at, count))| Violation {
                at,
                count,
                description,
            })
            .collect();
        violations.sort_by_key(|violation| violation.at);
        violations
    }

    /// Judges one frame; the error describes it.
    fn judge(&self, frame: &[u8]) -> Result<(), String> {
        let ethernet = EthernetFrame::new_checked(frame)
            .map_err(|_| format!("a frame of {} bytes", frame.len()))?;
        match ethernet.ethertype() {
            EthernetProtocol::Arp => Ok(()),
            EthernetProtocol::Ipv4 => self.judge_ipv4(ethernet.payload()),
            EthernetProtocol::Ipv6 => Err(describe_ipv6(ethernet.payload())),
            EthernetProtocol::Unknown(other) => Err(format!("Ethernet protocol {other:#06x}")),
        }
    }

    fn judge_ipv4(&self, packet: &[u8]) -> Result<(), String> {
        let ip = Ipv4Packet::new_checked(packet).map_err(|_| "a broken IPv4 packet".to_owned())?;
        let to = ip.dst_addr();
        if ip.frag_offset() != 0 || ip.more_frags() {
            return Err(format!("a fragment of {} to {to}", ip.next_header()));
        }
        match ip.next_header() {
            IpProtocol::Tcp => {
                let tcp = TcpPacket::new_checked(ip.payload())
                    .map_err(|_| format!("a broken TCP segment to {to}"))?;
                self.judge_tcp(SocketAddrV4::new(to, tcp.dst_port()), flags(&tcp))
            }
            IpProtocol::Udp => {
                let udp = UdpPacket::new_checked(ip.payload())
                    .map_err(|_| format!("a broken UDP datagram to {to}"))?;
                self.judge_udp(udp.src_port(), SocketAddrV4::new(to, udp.dst_port()))
            }
            other => Err(format!("{other} to {to}")),
        }
    }

    fn judge_tcp(&self, to: SocketAddrV4, flags: &str) -> Result<(), String> {
        if self.edges.contains(&to) || self.applications.contains(&to) {
            return Ok(());
        }
        Err(format!("TCP {flags} to {to}"))
    }

    fn judge_udp(&self, from_port: u16, to: SocketAddrV4) -> Result<(), String> {
        let is_allowed = match to.port() {
            dhcp::SERVER_PORT => from_port == dhcp::CLIENT_PORT,
            dns::PORT => self.resolvers.contains(to.ip()),
            ntp::PORT => self.time_servers.contains(to.ip()),
            _ => false,
        };
        if is_allowed {
            Ok(())
        } else {
            Err(format!("UDP from port {from_port} to {to}"))
        }
    }
}

fn flags<T: AsRef<[u8]>>(tcp: &TcpPacket<T>) -> &'static str {
    match (tcp.syn(), tcp.rst()) {
        (true, _) => "SYN",
        (false, true) => "RST",
        (false, false) => "segment",
    }
}

fn describe_ipv6(packet: &[u8]) -> String {
    let (protocol, to) = (packet.get(6), packet.get(24..40));
    let to = to
        .and_then(|octets| <[u8; 16]>::try_from(octets).ok())
        .map(Ipv6Addr::from);
    match (protocol, to) {
        (Some(&protocol), Some(to)) => format!("IPv6 {} to {to}", IpProtocol::from(protocol)),
        _ => "a broken IPv6 packet".to_owned(),
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at.as_secs_f64();
        write!(
            f,
            "{} ({} times, first at {seconds:.3} s)",
            self.description, self.count
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            tcp(EDGE, SYN),
            tcp(APPLICATION, 0x10),
        ] {
            assert_eq!(policy.violations(&[sent(frame)]), []);
        }
    }

    #[test]
    fn everything_else_is_named() {
        let policy = Policy::lab(&[]);
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
            (ipv6(), "IPv6 ICMPv6 to ff02::2"),
            (vec![0; 5], "a frame of 5 bytes"),
        ] {
            let violations = policy.violations(&[sent(frame)]);
            let descriptions: Vec<_> = violations.iter().map(|v| v.description.as_str()).collect();
            assert_eq!(descriptions, [description]);
        }
    }

    #[test]
    fn repetitions_are_counted_and_what_the_guest_received_is_not_its_fault() {
        let policy = Policy::lab(&[]);
        let received = Frame {
            direction: Direction::ToGuest,
            ..sent(ipv6())
        };
        let violations = policy.violations(&[sent(ipv6()), received, sent(ipv6())]);
        assert_eq!(violations.len(), 1);
        assert!(violations[0].to_string().contains("2 times"));
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
            from: SocketAddrV4::new(GUEST, from_port),
            to,
            payload: vec![0; 8],
        }
        .emit()
    }

    /// A router solicitation.
    fn ipv6() -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 8, 58, 255];
        packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet.extend([133, 0, 0, 0, 0, 0, 0, 0]);
        ethernet(0x86dd, &packet)
    }
}
