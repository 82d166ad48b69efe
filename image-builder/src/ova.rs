//! The OVA: descriptor, manifest, certificate and disk in one archive, in this order.
//!
//! DSP0243 2.1.0 section 5. The order is what importers that read a stream need: the descriptor
//! first, then the digests, then the disk, which they check while it arrives.

mod error;

use disk_format::tar::{self, Entry};
use disk_format::vmdk::Vmdk;
use ovf::descriptor::{Descriptor, Disk};
use ovf::manifest;
use sha2::{Digest as _, Sha256};

pub use self::error::OvaError;
use crate::layout::MIB;
use crate::output::Artefact;
use crate::sign::Signer;

/// An OVA whose parts have been read and agree with one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ova {
    /// What its files are called, before the dot.
    pub name: String,
    /// The machine.
    pub descriptor: Descriptor,
    /// Its disk.
    pub vmdk: Vmdk,
    /// The time of its files, seconds since 1970.
    pub epoch: u32,
    /// The manifest's bytes: what a signature is about.
    pub manifest: Vec<u8>,
    /// The certificate file of a signed OVA. Its signature is not checked: see [`crate::sign::verify`].
    pub certificate: Option<Vec<u8>>,
}

/// The files of an OVA, and the OVA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// What the files are called, before the dot.
    pub name: String,
    /// The descriptor.
    pub ovf: Vec<u8>,
    /// The manifest.
    pub mf: Vec<u8>,
    /// The certificate file, when it is signed.
    pub cert: Option<Vec<u8>>,
    /// The disk.
    pub vmdk: Vec<u8>,
    /// All of them.
    pub ova: Vec<u8>,
}

impl Ova {
    /// Packs the machine `descriptor` with the disk `vmdk` into files called `name`. What the
    /// descriptor says about the disk's file is filled in here.
    ///
    /// # Errors
    /// When the name makes no file names, the disk no file, or the signer has no signature for it.
    pub fn pack(
        name: &str,
        descriptor: &Descriptor,
        vmdk: &Vmdk,
        epoch: u32,
        signer: Option<&Signer>,
    ) -> Result<Packed, OvaError> {
        let names = Names::new(name)?;
        let vmdk_bytes = vmdk.emit().map_err(OvaError::Vmdk)?;
        let descriptor = Descriptor {
            disk: disk(&names, vmdk, vmdk_bytes.len()),
            ..descriptor.clone()
        };
        let ovf = descriptor.emit().into_bytes();
        let digests = [
            (names.ovf.as_str(), Sha256::digest(&ovf).into()),
            (names.vmdk.as_str(), Sha256::digest(&vmdk_bytes).into()),
        ];
        let mf = manifest::emit(&digests).into_bytes();
        let cert = signer
            .map(|signer| signer.sign(&names.mf, &mf).map_err(OvaError::Sign))
            .transpose()?;

        let mut entries = vec![entry(&names.ovf, &ovf), entry(&names.mf, &mf)];
        entries.extend(cert.as_ref().map(|cert| entry(&names.cert, cert)));
        entries.push(entry(&names.vmdk, &vmdk_bytes));
        let ova = tar::emit(&entries, epoch).map_err(OvaError::Tar)?;
        Ok(Packed {
            name: name.into(),
            ovf,
            mf,
            cert,
            vmdk: vmdk_bytes,
            ova,
        })
    }

    /// Reads an OVA of the kind that [`Self::pack`] makes, and no other.
    ///
    /// # Errors
    /// When files are missing, in another order or called differently, a digest does not hold, or
    /// the descriptor does not describe the disk.
    pub fn parse(bytes: &[u8]) -> Result<Self, OvaError> {
        let entries = tar::parse(bytes).map_err(OvaError::Tar)?;
        let [ovf, mf, others @ ..] = entries.as_slice() else {
            return Err(OvaError::files(&entries));
        };
        let (cert, vmdk) = match others {
            [vmdk] => (None, vmdk),
            [cert, vmdk] => (Some(cert), vmdk),
            _ => return Err(OvaError::files(&entries)),
        };
        let name = ovf.name.strip_suffix(".ovf").unwrap_or_default();
        let names = Names::new(name).map_err(|_| OvaError::files(&entries))?;
        let cert_is_called_right = cert.is_none_or(|cert| cert.name == names.cert);
        if mf.name != names.mf || vmdk.name != names.vmdk || !cert_is_called_right {
            return Err(OvaError::files(&entries));
        }
        check_digests(mf.content, &[*ovf, *vmdk])?;

        let descriptor = Descriptor::parse(ovf.content).map_err(OvaError::Descriptor)?;
        let read = Vmdk::parse(vmdk.content).map_err(OvaError::Vmdk)?;
        let wanted = disk(&names, &read, vmdk.content.len());
        if descriptor.disk != wanted {
            return Err(OvaError::Disk {
                described: Box::new(descriptor.disk),
                found: Box::new(wanted),
            });
        }
        Ok(Self {
            name: name.into(),
            descriptor,
            vmdk: read,
            epoch: time(bytes),
            manifest: mf.content.to_vec(),
            certificate: cert.map(|cert| cert.content.to_vec()),
        })
    }
}

