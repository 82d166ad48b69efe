//! Why an OVA cannot be packed or read.

use std::fmt;

use disk_format::tar::{Entry, TarError};
use disk_format::vmdk::VmdkError;
use ovf::descriptor::{DescriptorError, Disk};
use ovf::manifest::ManifestError;

use crate::output::hex;
use crate::sign::SignError;

/// Why an OVA cannot be packed or read.
#[derive(Debug)]
#[non_exhaustive]
pub enum OvaError {
    /// The descriptor is not one of ours.
    Descriptor(DescriptorError),
    /// A digest of the manifest does not hold.
    Digest {
        /// The file.
        file: String,
        /// What the manifest says.
        listed: [u8; 32],
        /// What the file has.
        found: [u8; 32],
    },
    /// The descriptor describes another disk.
    Disk {
        /// What it says.
        described: Box<Disk>,
        /// What is there.
        found: Box<Disk>,
    },
    /// The archive holds other files, or in another order.
    Files {
        /// Their names.
        names: String,
    },
    /// The manifest lists other files.
    Listed {
        /// What it lists.
        listed: String,
        /// What it should.
        wanted: String,
    },
    /// The manifest is none.
    Manifest(ManifestError),
    /// A name that makes no file names.
    Name {
        /// The name, escaped.
        name: String,
    },
    /// There is no signature for this manifest.
    Sign(SignError),
    /// The archive is none, or cannot be made.
    Tar(TarError),
    /// The disk is none, or cannot be written.
    Vmdk(VmdkError),
}

impl OvaError {
    /// The archive's files are not what an OVA has.
    pub(super) fn files(entries: &[Entry<'_>]) -> Self {
        let names: Vec<&str> = entries.iter().map(|entry| entry.name).collect();
        Self::Files {
            names: names.join(", "),
        }
    }
}

impl fmt::Display for OvaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Descriptor(error) => write!(f, "{error}"),
            Self::Digest {
                file,
                listed,
                found,
            } => write!(
                f,
                "{file} has sha256 {}, the manifest says {}: one of them was changed; fetch the \
                 OVA again",
                hex(found),
                hex(listed)
            ),
            Self::Disk { described, found } => write!(
                f,
                "the descriptor describes the disk {}, and the disk is {}; pack the OVA again",
                show(described),
                show(found)
            ),
            Self::Files { names } => write!(
                f,
                "the archive holds [{names}]; an OVA of ours holds NAME.ovf, NAME.mf, NAME.cert \
                 when it is signed, NAME.vmdk, in this order"
            ),
            Self::Listed { listed, wanted } => write!(
                f,
                "the manifest lists [{listed}], and the files to be listed are [{wanted}]"
            ),
            Self::Manifest(error) => write!(f, "{error}"),
            Self::Name { name } => write!(
                f,
                "\"{name}\" makes no file names; use letters, digits, dots, dashes and \
                 underscores, at most 95 of them"
            ),
            Self::Sign(error) => write!(f, "{error}"),
            Self::Tar(error) => write!(f, "OVA: {error}"),
            Self::Vmdk(error) => write!(f, "VMDK: {error}"),
        }
    }
}

impl std::error::Error for OvaError {}

fn show(disk: &Disk) -> String {
    let Disk {
        file_name,
        file_bytes,
        capacity_mib,
        populated_bytes,
    } = disk;
    format!(
        "{file_name} ({file_bytes} bytes in the file, {capacity_mib} MiB on the disk, \
         {populated_bytes} bytes populated)"
    )
}
