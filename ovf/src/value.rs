//! The types that property values become.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::property::Kind;

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
        Kind::Resolvers => Value::Resolvers(list(text, RESOLVERS_MAX, unicast)?),
        Kind::TimeServers => Value::TimeServers(list(text, TIME_SERVERS_MAX, str::parse)?),
    }))
}

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

/// Why a value is refused. Its text names the value, the limit and what to type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError {
    /// The start of the value, escaped, at most [`SHOWN_CHARS_MAX`] characters of it.
    shown: String,
    problem: Problem,
}

/// Most characters of a refused value that an error repeats.
pub const SHOWN_CHARS_MAX: usize = 64;

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Problem {
    Address,
    List { entries: usize, max: usize },
    Name,
    NotAHost,
    Port,
    Subnet,
    Text,
}

impl ValueError {
    fn new(text: &str, problem: Problem) -> Self {
        let shown = text
            .chars()
            .take(SHOWN_CHARS_MAX)
            .flat_map(char::escape_default)
            .collect();
        Self { shown, problem }
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
            Problem::List { entries, max } => {
                write!(
                    f,
                    "{entries} entries; give at most {max}, separated by commas"
                )
            }
            Problem::Name => write!(
                f,
                "not a host name; use letters, digits, dots and inner dashes, at most \
                 {LABEL_BYTES_MAX} between dots and {NAME_BYTES_MAX} in all, like edge.example.com"
            ),
            Problem::NotAHost => write!(
                f,
                "this is the subnet's own or its broadcast address; type the address of a host"
            ),
            Problem::Port => write!(
                f,
                "not a TCP port; type a number from 1 to 65535 behind the colon, or leave both \
                 out for {EDGE_PORT_DEFAULT}"
            ),
            Problem::Subnet => write!(
                f,
                "the prefix length must be a number from 8 to 30; type it like 192.0.2.10/24"
            ),
            Problem::Text => write!(f, "too long; the limit is {TEXT_BYTES_MAX} bytes"),
        }
    }
}

impl std::error::Error for ValueError {}

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
            Ok(_) => {}
            Err(error) => assert!(error.to_string().is_ascii()),
        }
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
fn unicast(text: &str) -> Result<Ipv4Addr, ValueError> {
    let address = host_address(text)?;
    if address.is_loopback() {
        return Err(ValueError::new(text, Problem::Address));
    }
    Ok(address)
}

/// An address that can be dialled, loopback included: there a service edge of the same machine
/// stands, in tests for one, and nothing at all in an appliance.
fn host_address(text: &str) -> Result<Ipv4Addr, ValueError> {
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

fn parse_port(text: &str) -> Option<u16> {
    parse_decimal(text).filter(|port| *port != 0)
}

/// A number of digits only: `str::parse` would also take a sign.
fn parse_decimal<T: FromStr>(text: &str) -> Option<T> {
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
    fn an_edge_may_stand_on_the_same_machine_but_no_subnet_is_loopback() {
        assert!("127.0.0.1:8443".parse::<EdgeName>().is_ok());
        assert!("127.0.0.1/8".parse::<Ipv4Subnet>().is_err());
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
