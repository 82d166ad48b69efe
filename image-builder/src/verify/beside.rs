//! The files that a list of digests or a signature is about, which lie beside it.

use std::path::Path;

use ovf::certificate::Certificate;

use super::kind::Kind;
use super::report::Report;
use crate::output::{hex, sha256_hex};
use crate::sign;

/// Checks the files in `folder` that `bytes`, of this kind, is about.
pub(super) fn check(kind: Kind, bytes: &[u8], folder: &Path, report: &mut Report) {
    let listed = match kind {
        Kind::Facts => report.need(outputs(bytes)),
        Kind::Manifest => report.need(ovf::manifest::parse(bytes)).map(|files| {
            let in_hex = |(name, digest): (String, [u8; 32])| (name, hex(&digest));
            files.into_iter().map(in_hex).collect()
        }),
        Kind::Signature => return signature(bytes, folder, report),
        Kind::Sums => report.need(sums(bytes)),
        _ => return,
    };
    for (name, digest) in listed.unwrap_or_default() {
        match super::read(&folder.join(&name)) {
            Ok(content) => {
                let found = sha256_hex(&content);
                let text = if found == digest {
                    format!("{name}: {digest}")
                } else {
                    format!("{name}: sha256 {found}, listed is {digest}")
                };
                report.check(found == digest, &text);
            }
            Err(reason) => report.wrong(&format!("{name}: {reason}")),
        }
    }
}

fn signature(bytes: &[u8], folder: &Path, report: &mut Report) {
    let Some(certificate) = report.need(Certificate::parse(bytes)) else {
        return;
    };
    let name = certificate.manifest;
    match super::read(&folder.join(&name)) {
        Ok(manifest) => match sign::verify(bytes, &name, &manifest) {
            Ok(signature) => report.good(&format!("{name}: {signature}")),
            Err(error) => report.wrong(&format!("{name}: {error}")),
        },
        Err(reason) => report.wrong(&format!("{name}: {reason}")),
    }
}

/// Name and digest of each `output` line of a build manifest.
pub(super) fn outputs(bytes: &[u8]) -> Result<Vec<(String, String)>, String> {
    let text = text(bytes)?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("output "));
    lines
        .map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            [digest, _, name] if ovf::file_name::is_file_name(name) => {
                Ok((name.to_owned(), digest.to_owned()))
            }
            _ => Err(format!(
                "the line {line:.100?} is not digest, bytes and name"
            )),
        })
        .collect()
}

/// Name and digest of each line; empty lines and comments are passed over as `sha256sum` does.
pub(super) fn sums(bytes: &[u8]) -> Result<Vec<(String, String)>, String> {
    text(bytes)?
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (digest, name) = line.split_once("  ").unwrap_or_default();
            let is_digest = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_digest || !ovf::file_name::is_file_name(name) {
                let start: String = line.chars().take(100).collect();
                return Err(format!(
                    "the line {start:?} is not 64 hex digits, two spaces and a file name"
                ));
            }
            Ok((name.to_owned(), digest.to_lowercase()))
        })
        .collect()
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8 text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Scratch;

    #[test]
    fn each_listed_file_is_read_and_compared() {
        let scratch = Scratch::new(&std::env::temp_dir()).unwrap();
        std::fs::write(scratch.path().join("a.raw"), "disk").unwrap();
        let digest = sha256_hex(b"disk");
        let report = |text: &str| {
            let mut report = Report::default();
            check(Kind::Sums, text.as_bytes(), scratch.path(), &mut report);
            report
        };
        assert!(report(&format!("# a comment\n{digest}  a.raw\n")).holds());
        assert!(!report(&format!("{}  a.raw\n", "0".repeat(64))).holds());
        assert!(!report(&format!("{digest}  missing\n")).holds());
        assert!(!report(&format!("{digest}  ../a.raw\n")).holds());
        assert!(!report(&format!("{digest} a.raw\n")).holds());
    }
}
