//! The machine's network: what was set for it, what it was given, and what it has.
//!
//! [`Settings`] come from the hypervisor or the disk, a [`Lease`] from a DHCP server or the settings,
//! a [`RouterAdvert`] from an IPv6 router. What is checked and applied is the [`Network`]. None of
//! it is secret.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::local::{EdgeText, Text};

/// Resolvers or NTP servers.
pub type Servers = Vec<IpAddr, 4>;
/// NTP servers as a person names them.
pub type TimeServers = Vec<TimeServer, 4>;
/// `host:port` of an HTTP proxy.
pub type ProxyText = EdgeText;
/// A host name of one label (RFC 1123) or more.
pub type Hostname = Text<63>;

/// An NTP server, by address or by a name that is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeServer {
    /// Its address.
    Address(IpAddr),
    /// Its name.
    Name(Text<{ limits::HOST_MAX }>),
}

impl core::fmt::Display for TimeServer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// What was set for this machine, by properties of the hypervisor or on the disk. A part that is
/// absent is left to the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The service edge.
    pub edge: Option<EdgeText>,
    /// The machine's host name.
    pub hostname: Option<Hostname>,
    /// The VLAN whose tag all frames carry, 1 to 4094.
    pub vlan: Option<u16>,
    /// A static IPv4 address in place of DHCP.
    pub ipv4: Option<StaticIpv4>,
    /// What is done about IPv6; [`Ipv6Setting::Auto`] unless given.
    pub ipv6: Option<Ipv6Setting>,
    /// DNS servers in place of those the network names.
    pub resolvers: Servers,
    /// NTP servers in place of those the network names.
    pub ntp: TimeServers,
    /// An HTTP proxy through which the edge is reached.
    pub proxy: Option<ProxyText>,
    /// What carries the bytes of sessions; [`EngineSetting::Auto`] unless given.
    pub engine: Option<EngineSetting>,
}

/// What carries the bytes of sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineSetting {
    /// The faster one on this machine.
    #[default]
    Auto,
    /// The kernel's TLS, where the kernel takes the keys.
    Kernel,
    /// The connector itself.
    User,
}

/// A static IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticIpv4 {
    /// The address.
    pub address: Ipv4Addr,
    /// Prefix length, 1 to 32.
    pub prefix_len: u8,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
}

/// What is done about IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ipv6Setting {
    /// Nothing: no frame of it leaves.
    Off,
    /// Addresses are formed as routers advertise (RFC 4862).
    Auto,
    /// A static address.
    Static {
        /// The address.
        address: Ipv6Addr,
        /// Prefix length, 1 to 128.
        prefix_len: u8,
        /// Default gateway; a link-local address or a neighbour.
        gateway: Option<Ipv6Addr>,
    },
}

impl Settings {
    /// Takes what `self` has, and what it has not from `second`.
    #[must_use]
    pub fn or(self, second: Self) -> Self {
        fn list<T, const N: usize>(first: Vec<T, N>, second: Vec<T, N>) -> Vec<T, N> {
            if first.is_empty() { second } else { first }
        }
        Self {
            edge: self.edge.or(second.edge),
            hostname: self.hostname.or(second.hostname),
            vlan: self.vlan.or(second.vlan),
            ipv4: self.ipv4.or(second.ipv4),
            ipv6: self.ipv6.or(second.ipv6),
            resolvers: list(self.resolvers, second.resolvers),
            ntp: list(self.ntp, second.ntp),
            proxy: self.proxy.or(second.proxy),
            engine: self.engine.or(second.engine),
        }
    }
}

/// The address a DHCP server leased, or a static one, in one checked shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The machine's address.
    pub address: Ipv4Addr,
    /// Prefix length, 1 to 32.
    pub prefix_len: u8,
    /// Default gateway.
    pub router: Option<Ipv4Addr>,
    /// DNS servers, in the order given (DHCP option 6).
    pub resolvers: Servers,
    /// NTP servers (DHCP option 42).
    pub ntp_servers: Servers,
    /// Interface MTU (DHCP option 26), 576 to 9000.
    pub mtu: Option<u16>,
    /// The machine's host name (DHCP option 12).
    pub hostname: Option<Hostname>,
    /// For how long it holds, in seconds; of a static one it means nothing.
    pub lease_s: u32,
    /// Where it is from.
    pub origin: LeaseOrigin,
}

/// Where an IPv4 address is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseOrigin {
    /// A DHCP server leased it.
    Dhcp {
        /// The server.
        server: Ipv4Addr,
    },
    /// It was set.
    Static,
}

/// What one router advertises (RFC 4861 section 4.2), as far as it is used. Routes to parts of the
/// network (RFC 4191) are not: a router decides about the default route and nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterAdvert {
    /// The router's link-local address.
    pub router: Ipv6Addr,
    /// For how long it is a default router, in seconds; 0: it is none.
    pub lifetime_s: u16,
    /// Prefixes in which the machine may form an address.
    pub prefixes: Vec<AdvertisedPrefix, 4>,
    /// DNS servers (RFC 8106).
    pub resolvers: Servers,
    /// For how long those hold, in seconds.
    pub resolvers_s: u32,
    /// MTU of the link, 1280 to 9000.
    pub mtu: Option<u16>,
    /// Addresses are to be had by DHCPv6 only, which this machine does not speak.
    pub is_managed: bool,
}

/// A prefix with the autonomous flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvertisedPrefix {
    /// The prefix, its host part zero; 64 bits long.
    pub prefix: Ipv6Addr,
    /// For how long an address in it is valid, in seconds.
    pub valid_s: u32,
    /// For how long new connections may use it, in seconds.
    pub preferred_s: u32,
    /// Whether hosts of it are neighbours.
    pub is_on_link: bool,
}

/// The machine's IPv6 configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6Config {
    /// Global addresses with their prefix lengths; at least one.
    pub addresses: Vec<(Ipv6Addr, u8), 4>,
    /// Default gateway.
    pub router: Option<Ipv6Addr>,
    /// DNS servers that were advertised.
    pub resolvers: Servers,
    /// Whether it was set, rather than advertised.
    pub is_static: bool,
}

/// The network as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// IPv4, if there is any.
    pub ipv4: Option<Lease>,
    /// IPv6, if there is any.
    pub ipv6: Option<Ipv6Config>,
    /// The DNS servers to ask: those that were set, else those that the network names.
    pub resolvers: Servers,
    /// An HTTP proxy through which the edge is to be reached.
    pub proxy: Option<ProxyText>,
}

impl Network {
    /// Whether there is an address at all.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.ipv4.is_some() || self.ipv6.is_some()
    }

    /// The machine's own addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.ipv4.iter().map(|lease| IpAddr::V4(lease.address));
        let v6 = self.ipv6.iter().flat_map(|config| &config.addresses);
        v4.chain(v6.map(|(address, _)| IpAddr::V6(*address)))
    }

    /// The default gateways.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.ipv4.iter().filter_map(|lease| lease.router);
        let v6 = self.ipv6.iter().filter_map(|config| config.router);
        v4.map(IpAddr::V4).chain(v6.map(IpAddr::V6))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_settings_win_part_by_part() {
        let first = Settings {
            vlan: Some(7),
            ..Settings::default()
        };
        let second = Settings {
            vlan: Some(9),
            ipv6: Some(Ipv6Setting::Off),
            resolvers: Servers::from_slice(&[IpAddr::V4(Ipv4Addr::new(192, 0, 2, 53))]).unwrap(),
            ..Settings::default()
        };
        let both = first.or(second.clone());
        assert_eq!(
            both,
            Settings {
                vlan: Some(7),
                ..second
            }
        );
    }
}
