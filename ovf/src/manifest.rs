//! The manifest: the SHA-256 of every file of a package (DSP0243 section 5.1).
//!
//! One line for each file, exactly `SHA256(name)= hex` and a line feed. VMware's tools take no
//! other spacing, so that is all that is written and all that is read.

use std::fmt;

use crate::file_name::{FILE_NAME_WANTED, is_file_name};
use crate::hex;
use crate::shown::shown;

/// Longest manifest that is read, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024;
/// Most files in a manifest: a package of ours has two.
pub const MANIFEST_FILES_MAX: usize = 64;

/// The manifest of `files`, each a name ([`is_file_name`]) and the SHA-256 of its content, in the
/// order given.
#[must_use]
pub fn emit(files: &[(&str, [u8; 32])]) -> String {
    files
        .iter()
        .map(|(name, digest)| digest_line(name, digest))
        .collect()
}

/// The files that a manifest lists and the SHA-256 of each, in its order; at least one.
///
/// # Errors
/// When the text is longer than [`MANIFEST_BYTES_MAX`], lists no file, more than
/// [`MANIFEST_FILES_MAX`] or one of them twice, or has a line of any other form.
pub fn parse(text: &[u8]) -> Result<Vec<(String, [u8; 32])>, ManifestError> {
    if text.len() > MANIFEST_BYTES_MAX {
        return Err(ManifestError::TooLong { bytes: text.len() });
    }
    let mut files: Vec<(String, [u8; 32])> = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let line = files.len() + 1;
        if files.len() == MANIFEST_FILES_MAX {
            return Err(ManifestError::TooManyFiles);
        }
        let (name, digest, after) = split_line(rest, line)?;
        if files.iter().any(|(known, _)| known == name) {
            let name = shown(name);
            return Err(ManifestError::Duplicate { line, name });
        }
        files.push((name.to_owned(), digest));
        rest = after;
    }
    if files.is_empty() {
        return Err(ManifestError::Empty);
    }
    Ok(files)
}

/// The line for one file or, in a certificate, for the signature of the manifest.
pub(crate) fn digest_line(name: &str, bytes: &[u8]) -> String {
    format!("SHA256({name})= {}\n", hex::emit(bytes))
}

/// The name and the bytes of a line without its line feed.
pub(crate) fn parse_digest_line(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, digits) = line.strip_prefix("SHA256(")?.split_once(")= ")?;
    Some((name, hex::parse(digits)?))
}

/// The first line of `text`, and what is behind it.
fn split_line(text: &[u8], line: usize) -> Result<(&str, [u8; 32], &[u8]), ManifestError> {
    let end = text.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or(ManifestError::NoLineFeed { line })?;
    let content = &text[..end];
    let error = || ManifestError::Line {
        line,
        text: shown(&String::from_utf8_lossy(content)),
    };
    let readable = std::str::from_utf8(content).map_err(|_| error())?;
    let (name, digest) = parse_digest_line(readable).ok_or_else(error)?;
    let digest = digest.try_into().map_err(|_| error())?;
    if !is_file_name(name) {
        let name = shown(name);
        return Err(ManifestError::Name { line, name });
    }
    Ok((name, digest, &text[end + 1..]))
}

