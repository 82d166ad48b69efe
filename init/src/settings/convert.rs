//! What `ovf` makes of the texts, as the machine's own types. Every bound of the one fits into the
//! other's, so nothing is lost on the way.

use std::fmt::Display;

use connector_proto::local::{EngineSetting, Ipv6Setting, Settings, StaticIpv4, Text, TimeServer};
use ovf::settings::{self, Ipv4Static, Ipv6Settings};
use ovf::value::{EngineChoice, ServerName};

use super::Minted;

/// The settings, and what the place says about the machine besides; the group is no property.
#[must_use]
pub fn convert(read: settings::Settings) -> (Settings, Minted) {
    let minted = Minted {
        name: read.name.as_ref().and_then(text),
        mac: read.mac.map(ovf::mac::MacAddress::octets),
        group: None,
    };
    let settings = Settings {
        edge: read.edge.and_then(|edge| text(&edge.short())),
        hostname: read.hostname.as_ref().and_then(text),
        vlan: read.vlan,
        ipv4: read.ipv4.map(ipv4),
        ipv6: read.ipv6.map(ipv6),
        resolvers: read.resolvers.into_iter().take(4).collect(),
        ntp: read.ntp.iter().filter_map(time_server).take(4).collect(),
        proxy: read.proxy.as_ref().and_then(text),
        engine: read.engine.map(engine),
    };
    (settings, minted)
}

const fn ipv4(given: Ipv4Static) -> StaticIpv4 {
    StaticIpv4 {
        address: given.subnet.address(),
        prefix_len: given.subnet.prefix_bits(),
        gateway: given.gateway,
    }
}

const fn ipv6(given: Ipv6Settings) -> Ipv6Setting {
    match given {
        Ipv6Settings::Auto => Ipv6Setting::Auto,
        Ipv6Settings::Off => Ipv6Setting::Off,
        Ipv6Settings::Static { subnet, gateway } => Ipv6Setting::Static {
            address: subnet.address(),
            prefix_len: subnet.prefix_bits(),
            gateway,
        },
    }
}

const fn engine(choice: EngineChoice) -> EngineSetting {
    match choice {
        EngineChoice::Auto => EngineSetting::Auto,
        EngineChoice::Kernel => EngineSetting::Kernel,
        EngineChoice::User => EngineSetting::User,
    }
}

fn time_server(server: &ServerName) -> Option<TimeServer> {
    match server {
        ServerName::Address(address) => Some(TimeServer::Address(*address)),
        ServerName::Name(name) => text(name).map(TimeServer::Name),
    }
}

fn text<const N: usize>(value: &impl Display) -> Option<Text<N>> {
    Text::try_from(value.to_string().as_str()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ovf::given::Given;
    use ovf::property::Property;

    fn converted(texts: &[(&str, &str)]) -> (Settings, Minted) {
        let mut given = Given::default();
        for (key, text) in texts {
            given.take(Property::find(key).unwrap(), text);
        }
        let (read, complaints) = settings::settings(given);
        assert_eq!(complaints, []);
        convert(read)
    }

    #[test]
    fn every_property_arrives() {
        let (settings, minted) = converted(&[
            ("outgate.edge", "edge.example.com"),
            ("outgate.hostname", "mumbai-01"),
            ("outgate.address", "192.0.2.10/24"),
            ("outgate.gateway", "192.0.2.1"),
            ("outgate.resolvers", "192.0.2.53,2001:db8::53"),
            ("outgate.ntp", "192.0.2.1,ntp.example.com"),
            ("outgate.ipv6", "2001:db8::10/64"),
            ("outgate.gateway6", "fe80::1"),
            ("outgate.vlan", "7"),
            ("outgate.proxy", "proxy.example.com:3128"),
            ("outgate.engine", "kernel"),
            ("outgate.name", "mumbai-01"),
            ("outgate.mac", "00:50:56:01:02:0f"),
        ]);
        assert_eq!(settings.edge.as_deref(), Some("edge.example.com"));
        assert_eq!(settings.hostname.as_deref(), Some("mumbai-01"));
        assert_eq!(
            settings.ipv4,
            Some(StaticIpv4 {
                address: "192.0.2.10".parse().unwrap(),
                prefix_len: 24,
                gateway: "192.0.2.1".parse().ok(),
            })
        );
        assert_eq!(
            settings.ipv6,
            Some(Ipv6Setting::Static {
                address: "2001:db8::10".parse().unwrap(),
                prefix_len: 64,
                gateway: "fe80::1".parse().ok(),
            })
        );
        assert_eq!(settings.resolvers.len(), 2);
        assert_eq!(
            settings.ntp.as_slice(),
            [
                TimeServer::Address("192.0.2.1".parse().unwrap()),
                TimeServer::Name("ntp.example.com".try_into().unwrap())
            ]
        );
        assert_eq!(settings.vlan, Some(7));
        assert_eq!(settings.proxy.as_deref(), Some("proxy.example.com:3128"));
        assert_eq!(settings.engine, Some(EngineSetting::Kernel));
        assert_eq!(minted.name.as_deref(), Some("mumbai-01"));
        assert_eq!(minted.mac, Some([0, 0x50, 0x56, 1, 2, 15]));
    }

    #[test]
    fn the_longest_values_find_room() {
        let host = [["a".repeat(63).as_str(); 3].join("."), "b".repeat(61)].join(".");
        assert_eq!(host.len(), 253);
        let (settings, _) = converted(&[
            ("outgate.edge", &format!("{host}:65535")),
            ("outgate.hostname", &"h".repeat(63)),
            ("outgate.ntp", &[host.as_str(); 4].join(",")),
            ("outgate.proxy", &format!("{host}:65535")),
        ]);
        assert!(settings.edge.is_some() && settings.hostname.is_some());
        assert!(settings.proxy.is_some() && settings.ntp.len() == 4);
    }
}
