//! Debian packages that the project needs beyond Rust: named with their reason, installed when missing.

use std::process::{Command, Stdio};

use crate::step::{self, Failed};

/// Which packages a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// All of them.
    All,
    /// All but those that only tests use: who builds an image needs no second opinions.
    NoTests,
}

/// Package and what it is for. A reason that begins with `tests:` is one of tests alone.
const PACKAGES: &[(&str, &str)] = &[
    ("bc", "kernel build: computes time constants"),
    ("bison", "kernel build: parser of Kconfig"),
    (
        "curl",
        "demo and tests: fetches the private page as a user would",
    ),
    (
        "diffoscope-minimal",
        "tests: says where two builds differ that must not",
    ),
    (
        "dosfstools",
        "tests: a second opinion on the FAT partitions",
    ),
    ("faketime", "tests: a build a year later"),
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
    (
        "genisoimage",
        "tests: writes the disc with an OVF environment",
    ),
    (
        "golang-github-vmware-govmomi-dev",
        "tests: imports the OVA with VMware's client library",
    ),
    ("golang-go", "tests: compiles the program that does so"),
    ("grub-common", "image: grub-mkimage"),
    ("grub-efi-amd64-bin", "image: boot loader for UEFI"),
    ("grub-pc-bin", "image: boot loader for BIOS"),
    (
        "iproute2",
        "tests: the network that foreign servers share with the appliance",
    ),
    ("libc6-dev", "static linking of what runs in the VM"),
    ("libelf-dev", "kernel build: objtool"),
    (
        "libvirt-clients",
        "tests: libvirt's schema, for the minted domain",
    ),
    (
        "libvirt-daemon-driver-qemu",
        "tests: boots the minted domain as libvirt does; no daemon comes with it",
    ),
    (
        "libxml2-utils",
        "tests: a second opinion on minted XML and the OVF descriptor",
    ),
    ("locales", "tests: a build in another language"),
    ("make", "kernel build"),
    (
        "openssl",
        "tests: makes keys to sign with, a second opinion on signatures",
    ),
    ("ovmf", "UEFI firmware for the virtual machines"),
    ("patch", "kernel build: changes the source"),
    (
        "python3",
        "tests: serves the private page beside foreign servers",
    ),
    ("qemu-system-x86", "runs the virtual machines"),
    ("qemu-utils", "tests: a second opinion on qcow2 and VMDK"),
    ("tshark", "tests: a second opinion on the captures"),
    (
        "virt-v2v",
        "tests: reads the OVA as a migration off VMware does",
    ),
    (
        "xorriso",
        "tests: a second writer of discs for the reader of them",
    ),
    ("xz-utils", "kernel build: unpacks the source"),
    ("zstd", "kernel build: compresses the kernel"),
];

/// Installs what is missing; without the rights to do so it says which command does.
pub fn ensure(needs: Needs) -> Result<(), Failed> {
    let is_needed = |reason: &str| needs == Needs::All || !reason.starts_with("tests:");
    ensure_these(PACKAGES.iter().filter(|(_, reason)| is_needed(reason)))
}

/// The same of any packages, named with their reasons.
pub fn ensure_these<'a>(
    packages: impl IntoIterator<Item = &'a (&'a str, &'a str)>,
) -> Result<(), Failed> {
    let missing: Vec<&(&str, &str)> = packages
        .into_iter()
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
    update()?;
    let mut command = apt();
    command
        .args(["install", "--yes", "--no-install-recommends"])
        .args(names);
    step::run(&install, command.stdout(Stdio::null()))
}

/// Fetches the lists of packages, which takes root.
pub fn update() -> Result<(), Failed> {
    step::run("apt-get update", apt().arg("update").stdout(Stdio::null()))
}

/// apt-get, which asks nothing.
pub fn apt() -> Command {
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
