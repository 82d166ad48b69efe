//! Whether typed values are ones that an honest reader sends.
//!
//! The reader parses foreign bytes and could be taken over by them; what it sends is used by PID 1,
//! which therefore asks of each value once more whether a machine can have it.

use std::net::IpAddr;

use connector_proto::local::{Ipv6Setting, Settings, StaticIpv4, TimeServer};
use ovf::mac::MacAddress;
use ovf::name::ConnectorName;
use ovf::value::{
    EdgeName, HOSTNAME_BYTES_MAX, HostName, Ipv4Subnet, Ipv6Subnet, ProxyName, ServerName, VLAN_MAX,
};

use super::Minted;

/// Whether all of a place's settings are ones that a machine can have.
#[must_use]
pub fn is_sound(settings: &Settings, minted: &Minted) -> bool {
    is_endpoint::<EdgeName>(settings.edge.as_deref())
        && is_endpoint::<ProxyName>(settings.proxy.as_deref())
        && settings.hostname.as_deref().is_none_or(is_hostname)
        && settings
            .vlan
            .is_none_or(|vlan| (1..=VLAN_MAX).contains(&vlan))
        && settings.ipv4.is_none_or(is_ipv4)
        && settings.ipv6.is_none_or(is_ipv6)
        && settings.resolvers.iter().copied().all(is_server)
        && settings.ntp.iter().all(is_time_server)
        && is_minted(minted)
}

fn is_endpoint<T: std::str::FromStr>(text: Option<&str>) -> bool {
    text.is_none_or(|text| is_word(text) && text.parse::<T>().is_ok())
}

fn is_hostname(name: &str) -> bool {
    name.len() <= HOSTNAME_BYTES_MAX && is_name(name)
}

fn is_name(name: &str) -> bool {
    is_word(name)
        && name
            .parse::<HostName>()
            .is_ok_and(|host| host.address().is_none())
}

fn is_ipv4(given: StaticIpv4) -> bool {
    Ipv4Subnet::new(given.address, given.prefix_len)
        .is_some_and(|subnet| given.gateway.is_none_or(|to| subnet.has_gateway(to)))
}

fn is_ipv6(given: Ipv6Setting) -> bool {
    match given {
        Ipv6Setting::Auto | Ipv6Setting::Off => true,
        Ipv6Setting::Static {
            address,
            prefix_len,
            gateway,
        } => Ipv6Subnet::new(address, prefix_len)
            .is_some_and(|subnet| gateway.is_none_or(|to| subnet.has_gateway(to))),
    }
}

fn is_server(address: IpAddr) -> bool {
    ServerName::try_from(address).is_ok()
}

fn is_time_server(server: &TimeServer) -> bool {
    match server {
        TimeServer::Address(address) => is_server(*address),
        TimeServer::Name(name) => is_name(name),
    }
}

fn is_minted(minted: &Minted) -> bool {
    let is_printable = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    minted
        .name
        .as_deref()
        .is_none_or(|name| name.parse::<ConnectorName>().is_ok())
        && minted.mac.is_none_or(|mac| MacAddress(mac).is_unicast())
        && minted.group.as_deref().is_none_or(is_printable)
}

/// The parsers forgive white space, which no honest reader sends.
fn is_word(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn is_refused(change: impl FnOnce(&mut Settings, &mut Minted)) -> bool {
        let (mut settings, mut minted) = (Settings::default(), Minted::default());
        assert!(is_sound(&settings, &minted));
        change(&mut settings, &mut minted);
        !is_sound(&settings, &minted)
    }

    #[test]
    fn what_no_honest_reader_sends_is_refused() {
        assert!(is_refused(|s, _| s.edge = "a b".try_into().ok()));
        assert!(is_refused(|s, _| s.edge = " edge".try_into().ok()));
        assert!(is_refused(|s, _| s.proxy = "proxy".try_into().ok()));
        assert!(is_refused(|s, _| s.hostname = "\u{1b}[2J".try_into().ok()));
        assert!(is_refused(|s, _| s.hostname = "192.0.2.1".try_into().ok()));
        for vlan in [0, 4095] {
            assert!(is_refused(|s, _| s.vlan = Some(vlan)));
        }
        for (address, prefix_len, gateway) in [
            (Ipv4Addr::LOCALHOST, 8, None),
            (Ipv4Addr::new(192, 0, 2, 10), 0, None),
            (Ipv4Addr::new(192, 0, 2, 10), 200, None),
            (
                Ipv4Addr::new(192, 0, 2, 10),
                24,
                Some(Ipv4Addr::new(192, 0, 3, 1)),
            ),
        ] {
            let ipv4 = StaticIpv4 {
                address,
                prefix_len,
                gateway,
            };
            assert!(is_refused(|s, _| s.ipv4 = Some(ipv4)), "{ipv4:?}");
        }
        for (address, prefix_len) in [
            (Ipv6Addr::LOCALHOST, 64),
            (Ipv6Addr::from_bits(1 << 120), 0),
        ] {
            let ipv6 = Ipv6Setting::Static {
                address,
                prefix_len,
                gateway: None,
            };
            assert!(is_refused(|s, _| s.ipv6 = Some(ipv6)), "{ipv6:?}");
        }
        let multicast = IpAddr::V4(Ipv4Addr::new(224, 0, 1, 1));
        assert!(is_refused(|s, _| s.resolvers.push(multicast).unwrap()));
        let server = TimeServer::Address(multicast);
        assert!(is_refused(|s, _| s.ntp.push(server).unwrap()));
        assert!(is_refused(|_, m| m.name = "Mumbai".try_into().ok()));
        assert!(is_refused(|_, m| m.mac = Some([1; 6])));
        assert!(is_refused(|_, m| m.group = "a\u{7}".try_into().ok()));
    }
}
