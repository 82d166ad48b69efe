//! Checks a lease, or a static address in its shape, before PID 1 applies it.
//!
//! `netd` read it from the network and is not trusted: whatever it says, the kernel is only ever
//! given an address, a route and an MTU that make sense.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use connector_proto::local::{Lease, LeaseOrigin, Servers};

use crate::hostname;
use crate::ipv6::is_usable_server;

/// Smallest MTU every IPv4 host must take (RFC 791).
pub const MTU_MIN: u16 = 576;
/// Largest MTU of Ethernet with jumbo frames.
pub const MTU_MAX: u16 = 9000;
/// Shortest time a lease is taken to hold, in seconds: shorter ones would be all renewals.
pub const LEASE_S_MIN: u32 = 60;
/// Longest, in seconds: an unreachable DHCP server is noticed within a day.
pub const LEASE_S_MAX: u32 = 86_400;

/// Why a lease is not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseError {
    /// Who gave it.
    pub origin: LeaseOrigin,
    /// What is the matter with it.
    pub flaw: Flaw,
}

/// What can be the matter with a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// No host may have this address, or it is the network's or broadcast address of its subnet.
    Address {
        /// The address.
        address: Ipv4Addr,
        /// The subnet's prefix length.
        prefix_len: u8,
    },
    /// The MTU is outside [`MTU_MIN`] to [`MTU_MAX`].
    Mtu(u16),
    /// The prefix length is not 1 to 32.
    PrefixLen(u8),
    /// The router is not a host of the subnet, or is the machine itself.
    Router {
        /// The router.
        router: Ipv4Addr,
        /// The machine's address.
        address: Ipv4Addr,
        /// The subnet's prefix length.
        prefix_len: u8,
    },
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            LeaseOrigin::Dhcp { server } => {
                write!(
                    f,
                    "DHCP server {server} offers {}: correct it there.",
                    self.flaw
                )
            }
            LeaseOrigin::Static => {
                write!(f, "The IPv4 setting gives {}: correct it.", self.flaw)
            }
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address {
                address,
                prefix_len,
            } => write!(f, "{address}/{prefix_len}, which no host may have"),
            Self::Mtu(mtu) => write!(f, "MTU {mtu}, not {MTU_MIN} to {MTU_MAX}"),
            Self::PrefixLen(len) => write!(f, "prefix length {len}, not 1 to 32"),
            Self::Router {
                router,
                address,
                prefix_len,
            } => write!(
                f,
                "gateway {router}, which is no neighbour of {address}/{prefix_len}"
            ),
        }
    }
}

impl std::error::Error for LeaseError {}

/// Returns the lease as it may be applied: times clamped, useless servers left out.
///
/// # Errors
/// If the address, the prefix, the router or the MTU cannot be used.
pub fn check(lease: &Lease) -> Result<Lease, LeaseError> {
    if let Some(flaw) = flaw(lease) {
        let origin = lease.origin;
        return Err(LeaseError { origin, flaw });
    }
    Ok(Lease {
        resolvers: usable_servers(&lease.resolvers),
        ntp_servers: usable_servers(&lease.ntp_servers),
        hostname: lease.hostname.as_deref().and_then(hostname::parse),
        lease_s: lease.lease_s.clamp(LEASE_S_MIN, LEASE_S_MAX),
        ..lease.clone()
    })
}

fn flaw(lease: &Lease) -> Option<Flaw> {
    let (address, prefix_len) = (lease.address, lease.prefix_len);
    if !(1..=32).contains(&prefix_len) {
        return Some(Flaw::PrefixLen(prefix_len));
    }
    if !is_host_in_subnet(address, address, prefix_len) {
        return Some(Flaw::Address {
            address,
            prefix_len,
        });
    }
    if let Some(router) = lease.router
        && !is_usable_router(router, lease)
    {
        return Some(Flaw::Router {
            router,
            address,
            prefix_len,
        });
    }
    let mtu = lease.mtu?;
    (!(MTU_MIN..=MTU_MAX).contains(&mtu)).then_some(Flaw::Mtu(mtu))
}

/// Whether a host may have this address at all: not 0/8, loopback, multicast, 240/4 or broadcast.
#[must_use]
pub const fn is_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first != 127 && first < 224
}

/// In a /32, as clouds give it, every other host is reached through the link.
fn is_usable_router(router: Ipv4Addr, lease: &Lease) -> bool {
    if router == lease.address {
        return false;
    }
    if lease.prefix_len == 32 {
        return is_host(router);
    }
    is_host_in_subnet(router, lease.address, lease.prefix_len)
}

/// Whether `address` is a host's address in the subnet of `member`: not the network's, not the
/// broadcast address. Subnets of one or two addresses have neither (RFC 3021).
fn is_host_in_subnet(address: Ipv4Addr, member: Ipv4Addr, prefix_len: u8) -> bool {
    let host_mask = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
    let host_part = address.to_bits() & host_mask;
    is_host(address)
        && (address.to_bits() | host_mask) == (member.to_bits() | host_mask)
        && (prefix_len >= 31 || (host_part != 0 && host_part != host_mask))
}

