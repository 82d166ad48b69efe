//! What tells one minted connector from another.

use std::fmt;
use std::str::FromStr;

use disk_format::guid::Guid;
use disk_format::slot::boot_key;
use ovf::mac::MacAddress;
use ovf::name::ConnectorName;
use ovf::property::EdgeName;
use sha2::{Digest, Sha256};

use crate::mint::settings::NetworkSettings;

/// Longest name of a connector group, in bytes.
pub const GROUP_BYTES_MAX: usize = 63;

/// A connector as it is minted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connector {
    /// Its name, which is also the name of its VM and of its files.
    pub name: ConnectorName,
    /// The address its network card has on every hypervisor.
    pub mac: MacAddress,
    /// The group it is meant for. For people: the provisioning key decides.
    pub group: Option<Group>,
    /// The service edge it connects to; otherwise the image's own, or the console asks.
    pub edge: Option<EdgeName>,
    /// Its network; what is not set is left to DHCP and IPv6 routers.
    pub network: NetworkSettings,
}

impl Connector {
    /// What its disk says about it, by the keys of the boot-state block.
    #[must_use]
    pub fn minted_values(&self) -> Vec<(&'static str, String)> {
        let edge = self.edge.as_ref().map(ToString::to_string);
        let group = self.group.as_ref().map(ToString::to_string);
        let mut values = vec![
            (boot_key::NAME, self.name.to_string()),
            (boot_key::MAC, self.mac.to_string()),
        ];
        values.extend(edge.map(|edge| (boot_key::EDGE, edge)));
        values.extend(group.map(|group| (boot_key::GROUP, group)));
        let network = self.network.iter();
        values
            .extend(network.map(|(property, value)| (property.key_in_class(), value.to_string())));
        values
    }

    /// The UUID of its VM, in lower case: from name and MAC alone, so that the same mint gives the
    /// same machine. Version 8 of RFC 9562, as all identifiers of the image.
    #[must_use]
    pub fn uuid(&self) -> String {
        let digest = Sha256::new()
            .chain_update(UUID_LABEL)
            .chain_update([0])
            .chain_update(self.name.as_str())
            .chain_update([0])
            .chain_update(self.mac.0)
            .finalize();
        Guid::from_digest(&digest.into())
            .to_string()
            .to_ascii_lowercase()
    }
}

/// The name of a connector group: 1 to 63 printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group(String);

impl Group {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Group {
    type Err = GroupError;

    fn from_str(text: &str) -> Result<Self, GroupError> {
        // GRUB's environment block has no backslashes, and a space at an end is lost by people.
        let allowed = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'\\';
        let is_group = (1..=GROUP_BYTES_MAX).contains(&text.len())
            && text.bytes().all(allowed)
            && text.trim() == text;
        if is_group {
            Ok(Self(text.into()))
        } else {
            Err(GroupError { text: text.into() })
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that names no connector group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupError {
    text: String,
}

impl fmt::Display for GroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.text.chars().take(GROUP_BYTES_MAX + 1).collect();
        write!(
            f,
            "connector group {shown:?} must be 1 to {GROUP_BYTES_MAX} printable ASCII characters \
             without backslash, and begin and end with something other than a space; it is for \
             people only, so an abbreviation will do"
        )
    }
}

impl std::error::Error for GroupError {}

/// What is hashed in front of name and MAC.
const UUID_LABEL: &str = "outgate machine v1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_what_a_person_can_read_and_grub_can_store() {
        let longest = "g".repeat(63);
        for good in ["Mumbai", "Mumbai West & East", "!", &longest] {
            assert_eq!(good.parse::<Group>().unwrap().as_str(), good);
        }
        let too_long = "g".repeat(64);
        for bad in [
            "", " ", " Mumbai", "Mumbai ", "a\\b", "a\nb", "Zürich", &too_long,
        ] {
            let said = bad.parse::<Group>().unwrap_err().to_string();
            assert!(said.contains("1 to 63 printable ASCII"), "{said}");
        }
    }

    #[test]
    fn a_machine_id_depends_on_name_and_mac_alone() {
        let one = connector("mumbai-01", "00:50:56:00:00:01");
        let edge = Some("edge.example.org".parse().unwrap());
        assert_eq!(
            Connector {
                edge,
                ..one.clone()
            }
            .uuid(),
            one.uuid()
        );
        for other in [
            connector("mumbai-02", "00:50:56:00:00:01"),
            connector("mumbai-01", "00:50:56:00:00:02"),
        ] {
            assert_ne!(other.uuid(), one.uuid());
        }
        assert_eq!(&one.uuid()[14..15], "8");
    }

    fn connector(name: &str, mac: &str) -> Connector {
        Connector {
            name: name.parse().unwrap(),
            mac: mac.parse().unwrap(),
            group: None,
            edge: None,
            network: NetworkSettings::default(),
        }
    }
}
