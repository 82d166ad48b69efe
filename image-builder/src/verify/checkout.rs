//! The build of this checkout, to compare a file with.

use std::fs;
use std::path::{Path, PathBuf};

use disk_format::SECTOR_BYTES;
use ovf::descriptor::{Descriptor, Disk};

use super::report::Report;
use super::{Content, beside};
use crate::boot_state;
use crate::build::{MANIFEST, NAME, RAW};
use crate::disk;
use crate::output::SHA256SUMS;
use crate::provenance::{source_tree_id, workspace};

/// What `cargo image` left in its folder. Parts that are missing are not compared.
#[derive(Debug, Default)]
pub struct Build {
    directory: PathBuf,
    /// Name and digest of every artefact.
    sums: Vec<(String, String)>,
    disk: Option<Vec<u8>>,
    descriptor: Option<Descriptor>,
    /// Of the sources it was made from.
    source_tree: Option<String>,
}

/// Where `cargo image` puts its artefacts: below `CARGO_TARGET_DIR`, or the checkout's `target`.
#[must_use]
pub fn default_directory() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    workspace().join(target).join("image")
}

impl Build {
    /// Reads the build in `directory`, as far as there is one.
    #[must_use]
    pub fn load(directory: &Path) -> Self {
        let read = |name: &str| fs::read(directory.join(name)).ok();
        let manifest = read(MANIFEST).unwrap_or_default();
        let source_tree = String::from_utf8_lossy(&manifest)
            .lines()
            .find_map(|line| Some(line.strip_prefix("source-tree ")?.to_owned()));
        Self {
            directory: directory.into(),
            sums: read(SHA256SUMS)
                .and_then(|bytes| beside::sums(&bytes).ok())
                .unwrap_or_default(),
            disk: read(RAW),
            descriptor: read(&format!("{NAME}.ovf"))
                .and_then(|bytes| Descriptor::parse(&bytes).ok()),
            source_tree,
        }
    }

    /// Says how a file with this digest and content compares.
    pub(super) fn compare(&self, digest: &str, content: &Content, report: &mut Report) {
        if self.sums.is_empty() {
            let directory = self.directory.display();
            report.say(&format!(
                "not compared: there is no build of this checkout in {directory} (cargo image)"
            ));
            return;
        }
        if let Some((name, _)) = self.sums.iter().find(|(_, sum)| sum == digest) {
            report.say(&format!("this checkout's build: bit for bit its {name}"));
        } else {
            self.compare_disk(content, report);
            self.compare_descriptor(content, report);
        }
        if let (Some(tree), Ok(current)) = (&self.source_tree, source_tree_id())
            && *tree != current
        {
            report.say(&format!(
                "(that build was made from source tree {tree}; the checkout is {current} by now)"
            ));
        }
    }

    fn compare_disk(&self, content: &Content, report: &mut Report) {
        let (Some(ours), Some(theirs)) = (&self.disk, &content.disk) else {
            return;
        };
        if ours == theirs {
            return report.say("this checkout's build: the disk is bit for bit the same");
        }
        let mut unminted = theirs.clone();
        let restored = boot_state::read(theirs)
            .map(|state| boot_state::without_minted(&state))
            .and_then(|state| boot_state::write(&mut unminted, &state));
        if restored.is_ok() && *ours == unminted {
            return report.say(
                "this checkout's build: the disk is the same, but for what minting writes into it",
            );
        }
        report.say(&format!(
            "this checkout's build: another disk; different in {}",
            differences(ours, &unminted).join(", ")
        ));
    }

    fn compare_descriptor(&self, content: &Content, report: &mut Report) {
        let (Some(ours), Some(theirs)) = (&self.descriptor, &content.descriptor) else {
            return;
        };
        let text = if unminted(ours) == unminted(theirs) {
            "the machine is the same, but for what minting and packing write into its description"
        } else {
            "the machine is described differently"
        };
        report.say(&format!("this checkout's build: {text}"));
    }
}

/// The parts of the disk `ours`, by its partition table, in which `theirs` differs.
fn differences(ours: &Vec<u8>, theirs: &[u8]) -> Vec<String> {
    let Ok(table) = disk::table(ours) else {
        return vec!["everything: that build's partition table cannot be read".into()];
    };
    let mut names = Vec::new();
    let mut at = 0;
    let mut compare = |name: &str, end: usize| {
        let part = |disk: &[u8]| disk.get(at..end.min(disk.len())).map(<[u8]>::to_vec);
        if part(ours) != part(theirs) {
            names.push(name.to_owned());
        }
        at = end;
    };
    for partition in table.partitions() {
        let sector = |lba: u64| usize::try_from(lba * SECTOR_BYTES).unwrap_or(usize::MAX);
        compare("the partition table", sector(partition.first_lba));
        compare(&partition.name, sector(partition.last_lba + 1));
    }
    compare("the second partition table", usize::MAX);
    names
}

/// A descriptor without what differs between images of one build.
fn unminted(descriptor: &Descriptor) -> Descriptor {
    let mut unminted = Descriptor {
        name: String::new(),
        annotation: String::new(),
        mac: None,
        disk: Disk {
            file_name: String::new(),
            file_bytes: 0,
            ..descriptor.disk.clone()
        },
        ..descriptor.clone()
    };
    for (_, value) in &mut unminted.properties {
        value.clear();
    }
    unminted
}
