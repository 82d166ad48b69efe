//! Debian's packages of which a part is in the image.

use std::process::Command;

use super::run;
use crate::Error;

/// A Debian package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebianPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The source package, and its version.
    pub source: (String, String),
    /// What of it is in the image.
    pub role: &'static str,
    /// Its licence, as SPDX expression.
    pub licence: &'static str,
}

/// Name, what of it is in the image, licence.
const PACKAGES: &[(&str, &str, &str)] = &[
    (
        "grub-efi-amd64-bin",
        "boot loader for UEFI",
        "GPL-3.0-or-later",
    ),
    ("grub-pc-bin", "boot loader for BIOS", "GPL-3.0-or-later"),
    (
        "libc6-dev",
        "linked statically into the appliance's programs",
        "LGPL-2.1-or-later",
    ),
];

/// The packages as they are installed here.
///
/// # Errors
/// When one is not.
pub(super) fn packages() -> Result<Vec<DebianPackage>, Error> {
    PACKAGES.iter().map(package).collect()
}

fn package(
    &(name, role, licence): &(&str, &'static str, &'static str),
) -> Result<DebianPackage, Error> {
    let format = "--showformat=${Version}\t${source:Package}\t${source:Version}";
    let shown = run(
        "dpkg-query",
        Command::new("dpkg-query").args(["--show", format, name]),
    )?;
    let [version, source, source_version] = shown.split('\t').collect::<Vec<_>>()[..] else {
        return Err(Error::Tool {
            program: "dpkg-query",
            message: format!("it said {shown:?} about {name}"),
        });
    };
    Ok(DebianPackage {
        name: name.into(),
        version: version.into(),
        source: (source.into(), source_version.into()),
        role,
        licence,
    })
}
