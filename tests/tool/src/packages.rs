//! Debian packages that the project needs beyond Rust: named with their reason, installed when missing.

use std::process::{Command, Stdio};

use crate::step::{self, Failed};

/// Package and what it is for.
const PACKAGES: &[(&str, &str)] = &[
    ("bc", "kernel build: computes time constants"),
    ("bison", "kernel build: parser of Kconfig"),
    (
        "curl",
        "demo and tests: fetches the private page as a user would",
    ),
    (
        "dosfstools",
        "tests: a second opinion on the FAT partitions",
    ),
    ("flex", "kernel build: lexer of Kconfig"),
    (
        "g++",
        "kernel build: compiles the hardening plugins of the compiler",
    ),
    (
        "gcc",
        "kernel build, and the C parts of ring, SQLite and zstd",
    ),
    (
        "gcc-12-plugin-dev",
        "kernel build: headers for those plugins",
    ),
    ("gdisk", "tests: a second opinion on the partition table"),
    ("grub-common", "image: grub-mkimage"),
    ("grub-efi-amd64-bin", "image: boot loader for UEFI"),
    ("grub-pc-bin", "image: boot loader for BIOS"),
    ("libc6-dev", "static linking of what runs in the VM"),
    ("libelf-dev", "kernel build: objtool"),
    ("make", "kernel build"),
    ("ovmf", "UEFI firmware for the virtual machines"),
    ("qemu-system-x86", "runs the virtual machines"),
    ("qemu-utils", "tests: a second opinion on the qcow2"),
    ("tshark", "tests: a second opinion on the captures"),
    ("xz-utils", "kernel build: unpacks the source"),
    ("zstd", "kernel build: compresses the kernel"),
];

/// Installs what is missing; without the rights to do so it says which command does.
pub fn ensure() -> Result<(), Failed> {
    let missing: Vec<&(&str, &str)> = PACKAGES
        .iter()
        .filter(|(package, _)| !is_installed(package))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("==> Debian packages are missing:");
    for (package, reason) in &missing {
        eprintln!("    {package:20} {reason}");
    }
    let names: Vec<&str> = missing.iter().map(|(package, _)| *package).collect();
    let install = format!(
        "apt-get install --yes --no-install-recommends {}",
        names.join(" ")
    );
    if !is_root() {
        let why = format!(
            "run this once, then try again:\n\n    sudo apt-get update && sudo {install}\n"
        );
        return Err(Failed { why });
    }
    step::run("apt-get update", apt().arg("update").stdout(Stdio::null()))?;
    let mut command = apt();
    command
        .args(["install", "--yes", "--no-install-recommends"])
        .args(names);
    step::run(&install, command.stdout(Stdio::null()))
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    command
}

fn is_installed(package: &str) -> bool {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .output();
    output.is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}

fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_in_order_named_once_and_each_has_its_reason() {
        assert!(PACKAGES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(PACKAGES.iter().all(|(_, reason)| reason.len() > 10));
    }
}
