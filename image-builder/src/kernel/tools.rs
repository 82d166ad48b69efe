//! The programs and headers that a kernel build needs, by the Debian package that has them.

use super::error::Error;
use std::path::Path;
use std::process::Command;

/// Program and package.
const PROGRAMS: &[(&str, &str)] = &[
    ("apt-get", "apt"),
    ("bc", "bc"),
    ("bison", "bison"),
    ("dpkg-deb", "dpkg"),
    ("flex", "flex"),
    ("g++", "g++"),
    ("gcc", "gcc"),
    ("ld", "binutils"),
    ("make", "make"),
    ("patch", "patch"),
    ("tar", "tar"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
];

/// First line of `gcc --version`.
///
/// # Errors
/// [`Error::MissingPackages`] when it cannot be run.
pub(super) fn compiler() -> Result<String, Error> {
    let missing = || Error::MissingPackages(vec!["gcc"]);
    let output = Command::new("gcc")
        .arg("--version")
        .env("LC_ALL", "C")
        .output()
        .map_err(|_| missing())?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().map(str::to_owned).ok_or_else(missing)
}

/// Checks that everything is there.
///
/// # Errors
/// [`Error::MissingPackages`] with all that is missing, sorted.
pub(super) fn check() -> Result<(), Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path =
        |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let mut missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(_, package)| *package)
        .collect();
    if !Path::new("/usr/include/libelf.h").is_file() {
        missing.push("libelf-dev");
    }
    if !has_plugin_headers() {
        missing.push("gcc-12-plugin-dev");
    }
    missing.sort_unstable();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::MissingPackages(missing))
    }
}

/// STACKLEAK is a plugin of gcc, compiled with the kernel.
fn has_plugin_headers() -> bool {
    let output = Command::new("gcc").arg("-print-file-name=plugin").output();
    output.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout);
        Path::new(folder.trim())
            .join("include/gcc-plugin.h")
            .is_file()
    })
}
