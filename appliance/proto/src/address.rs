//! Which addresses are never dialled, whatever a grant says.
//!
//! The check is made on the *resolved* address, and the address that was checked is the one that is
//! dialled: a name that answers differently a second time changes nothing.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// 240.0.0.0/4 and the broadcast address.
    Reserved,
    /// The address of a service edge.
    Edge,
    /// The machine's gateway.
    Gateway,
    /// 169.254.0.0/16 (cloud metadata lives there) or fe80::/10.
    LinkLocal,
    /// 127.0.0.0/8 or ::1.
    Loopback,
    /// A metadata address of a cloud outside the link-local range.
    Metadata,
    /// 224.0.0.0/4 or ff00::/8.
    Multicast,
    /// The machine's own address.
    Own,
    /// 0.0.0.0/8 or ::.
    Unspecified,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reserved => "it is reserved (240.0.0.0/4)",
            Self::Edge => "it is a service edge's",
            Self::Gateway => "it is the connector's gateway",
            Self::LinkLocal => "it is link-local",
            Self::Loopback => "it is a loopback address",
            Self::Metadata => "it is a cloud metadata service",
            Self::Multicast => "it is multicast",
            Self::Own => "it is the connector's own",
            Self::Unspecified => "it is unspecified (0.0.0.0/8 or ::)",
        })
    }
}

/// Addresses of this very machine's surroundings that are never dialled as applications.
#[derive(Clone, Debug, Default)]
pub struct Surroundings<'a> {
    /// The machine's own addresses.
    pub own: &'a [IpAddr],
    /// Its gateways.
    pub gateways: &'a [IpAddr],
    /// Service edges, as resolved.
    pub edges: &'a [IpAddr],
}

/// Checks an address that a name resolved to, or that a grant named. An IPv6 address in which an IPv4
/// address travels is checked as both: whatever on the way may unwrap it.
///
/// # Errors
/// Why it is not dialled.
pub fn check(address: IpAddr, surroundings: &Surroundings<'_>) -> Result<(), Denied> {
    let is_in = |list: &[IpAddr]| {
        let mut listed = list.iter().flat_map(|listed| forms(*listed));
        listed.any(|listed| forms(address).any(|form| form == listed))
    };
    let denied = (forms(address).find_map(class))
        .or_else(|| is_in(surroundings.own).then_some(Denied::Own))
        .or_else(|| is_in(surroundings.gateways).then_some(Denied::Gateway))
        .or_else(|| is_in(surroundings.edges).then_some(Denied::Edge));
    denied.map_or(Ok(()), Err)
}

/// The address, and the IPv4 addresses that may travel in it.
fn forms(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let inner = match address {
        IpAddr::V4(_) => [None; 2],
        IpAddr::V6(v6) => embedded(v6),
    };
    core::iter::once(address).chain(inner.into_iter().flatten().map(IpAddr::V4))
}

/// The IPv4 addresses that may travel in an IPv6 address: where translators and tunnels look for them.
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let octets = address.octets();
    let at = |places: [usize; 4]| Some(Ipv4Addr::from(places.map(|place| octets[place])));
    let last = at([12, 13, 14, 15]);
    match address.segments() {
        // v4-mapped (RFC 4291) and its translated form (RFC 2765).
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => [last, None],
        // v4-compatible; :: and ::1 are classes of their own.
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => [last, None],
        // NAT64's well-known prefix (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => [last, None],
        // NAT64's local prefix (RFC 8215), of 48, 56, 64 or 96 bits: bits 64 to 71 are skipped,
        // and zeros follow the address (RFC 6052 section 2.2).
        [0x64, 0xff9b, 1, ..] => match octets {
            [.., 0, _, _, 0, 0, 0, 0, 0] => [at([6, 7, 9, 10]), None],
            [.., 0, _, _, _, 0, 0, 0, 0] => [at([7, 9, 10, 11]), None],
            [.., 0, _, _, _, _, 0, 0, 0] => [at([9, 10, 11, 12]), None],
            _ => [last, None],
        },
        // Teredo (RFC 4380): the server, and the client with its bits turned over.
        [0x2001, 0, ..] => {
            let client = last.map(|client| Ipv4Addr::from(!u32::from(client)));
            [at([4, 5, 6, 7]), client]
        }
        // 6to4 (RFC 3056).
        [0x2002, ..] => [at([2, 3, 4, 5]), None],
        // ISATAP (RFC 5214), in any prefix.
        [.., 0 | 0x0200, 0x5efe, _, _] => [last, None],
        _ => [None; 2],
    }
}

fn class(address: IpAddr) -> Option<Denied> {
    match address {
        IpAddr::V4(v4) => class_v4(v4),
        IpAddr::V6(v6) => class_v6(v6),
    }
}

fn class_v4(address: Ipv4Addr) -> Option<Denied> {
    let [first, ..] = address.octets();
    if first == 0 {
        Some(Denied::Unspecified)
    } else if address.is_loopback() {
        Some(Denied::Loopback)
    } else if address.is_link_local() {
        Some(Denied::LinkLocal)
    } else if address.is_multicast() {
        Some(Denied::Multicast)
    } else if first >= 240 {
        Some(Denied::Reserved)
    } else if METADATA_V4.contains(&address) {
        Some(Denied::Metadata)
    } else {
        None
    }
}

