//! Inputs for tests, and skips that leave a trace.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use image_builder::slot::System;

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

/// A directory that is gone when this is dropped.
pub struct TempDir(PathBuf);

impl TempDir {
    /// Makes one whose path contains `name`, which is unique among the tests.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("outgate-{name}-{}", std::process::id()));
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

/// True when `program` runs; else the skip of `test` is recorded with the Debian `package`.
pub fn has_program(test: &str, program: &str, package: &str) -> bool {
    let runs = Command::new(program).arg("--version").output().is_ok();
    if !runs {
        skip(test, &format!("{program} is not installed ({package})"));
    }
    runs
}

/// Prints why `test` does not run, and appends it to the file that counts skips; where all must run
/// (`OUTGATE_REQUIRE_VM=1`, as on CI) it fails instead.
fn skip(test: &str, reason: &str) {
    assert!(
        std::env::var("OUTGATE_REQUIRE_VM").as_deref() != Ok("1"),
        "{test} cannot run, and all must: {reason}"
    );
    eprintln!("skipped: {test}: {reason}");
    if let Some(log) = std::env::var_os("OUTGATE_SKIP_LOG") {
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        writeln!(log, "{test}: {reason}").unwrap();
    }
}
