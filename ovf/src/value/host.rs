//! Names and addresses of machines.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

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
    let address = host_address(text)?;
    if address.is_loopback() {
        return Err(ValueError::new(text, Problem::Address));
    }
    Ok(address)
}

/// An address that can be dialled, loopback included: there a service edge of the same machine
/// stands, in tests for one, and nothing at all in an appliance.
pub(super) fn host_address(text: &str) -> Result<Ipv4Addr, ValueError> {
    let error = || ValueError::new(text, Problem::Address);
    let address: Ipv4Addr = text.trim_ascii().parse().map_err(|_| error())?;
    let [first, ..] = address.octets();
    // 0/8 is "this network", 224/4 multicast and 240/4 reserved with broadcast.
    if first == 0 || first >= 224 {
        Err(error())
    } else {
        Ok(address)
    }
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
