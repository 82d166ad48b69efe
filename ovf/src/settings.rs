//! The values of one place as settings that hold together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::given::{Complaint, Given, Why};
use crate::mac::MacAddress;
use crate::name::ConnectorName;
use crate::value::{
    EdgeName, EngineChoice, HostName, Ipv4Subnet, Ipv6Mode, Ipv6Subnet, ProxyName, ServerName,
    Value,
};

/// What one place says, as far as it can be used. What is absent is left to others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// The service edge.
    pub edge: Option<EdgeName>,
    /// The machine's own name.
    pub hostname: Option<HostName>,
    /// The static IPv4 address.
    pub ipv4: Option<Ipv4Static>,
    /// What is done about IPv6.
    pub ipv6: Option<Ipv6Settings>,
    /// DNS servers.
    pub resolvers: Vec<IpAddr>,
    /// NTP servers.
    pub ntp: Vec<ServerName>,
    /// The VLAN, 1 to [`crate::value::VLAN_MAX`].
    pub vlan: Option<u16>,
    /// The HTTP proxy in front of the edge.
    pub proxy: Option<ProxyName>,
    /// What carries the bytes of sessions.
    pub engine: Option<EngineChoice>,
    /// The name that the connector was minted under.
    pub name: Option<ConnectorName>,
    /// The MAC address that it was minted with.
    pub mac: Option<MacAddress>,
}

/// A static IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4Static {
    /// The address and its subnet.
    pub subnet: Ipv4Subnet,
    /// The default gateway: a neighbour, or any router of a /32.
    pub gateway: Option<Ipv4Addr>,
}

/// What is done about IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv6Settings {
    /// Addresses are formed as routers advertise.
    Auto,
    /// Nothing.
    Off,
    /// A static address.
    Static {
        /// The address and its subnet.
        subnet: Ipv6Subnet,
        /// The default gateway: link-local, a neighbour, or any router of a /128.
        gateway: Option<Ipv6Addr>,
    },
}

/// The settings that `given` means, and why the rest of it is not used: what was not understood,
/// then gateways without the address they belong to. A value that is wrong costs itself alone.
#[must_use]
pub fn settings(given: Given) -> (Settings, Vec<Complaint>) {
    let Given { values, complaints } = given;
    let mut read = Read {
        complaints,
        ..Read::default()
    };
    let (mut gateway, mut gateway6) = (None, None);
    for (_, value) in values {
        match value {
            Value::Address(subnet) => {
                let gateway = None;
                read.settings.ipv4 = Some(Ipv4Static { subnet, gateway });
            }
            Value::Edge(edge) => read.settings.edge = Some(edge),
            Value::Engine(choice) => read.settings.engine = Some(choice),
            Value::Gateway(address) => gateway = Some(address),
            Value::Gateway6(address) => gateway6 = Some(address),
            Value::Hostname(name) => read.settings.hostname = Some(name),
            Value::Ipv6(mode) => read.settings.ipv6 = Some(mode.into()),
            Value::Mac(mac) => read.settings.mac = Some(mac),
            Value::Name(name) => read.settings.name = Some(name),
            Value::Proxy(proxy) => read.settings.proxy = Some(proxy),
            Value::Resolvers(list) => read.settings.resolvers = list,
            Value::TimeServers(list) => read.settings.ntp = list,
            Value::Vlan(vlan) => read.settings.vlan = Some(vlan),
        }
    }
    read.add_gateway(gateway);
    read.add_gateway6(gateway6);
    (read.settings, read.complaints)
}

#[derive(Default)]
struct Read {
    settings: Settings,
    complaints: Vec<Complaint>,
}

impl Read {
    fn add_gateway(&mut self, given: Option<Ipv4Addr>) {
        let Some(address) = given else { return };
        match &mut self.settings.ipv4 {
            None => self.complain("gateway", &address, Why::Without("address")),
            Some(Ipv4Static { subnet, gateway }) if subnet.has_gateway(address) => {
                *gateway = Some(address);
            }
            Some(Ipv4Static { subnet, .. }) => {
                let why = Why::OutsideOf(subnet.to_string());
                self.complain("gateway", &address, why);
            }
        }
    }

    fn add_gateway6(&mut self, given: Option<Ipv6Addr>) {
        let Some(address) = given else { return };
        match &mut self.settings.ipv6 {
            Some(Ipv6Settings::Static { subnet, gateway }) if subnet.has_gateway(address) => {
                *gateway = Some(address);
            }
            Some(Ipv6Settings::Static { subnet, .. }) => {
                let why = Why::OutsideOf(subnet.to_string());
                self.complain("gateway6", &address, why);
            }
            Some(Ipv6Settings::Auto | Ipv6Settings::Off) | None => {
                self.complain("gateway6", &address, Why::Without("ipv6 address"));
            }
        }
    }

    fn complain(&mut self, key: &str, value: &impl ToString, why: Why) {
        self.complaints
            .push(Complaint::new(key, &value.to_string(), why));
    }
}