/// Fuzz body: the reader never panics, and what it accepts is the same when it is packed again.
pub fn fuzz_ova(data: &[u8]) {
    let Ok(ova) = Ova::parse(data) else { return };
    let packed = Ova::pack(&ova.name, &ova.descriptor, &ova.vmdk, ova.epoch, None)
        .expect("what was read can be written");
    let again = Ova::parse(&packed.ova).expect("what was written can be read");
    let unsigned = Ova {
        certificate: None,
        ..ova
    };
    assert_eq!(
        again, unsigned,
        "the reader accepted what is read otherwise"
    );
}

impl Packed {
    /// As files to be written.
    #[must_use]
    pub fn into_artefacts(self) -> Vec<Artefact> {
        let Self { name, .. } = self;
        let file = |extension: &str, content| Artefact {
            name: format!("{name}.{extension}"),
            content,
        };
        let mut files = vec![
            file("ova", self.ova),
            file("ovf", self.ovf),
            file("mf", self.mf),
        ];
        files.extend(self.cert.map(|cert| file("cert", cert)));
        files.push(file("vmdk", self.vmdk));
        files
    }
}

/// What the files of an OVA are called.
struct Names {
    ovf: String,
    mf: String,
    cert: String,
    vmdk: String,
}

impl Names {
    fn new(name: &str) -> Result<Self, OvaError> {
        let file = |extension| {
            let file = format!("{name}.{extension}");
            let is_good = !name.is_empty() && ovf::file_name::is_file_name(&file);
            is_good.then_some(file).ok_or_else(|| OvaError::Name {
                name: name.escape_debug().to_string(),
            })
        };
        Ok(Self {
            ovf: file("ovf")?,
            mf: file("mf")?,
            cert: file("cert")?,
            vmdk: file("vmdk")?,
        })
    }
}

/// What a descriptor is to say about a disk. The importer makes the capacity from whole MiB.
fn disk(names: &Names, vmdk: &Vmdk, file_bytes: usize) -> Disk {
    Disk {
        file_name: names.vmdk.clone(),
        file_bytes: file_bytes as u64,
        capacity_mib: vmdk.capacity_bytes().div_ceil(MIB),
        populated_bytes: vmdk.stored_bytes(),
    }
}

/// Checks that the manifest has exactly these files, in this order, with these contents.
fn check_digests(mf: &[u8], files: &[Entry<'_>]) -> Result<(), OvaError> {
    let listed = manifest::parse(mf).map_err(OvaError::Manifest)?;
    let names: Vec<&str> = listed.iter().map(|(name, _)| name.as_str()).collect();
    let wanted: Vec<&str> = files.iter().map(|file| file.name).collect();
    if names != wanted {
        return Err(OvaError::Listed {
            listed: names.join(", "),
            wanted: wanted.join(", "),
        });
    }
    for ((_, digest), file) in listed.iter().zip(files) {
        let found: [u8; 32] = Sha256::digest(file.content).into();
        if *digest != found {
            return Err(OvaError::Digest {
                file: file.name.into(),
                listed: *digest,
                found,
            });
        }
    }
    Ok(())
}

/// The time in the first header: eleven octal digits at 136 (POSIX ustar). The parser has checked
/// the header; a time that is none counts as 0.
fn time(archive: &[u8]) -> u32 {
    archive
        .get(136..147)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| u32::from_str_radix(digits, 8).ok())
        .unwrap_or(0)
}

const fn entry<'a>(name: &'a str, content: &'a [u8]) -> Entry<'a> {
    Entry { name, content }
}
