//! What becomes of router advertisements: the machine's IPv6 addresses, their lifetimes, the default
//! router. Pure; `netd` reads the advertisements, PID 1 applies what [`Autoconf::wanted`] says.
//!
//! Addresses are formed of an advertised prefix and the NIC's pinned MAC (RFC 4862, modified EUI-64),
//! so that a firewall can name them beforehand. `netd` is not trusted: everything is checked here
//! again.

mod fixed;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use connector_proto::local::{Ipv6Config, RouterAdvert, Servers};
use connector_proto::time::Instant;

pub use fixed::{StaticError, check_static};

/// Smallest MTU of a link that carries IPv6 (RFC 8200 section 5).
pub const MTU_MIN: u16 = 1280;
/// Largest MTU of Ethernet with jumbo frames.
pub const MTU_MAX: u16 = 9000;
/// Length of prefixes in which an address can be formed.
pub const PREFIX_LEN: u8 = 64;

/// Prefixes that are held at the same time: what [`Ipv6Config`] has room for.
const PREFIXES_MAX: usize = 4;
/// Routers that are held at the same time.
const ROUTERS_MAX: usize = 2;
/// An advertisement that nobody authenticated does not shorten what is left of an address below
/// this (RFC 4862 section 5.5.3 e).
const SHORTENED_TO: Duration = Duration::from_secs(2 * 3600);
/// After a gap of the link, what no advertisement confirmed is dropped this long after the first.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(5);

/// What the NIC is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Global addresses.
    pub addresses: Vec<WantedAddress>,
    /// Default router.
    pub router: Option<Ipv6Addr>,
    /// DNS servers that were advertised.
    pub resolvers: Servers,
    /// MTU of IPv6 on this link, [`MTU_MIN`] to [`MTU_MAX`].
    pub mtu: Option<u16>,
    /// Whether it was set, rather than advertised.
    pub is_static: bool,
}

/// An address the NIC is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedAddress {
    /// The address.
    pub address: Ipv6Addr,
    /// Prefix length of its subnet; 128 if its neighbours are reached through the router.
    pub prefix_len: u8,
    /// Until when it is valid and until when new connections prefer it; `None`: for ever.
    pub until: Option<Lifetime>,
}

/// The two ends of an address's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Until then the address is the machine's.
    pub valid: Instant,
    /// Until then new connections may use it.
    pub preferred: Instant,
}

impl Wanted {
    /// As it is told to the services; `None` without an address.
    #[must_use]
    pub fn config(&self) -> Option<Ipv6Config> {
        let addresses = self.addresses.iter();
        let config = Ipv6Config {
            addresses: addresses
                .map(|wanted| (wanted.address, wanted.prefix_len))
                .take(PREFIXES_MAX)
                .collect(),
            router: self.router,
            resolvers: self.resolvers.clone(),
            is_static: self.is_static,
        };
        (!config.addresses.is_empty()).then_some(config)
    }
}

/// The state of stateless address autoconfiguration on one NIC.
#[derive(Debug)]
pub struct Autoconf {
    mac: [u8; 6],
    routers: Vec<Router>,
    prefixes: Vec<Prefix>,
    gap: Gap,
}

#[derive(Debug)]
struct Router {
    address: Ipv6Addr,
    /// Until then it is a default router; `None`: it is none.
    until: Option<Instant>,
    /// Empty once `resolvers_until` has come.
    resolvers: Servers,
    resolvers_until: Instant,
    mtu: Option<u16>,
    is_managed: bool,
    is_confirmed: bool,
}

#[derive(Debug)]
struct Prefix {
    prefix: Ipv6Addr,
    until: Lifetime,
    is_on_link: bool,
    is_confirmed: bool,
}

/// Whether the link was down since what is held was advertised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    /// It was not.
    None,
    /// It came back, and no router has spoken since.
    Open,
    /// Routers speak; what none of them has confirmed by then is of another network.
    Closing { at: Instant },
}

