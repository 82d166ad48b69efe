//! UDP datagrams in Ethernet frames: reading them, and building the answer.

use std::net::SocketAddrV4;

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol,
    Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};

/// What a router sets.
const HOP_LIMIT: u8 = 64;

/// A UDP datagram with its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// The sender's hardware address.
    pub from_mac: [u8; 6],
    /// The receiver's hardware address.
    pub to_mac: [u8; 6],
    /// The sender.
    pub from: SocketAddrV4,
    /// The receiver.
    pub to: SocketAddrV4,
    /// The content.
    pub payload: Vec<u8>,
}

impl Datagram {
    /// The datagram in a frame, if that is what the frame carries and its checksums are right.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        if ethernet.ethertype() != EthernetProtocol::Ipv4 {
            return None;
        }
        let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
        let is_whole = ip.frag_offset() == 0 && !ip.more_frags();
        if ip.next_header() != IpProtocol::Udp || !is_whole || !ip.verify_checksum() {
            return None;
        }
        let udp = UdpPacket::new_checked(ip.payload()).ok()?;
        let (from_address, to_address) = (ip.src_addr(), ip.dst_addr());
        if !udp.verify_checksum(&from_address.into(), &to_address.into()) {
            return None;
        }
        Some(Self {
            from_mac: ethernet.src_addr().0,
            to_mac: ethernet.dst_addr().0,
            from: SocketAddrV4::new(from_address, udp.src_port()),
            to: SocketAddrV4::new(to_address, udp.dst_port()),
            payload: udp.payload().to_vec(),
        })
    }

    /// The datagram that answers this one with `payload`.
    pub fn answer(&self, from_mac: [u8; 6], payload: Vec<u8>) -> Self {
        Self {
            from_mac,
            to_mac: self.from_mac,
            from: self.to,
            to: self.from,
            payload,
        }
    }

    /// The frame that carries it.
    pub fn emit(&self) -> Vec<u8> {
        let checksums = ChecksumCapabilities::default();
        let (from, to) = (
            IpAddress::from(*self.from.ip()),
            IpAddress::from(*self.to.ip()),
        );
        let udp = UdpRepr {
            src_port: self.from.port(),
            dst_port: self.to.port(),
        };
        let ip = Ipv4Repr {
            src_addr: *self.from.ip(),
            dst_addr: *self.to.ip(),
            next_header: IpProtocol::Udp,
            payload_len: udp.header_len() + self.payload.len(),
            hop_limit: HOP_LIMIT,
        };
        let ethernet = EthernetRepr {
            src_addr: EthernetAddress(self.from_mac),
            dst_addr: EthernetAddress(self.to_mac),
            ethertype: EthernetProtocol::Ipv4,
        };
        let mut bytes = vec![0; ethernet.buffer_len() + ip.buffer_len() + ip.payload_len];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        ethernet.emit(&mut frame);
        let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        ip.emit(&mut packet, &checksums);
        udp.emit(
            &mut UdpPacket::new_unchecked(packet.payload_mut()),
            &from,
            &to,
            self.payload.len(),
            |buffer| buffer.copy_from_slice(&self.payload),
            &checksums,
        );
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::address::{GATEWAY_MAC, GUEST, RESOLVER};

    #[test]
    fn a_datagram_reads_back_and_its_answer_goes_back() {
        let datagram = Datagram {
            from_mac: [2, 0, 0, 0, 0, 9],
            to_mac: GATEWAY_MAC,
            from: SocketAddrV4::new(GUEST, 5000),
            to: SocketAddrV4::new(RESOLVER, 53),
            payload: b"question".to_vec(),
        };
        assert_eq!(Datagram::parse(&datagram.emit()), Some(datagram.clone()));
        let answer = datagram.answer(GATEWAY_MAC, b"answer".to_vec());
        assert_eq!((answer.from, answer.to), (datagram.to, datagram.from));
        assert_eq!(answer.to_mac, datagram.from_mac);
    }

    #[test]
    fn a_damaged_datagram_is_none() {
        let mut frame = Datagram {
            from_mac: [2, 0, 0, 0, 0, 9],
            to_mac: GATEWAY_MAC,
            from: SocketAddrV4::new(GUEST, 5000),
            to: SocketAddrV4::new(RESOLVER, 53),
            payload: b"question".to_vec(),
        }
        .emit();
        for length in 0..frame.len() {
            assert_eq!(Datagram::parse(&frame[..length]), None, "{length} bytes");
        }
        *frame.last_mut().unwrap() ^= 1;
        assert_eq!(Datagram::parse(&frame), None);
    }
}
