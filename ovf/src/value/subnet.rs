//! A static IPv4 address with its subnet.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use super::host::{parse_decimal, unicast};
use super::{Problem, ValueError};

/// A host's IPv4 address and the length of its subnet's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Subnet {
    address: Ipv4Addr,
    prefix_bits: u8,
}

impl Ipv4Subnet {
    /// The host's address.
    #[must_use]
    pub const fn address(self) -> Ipv4Addr {
        self.address
    }

    /// Length of the prefix, 8 to 30.
    #[must_use]
    pub const fn prefix_bits(self) -> u8 {
        self.prefix_bits
    }
}

impl FromStr for Ipv4Subnet {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = |problem| ValueError::new(text, problem);
        let (address, prefix) = text.split_once('/').ok_or_else(|| error(Problem::Subnet))?;
        let address = unicast(address).map_err(|cause| error(cause.problem))?;
        let prefix_bits = parse_decimal(prefix).ok_or_else(|| error(Problem::Subnet))?;
        if !(8..=30).contains(&prefix_bits) {
            return Err(error(Problem::Subnet));
        }
        let host_mask = u32::MAX >> prefix_bits;
        let host_bits = address.to_bits() & host_mask;
        if host_bits == 0 || host_bits == host_mask {
            return Err(error(Problem::NotAHost));
        }
        Ok(Self {
            address,
            prefix_bits,
        })
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
        for text in [
            "192.0.2.0/24",
            "192.0.2.255/24",
            "192.0.2.1",
            "192.0.2.1/33",
            "192.0.2.1/7",
        ] {
            assert!(text.parse::<Ipv4Subnet>().is_err(), "{text}");
        }
    }
}
