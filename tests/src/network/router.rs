//! The IPv6 router and its neighbours: advertisements (RFC 4861 section 4.2, RFC 8106), and answers to
//! who asks for a hardware address.

use std::net::Ipv6Addr;

use smoltcp::wire::{EthernetFrame, EthernetProtocol, Icmpv6Packet, IpProtocol, Ipv6Packet};

use super::address::{GATEWAY_MAC, GATEWAY6, PREFIX6, RESOLVER6};

/// What the router advertises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterTerms {
    /// For how long it is a default router, in seconds; 0: it is none.
    pub lifetime_s: u16,
    /// The prefix, 64 bits long; the option is left out when there is none.
    pub prefix: Option<Ipv6Addr>,
    /// For how long addresses in it are valid, in seconds.
    pub valid_s: u32,
    /// For how long they are preferred, in seconds.
    pub preferred_s: u32,
    /// Resolvers (RFC 8106); the option is left out when there is none.
    pub resolvers: Vec<Ipv6Addr>,
    /// The link's MTU; the option is left out when there is none.
    pub mtu: Option<u32>,
    /// Addresses are to be had by DHCPv6.
    pub is_managed: bool,
}

impl Default for RouterTerms {
    fn default() -> Self {
        Self {
            lifetime_s: 1800,
            prefix: Some(PREFIX6),
            valid_s: 3600,
            preferred_s: 1800,
            resolvers: vec![RESOLVER6],
            mtu: None,
            is_managed: false,
        }
    }
}

/// What a guest's neighbour discovery asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// A router's advertisement.
    Router,
    /// The hardware address of this one, for the asker.
    Neighbour {
        /// Whose.
        target: Ipv6Addr,
        /// The asker; unspecified while it checks that nobody else has the address.
        asker: Ipv6Addr,
        /// The asker's hardware address.
        asker_mac: [u8; 6],
    },
}

/// The question in a frame, if it is one.
pub fn question(frame: &[u8]) -> Option<Question> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv6 {
        return None;
    }
    let ip = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
    if ip.next_header() != IpProtocol::Icmpv6 || ip.hop_limit() != HOP_LIMIT {
        return None;
    }
    let (from, to) = (ip.src_addr(), ip.dst_addr());
    let message = Icmpv6Packet::new_checked(ip.payload()).ok()?;
    if !message.verify_checksum(&from, &to) {
        return None;
    }
    match *ip.payload().first()? {
        ROUTER_SOLICITATION => Some(Question::Router),
        NEIGHBOUR_SOLICITATION => {
            let target = ip.payload().get(8..24)?;
            Some(Question::Neighbour {
                target: Ipv6Addr::from(<[u8; 16]>::try_from(target).ok()?),
                asker: from,
                asker_mac: ethernet.src_addr().0,
            })
        }
        _ => None,
    }
}

impl RouterTerms {
    /// The advertisement, to all nodes.
    pub fn advertisement(&self) -> Vec<u8> {
        let flags = if self.is_managed { FLAG_MANAGED } else { 0 };
        let mut message = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, 64, flags];
        message.extend(self.lifetime_s.to_be_bytes());
        // Reachable time and retransmission timer: not given.
        message.extend([0; 8]);
        message.extend([OPTION_SOURCE_MAC, 1]);
        message.extend(GATEWAY_MAC);
        if let Some(prefix) = self.prefix {
            message.extend([OPTION_PREFIX, 4, 64, FLAG_ON_LINK | FLAG_AUTONOMOUS]);
            message.extend(self.valid_s.to_be_bytes());
            message.extend(self.preferred_s.to_be_bytes());
            message.extend([0; 4]);
            message.extend(prefix.octets());
        }
        if let Some(mtu) = self.mtu {
            message.extend([OPTION_MTU, 1, 0, 0]);
            message.extend(mtu.to_be_bytes());
        }
        if let Ok(count @ 1..) = u8::try_from(self.resolvers.len()) {
            message.extend([OPTION_RESOLVERS, 1 + 2 * count, 0, 0]);
            message.extend(self.valid_s.to_be_bytes());
            message.extend(self.resolvers.iter().flat_map(Ipv6Addr::octets));
        }
        frame(ALL_NODES_MAC, GATEWAY6, ALL_NODES, message)
    }
}

