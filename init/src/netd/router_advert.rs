//! Reads router advertisements (RFC 4861 section 4.2), as far as the machine uses them.
//!
//! Used are the router's lifetime, prefixes of 64 bits in which addresses are formed, DNS servers
//! (RFC 8106) and the MTU. Routes to parts of the network (RFC 4191), search lists and whatever else
//! an option may hold are passed over: a router decides about the default route and nothing more.

use std::net::{IpAddr, Ipv6Addr};

use connector_proto::local::{AdvertisedPrefix, RouterAdvert, Servers};

use super::icmpv6::{self, HOP_LIMIT_OF_THE_LINK};
use crate::ipv6::{
    MTU_MAX, MTU_MIN, PREFIX_LEN, is_link_local, is_usable_prefix, is_usable_server,
};

/// Reads the advertisement in a frame. `None`: it is none, or is not valid by RFC 4861 section
/// 6.1.2, which has it dropped without a word.
#[must_use]
pub fn parse(frame: &[u8]) -> Option<RouterAdvert> {
    let message = icmpv6::parse(frame)?;
    let [
        ROUTER_ADVERTISEMENT,
        0,
        _,
        _,
        _,
        flags,
        lifetime_high,
        lifetime_low,
        ..,
    ] = *message.body
    else {
        return None;
    };
    if message.hop_limit != HOP_LIMIT_OF_THE_LINK || !is_link_local(message.source) {
        return None;
    }
    let mut advert = RouterAdvert {
        router: message.source,
        lifetime_s: u16::from_be_bytes([lifetime_high, lifetime_low]),
        prefixes: Default::default(),
        resolvers: Servers::new(),
        resolvers_s: 0,
        mtu: None,
        is_managed: false,
    };
    for option in options(message.body.get(FIXED_LEN..)?)? {
        read_option(&mut advert, option);
    }
    advert.is_managed = flags & MANAGED != 0 && advert.prefixes.is_empty();
    Some(advert)
}

/// The options, each with type and length; `None` if a length is zero or does not fit.
fn options(mut rest: &[u8]) -> Option<Vec<&[u8]>> {
    let mut options = Vec::new();
    while let Some(&len) = rest.get(1) {
        let len = usize::from(len) * UNIT;
        if len == 0 || len > rest.len() {
            return None;
        }
        let (option, next) = rest.split_at(len);
        options.push(option);
        rest = next;
    }
    rest.is_empty().then_some(options)
}

/// More prefixes or servers than fit are left out.
fn read_option(advert: &mut RouterAdvert, option: &[u8]) {
    match option {
        [PREFIX_INFORMATION, 4, ..] => {
            if let Some(prefix) = prefix(option) {
                let is_known = |known: &AdvertisedPrefix| known.prefix == prefix.prefix;
                if !advert.prefixes.iter().any(is_known) {
                    let _ = advert.prefixes.push(prefix);
                }
            }
        }
        [MTU, 1, _, _, a, b, c, d] => {
            let mtu = u16::try_from(u32::from_be_bytes([*a, *b, *c, *d])).ok();
            advert.mtu = mtu.filter(|mtu| (MTU_MIN..=MTU_MAX).contains(mtu));
        }
        [RDNSS, _, _, _, a, b, c, d, addresses @ ..] => {
            let lifetime_s = u32::from_be_bytes([*a, *b, *c, *d]);
            take_resolvers(advert, lifetime_s, addresses);
        }
        _ => {}
    }
}

/// A prefix in which the machine may form an address (RFC 4862 section 5.5.3 a to d).
fn prefix(option: &[u8]) -> Option<AdvertisedPrefix> {
    let flags = *option.get(3)?;
    let seconds = |at: usize| -> Option<u32> {
        let bytes = option.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    };
    let bytes: [u8; 16] = option.get(16..32)?.try_into().ok()?;
    let prefix = AdvertisedPrefix {
        prefix: Ipv6Addr::from_bits(u128::from_be_bytes(bytes) >> 64 << 64),
        valid_s: seconds(4)?,
        preferred_s: seconds(8)?,
        is_on_link: flags & ON_LINK != 0,
    };
    let is_usable = *option.get(2)? == PREFIX_LEN
        && flags & AUTONOMOUS != 0
        && prefix.preferred_s <= prefix.valid_s
        && is_usable_prefix(prefix.prefix);
    is_usable.then_some(prefix)
}

