//! `cargo image rebuild --check SHA256SUMS`: what an outsider runs to reproduce a release.
//!
//! The checkout is built as `cargo image` builds it, into a new folder and from nothing, and every
//! file that the release lists must come out with the same digest. Who publishes an image cannot
//! have put anything into it then that is not in these sources.

mod options;
mod sums;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use self::options::Options;
use self::sums::Sum;
use crate::build;
use crate::step::{self, Failed};

/// Rebuilds, compares, and says for each file whether it is the same.
pub fn run(arguments: &[String]) -> Result<(), Failed> {
    let options = options::parse(arguments).map_err(|why| Failed { why })?;
    let released = sums::read(&options.check)?;
    if !options.dirty {
        refuse_changes()?;
    }
    let folder = folder(&options)?;
    println!("rebuilding in {}", folder.display());
    build_from_nothing(&options, &released, &folder)?;

    let rebuilt_folder = folder.join(TARGET).join("image");
    let rebuilt = sums::of_files(&rebuilt_folder, &released)?;
    let (verdicts, different) = compare(&released, &rebuilt);
    print!("{verdicts}");
    println!("the rebuilt files are in {}", rebuilt_folder.display());
    if different.is_empty() {
        println!("reproduced: {} of {} files", released.len(), released.len());
        return Ok(());
    }
    explain(&options, &rebuilt_folder, &folder, &different);
    Err(Failed {
        why: format!(
            "{} of {} files differ from {}: {}",
            different.len(),
            released.len(),
            options.check.display(),
            different.join(", ")
        ),
    })
}

/// A line for each released file, and the names of those that came out otherwise or not at all.
fn compare<'a>(released: &'a [Sum], rebuilt: &[Option<String>]) -> (String, Vec<&'a str>) {
    let (mut lines, mut different) = (String::new(), Vec::new());
    for (sum, found) in released.iter().zip(rebuilt) {
        let Sum { digest, name } = sum;
        let verdict = match found {
            Some(found) if found == digest => format!("same       {digest}  {name}"),
            Some(found) => format!("DIFFERENT  {found}  {name}, released is {digest}"),
            None => format!("MISSING    {digest}  {name}"),
        };
        lines.push_str(&verdict);
        lines.push('\n');
        if found.as_ref() != Some(digest) {
            different.push(name.as_str());
        }
    }
    (lines, different)
}

/// A changed checkout is another program than the released one, and its difference proves nothing.
fn refuse_changes() -> Result<(), Failed> {
    let output = git(&["status", "--porcelain"]);
    let Ok(output) = output else {
        println!("git is not installed: whether this checkout has changes is not known");
        return Ok(());
    };
    if !output.status.success() {
        println!("no git repository: whether these sources have changes is not known");
        return Ok(());
    }
    let changes = String::from_utf8_lossy(&output.stdout);
    let Some(first) = changes.lines().next() else {
        return Ok(());
    };
    Err(Failed {
        why: format!(
            "the checkout has {} changes (the first: {}), so it is not the sources of any release; \
             check the release's commit out, or give --dirty to compare nevertheless",
            changes.lines().count(),
            first.trim()
        ),
    })
}

fn git(arguments: &[&str]) -> std::io::Result<std::process::Output> {
    Command::new("git")
        .args(["-c", "safe.directory=*"])
        .args(arguments)
        .current_dir(build::workspace())
        .output()
}

/// The folder that everything goes into: new, so that nothing of an earlier build is in it.
fn folder(options: &Options) -> Result<PathBuf, Failed> {
    let folder = options.folder.clone().unwrap_or_else(|| {
        let name = format!("outgate-rebuild-{}", std::process::id());
        std::env::temp_dir().join(name)
    });
    let folder = std::path::absolute(&folder).unwrap_or(folder);
    fs::create_dir(&folder).map_err(|error| Failed {
        why: format!(
            "{}: {error}; give --folder a path that does not exist yet",
            folder.display()
        ),
    })?;
    Ok(folder)
}

/// Runs this program's own `image` with folders of its own.
fn build_from_nothing(options: &Options, released: &[Sum], folder: &Path) -> Result<(), Failed> {
    let this = std::env::current_exe().map_err(|error| Failed {
        why: format!("this program does not know where it is: {error}"),
    })?;
    let mut command = Command::new(this);
    command
        .arg("image")
        .env("CARGO_TARGET_DIR", folder.join(TARGET))
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    if options.kernel_too {
        command.env("OUTGATE_CACHE", folder.join("cache"));
    }
    // Nobody else has the publisher's key, and nobody needs it: the signature is published, and it
    // fits the rebuilt manifest or the build ends here.
    if let Some(cert) = released.iter().find(|sum| sum.name.ends_with(".cert")) {
        command
            .arg("--sign-like")
            .arg(options.release().join(&cert.name));
    }
    step::run("build from nothing", command.args(&options.image))
}

/// Keeps a report on every difference, where both files and diffoscope are there.
fn explain(options: &Options, rebuilt: &Path, folder: &Path, different: &[&str]) {
    for name in different {
        let (theirs, ours) = (options.release().join(name), rebuilt.join(name));
        if !theirs.is_file() || !ours.is_file() {
            println!("{name}: no report, as the released file is not beside its digest");
            continue;
        }
        let report = folder.join(format!("{name}.diff.txt"));
        let status = Command::new("diffoscope")
            .arg("--text")
            .args([&report, &theirs, &ours])
            .status();
        match status {
            // diffoscope ends with 1 when there is a difference.
            Ok(status) if report.is_file() => {
                println!("{name}: diffoscope ({status}) wrote {}", report.display());
            }
            Ok(status) => println!("{name}: diffoscope failed: {status}"),
            Err(_) => println!("{name}: no report (apt-get install diffoscope-minimal)"),
        }
    }
}

/// Cargo's folder inside the rebuild's.
const TARGET: &str = "target";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_reproduced_only_when_its_digest_is_the_released_one() {
        let sum = |digest: &str, name: &str| Sum {
            digest: digest.into(),
            name: name.into(),
        };
        let released = [sum("1", "a"), sum("2", "b"), sum("3", "c")];
        let rebuilt = ["1", "0"].map(|digest| Some(digest.to_owned()));
        let rebuilt = rebuilt.into_iter().chain([None]).collect::<Vec<_>>();
        let (lines, different) = compare(&released, &rebuilt);
        assert_eq!(different, ["b", "c"]);
        assert_eq!(
            lines,
            "same       1  a\nDIFFERENT  0  b, released is 2\nMISSING    3  c\n"
        );
    }
}
