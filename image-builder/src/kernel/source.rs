//! Obtains the source package: the pinned version, or with a notice the newest one the mirror has.

use super::error::{At as _, Error};
use super::{Progress, hex};
use kernel_config::Source;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A source package on this machine.
#[derive(Debug)]
pub(super) struct Package {
    /// The `.deb`.
    pub(super) file: PathBuf,
    /// Debian's version.
    pub(super) version: String,
    /// SHA-256 of the file, hex.
    pub(super) sha256: String,
    /// True if this is the pinned version, and therefore verified.
    pub(super) is_pinned: bool,
}

/// Finds the source in `sources` or downloads it there.
///
/// The pinned package is verified against the pin. A substitute is what apt's signed lists say it is.
///
/// # Errors
/// [`Error::Digest`], [`Error::NoSource`], [`Error::File`].
pub(super) fn obtain(
    sources: &Path,
    pin: &Source,
    mirror: &dyn Mirror,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Package, Error> {
    fs::create_dir_all(sources).at(sources)?;
    super::directory::remove_abandoned_builds(sources)?;
    match download(sources, &pin.package, &pin.version, mirror, progress)? {
        Ok(file) => verified(file, pin),
        Err(said) => substitute(sources, pin, said, mirror, progress),
    }
}

fn verified(file: PathBuf, pin: &Source) -> Result<Package, Error> {
    let sha256 = sha256_of(&file)?;
    if sha256 != pin.sha256 {
        return Err(Error::Digest {
            file,
            wanted: pin.sha256.clone(),
            got: sha256,
        });
    }
    Ok(Package {
        file,
        version: pin.version.clone(),
        sha256,
        is_pinned: true,
    })
}

fn substitute(
    sources: &Path,
    pin: &Source,
    said: String,
    mirror: &dyn Mirror,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Package, Error> {
    let none = |said| Error::NoSource {
        package: pin.package.clone(),
        version: pin.version.clone(),
        said,
    };
    let Some(version) = mirror
        .newest(&pin.package)
        .filter(|version| *version != pin.version)
    else {
        return Err(none(said));
    };
    progress(Progress::Notice(&notice(pin, &version)));
    let file = download(sources, &pin.package, &version, mirror, progress)?.map_err(none)?;
    let sha256 = sha256_of(&file)?;
    Ok(Package {
        file,
        version,
        sha256,
        is_pinned: false,
    })
}

fn notice(pin: &Source, version: &str) -> String {
    let rule = "*".repeat(100);
    format!(
        "{rule}\nThe pinned kernel source {} {} is gone from the mirror; building {version}.\n\
         The hashes of this image WILL DIFFER from published ones. To pin it: kernel-config/kernel.toml.\n{rule}",
        pin.package, pin.version
    )
}

/// The file of that version, downloaded unless it is there; the inner error is what apt said.
///
/// It is downloaded beside its place and renamed, so a file under its final name is whole.
fn download(
    sources: &Path,
    package: &str,
    version: &str,
    mirror: &dyn Mirror,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Result<PathBuf, String>, Error> {
    let file = sources.join(format!("{package}_{}.deb", version.replace(':', "%3a")));
    if file.is_file() {
        return Ok(Ok(file));
    }
    progress(Progress::Step(&format!(
        "downloading {package} {version} (about 150 MB)"
    )));
    let scratch = super::directory::Scratch::new(sources)?;
    if let Err(said) = mirror.download(package, version, scratch.path())? {
        return Ok(Err(said));
    }
    match fs::read_dir(scratch.path()).at(scratch.path())?.next() {
        None => Ok(Err("it succeeded and left no file".into())),
        Some(entry) => {
            fs::rename(entry.at(scratch.path())?.path(), &file).at(&file)?;
            Ok(Ok(file))
        }
    }
}

/// Where packages come from.
pub(super) trait Mirror {
    /// Puts that version's `.deb` into the empty folder `into`; the inner error is what the mirror's client said.
    fn download(
        &self,
        package: &str,
        version: &str,
        into: &Path,
    ) -> Result<Result<(), String>, Error>;

    /// The newest version of `package` that the lists have.
    fn newest(&self, package: &str) -> Option<String>;
}

/// The mirrors of this machine's `sources.list`.
pub(super) struct Apt;

impl Mirror for Apt {
    fn download(
        &self,
        package: &str,
        version: &str,
        into: &Path,
    ) -> Result<Result<(), String>, Error> {
        let output = Command::new("apt-get")
            .args(["download", "-q", &format!("{package}={version}")])
            .env("LC_ALL", "C")
            .current_dir(into)
            .output()
            .at(Path::new("apt-get"))?;
        let said = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Ok(output.status.success().then_some(()).ok_or_else(said))
    }

    fn newest(&self, package: &str) -> Option<String> {
        let output = Command::new("apt-cache")
            .args(["madison", package])
            .env("LC_ALL", "C")
            .output()
            .ok()?;
        first_version(&String::from_utf8_lossy(&output.stdout))
    }
}

/// `apt-cache madison` prints ` package | version | origin`, newest first.
fn first_version(madison: &str) -> Option<String> {
    let version = madison.lines().next()?.split('|').nth(1)?.trim();
    (!version.is_empty()).then(|| version.to_owned())
}

fn sha256_of(path: &Path) -> Result<String, Error> {
    let mut digest = Sha256::new();
    let mut file = File::open(path).at(path)?;
    io::copy(&mut file, &mut digest).at(path)?;
    Ok(hex(&digest.finalize()))
}

#[cfg(test)]
mod tests {
    use super::super::directory::Scratch;
    use super::*;

    fn pin() -> Source {
        kernel_config::source()
    }

    /// A mirror with one version of the package.
    struct Fake(&'static str);

    impl Mirror for Fake {
        fn download(
            &self,
            _: &str,
            version: &str,
            into: &Path,
        ) -> Result<Result<(), String>, Error> {
            if version != self.0 {
                return Ok(Err(format!("E: Version '{version}' was not found")));
            }
            let file = into.join("some-name.deb");
            fs::write(&file, "a kernel").at(&file).map(Ok)
        }

        fn newest(&self, _: &str) -> Option<String> {
            Some(self.0.to_owned()).filter(|version| !version.is_empty())
        }
    }

    /// What `obtain` returns and what it reported, with an empty folder and then, with the same folder, once more.
    fn obtained_twice(pin: &Source, mirror: &Fake) -> [(Result<Package, Error>, String); 2] {
        let sources = Scratch::new(&std::env::temp_dir()).unwrap();
        [(); 2].map(|()| {
            let mut said = String::new();
            let package = obtain(sources.path(), pin, mirror, &mut |step| {
                said.push_str(&format!("{step:?}"))
            });
            (package, said)
        })
    }

    #[test]
    fn the_pinned_package_is_downloaded_once_and_verified() {
        let pin = Source {
            sha256: hex(&Sha256::digest("a kernel")),
            version: "6.12.1".into(),
            ..pin()
        };
        let [(first, said), (second, said_again)] = obtained_twice(&pin, &Fake("6.12.1"));
        assert!(first.unwrap().is_pinned && second.unwrap().is_pinned);
        assert!(
            said.contains("downloading") && said_again.is_empty(),
            "{said} {said_again}"
        );
    }

    #[test]
    fn a_package_with_another_digest_than_pinned_is_refused_with_both() {
        let pin = Source {
            version: "6.12.1".into(),
            ..pin()
        };
        let [(first, _), (second, _)] = obtained_twice(&pin, &Fake("6.12.1"));
        for refused in [
            first.unwrap_err().to_string(),
            second.unwrap_err().to_string(),
        ] {
            assert!(
                refused.contains(&pin.sha256) && refused.contains("has sha256"),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_pinned_version_that_is_gone_is_replaced_by_the_newest_with_a_loud_notice_each_time() {
        for (package, said) in obtained_twice(&pin(), &Fake("6.12.999-1")) {
            let package = package.unwrap();
            assert_eq!(
                (package.version.as_str(), package.is_pinned),
                ("6.12.999-1", false)
            );
            assert_eq!(package.sha256, hex(&Sha256::digest("a kernel")));
            assert!(
                said.contains("Notice") && said.contains("WILL DIFFER"),
                "{said}"
            );
        }
    }

    #[test]
    fn without_any_version_the_error_repeats_what_the_mirror_said_and_what_to_do() {
        let [(refused, _), _] = obtained_twice(&pin(), &Fake(""));
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("was not found") && refused.contains("apt-get update"),
            "{refused}"
        );
    }

    #[test]
    fn the_newest_version_is_the_first_that_apt_lists() {
        let listed = " linux-source-6.12 | 6.12.117-1 | a\n linux-source-6.12 | 6.12.115-2 | b\n";
        assert_eq!(first_version(listed).as_deref(), Some("6.12.117-1"));
        assert_eq!(first_version(""), None);
        assert_eq!(first_version("N: Unable to locate"), None);
    }

    #[test]
    fn the_notice_names_both_versions_and_the_consequence() {
        let said = notice(&pin(), "6.12.999-1");
        for part in [
            pin().version.as_str(),
            "6.12.999-1",
            "WILL DIFFER",
            "kernel.toml",
        ] {
            assert!(said.contains(part), "{said}");
        }
    }
}
