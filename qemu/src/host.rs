//! What this computer has for running virtual machines: QEMU and firmware.
//!
//! An error names the file that is missing and the Debian package it comes in.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::machine::Firmware;

/// The emulator's program name.
const QEMU: &str = "qemu-system-x86_64";

/// Where distributions put OVMF: code, and the variables that belong to it. Debian's 4 MiB build
/// comes first, then its older 2 MiB build.
const OVMF: [(&str, &str); 2] = [
    (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    (
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ),
];

/// UEFI firmware files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ovmf {
    /// The code, read only.
    pub code: PathBuf,
    /// Fresh variables, to be copied for each machine.
    pub vars_template: PathBuf,
}

impl Ovmf {
    /// Firmware for one machine. Its variables are kept in the file `vars`, which is made from
    /// the template unless it exists.
    ///
    /// # Errors
    /// Those of copying the file.
    pub fn with_vars(&self, vars: PathBuf) -> io::Result<Firmware> {
        if !vars.exists() {
            fs::copy(&self.vars_template, &vars)?;
        }
        Ok(Firmware::Ovmf {
            code: self.code.clone(),
            vars,
        })
    }
}

/// What is missing on this computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostError {
    /// The UEFI firmware, in none of the places looked at.
    NoOvmf,
    /// The emulator, in no folder of `PATH`.
    NoQemu,
}

/// The emulator's path.
///
/// # Errors
/// [`HostError::NoQemu`] when no folder of `PATH` has it.
pub fn find_qemu() -> Result<PathBuf, HostError> {
    find_program(QEMU).ok_or(HostError::NoQemu)
}

/// The UEFI firmware.
///
/// # Errors
/// [`HostError::NoOvmf`] when it is in none of the usual places.
pub fn find_ovmf() -> Result<Ovmf, HostError> {
    OVMF.iter()
        .find(|(code, vars)| Path::new(code).is_file() && Path::new(vars).is_file())
        .map(|(code, vars)| Ovmf {
            code: code.into(),
            vars_template: vars.into(),
        })
        .ok_or(HostError::NoOvmf)
}

/// The path of a program that `PATH` leads to.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOvmf => write!(
                f,
                "UEFI firmware not found (looked for {} and {}): install the Debian package ovmf, \
                 or boot with BIOS firmware",
                OVMF[0].0, OVMF[1].0
            ),
            Self::NoQemu => write!(
                f,
                "{QEMU} is in no folder of PATH: install the Debian package qemu-system-x86"
            ),
        }
    }
}

impl std::error::Error for HostError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_package_to_install() {
        assert!(HostError::NoQemu.to_string().contains("qemu-system-x86"));
        assert!(HostError::NoOvmf.to_string().contains("package ovmf"));
    }

    #[test]
    fn a_program_is_found_by_path_and_an_unknown_one_is_not() {
        assert!(find_program("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(find_program("no-such-program-anywhere"), None);
    }
}
