//! The parts of a TCP segment that decide where it goes.

use std::net::{IpAddr, SocketAddr};

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket,
};

/// A TCP segment's ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The sender.
    pub from: SocketAddr,
    /// The receiver.
    pub to: SocketAddr,
    /// It asks for a new connection.
    pub opens: bool,
    /// It carries bytes.
    pub has_payload: bool,
}

impl Segment {
    /// The segment in a frame, if that is what the frame carries.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        let (from, to, payload): (IpAddress, IpAddress, &[u8]) = match ethernet.ethertype() {
            EthernetProtocol::Ipv4 => {
                let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
                if ip.next_header() != IpProtocol::Tcp || ip.frag_offset() != 0 {
                    return None;
                }
                (ip.src_addr().into(), ip.dst_addr().into(), ip.payload())
            }
            EthernetProtocol::Ipv6 => {
                let ip = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
                if ip.next_header() != IpProtocol::Tcp {
                    return None;
                }
                (ip.src_addr().into(), ip.dst_addr().into(), ip.payload())
            }
            EthernetProtocol::Arp | EthernetProtocol::Unknown(_) => return None,
        };
        let tcp = TcpPacket::new_checked(payload).ok()?;
        Some(Self {
            from: SocketAddr::new(IpAddr::from(from), tcp.src_port()),
            to: SocketAddr::new(IpAddr::from(to), tcp.dst_port()),
            opens: tcp.syn() && !tcp.ack(),
            has_payload: !tcp.payload().is_empty(),
        })
    }
}
