//! The table of property keys.

use crate::value::{self, Value};
pub use crate::value::{EdgeName, ProxyName, ValueError};

/// Every property there is, in the order in which a deployment dialogue shows them.
pub const PROPERTIES: &[Property] = &[
    Property {
        key: "outgate.edge",
        kind: Kind::Edge,
        default: None,
        user_configurable: true,
        label: "Service edge",
        purpose: "Service edge to connect to: host or host:port. Port 443 unless given.",
    },
    Property {
        key: "outgate.hostname",
        kind: Kind::Hostname,
        default: None,
        user_configurable: true,
        label: "Host name",
        purpose: "Host name of this machine, sent with DHCP and shown on its console.",
    },
    Property {
        key: "outgate.address",
        kind: Kind::Address,
        default: None,
        user_configurable: true,
        label: "Static IPv4 address",
        purpose: "Static IPv4 address with prefix length, e.g. 192.0.2.10/24. Empty: DHCP.",
    },
    Property {
        key: "outgate.gateway",
        kind: Kind::Gateway,
        default: None,
        user_configurable: true,
        label: "Default gateway",
        purpose: "IPv4 address of the default gateway, with a static address only.",
    },
    Property {
        key: "outgate.resolvers",
        kind: Kind::Resolvers,
        default: None,
        user_configurable: true,
        label: "DNS resolvers",
        purpose: "IP addresses of up to four DNS resolvers, separated by commas. Empty: the network's.",
    },
    Property {
        key: "outgate.ntp",
        kind: Kind::TimeServers,
        default: None,
        user_configurable: true,
        label: "NTP servers",
        purpose: "Names or IP addresses of up to four NTP servers, separated by commas. Empty: those \
                  of DHCP, else the service edge tells the time.",
    },
    Property {
        key: "outgate.ipv6",
        kind: Kind::Ipv6,
        default: None,
        user_configurable: true,
        label: "IPv6",
        purpose: "auto, off, or a static IPv6 address with prefix length, e.g. 2001:db8::10/64. Empty: \
                  auto.",
    },
    Property {
        key: "outgate.gateway6",
        kind: Kind::Gateway6,
        default: None,
        user_configurable: true,
        label: "Default gateway of IPv6",
        purpose: "IPv6 address of the default gateway, with a static IPv6 address only.",
    },
    Property {
        key: "outgate.vlan",
        kind: Kind::Vlan,
        default: None,
        user_configurable: true,
        label: "VLAN",
        purpose: "VLAN whose tag all frames carry, 1 to 4094. Empty: untagged, as port groups want it.",
    },
    Property {
        key: "outgate.proxy",
        kind: Kind::Proxy,
        default: None,
        user_configurable: true,
        label: "HTTP proxy",
        purpose: "host:port of an HTTP proxy through which the service edge is reached. Its user and \
                  password are typed on the console.",
    },
    Property {
        key: "outgate.engine",
        kind: Kind::Engine,
        default: None,
        user_configurable: true,
        label: "Engine of the data plane",
        purpose: "auto, kernel or user: whether the kernel's TLS carries the bytes of sessions, or the \
                  connector itself. Empty: auto, the faster one on this machine.",
    },
    Property {
        key: "outgate.name",
        kind: Kind::Name,
        default: None,
        user_configurable: false,
        label: "Connector name",
        purpose: "Name that this connector was minted under.",
    },
    Property {
        key: "outgate.mac",
        kind: Kind::Mac,
        default: None,
        user_configurable: false,
        label: "MAC address",
        purpose: "MAC address that was pinned when this connector was minted.",
    },
];

/// What every key begins with.
pub const KEY_PREFIX: &str = "outgate.";
/// What every QEMU fw_cfg item of ours begins with; `opt/` is the part QEMU leaves to users.
pub const FW_CFG_PREFIX: &str = "opt/outgate/";
/// Longest fw_cfg item name QEMU takes (`docs/specs/fw_cfg.rst`: 56 bytes with the NUL).
pub const FW_CFG_NAME_BYTES_MAX: usize = 55;

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Property {
    /// Its key in OVF descriptors and environments.
    pub key: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// The value when none is given; `None` means the appliance finds out or asks.
    pub default: Option<&'static str>,
    /// Whether people fill it in. The others are written by the mint and only read by people.
    pub user_configurable: bool,
    /// Its name in a deployment dialogue.
    pub label: &'static str,
    /// One sentence for the person who fills it in.
    pub purpose: &'static str,
}

/// What a value is, and so which type it is parsed into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Value::Address`].
    Address,
    /// [`Value::Edge`].
    Edge,
    /// [`Value::Engine`].
    Engine,
    /// [`Value::Gateway`].
    Gateway,
    /// [`Value::Gateway6`].
    Gateway6,
    /// [`Value::Hostname`].
    Hostname,
    /// [`Value::Ipv6`].
    Ipv6,
    /// [`Value::Mac`].
    Mac,
    /// [`Value::Name`].
    Name,
    /// [`Value::Proxy`].
    Proxy,
    /// [`Value::Resolvers`].
    Resolvers,
    /// [`Value::TimeServers`].
    TimeServers,
    /// [`Value::Vlan`].
    Vlan,
}

