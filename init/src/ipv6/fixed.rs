//! A static IPv6 address, checked.

use std::fmt;
use std::net::Ipv6Addr;

use super::{Wanted, WantedAddress, is_global, is_link_local};
use connector_proto::local::Servers;

/// Why a static address is not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaticError {
    /// No host may have this address.
    Address(Ipv6Addr),
    /// The gateway is neither link-local nor in the subnet, or is the machine itself.
    Gateway {
        /// The gateway.
        gateway: Ipv6Addr,
        /// The machine's address.
        address: Ipv6Addr,
        /// The subnet's prefix length.
        prefix_len: u8,
    },
    /// The prefix length is not 1 to 128.
    PrefixLen(u8),
}

impl fmt::Display for StaticError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(
                f,
                "The IPv6 setting gives {address}, which no host may have: correct it."
            ),
            Self::Gateway {
                gateway,
                address,
                prefix_len,
            } => write!(
                f,
                "The IPv6 setting gives gateway {gateway}, no neighbour of {address}/{prefix_len}: \
                 correct it."
            ),
            Self::PrefixLen(len) => write!(
                f,
                "The IPv6 setting gives prefix length {len}, not 1 to 128: correct it."
            ),
        }
    }
}

impl std::error::Error for StaticError {}

/// What the NIC is to have by a static setting.
///
/// # Errors
/// If the address, its prefix or the gateway cannot be used.
pub fn check_static(
    address: Ipv6Addr,
    prefix_len: u8,
    gateway: Option<Ipv6Addr>,
) -> Result<Wanted, StaticError> {
    if !(1..=128).contains(&prefix_len) {
        return Err(StaticError::PrefixLen(prefix_len));
    }
    if !is_global(address) {
        return Err(StaticError::Address(address));
    }
    if let Some(gateway) = gateway
        && !is_usable_gateway(gateway, address, prefix_len)
    {
        return Err(StaticError::Gateway {
            gateway,
            address,
            prefix_len,
        });
    }
    Ok(Wanted {
        addresses: vec![WantedAddress {
            address,
            prefix_len,
            until: None,
        }],
        router: gateway,
        resolvers: Servers::new(),
        mtu: None,
        is_static: true,
    })
}

fn is_usable_gateway(gateway: Ipv6Addr, address: Ipv6Addr, prefix_len: u8) -> bool {
    let host_mask = u128::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
    let is_neighbour = (gateway.to_bits() | host_mask) == (address.to_bits() | host_mask);
    // From a /128 every other host is reached through the link.
    let is_near = is_neighbour || prefix_len == 128;
    gateway != address && (is_link_local(gateway) || (is_global(gateway) && is_near))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_static_address_is_wanted_for_ever() {
        let wanted = check("2001:db8::15", 64, Some("fe80::1")).unwrap();
        assert_eq!(wanted.addresses[0].until, None);
        assert_eq!(wanted.router, Some("fe80::1".parse().unwrap()));
        let config = wanted.config().unwrap();
        assert!(config.is_static);
        assert_eq!(
            config.addresses.as_slice(),
            [("2001:db8::15".parse().unwrap(), 64)]
        );
    }

    #[test]
    fn addresses_that_no_host_may_have_are_refused_with_a_sentence() {
        for address in ["::", "::1", "fe80::1", "ff02::1", "::ffff:10.0.0.1"] {
            let error = check(address, 64, None).unwrap_err();
            assert_eq!(error, StaticError::Address(address.parse().unwrap()));
            assert!(error.to_string().contains(address));
        }
        for prefix_len in [0, 129, 255] {
            let refused = check("2001:db8::15", prefix_len, None);
            assert_eq!(refused, Err(StaticError::PrefixLen(prefix_len)));
        }
    }

    #[test]
    fn a_gateway_must_be_a_neighbour() {
        for (gateway, prefix_len, is_ok) in [
            ("fe80::1", 64, true),
            ("fe80::1", 128, true),
            ("2001:db8::1", 64, true),
            ("2001:db8:1::1", 64, false),
            ("2001:db8:1::1", 32, true),
            ("2001:db8:1::1", 128, true),
            ("2001:db8::15", 64, false),
            ("ff02::2", 128, false),
            ("::", 64, false),
        ] {
            let checked = check("2001:db8::15", prefix_len, Some(gateway));
            assert_eq!(checked.is_ok(), is_ok, "{gateway} in /{prefix_len}");
        }
    }

    #[test]
    fn every_sentence_fits_the_console() {
        let longest: Ipv6Addr = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff".parse().unwrap();
        let error = StaticError::Gateway {
            gateway: longest,
            address: longest,
            prefix_len: 128,
        };
        assert!(error.to_string().len() < 160);
    }

    fn check(address: &str, prefix_len: u8, gateway: Option<&str>) -> Result<Wanted, StaticError> {
        check_static(ip(address), prefix_len, gateway.map(ip))
    }

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }
}
