//! The image is the same wherever, whenever and by whomever it is built.
//!
//! One build is plain; the other takes place elsewhere: in another folder, on a host of another name, in another
//! language and time zone, a year later, with a strict umask, on one core. The short test repeats the image's own
//! step. The long one (`cargo verify -- --long`) builds everything, the kernel too, from a copy of the sources, as
//! another user, with nothing compiled before. What differs is explained by diffoscope in `target/reproducible/`.
#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test and its helpers report"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use qemu::temp::TempDir;
use tests::folders::{build_profile, checkout, target};
use tests::skip;

/// Set by `cargo verify -- --long`.
const LONG_VARIABLE: &str = "OUTGATE_LONG";
/// A user that no system has.
const STRANGER: u32 = 54_321;
/// Any commit's time: both builds are told the same.
const EPOCH: &str = "1800000000";

#[test]
fn the_image_is_the_same_in_another_folder_locale_zone_year_and_on_another_host_and_one_core() {
    if let Some(reason) = missing() {
        skip!(reason);
    }
    let folder = TempDir::new("outgate-reproducible").unwrap();
    let once = built_plainly(folder.path());
    let again = folder.path().join("again/in/a folder with another name");
    fs::create_dir_all(again.parent().unwrap()).unwrap();
    let mut command = Elsewhere::new(folder.path()).command(again.parent().unwrap(), None);
    command
        .arg(builder())
        .arg("build")
        .arg("--binaries")
        .arg(binaries())
        .arg("--out")
        .arg(&again);
    succeeds(&mut command);
    assert_same(&once, &again);
}

#[test]
fn all_is_the_same_when_a_stranger_builds_kernel_and_image_from_nothing() {
    if std::env::var_os(LONG_VARIABLE).is_none() {
        println!("left to cargo verify -- --long: it builds a kernel on one core");
        return;
    }
    if let Some(reason) = missing() {
        skip!(reason);
    }
    let folder = TempDir::new("outgate-stranger").unwrap();
    let once = built_plainly(folder.path());
    let elsewhere = Elsewhere::new(folder.path());
    let home = folder.path().join("home");
    let copy = home.join("sources-of-a-stranger");
    copy_sources(&copy);
    let sources = home.join("cache/kernel/sources");
    fs::create_dir_all(&sources).unwrap();
    copy_folder(
        &kernel().ancestors().nth(2).unwrap().join("sources"),
        &sources,
    );
    succeeds(
        Command::new("chown")
            .arg("-R")
            .arg(format!("{STRANGER}:{STRANGER}"))
            .arg(&home),
    );

    let mut command = elsewhere.command(&copy, Some(&home));
    succeeds(command.args(["cargo", "image"]));
    let again = copy.join("target/image");
    fs::copy(kernel(), once.join("bzImage")).unwrap();
    fs::copy(
        only_kernel(&home.join("cache/kernel")),
        again.join("bzImage"),
    )
    .unwrap();
    assert_same(&once, &again);
}

#[test]
fn elsewhere_everything_is_another_and_no_command_goes_on_without_it() {
    if let Some(reason) = missing() {
        skip!(reason);
    }
    let folder = TempDir::new("outgate-elsewhere").unwrap();
    let home = folder.path().join("home");
    fs::create_dir(&home).unwrap();
    let facts = "pwd; hostname; umask; nproc; id -u; date +%z; printf '%(%Y)T\\n' -1; rustc --version; touch $RUST/x";
    let elsewhere = Elsewhere::new(folder.path());
    let mut command = elsewhere.command(&home, Some(&home));
    let output = command.args(["bash", "-c", facts]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let year = Command::new("date")
        .args(["+%Y", "--date=+365 days"])
        .output()
        .unwrap();
    let wanted = [
        home.to_str().unwrap(),
        "elsewhere",
        "0077",
        "1",
        &STRANGER.to_string(),
        "+1345",
        String::from_utf8(year.stdout).unwrap().trim(),
    ]
    .map(str::to_owned);
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    assert_eq!(lines[..wanted.len()], wanted);
    assert!(lines[wanted.len()].starts_with("rustc 1."), "{said}");
    assert!(!output.status.success(), "the toolchain can be changed");
}

#[test]
fn a_file_that_differs_is_named_with_diffoscopes_report() {
    if Command::new("diffoscope")
        .arg("--version")
        .output()
        .is_err()
    {
        skip!("diffoscope is not installed (diffoscope-minimal)");
    }
    let folder = TempDir::new("outgate-different").unwrap();
    for (name, content) in [("once", "one\n"), ("again", "two\n")] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("a.txt"), content).unwrap();
        fs::write(folder.path().join(name).join("b.txt"), "the same\n").unwrap();
    }
    let kept = folder.path().join("kept");
    let different = differences(
        &folder.path().join("once"),
        &folder.path().join("again"),
        &kept,
    );
    let report = fs::read_to_string(kept.join("a.txt.diff.txt")).unwrap();
    assert_eq!(
        different,
        [format!("a.txt ({})", kept.join("a.txt.diff.txt").display())]
    );
    assert!(
        report.contains("-one") && report.contains("+two"),
        "{report}"
    );
}