/// Servers with another lifetime than those before hold for the shorter of both; those with none
/// are left out where others have one.
fn take_resolvers(advert: &mut RouterAdvert, lifetime_s: u32, addresses: &[u8]) {
    let servers = addresses.as_chunks::<16>().0.iter();
    let usable = servers
        .map(|octets| Ipv6Addr::from(*octets))
        .filter(|server| is_usable_server(*server));
    for server in usable.map(IpAddr::V6) {
        if lifetime_s == 0 && advert.resolvers_s > 0 {
            return;
        }
        if lifetime_s > 0 && advert.resolvers_s == 0 {
            advert.resolvers.clear();
            advert.resolvers_s = lifetime_s;
        }
        advert.resolvers_s = advert.resolvers_s.min(lifetime_s);
        if !advert.resolvers.contains(&server) {
            let _ = advert.resolvers.push(server);
        }
    }
}

/// The frame of an advertisement, from this MAC address to all nodes: what [`parse`] reads back.
#[must_use]
pub fn emit(advert: &RouterAdvert, mac: [u8; 6]) -> Vec<u8> {
    let mut body = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, 64];
    body.push(if advert.is_managed { MANAGED } else { 0 });
    body.extend(advert.lifetime_s.to_be_bytes());
    body.extend([0; 8]);
    for prefix in &advert.prefixes {
        let on_link = if prefix.is_on_link { ON_LINK } else { 0 };
        body.extend([PREFIX_INFORMATION, 4, PREFIX_LEN, AUTONOMOUS | on_link]);
        body.extend(prefix.valid_s.to_be_bytes());
        body.extend(prefix.preferred_s.to_be_bytes());
        body.extend([0; 4]);
        body.extend(prefix.prefix.octets());
    }
    if let Some(mtu) = advert.mtu {
        body.extend([MTU, 1, 0, 0, 0, 0]);
        body.extend(mtu.to_be_bytes());
    }
    let servers = advert.resolvers.iter().filter_map(|server| match server {
        IpAddr::V6(server) => Some(server.octets()),
        IpAddr::V4(_) => None,
    });
    let servers: Vec<_> = servers.collect();
    if let Ok(count) = u8::try_from(servers.len())
        && count > 0
    {
        body.extend([RDNSS, 1 + 2 * count, 0, 0]);
        body.extend(advert.resolvers_s.to_be_bytes());
        body.extend(servers.as_flattened());
    }
    icmpv6::emit((mac, ALL_NODES_MAC), advert.router, ALL_NODES, body)
}

/// Reads any bytes, as a fuzzer supplies them: as a frame, and as the message in a frame whose
/// headers and sum are right. What is read is written and read again.
///
/// # Panics
/// If both differ.
pub fn fuzz_router_advert(data: &[u8]) {
    let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
    let macs = ([2; 6], ALL_NODES_MAC);
    for frame in [
        data.to_vec(),
        icmpv6::emit(macs, router, ALL_NODES, data.to_vec()),
    ] {
        let Some(advert) = parse(&frame) else {
            continue;
        };
        let again = parse(&emit(&advert, [2; 6]));
        assert_eq!(again.as_ref(), Some(&advert), "an advert is read back");
    }
}

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
const ROUTER_ADVERTISEMENT: u8 = 134;
/// The message before its options.
const FIXED_LEN: usize = 16;
/// Lengths of options count eight bytes.
const UNIT: usize = 8;
/// The flag "addresses by DHCPv6".
const MANAGED: u8 = 0x80;
const PREFIX_INFORMATION: u8 = 3;
const MTU: u8 = 5;
const RDNSS: u8 = 25;
const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;

#[cfg(test)]
mod tests;
