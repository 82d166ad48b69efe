//! The kernel of the image: built once per source, configuration and compiler, then taken from the cache.
//!
//! [`ensure`] is the one entry. Its cache lies outside the checkout (see [`cache_directory`]):
//!
//! ```text
//! kernel/sources/*.deb     source packages as downloaded, verified before each use
//! kernel/<key>/            bzImage, vmlinux, System.map, config, inputs
//! kernel/logs/<key>.log    what make said
//! kernel/build-*/          a build under way; removed when it ends, or by the next builder when it was killed
//! kernel/lock              held by whoever builds
//! ```
//! `<key>` is the SHA-256 of everything that decides the kernel's bytes; `inputs` says them in words. A directory
//! `kernel/<key>` appears by one rename and is complete, so readers take no lock.

mod compile;
mod directory;
mod error;
mod progress;
mod source;
mod tools;

pub use directory::cache_directory;
pub use error::Error;
pub use progress::{Printer, Progress};

use error::At as _;
use kernel_config::{PATCHES, Patch, Request};
use sha2::{Digest as _, Sha256};
use source::Package;
use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A built kernel in the cache. All paths exist when [`ensure`] returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The kernel that boot loaders start.
    pub bz_image: PathBuf,
    /// The same with symbols, to decode the addresses of a panic.
    pub vmlinux: PathBuf,
    /// Addresses of all symbols, as text.
    pub system_map: PathBuf,
    /// The configuration as Kconfig resolved it.
    pub config: PathBuf,
    /// What it was built from: `name: value` lines.
    pub inputs: PathBuf,
    /// Debian's version of the source.
    pub version: String,
    /// False if the pinned source was gone: the image's hashes then differ from published ones.
    pub is_pinned: bool,
    /// 64 hex digits naming everything that decides the kernel's bytes.
    pub key: String,
}

