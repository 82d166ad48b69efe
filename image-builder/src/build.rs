//! The steps of an image build in order, each told as it ends.

mod epoch;
mod facts;
mod limits;
mod steps;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use disk_format::qcow2;
use disk_format::slot::partition;
use disk_format::vmdk::Vmdk;
use ovf::descriptor::{Descriptor, Disk};
use ovf::property::{EdgeName, PROPERTIES};

pub use self::epoch::epoch;
pub use self::steps::{Steps, mib};
use crate::layout::{self, Layout};
use crate::output::{self, Artefact, Scratch};
use crate::ova::Ova;
use crate::provenance::{KernelFacts, Provenance, commit_in_words};
use crate::recipe::{INITRAMFS, MACHINE, PARTITIONS, Source};
use crate::sign::Signer;
use crate::slot::System;
use crate::{Error, assemble, boot, kernel, sbom, slot};

/// What the files of an image are called, before the dot.
pub const NAME: &str = "outgate";
/// The disk as it is.
pub const RAW: &str = "outgate.raw";
/// The disk image for QEMU/KVM.
pub const QCOW2: &str = "outgate.qcow2";
/// The archive that vSphere imports.
pub const OVA: &str = "outgate.ova";
/// The signature of a signed image.
pub const CERT: &str = "outgate.cert";
/// The bill of materials for scanners.
pub const SBOM: &str = "outgate.cdx.json";
/// What the image was built from, as text.
pub const MANIFEST: &str = "outgate.txt";

/// Where things come from and go to.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the artefacts go.
    pub out: PathBuf,
    /// Where the compiled programs of the appliance are.
    pub binaries: PathBuf,
    /// The edge of an image that is made for one site.
    pub edge: Option<EdgeName>,
    /// A bzImage to use; otherwise the project's kernel is built or taken from the cache.
    pub kernel: Option<PathBuf>,
    /// Who signs the OVA.
    pub signing: Signing,
}

/// Who signs the OVA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signing {
    /// Nobody.
    None,
    /// The owner of a private key and its certificate, both PEM files.
    With {
        /// The private key.
        key: PathBuf,
        /// Its certificate.
        certificate: PathBuf,
    },
    /// Whoever made this certificate file, which must sign the same manifest.
    Like(PathBuf),
}

/// What artefacts are made from.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// What goes into the disk.
    pub system: &'a System,
    /// What all of it was made from.
    pub provenance: &'a Provenance,
    /// Who signs the OVA.
    pub signer: Option<&'a Signer>,
    /// How many threads compress. The result does not depend on it.
    pub threads: NonZeroUsize,
}

/// Builds the image and writes it to `options.out`; returns what was written, without the sums.
///
/// # Errors
/// Every [`Error`] names what to do. Artefacts of an earlier build stay whole.
pub fn build(options: &Options) -> Result<Vec<Artefact>, Error> {
    let mut steps = Steps::new();
    // What can be missing is looked for before the kernel, which may take minutes.
    boot::check_installed()?;
    let binaries = load_binaries(&options.binaries)?;
    let signer = load_signer(&options.signing)?;
    let epoch = epoch()?;
    let (kernel, facts) = load_kernel(options.kernel.as_deref())?;
    steps.done(&format!("kernel {}, {}", facts.version, mib(kernel.len())));
    let provenance = Provenance::collect(facts)?;
    steps.done(&format!(
        "source tree {}, {}",
        provenance.source_tree,
        commit_in_words(&provenance.source_tree)
    ));

    let system = System {
        version: env!("CARGO_PKG_VERSION").into(),
        epoch,
        edge: options.edge.clone(),
        binaries,
        kernel,
    };
    let inputs = Inputs {
        system: &system,
        provenance: &provenance,
        signer: signer.as_ref(),
        threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
    };
    std::fs::create_dir_all(&options.out).map_err(Error::file(&options.out))?;
    let scratch = Scratch::new(&options.out)?;
    let artefacts = artefacts(&inputs, scratch.path(), &mut steps)?;
    write(&options.out, &artefacts)?;
    steps.done(&format!("written to {}", options.out.display()));
    Ok(artefacts)
}

/// The artefacts of `inputs`: the same bytes for the same input, wherever `scratch` is.
///
/// # Errors
/// As [`build`].
pub fn artefacts(
    inputs: &Inputs<'_>,
    scratch: &Path,
    steps: &mut Steps,
) -> Result<Vec<Artefact>, Error> {
    let Inputs {
        system, provenance, ..
    } = *inputs;
    let mut facts = facts::Facts::new(system, provenance);
    let disk = disk(system, scratch, &mut facts, steps)?;
    let qcow2 = qcow2::emit(&disk).map_err(Error::format)?;
    steps.done(&format!(
        "qcow2, {} for a disk of {}",
        mib(qcow2.len()),
        mib(disk.len())
    ));
    let vmdk = Vmdk::from_disk(&disk, inputs.threads).map_err(Error::format)?;
    let packed = Ova::pack(
        NAME,
        &descriptor(system, provenance),
        &vmdk,
        system.epoch,
        inputs.signer,
    )
    .map_err(Error::Ova)?;
    steps.done(&format!(
        "OVA, {}, compressed by {} threads",
        mib(packed.ova.len()),
        inputs.threads
    ));

    let mut artefacts = vec![file(RAW, disk), file(QCOW2, qcow2)];
    artefacts.extend(packed.into_artefacts());
    artefacts.push(file(SBOM, sbom::emit(system, provenance).into_bytes()));
    limits::check(&artefacts)?;
    for artefact in &artefacts {
        facts.output(&artefact.name, &artefact.content);
    }
    artefacts.push(file(MANIFEST, facts.into_text().into_bytes()));
    steps.done(&format!("digests; {}", limits::in_words(&artefacts)));
    Ok(artefacts)
}

