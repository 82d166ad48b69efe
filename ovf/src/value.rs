//! The types that property values become.

mod engine;
mod error;
mod host;
mod ipv6;
mod subnet;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use engine::EngineChoice;
pub(crate) use error::Problem;
pub use error::ValueError;
pub use host::{EdgeName, HostName, ProxyName, ServerName};
pub use ipv6::{Ipv6Mode, Ipv6Subnet};
pub use subnet::Ipv4Subnet;

use crate::mac::MacAddress;
use crate::name::ConnectorName;
use crate::property::Kind;
pub use crate::shown::SHOWN_CHARS_MAX;

/// Longest text that is looked at, in bytes. The longest valid one is a list of four names.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Longest host name, in bytes (RFC 1035: 255 on the wire).
pub const NAME_BYTES_MAX: usize = 253;
/// Longest part of a host name between dots, in bytes (RFC 1035).
pub const LABEL_BYTES_MAX: usize = 63;
/// Longest name of the machine itself, in bytes: what Linux keeps (`HOST_NAME_MAX` is 64).
pub const HOSTNAME_BYTES_MAX: usize = 63;
/// Port of an edge when none is given.
pub const EDGE_PORT_DEFAULT: u16 = 443;
/// Most DNS resolvers: as many as the stub resolver asks.
pub const RESOLVERS_MAX: usize = 4;
/// Most NTP servers: four are needed to outvote one liar.
pub const TIME_SERVERS_MAX: usize = 4;
/// Highest VLAN identifier (IEEE 802.1Q: 0 is no VLAN, 4095 reserved).
pub const VLAN_MAX: u16 = 4094;

/// A parsed value. It prints as the text that parses into it again, without spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// The machine's own IPv4 address.
    Address(Ipv4Subnet),
    /// The service edge.
    Edge(EdgeName),
    /// What carries the bytes of sessions.
    Engine(EngineChoice),
    /// The default gateway.
    Gateway(Ipv4Addr),
    /// The default gateway of IPv6.
    Gateway6(Ipv6Addr),
    /// The machine's own name.
    Hostname(HostName),
    /// What is done about IPv6.
    Ipv6(Ipv6Mode),
    /// The MAC address that the machine was minted with.
    Mac(MacAddress),
    /// The name that the connector was minted under.
    Name(ConnectorName),
    /// The HTTP proxy in front of the edge.
    Proxy(ProxyName),
    /// DNS resolvers, at least one.
    Resolvers(Vec<IpAddr>),
    /// NTP servers, at least one.
    TimeServers(Vec<ServerName>),
    /// The VLAN, 1 to [`VLAN_MAX`].
    Vlan(u16),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(subnet) => subnet.fmt(f),
            Self::Edge(edge) => edge.fmt(f),
            Self::Engine(choice) => choice.fmt(f),
            Self::Gateway(address) => address.fmt(f),
            Self::Gateway6(address) => address.fmt(f),
            Self::Hostname(name) => name.fmt(f),
            Self::Ipv6(mode) => mode.fmt(f),
            Self::Mac(mac) => mac.fmt(f),
            Self::Name(name) => name.fmt(f),
            Self::Proxy(proxy) => proxy.fmt(f),
            Self::Resolvers(list) => joined(list, f),
            Self::TimeServers(list) => joined(list, f),
            Self::Vlan(vlan) => vlan.fmt(f),
        }
    }
}

fn joined<T: fmt::Display>(list: &[T], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, entry) in list.iter().enumerate() {
        if index > 0 {
            f.write_str(",")?;
        }
        entry.fmt(f)?;
    }
    Ok(())
}

/// The value of `text` as `kind`; nothing when it is empty or blank.
pub(crate) fn parse(kind: Kind, text: &str) -> Result<Option<Value>, ValueError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(ValueError::new(text, Problem::Text));
    }
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
    if text.is_empty() {
        return Ok(None);
    }
    Ok(Some(match kind {
        Kind::Address => Value::Address(text.parse()?),
        Kind::Edge => Value::Edge(text.parse()?),
        Kind::Engine => Value::Engine(text.parse()?),
        Kind::Gateway => Value::Gateway(host::unicast(text)?),
        Kind::Gateway6 => Value::Gateway6(ipv6::gateway(text)?),
        Kind::Hostname => Value::Hostname(own_name(text)?),
        Kind::Ipv6 => Value::Ipv6(text.parse()?),
        Kind::Mac => Value::Mac(mac_of_a_card(text)?),
        Kind::Name => Value::Name(text.parse()?),
        Kind::Proxy => Value::Proxy(text.parse()?),
        Kind::Resolvers => Value::Resolvers(list(text, RESOLVERS_MAX, host::server_address)?),
        Kind::TimeServers => Value::TimeServers(list(text, TIME_SERVERS_MAX, str::parse)?),
        Kind::Vlan => Value::Vlan(vlan(text)?),
    }))
}

/// Fuzz body: no text makes a parser panic, and what is accepted prints as it parses.
///
/// # Panics
/// If that does not hold.
pub fn fuzz_value(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for property in crate::property::PROPERTIES {
        match property.parse(text) {
            Ok(Some(value)) => {
                let printed = value.to_string();
                assert!(printed.bytes().all(|byte| byte.is_ascii_graphic()));
                assert_eq!(property.parse(&printed), Ok(Some(value)));
            }
            Ok(None) => {}
            Err(error) => assert!(error.to_string().is_ascii()),
        }
    }
}

/// The entries of a comma-separated list; empty ones are left out.
fn list<T>(
    text: &str,
    max: usize,
    parse: impl Fn(&str) -> Result<T, ValueError>,
) -> Result<Vec<T>, ValueError> {
    let entries: Vec<_> = text
        .split(',')
        .map(str::trim_ascii)
        .filter(|e| !e.is_empty())
        .collect();
    if entries.is_empty() || entries.len() > max {
        return Err(ValueError::new(
            text,
            Problem::List {
                entries: entries.len(),
                max,
            },
        ));
    }
    entries.into_iter().map(parse).collect()
}

/// A name for the machine itself, which is no address.
fn own_name(text: &str) -> Result<HostName, ValueError> {
    let name: HostName = text.parse()?;
    if name.as_str().len() <= HOSTNAME_BYTES_MAX && name.address().is_none() {
        Ok(name)
    } else {
        Err(ValueError::new(text, Problem::OwnName))
    }
}

fn vlan(text: &str) -> Result<u16, ValueError> {
    host::parse_decimal(text)
        .filter(|vlan| (1..=VLAN_MAX).contains(vlan))
        .ok_or_else(|| ValueError::new(text, Problem::Vlan))
}

/// A MAC address that a network card can have.
fn mac_of_a_card(text: &str) -> Result<MacAddress, ValueError> {
    let mac: MacAddress = text.parse()?;
    if mac.is_unicast() {
        Ok(mac)
    } else {
        Err(ValueError::new(text, Problem::MacOfNoCard))
    }
}

#[cfg(test)]
mod tests;
