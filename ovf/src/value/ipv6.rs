//! What is done about IPv6, and a static IPv6 address with its subnet.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::host::parse_decimal;
use super::{Problem, ValueError};

/// What is done about IPv6: `auto`, `off`, or an address with its prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv6Mode {
    /// Addresses are formed as routers advertise.
    Auto,
    /// Nothing.
    Off,
    /// This address.
    Static(Ipv6Subnet),
}

impl FromStr for Ipv6Mode {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            _ => text.parse().map(Self::Static),
        }
    }
}

impl fmt::Display for Ipv6Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Off => f.write_str("off"),
            Self::Static(subnet) => subnet.fmt(f),
        }
    }
}

/// A host's IPv6 address and the length of its subnet's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv6Subnet {
    address: Ipv6Addr,
    prefix_bits: u8,
}

impl Ipv6Subnet {
    /// The address of a host and the length of its prefix, 1 to 128. `None` when no host can have
    /// it: it is not global or unique local, or it is the subnet's own (RFC 4291 section 2.6.1).
    #[must_use]
    pub fn new(address: Ipv6Addr, prefix_bits: u8) -> Option<Self> {
        let subnet = Self {
            address,
            prefix_bits,
        };
        let is_length = (1..=128).contains(&prefix_bits);
        // A subnet of two addresses is a link between two machines and has none of its own (RFC 6164).
        let is_host = prefix_bits >= 127 || address.to_bits() & !subnet.mask() != 0;
        (is_length && is_host && is_routable(address)).then_some(subnet)
    }

    /// The host's address.
    #[must_use]
    pub const fn address(self) -> Ipv6Addr {
        self.address
    }

    /// Length of the prefix, 1 to 128.
    #[must_use]
    pub const fn prefix_bits(self) -> u8 {
        self.prefix_bits
    }

    /// Whether `gateway` can be this host's: a neighbour, or any router where the subnet is the
    /// host alone; a link-local address always.
    #[must_use]
    pub fn has_gateway(self, gateway: Ipv6Addr) -> bool {
        let differs = gateway.to_bits() ^ self.address.to_bits();
        let is_neighbour = self.prefix_bits == 128 || differs & self.mask() == 0;
        gateway != self.address
            && (gateway.is_unicast_link_local() || is_routable(gateway) && is_neighbour)
    }

    const fn mask(self) -> u128 {
        match u128::MAX.checked_shl(128 - self.prefix_bits as u32) {
            Some(mask) => mask,
            None => 0,
        }
    }
}

impl FromStr for Ipv6Subnet {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || ValueError::new(text, Problem::Ipv6);
        let (address, prefix) = text.split_once('/').ok_or_else(error)?;
        let prefix_bits = parse_decimal(prefix).ok_or_else(error)?;
        let address = address.parse().map_err(|_| error())?;
        Self::new(address, prefix_bits).ok_or_else(error)
    }
}

impl fmt::Display for Ipv6Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

/// The address of a router: of the link, or one that is routed.
pub(super) fn gateway(text: &str) -> Result<Ipv6Addr, ValueError> {
    text.parse()
        .ok()
        .filter(|address: &Ipv6Addr| address.is_unicast_link_local() || is_routable(*address))
        .ok_or_else(|| ValueError::new(text, Problem::Gateway6))
}

/// An address that a host can be reached at from other links.
pub(super) fn is_routable(address: Ipv6Addr) -> bool {
    let is_of_ipv4 = address.to_ipv4().is_some();
    !(is_of_ipv4
        || address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_auto_off_or_an_address_that_a_host_can_have() {
        for text in [
            "auto",
            "off",
            "2001:db8::10/64",
            "fd00::7/8",
            "2001:db8::/127",
        ] {
            assert_eq!(text.parse::<Ipv6Mode>().unwrap().to_string(), text);
        }
        for text in [
            "on",
            "AUTO",
            "2001:db8::10",
            "2001:db8::10/0",
            "2001:db8::10/129",
            "2001:db8::10/+64",
            "2001:db8::/64",
            "fe80::1/64",
            "ff02::1/64",
            "::1/128",
            "::/1",
            "::ffff:192.0.2.1/128",
            "192.0.2.1/24",
        ] {
            let error = text.parse::<Ipv6Mode>().unwrap_err();
            assert_eq!(error.problem, Problem::Ipv6, "{text}");
        }
    }

    #[test]
    fn a_gateway_is_a_neighbour_or_link_local() {
        let subnet: Ipv6Subnet = "2001:db8::10/64".parse().unwrap();
        let alone: Ipv6Subnet = "2001:db8::10/128".parse().unwrap();
        let has = |subnet: Ipv6Subnet, text: &str| subnet.has_gateway(text.parse().unwrap());
        assert!(has(subnet, "2001:db8::1") && has(subnet, "fe80::1"));
        assert!(!has(subnet, "2001:db8:1::1") && !has(subnet, "2001:db8::10"));
        assert!(has(alone, "2001:db8:1::1") && !has(alone, "ff02::1"));
    }
}
