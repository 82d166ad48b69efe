//! The bill of materials for scanners: CycloneDX 1.5 as JSON.
//!
//! <https://cyclonedx.org/docs/1.5/json/>. Fields stand in the order of the structures below,
//! components are sorted, the time stamp is the build's epoch and the serial number a digest of
//! the rest, so that equal images have equal bills.

mod purl;
mod time;

use disk_format::guid::Guid;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::output::sha256_hex;
use crate::provenance::{Crate, DebianPackage, Provenance};
use crate::slot::System;

/// The bill of the image made from `system` and `provenance`.
#[must_use]
pub fn emit(system: &System, provenance: &Provenance) -> String {
    let mut components = vec![kernel(system, provenance), rust_std(provenance)];
    components.extend(provenance.packages.iter().map(package));
    components.extend(provenance.crates.iter().map(linked_crate));
    components.sort_by(|a, b| a.bom_ref.cmp(&b.bom_ref));
    let mut bill = Bill {
        bom_format: "CycloneDX",
        spec_version: "1.5",
        serial_number: String::new(),
        version: 1,
        metadata: Metadata {
            timestamp: time::rfc3339(system.epoch),
            component: image(system, provenance),
        },
        dependencies: dependencies(&components, provenance),
        components,
    };
    let digest = Sha256::digest(text(&bill)).into();
    let guid = Guid::from_digest(&digest).to_string().to_lowercase();
    bill.serial_number = format!("urn:uuid:{guid}");
    text(&bill)
}

fn text(bill: &Bill) -> String {
    // A structure of strings always has a text.
    let mut text = serde_json::to_string_pretty(bill).unwrap_or_default();
    text.push('\n');
    text
}

fn image(system: &System, provenance: &Provenance) -> Component {
    Component {
        licenses: licence("Apache-2.0 AND GPL-2.0-only AND GPL-3.0-or-later"),
        properties: vec![property("outgate:source-tree", &provenance.source_tree)],
        ..Component::new("firmware", IMAGE, "outgate", &system.version)
    }
}

fn kernel(system: &System, provenance: &Provenance) -> Component {
    let facts = &provenance.kernel;
    let mut properties = vec![property(
        "outgate:bzimage-sha256",
        &sha256_hex(&system.kernel),
    )];
    let more = [
        ("outgate:compiler", &facts.compiler),
        ("outgate:config-sha256", &facts.config_sha256),
        ("outgate:patches-sha256", &facts.patches_sha256),
        ("outgate:source-package-sha256", &facts.source_sha256),
    ];
    properties.extend(
        more.iter()
            .filter_map(|(name, value)| Some(property(name, value.as_deref()?))),
    );
    // Scanners look for vulnerabilities by the upstream version.
    let upstream = facts.version.split('-').next().unwrap_or_default();
    let is_debian = facts.source_sha256.is_some();
    Component {
        cpe: is_debian.then(|| format!("cpe:2.3:o:linux:linux_kernel:{upstream}:*:*:*:*:*:*:*")),
        purl: is_debian.then(|| purl::debian("linux", &facts.version, true)),
        licenses: licence("GPL-2.0-only WITH Linux-syscall-note"),
        properties,
        ..Component::new("operating-system", KERNEL, "linux", &facts.version)
    }
}

fn rust_std(provenance: &Provenance) -> Component {
    // "rustc 1.2.3 (hash date)"
    let version = provenance.rustc.split(' ').nth(1).unwrap_or_default();
    Component {
        licenses: licence("MIT OR Apache-2.0"),
        properties: vec![property("outgate:compiler", &provenance.rustc)],
        ..Component::new("library", RUST_STD, "rust-std", version)
    }
}

fn package(package: &DebianPackage) -> Component {
    let (source, source_version) = &package.source;
    Component {
        description: Some(package.role.into()),
        purl: Some(purl::debian(&package.name, &package.version, false)),
        licenses: licence(package.licence),
        properties: vec![property(
            "outgate:source-package",
            &format!("{source} {source_version}"),
        )],
        ..Component::new(
            "library",
            &format!("deb:{}", package.name),
            &package.name,
            &package.version,
        )
    }
}

fn linked_crate(one: &Crate) -> Component {
    let is_published = one.sha256.is_some();
    Component {
        purl: is_published.then(|| purl::cargo(&one.name, &one.version)),
        licenses: licence(&one.licence),
        hashes: one
            .sha256
            .iter()
            .map(|digest| Hash::sha256(digest))
            .collect(),
        ..Component::new(
            "library",
            &crate_ref(&one.name, &one.version),
            &one.name,
            &one.version,
        )
    }
}

/// What calls what: the image holds all; of the crates the edges are known.
fn dependencies(components: &[Component], provenance: &Provenance) -> Vec<Dependency> {
    let image = Dependency {
        of: IMAGE.into(),
        depends_on: components
            .iter()
            .map(|component| component.bom_ref.clone())
            .collect(),
    };
    let crates = provenance.crates.iter().map(|one| Dependency {
        of: crate_ref(&one.name, &one.version),
        depends_on: one
            .depends_on
            .iter()
            .map(|(name, version)| crate_ref(name, version))
            .collect(),
    });
    [image].into_iter().chain(crates).collect()
}

fn crate_ref(name: &str, version: &str) -> String {
    format!("crate:{name}@{version}")
}

fn licence(expression: &str) -> Vec<Licence> {
    vec![Licence {
        expression: expression.into(),
    }]
}

fn property(name: &'static str, value: &str) -> Property {
    Property {
        name,
        value: value.into(),
    }
}

const IMAGE: &str = "image";
const KERNEL: &str = "kernel";
const RUST_STD: &str = "rust-std";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Bill {
    bom_format: &'static str,
    spec_version: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    serial_number: String,
    version: u32,
    metadata: Metadata,
    components: Vec<Component>,
    dependencies: Vec<Dependency>,
}

#[derive(Serialize)]
struct Metadata {
    timestamp: String,
    component: Component,
}

#[derive(Serialize, Default)]
struct Component {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref")]
    bom_ref: String,
    name: String,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<Licence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpe: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    purl: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

impl Component {
    fn new(kind: &'static str, bom_ref: &str, name: &str, version: &str) -> Self {
        Self {
            kind,
            bom_ref: bom_ref.into(),
            name: name.into(),
            version: version.into(),
            ..Self::default()
        }
    }
}

#[derive(Serialize)]
struct Hash {
    alg: &'static str,
    content: String,
}

impl Hash {
    fn sha256(digest: &str) -> Self {
        Self {
            alg: "SHA-256",
            content: digest.into(),
        }
    }
}

#[derive(Serialize)]
struct Licence {
    expression: String,
}

#[derive(Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
struct Dependency {
    #[serde(rename = "ref")]
    of: String,
    #[serde(rename = "dependsOn", skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<String>,
}

#[cfg(test)]
mod tests;