/// What this computer lacks for being elsewhere, or for an image.
fn missing() -> Option<String> {
    for file in [
        builder(),
        binaries().join("init"),
        target().join("image/outgate.qcow2"),
    ] {
        if !file.exists() {
            return Some(format!("{} is missing; run cargo image", file.display()));
        }
    }
    for (program, package) in [("faketime", "faketime"), ("localedef", "locales")] {
        if Command::new(program).arg("--version").output().is_err() {
            return Some(format!("{program} is not installed ({package})"));
        }
    }
    let namespaces = Command::new("unshare")
        .args(["--mount", "--uts", "true"])
        .output();
    let may = namespaces.is_ok_and(|output| output.status.success());
    (!may).then(|| "being elsewhere needs root: unshare --mount --uts fails".into())
}

/// The image as this checkout's programs make it here and now.
fn built_plainly(folder: &Path) -> PathBuf {
    let out = folder.join("once");
    let mut command = Command::new(builder());
    command
        .arg("build")
        .arg("--binaries")
        .arg(binaries())
        .arg("--out")
        .arg(&out);
    succeeds(
        command
            .env("SOURCE_DATE_EPOCH", EPOCH)
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC0"),
    );
    out
}

/// Everything that a build must not depend on, another way.
struct Elsewhere {
    /// Programs that go before those of the system.
    programs: PathBuf,
    /// A language whose letters have other cases.
    locales: PathBuf,
}

impl Elsewhere {
    fn new(folder: &Path) -> Self {
        let (programs, locales) = (folder.join("programs"), folder.join("locales"));
        fs::create_dir(&programs).unwrap();
        fs::create_dir(&locales).unwrap();
        succeeds(
            Command::new("localedef")
                .args(["-i", "tr_TR", "-f", "UTF-8"])
                .arg(locales.join("tr_TR.UTF-8")),
        );
        // rustc's allocator hangs when its clock is false; nothing in rustc asks for the date. make's environment is
        // emptied by the builder, so it is told again.
        let rustc = format!(
            "unset LD_PRELOAD\nexec \"${{RUST:-{}}}/bin/rustc\" \"$@\"",
            toolchain().display()
        );
        let make = format!("exec {FAKETIME} /usr/bin/make \"$@\"");
        for (name, script) in [("rustc", rustc), ("make", make)] {
            let path = programs.join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
        Self { programs, locales }
    }

    /// A command, to be given as further arguments, that runs in `folder`: as the one who runs this test, or as a
    /// stranger with this home, who finds the compiler and the crates there.
    fn command(&self, folder: &Path, stranger: Option<&Path>) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--uts", "sh", "-c", SCRIPT, "elsewhere"]);
        command
            .env_clear()
            .env("FOLDER", folder)
            .env("TOOLCHAIN", toolchain())
            .env("CRATES", crates());
        let (home, rust, crates) = match stranger {
            Some(home) => {
                let [rust, crates] = ["rust", "crates"].map(|name| home.join(name));
                fs::create_dir(&rust).unwrap();
                fs::create_dir(&crates).unwrap();
                command
                    .env("STRANGER", STRANGER.to_string())
                    .env("OUTGATE_CACHE", home.join("cache"));
                (home.to_owned(), rust, crates)
            }
            None => (
                std::env::var_os("HOME").unwrap_or_default().into(),
                toolchain(),
                crates(),
            ),
        };
        let path = format!(
            "{}:{}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            self.programs.display(),
            rust.display()
        );
        command
            .env("HOME", home)
            .env("RUST", &rust)
            .env("CARGO_HOME", crates)
            .env("PATH", path);
        command
            .env("CARGO", rust.join("bin/cargo"))
            .env("CARGO_NET_OFFLINE", "true")
            .env("CARGO_BUILD_JOBS", "1");
        command
            .env("LOCPATH", &self.locales)
            .env("LC_ALL", "tr_TR.UTF-8")
            .env("LANGUAGE", "tr");
        command
            .env("TZ", "XXX-13:45")
            .env("SOURCE_DATE_EPOCH", EPOCH);
        command
    }
}

