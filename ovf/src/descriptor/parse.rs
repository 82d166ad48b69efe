//! Reads a descriptor: takes out what differs between machines, checks where references lead, and
//! then compares the whole with what `emit` makes of the same values.
//!
//! So the shape is written down once, and nothing that `emit` does not write gets through. Only the
//! sentences for people may differ, since a later version may put them better.

use super::compare::compare;
use super::references::{self, Item};
use super::shape::{ETHERNET, MEMORY, OVF_NAMESPACE, PROCESSOR, PROPERTY_CLASS, RASD_NAMESPACE};
use super::{DESCRIPTOR_BYTES_MAX, Descriptor, DescriptorError, Disk};
use crate::file_name::{FILE_NAME_WANTED, is_file_name};
use crate::mac::MacAddress;
use crate::property::{KEY_PREFIX, PROPERTIES, Property};
use crate::shown::shown;
use crate::xml_reader::{self, Element};

pub(super) fn parse(text: &[u8]) -> Result<Descriptor, DescriptorError> {
    let root = xml_reader::read(text, DESCRIPTOR_BYTES_MAX).map_err(DescriptorError::Xml)?;
    if !root.name.is(OVF_NAMESPACE, "Envelope") {
        return Err(DescriptorError::Fixed {
            at: "the root element".to_owned(),
            found: shown(&root.name.local),
            wanted: "Envelope".to_owned(),
        });
    }
    references::check(&root)?;
    let descriptor = descriptor(&root)?;
    // Our own text; it is longer than the one read when that had no indent.
    let wanted = descriptor.emit();
    let wanted = xml_reader::read(wanted.as_bytes(), usize::MAX).map_err(DescriptorError::Xml)?;
    compare(&root, &wanted, "")?;
    Ok(descriptor)
}

/// What differs between machines. Each value is looked for where it must be; what is beside it is
/// not looked at.
fn descriptor(root: &Element) -> Result<Descriptor, DescriptorError> {
    let system = child(root, "VirtualSystem")?;
    let product = child(system, "ProductSection")?;
    let hardware = child(system, "VirtualHardwareSection")?;
    let annotation = child(child(system, "AnnotationSection")?, "Annotation")?;
    let items = references::items(hardware)?;
    Ok(Descriptor {
        name: child(system, "Name")?.text.clone(),
        version: child(product, "Version")?.text.clone(),
        full_version: child(product, "FullVersion")?.text.clone(),
        annotation: annotation.text.clone(),
        disk: disk(root)?,
        mac: mac(&items)?,
        cpus: quantity(&items, PROCESSOR, "the Item of the processors")?,
        memory_mib: quantity(&items, MEMORY, "the Item of the memory")?,
        properties: properties(product)?,
    })
}

fn disk(root: &Element) -> Result<Disk, DescriptorError> {
    let file = child(child(root, "References")?, "File")?;
    let disk = child(child(root, "DiskSection")?, "Disk")?;
    let capacity_mib: u64 = number(attribute(disk, "capacity")?, "Disk/ovf:capacity")?;
    let populated = attribute(disk, "populatedSize")?;
    let populated_bytes = populated.parse().ok();
    let file_name = attribute(file, "href")?;
    if !is_file_name(file_name) {
        return Err(value("File/ovf:href", file_name, FILE_NAME_WANTED));
    }
    let capacity_bytes = capacity_mib.checked_mul(1 << 20).ok_or_else(|| {
        let found = capacity_mib.to_string();
        value("Disk/ovf:capacity", &found, "a number of MiB below 2^44")
    })?;
    let populated_bytes = populated_bytes.filter(|bytes| *bytes <= capacity_bytes);
    Ok(Disk {
        file_name: file_name.to_owned(),
        file_bytes: number(attribute(file, "size")?, "File/ovf:size")?,
        capacity_mib,
        populated_bytes: populated_bytes.ok_or_else(|| {
            let wanted = "a number of bytes, at most the disk's capacity";
            value("Disk/ovf:populatedSize", populated, wanted)
        })?,
    })
}

