//! The DHCP options that smoltcp's client leaves to its user, or reads too narrowly.
//!
//! Options that would add routes (33, 121, 249) are not looked at: a DHCP server decides about the
//! default gateway and nothing more.

use std::net::{IpAddr, Ipv4Addr};

use connector_proto::local::{Hostname, Servers};

use crate::hostname;
use crate::lease::{MTU_MAX, MTU_MIN, is_host};

/// What is asked of the server (option 55).
pub const REQUESTED: &[u8] = &[
    SUBNET_MASK,
    ROUTER,
    DOMAIN_NAME_SERVERS,
    HOST_NAME,
    INTERFACE_MTU,
    NTP_SERVERS,
    LEASE_TIME,
];

/// The lease time if the server names none (smoltcp's default), in seconds.
const LEASE_S_DEFAULT: u32 = 120;

/// Where the options of a message begin: behind the fixed part and the magic number.
pub const OPTIONS_AT: usize = 240;

/// The options of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// For how long the lease holds, in seconds.
    pub lease_s: u32,
    /// The interface's MTU, if it can be used.
    pub mtu: Option<u16>,
    /// Hosts that serve NTP, in the order given.
    pub ntp_servers: Servers,
    /// The first of the routers.
    pub router: Option<Ipv4Addr>,
    /// The machine's host name, if it can be one.
    pub hostname: Option<Hostname>,
    /// The message is a DHCPNAK.
    pub is_refusal: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lease_s: LEASE_S_DEFAULT,
            mtu: None,
            ntp_servers: Servers::new(),
            router: None,
            hostname: None,
            is_refusal: false,
        }
    }
}

/// One option: its kind, and where its value is in the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The option's number.
    pub kind: u8,
    /// Its value; kind and length are the two bytes before.
    pub value: std::ops::Range<usize>,
}

/// The options of a message in their order, up to the end mark or one that is cut off.
#[must_use]
pub fn places(message: &[u8]) -> Vec<Place> {
    let mut places = Vec::new();
    let mut at = OPTIONS_AT;
    while let Some(&kind) = message.get(at) {
        match kind {
            PAD => at += 1,
            END => break,
            _ => {
                let Some(&len) = message.get(at + 1) else {
                    break;
                };
                let value = at + 2..at + 2 + usize::from(len);
                at = value.end;
                if at > message.len() {
                    break;
                }
                places.push(Place { kind, value });
            }
        }
    }
    places
}

/// Reads the options of a DHCP message. What is malformed is passed over, as if it were absent.
#[must_use]
pub fn read(message: &[u8]) -> Options {
    let mut options = Options::default();
    for Place { kind, value } in places(message) {
        match (kind, message.get(value).unwrap_or_default()) {
            (LEASE_TIME, &[a, b, c, d]) => options.lease_s = u32::from_be_bytes([a, b, c, d]),
            (INTERFACE_MTU, &[a, b]) => {
                let mtu = u16::from_be_bytes([a, b]);
                options.mtu = (MTU_MIN..=MTU_MAX).contains(&mtu).then_some(mtu);
            }
            (NTP_SERVERS, addresses) => options.ntp_servers = servers(addresses),
            (ROUTER, addresses) => options.router = hosts(addresses).next(),
            (HOST_NAME, name) => options.hostname = name_of(name),
            (MESSAGE_TYPE, &[NAK]) => options.is_refusal = true,
            _ => {}
        }
    }
    options
}

/// A name in an option; some servers end it with a zero byte (RFC 2132 section 2 has them not to).
fn name_of(bytes: &[u8]) -> Option<Hostname> {
    let name = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    hostname::parse(str::from_utf8(name).ok()?)
}

/// The usable hosts among addresses of four bytes each.
fn hosts(addresses: &[u8]) -> impl Iterator<Item = Ipv4Addr> {
    let addresses = addresses.as_chunks().0.iter();
    addresses
        .map(|&octets: &[u8; 4]| Ipv4Addr::from_octets(octets))
        .filter(|address| is_host(*address))
}

/// As [`hosts`]; more than fit are left out.
fn servers(addresses: &[u8]) -> Servers {
    hosts(addresses)
        .map(IpAddr::V4)
        .take(Servers::new().capacity())
        .collect()
}

