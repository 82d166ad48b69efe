//! Lists of digests, as `sha256sum` writes them.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::step::Failed;

/// A released file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum {
    /// SHA-256, 64 lower-case hex digits.
    pub digest: String,
    /// Its name, without a folder.
    pub name: String,
}

/// The files that `list` names.
pub fn read(list: &Path) -> Result<Vec<Sum>, Failed> {
    let refuse = |why: String| Failed {
        why: format!("{}: {why}", list.display()),
    };
    let text = fs::read_to_string(list).map_err(|error| refuse(error.to_string()))?;
    parse(&text).map_err(refuse)
}

fn parse(text: &str) -> Result<Vec<Sum>, String> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let sums: Result<Vec<Sum>, String> = lines.map(parse_line).collect();
    match sums? {
        none if none.is_empty() => Err("it lists no file".into()),
        sums => Ok(sums),
    }
}

fn parse_line(line: &str) -> Result<Sum, String> {
    let (digest, name) = line.split_once("  ").unwrap_or_default();
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_name = !name.is_empty() && !name.starts_with(['.', '-']) && name.bytes().all(plain);
    if !is_digest || !is_name {
        return Err(format!(
            "the line {line:?} is not 64 hex digits, two spaces and a file name"
        ));
    }
    Ok(Sum {
        digest: digest.to_lowercase(),
        name: name.into(),
    })
}

/// The digests of the same files in `folder`, in the same order; nothing for a file that is missing.
///
/// `sha256sum` reads them: what is compared is on disk, and its digest is not the builder's word.
pub fn of_files(folder: &Path, files: &[Sum]) -> Result<Vec<Option<String>>, Failed> {
    files
        .iter()
        .map(|file| of_file(folder, &file.name))
        .collect()
}

fn of_file(folder: &Path, name: &str) -> Result<Option<String>, Failed> {
    if !folder.join(name).is_file() {
        return Ok(None);
    }
    let output = Command::new("sha256sum")
        .args(["--", name])
        .current_dir(folder)
        .output()
        .map_err(|error| Failed {
            why: format!("sha256sum cannot be started: {error}"),
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    match parse(&text) {
        Ok(sums) => Ok(sums.into_iter().next().map(|sum| sum.digest)),
        Err(_) => Err(Failed {
            why: format!("sha256sum failed on {name}: {}", output.status),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_anything_else_refused() {
        let digest = "0".repeat(63) + "A";
        let sums = parse(&format!("# a comment\n{digest}  outgate.raw\n")).unwrap();
        assert_eq!(sums[0].name, "outgate.raw");
        assert_eq!(sums[0].digest, digest.to_lowercase());
        for text in [
            String::new(),
            format!("{digest} outgate.raw"),
            format!("{digest}  ../outgate.raw"),
            format!("{digest}  -rf"),
            "00  outgate.raw".into(),
        ] {
            assert!(parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn digests_are_those_of_the_files_on_disk_and_missing_files_have_none() {
        let folder = std::env::temp_dir().join(format!("outgate-sums-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a"), "").unwrap();
        let named = |name: &str| Sum {
            digest: String::new(),
            name: name.into(),
        };
        let found = of_files(&folder, &[named("missing"), named("a")]).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(found, [None, Some(empty.to_owned())]);
    }
}