impl Autoconf {
    /// Nothing is known yet on the NIC with this MAC address.
    #[must_use]
    pub const fn new(mac: [u8; 6]) -> Self {
        Self {
            mac,
            routers: Vec::new(),
            prefixes: Vec::new(),
            gap: Gap::None,
        }
    }

    /// The link came up, perhaps in another network.
    pub fn handle_carrier_up(&mut self) {
        for router in &mut self.routers {
            router.is_confirmed = false;
        }
        for prefix in &mut self.prefixes {
            prefix.is_confirmed = false;
        }
        self.gap = Gap::Open;
    }

    /// A router advertised itself.
    pub fn handle_advert(&mut self, now: Instant, advert: &RouterAdvert) {
        self.handle_timeout(now);
        if !is_link_local(advert.router) {
            return;
        }
        if self.gap == Gap::Open {
            let at = now + CONFIRMED_WITHIN;
            self.gap = Gap::Closing { at };
        }
        self.take_router(now, advert);
        for advertised in &advert.prefixes {
            let until = Lifetime {
                valid: now + seconds(advertised.valid_s),
                preferred: now + seconds(advertised.preferred_s.min(advertised.valid_s)),
            };
            if is_usable_prefix(advertised.prefix) {
                self.take_prefix(now, advertised.prefix, until, advertised.is_on_link);
            }
        }
        self.handle_timeout(now);
    }

    fn take_router(&mut self, now: Instant, advert: &RouterAdvert) {
        let known = self
            .routers
            .iter()
            .position(|router| router.address == advert.router);
        let Some(router) = (match known {
            Some(at) => self.routers.get_mut(at),
            None if self.routers.len() >= ROUTERS_MAX => None,
            None => {
                self.routers.push(Router::new(now, advert.router));
                self.routers.last_mut()
            }
        }) else {
            return;
        };
        router.until = Some(now + seconds(advert.lifetime_s.into()));
        router.is_managed = advert.is_managed;
        router.is_confirmed = true;
        router.mtu = advert
            .mtu
            .filter(|mtu| (MTU_MIN..=MTU_MAX).contains(mtu))
            .or(router.mtu);
        let usable = advert.resolvers.iter().filter(|server| match server {
            IpAddr::V6(server) => is_usable_server(*server),
            IpAddr::V4(_) => false,
        });
        let resolvers: Servers = usable.copied().collect();
        // An advertisement that names none says nothing about those before (RFC 4861 section 6.2.3).
        if !resolvers.is_empty() {
            router.resolvers = resolvers;
            router.resolvers_until = now + seconds(advert.resolvers_s);
        }
    }

    fn take_prefix(&mut self, now: Instant, prefix: Ipv6Addr, until: Lifetime, is_on_link: bool) {
        if let Some(held) = self.prefixes.iter_mut().find(|held| held.prefix == prefix) {
            let left = held.until.valid.since(now);
            if until.valid.since(now) > SHORTENED_TO || until.valid > held.until.valid {
                held.until.valid = until.valid;
            } else if left > SHORTENED_TO {
                held.until.valid = now + SHORTENED_TO;
            }
            held.until.preferred = until.preferred.min(held.until.valid);
            held.is_on_link |= is_on_link;
            held.is_confirmed = true;
        } else if until.valid > now && self.prefixes.len() < PREFIXES_MAX {
            self.prefixes.push(Prefix {
                prefix,
                until,
                is_on_link,
                is_confirmed: true,
            });
        }
    }

