//! Reads an environment.

use super::{
    ENVIRONMENT_BYTES_MAX, ENVIRONMENT_NAMESPACE, ENVIRONMENT_PROPERTIES_MAX, Environment,
    EnvironmentError, PropertyProblem,
};
use crate::property::{KEY_PREFIX, Property};
use crate::shown::shown;
use crate::xml_reader::{self, Element};

/// What the environment `document` says about this machine. Sections of other namespaces, other
/// machines of the same vApp and keys that do not begin like ours are passed over.
///
/// # Errors
/// When the document is longer than [`ENVIRONMENT_BYTES_MAX`], not well-formed XML, declares a
/// document type, is no environment, or gives more than [`ENVIRONMENT_PROPERTIES_MAX`] properties or
/// one of them twice. A value that is wrong is no error but one of [`Environment::problems`].
pub fn parse(document: &[u8]) -> Result<Environment, EnvironmentError> {
    let root = xml_reader::read(document, ENVIRONMENT_BYTES_MAX).map_err(EnvironmentError::Xml)?;
    if !root.name.is(ENVIRONMENT_NAMESPACE, "Environment") {
        let found = shown(&root.name.local);
        return Err(EnvironmentError::NotEnvironment { found });
    }
    let mut environment = Environment::default();
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
        environment.take(key, value);
    }
    Ok(environment)
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

impl Environment {
    /// Notes one property of the document.
    fn take(&mut self, key: &str, text: &str) {
        let Some(property) = Property::find(key) else {
            if key.starts_with(KEY_PREFIX) {
                let key = shown(key);
                self.problems.push(PropertyProblem::UnknownKey { key });
            }
            return;
        };
        match property.parse(text) {
            Ok(Some(value)) => self.values.push((property, value)),
            Ok(None) => {}
            Err(error) => self
                .problems
                .push(PropertyProblem::Value { property, error }),
        }
    }
}

/// Fuzz body: no document makes the parser panic, and what it says is bounded and can be shown.
pub fn fuzz_environment(data: &[u8]) {
    match parse(data) {
        Ok(environment) => {
            let said = environment.values.len() + environment.problems.len();
            assert!(said <= ENVIRONMENT_PROPERTIES_MAX);
            for problem in &environment.problems {
                assert!(problem.to_string().is_ascii());
            }
        }
        Err(error) => assert!(error.to_string().is_ascii()),
    }
}
