//! Names and addresses of machines.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use super::ipv6::is_routable;
use super::{EDGE_PORT_DEFAULT, LABEL_BYTES_MAX, NAME_BYTES_MAX, Problem, ValueError};

/// Where a service edge listens: a host name or IPv4 address, and a TCP port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EdgeName {
    host: HostName,
    port: u16,
}

impl EdgeName {
    /// The host name in lower case, or the IPv4 address in its usual form.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.as_str()
    }

    /// The TCP port, never 0.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// As people name it: the port only where it is not [`EDGE_PORT_DEFAULT`].
    #[must_use]
    pub fn short(&self) -> String {
        if self.port == EDGE_PORT_DEFAULT {
            self.host.to_string()
        } else {
            self.to_string()
        }
    }
}

/// `host` or `host:port`, with white space around it ignored.
impl FromStr for EdgeName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let trimmed = text.trim_ascii();
        let (host, port) = match trimmed.split_once(':') {
            Some((host, port)) => (host, parse_port(port).ok_or(Problem::Port)),
            None => (trimmed, Ok(EDGE_PORT_DEFAULT)),
        };
        let port = port.map_err(|problem| ValueError::new(text, problem))?;
        let host = host
            .parse()
            .map_err(|error: ValueError| ValueError::new(text, error.problem))?;
        Ok(Self { host, port })
    }
}

/// Always `host:port`, so that what is shown names the port that is dialled.
impl fmt::Display for EdgeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Where an HTTP proxy listens: a host name or IPv4 address, and a TCP port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProxyName(EdgeName);

impl ProxyName {
    /// The host name in lower case, or the IPv4 address in its usual form.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host()
    }

    /// The TCP port, never 0.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.0.port()
    }
}

/// `host:port`; proxies have no port that goes without saying.
impl FromStr for ProxyName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text.contains('@') {
            // What is in front of it may be a password, which no message repeats.
            return Err(ValueError::new("...@...", Problem::Credentials));
        }
        let proxy = text
            .parse()
            .map_err(|error: ValueError| ValueError::new(text, error.problem.of_a_proxy()))?;
        if text.contains(':') {
            Ok(Self(proxy))
        } else {
            Err(ValueError::new(text, Problem::Proxy))
        }
    }
}

impl fmt::Display for ProxyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A server by its address or its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerName {
    /// Its address.
    Address(IpAddr),
    /// Its name, which is no address.
    Name(HostName),
}

impl TryFrom<IpAddr> for ServerName {
    type Error = ValueError;

    /// The server at an address, if another machine can have that.
    fn try_from(address: IpAddr) -> Result<Self, ValueError> {
        server_address(&address.to_string()).map(Self::Address)
    }
}