/// Returns the kernel for this checkout's configuration, building it when the cache has none.
///
/// A build takes 6 to 12 minutes on two cores and needs 2.3 GB under `cache`; everything else returns at once. Two
/// processes may call this at the same time: the second waits for the first and takes its result.
///
/// # Errors
/// Every [`Error`] names what to do. An interrupted or failed build leaves nothing in the cache but its log.
pub fn ensure(cache: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Kernel, Error> {
    let request = kernel_config::request().map_err(Error::Configuration)?;
    let directory = cache.join("kernel");
    let compiler = tools::compiler()?;
    let pin = kernel_config::source();
    let pinned = Inputs {
        request: &request,
        version: &pin.version,
        sha256: &pin.sha256,
        compiler: &compiler,
        patches: PATCHES,
    };
    if let Some(kernel) = pinned.cached(&directory, true) {
        return Ok(kernel);
    }
    fs::create_dir_all(&directory).at(&directory)?;
    let _lock = lock(&directory, progress)?;
    if let Some(kernel) = pinned.cached(&directory, true) {
        return Ok(kernel);
    }
    tools::check()?;
    let package = source::obtain(&directory.join("sources"), &pin, &source::Apt, progress)?;
    let inputs = Inputs {
        version: &package.version,
        sha256: &package.sha256,
        ..pinned
    };
    match inputs.cached(&directory, package.is_pinned) {
        Some(kernel) => Ok(kernel),
        None => inputs.build(&directory, &pin, &package, progress),
    }
}

/// The program `image-builder kernel`: builds or finds the kernel and prints the path of its `bzImage`.
///
/// Progress and errors go to standard error.
#[must_use]
pub fn main_ensure() -> ExitCode {
    let mut printer = Printer::new();
    let built = cache_directory().and_then(|cache| ensure(&cache, &mut |step| printer.show(step)));
    printer.finish();
    let printed = match built {
        Ok(kernel) => writeln!(std::io::stdout(), "{}", kernel.bz_image.display()),
        Err(error) => {
            eprintln!("kernel  {error}");
            return ExitCode::FAILURE;
        }
    };
    if printed.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Everything that decides the kernel's bytes.
#[derive(Clone, Copy)]
struct Inputs<'a> {
    request: &'a Request,
    version: &'a str,
    sha256: &'a str,
    compiler: &'a str,
    patches: &'a [Patch],
}

impl Inputs<'_> {
    /// In words; the text whose digest is the key. The command line is part of the request.
    fn describe(&self) -> String {
        let request = hex(&Sha256::digest(self.request.allconfig()));
        let Self {
            version,
            sha256,
            compiler,
            ..
        } = self;
        format!(
            "source: {version}\nsource sha256: {sha256}\npatches sha256: {}\nrequest sha256: {request}\n\
             compiler: {compiler}\nrecipe: {}\n",
            self.patches_digest(),
            compile::RECIPE
        )
    }

    /// Over the patches in their order. The length before each keeps two that share an end apart.
    fn patches_digest(&self) -> String {
        let mut digest = Sha256::new();
        for patch in self.patches {
            digest.update((patch.text.len() as u64).to_le_bytes());
            digest.update(patch.text);
        }
        hex(&digest.finalize())
    }

    fn key(&self) -> String {
        hex(&Sha256::digest(self.describe()))
    }

    fn cached(&self, directory: &Path, is_pinned: bool) -> Option<Kernel> {
        let kernel = self.kernel(directory, is_pinned);
        let Kernel {
            bz_image,
            vmlinux,
            system_map,
            config,
            inputs,
            ..
        } = &kernel;
        [bz_image, vmlinux, system_map, config, inputs]
            .iter()
            .all(|path| path.is_file())
            .then_some(kernel)
    }

    fn kernel(&self, directory: &Path, is_pinned: bool) -> Kernel {
        let key = self.key();
        let home = directory.join(&key);
        Kernel {
            bz_image: home.join("bzImage"),
            vmlinux: home.join("vmlinux"),
            system_map: home.join("System.map"),
            config: home.join("config"),
            inputs: home.join("inputs"),
            version: self.version.to_owned(),
            is_pinned,
            key,
        }
    }

    /// Builds in a directory of its own and moves the result into the cache. The caller holds the lock.
    fn build(
        &self,
        directory: &Path,
        pin: &kernel_config::Source,
        package: &Package,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Kernel, Error> {
        directory::remove_abandoned_builds(directory)?;
        let scratch = directory::Scratch::new(directory)?;
        let logs = directory.join("logs");
        fs::create_dir_all(&logs).at(&logs)?;
        let build = compile::Build {
            scratch: scratch.path(),
            log: &logs.join(format!("{}.log", self.key())),
            object_count: &directory.join("object-count"),
            built_at: &pin.built_at,
            package: &pin.package,
            patches: self.patches,
        };
        let result = build.run(self.request, &package.file, progress)?;
        let note = result.join("inputs");
        fs::write(&note, self.describe()).at(&note)?;
        let kernel = self.kernel(directory, package.is_pinned);
        directory::publish(&result, &directory.join(&kernel.key))?;
        Ok(kernel)
    }
}

/// Takes the builders' lock; it is released when the file is dropped, or when the process ends in whatever way.
fn lock(directory: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<File, Error> {
    let path = directory.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .at(&path)?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {
            progress(Progress::Step("waiting for another build of the kernel"))
        }
        Err(TryLockError::Error(error)) => return Err(error).at(&path),
    }
    file.lock().at(&path)?;
    Ok(file)
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        kernel_config::request().unwrap()
    }

    #[test]
    fn each_input_changes_the_key() {
        let (request, empty) = (request(), Request::default());
        let base = Inputs {
            request: &request,
            version: "1",
            sha256: "a",
            compiler: "gcc 12",
            patches: PATCHES,
        };
        let reversed: Vec<_> = PATCHES.iter().rev().copied().collect();
        let others = [
            Inputs {
                request: &empty,
                ..base
            },
            Inputs {
                version: "2",
                ..base
            },
            Inputs {
                sha256: "b",
                ..base
            },
            Inputs {
                compiler: "gcc 13",
                ..base
            },
            Inputs {
                patches: &[],
                ..base
            },
            Inputs {
                patches: &reversed,
                ..base
            },
        ];
        assert_eq!(base.key(), base.key());
        assert_eq!(base.key().len(), 64);
        for other in others {
            assert_ne!(base.key(), other.key());
        }
    }

    #[test]
    fn a_kernel_is_cached_only_when_all_its_files_are_there() {
        let cache = directory::Scratch::new(&std::env::temp_dir()).unwrap();
        let request = request();
        let inputs = Inputs {
            request: &request,
            version: "1",
            sha256: "a",
            compiler: "gcc 12",
            patches: PATCHES,
        };
        let home = cache.path().join(inputs.key());
        fs::create_dir(&home).unwrap();
        for name in ["bzImage", "vmlinux", "System.map", "config", "inputs"] {
            assert_eq!(inputs.cached(cache.path(), true), None, "before {name}");
            fs::write(home.join(name), "").unwrap();
        }
        assert_eq!(
            inputs.cached(cache.path(), true).unwrap().bz_image,
            home.join("bzImage")
        );
    }

    #[test]
    fn a_second_builder_waits_for_the_first() {
        let cache = directory::Scratch::new(&std::env::temp_dir()).unwrap();
        let first = lock(cache.path(), &mut |_| panic!("nobody to wait for")).unwrap();
        let (said, heard) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let second =
                scope.spawn(|| lock(cache.path(), &mut |_| said.send(()).unwrap()).unwrap());
            heard.recv().unwrap();
            assert!(!second.is_finished());
            drop(first);
            second.join().unwrap();
        });
    }
}
