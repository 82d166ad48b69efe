//! The command line of `cargo image rebuild`.

use std::path::{Path, PathBuf};

/// How it is used.
pub const USAGE: &str = "\
usage: cargo image rebuild --check SHA256SUMS [options]
         builds this checkout from nothing and compares the result with a release; files that lie
         beside SHA256SUMS are compared in detail when they differ
           --folder DIR    where the rebuilt files go; must not exist  [in the temporary folder]
           --kernel-too    builds the kernel too, and takes none from the cache
           --dirty         goes on when the checkout has changes
           --edge, --kernel  are handed on: a release made with them is rebuilt with them";

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The release's digests.
    pub check: PathBuf,
    /// Where the rebuilt files go.
    pub folder: Option<PathBuf>,
    /// The kernel is built too.
    pub kernel_too: bool,
    /// Changes of the checkout are accepted.
    pub dirty: bool,
    /// Options of the image's build.
    pub image: Vec<String>,
}

impl Options {
    /// The folder with the release.
    pub fn release(&self) -> &Path {
        match self.check.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }
}

/// Reads the arguments behind `rebuild`.
///
/// # Errors
/// What is wrong, and the usage.
pub fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    let refuse = |what: String| format!("{what}\n{USAGE}");
    while let Some(option) = arguments.next() {
        let mut value = || {
            let value = arguments.next().cloned();
            value.ok_or_else(|| refuse(format!("{option} needs a value")))
        };
        match option.as_str() {
            "--check" => options.check = value()?.into(),
            "--folder" => options.folder = Some(value()?.into()),
            "--kernel-too" => options.kernel_too = true,
            "--dirty" => options.dirty = true,
            "--edge" | "--kernel" => {
                let value = value()?;
                options.image.extend([option.clone(), value]);
            }
            other => return Err(refuse(format!("{other:?} is no option of rebuild"))),
        }
    }
    if options.check.as_os_str().is_empty() {
        return Err(refuse("--check SHA256SUMS is missing".into()));
    }
    // The build runs in the checkout, whatever folder the user is in.
    options.check = std::path::absolute(&options.check).unwrap_or(options.check);
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(arguments: &[&str]) -> Result<Options, String> {
        let arguments: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
        parse(&arguments)
    }

    #[test]
    fn everything_can_be_given() {
        let options = of(&[
            "--check",
            "/r/SHA256SUMS",
            "--kernel-too",
            "--edge",
            "edge.example.org",
            "--dirty",
            "--folder",
            "f",
        ])
        .unwrap();
        assert_eq!(options.release(), Path::new("/r"));
        assert!(options.kernel_too && options.dirty);
        assert_eq!(options.image, ["--edge", "edge.example.org"]);
        assert_eq!(options.folder, Some("f".into()));
    }

    #[test]
    fn each_mistake_is_named_with_the_usage() {
        for (arguments, needle) in [
            (&[][..], "--check SHA256SUMS is missing"),
            (&["--check"], "needs a value"),
            (&["--check", "s", "--fast"], "\"--fast\" is no option"),
        ] {
            let said = of(arguments).unwrap_err();
            assert!(said.contains(needle) && said.contains("usage:"), "{said}");
        }
    }
}
