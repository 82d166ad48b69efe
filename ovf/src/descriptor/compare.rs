//! Compares a descriptor that was read with the one that it should be.

use super::DescriptorError;
use crate::shown::shown;
use crate::xml_reader::{Element, Name, is_blank};

/// Elements whose text is for people: any sentence will do.
const SENTENCES: &[&str] = &["Description", "Info", "Label"];

/// Names the first difference between `found` and `wanted`, which are at `path`.
pub(super) fn compare(
    found: &Element,
    wanted: &Element,
    path: &str,
) -> Result<(), DescriptorError> {
    let at = || {
        if path.is_empty() {
            "Envelope".to_owned()
        } else {
            path.to_owned()
        }
    };
    attributes(found, wanted, &at())?;
    text(found, wanted, &at())?;
    for (index, wanted_child) in wanted.children.iter().enumerate() {
        let found_child = found.children.get(index);
        match found_child.filter(|child| child.name == wanted_child.name) {
            Some(child) => compare(child, wanted_child, &below(path, wanted, index))?,
            None => {
                return Err(DescriptorError::Child {
                    at: at(),
                    found: found_child.map(|child| shown(&child.name.local)),
                    wanted: Some(wanted_child.name.local.clone()),
                });
            }
        }
    }
    match found.children.get(wanted.children.len()) {
        Some(extra) => Err(DescriptorError::Child {
            at: at(),
            found: Some(shown(&extra.name.local)),
            wanted: None,
        }),
        None => Ok(()),
    }
}

fn attributes(found: &Element, wanted: &Element, at: &str) -> Result<(), DescriptorError> {
    let differs = |name: &Name, is_extra| DescriptorError::Attribute {
        at: at.to_owned(),
        name: shown(&name.local),
        is_extra,
    };
    for (name, value) in &wanted.attributes {
        let other = found.attribute(&name.namespace, &name.local);
        let other = other.ok_or_else(|| differs(name, false))?;
        if other != value {
            return Err(fixed(&format!("{at}: {}", name.local), other, value));
        }
    }
    let is_wanted = |name: &Name| wanted.attributes.iter().any(|(known, _)| known == name);
    match found.attributes.iter().find(|(name, _)| !is_wanted(name)) {
        Some((name, _)) => Err(differs(name, true)),
        None => Ok(()),
    }
}

/// Only white space beside elements; the same text where there are none.
fn text(found: &Element, wanted: &Element, at: &str) -> Result<(), DescriptorError> {
    let is_leaf = wanted.children.is_empty() && found.children.is_empty();
    let is_sentence = SENTENCES.contains(&wanted.name.local.as_str());
    let is_equal = is_leaf && (is_sentence || found.text == wanted.text);
    if is_equal || !is_leaf && is_blank(&found.text) {
        return Ok(());
    }
    Err(fixed(at, found.text.trim(), wanted.text.trim()))
}

/// The path of a child, numbered when it has brothers of its name.
fn below(path: &str, parent: &Element, index: usize) -> String {
    let name = &parent.children[index].name;
    let is_brother = |child: &&Element| child.name == *name;
    let before = parent.children[..index].iter().filter(is_brother).count();
    let all = parent.children.iter().filter(is_brother).count();
    let slash = if path.is_empty() { "" } else { "/" };
    if all > 1 {
        format!("{path}{slash}{} {}", name.local, before + 1)
    } else {
        format!("{path}{slash}{}", name.local)
    }
}

fn fixed(at: &str, found: &str, wanted: &str) -> DescriptorError {
    DescriptorError::Fixed {
        at: at.to_owned(),
        found: shown(found),
        wanted: shown(wanted),
    }
}
