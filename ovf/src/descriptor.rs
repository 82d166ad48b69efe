//! The OVF descriptor: one virtual machine as every hypervisor's import wants it (DSP0243 1.1.1).
//!
//! [`Descriptor`] holds what differs between machines; the shape is fixed in [`shape`], and
//! `emit` and `parse` are two readings of it. What an XML schema cannot say (references that lead
//! nowhere, a MAC address that no card can have) is checked by `parse`.

mod emit;
pub mod shape;

#[cfg(feature = "xml")]
mod compare;
#[cfg(feature = "xml")]
mod error;
#[cfg(feature = "xml")]
mod parse;
#[cfg(feature = "xml")]
mod references;
#[cfg(test)]
mod tests;

#[cfg(feature = "xml")]
pub use error::DescriptorError;
#[cfg(feature = "xml")]
pub use parse::fuzz_descriptor;

use crate::mac::MacAddress;
use crate::property::Property;

/// Longest descriptor that is read, in bytes: one of ours has less than a tenth of it.
pub const DESCRIPTOR_BYTES_MAX: usize = 64 * 1024;

/// One virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its name in the hypervisor's list: the connector's, or the product's when it has none.
    pub name: String,
    /// Version of the product, like `0.1.0`.
    pub version: String,
    /// Version with everything that identifies the build, like `0.1.0 (commit 0123abcd)`.
    pub full_version: String,
    /// What the person who deploys it should read first; shown by vSphere as the machine's notes.
    pub annotation: String,
    /// Its disk.
    pub disk: Disk,
    /// MAC address pinned to its network card; without one the hypervisor chooses.
    pub mac: Option<MacAddress>,
    /// Number of virtual processors, at least 1.
    pub cpus: u32,
    /// Memory in MiB, at least 1.
    pub memory_mib: u32,
    /// Settings that the guest can read, each with the value it begins with (empty: none). An empty
    /// list leaves the OVF environment out altogether.
    pub properties: Vec<(&'static Property, String)>,
}

/// The one disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Name of its file beside the descriptor ([`crate::file_name::is_file_name`]).
    pub file_name: String,
    /// Size of that file, in bytes.
    pub file_bytes: u64,
    /// What the guest sees, in MiB; at least 1.
    pub capacity_mib: u64,
    /// How much of it is not zeros, in bytes: what a thin disk takes after the import.
    pub populated_bytes: u64,
}

impl Descriptor {
    /// The descriptor's text. Equal descriptors have equal bytes. A character that XML cannot say
    /// becomes U+FFFD.
    #[must_use]
    pub fn emit(&self) -> String {
        emit::emit(self)
    }

    /// Reads a descriptor of the shape that [`Self::emit`] writes, and no other: the same elements
    /// and attributes in the same order, with every reference leading somewhere.
    ///
    /// # Errors
    /// When the text is longer than [`DESCRIPTOR_BYTES_MAX`], is not XML, declares a document type,
    /// or departs from the shape; the error names the element, the value and the remedy.
    #[cfg(feature = "xml")]
    pub fn parse(text: &[u8]) -> Result<Self, DescriptorError> {
        parse::parse(text)
    }
}