/// Why a manifest is refused. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestError {
    /// A file is listed twice.
    Duplicate {
        /// The second line of it.
        line: usize,
        /// The file, escaped.
        name: String,
    },
    /// No file is listed.
    Empty,
    /// A line has another form.
    Line {
        /// Which.
        line: usize,
        /// Its start, escaped.
        text: String,
    },
    /// A name is not one of a file of a package.
    Name {
        /// In which line.
        line: usize,
        /// Its start, escaped.
        name: String,
    },
    /// The last line has no line feed: the file may have been cut off.
    NoLineFeed {
        /// Which.
        line: usize,
    },
    /// The text is too long.
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// Too many files are listed.
    TooManyFiles,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { line, name } => write!(
                f,
                "manifest line {line}: \"{name}\" is listed twice; list each file once"
            ),
            Self::Empty => write!(
                f,
                "the manifest lists no file; list each file of the package"
            ),
            Self::Line { line, text } => write!(
                f,
                "manifest line {line}: \"{text}\" is not of the form \"SHA256(name)= hex\" with 64 \
                 lower-case digits and a line feed alone behind them; write the manifest again"
            ),
            Self::Name { line, name } => write!(
                f,
                "manifest line {line}: \"{name}\" is not a file name; use {FILE_NAME_WANTED}"
            ),
            Self::NoLineFeed { line } => write!(
                f,
                "manifest line {line} has no line feed at its end; fetch the file again, it may \
                 have been cut off"
            ),
            Self::TooLong { bytes } => write!(
                f,
                "the manifest has {bytes} bytes; the limit is {MANIFEST_BYTES_MAX}: this is not a \
                 manifest"
            ),
            Self::TooManyFiles => write!(
                f,
                "the manifest lists more than {MANIFEST_FILES_MAX} files; this is not a package of \
                 Outgate"
            ),
        }
    }
}

impl std::error::Error for ManifestError {}

/// Fuzz body: no text makes the parser panic, and what is accepted is written as it was read.
pub fn fuzz_manifest(data: &[u8]) {
    match parse(data) {
        Ok(files) => {
            let files: Vec<_> = files
                .iter()
                .map(|(n, digest)| (n.as_str(), *digest))
                .collect();
            assert_eq!(emit(&files).as_bytes(), data);
        }
        Err(error) => assert!(error.to_string().is_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutate::mutants;
    use proptest::prelude::*;

    const DIGITS: &str = "00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff";

    #[test]
    fn a_line_is_exactly_as_vmware_wants_it() {
        let digest: [u8; 32] = hex::parse(DIGITS).unwrap().try_into().unwrap();
        let text = emit(&[("a.ovf", digest), ("a.vmdk", digest)]);
        assert_eq!(
            text,
            format!("SHA256(a.ovf)= {DIGITS}\nSHA256(a.vmdk)= {DIGITS}\n")
        );
        let files = parse(text.as_bytes()).unwrap();
        assert_eq!(
            files,
            [("a.ovf".to_owned(), digest), ("a.vmdk".to_owned(), digest)]
        );
    }

    #[test]
    fn any_other_form_is_refused_with_the_line_named() {
        let good = format!("SHA256(a.ovf)= {DIGITS}\n");
        let cases = [
            (String::new(), "lists no file"),
            (good.replace('\n', ""), "line 1 has no line feed"),
            (good.replace('\n', "\r\n"), "line 1: \"SHA256(a.ovf)"),
            (good.replace(")= ", ")="), "not of the form"),
            (good.replace(")= ", ") = "), "not of the form"),
            (good.replace("ff", "FF"), "not of the form"),
            (good.replace("256", "1"), "not of the form"),
            (good.replacen("00ff", "", 1), "not of the form"),
            (good.replace("a.ovf", "../a"), "is not a file name"),
            (good.replace("a.ovf", ""), "is not a file name"),
            (format!("{good}{good}"), "line 2: \"a.ovf\" is listed twice"),
            (format!("{good}\n"), "line 2: \"\" is not of the form"),
        ];
        for (text, says) in cases {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_manifest_is_measured_before_it_is_read() {
        let long = vec![b'\n'; MANIFEST_BYTES_MAX + 1];
        let error = parse(&long).unwrap_err();
        assert_eq!(error, ManifestError::TooLong { bytes: long.len() });
        let many: String = (0..=MANIFEST_FILES_MAX)
            .map(|index| digest_line(&format!("f{index}"), &[0; 32]))
            .collect();
        assert_eq!(parse(many.as_bytes()), Err(ManifestError::TooManyFiles));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzz_manifest(&data);
        }

        #[test]
        fn no_mutant_makes_the_parser_panic(
            data in mutants(emit(&[("a.ovf", [7; 32]), ("a.vmdk", [8; 32])]).into_bytes())
        ) {
            fuzz_manifest(&data);
        }
    }
}