/// Becomes someone elsewhere. Mounts and host name are gone with the process.
const SCRIPT: &str = r#"
set -eu
hostname elsewhere
user=
if [ -n "${STRANGER-}" ]; then
    mount --bind "$TOOLCHAIN" "$RUST" && mount -o remount,bind,ro "$RUST"
    mount --bind "$CRATES" "$CARGO_HOME" && mount -o remount,bind,ro "$CARGO_HOME"
    user="setpriv --reuid=$STRANGER --regid=$STRANGER --clear-groups"
fi
core=$(sed -n "s/^Cpus_allowed_list:[^0-9]*\([0-9]*\).*/\1/p" /proc/self/status)
cd "$FOLDER"
umask 077
exec taskset --cpu-list "$core" $user faketime --exclude-monotonic -f +365d "$@"
"#;

/// Runs a program a year later; its timers run as ever.
const FAKETIME: &str = "faketime --exclude-monotonic -f +365d";

/// The image builder of this build.
fn builder() -> PathBuf {
    build_profile().join("image-builder")
}

/// The programs of the VM as `cargo image` compiled them.
fn binaries() -> PathBuf {
    target().join("appliance/x86_64-unknown-linux-gnu/appliance")
}

/// The kernel of this checkout, in the cache.
fn kernel() -> PathBuf {
    let output = Command::new(builder()).arg("kernel").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// The kernel in a cache that has one.
fn only_kernel(cache: &Path) -> PathBuf {
    let folders = fs::read_dir(cache)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("bzImage"));
    let mut kernels = folders.filter(|kernel| kernel.exists());
    let kernel = kernels.next().unwrap();
    assert_eq!(kernels.next(), None);
    kernel
}

/// Where the compiler is, not its launcher: a launcher wants to write to its own folders.
fn toolchain() -> PathBuf {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .current_dir(checkout())
        .output()
        .unwrap();
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

/// Where cargo keeps the sources of crates.
fn crates() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}

/// Copies what git would check out, with what is not yet committed, as a strict umask leaves it.
fn copy_sources(to: &Path) {
    let output = Command::new("git")
        .args([
            "-c",
            "safe.directory=*",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(checkout())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let names = String::from_utf8(output.stdout).unwrap();
    for name in names.split_terminator('\0') {
        let (from, to) = (checkout().join(name), to.join(name));
        // A file that was removed and whose removal is not committed is listed still.
        if let Ok(about) = from.metadata() {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&from, &to).unwrap();
            let mode = about.permissions().mode() & 0o700;
            fs::set_permissions(&to, Permissions::from_mode(mode)).unwrap();
        }
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Both folders have every artefact, of the same sources, and the same; otherwise reports on the differences are kept.
fn assert_same(once: &Path, again: &Path) {
    for wanted in [
        "outgate.raw",
        "outgate.qcow2",
        "outgate.vmdk",
        "outgate.ova",
        "SHA256SUMS",
    ] {
        assert!(once.join(wanted).exists(), "{wanted} was not built");
    }
    let tree = |folder: &Path| {
        let facts = fs::read_to_string(folder.join("outgate.txt")).unwrap();
        facts
            .lines()
            .find(|line| line.starts_with("source-tree "))
            .map(str::to_owned)
    };
    assert_eq!(
        tree(once),
        tree(again),
        "the sources were changed between the two builds"
    );
    let different = differences(once, again, &target().join("reproducible"));
    assert!(different.is_empty(), "different: {}", different.join(", "));
}

/// The files that are not the same in both folders; each is kept in `reports`, with diffoscope's report.
fn differences(once: &Path, again: &Path, reports: &Path) -> Vec<String> {
    let names = |folder: &Path| {
        let names = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    let mut different = names(once);
    assert_eq!(different, names(again));
    different
        .retain(|name| fs::read(once.join(name)).unwrap() != fs::read(again.join(name)).unwrap());
    different
        .iter()
        .map(|name| report(name, once, again, reports))
        .collect()
}

fn report(name: &str, once: &Path, again: &Path, reports: &Path) -> String {
    fs::create_dir_all(reports).unwrap();
    let keep = |from: &Path, which: &str| {
        let kept = reports.join(format!("{which}.{name}"));
        fs::copy(from.join(name), &kept).unwrap();
        kept
    };
    let text = reports.join(format!("{name}.diff.txt"));
    // Of an earlier run; it may not be there.
    let _ = fs::remove_file(&text);
    let status = Command::new("timeout")
        .args(["300", "diffoscope", "--text"])
        .arg(&text)
        .args([keep(once, "once"), keep(again, "again")])
        .stdout(Stdio::null())
        .status();
    let said = if text.exists() {
        text.display().to_string()
    } else {
        format!("no report: {status:?}")
    };
    format!("{name} ({said})")
}

fn succeeds(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{said}{complained}",
        output.status
    );
}
