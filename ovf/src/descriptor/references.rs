//! Checks that every identifier of a descriptor is there once and every reference leads to one.
//!
//! An XML schema cannot say this of OVF, and importers fail on it late and vaguely.

use super::DescriptorError;
use super::parse::{attribute, child, children, is_rasd, number};
use super::shape::{DISK_RESOURCE, HARD_DISK};
use crate::shown::shown;
use crate::xml_reader::Element;

/// Files, disks, networks, controllers: from what is outside to what stands on it.
pub(super) fn check(root: &Element) -> Result<(), DescriptorError> {
    let files = attributes(root, "References", "File", "id")?;
    unique("File/ovf:id", &files)?;
    let names = attributes(root, "References", "File", "href")?;
    unique("File/ovf:href", &names)?;
    for reference in attributes(root, "DiskSection", "Disk", "fileRef")? {
        leads("Disk/ovf:fileRef", reference, &files)?;
    }
    let disks = attributes(root, "DiskSection", "Disk", "diskId")?;
    unique("Disk/ovf:diskId", &disks)?;
    let networks = attributes(root, "NetworkSection", "Network", "name")?;
    unique("Network/ovf:name", &networks)?;
    let hardware = child(child(root, "VirtualSystem")?, "VirtualHardwareSection")?;
    check_items(&items(hardware)?, &disks, &networks)
}

/// The values of one attribute of all elements of one name in a section.
fn attributes<'a>(
    root: &'a Element,
    section: &'static str,
    element: &'static str,
    name: &'static str,
) -> Result<Vec<&'a str>, DescriptorError> {
    let elements = children(child(root, section)?, element);
    elements.map(|element| attribute(element, name)).collect()
}

fn check_items(
    items: &[Item<'_>],
    disks: &[&str],
    networks: &[&str],
) -> Result<(), DescriptorError> {
    let mut instances = Vec::new();
    for item in items {
        let instance = item.text("InstanceID").unwrap_or_default();
        number::<u32>(instance, "Item/rasd:InstanceID")?;
        instances.push(instance);
    }
    unique("Item/rasd:InstanceID", &instances)?;
    for item in items {
        if let Some(parent) = item.text("Parent") {
            let others: Vec<&str> = instances
                .iter()
                .copied()
                .filter(|instance| Some(*instance) != item.text("InstanceID"))
                .collect();
            leads("Item/rasd:Parent", parent, &others)?;
        }
        if let Some(network) = item.text("Connection") {
            leads("Item/rasd:Connection", network, networks)?;
        }
        if item.text("ResourceType") == Some(HARD_DISK) {
            let resource = item.text("HostResource").unwrap_or_default();
            let disk = resource.strip_prefix(DISK_RESOURCE).unwrap_or(resource);
            leads("Item/rasd:HostResource", disk, disks)?;
        }
    }
    Ok(())
}

/// The Items of a virtual machine.
pub(super) fn items(hardware: &Element) -> Result<Vec<Item<'_>>, DescriptorError> {
    let items = children(hardware, "Item").map(Item);
    items.map(Item::in_order).collect()
}

/// An Item: a flat list of names and texts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a>(&'a Element);

impl<'a> Item<'a> {
    /// The text of a child.
    pub(super) fn text(self, name: &str) -> Option<&'a str> {
        let mut all = self.0.children.iter().filter(|child| is_rasd(child));
        let child = all.find(|child| child.name.local == name)?;
        Some(&child.text)
    }

    /// Itself, when its children are in alphabetical order, each once: the schema of DSP0243 1.1.1
    /// wants that, and importers that check it say only that the file is invalid.
    fn in_order(self) -> Result<Self, DescriptorError> {
        for pair in self.0.children.windows(2) {
            let [before, after] = pair else { continue };
            let (before, after) = (&before.name.local, &after.name.local);
            if before == after {
                return Err(DescriptorError::Duplicate {
                    at: "a child of Item".to_owned(),
                    value: shown(after),
                });
            }
            if before > after {
                return Err(DescriptorError::Child {
                    at: "Item".to_owned(),
                    found: Some(shown(before)),
                    wanted: Some(shown(after)),
                });
            }
        }
        Ok(self)
    }
}

fn leads(at: &str, reference: &str, known: &[&str]) -> Result<(), DescriptorError> {
    if known.contains(&reference) {
        return Ok(());
    }
    Err(DescriptorError::Dangling {
        at: at.to_owned(),
        reference: shown(reference),
        known: shown(&known.join(", ")),
    })
}

fn unique(at: &str, all: &[&str]) -> Result<(), DescriptorError> {
    for (index, value) in all.iter().enumerate() {
        if all[..index].contains(value) {
            return Err(DescriptorError::Duplicate {
                at: at.to_owned(),
                value: shown(value),
            });
        }
    }
    Ok(())
}