fn mac(items: &[Item<'_>]) -> Result<Option<MacAddress>, DescriptorError> {
    let card = items
        .iter()
        .find(|item| item.text("ResourceType") == Some(ETHERNET));
    let Some(text) = card.and_then(|card| card.text("Address")) else {
        return Ok(None);
    };
    let mac = text
        .parse()
        .ok()
        .filter(|mac: &MacAddress| mac.is_unicast());
    let wanted = "a MAC address that a card can have, like 00:50:56:01:02:03: six pairs of \
                  hexadecimal digits, the first even, not all zero";
    mac.map(Some)
        .ok_or_else(|| value("the network card's rasd:Address", text, wanted))
}

fn quantity(items: &[Item<'_>], kind: &str, at: &str) -> Result<u32, DescriptorError> {
    let item = items
        .iter()
        .find(|item| item.text("ResourceType") == Some(kind));
    let text = item.and_then(|item| item.text("VirtualQuantity"));
    let text = text.ok_or_else(|| lacks(at, "rasd:VirtualQuantity"))?;
    number(text, &format!("{at}: rasd:VirtualQuantity"))
}

fn properties(product: &Element) -> Result<Vec<(&'static Property, String)>, DescriptorError> {
    let mut properties: Vec<(&'static Property, String)> = Vec::new();
    for element in children(product, "Property") {
        let key = attribute(element, "key")?;
        let known = || {
            let keys = PROPERTIES.iter().map(Property::key_in_class);
            keys.collect::<Vec<_>>().join(", ")
        };
        let found = Property::find(&format!("{KEY_PREFIX}{key}"));
        let property = found.ok_or_else(|| DescriptorError::Dangling {
            at: format!("Property/ovf:key of class {PROPERTY_CLASS}"),
            reference: shown(key),
            known: known(),
        })?;
        if properties
            .iter()
            .any(|(other, _)| other.key == property.key)
        {
            return Err(DescriptorError::Duplicate {
                at: "Property/ovf:key".to_owned(),
                value: shown(key),
            });
        }
        properties.push((property, attribute(element, "value")?.to_owned()));
    }
    Ok(properties)
}

/// The first child of a name in the envelope's namespace.
pub(super) fn child<'a>(
    parent: &'a Element,
    name: &'static str,
) -> Result<&'a Element, DescriptorError> {
    children(parent, name)
        .next()
        .ok_or_else(|| lacks(&parent.name.local, name))
}

pub(super) fn children<'a>(
    parent: &'a Element,
    name: &'static str,
) -> impl Iterator<Item = &'a Element> {
    let all = parent.children.iter();
    all.filter(move |child| child.name.is(OVF_NAMESPACE, name))
}

/// An attribute in the envelope's namespace.
pub(super) fn attribute<'a>(
    element: &'a Element,
    name: &'static str,
) -> Result<&'a str, DescriptorError> {
    let value = element.attribute(OVF_NAMESPACE, name);
    value.ok_or_else(|| DescriptorError::Attribute {
        at: shown(&element.name.local),
        name: format!("ovf:{name}"),
        is_extra: false,
    })
}

/// A number from 1, of digits alone.
pub(super) fn number<T: std::str::FromStr + PartialEq + From<u8>>(
    text: &str,
    at: &str,
) -> Result<T, DescriptorError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = if digits { text.parse().ok() } else { None };
    parsed
        .filter(|number| *number != T::from(0))
        .ok_or_else(|| value(at, text, "a number of digits alone, from 1"))
}

pub(super) fn value(at: &str, found: &str, wanted: &'static str) -> DescriptorError {
    DescriptorError::Value {
        at: at.to_owned(),
        found: shown(found),
        wanted,
    }
}

fn lacks(at: &str, wanted: &str) -> DescriptorError {
    DescriptorError::Child {
        at: shown(at),
        found: None,
        wanted: Some(wanted.to_owned()),
    }
}

/// Whether a name is one of an Item's children.
pub(super) fn is_rasd(element: &Element) -> bool {
    element.name.namespace == RASD_NAMESPACE
}

/// Fuzz body: no text makes the parser panic, and what is accepted is written so that it reads back
/// the same.
pub fn fuzz_descriptor(data: &[u8]) {
    match parse(data) {
        Ok(descriptor) => {
            let text = descriptor.emit();
            // A text without indent may become longer than what is read.
            if text.len() <= DESCRIPTOR_BYTES_MAX {
                assert_eq!(parse(text.as_bytes()), Ok(descriptor));
            }
        }
        Err(error) => assert!(error.to_string().is_ascii()),
    }
}