fn class_v6(address: Ipv6Addr) -> Option<Denied> {
    if address.is_unspecified() {
        Some(Denied::Unspecified)
    } else if address.is_loopback() {
        Some(Denied::Loopback)
    } else if address.is_unicast_link_local() {
        Some(Denied::LinkLocal)
    } else if address.is_multicast() {
        Some(Denied::Multicast)
    } else if METADATA_V6.contains(&address) {
        Some(Denied::Metadata)
    } else {
        None
    }
}

/// Alibaba Cloud's, Azure's wire server and Oracle's; the common 169.254.169.254 is link-local.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// Amazon's for machines and for containers, and Google's.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_private_and_public_addresses_pass() {
        for text in [
            "10.77.0.80",
            "192.168.1.1",
            "172.16.0.9",
            "198.51.100.7",
            "2001:db8::1",
            "fd12::5",
            "::ffff:10.77.0.80",
            "64:ff9b::10.77.0.80",
            "64:ff9b:1::10.77.0.80",
            "64:ff9b:1:2:3:4:10.77.0.80",
            "64:ff9b:1:0a00:50:0500::",
            "64:ff9b:1:10a:0:5005::",
            "64:ff9b:1:12:a:0:5000:0",
            "2002:0a4d:50::1",
            "2001:db8::5efe:10.77.0.80",
        ] {
            assert_eq!(
                check(text.parse().unwrap(), &Surroundings::default()),
                Ok(()),
                "{text}"
            );
        }
    }

    #[test]
    fn every_spelling_of_a_forbidden_address_is_denied() {
        let table = [
            ("127.0.0.1", Denied::Loopback),
            ("127.255.255.254", Denied::Loopback),
            ("::1", Denied::Loopback),
            ("::ffff:127.0.0.1", Denied::Loopback),
            ("::127.0.0.1", Denied::Loopback),
            ("64:ff9b::7f00:1", Denied::Loopback),
            ("64:ff9b:1:2:3:4:7f00:1", Denied::Loopback),
            ("64:ff9b:1:7f00:0:100::", Denied::Loopback),
            ("64:ff9b:1:a9fe:a9:fe00::", Denied::LinkLocal),
            ("64:ff9b:1:1a9:fe:a9fe::", Denied::LinkLocal),
            ("64:ff9b:1:12:a9:fea9:fe00:0", Denied::LinkLocal),
            ("::ffff:0:127.0.0.1", Denied::Loopback),
            ("2001:0:a9fe:a9fe::1", Denied::LinkLocal),
            ("2001:0:c000:201::80ff:fffe", Denied::Loopback),
            ("2001:db8::5efe:127.0.0.1", Denied::Loopback),
            ("2001:db8::200:5efe:169.254.169.254", Denied::LinkLocal),
            ("2002:7f00:1::", Denied::Loopback),
            ("0.0.0.0", Denied::Unspecified),
            ("0.1.2.3", Denied::Unspecified),
            ("::", Denied::Unspecified),
            ("::ffff:0.0.0.0", Denied::Unspecified),
            ("169.254.169.254", Denied::LinkLocal),
            ("::ffff:169.254.169.254", Denied::LinkLocal),
            ("64:ff9b::a9fe:a9fe", Denied::LinkLocal),
            ("fe80::1", Denied::LinkLocal),
            ("febf::1", Denied::LinkLocal),
            ("224.0.0.1", Denied::Multicast),
            ("239.255.255.255", Denied::Multicast),
            ("ff02::1", Denied::Multicast),
            ("240.0.0.1", Denied::Reserved),
            ("255.255.255.255", Denied::Reserved),
            ("100.100.100.200", Denied::Metadata),
            ("168.63.129.16", Denied::Metadata),
            ("192.0.0.192", Denied::Metadata),
            ("fd00:ec2::254", Denied::Metadata),
            ("fd00:ec2::23", Denied::Metadata),
            ("fd20:ce::254", Denied::Metadata),
            ("64:ff9b::168.63.129.16", Denied::Metadata),
        ];
        for (text, denied) in table {
            assert_eq!(
                check(text.parse().unwrap(), &Surroundings::default()),
                Err(denied),
                "{text}"
            );
        }
    }

    #[test]
    fn the_machines_own_surroundings_are_denied_in_every_spelling() {
        let list = |texts: [&str; 2]| texts.map(|text| text.parse().unwrap());
        let own = list(["10.77.0.15", "2001:db8:77::15"]);
        let gateways = list(["10.77.0.1", "2001:db8:77::1"]);
        let edges = list(["203.0.113.10", "64:ff9b::203.0.113.11"]);
        let surroundings = Surroundings {
            own: &own,
            gateways: &gateways,
            edges: &edges,
        };
        let denied = |text: &str| check(text.parse().unwrap(), &surroundings).unwrap_err();
        assert_eq!(denied("10.77.0.15"), Denied::Own);
        assert_eq!(denied("::ffff:10.77.0.15"), Denied::Own);
        assert_eq!(denied("10.77.0.1"), Denied::Gateway);
        assert_eq!(denied("203.0.113.10"), Denied::Edge);
        assert_eq!(denied("64:ff9b::cb00:710a"), Denied::Edge);
        assert_eq!(denied("203.0.113.11"), Denied::Edge);
        assert_eq!(denied("2001:db8:77::15"), Denied::Own);
        assert_eq!(denied("2001:db8:77::1"), Denied::Gateway);
    }
}