/// The answer to who asks for `target`'s hardware address, which is the router's for all.
pub fn neighbour(target: Ipv6Addr, asker: Ipv6Addr, asker_mac: [u8; 6]) -> Vec<u8> {
    let is_unknown = asker.is_unspecified();
    let (flags, to, mac) = if is_unknown {
        (FLAG_OVERRIDE, ALL_NODES, ALL_NODES_MAC)
    } else {
        (FLAG_SOLICITED | FLAG_OVERRIDE, asker, asker_mac)
    };
    let flags = if target == GATEWAY6 {
        flags | FLAG_ROUTER
    } else {
        flags
    };
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    message.extend(target.octets());
    message.extend([OPTION_TARGET_MAC, 1]);
    message.extend(GATEWAY_MAC);
    frame(mac, target, to, message)
}

/// An ICMPv6 message, whose checksum is filled in, as a frame from the router.
fn frame(to_mac: [u8; 6], from: Ipv6Addr, to: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    Icmpv6Packet::new_unchecked(&mut message[..]).fill_checksum(&from, &to);
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    let mut frame = [to_mac, GATEWAY_MAC].concat();
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([NEXT_HEADER_ICMPV6, HOP_LIMIT]);
    frame.extend(from.octets());
    frame.extend(to.octets());
    frame.extend(message);
    frame
}

const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const NEXT_HEADER_ICMPV6: u8 = 58;
/// No router passed it on.
const HOP_LIMIT: u8 = 255;
const OPTION_SOURCE_MAC: u8 = 1;
const OPTION_TARGET_MAC: u8 = 2;
const OPTION_PREFIX: u8 = 3;
const OPTION_MTU: u8 = 5;
const OPTION_RESOLVERS: u8 = 25;
const FLAG_MANAGED: u8 = 0x80;
const FLAG_ON_LINK: u8 = 0x80;
const FLAG_AUTONOMOUS: u8 = 0x40;
const FLAG_ROUTER: u8 = 0x80;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{Icmpv6Repr, NdiscRepr};

    #[test]
    fn an_advertisement_says_every_term() {
        let terms = RouterTerms {
            mtu: Some(1400),
            ..RouterTerms::default()
        };
        let frame = terms.advertisement();
        let ip = Ipv6Packet::new_checked(&frame[14..]).unwrap();
        assert_eq!((ip.hop_limit(), ip.src_addr()), (255, GATEWAY6));
        let message = Icmpv6Packet::new_checked(ip.payload()).unwrap();
        let checksums = ChecksumCapabilities::default();
        let (from, to) = (ip.src_addr(), ip.dst_addr());
        let repr = Icmpv6Repr::parse(&from, &to, &message, &checksums).unwrap();
        let Icmpv6Repr::Ndisc(NdiscRepr::RouterAdvert {
            router_lifetime,
            mtu,
            prefix_info: Some(prefix),
            ..
        }) = repr
        else {
            panic!("{repr:?}");
        };
        assert_eq!((router_lifetime.secs(), mtu), (1800, Some(1400)));
        assert_eq!((prefix.prefix, prefix.prefix_len), (PREFIX6, 64));
        assert!(frame.ends_with(&RESOLVER6.octets()));
    }

    #[test]
    fn questions_are_told_from_answers() {
        let asker = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x15);
        let mut solicitation = vec![NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
        solicitation.extend(GATEWAY6.octets());
        let asked = frame([2; 6], asker, GATEWAY6, solicitation);
        let expected = Question::Neighbour {
            target: GATEWAY6,
            asker,
            asker_mac: GATEWAY_MAC,
        };
        assert_eq!(question(&asked), Some(expected));
        let solicitation = vec![ROUTER_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
        let asked = frame([2; 6], asker, ALL_NODES, solicitation);
        assert_eq!(question(&asked), Some(Question::Router));
        assert_eq!(question(&neighbour(GATEWAY6, asker, [2; 6])), None);
        for length in 0..asked.len() {
            assert_eq!(question(&asked[..length]), None, "{length} bytes");
        }
    }
}
