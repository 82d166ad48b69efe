//! Why a descriptor is refused.

use std::fmt;

use crate::xml_reader::XmlError;

/// Why a descriptor is refused. `at` is the path of an element, with the number of it where there
/// are several: `VirtualHardwareSection/Item 5/Address`. What was found is escaped and cut short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DescriptorError {
    /// An element has an attribute too many, or lacks one.
    Attribute {
        /// Which element.
        at: String,
        /// Which attribute.
        name: String,
        /// Whether it is there and should not be.
        is_extra: bool,
    },
    /// An element is where another one, or none, should be: wrong order, too many, too few.
    Child {
        /// The element around it.
        at: String,
        /// What is there; nothing at the end.
        found: Option<String>,
        /// What should be there; nothing at the end.
        wanted: Option<String>,
    },
    /// A reference leads nowhere.
    Dangling {
        /// Which element or attribute.
        at: String,
        /// Where it should lead.
        reference: String,
        /// Where it could lead.
        known: String,
    },
    /// Two elements have one identifier.
    Duplicate {
        /// Which element or attribute.
        at: String,
        /// The identifier.
        value: String,
    },
    /// A text that is the same in every descriptor of ours is another one.
    Fixed {
        /// Which element or attribute.
        at: String,
        /// What is there.
        found: String,
        /// What should be there.
        wanted: String,
    },
    /// A value is not of its kind.
    Value {
        /// Which element or attribute.
        at: String,
        /// What is there.
        found: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The text is not XML as far as it is accepted here.
    Xml(XmlError),
}

impl fmt::Display for DescriptorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OVF descriptor: ")?;
        match self {
            Self::Attribute { at, name, is_extra } => {
                let verb = if *is_extra {
                    "has an attribute"
                } else {
                    "lacks the attribute"
                };
                let remedy = if *is_extra { "remove" } else { "add" };
                write!(f, "{at} {verb} {name}; {remedy} it")
            }
            Self::Child { at, found, wanted } => match (found, wanted) {
                (Some(found), Some(wanted)) => write!(
                    f,
                    "{at} has {found} where {wanted} must stand; put or add {wanted} there"
                ),
                (Some(found), None) => {
                    write!(f, "{at} has {found} behind its last element; remove it")
                }
                (None, wanted) => {
                    let wanted = wanted.as_deref().unwrap_or("an element");
                    write!(f, "{at} lacks {wanted}; add it")
                }
            },
            Self::Dangling {
                at,
                reference,
                known,
            } => write!(
                f,
                "{at} refers to \"{reference}\", which does not exist; refer to one of: {known}"
            ),
            Self::Duplicate { at, value } => {
                write!(f, "{at}: \"{value}\" is there twice; give each its own")
            }
            Self::Fixed { at, found, wanted } => {
                write!(f, "{at} is \"{found}\"; it must be \"{wanted}\"")
            }
            Self::Value { at, found, wanted } => {
                write!(f, "{at} is \"{found}\"; it must be {wanted}")
            }
            Self::Xml(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for DescriptorError {}
