//! Pure: the network that a connector is minted for, by the same properties as hypervisors give.

use std::fmt;

use ovf::given::{Complaint, Given};
use ovf::property::{Kind, PROPERTIES, Property};
use ovf::settings::settings;
use ovf::value::{Ipv6Mode, Value, ValueError};

/// Settings of the network, in the order of the table of properties; each at most once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkSettings(Vec<(&'static Property, Value)>);

/// Why a setting is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingError {
    /// It says nothing.
    Empty,
    /// It is none.
    Value(ValueError),
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "is empty; give it a value, or leave it out"),
            Self::Value(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for SettingError {}

impl NetworkSettings {
    /// The properties that are settings of the network: those that people fill in, but the edge.
    pub fn properties() -> impl Iterator<Item = &'static Property> {
        PROPERTIES
            .iter()
            .filter(|property| property.user_configurable && property.kind != Kind::Edge)
    }

    /// Sets one of [`Self::properties`], in place of what it was.
    ///
    /// # Errors
    /// When the text is empty or not of the property's kind.
    pub fn set(&mut self, property: &'static Property, text: &str) -> Result<(), SettingError> {
        let value = property.parse(text).map_err(SettingError::Value)?;
        let value = value.ok_or(SettingError::Empty)?;
        self.0.retain(|(held, _)| held.key != property.key);
        self.0.push((property, value));
        let place = |wanted: &Property| PROPERTIES.iter().position(|one| one.key == wanted.key);
        self.0.sort_by_key(|(property, _)| place(property));
        Ok(())
    }

    /// The settings.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Property, &Value)> {
        self.0.iter().map(|(property, value)| (*property, value))
    }

    /// The value of one.
    #[must_use]
    pub fn value(&self, property: &Property) -> Option<&Value> {
        let mut all = self.iter();
        all.find_map(|(held, value)| (held.key == property.key).then_some(value))
    }

    /// Whether everything is left to the network.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A setting that no two machines can share.
    #[must_use]
    pub fn of_one_machine(&self) -> Option<(&'static Property, &Value)> {
        self.iter().find(|(_, value)| {
            matches!(
                value,
                Value::Address(_) | Value::Hostname(_) | Value::Ipv6(Ipv6Mode::Static(_))
            )
        })
    }

    /// Checks that the settings hold together, as the machine will.
    ///
    /// # Errors
    /// The first thing that it would not use, with its reason.
    pub fn check(&self) -> Result<(), Complaint> {
        let given = Given {
            values: self.0.clone(),
            complaints: Vec::new(),
        };
        let (_, complaints) = settings(given);
        complaints.into_iter().next().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[(&str, &str)]) -> NetworkSettings {
        let mut network = NetworkSettings::default();
        for (key, text) in texts {
            network.set(Property::find(key).unwrap(), text).unwrap();
        }
        network
    }

    #[test]
    fn settings_are_in_the_order_of_the_table_whatever_the_order_they_came_in() {
        let network = of(&[
            ("outgate.vlan", "7"),
            ("outgate.gateway", "192.0.2.1"),
            ("outgate.address", "192.0.2.10/24"),
            ("outgate.vlan", "8"),
        ]);
        let all: Vec<_> = network.iter().map(|(_, value)| value.to_string()).collect();
        assert_eq!(all, ["192.0.2.10/24", "192.0.2.1", "8"]);
        assert_eq!(network.check(), Ok(()));
    }

    #[test]
    fn a_gateway_without_its_address_is_refused_with_the_option_and_the_reason() {
        let error = of(&[("outgate.gateway", "192.0.2.1")]).check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "gateway 192.0.2.1 needs a good address beside it"
        );
    }

    #[test]
    fn addresses_and_names_are_of_one_machine_and_servers_are_not() {
        for (key, text) in [
            ("outgate.address", "192.0.2.10/24"),
            ("outgate.hostname", "mumbai-01"),
            ("outgate.ipv6", "2001:db8::10/64"),
        ] {
            assert!(of(&[(key, text)]).of_one_machine().is_some(), "{key}");
        }
        let shared = of(&[
            ("outgate.ntp", "192.0.2.1"),
            ("outgate.resolvers", "192.0.2.1"),
            ("outgate.ipv6", "off"),
            ("outgate.vlan", "7"),
            ("outgate.proxy", "proxy:3128"),
        ]);
        assert_eq!(shared.of_one_machine(), None);
    }
}
