//! The steps of an image build in order, each told as it ends.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use disk_format::qcow2;
use disk_format::slot::partition;
use ovf::property::EdgeName;

use crate::layout::{self, MIB};
use crate::output::{self, Artefact, Scratch};
use crate::recipe::{INITRAMFS, PARTITIONS, Source};
use crate::slot::System;
use crate::{Error, assemble, boot, kernel, slot};

/// The disk image for QEMU/KVM.
pub const QCOW2: &str = "outgate.qcow2";
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
}

/// Builds the image and writes it to `options.out`; returns what was written.
///
/// # Errors
/// Every [`Error`] names what to do. Artefacts of an earlier build stay whole.
pub fn build(options: &Options) -> Result<Vec<Artefact>, Error> {
    let mut steps = Steps::new();
    // What can be missing is looked for before the kernel, which may take minutes.
    boot::check_installed()?;
    let binaries = load_binaries(&options.binaries)?;
    let epoch = epoch()?;
    let (kernel, kernel_version) = load_kernel(options.kernel.as_deref())?;
    steps.done(&format!("kernel {kernel_version}, {}", mib(kernel.len())));

    let version = env!("CARGO_PKG_VERSION").into();
    let system = System {
        version,
        epoch,
        edge: options.edge.clone(),
        binaries,
        kernel,
    };
    std::fs::create_dir_all(&options.out).map_err(Error::file(&options.out))?;
    let scratch = Scratch::new(&options.out)?;
    let artefacts = artefacts(&system, &kernel_version, scratch.path(), &mut steps)?;
    output::write(&options.out, &artefacts)?;
    steps.done(&format!("written to {}", options.out.display()));
    Ok(artefacts)
}

/// The artefacts of `system`: the same bytes for the same input, wherever `scratch` is.
///
/// # Errors
/// As [`build`].
pub fn artefacts(
    system: &System,
    kernel_version: &str,
    scratch: &Path,
    steps: &mut Steps,
) -> Result<Vec<Artefact>, Error> {
    let initramfs = slot::initramfs(INITRAMFS, system)?;
    steps.done(&format!("initramfs, {}", mib(initramfs.len())));
    let slot = slot::slot(&system.version, &system.kernel, &initramfs)?;
    let layout = layout::layout(PARTITIONS).map_err(Error::format)?;
    let core = layout
        .table
        .find(partition::BIOS)
        .map_or(0, |partition| partition.first_lba);
    let grub = boot::grub(core, scratch)?;
    steps.done(&format!(
        "GRUB, BIOS {}, UEFI {}",
        mib(grub.core.len()),
        mib(grub.efi.len())
    ));
    let disk = assemble::disk(&layout, PARTITIONS, &grub, &slot)?;
    let qcow2 = qcow2::emit(&disk).map_err(Error::format)?;
    steps.done(&format!(
        "qcow2, {} for a disk of {}",
        mib(qcow2.len()),
        mib(disk.len())
    ));

    let manifest = format!(
        "outgate {}\nepoch {}\nkernel {kernel_version}\nkernel-bytes {}\ninitramfs-bytes {}\n\
         disk-bytes {}\ndisk-sha256 {}\nslot-bytes {}\nslot-sha256 {}\n{SOURCES}",
        system.version,
        system.epoch,
        system.kernel.len(),
        initramfs.len(),
        disk.len(),
        output::sha256_hex(&disk),
        slot.len(),
        output::sha256_hex(&slot),
    );
    Ok(vec![
        Artefact {
            name: QCOW2,
            content: qcow2,
        },
        Artefact {
            name: MANIFEST,
            content: manifest.into_bytes(),
        },
    ])
}

/// A line on standard error for each finished step, with the time since the start.
#[derive(Debug)]
pub struct Steps {
    started: Instant,
    is_quiet: bool,
}

impl Steps {
    /// The clock starts.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "it reads the clock: not a plain value"
    )]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            is_quiet: false,
        }
    }

    /// Tells nothing.
    #[must_use]
    pub fn quiet() -> Self {
        Self {
            is_quiet: true,
            ..Self::new()
        }
    }

    /// `what` is done.
    pub fn done(&mut self, what: &str) {
        if !self.is_quiet {
            eprintln!(
                "image   {:6.1} s  {what}",
                self.started.elapsed().as_secs_f64()
            );
        }
    }
}

/// The kernel's bytes, and its version in words.
fn load_kernel(given: Option<&Path>) -> Result<(Vec<u8>, String), Error> {
    if let Some(path) = given {
        let bytes = std::fs::read(path).map_err(Error::file(path))?;
        let digest = output::sha256_hex(&bytes);
        return Ok((bytes, format!("given, sha256 {digest}")));
    }
    let mut printer = kernel::Printer::new();
    let built = kernel::cache_directory()
        .and_then(|cache| kernel::ensure(&cache, &mut |progress| printer.show(progress)));
    printer.finish();
    let built = built.map_err(Error::Kernel)?;
    let bytes = std::fs::read(&built.bz_image).map_err(Error::file(&built.bz_image))?;
    Ok((bytes, built.version))
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

/// The build's one time stamp: `SOURCE_DATE_EPOCH`, else the time of the commit, else
/// [`EPOCH_WITHOUT_COMMIT`] (a source archive has no commit).
fn epoch() -> Result<u32, Error> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => match commit_time() {
            Some(text) => text,
            None => return Ok(EPOCH_WITHOUT_COMMIT),
        },
    };
    text.trim().parse().map_err(|_| Error::Epoch { text })
}

fn commit_time() -> Option<String> {
    let git = Command::new("git")
        .args(["log", "-1", "--format=%ct"])
        .output()
        .ok()?;
    let text = String::from_utf8(git.stdout).ok()?;
    (git.status.success() && !text.trim().is_empty()).then_some(text)
}

fn mib(bytes: usize) -> String {
    // Tenths, rounded: enough for people, and without floating point.
    let tenths = (bytes as u64 * 10 + MIB / 2) / MIB;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// 2026-11-01, before the first release: a floor for the guest's clock that is never in the future.
const EPOCH_WITHOUT_COMMIT: u32 = 1_793_491_200;

/// The licence of both asks for it.
const SOURCES: &str = "kernel-source Debian package linux-source, of the version above (GPL-2.0)\n\
                       grub-source Debian package grub2 2.06 (GPL-3.0-or-later)\n";
