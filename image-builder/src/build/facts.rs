//! The build manifest: what went in, what came out, with digests, one fact on each line.
//!
//! `name value...`; the names `input`, `part` and `output` occur several times and are followed by
//! SHA-256, bytes and name. Equal sources and tools give equal text: see [`crate::provenance`].

use std::fmt::Write as _;

use crate::output::sha256_hex;
use crate::provenance::Provenance;
use crate::slot::System;

/// The text under way.
#[derive(Debug)]
pub(super) struct Facts(String);

impl Facts {
    /// What goes in.
    pub(super) fn new(system: &System, provenance: &Provenance) -> Self {
        let mut facts = Self(String::new());
        facts.line("outgate", &system.version);
        facts.line("epoch", &system.epoch.to_string());
        facts.line("source-tree", &provenance.source_tree);
        let rustc = provenance.rustc.as_str();
        facts.line("rustc", rustc.strip_prefix("rustc ").unwrap_or(rustc));
        if let Some(edge) = &system.edge {
            facts.line("edge", &edge.to_string());
        }
        let kernel = &provenance.kernel;
        facts.line("kernel", &kernel.version);
        for (name, value) in [
            ("kernel-source-sha256", &kernel.source_sha256),
            ("kernel-patches-sha256", &kernel.patches_sha256),
            ("kernel-config-sha256", &kernel.config_sha256),
            ("kernel-compiler", &kernel.compiler),
            ("kernel-recipe", &kernel.recipe),
        ] {
            if let Some(value) = value {
                facts.line(name, value);
            }
        }
        for package in &provenance.packages {
            let (source, source_version) = &package.source;
            let text = format!(
                "{} {} (source {source} {source_version})",
                package.name, package.version
            );
            facts.line("package", &text);
        }
        facts.content("input", "bzImage", &system.kernel);
        for (name, content) in &system.binaries {
            facts.content("input", name, content);
        }
        facts
    }

    /// Something made on the way.
    pub(super) fn part(&mut self, name: &str, content: &[u8]) {
        self.content("part", name, content);
    }

    /// A file of the image.
    pub(super) fn output(&mut self, name: &str, content: &[u8]) {
        self.content("output", name, content);
    }

    /// The text, with where the sources are.
    pub(super) fn into_text(mut self) -> String {
        self.0.push_str(SOURCES);
        self.0
    }

    fn content(&mut self, kind: &str, name: &str, content: &[u8]) {
        let digest = sha256_hex(content);
        self.line(kind, &format!("{digest} {} {name}", content.len()));
    }

    fn line(&mut self, name: &str, value: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{name} {value}");
    }
}

/// The licence of both asks for it.
const SOURCES: &str = "\
    kernel-source Debian package linux-source of the version above (GPL-2.0-only)\n\
    grub-source Debian source package grub2 of the version above (GPL-3.0-or-later)\n";
