//! Inputs for tests, and skips that leave a trace.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::skip::{has_program, skip};
use disk_format::vmdk::Vmdk;
use image_builder::boot::Grub;
use image_builder::build::{Inputs, Options, Signing, Steps, artefacts};
use image_builder::layout::layout;
use image_builder::output::Artefact;
use image_builder::provenance::{KernelFacts, Provenance};
use image_builder::recipe::{PARTITIONS, PartitionSpec};
use image_builder::sign::Signer;
use image_builder::slot::System;
use image_builder::{assemble, slot};

/// A system whose programs are a few bytes: tests of the image do not run them.
pub fn system(kernel: Vec<u8>) -> System {
    System {
        version: "0.1.0".into(),
        epoch: 1_700_000_000,
        edge: None,
        binaries: ["connector", "console", "init"]
            .map(|name| (name, name.repeat(1000).into_bytes()))
            .into(),
        kernel,
    }
}

/// What such a system was made from.
pub fn provenance() -> Provenance {
    Provenance {
        source_tree: "0123456789abcdef0123456789abcdef01234567".into(),
        rustc: "rustc 1.95.0 (0123abcde 2026-04-14)".into(),
        kernel: KernelFacts {
            version: "given".into(),
            ..KernelFacts::default()
        },
        packages: Vec::new(),
        crates: Vec::new(),
    }
}

/// The artefacts of a system with this kernel, made in a directory called `name` by `threads`.
pub fn built(name: &str, kernel: Vec<u8>, threads: usize) -> Vec<Artefact> {
    try_built(name, kernel, threads, None).unwrap()
}

/// As [`built`], signed when there is a signer, or why there are none.
pub fn try_built(
    name: &str,
    kernel: Vec<u8>,
    threads: usize,
    signer: Option<&Signer>,
) -> Result<Vec<Artefact>, image_builder::Error> {
    let scratch = TempDir::new(name);
    let inputs = Inputs {
        system: &system(kernel),
        provenance: &provenance(),
        signer,
        threads: NonZeroUsize::new(threads).unwrap(),
    };
    artefacts(&inputs, scratch.path(), &mut Steps::quiet())
}

/// Options for a whole build of programs that are a few bytes, which are written to `directory`.
pub fn options(directory: &Path) -> Options {
    for name in ["connector", "console", "init", "kernel"] {
        std::fs::write(directory.join(name), name).unwrap();
    }
    Options {
        out: directory.join("out"),
        binaries: directory.into(),
        edge: None,
        kernel: Some(directory.join("kernel")),
        signing: Signing::None,
    }
}

/// The artefact called `name`.
pub fn artefact<'a>(artefacts: &'a [Artefact], name: &str) -> &'a [u8] {
    let mut named = artefacts.iter().filter(|artefact| artefact.name == name);
    &named.next().unwrap().content
}

/// A disk of 7 MiB with the partitions of ours but the ESP, and a system in slot A. GRUB is a few
/// bytes: readers do not run it.
pub fn small_disk() -> Vec<u8> {
    let partitions: Vec<PartitionSpec> = PARTITIONS
        .iter()
        .filter(|spec| !spec.name.ends_with("esp"))
        .map(|spec| PartitionSpec { mib: 1, ..*spec })
        .collect();
    let grub = Grub {
        boot_code: [0xeb; 440],
        core: vec![1; 1000],
        efi: Vec::new(),
    };
    let slot = slot::slot("0.1.0", &[7; 5000], &[9; 3000]).unwrap();
    assemble::disk(&layout(&partitions).unwrap(), &partitions, &grub, &slot).unwrap()
}

/// A disk as a VMDK.
pub fn vmdk(disk: &[u8]) -> Vmdk {
    Vmdk::from_disk(disk, NonZeroUsize::MIN).unwrap()
}

/// A directory that is gone when this is dropped.
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes one of its own whose path contains `name`.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("outgate-{name}-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// True when GRUB is installed; else the skip of `test` is recorded.
pub fn has_grub(test: &str) -> bool {
    has_files(test, &["/usr/lib/grub/i386-pc/boot.img"], "grub-pc-bin")
        && has_files(
            test,
            &["/usr/lib/grub/x86_64-efi/moddep.lst"],
            "grub-efi-amd64-bin",
        )
        && has_program(test, "grub-mkimage", "grub-common")
}

/// True when all `files` exist; else the skip of `test` is recorded with the Debian `package`.
pub fn has_files(test: &str, files: &[&str], package: &str) -> bool {
    let missing = files.iter().find(|file| !Path::new(file).exists());
    if let Some(file) = missing {
        skip(test, &format!("{file} is missing ({package})"));
    }
    missing.is_none()
}