/// Reads any bytes, as a fuzzer supplies them.
pub fn fuzz_dhcp_options(data: &[u8]) {
    let options = read(data);
    assert!(
        options
            .mtu
            .is_none_or(|mtu| (MTU_MIN..=MTU_MAX).contains(&mtu)),
        "MTU is bounded"
    );
    assert!(options.router.is_none_or(is_host), "a router is a host");
}

/// Numbers of options (RFC 2132).
pub const PAD: u8 = 0;
const SUBNET_MASK: u8 = 1;
const ROUTER: u8 = 3;
const DOMAIN_NAME_SERVERS: u8 = 6;
/// The machine's name.
pub const HOST_NAME: u8 = 12;
const INTERFACE_MTU: u8 = 26;
const NTP_SERVERS: u8 = 42;
/// For how long the lease holds.
pub const LEASE_TIME: u8 = 51;
const MESSAGE_TYPE: u8 = 53;
/// When to renew with the server (T1).
pub const RENEWAL_TIME: u8 = 58;
/// When to renew with any server (T2).
pub const REBINDING_TIME: u8 = 59;
const END: u8 = 255;
const NAK: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_time_mtu_ntp_servers_router_and_name_are_read() {
        let options = read_options(&[
            51, 4, 0, 0, 0x0e, 0x10, 26, 2, 0x05, 0xdc, 0, 42, 8, 10, 0, 0, 1, 10, 0, 0, 2, 3, 8,
            10, 0, 0, 254, 10, 0, 0, 253, 12, 3, b'm', b'-', b'1', 255,
        ]);
        assert_eq!(options.lease_s, 3600);
        assert_eq!(options.mtu, Some(1500));
        assert_eq!(options.ntp_servers.len(), 2);
        assert_eq!(options.router, Some(Ipv4Addr::new(10, 0, 0, 254)));
        assert_eq!(options.hostname.as_deref(), Some("m-1"));
        assert!(!options.is_refusal);
    }

    #[test]
    fn malformed_and_foreign_options_are_passed_over() {
        let cases: &[&[u8]] = &[
            &[],
            &[51],
            &[51, 3, 1, 2, 3, 255],
            &[51, 200, 1],
            &[26, 2, 0, 68, 255],
            &[26, 2, 0xff, 0xff, 255],
            &[42, 3, 10, 0, 0, 255],
            &[42, 4, 127, 0, 0, 1, 255],
            &[42, 4, 255, 255, 255, 255, 255],
            &[3, 4, 0, 0, 0, 0, 255],
            &[12, 2, b'-', b'x', 255],
            &[12, 2, 0xc3, 0xbc, 255],
            &[53, 1, 5, 255],
            &[53, 2, 6, 6, 255],
            &[255, 51, 4, 0, 0, 0x0e, 0x10],
        ];
        for options in cases {
            assert_eq!(read_options(options), Options::default(), "{options:?}");
        }
    }

    #[test]
    fn options_that_add_routes_are_ignored() {
        for kind in [33, 121, 249] {
            let options = [kind, 8, 24, 192, 0, 2, 10, 0, 0, 9, 255];
            assert_eq!(read_options(&options), Options::default(), "{kind}");
        }
    }

    #[test]
    fn a_name_that_ends_with_a_zero_byte_is_a_name() {
        let options = read_options(&[12, 3, b'm', b'1', 0, 255]);
        assert_eq!(options.hostname.as_deref(), Some("m1"));
    }

    #[test]
    fn more_servers_than_fit_are_left_out() {
        let mut options = vec![42, 252];
        options.extend([10; 252]);
        assert_eq!(read_options(&options).ntp_servers.len(), 4);
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        let mut bytes = vec![0_u8; 400];
        let mut state = 7_u32;
        for len in 0..400 {
            for byte in &mut bytes[..len] {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = state.to_be_bytes()[0] & 0x3f;
            }
            fuzz_dhcp_options(&bytes[..len]);
        }
    }

    fn read_options(options: &[u8]) -> Options {
        let mut message = vec![0; OPTIONS_AT];
        message.extend(options);
        read(&message)
    }
}
