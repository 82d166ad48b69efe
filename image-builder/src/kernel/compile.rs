//! The recipe: source package and request in, kernel out, the same bytes wherever it runs.

use super::Progress;
use super::error::{At as _, Error, LOG_TAIL_LINES};
use kernel_config::{Patch, Request};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Changes whenever something here changes the kernel's bytes; part of the cache's key.
pub(super) const RECIPE: u32 = 1;

/// Files that `make bzImage` made for the configuration at hand when last counted; the first build's estimate.
const OBJECTS_ESTIMATE: u32 = 2415;

/// One build.
pub(super) struct Build<'a> {
    /// An empty directory for everything.
    pub(super) scratch: &'a Path,
    /// Where the output of all steps goes.
    pub(super) log: &'a Path,
    /// A file that remembers how many objects the last build had.
    pub(super) object_count: &'a Path,
    /// What the kernel says when it was built.
    pub(super) built_at: &'a str,
    /// Name of the source package.
    pub(super) package: &'a str,
    /// What is changed in the source, in this order.
    pub(super) patches: &'a [Patch],
}

impl Build<'_> {
    /// Builds `request` from the source package `deb`; returns a directory with the artefacts.
    pub(super) fn run(
        &self,
        request: &Request,
        deb: &Path,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<PathBuf, Error> {
        File::create(self.log).at(self.log)?;
        progress(Progress::Step("unpacking the source"));
        self.unpack(deb)?;
        progress(Progress::Step("patching the source"));
        self.patch()?;
        progress(Progress::Step("resolving the configuration"));
        self.configure(request)?;
        progress(Progress::Step("compiling"));
        self.compile(progress)?;
        self.collect()
    }

    fn source(&self) -> PathBuf {
        self.scratch.join(self.package)
    }

    fn objects(&self) -> PathBuf {
        self.scratch.join("objects")
    }

    /// The package holds one tar ball; it is unpacked, not installed.
    fn unpack(&self, deb: &Path) -> Result<(), Error> {
        let unpacked = self.scratch.join("package");
        self.step(
            "dpkg-deb",
            Command::new("dpkg-deb").arg("-x").arg(deb).arg(&unpacked),
            &mut |_| {},
        )?;
        let ball = unpacked.join(format!("usr/src/{}.tar.xz", self.package));
        self.step(
            "tar",
            Command::new("tar")
                .arg("-xf")
                .arg(ball)
                .arg("-C")
                .arg(self.scratch),
            &mut |_| {},
        )
    }

    /// Applies each patch to the letter: a hunk that does not fit where it says stops the build. `patch` would else
    /// look for a similar place, and take a patch that is upstream for one to be undone.
    fn patch(&self) -> Result<(), Error> {
        for patch in self.patches {
            let file = self.scratch.join(patch.name);
            fs::write(&file, patch.text).at(&file)?;
            let mut command = Command::new("patch");
            command.args(["-p1", "--batch", "--forward", "--fuzz=0"]);
            command.args(["--no-backup-if-mismatch", "--reject-file=-", "-d"]);
            command.arg(self.source()).arg("-i").arg(&file);
            self.step(&format!("patch {}", patch.name), &mut command, &mut |_| {})?;
        }
        Ok(())
    }

    fn configure(&self, request: &Request) -> Result<(), Error> {
        let fragment = self.scratch.join("request.config");
        fs::write(&fragment, request.allconfig()).at(&fragment)?;
        fs::create_dir(self.objects()).at(&self.objects())?;
        let mut make = self.make("allnoconfig");
        self.step(
            "make allnoconfig",
            make.env("KCONFIG_ALLCONFIG", &fragment),
            &mut |_| {},
        )?;
        let resolved = self.objects().join(".config");
        let text = fs::read_to_string(&resolved).at(&resolved)?;
        let lost = kernel_config::missing(request, &text);
        if lost.is_empty() {
            Ok(())
        } else {
            Err(Error::NotSurvived(lost))
        }
    }

    fn compile(&self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<(), Error> {
        let remembered = fs::read_to_string(self.object_count)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        let total = remembered.unwrap_or(OBJECTS_ESTIMATE);
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let (start, mut done) = (Instant::now(), 0_u32);
        let mut make = self.make("bzImage");
        self.step("make bzImage", make.arg(format!("-j{jobs}")), &mut |line| {
            if is_object(line) {
                done += 1;
                progress(Progress::Objects {
                    done,
                    total,
                    elapsed: start.elapsed(),
                });
            }
        })?;
        let seconds = start.elapsed().as_secs();
        progress(Progress::Step(&format!(
            "built {done} objects in {}m{:02}s",
            seconds / 60,
            seconds % 60
        )));
        fs::write(self.object_count, done.to_string()).at(self.object_count)
    }

    /// Moves what is kept into a directory of its own; the rest goes with the scratch space.
    fn collect(&self) -> Result<PathBuf, Error> {
        let result = self.scratch.join("result");
        fs::create_dir(&result).at(&result)?;
        for (made, kept) in [
            ("arch/x86/boot/bzImage", "bzImage"),
            ("vmlinux", "vmlinux"),
            ("System.map", "System.map"),
            (".config", "config"),
        ] {
            let made = self.objects().join(made);
            fs::rename(&made, result.join(kept)).at(&made)?;
        }
        Ok(result)
    }

    /// `make target` with everything fixed that would leave a trace of this machine in the kernel.
    ///
    /// The environment is emptied: variables such as `KCFLAGS`, `ARCH` or `LOCALVERSION` steer the build, and the
    /// kernel must not depend on who builds it. Paths of the scratch space are mapped away for `__FILE__` and debug lines.
    fn make(&self, target: &str) -> Command {
        let map = |path: PathBuf| format!("-ffile-prefix-map={}/=", path.display());
        let flags = format!("{} {}", map(self.objects()), map(self.source()));
        let mut make = Command::new("make");
        make.env_clear();
        for name in ["PATH", "HOME", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                make.env(name, value);
            }
        }
        make.env("LC_ALL", "C").env("TZ", "UTC");
        make.env("KBUILD_BUILD_TIMESTAMP", self.built_at)
            .env("KBUILD_BUILD_VERSION", "1");
        make.env("KBUILD_BUILD_USER", "outgate")
            .env("KBUILD_BUILD_HOST", "outgate");
        make.arg("-C")
            .arg(self.source())
            .arg(format!("O={}", self.objects().display()));
        make.args([
            format!("KCFLAGS={flags}"),
            format!("KAFLAGS={flags}"),
            "LOCALVERSION=".into(),
            target.into(),
        ]);
        make
    }

    /// Runs `command`; each line it says goes to the log and to `line`.
    fn step(
        &self,
        name: &str,
        command: &mut Command,
        line: &mut dyn FnMut(&str),
    ) -> Result<(), Error> {
        let mut log = File::options().append(true).open(self.log).at(self.log)?;
        let (said, writer) = std::io::pipe().at(self.log)?;
        let also = writer.try_clone().at(self.log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(also)
            .spawn();
        // The command keeps our ends of the pipe: they must go, or reading would never end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = child.at(Path::new(command.get_program()))?;
        let mut reader = BufReader::new(said);
        let mut raw = Vec::new();
        while reader.read_until(b'\n', &mut raw).at(self.log)? > 0 {
            log.write_all(&raw).at(self.log)?;
            line(String::from_utf8_lossy(&raw).trim_end());
            raw.clear();
        }
        let status = child.wait().at(self.log)?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Make {
            step: format!("{name} ({status})"),
            log: self.log.to_owned(),
            tail: self.tail()?,
        })
    }

    /// The last lines of the log.
    fn tail(&self) -> Result<String, Error> {
        let mut last = VecDeque::with_capacity(LOG_TAIL_LINES);
        for line in BufReader::new(File::open(self.log).at(self.log)?).split(b'\n') {
            if last.len() == LOG_TAIL_LINES {
                last.pop_front();
            }
            last.push_back(String::from_utf8_lossy(&line.at(self.log)?).into_owned());
        }
        Ok(Vec::from(last).join("\n"))
    }
}

