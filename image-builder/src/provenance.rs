//! What an image is made from, beside the bytes that are put into it: the sources' identity, the
//! compiler, Debian's packages, the crates.
//!
//! All of it is equal for equal sources and tools, wherever and whenever they are used. So there
//! is no commit here, no path, no host and no user.

mod crates;
mod debian;
mod source_tree;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use crates::Crate;
pub use debian::DebianPackage;

use crate::Error;

/// What an image is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// The id that git gives to the tree of sources, 40 hex digits: `git rev-parse COMMIT^{tree}`.
    pub source_tree: String,
    /// The compiler of the appliance's programs, as it names itself.
    pub rustc: String,
    /// The kernel.
    pub kernel: KernelFacts,
    /// Debian's packages of which a part is in the image, by name.
    pub packages: Vec<DebianPackage>,
    /// The crates linked into the appliance's programs, by name and version.
    pub crates: Vec<Crate>,
}

/// What is known about the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KernelFacts {
    /// Debian's version of the source, or `given` for a kernel that was not built here.
    pub version: String,
    /// SHA-256 of Debian's source package.
    pub source_sha256: Option<String>,
    /// SHA-256 over what was changed in it.
    pub patches_sha256: Option<String>,
    /// SHA-256 of the requested configuration. The resolved one also says which compilers the machine
    /// has that the kernel is not built with (`CONFIG_RUSTC_VERSION`), so it differs where the kernel does not.
    pub config_sha256: Option<String>,
    /// The compiler.
    pub compiler: Option<String>,
    /// How it was built: a number that grows when the steps change.
    pub recipe: Option<String>,
}

impl Provenance {
    /// Collects it from this checkout and this machine. The kernel's part comes from who has it.
    ///
    /// # Errors
    /// When cargo, the compiler or Debian's package database does not answer.
    pub fn collect(kernel: KernelFacts) -> Result<Self, Error> {
        let workspace = workspace();
        Ok(Self {
            source_tree: source_tree_id()?,
            rustc: rustc(&workspace)?,
            kernel,
            packages: debian::packages()?,
            crates: crates::linked(&workspace)?,
        })
    }
}

impl KernelFacts {
    /// From the cache's note of what a kernel was built from: `name: value` lines.
    #[must_use]
    pub fn new(version: &str, inputs: &str) -> Self {
        let line = |name: &str| {
            let mut values = inputs.lines().filter_map(|line| {
                let value = line.strip_prefix(name)?.strip_prefix(": ")?;
                Some(value.to_owned())
            });
            values.next()
        };
        Self {
            version: version.into(),
            source_sha256: line("source sha256"),
            patches_sha256: line("patches sha256"),
            config_sha256: line("request sha256"),
            compiler: line("compiler"),
            recipe: line("recipe"),
        }
    }
}

/// The checkout that this program was compiled from: the image is built from nothing else.
#[must_use]
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The id that git gives to the checkout's sources as they are now.
///
/// # Errors
/// When a file cannot be read.
pub fn source_tree_id() -> Result<String, Error> {
    source_tree::id(&workspace())
}

/// What `git` says about the checkout, for people: the commit when the sources are one's, else that
/// they are none's. No part of an artefact: the same sources may have no commit, or another.
#[must_use]
pub fn commit_in_words(source_tree: &str) -> String {
    let Some(head) = git(&["rev-parse", "HEAD"]) else {
        return "no git repository".into();
    };
    if git(&["rev-parse", "HEAD^{tree}"]).as_deref() == Some(source_tree) {
        format!("commit {head}")
    } else {
        format!("commit {head} with changes")
    }
}

/// What a git command prints in the checkout, trimmed; nothing when it fails or prints nothing.
///
/// git refuses repositories of another user unless told that they are wanted. This one is: its
/// code is running.
pub(crate) fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*"])
        .args(arguments)
        .current_dir(workspace())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}

fn rustc(workspace: &Path) -> Result<String, Error> {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = run(
        "rustc",
        Command::new(program)
            .arg("--version")
            .current_dir(workspace),
    )?;
    Ok(version.trim().to_owned())
}

/// What a program prints; it must succeed.
fn run(program: &'static str, command: &mut Command) -> Result<String, Error> {
    let failed = |message: String| Error::Tool { program, message };
    let output = command
        .env("LC_ALL", "C")
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(said.trim().to_owned()));
    }
    String::from_utf8(output.stdout).map_err(|_| failed("it printed no UTF-8".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_s_note_becomes_facts() {
        let note = "source: 6.12.1-1\nsource sha256: ab\npatches sha256: ef\nrequest sha256: cd\ncompiler: gcc 12\nrecipe: 3\n";
        let facts = KernelFacts::new("6.12.1-1", note);
        assert_eq!(facts.source_sha256.as_deref(), Some("ab"));
        assert_eq!(facts.compiler.as_deref(), Some("gcc 12"));
        assert_eq!(facts.recipe.as_deref(), Some("3"));
        assert_eq!(facts.patches_sha256.as_deref(), Some("ef"));
        assert_eq!(facts.config_sha256.as_deref(), Some("cd"));
    }

    #[test]
    fn this_checkout_s_sources_have_the_tree_of_its_commit_when_nothing_is_changed() {
        let Some(status) = git(&["status", "--porcelain", "--branch"]) else {
            return;
        };
        let is_clean = status.lines().count() == 1;
        let id = source_tree::id(&workspace()).unwrap();
        let words = commit_in_words(&id);
        assert_eq!(words.ends_with(" with changes"), !is_clean, "{words}");
    }
}
