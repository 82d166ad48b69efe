//! The OVF environment: what the hypervisor tells the guest (DSP0243 section 11, schema dsp8027).
//!
//! Hostile input: bounded before it is looked at, no document type, no entity but the five of XML.
//! A value that is wrong costs that setting alone; a document that is wrong costs all of them, since
//! nothing says then what was meant.

#[cfg(feature = "xml")]
mod error;
#[cfg(feature = "xml")]
mod parse;
#[cfg(test)]
mod tests;

#[cfg(feature = "xml")]
pub use error::EnvironmentError;
#[cfg(feature = "xml")]
pub use parse::{fuzz_environment, parse};

use std::fmt;

use crate::property::Property;
use crate::value::{Value, ValueError};

/// Longest environment that is read, in bytes.
pub const ENVIRONMENT_BYTES_MAX: usize = 64 * 1024;
/// Most properties in an environment, those of others included.
pub const ENVIRONMENT_PROPERTIES_MAX: usize = 64;
/// Namespace of the environment.
pub const ENVIRONMENT_NAMESPACE: &str = "http://schemas.dmtf.org/ovf/environment/1";

/// What an environment says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// The values of our properties, in the order of the document. One left empty is not here.
    pub values: Vec<(&'static Property, Value)>,
    /// What could not be understood, in the order of the document.
    pub problems: Vec<PropertyProblem>,
}

impl Environment {
    /// The value of the property called `key`.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        let found = self.values.iter().find(|(property, _)| property.key == key);
        found.map(|(_, value)| value)
    }
}

/// Why one setting was passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PropertyProblem {
    /// No property of ours has this key, though it begins like one.
    UnknownKey {
        /// The key, escaped.
        key: String,
    },
    /// The value is not of the property's kind.
    Value {
        /// Which property.
        property: &'static Property,
        /// What is wrong with it.
        error: ValueError,
    },
}

impl fmt::Display for PropertyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { key } => write!(
                f,
                "OVF property \"{key}\" is not one of this version; remove it from the machine's \
                 vApp options"
            ),
            Self::Value { property, error } => write!(f, "OVF property {}: {error}", property.key),
        }
    }
}