/// The disk, its parts noted in `facts`.
fn disk(
    system: &System,
    scratch: &Path,
    facts: &mut facts::Facts,
    steps: &mut Steps,
) -> Result<Vec<u8>, Error> {
    let initramfs = slot::initramfs(INITRAMFS, system)?;
    facts.part("initramfs", &initramfs);
    steps.done(&format!("initramfs, {}", mib(initramfs.len())));
    let slot = slot::slot(&system.version, &system.kernel, &initramfs)?;
    facts.part("slot-a", &slot);
    let layout = layout::layout(PARTITIONS).map_err(Error::format)?;
    let grub = boot::grub(core_lba(&layout), scratch)?;
    facts.part("grub-bios", &grub.core);
    facts.part("grub-uefi", &grub.efi);
    steps.done(&format!(
        "GRUB, BIOS {}, UEFI {}",
        mib(grub.core.len()),
        mib(grub.efi.len())
    ));
    assemble::disk(&layout, PARTITIONS, &grub, &slot)
}

fn core_lba(layout: &Layout) -> u64 {
    layout
        .table
        .find(partition::BIOS)
        .map_or(0, |partition| partition.first_lba)
}

/// The machine that the OVA describes. [`Ova::pack`] fills in the disk.
fn descriptor(system: &System, provenance: &Provenance) -> Descriptor {
    let tree = provenance.source_tree.get(..12).unwrap_or_default();
    Descriptor {
        name: MACHINE.name.into(),
        version: system.version.clone(),
        full_version: format!("{} (source tree {tree})", system.version),
        annotation: MACHINE.annotation.into(),
        disk: Disk {
            file_name: String::new(),
            file_bytes: 0,
            capacity_mib: 0,
            populated_bytes: 0,
        },
        mac: None,
        cpus: MACHINE.cpus,
        memory_mib: MACHINE.memory_mib,
        // Name and MAC address travel on the disk, which reaches the guest on every hypervisor.
        properties: PROPERTIES
            .iter()
            .filter(|property| property.user_configurable)
            .map(|property| (property, String::new()))
            .collect(),
    }
}

/// Writes the artefacts; a signature of an earlier image does not stay beside an unsigned one.
fn write(out: &Path, artefacts: &[Artefact]) -> Result<(), Error> {
    output::write(out, artefacts)?;
    let cert = out.join(CERT);
    if artefacts.iter().any(|artefact| artefact.name == CERT) || !cert.exists() {
        return Ok(());
    }
    std::fs::remove_file(&cert).map_err(Error::file(&cert))
}

fn file(name: &str, content: Vec<u8>) -> Artefact {
    Artefact {
        name: name.into(),
        content,
    }
}

fn load_signer(signing: &Signing) -> Result<Option<Signer>, Error> {
    let read = |path: &Path| std::fs::read(path).map_err(Error::file(path));
    match signing {
        Signing::None => Ok(None),
        Signing::With { key, certificate } => {
            let signer = Signer::from_pem(&read(key)?, &read(certificate)?);
            signer.map(Some).map_err(Error::Sign)
        }
        Signing::Like(file) => Ok(Some(Signer::repeating(&read(file)?))),
    }
}

/// The kernel's bytes, and what is known about it.
fn load_kernel(given: Option<&Path>) -> Result<(Vec<u8>, KernelFacts), Error> {
    let read = |path: &Path| std::fs::read(path).map_err(Error::file(path));
    if let Some(path) = given {
        let facts = KernelFacts {
            version: "given".into(),
            ..KernelFacts::default()
        };
        return Ok((read(path)?, facts));
    }
    let mut printer = kernel::Printer::new();
    let built = kernel::cache_directory()
        .and_then(|cache| kernel::ensure(&cache, &mut |progress| printer.show(progress)));
    printer.finish();
    let built = built.map_err(Error::Kernel)?;
    let inputs = read(&built.inputs)?;
    let facts = KernelFacts::new(&built.version, &String::from_utf8_lossy(&inputs));
    Ok((read(&built.bz_image)?, facts))
}

/// Every program that the recipe names.
fn load_binaries(directory: &Path) -> Result<Vec<(&'static str, Vec<u8>)>, Error> {
    let names = INITRAMFS.iter().filter_map(|file| match file.source {
        Source::Binary(name) => Some(name),
        Source::BuildFacts
        | Source::CharDevice(..)
        | Source::Directory
        | Source::Edge
        | Source::Symlink(_) => None,
    });
    let load = |name| {
        let path = directory.join(name);
        match std::fs::read(&path) {
            Ok(content) => Ok((name, content)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::BinaryMissing { path })
            }
            Err(error) => Err(Error::File { path, error }),
        }
    };
    names.map(load).collect()
}