/// The servers that can be asked: hosts, each once.
fn usable_servers(servers: &Servers) -> Servers {
    let mut usable = Servers::new();
    for server in servers {
        let is_usable = match server {
            IpAddr::V4(address) => is_host(*address),
            IpAddr::V6(address) => is_usable_server(*address),
        };
        if is_usable && !usable.contains(server) && usable.push(*server).is_err() {
            break;
        }
    }
    usable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_lease_is_applied_as_it_is() {
        assert_eq!(
            check(&lease("10.0.2.15", 24, Some("10.0.2.2"))),
            Ok(lease("10.0.2.15", 24, Some("10.0.2.2")))
        );
    }

    #[test]
    fn addresses_that_no_host_may_have_are_refused() {
        for (address, prefix_len) in [
            ("0.0.0.0", 24),
            ("0.1.2.3", 8),
            ("127.0.0.1", 8),
            ("224.0.0.1", 24),
            ("240.0.0.1", 24),
            ("255.255.255.255", 32),
            ("10.0.2.0", 24),
            ("10.0.2.255", 24),
        ] {
            let address_parsed: Ipv4Addr = address.parse().unwrap();
            assert_eq!(
                check(&lease(address, prefix_len, None)),
                Err(refused(Flaw::Address {
                    address: address_parsed,
                    prefix_len,
                })),
                "{address}/{prefix_len}"
            );
        }
    }

    #[test]
    fn point_to_point_subnets_have_no_special_addresses() {
        for (address, prefix_len) in [("10.0.0.0", 31), ("10.0.0.1", 31), ("10.0.0.0", 32)] {
            assert!(
                check(&lease(address, prefix_len, None)).is_ok(),
                "{address}/{prefix_len}"
            );
        }
    }

    #[test]
    fn prefix_lengths_outside_1_to_32_are_refused() {
        for prefix_len in [0, 33, 255] {
            assert_eq!(
                check(&lease("10.0.2.15", prefix_len, None)),
                Err(refused(Flaw::PrefixLen(prefix_len)))
            );
        }
    }

    #[test]
    fn a_router_must_be_a_neighbour() {
        for (router, prefix_len, is_ok) in [
            ("10.0.2.2", 24, true),
            ("10.0.3.2", 24, false),
            ("10.0.3.2", 16, true),
            ("10.0.2.15", 24, false),
            ("10.0.2.255", 24, false),
            ("169.254.1.1", 32, true),
            ("127.0.0.1", 32, false),
        ] {
            assert_eq!(
                check(&lease("10.0.2.15", prefix_len, Some(router))).is_ok(),
                is_ok,
                "{router} in /{prefix_len}"
            );
        }
    }

    #[test]
    fn an_mtu_outside_its_bounds_is_refused() {
        for (mtu, is_ok) in [(575, false), (576, true), (9000, true), (9001, false)] {
            let lease = Lease {
                mtu: Some(mtu),
                ..lease("10.0.2.15", 24, None)
            };
            assert_eq!(check(&lease).is_ok(), is_ok, "{mtu}");
        }
    }

    #[test]
    fn lease_times_are_clamped() {
        for (given, applied) in [(0, 60), (60, 60), (86_400, 86_400), (u32::MAX, 86_400)] {
            let lease = Lease {
                lease_s: given,
                ..lease("10.0.2.15", 24, None)
            };
            assert_eq!(check(&lease).unwrap().lease_s, applied);
        }
    }

    #[test]
    fn servers_that_cannot_be_asked_are_left_out() {
        let mut servers = Servers::new();
        for server in ["0.0.0.0", "10.0.2.3", "10.0.2.3", "224.0.1.1"] {
            servers.push(server.parse().unwrap()).unwrap();
        }
        let lease = Lease {
            ntp_servers: servers,
            ..lease("10.0.2.15", 24, None)
        };
        let expected: [IpAddr; 1] = ["10.0.2.3".parse().unwrap()];
        assert_eq!(check(&lease).unwrap().ntp_servers.as_slice(), expected);
    }

    #[test]
    fn a_sentence_says_who_gave_what_and_fits_the_console() {
        let mut offered = lease("255.255.255.250", 31, Some("192.168.100.200"));
        offered.address = Ipv4Addr::new(223, 255, 255, 250);
        for (origin, who) in [
            (offered.origin, "DHCP server 10.0.2.2 offers gateway "),
            (LeaseOrigin::Static, "The IPv4 setting gives gateway "),
        ] {
            offered.origin = origin;
            let sentence = check(&offered).unwrap_err().to_string();
            assert!(
                sentence.starts_with(who) && sentence.len() < 160,
                "{sentence}"
            );
        }
    }

    #[test]
    fn a_host_name_that_is_none_is_left_out() {
        let named = |name: &str| Lease {
            hostname: Some(name.try_into().unwrap()),
            ..lease("10.0.2.15", 24, None)
        };
        assert_eq!(check(&named("a b")).unwrap().hostname, None);
        assert_eq!(check(&named("m1")).unwrap().hostname.as_deref(), Some("m1"));
    }

    fn refused(flaw: Flaw) -> LeaseError {
        let origin = lease("10.0.2.15", 24, None).origin;
        LeaseError { origin, flaw }
    }

    fn lease(address: &str, prefix_len: u8, router: Option<&str>) -> Lease {
        Lease {
            address: address.parse().unwrap(),
            prefix_len,
            router: router.map(|router| router.parse().unwrap()),
            resolvers: Servers::new(),
            ntp_servers: Servers::new(),
            mtu: None,
            lease_s: 3600,
            hostname: None,
            origin: LeaseOrigin::Dhcp {
                server: Ipv4Addr::new(10, 0, 2, 2),
            },
        }
    }
}
