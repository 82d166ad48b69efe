//! The types that property values become.

mod error;
mod host;
mod subnet;

use std::net::Ipv4Addr;

pub(crate) use error::Problem;
pub use error::ValueError;
pub use host::{EdgeName, HostName};
pub use subnet::Ipv4Subnet;

use crate::mac::MacAddress;
use crate::name::ConnectorName;
use crate::property::Kind;
pub use crate::shown::SHOWN_CHARS_MAX;
use host::unicast;

/// Longest text that is looked at, in bytes. The longest valid one is a list of four names.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Longest host name, in bytes (RFC 1035: 255 on the wire).
pub const NAME_BYTES_MAX: usize = 253;
/// Longest part of a host name between dots, in bytes (RFC 1035).
pub const LABEL_BYTES_MAX: usize = 63;
/// Port of an edge when none is given.
pub const EDGE_PORT_DEFAULT: u16 = 443;
/// Most DNS resolvers: as many as the stub resolver asks.
pub const RESOLVERS_MAX: usize = 3;
/// Most NTP servers: four are needed to outvote one liar.
pub const TIME_SERVERS_MAX: usize = 4;

/// A parsed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// The machine's own address.
    Address(Ipv4Subnet),
    /// The service edge.
    Edge(EdgeName),
    /// The default gateway.
    Gateway(Ipv4Addr),
    /// The machine's own name.
    Hostname(HostName),
    /// The MAC address that the machine was minted with.
    Mac(MacAddress),
    /// The name that the connector was minted under.
    Name(ConnectorName),
    /// DNS resolvers, at least one.
    Resolvers(Vec<Ipv4Addr>),
    /// NTP servers, at least one.
    TimeServers(Vec<HostName>),
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
        Kind::Gateway => Value::Gateway(unicast(text)?),
        Kind::Hostname => Value::Hostname(text.parse()?),
        Kind::Mac => Value::Mac(mac_of_a_card(text)?),
        Kind::Name => Value::Name(text.parse()?),
        Kind::Resolvers => Value::Resolvers(list(text, RESOLVERS_MAX, unicast)?),
        Kind::TimeServers => Value::TimeServers(list(text, TIME_SERVERS_MAX, str::parse)?),
    }))
}

/// Fuzz body: no text makes a parser panic, and what is accepted prints as it parses.
pub fn fuzz_value(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for property in crate::property::PROPERTIES {
        match property.parse(text) {
            Ok(Some(Value::Edge(edge))) => assert_eq!(edge.to_string().parse(), Ok(edge)),
            Ok(Some(Value::Address(address))) => {
                assert_eq!(address.to_string().parse(), Ok(address));
            }
            Ok(Some(Value::Mac(mac))) => assert_eq!(mac.to_string().parse(), Ok(mac)),
            Ok(_) => {}
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
mod tests {
    use super::*;

    #[test]
    fn lists_are_bounded_and_forgive_spaces() {
        let resolvers = parse(Kind::Resolvers, "192.0.2.1, 192.0.2.2,").unwrap();
        assert!(matches!(resolvers, Some(Value::Resolvers(list)) if list.len() == 2));
        let error = parse(Kind::Resolvers, "192.0.2.1,192.0.2.2,192.0.2.3,192.0.2.4").unwrap_err();
        assert_eq!(error.problem, Problem::List { entries: 4, max: 3 });
        assert!(
            parse(Kind::TimeServers, "ntp.example.com,192.0.2.9")
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn a_minted_mac_is_one_that_a_card_can_have() {
        let mac = parse(Kind::Mac, "00:50:56:01:02:03").unwrap();
        assert!(matches!(mac, Some(Value::Mac(mac)) if mac.is_vmware_static_range()));
        for text in [
            "01:00:5e:00:00:01",
            "ff:ff:ff:ff:ff:ff",
            "00:00:00:00:00:00",
        ] {
            let error = parse(Kind::Mac, text).unwrap_err();
            assert_eq!(error.problem, Problem::MacOfNoCard, "{text}");
        }
    }

    #[test]
    fn a_text_is_measured_before_it_is_looked_at() {
        let error = parse(Kind::Edge, &" ".repeat(TEXT_BYTES_MAX + 1)).unwrap_err();
        assert_eq!(error.problem, Problem::Text);
    }

    #[test]
    fn no_short_text_of_awkward_characters_makes_a_parser_panic() {
        let letters = [
            "", "a", "1", ".", ":", "/", ",", "-", " ", "\0", "é", "255", "[::1]",
        ];
        for (a, b) in letters
            .iter()
            .flat_map(|a| letters.iter().map(move |b| (a, b)))
        {
            for (c, d) in letters
                .iter()
                .flat_map(|c| letters.iter().map(move |d| (c, d)))
            {
                fuzz_value(format!("{a}{b}{c}{d}").as_bytes());
            }
        }
    }
}
