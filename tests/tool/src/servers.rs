//! Debian packages of servers that tests and benchmarks meet: unpacked below `target`, never installed.
//!
//! Installed, they would run as services of this computer, one would replace its time server, and
//! AppArmor would keep the rest out of the tests' folders. Root is not needed for any of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::build;
use crate::packages;
use crate::step::{self, Failed};

/// Package, and what it is for. What it depends on and is not installed is unpacked with it.
const SERVERS: &[(&str, &str)] = &[
    ("bind9", "a DNS server: named"),
    ("chrony", "an NTP server: chronyd"),
    (
        "dnsmasq-base",
        "a DHCP server as in many routers, and an IPv6 router",
    ),
    ("isc-dhcp-server", "a DHCP server: dhcpd"),
    ("kea-dhcp4-server", "a DHCP server: kea-dhcp4"),
    ("mitmproxy", "a proxy that inspects TLS: mitmdump"),
    ("ntpsec", "an NTP server: ntpd"),
    ("swtpm", "a TPM 2.0 for the virtual machine"),
    ("tinyproxy-bin", "an HTTP proxy that asks for a password"),
    ("unbound", "a DNS server that recurses"),
];

/// Unpacks the servers that tests meet, unless that was done before.
///
/// # Errors
/// As [`unpack`].
pub fn ensure() -> Result<(), Failed> {
    unpack(&build::target_dir().join("foreign"), SERVERS)
}

/// Unpacks packages, named with their reasons, into `root` of `folder`, unless that was done before.
///
/// # Errors
/// [`Failed`], when apt knows a package not or cannot fetch it.
pub fn unpack(folder: &Path, packages: &[(&str, &str)]) -> Result<(), Failed> {
    let wanted: String = packages
        .iter()
        .map(|(name, _)| format!("{name}\n"))
        .collect();
    let stamp = folder.join("unpacked");
    if fs::read_to_string(&stamp).is_ok_and(|unpacked| unpacked == wanted) {
        return Ok(());
    }
    let names = match missing(packages) {
        Ok(names) => names,
        Err(first) => packages::update()
            .and_then(|()| missing(packages))
            .map_err(|_| first)?,
    };
    let (archives, root) = (folder.join("packages"), folder.join("root"));
    for emptied in [&archives, &root] {
        // What is not there needs no removal; anything else fails in the next line.
        let _ = fs::remove_dir_all(emptied);
        fs::create_dir_all(emptied).map_err(|error| at(emptied, &error))?;
    }
    if !names.is_empty() {
        let mut download = packages::apt();
        // Who downloads as root is told otherwise that another user may not write here.
        download.args(["-o", "APT::Sandbox::User=root", "download"]);
        download.args(&names).current_dir(&archives);
        step::run(
            "download of Debian packages to unpack",
            download.stdout(Stdio::null()),
        )?;
    }
    for archive in files(&archives)? {
        let mut extract = Command::new("dpkg-deb");
        extract.arg("--extract").arg(archive).arg(&root);
        step::run_quietly("dpkg-deb --extract", &mut extract)?;
    }
    fs::write(&stamp, wanted).map_err(|error| at(&stamp, &error))
}

/// The packages with all that they depend on, less what is installed. Each for itself: some of them
/// cannot be installed together.
fn missing(packages: &[(&str, &str)]) -> Result<Vec<String>, Failed> {
    let mut names = Vec::new();
    for (server, _) in packages {
        let mut simulate = packages::apt();
        simulate.args(["install", "--simulate", "--no-install-recommends", server]);
        let output = simulate.output().map_err(|error| Failed {
            why: format!("apt-get cannot be started: {error}"),
        })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Failed {
                why: format!(
                    "apt cannot install {server}; run apt-get update as root, then try again: {}",
                    said.trim()
                ),
            });
        }
        names.extend(to_install(&String::from_utf8_lossy(&output.stdout)));
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// The packages that a simulation would install: `Inst NAME (VERSION ...)`.
fn to_install(simulation: &str) -> impl Iterator<Item = String> {
    let lines = simulation.lines();
    lines.filter_map(|line| Some(line.strip_prefix("Inst ")?.split(' ').next()?.to_owned()))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let entries = fs::read_dir(folder).map_err(|error| at(folder, &error))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort_unstable();
    Ok(files)
}

fn at(path: &Path, error: &std::io::Error) -> Failed {
    Failed {
        why: format!("{}: {error}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_in_order_named_once_and_each_has_its_reason() {
        assert!(SERVERS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(SERVERS.iter().all(|(_, reason)| reason.len() > 10));
    }

    #[test]
    fn only_what_would_be_installed_is_taken_from_a_simulation() {
        let simulation = "Reading package lists...\n\
            Remv ntpsec [1.2.2+dfsg1-1]\n\
            Inst libuv1 (1.44.2-1+deb12u1 Debian:12.15 [amd64])\n\
            Inst bind9 (1:9.18.49-1 Debian:12.15 [amd64]) []\n\
            Conf libuv1 (1.44.2-1+deb12u1 Debian:12.15 [amd64])\n";
        let names: Vec<_> = to_install(simulation).collect();
        assert_eq!(names, ["libuv1", "bind9"]);
    }
}