    /// Drops what is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Gap::Closing { at } = self.gap
            && at <= now
        {
            self.gap = Gap::None;
            self.routers.retain(|router| router.is_confirmed);
            self.prefixes.retain(|prefix| prefix.is_confirmed);
        }
        for router in &mut self.routers {
            router.until = router.until.filter(|until| *until > now);
            if router.resolvers_until <= now {
                router.resolvers.clear();
            }
        }
        self.routers
            .retain(|router| router.timeouts().next().is_some());
        self.prefixes.retain(|prefix| prefix.until.valid > now);
    }

    /// When to call [`Self::handle_timeout`], and to apply what is wanted then.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let closing = match self.gap {
            Gap::Closing { at } => Some(at),
            Gap::None | Gap::Open => None,
        };
        let prefixes = self.prefixes.iter().map(|prefix| prefix.until.valid);
        let routers = self.routers.iter().flat_map(Router::timeouts);
        closing.into_iter().chain(prefixes).chain(routers).min()
    }

    /// What the NIC is to have, as of the last call of one of the above.
    #[must_use]
    pub fn wanted(&self) -> Wanted {
        let router = self.routers.iter().find(|router| router.until.is_some());
        let prefixes = self.prefixes.iter().map(|prefix| WantedAddress {
            address: address_in(prefix.prefix, self.mac),
            prefix_len: if prefix.is_on_link { PREFIX_LEN } else { 128 },
            until: Some(prefix.until),
        });
        Wanted {
            addresses: prefixes.collect(),
            router: router.map(|router| router.address),
            resolvers: self.resolvers(),
            mtu: router.and_then(|router| router.mtu),
            is_static: false,
        }
    }

    fn resolvers(&self) -> Servers {
        let mut resolvers = Servers::new();
        for server in self.routers.iter().flat_map(|router| &router.resolvers) {
            if !resolvers.contains(server) && resolvers.push(*server).is_err() {
                break;
            }
        }
        resolvers
    }

    /// What the operator should know, in one sentence.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let managed = self.routers.iter().find(|router| router.is_managed)?;
        self.prefixes.is_empty().then(|| {
            format!(
                "IPv6 router {} leaves addresses to DHCPv6, which Outgate does not speak. Have it \
                 advertise a /64 prefix, or set an address.",
                managed.address
            )
        })
    }
}

impl Router {
    fn new(now: Instant, address: Ipv6Addr) -> Self {
        Self {
            address,
            until: None,
            resolvers: Servers::new(),
            resolvers_until: now,
            mtu: None,
            is_managed: false,
            is_confirmed: true,
        }
    }

    /// When something of it ends.
    fn timeouts(&self) -> impl Iterator<Item = Instant> {
        let resolvers_until = Some(self.resolvers_until).filter(|_| !self.resolvers.is_empty());
        self.until.into_iter().chain(resolvers_until)
    }
}

/// The NIC's link-local address.
#[must_use]
pub const fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    address_in(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), mac)
}

/// The address in a prefix of 64 bits: its host part is the modified EUI-64 of the MAC address
/// (RFC 4291, appendix A).
#[must_use]
pub const fn address_in(prefix: Ipv6Addr, mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    let host = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    Ipv6Addr::from_bits((prefix.to_bits() >> 64 << 64) | host as u128)
}

/// Whether an address is of the link only (fe80::/10).
#[must_use]
pub const fn is_link_local(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local()
}

/// Whether an address may be formed in this prefix: its host part is zero, and it is neither
/// link-local nor multicast nor one of the special prefixes below 0100::/8.
#[must_use]
pub const fn is_usable_prefix(prefix: Ipv6Addr) -> bool {
    prefix.to_bits() << 64 == 0 && is_global(prefix)
}

/// Whether a server at this address can be asked without naming the link.
#[must_use]
pub const fn is_usable_server(address: Ipv6Addr) -> bool {
    is_global(address)
}

/// Whether a host may have this address beyond the link: 0100:: and above, which leaves out ::, ::1
/// and IPv4 in IPv6, but not multicast or link-local. Unique local addresses (fc00::/7) are in, and so
/// is what once was site-local (fec0::/10): RFC 3879 has it treated as any other.
const fn is_global(address: Ipv6Addr) -> bool {
    let first = address.segments()[0];
    0x0100 <= first && first < 0xff00 && !is_link_local(address)
}

const fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(seconds as u64)
}
