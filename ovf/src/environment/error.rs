//! Why an environment is refused as a whole.

use std::fmt;

use super::{ENVIRONMENT_NAMESPACE, ENVIRONMENT_PROPERTIES_MAX};
use crate::xml_reader::XmlError;

/// Why an environment is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvironmentError {
    /// Two properties have one key: which was meant is anybody's guess.
    Duplicate {
        /// The key, escaped.
        key: String,
    },
    /// A property lacks one of its two attributes.
    NoAttribute {
        /// Which: `key` or `value`.
        attribute: &'static str,
        /// The property's number in the document, from 1.
        property: usize,
    },
    /// The root element is another.
    NotEnvironment {
        /// Its name, escaped.
        found: String,
    },
    /// There are too many properties.
    TooManyProperties,
    /// The text is not XML as far as it is accepted here.
    Xml(XmlError),
}

impl fmt::Display for EnvironmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OVF environment: ")?;
        match self {
            Self::Duplicate { key } => {
                write!(f, "property \"{key}\" is given twice; give each once")
            }
            Self::NoAttribute {
                attribute,
                property,
            } => write!(
                f,
                "Property number {property} has no attribute oe:{attribute} of namespace \
                 {ENVIRONMENT_NAMESPACE}; deploy the machine again"
            ),
            Self::NotEnvironment { found } => write!(
                f,
                "the root element is \"{found}\"; it must be Environment of namespace \
                 {ENVIRONMENT_NAMESPACE}"
            ),
            Self::TooManyProperties => write!(
                f,
                "more than {ENVIRONMENT_PROPERTIES_MAX} properties; remove those that are not ours"
            ),
            Self::Xml(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for EnvironmentError {}