impl From<Ipv6Mode> for Ipv6Settings {
    fn from(mode: Ipv6Mode) -> Self {
        let gateway = None;
        match mode {
            Ipv6Mode::Auto => Self::Auto,
            Ipv6Mode::Off => Self::Off,
            Ipv6Mode::Static(subnet) => Self::Static { subnet, gateway },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::property::{PROPERTIES, Property};
    use proptest::prelude::*;

    fn read(texts: &[(&str, &str)]) -> (Settings, Vec<String>) {
        let mut given = Given::default();
        for (key, text) in texts {
            given.take(Property::find(key).unwrap(), text);
        }
        let (settings, complaints) = settings(given);
        let sentences = complaints.iter().map(|one| one.sentence("The disk"));
        (settings, sentences.collect())
    }

    #[test]
    fn a_whole_static_configuration_is_taken_in_any_order() {
        let texts = [
            ("outgate.gateway", "192.0.2.1"),
            ("outgate.gateway6", "fe80::1"),
            ("outgate.address", "192.0.2.10/24"),
            ("outgate.ipv6", "2001:db8::10/64"),
            ("outgate.resolvers", "192.0.2.53,2001:db8::53"),
            ("outgate.ntp", "192.0.2.1,ntp.example.com"),
            ("outgate.vlan", "7"),
            ("outgate.proxy", "proxy.example.com:3128"),
            ("outgate.hostname", "mumbai-01"),
            ("outgate.engine", "user"),
            ("outgate.edge", "edge.example.com"),
        ];
        let (settings, complaints) = read(&texts);
        assert_eq!(complaints, [""; 0]);
        let ipv4 = settings.ipv4.unwrap();
        assert_eq!(ipv4.subnet.to_string(), "192.0.2.10/24");
        assert_eq!(ipv4.gateway, Some(Ipv4Addr::new(192, 0, 2, 1)));
        assert!(matches!(
            settings.ipv6,
            Some(Ipv6Settings::Static { gateway: Some(gateway), .. }) if gateway.is_unicast_link_local()
        ));
        assert_eq!((settings.resolvers.len(), settings.ntp.len()), (2, 2));
        assert_eq!(
            (settings.vlan, settings.name, settings.mac),
            (Some(7), None, None)
        );
        assert_eq!(
            settings.proxy.unwrap().to_string(),
            "proxy.example.com:3128"
        );
        assert_eq!(settings.hostname.unwrap().as_str(), "mumbai-01");
        assert_eq!(settings.engine, Some(EngineChoice::User));
        assert_eq!(settings.edge.unwrap().short(), "edge.example.com");
    }

    #[test]
    fn a_gateway_that_does_not_fit_its_address_is_named_and_the_address_stays() {
        let address = ("outgate.address", "192.0.2.10/24");
        let (settings, complaints) = read(&[address, ("outgate.gateway", "192.0.3.1")]);
        assert_eq!(settings.ipv4.unwrap().gateway, None);
        assert_eq!(
            complaints,
            [
                "The disk says gateway=\"192.0.3.1\", which is no neighbour in 192.0.2.10/24: ignored."
            ]
        );
        let (settings, complaints) = read(&[("outgate.gateway", "192.0.2.1")]);
        assert_eq!(settings, Settings::default());
        assert_eq!(
            complaints,
            ["The disk says gateway=\"192.0.2.1\", which needs a good address beside it: ignored."]
        );
        for mode in ["auto", "off"] {
            let texts = [("outgate.ipv6", mode), ("outgate.gateway6", "fe80::1")];
            let (_, complaints) = read(&texts);
            assert!(
                complaints[0].contains("needs a good ipv6 address"),
                "{complaints:?}"
            );
        }
        let (settings, _) = read(&[
            ("outgate.address", "192.0.2.10/32"),
            ("outgate.gateway", "198.51.100.1"),
        ]);
        assert!(
            settings.ipv4.unwrap().gateway.is_some(),
            "a /32 has no neighbours"
        );
    }

    #[test]
    fn a_slip_costs_its_own_setting_alone() {
        let texts = [
            ("outgate.address", "192.0.2.10"),
            ("outgate.vlan", "4095"),
            ("outgate.ntp", "192.0.2.1"),
        ];
        let (settings, complaints) = read(&texts);
        assert_eq!(complaints.len(), 2);
        let ntp = settings.ntp.clone();
        assert_eq!(
            settings,
            Settings {
                ntp,
                ..Settings::default()
            }
        );
    }

    proptest! {
        #[test]
        fn every_value_that_is_given_is_used_or_complained_of(
            texts in prop::collection::vec((0..PROPERTIES.len(), "[a-z0-9.:/]{1,12}|user|192\\.0\\.2\\.[0-9]{1,2}(/24)?|fe80::[0-9]|2001:db8::[0-9](/64)?"), 0..8),
        ) {
            let mut given = Given::default();
            for (at, text) in &texts {
                if given.value(PROPERTIES[*at].key).is_none() {
                    given.take(&PROPERTIES[*at], text);
                }
            }
            let (values, before) = (given.values.len(), given.complaints.len());
            let (read, complaints) = settings(given);
            let gateways = usize::from(read.ipv4.is_some_and(|ipv4| ipv4.gateway.is_some()))
                + usize::from(matches!(read.ipv6, Some(Ipv6Settings::Static { gateway: Some(_), .. })));
            let used = [
                read.edge.is_some(), read.hostname.is_some(), read.ipv4.is_some(), read.ipv6.is_some(),
                !read.resolvers.is_empty(), !read.ntp.is_empty(), read.vlan.is_some(),
                read.proxy.is_some(), read.engine.is_some(), read.name.is_some(), read.mac.is_some(),
            ];
            let used = used.iter().filter(|is_used| **is_used).count() + gateways;
            prop_assert_eq!(used + complaints.len() - before, values);
        }
    }
}