impl Kind {
    /// What is expected, as the end of "which is not ...", in at most [`EXPECTED_BYTES_MAX`].
    #[must_use]
    pub const fn expected(self) -> &'static str {
        match self {
            Self::Address => "an IPv4 address like 192.0.2.10/24",
            Self::Edge => "host or host:port",
            Self::Engine => "auto, kernel or user",
            Self::Gateway => "the IPv4 address of a router",
            Self::Gateway6 => "the IPv6 address of a router",
            Self::Hostname => "a host name of at most 63 characters",
            Self::Ipv6 => "auto, off or an address like 2001:db8::10/64",
            Self::Mac => "a MAC address",
            Self::Name => "a connector's name",
            Self::Proxy => "host:port without user and password",
            Self::Resolvers => "up to 4 IP addresses, commas between",
            Self::TimeServers => "up to 4 names or IP addresses, commas between",
            Self::Vlan => "a VLAN from 1 to 4094",
        }
    }
}

/// Longest [`Kind::expected`], so that a sentence with it fits a line of the console.
pub const EXPECTED_BYTES_MAX: usize = 46;

impl Property {
    /// The property called `key`.
    #[must_use]
    pub fn find(key: &str) -> Option<&'static Self> {
        PROPERTIES.iter().find(|property| property.key == key)
    }

    /// The value of `text`, or nothing when the field was left empty.
    ///
    /// # Errors
    /// When the text is longer than [`value::TEXT_BYTES_MAX`] or not of this property's kind.
    pub fn parse(&self, text: &str) -> Result<Option<Value>, ValueError> {
        value::parse(self.kind, text)
    }

    /// Its key in a product section of class `outgate`, where the part before the dot is the
    /// class: `edge` for `outgate.edge`.
    #[must_use]
    pub fn key_in_class(&self) -> &'static str {
        self.key.strip_prefix(KEY_PREFIX).unwrap_or(self.key)
    }

    /// The name of the QEMU fw_cfg item that carries this property: see [`fw_cfg_name`].
    #[must_use]
    pub fn fw_cfg_name(&self) -> String {
        fw_cfg_name(self.key)
    }
}

/// The name of the QEMU fw_cfg item for `key`: `opt/outgate/edge` for `outgate.edge`. In the
/// guest its content is `/sys/firmware/qemu_fw_cfg/by_name/<name>/raw`.
#[must_use]
pub fn fw_cfg_name(key: &str) -> String {
    format!(
        "{FW_CFG_PREFIX}{}",
        key.strip_prefix(KEY_PREFIX).unwrap_or(key)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_travels_as_opt_outgate_edge() {
        assert_eq!(fw_cfg_name("outgate.edge"), "opt/outgate/edge");
        assert_eq!(
            Property::find("outgate.edge").unwrap().fw_cfg_name(),
            "opt/outgate/edge"
        );
    }

    #[test]
    fn people_fill_in_everything_but_what_the_mint_writes() {
        let minted = PROPERTIES.iter().filter(|p| !p.user_configurable);
        let keys: Vec<_> = minted.map(|property| property.key).collect();
        assert_eq!(keys, ["outgate.name", "outgate.mac"]);
        assert_eq!(fw_cfg_name("outgate.mac"), "opt/outgate/mac");
    }

    #[test]
    fn no_key_has_a_second_dot() {
        // OVF forms the key in the environment as class.key, and allows no dot in either.
        for property in PROPERTIES {
            let key = property.key.strip_prefix(KEY_PREFIX).unwrap();
            assert!(!key.contains(['.', ':']), "{key}");
        }
    }

    #[test]
    fn every_key_is_ours_unique_and_short_enough_for_fw_cfg() {
        for (index, property) in PROPERTIES.iter().enumerate() {
            assert!(property.key.starts_with(KEY_PREFIX));
            assert!(property.fw_cfg_name().len() <= FW_CFG_NAME_BYTES_MAX);
            assert!(
                PROPERTIES[..index]
                    .iter()
                    .all(|other| other.key != property.key)
            );
        }
    }

    #[test]
    fn what_is_expected_fits_its_place() {
        for property in PROPERTIES {
            assert!(
                property.kind.expected().len() <= EXPECTED_BYTES_MAX,
                "{}",
                property.key
            );
        }
    }

    #[test]
    fn no_property_carries_a_secret() {
        for word in ["key", "password", "secret", "token", "credential"] {
            let names = |property: &Property| property.key.to_lowercase().contains(word);
            assert!(!PROPERTIES.iter().any(names), "{word}");
        }
    }

    #[test]
    fn defaults_are_values_of_their_own_kind() {
        for property in PROPERTIES {
            if let Some(text) = property.default {
                assert!(property.parse(text).unwrap().is_some(), "{}", property.key);
            }
        }
    }

    #[test]
    fn an_empty_field_is_no_value() {
        for property in PROPERTIES {
            assert_eq!(property.parse(" \n"), Ok(None), "{}", property.key);
        }
    }
}