impl FromStr for ServerName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text.contains(':') {
            return server_address(text).map(Self::Address);
        }
        let name: HostName = text.parse()?;
        match name.address() {
            Some(_) => server_address(text).map(Self::Address),
            None => Ok(Self::Name(name)),
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// A DNS host name in lower case without a final dot, or an IPv4 address in its usual form.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostName(String);

impl HostName {
    /// The name or address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, when the host is given as one.
    #[must_use]
    pub fn address(&self) -> Option<Ipv4Addr> {
        self.0.parse().ok()
    }
}

impl FromStr for HostName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let name = text.trim_ascii();
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.len() > NAME_BYTES_MAX || !name.split('.').all(is_label) {
            return Err(ValueError::new(text, Problem::Name));
        }
        // No top-level domain is a number, so this is an address or a slip in one.
        let last = name.rsplit('.').next().unwrap_or_default();
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return host_address(text).map(|address| Self(address.to_string()));
        }
        Ok(Self(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// An address that a host in a network can have.
pub(super) fn unicast(text: &str) -> Result<Ipv4Addr, ValueError> {
    host_address(text).and_then(|address| {
        is_unicast(address)
            .then_some(address)
            .ok_or_else(|| ValueError::new(text, Problem::Address))
    })
}

pub(super) fn is_unicast(address: Ipv4Addr) -> bool {
    is_dialable(address) && !address.is_loopback()
}

/// The address of a server on another machine, of either family.
pub(super) fn server_address(text: &str) -> Result<IpAddr, ValueError> {
    text.parse()
        .ok()
        .filter(|address| match address {
            IpAddr::V4(address) => is_unicast(*address),
            IpAddr::V6(address) => is_routable(*address),
        })
        .ok_or_else(|| ValueError::new(text, Problem::ServerAddress))
}

/// An address that can be dialled, loopback included: there a service edge of the same machine
/// stands, in tests for one, and nothing at all in an appliance.
pub(super) fn host_address(text: &str) -> Result<Ipv4Addr, ValueError> {
    let error = || ValueError::new(text, Problem::Address);
    let address: Ipv4Addr = text.trim_ascii().parse().map_err(|_| error())?;
    if is_dialable(address) {
        Ok(address)
    } else {
        Err(error())
    }
}

/// 0/8 is "this network", 224/4 multicast and 240/4 reserved with broadcast.
const fn is_dialable(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first < 224
}

fn parse_port(text: &str) -> Option<u16> {
    parse_decimal(text).filter(|port| *port != 0)
}

/// A number of digits only: `str::parse` would also take a sign.
pub(super) fn parse_decimal<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_without_a_port_listens_on_443() {
        let edge: EdgeName = "Edge.Example.COM.\n".parse().unwrap();
        assert_eq!((edge.host(), edge.port()), ("edge.example.com", 443));
        assert_eq!(edge.to_string(), "edge.example.com:443");
    }

    #[test]
    fn an_edge_may_be_an_address_with_a_port() {
        let edge: EdgeName = "10.0.2.2:8443".parse().unwrap();
        assert_eq!((edge.host(), edge.port()), ("10.0.2.2", 8443));
        assert!(edge.host.address().is_some());
    }

    #[test]
    fn people_see_the_port_of_an_edge_where_it_is_not_443() {
        for (text, short) in [
            ("edge.example", "edge.example"),
            ("edge:443", "edge"),
            ("edge:8443", "edge:8443"),
        ] {
            assert_eq!(text.parse::<EdgeName>().unwrap().short(), short);
        }
    }

    #[test]
    fn a_proxy_has_a_port_and_its_password_is_never_repeated() {
        let proxy: ProxyName = "Proxy.example.com:3128".parse().unwrap();
        assert_eq!((proxy.host(), proxy.port()), ("proxy.example.com", 3128));
        for text in [
            "proxy.example.com",
            "proxy:0",
            "http://proxy:3128",
            "proxy:3128/",
        ] {
            let error = text.parse::<ProxyName>().unwrap_err();
            assert_eq!(error.problem, Problem::Proxy, "{text}");
        }
        let error = "asha:secret@proxy:3128".parse::<ProxyName>().unwrap_err();
        assert_eq!(error.problem, Problem::Credentials);
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn a_time_server_is_a_name_or_an_address_of_either_family() {
        for text in ["ntp.example.com", "192.0.2.9", "2001:db8::7"] {
            let server: ServerName = text.parse().unwrap();
            assert_eq!(server.to_string(), text);
            assert_eq!(
                matches!(server, ServerName::Name(_)),
                text.starts_with("ntp")
            );
        }
        for text in ["127.0.0.1", "::1", "fe80::1", "ntp:123", "224.0.1.1", "a b"] {
            assert!(text.parse::<ServerName>().is_err(), "{text}");
        }
    }

    #[test]
    fn ports_that_no_server_has_are_refused() {
        for text in [
            "edge:0",
            "edge:65536",
            "edge:",
            "edge:+443",
            "edge:443x",
            "edge:1:2",
        ] {
            let error = text.parse::<EdgeName>().unwrap_err();
            assert_eq!(error.problem, Problem::Port, "{text}");
        }
    }

    #[test]
    fn names_that_are_no_host_names_are_refused() {
        let long_label = "a".repeat(64);
        let long_name = ["abcdefg"; 32].join(".");
        let bad = [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "a_b",
            "a b",
            "é",
            "http://a",
            &long_label,
            &long_name,
        ];
        for text in bad {
            assert!(text.parse::<EdgeName>().is_err(), "{text}");
        }
        assert!("a".repeat(63).parse::<EdgeName>().is_ok());
    }

    #[test]
    fn a_slip_in_an_address_is_not_taken_for_a_name() {
        for text in [
            "300.1.2.3",
            "10.0.0",
            "1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert_eq!(
                text.parse::<HostName>().unwrap_err().problem,
                Problem::Address,
                "{text}"
            );
        }
    }
}