/// True for make's short form of a command: two blanks, its name in capitals, more blanks, the file it makes.
fn is_object(line: &str) -> bool {
    let Some((command, file)) = line
        .strip_prefix("  ")
        .and_then(|rest| rest.split_once(' '))
    else {
        return false;
    };
    !command.is_empty()
        && command
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        && !file.trim().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::directory::Scratch;

    fn with_build(check: impl FnOnce(&Build<'_>)) {
        let scratch = Scratch::new(&std::env::temp_dir()).unwrap();
        let log = scratch.path().join("log");
        File::create(&log).unwrap();
        let count = scratch.path().join("count");
        check(&Build {
            scratch: scratch.path(),
            log: &log,
            object_count: &count,
            built_at: "T",
            package: "linux",
            patches: PATCHES,
        });
    }

    #[test]
    fn lines_about_made_files_are_counted_and_others_are_not() {
        for line in [
            "  CC      init/main.o",
            "  AS_SPEC x",
            "  HOSTCC  scripts/kconfig/conf.o",
            "  LD      vmlinux",
        ] {
            assert!(is_object(line), "{line}");
        }
        for line in [
            "",
            "  ",
            "make[1]: Entering directory",
            "#",
            "  note: x",
            "  CC",
            "kernel/x.c:1: warning: y",
        ] {
            assert!(!is_object(line), "{line}");
        }
    }

    /// Two lines of context and one that is changed.
    const PATCHES: &[Patch] = &[Patch {
        name: "0001-x.patch",
        text: "why\n\n--- a/x.c\n+++ b/x.c\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n",
    }];

    #[test]
    fn a_patch_is_applied_where_it_says_and_nowhere_else() {
        for (before, after) in [
            ("one\ntwo\nthree\n", Some("one\n2\nthree\n")),
            // Applied already, context that differs, no such file.
            ("one\n2\nthree\n", None),
            ("ONE\ntwo\nthree\n", None),
            ("", None),
        ] {
            with_build(|build| {
                fs::create_dir(build.source()).unwrap();
                let file = build.source().join("x.c");
                if !before.is_empty() {
                    fs::write(&file, before).unwrap();
                }
                match (build.patch(), after) {
                    (Ok(()), Some(after)) => {
                        assert_eq!(fs::read_to_string(file).unwrap(), after);
                    }
                    (Err(Error::Make { step, .. }), None) => {
                        assert!(step.starts_with("patch 0001-x.patch"), "{step}");
                    }
                    (result, _) => panic!("{before:?}: {result:?}"),
                }
            });
        }
    }

    #[test]
    fn a_failed_step_shows_the_last_thirty_lines_and_the_log() {
        with_build(|build| {
            let mut script = Command::new("sh");
            script.args(["-c", "seq 1 50; echo broken >&2; exit 3"]);
            let Err(Error::Make { step, log, tail }) =
                build.step("script", &mut script, &mut |_| {})
            else {
                panic!("it must fail");
            };
            assert_eq!(
                (step.as_str(), log.as_path()),
                ("script (exit status: 3)", build.log)
            );
            let lines: Vec<_> = tail.lines().collect();
            assert_eq!((lines.len(), lines[0], lines[29]), (30, "22", "broken"));
        });
    }

    #[test]
    fn each_line_of_a_step_is_seen_once_and_logged() {
        with_build(|build| {
            let mut seen = Vec::new();
            let mut script = Command::new("sh");
            script.args(["-c", "echo one; echo two >&2"]);
            build
                .step("script", &mut script, &mut |line| {
                    seen.push(line.to_owned())
                })
                .unwrap();
            assert_eq!(seen, ["one", "two"]);
            assert_eq!(fs::read_to_string(build.log).unwrap(), "one\ntwo\n");
        });
    }

    #[test]
    fn make_gets_a_fixed_date_user_host_and_no_paths() {
        with_build(|build| {
            let make = build.make("bzImage");
            let set = |name: &str| {
                make.get_envs()
                    .find(|(key, _)| *key == name)
                    .and_then(|(_, value)| value)
                    .map(|v| v.to_owned())
            };
            for (name, value) in [
                ("KBUILD_BUILD_TIMESTAMP", "T"),
                ("KBUILD_BUILD_USER", "outgate"),
                ("KBUILD_BUILD_HOST", "outgate"),
                ("KBUILD_BUILD_VERSION", "1"),
            ] {
                assert_eq!(set(name).unwrap(), value);
            }
            let arguments: Vec<_> = make.get_args().map(|word| word.to_string_lossy()).collect();
            let map = format!("-ffile-prefix-map={}/=", build.source().display());
            assert!(
                arguments
                    .iter()
                    .any(|word| word.starts_with("KCFLAGS=") && word.contains(&map))
            );
            assert!(arguments.iter().any(|word| word == "LOCALVERSION="));
        });
    }
}
