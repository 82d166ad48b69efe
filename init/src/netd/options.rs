//! The DHCP options that smoltcp's client leaves to its user: lease time, MTU and NTP servers.
//!
//! Options that would add routes (33, 121, 249) are not looked at: a DHCP server decides about the
//! default gateway and nothing more.

use std::net::{IpAddr, Ipv4Addr};

use connector_proto::local::Servers;
use smoltcp::wire::DhcpPacket;

use crate::lease::{MTU_MAX, MTU_MIN, is_host};

/// What is asked of the server (option 55).
pub const REQUESTED: &[u8] = &[
    SUBNET_MASK,
    ROUTER,
    DOMAIN_NAME_SERVERS,
    INTERFACE_MTU,
    NTP_SERVERS,
    LEASE_TIME,
];

/// The lease time if the server names none (smoltcp's default), in seconds.
const LEASE_S_DEFAULT: u32 = 120;

/// The options of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// For how long the lease holds, in seconds.
    pub lease_s: u32,
    /// The interface's MTU, if it can be used.
    pub mtu: Option<u16>,
    /// Hosts that serve NTP, in the order given.
    pub ntp_servers: Servers,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lease_s: LEASE_S_DEFAULT,
            mtu: None,
            ntp_servers: Servers::new(),
        }
    }
}

/// Reads the options of a DHCP packet. What is malformed is passed over, as if it were absent.
#[must_use]
pub fn read(packet: &DhcpPacket<&[u8]>) -> Options {
    let mut options = Options::default();
    if packet.check_len().is_err() {
        return options;
    }
    for option in packet.options() {
        match (option.kind, option.data) {
            (LEASE_TIME, &[a, b, c, d]) => options.lease_s = u32::from_be_bytes([a, b, c, d]),
            (INTERFACE_MTU, &[a, b]) => {
                let mtu = u16::from_be_bytes([a, b]);
                options.mtu = (MTU_MIN..=MTU_MAX).contains(&mtu).then_some(mtu);
            }
            (NTP_SERVERS, addresses) => options.ntp_servers = servers(addresses),
            _ => {}
        }
    }
    options
}

/// The usable hosts among addresses of four bytes each; more than fit are left out.
fn servers(addresses: &[u8]) -> Servers {
    addresses
        .as_chunks()
        .0
        .iter()
        .map(|&octets: &[u8; 4]| Ipv4Addr::from_octets(octets))
        .filter(|address| is_host(*address))
        .map(IpAddr::V4)
        .take(Servers::new().capacity())
        .collect()
}

/// Reads any bytes, as a fuzzer supplies them.
pub fn fuzz_dhcp_options(data: &[u8]) {
    let options = read(&DhcpPacket::new_unchecked(data));
    assert!(
        options
            .mtu
            .is_none_or(|mtu| (MTU_MIN..=MTU_MAX).contains(&mtu)),
        "MTU is bounded"
    );
}

const SUBNET_MASK: u8 = 1;
const ROUTER: u8 = 3;
const DOMAIN_NAME_SERVERS: u8 = 6;
const INTERFACE_MTU: u8 = 26;
const NTP_SERVERS: u8 = 42;
const LEASE_TIME: u8 = 51;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_time_mtu_and_ntp_servers_are_read() {
        let options = read_options(&[
            51, 4, 0, 0, 0x0e, 0x10, 26, 2, 0x05, 0xdc, 0, 42, 8, 10, 0, 0, 1, 10, 0, 0, 2, 255,
        ]);
        assert_eq!(options.lease_s, 3600);
        assert_eq!(options.mtu, Some(1500));
        assert_eq!(options.ntp_servers.len(), 2);
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
            &[121, 8, 0, 10, 0, 0, 9, 0, 0, 0, 255],
            &[255, 51, 4, 0, 0, 0x0e, 0x10],
        ];
        for options in cases {
            assert_eq!(read_options(options), Options::default(), "{options:?}");
        }
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
        let mut packet = vec![0; 240];
        packet.extend(options);
        read(&DhcpPacket::new_unchecked(&packet))
    }
}
