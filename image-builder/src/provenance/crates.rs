//! The crates linked into the appliance's programs, as cargo resolves them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use super::run;
use crate::Error;

/// A crate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence, as SPDX expression.
    pub licence: String,
    /// SHA-256 of its package as in `Cargo.lock`; a crate of this workspace has none.
    pub sha256: Option<String>,
    /// Name and version of the crates it calls, sorted.
    pub depends_on: Vec<(String, String)>,
}

/// Sorted by name and version. Procedural macros and build scripts run on the building machine and
/// are left out, as are features that only programs for the host ask for.
///
/// # Errors
/// When cargo cannot resolve the workspace without the network, or answers in another form.
pub(super) fn linked(workspace: &Path) -> Result<Vec<Crate>, Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["tree", "--offline", "--locked", "--quiet"]);
    command.args(["--package", "init", "--package", "appliance"]);
    command.args(["--target", "x86_64-unknown-linux-gnu"]);
    command.args(["--edges", "normal,no-proc-macro"]);
    command.args(["--prefix", "depth", "--format", "|{p}|{l}"]);
    let tree = run("cargo", command.current_dir(workspace))?;
    let lock = workspace.join("Cargo.lock");
    let lock_text = std::fs::read_to_string(&lock).map_err(Error::file(&lock))?;
    let checksums = checksums(&lock_text).map_err(Error::format)?;
    parse(&tree, &checksums).ok_or_else(|| Error::Tool {
        program: "cargo",
        message: "cargo tree prints its lines in another form than this program reads".into(),
    })
}

type Id = (String, String);

/// `depth|name vVERSION[ (where)]|licence[ (*)]`, depth first.
fn parse(tree: &str, checksums: &BTreeMap<Id, String>) -> Option<Vec<Crate>> {
    let mut crates: BTreeMap<Id, Crate> = BTreeMap::new();
    let mut above: Vec<Id> = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let mut fields = line.splitn(3, '|');
        let depth: usize = fields.next()?.parse().ok()?;
        let mut words = fields.next()?.split(' ');
        let id = (
            words.next()?.to_owned(),
            words.next()?.strip_prefix('v')?.to_owned(),
        );
        // "(*)": its own dependencies were listed before. A slash is an old way to say OR.
        let licence = fields.next()?.trim_end_matches(" (*)").replace('/', " OR ");
        above.truncate(depth);
        if let Some(parent) = above.last() {
            let depends_on = &mut crates.get_mut(parent)?.depends_on;
            if let Err(at) = depends_on.binary_search(&id) {
                depends_on.insert(at, id.clone());
            }
        }
        above.push(id.clone());
        crates.entry(id.clone()).or_insert_with(|| Crate {
            sha256: checksums.get(&id).cloned(),
            name: id.0,
            version: id.1,
            licence,
            depends_on: Vec::new(),
        });
    }
    Some(crates.into_values().collect())
}

fn checksums(lock: &str) -> Result<BTreeMap<Id, String>, toml::de::Error> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
        checksum: Option<String>,
    }
    let lock: Lock = toml::from_str(lock)?;
    let entries = lock.package.into_iter().filter_map(|package| {
        let checksum = package.checksum?;
        Some(((package.name, package.version), checksum))
    });
    Ok(entries.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_becomes_crates_with_their_dependencies_and_checksums() {
        let tree = "0|init v0.1.0 (/somewhere/init)|Apache-2.0\n1|rustix v1.1.6|MIT/Apache-2.0\n\
                    2|bitflags v2.1.0|MIT\n1|bitflags v2.1.0|MIT\n\n\
                    0|appliance v0.1.0 (/somewhere/appliance)|Apache-2.0\n\
                    1|rustix v1.1.6|MIT/Apache-2.0 (*)\n";
        let lock = "version = 4\n[[package]]\nname = \"rustix\"\nversion = \"1.1.6\"\n\
                    checksum = \"ab\"\n[[package]]\nname = \"init\"\nversion = \"0.1.0\"\n";
        let crates = parse(tree, &checksums(lock).unwrap()).unwrap();
        let names: Vec<&str> = crates.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["appliance", "bitflags", "init", "rustix"]);
        let id = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        let bitflags = id("bitflags", "2.1.0");
        let rustix = id("rustix", "1.1.6");
        assert_eq!(crates[2].depends_on, [bitflags.clone(), rustix]);
        assert_eq!(crates[3].depends_on, [bitflags]);
        assert_eq!(crates[3].licence, "MIT OR Apache-2.0");
        assert_eq!(crates[3].sha256.as_deref(), Some("ab"));
        assert_eq!(crates[2].sha256, None);
    }

    #[test]
    fn lines_of_another_form_are_refused() {
        for tree in ["x|a v1|MIT", "0|a 1|MIT", "0|a v1", "nothing"] {
            assert_eq!(parse(tree, &BTreeMap::new()), None, "{tree}");
        }
    }

    #[test]
    fn every_foreign_crate_of_the_appliance_has_a_checksum_and_every_crate_a_licence() {
        let crates = linked(&super::super::workspace()).unwrap();
        let ours = ["appliance", "connector-proto", "connector-sys", "init"];
        for one in &crates {
            assert!(!one.licence.is_empty(), "{one:?}");
            let is_ours = one.sha256.is_none();
            assert!(!is_ours || one.licence == "Apache-2.0", "{one:?}");
        }
        let has = |name: &&str| crates.iter().any(|one| one.name == *name);
        assert!(ours.iter().all(has) && ["ring", "rustls"].iter().all(has));
        // Only the builder compresses; a procedural macro is not linked.
        assert!(!["flate2", "serde_derive", "proptest"].iter().any(has));
    }
}
