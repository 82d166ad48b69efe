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

/// Checks an address that a name resolved to, or that a grant named.
///
/// # Errors
/// Why it is not dialled.
pub fn check(address: IpAddr, surroundings: &Surroundings<'_>) -> Result<(), Denied> {
    let address = unwrapped(address);
    let is_in = |list: &[IpAddr]| list.iter().any(|listed| unwrapped(*listed) == address);
    let denied = match address {
        IpAddr::V4(v4) => class_v4(v4),
        IpAddr::V6(v6) => class_v6(v6),
    };
    let denied = denied
        .or_else(|| is_in(surroundings.own).then_some(Denied::Own))
        .or_else(|| is_in(surroundings.gateways).then_some(Denied::Gateway))
        .or_else(|| is_in(surroundings.edges).then_some(Denied::Edge));
    denied.map_or(Ok(()), Err)
}

/// The IPv4 address inside a v4-mapped, v4-compatible, NAT64 (RFC 6052, RFC 8215) or 6to4 address.
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] => v4(g, h),
        // ::a.b.c.d; :: and ::1 are classes of their own.
        [0, 0, 0, 0, 0, 0] if g != 0 => v4(g, h),
        [0x64, 0xff9b, 0, 0, 0, 0] | [0x64, 0xff9b, 1, _, _, _] => v4(g, h),
        [0x2002, high, low, _, _, _] => v4(high, low),
        _ => address,
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

/// Alibaba Cloud and Azure's wire server; the common 169.254.169.254 is link-local.
const METADATA_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
];
/// Amazon's and Google's.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
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
            ("fd00:ec2::254", Denied::Metadata),
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
        let own = ["10.77.0.15".parse().unwrap()];
        let gateways = ["10.77.0.1".parse().unwrap()];
        let edges = ["203.0.113.10".parse().unwrap()];
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
    }
}
