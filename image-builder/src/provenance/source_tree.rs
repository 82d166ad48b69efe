//! The identity of the sources: the id that git gives to a tree with this content.
//!
//! A commit cannot be a fact of the build: an unpacked archive of the same files has none. The
//! tree's id is a digest of names, contents and executable bits alone, so equal sources have equal
//! ids wherever they lie, and `git rev-parse COMMIT^{tree}` tells whether a commit is the one.
//! What `.gitignore` names at the root and folders that cargo marked as its own are left out.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use crate::Error;

/// The id of the tree at `root`, 40 hex digits.
///
/// # Errors
/// When a file cannot be read.
pub fn id(root: &Path) -> Result<String, Error> {
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    let left_out: Vec<PathBuf> = ignored
        .lines()
        .filter_map(|line| line.trim().strip_prefix('/'))
        .chain([".git"])
        .map(|path| root.join(path.trim_end_matches('/')))
        .collect();
    let id = tree(root, &left_out)?.unwrap_or_else(|| object("tree", b""));
    Ok(crate::output::hex(&id))
}

/// An object's id in git's binary form.
type Id = [u8; 20];

/// The tree of one folder; nothing when there is no file in it, as git does not know such folders.
fn tree(folder: &Path, left_out: &[PathBuf]) -> Result<Option<Id>, Error> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::file(folder))? {
        let path = entry.map_err(Error::file(folder))?.path();
        if !left_out.contains(&path)
            && let Some(entry) = Entry::read(&path, left_out)?
        {
            entries.push(entry);
        }
    }
    if entries.is_empty() {
        return Ok(None);
    }
    entries.sort_by_key(Entry::sort_key);
    let mut content = Vec::new();
    for Entry { mode, name, id } in &entries {
        content.extend_from_slice(mode.as_bytes());
        content.push(b' ');
        content.extend_from_slice(name);
        content.push(0);
        content.extend_from_slice(id);
    }
    Ok(Some(object("tree", &content)))
}

/// One line of a tree.
struct Entry {
    mode: &'static str,
    name: Vec<u8>,
    id: Id,
}

impl Entry {
    fn read(path: &Path, left_out: &[PathBuf]) -> Result<Option<Self>, Error> {
        let about = fs::symlink_metadata(path).map_err(Error::file(path))?;
        let (mode, id) = if about.is_dir() {
            if path.join(CARGO_FOLDER_MARK).exists() {
                return Ok(None);
            }
            let Some(id) = tree(path, left_out)? else {
                return Ok(None);
            };
            (FOLDER, id)
        } else if about.is_symlink() {
            let target = fs::read_link(path).map_err(Error::file(path))?;
            ("120000", object("blob", target.as_os_str().as_bytes()))
        } else if about.is_file() {
            let content = fs::read(path).map_err(Error::file(path))?;
            let is_executable = about.permissions().mode() & 0o100 != 0;
            let mode = if is_executable { "100755" } else { "100644" };
            (mode, object("blob", &content))
        } else {
            // Sockets and the like are no sources.
            return Ok(None);
        };
        let name = path.file_name().unwrap_or_default().as_bytes().to_vec();
        Ok(Some(Self { mode, name, id }))
    }

    /// git compares a folder's name as if it ended in a slash.
    fn sort_key(&self) -> Vec<u8> {
        let mut key = self.name.clone();
        if self.mode == FOLDER {
            key.push(b'/');
        }
        key
    }
}

fn object(kind: &str, content: &[u8]) -> Id {
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(format!("{kind} {}\0", content.len()).as_bytes());
    digest.update(content);
    let mut id = Id::default();
    id.copy_from_slice(digest.finish().as_ref());
    id
}

const FOLDER: &str = "40000";
/// <https://bford.info/cachedir/>: cargo puts it into its target folders.
const CARGO_FOLDER_MARK: &str = "CACHEDIR.TAG";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Scratch;
    use std::os::unix::fs::symlink;

    #[test]
    fn objects_have_the_ids_that_git_gives_them() {
        // `git hash-object -t tree /dev/null` and `echo hello | git hash-object --stdin`.
        assert_eq!(
            crate::output::hex(&object("tree", b"")),
            "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
        );
        assert_eq!(
            crate::output::hex(&object("blob", b"hello\n")),
            "ce013625030ba8dba906f756967f9e9ca394464a"
        );
    }

    #[test]
    fn a_tree_has_the_id_that_git_gives_it_and_ignored_folders_do_not_count() {
        let scratch = Scratch::new(&std::env::temp_dir()).unwrap();
        let root = scratch.path();
        for folder in ["a/b", "a.d", "target", "empty", "cargo"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (name, content) in [
            (".gitignore", "/target\n"),
            ("a/b/file", "1\n"),
            ("a.d/file", "2\n"),
            ("run", "#!\n"),
            ("target/built", "3\n"),
            ("cargo/CACHEDIR.TAG", "4\n"),
        ] {
            fs::write(root.join(name), content).unwrap();
        }
        fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("run", root.join("link")).unwrap();
        assert_eq!(id(root).unwrap(), GIT_SAYS);
        fs::set_permissions(root.join("run"), fs::Permissions::from_mode(0o600)).unwrap();
        assert_ne!(id(root).unwrap(), GIT_SAYS);
    }

    /// `git add . && git write-tree` in the folder that the test above makes.
    const GIT_SAYS: &str = "7df8e1c2bc09ba64ee2258b77c4cb0bc6dd1c3ea";
}
