//! A static IPv4 address with its subnet.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::host::{is_unicast, parse_decimal, unicast};
use super::{Problem, ValueError};

/// Lengths of a prefix that are taken. No one network has more hosts than fit into /8; 31 is a link
/// between two machines (RFC 3021), and 32 what clouds hand out.
const PREFIX_BITS: std::ops::RangeInclusive<u8> = 8..=32;

/// A host's IPv4 address and the length of its subnet's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Subnet {
    address: Ipv4Addr,
    prefix_bits: u8,
}

impl Ipv4Subnet {
    /// The address of a host and the length of its prefix, 8 to 32. `None` when no host can have it.
    #[must_use]
    pub fn new(address: Ipv4Addr, prefix_bits: u8) -> Option<Self> {
        let subnet = Self {
            address,
            prefix_bits,
        };
        let is_length = PREFIX_BITS.contains(&prefix_bits);
        (is_length && is_unicast(address) && subnet.is_host(address)).then_some(subnet)
    }

    /// The host's address.
    #[must_use]
    pub const fn address(self) -> Ipv4Addr {
        self.address
    }

    /// Length of the prefix, 8 to 32.
    #[must_use]
    pub const fn prefix_bits(self) -> u8 {
        self.prefix_bits
    }

    /// Whether `gateway` can be this host's: a neighbour, or any router where the subnet is the
    /// host alone.
    #[must_use]
    pub fn has_gateway(self, gateway: Ipv4Addr) -> bool {
        let differs = gateway.to_bits() ^ self.address.to_bits();
        let is_neighbour = self.prefix_bits == 32 || differs & !self.host_mask() == 0;
        gateway != self.address && is_unicast(gateway) && is_neighbour && self.is_host(gateway)
    }

    /// Neither the subnet's own nor its broadcast address.
    fn is_host(self, address: Ipv4Addr) -> bool {
        let host_mask = self.host_mask();
        let host_bits = address.to_bits() & host_mask;
        self.prefix_bits >= 31 || host_bits != 0 && host_bits != host_mask
    }

    const fn host_mask(self) -> u32 {
        match u32::MAX.checked_shr(self.prefix_bits as u32) {
            Some(mask) => mask,
            None => 0,
        }
    }
}

impl FromStr for Ipv4Subnet {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = |problem| ValueError::new(text, problem);
        let (address, prefix) = text.split_once('/').ok_or_else(|| error(Problem::Subnet))?;
        let address = unicast(address).map_err(|cause| error(cause.problem))?;
        let prefix_bits = parse_decimal(prefix)
            .filter(|bits| PREFIX_BITS.contains(bits))
            .ok_or_else(|| error(Problem::Subnet))?;
        Self::new(address, prefix_bits).ok_or_else(|| error(Problem::NotAHost))
    }
}

impl fmt::Display for Ipv4Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::EdgeName;

    #[test]
    fn an_edge_may_stand_on_the_same_machine_but_no_subnet_is_loopback() {
        assert!("127.0.0.1:8443".parse::<EdgeName>().is_ok());
        assert!("127.0.0.1/8".parse::<Ipv4Subnet>().is_err());
    }

    #[test]
    fn a_static_address_must_be_a_host_in_its_subnet() {
        let subnet: Ipv4Subnet = "192.0.2.10/24".parse().unwrap();
        assert_eq!(
            (subnet.address().octets()[3], subnet.prefix_bits()),
            (10, 24)
        );
        for text in ["192.0.2.0/31", "192.0.2.1/32", "10.0.0.1/8"] {
            assert_eq!(text.parse::<Ipv4Subnet>().unwrap().to_string(), text);
        }
        for text in [
            "192.0.2.0/24",
            "192.0.2.255/24",
            "192.0.2.1",
            "192.0.2.1/33",
            "192.0.2.1/7",
            "192.0.2.1/+8",
        ] {
            assert!(text.parse::<Ipv4Subnet>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_gateway_is_a_neighbour_unless_the_host_is_alone_in_its_subnet() {
        let has = |subnet: &str, gateway: &str| {
            let subnet: Ipv4Subnet = subnet.parse().unwrap();
            subnet.has_gateway(gateway.parse().unwrap())
        };
        assert!(has("192.0.2.10/24", "192.0.2.1"));
        assert!(has("192.0.2.10/32", "198.51.100.1"));
        assert!(has("192.0.2.0/31", "192.0.2.1"));
        for gateway in [
            "192.0.2.10",
            "192.0.2.0",
            "192.0.2.255",
            "192.0.3.1",
            "127.0.0.1",
        ] {
            assert!(!has("192.0.2.10/24", gateway), "{gateway}");
        }
        assert!(!has("192.0.2.10/32", "224.0.0.1"));
    }
}
