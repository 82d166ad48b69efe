//! Why a value is refused.

use std::fmt;

use super::{
    EDGE_PORT_DEFAULT, HOSTNAME_BYTES_MAX, LABEL_BYTES_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX,
    VLAN_MAX,
};
use crate::shown::shown;

/// Why a value is refused. Its text names the value, the limit and what to type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError {
    /// The start of the value, escaped, at most [`SHOWN_CHARS_MAX`](super::SHOWN_CHARS_MAX) characters.
    shown: String,
    pub(super) problem: Problem,
}

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    Address,
    ConnectorName,
    Credentials,
    Engine,
    Gateway6,
    Ipv6,
    List { entries: usize, max: usize },
    Mac,
    MacOfNoCard,
    Name,
    NotAHost,
    OwnName,
    Port,
    Proxy,
    ServerAddress,
    Subnet,
    Text,
    Vlan,
}

impl Problem {
    /// The same with the address of a proxy, where a slip in host or port asks for both.
    pub(super) const fn of_a_proxy(self) -> Self {
        match self {
            Self::Port | Self::Name | Self::Address => Self::Proxy,
            other => other,
        }
    }
}

impl ValueError {
    pub(crate) fn new(text: &str, problem: Problem) -> Self {
        Self {
            shown: shown(text),
            problem,
        }
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\": ", self.shown)?;
        match self.problem {
            Problem::Address => {
                write!(
                    f,
                    "not an IPv4 address of a host; type four numbers like 192.0.2.1"
                )
            }
            Problem::ConnectorName => write!(
                f,
                "not a connector name; use 1 to {LABEL_BYTES_MAX} lower-case letters, digits and \
                 inner dashes, like mumbai-01"
            ),
            Problem::Credentials => write!(
                f,
                "user and password do not belong here; type host:port, and the console asks for \
                 them when the proxy does"
            ),
            Problem::Engine => write!(f, "no engine; type auto, kernel or user"),
            Problem::Gateway6 => write!(
                f,
                "not an IPv6 address of a router; type one like fe80::1 or 2001:db8::1"
            ),
            Problem::Ipv6 => write!(
                f,
                "neither auto nor off nor the IPv6 address of a host with a prefix length from 1 \
                 to 128; type it like 2001:db8::10/64"
            ),
            Problem::List { entries, max } => {
                write!(
                    f,
                    "{entries} entries; give at most {max}, separated by commas"
                )
            }
            Problem::Mac => write!(
                f,
                "not a MAC address; type six pairs of hexadecimal digits like 00:50:56:01:02:03"
            ),
            Problem::MacOfNoCard => write!(
                f,
                "no network card can have this MAC address; the first pair must be even, and not \
                 all six zero"
            ),
            Problem::Name => write!(
                f,
                "not a host name; use letters, digits, dots and inner dashes, at most \
                 {LABEL_BYTES_MAX} between dots and {NAME_BYTES_MAX} in all, like edge.example.com"
            ),
            Problem::NotAHost => write!(
                f,
                "this is the subnet's own or its broadcast address; type the address of a host"
            ),
            Problem::OwnName => write!(
                f,
                "not a name for this machine; use letters, digits, dots and inner dashes, at most \
                 {HOSTNAME_BYTES_MAX} in all, and no address"
            ),
            Problem::Proxy => write!(
                f,
                "not host:port with a port from 1 to 65535; type it like proxy.example.com:3128"
            ),
            Problem::ServerAddress => write!(
                f,
                "not an IP address of a server; type one like 192.0.2.53 or 2001:db8::53"
            ),
            Problem::Port => write!(
                f,
                "not a TCP port; type a number from 1 to 65535 behind the colon, or leave both \
                 out for {EDGE_PORT_DEFAULT}"
            ),
            Problem::Subnet => write!(
                f,
                "the prefix length must be a number from 8 to 32; type it like 192.0.2.10/24"
            ),
            Problem::Text => write!(f, "too long; the limit is {TEXT_BYTES_MAX} bytes"),
            Problem::Vlan => write!(f, "not a VLAN; type a number from 1 to {VLAN_MAX}"),
        }
    }
}

impl std::error::Error for ValueError {}

#[cfg(test)]
mod tests {
    use crate::value::EdgeName;

    #[test]
    fn an_error_names_the_value_the_limit_and_the_remedy() {
        let error = "edge:70000".parse::<EdgeName>().unwrap_err().to_string();
        assert!(error.starts_with("\"edge:70000\": not a TCP port; type a number from 1 to 65535"));
    }

    #[test]
    fn an_error_never_repeats_control_characters_or_a_long_value() {
        let error = format!("\x1b[2J{}", "x".repeat(5000))
            .parse::<EdgeName>()
            .unwrap_err();
        assert!(error.to_string().is_ascii());
        assert!(!error.to_string().contains('\x1b'));
        assert!(error.to_string().len() < 400);
    }
}
