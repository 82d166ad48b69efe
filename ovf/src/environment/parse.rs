//! Reads an environment.

use super::{
    ENVIRONMENT_BYTES_MAX, ENVIRONMENT_NAMESPACE, ENVIRONMENT_PROPERTIES_MAX, EnvironmentError,
};
use crate::given::{Given, SENTENCE_BYTES_MAX};
use crate::property::{KEY_PREFIX, Property};
use crate::settings::settings;
use crate::shown::shown;
use crate::xml_reader::{self, Element};

/// What the environment `document` says about this machine. Sections of other namespaces, other
/// machines of the same vApp and keys that do not begin like ours are passed over.
///
/// # Errors
/// When the document is longer than [`ENVIRONMENT_BYTES_MAX`], not well-formed XML, declares a
/// document type, is no environment, or gives more than [`ENVIRONMENT_PROPERTIES_MAX`] properties or
/// one of them twice. A value that is wrong is no error but one of [`Given::complaints`].
pub fn parse(document: &[u8]) -> Result<Given, EnvironmentError> {
    let root = xml_reader::read(document, ENVIRONMENT_BYTES_MAX).map_err(EnvironmentError::Xml)?;
    if !root.name.is(ENVIRONMENT_NAMESPACE, "Environment") {
        let found = shown(&root.name.local);
        return Err(EnvironmentError::NotEnvironment { found });
    }
    let mut given = Given::default();
    let mut keys: Vec<&str> = Vec::new();
    for property in properties(&root) {
        let number = keys.len() + 1;
        if number > ENVIRONMENT_PROPERTIES_MAX {
            return Err(EnvironmentError::TooManyProperties);
        }
        let key = attribute(property, "key", number)?;
        let value = attribute(property, "value", number)?;
        if keys.contains(&key) {
            let key = shown(key);
            return Err(EnvironmentError::Duplicate { key });
        }
        keys.push(key);
        take(&mut given, key, value);
    }
    Ok(given)
}

/// The properties of this machine; those of its neighbours are inside elements called Entity.
fn properties(root: &Element) -> impl Iterator<Item = &Element> {
    let named =
        |name: &'static str| move |element: &&Element| element.name.is(ENVIRONMENT_NAMESPACE, name);
    let sections = root.children.iter().filter(named("PropertySection"));
    sections.flat_map(move |section| section.children.iter().filter(named("Property")))
}

fn attribute<'a>(
    property: &'a Element,
    attribute: &'static str,
    number: usize,
) -> Result<&'a str, EnvironmentError> {
    let value = property.attribute(ENVIRONMENT_NAMESPACE, attribute);
    value.ok_or(EnvironmentError::NoAttribute {
        attribute,
        property: number,
    })
}

/// Notes one property of the document.
fn take(given: &mut Given, key: &str, text: &str) {
    if let Some(property) = Property::find(key) {
        given.take(property, text);
    } else if key.starts_with(KEY_PREFIX) {
        given.take_unknown(key, text);
    }
}

/// Fuzz body: no document makes the parser panic, and what it says is bounded and can be shown.
pub fn fuzz_environment(data: &[u8]) {
    match parse(data) {
        Ok(given) => {
            let said = given.values.len() + given.complaints.len();
            assert!(said <= ENVIRONMENT_PROPERTIES_MAX);
            let (_, complaints) = settings(given);
            assert!(complaints.len() <= said);
            for complaint in &complaints {
                let sentence = complaint.sentence("The OVF environment");
                assert!(sentence.is_ascii() && sentence.len() <= SENTENCE_BYTES_MAX);
            }
        }
        Err(error) => assert!(error.to_string().is_ascii()),
    }
}
