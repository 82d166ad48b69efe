//! Questions about frames that a guest sent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use smoltcp::wire::{EthernetFrame, IpProtocol, Ipv4Packet, TcpPacket, UdpPacket};
use tests::network::address::GATEWAY;
use tests::network::dhcp;
use tests::pcap::{Direction, Frame};

/// Whether the holder of `address` asked the DHCP server about it by unicast, as RFC 2131 wants a
/// renewal at T1.
pub fn asked_by_unicast(frames: &[Frame], address: Ipv4Addr) -> bool {
    sent(frames).any(|frame| {
        let Some(packet) = ipv4(frame) else {
            return false;
        };
        let is_between = packet.src_addr() == address && packet.dst_addr() == GATEWAY;
        let port = UdpPacket::new_checked(packet.payload()).map(|udp| udp.dst_port());
        is_between && packet.next_header() == IpProtocol::Udp && port == Ok(dhcp::SERVER_PORT)
    })
}

/// Whether a TCP connection to this place was begun.
pub fn opened(frames: &[Frame], to: SocketAddr) -> bool {
    sent(frames).any(|frame| {
        let Some(packet) = ipv4(frame) else {
            return false;
        };
        let is_there = IpAddr::V4(packet.dst_addr()) == to.ip();
        is_there
            && packet.next_header() == IpProtocol::Tcp
            && TcpPacket::new_checked(packet.payload())
                .is_ok_and(|tcp| tcp.syn() && tcp.dst_port() == to.port())
    })
}

fn sent(frames: &[Frame]) -> impl Iterator<Item = &Frame> {
    frames
        .iter()
        .filter(|frame| frame.direction == Direction::FromGuest)
}

fn ipv4(frame: &Frame) -> Option<Ipv4Packet<&[u8]>> {
    let ethernet = EthernetFrame::new_checked(frame.bytes.as_slice()).ok()?;
    Ipv4Packet::new_checked(ethernet.payload()).ok()
}
