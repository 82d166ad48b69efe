//! UDP datagrams in Ethernet frames: reading them, and building the answer.

use std::net::{IpAddr, SocketAddr};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol, IpRepr,
    Ipv4Packet, Ipv6Packet, UdpPacket, UdpRepr,
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
    pub from: SocketAddr,
    /// The receiver.
    pub to: SocketAddr,
    /// The content.
    pub payload: Vec<u8>,
}

impl Datagram {
    /// The datagram in a frame, if that is what the frame carries and its checksums are right.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        let (from_address, to_address, segment) = match ethernet.ethertype() {
            EthernetProtocol::Ipv4 => {
                let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
                let is_whole = ip.frag_offset() == 0 && !ip.more_frags();
                if ip.next_header() != IpProtocol::Udp || !is_whole || !ip.verify_checksum() {
                    return None;
                }
                (ip.src_addr().into(), ip.dst_addr().into(), ip.payload())
            }
            EthernetProtocol::Ipv6 => {
                let ip = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
                if ip.next_header() != IpProtocol::Udp {
                    return None;
                }
                let addresses = (ip.src_addr().into(), ip.dst_addr().into());
                (addresses.0, addresses.1, ip.payload())
            }
            EthernetProtocol::Arp | EthernetProtocol::Unknown(_) => return None,
        };
        let udp = UdpPacket::new_checked(segment).ok()?;
        if !udp.verify_checksum(&from_address, &to_address) {
            return None;
        }
        Some(Self {
            from_mac: ethernet.src_addr().0,
            to_mac: ethernet.dst_addr().0,
            from: SocketAddr::new(from_address.into(), udp.src_port()),
            to: SocketAddr::new(to_address.into(), udp.dst_port()),
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

    /// The frame that carries it. Both addresses are of one family.
    pub fn emit(&self) -> Vec<u8> {
        let checksums = ChecksumCapabilities::default();
        let (from, to) = (
            IpAddress::from(self.from.ip()),
            IpAddress::from(self.to.ip()),
        );
        let udp = UdpRepr {
            src_port: self.from.port(),
            dst_port: self.to.port(),
        };
        let length = udp.header_len() + self.payload.len();
        let ip = IpRepr::new(from, to, IpProtocol::Udp, length, HOP_LIMIT);
        let ethernet = EthernetRepr {
            src_addr: EthernetAddress(self.from_mac),
            dst_addr: EthernetAddress(self.to_mac),
            ethertype: match self.from.ip() {
                IpAddr::V4(_) => EthernetProtocol::Ipv4,
                IpAddr::V6(_) => EthernetProtocol::Ipv6,
            },
        };
        let mut bytes = vec![0; ethernet.buffer_len() + ip.buffer_len()];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
        ethernet.emit(&mut frame);
        let packet = frame.payload_mut();
        ip.emit(&mut *packet, &checksums);
        udp.emit(
            &mut UdpPacket::new_unchecked(&mut packet[ip.header_len()..]),
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
    use crate::network::address::{GATEWAY_MAC, GATEWAY6, GUEST, RESOLVER, RESOLVER6};

    #[test]
    fn a_datagram_reads_back_and_its_answer_goes_back() {
        for datagram in both_families() {
            assert_eq!(Datagram::parse(&datagram.emit()), Some(datagram.clone()));
            let answer = datagram.answer(GATEWAY_MAC, b"answer".to_vec());
            assert_eq!((answer.from, answer.to), (datagram.to, datagram.from));
            assert_eq!(answer.to_mac, datagram.from_mac);
        }
    }

    #[test]
    fn a_damaged_datagram_is_none() {
        for datagram in both_families() {
            let mut frame = datagram.emit();
            for length in 0..frame.len() {
                assert_eq!(Datagram::parse(&frame[..length]), None, "{length} bytes");
            }
            *frame.last_mut().unwrap() ^= 1;
            assert_eq!(Datagram::parse(&frame), None);
        }
    }

    fn both_families() -> [Datagram; 2] {
        let ends: [(IpAddr, IpAddr); 2] = [
            (GUEST.into(), RESOLVER.into()),
            (GATEWAY6.into(), RESOLVER6.into()),
        ];
        ends.map(|(from, to)| Datagram {
            from_mac: [2, 0, 0, 0, 0, 9],
            to_mac: GATEWAY_MAC,
            from: SocketAddr::new(from, 5000),
            to: SocketAddr::new(to, 53),
            payload: b"question".to_vec(),
        })
    }
}
