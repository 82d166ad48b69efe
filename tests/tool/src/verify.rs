//! `cargo verify`: every check, in the order in which a failure costs the least time.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use crate::build;
use crate::packages::{self, Needs};
use crate::servers;
use crate::step::{self, Failed};
use crate::tally::Tally;

/// VM tests that run side by side: one for each core of a small machine.
const VM_TEST_THREADS: &str = "--test-threads=2";

/// Runs everything and ends with the line that counts.
pub fn run(arguments: &[String]) -> ExitCode {
    let start = Instant::now();
    let long = match arguments {
        [] => false,
        [only] if only == "--long" => true,
        other => {
            eprintln!(
                "unknown argument {:?}; the only one is --long",
                other.join(" ")
            );
            return ExitCode::from(2);
        }
    };
    let mut tally = Tally::default();
    if let Err(failed) = all(&mut tally, long) {
        eprintln!("{failed}");
        tally.failed += 1;
    }
    println!("verify took {:.0} s", start.elapsed().as_secs_f32());
    println!("{tally}");
    if tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn all(tally: &mut Tally, long: bool) -> Result<(), Failed> {
    packages::ensure(Needs::All)?;
    servers::ensure()?;
    check(
        tally,
        "format",
        &mut build::cargo(&["fmt", "--all", "--check"]),
    );
    let clippy = [
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ];
    check(tally, "lints", &mut build::cargo(&clippy));
    deny(tally);
    undefined_behaviour(tally);
    let unit = [
        "test",
        "--quiet",
        "--workspace",
        "--exclude",
        "tests",
        "--no-fail-fast",
    ];
    tests(tally, "unit tests", &mut build::cargo(&unit), long)?;
    build::image(&[])?;
    build::host(&["appliance", "edge"])?;
    build::agent()?;
    let vm = [
        "test",
        "-p",
        "tests",
        "--no-fail-fast",
        "--",
        VM_TEST_THREADS,
    ];
    tests(tally, "VM tests", &mut build::cargo(&vm), long)
}

fn check(tally: &mut Tally, name: &str, command: &mut Command) {
    let result = step::run(name, command);
    if let Err(failed) = &result {
        eprintln!("{failed}");
    }
    tally.check(result.is_ok());
}

/// Licences, sources and banned crates, where cargo-deny is installed. Its advisories need a
/// database from the network and are left to a machine that has one.
fn deny(tally: &mut Tally) {
    let version = build::cargo(&["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if version.is_ok_and(|status| status.success()) {
        let arguments = [
            "deny",
            "--config",
            ".deny.toml",
            "check",
            "bans",
            "licenses",
            "sources",
        ];
        check(tally, "dependencies", &mut build::cargo(&arguments));
    } else {
        eprintln!("skipped: dependencies: cargo-deny is not installed (cargo install cargo-deny)");
        tally.skipped += 1;
    }
}

/// The one crate with unsafe code under the interpreter that watches pointers, where a nightly compiler has
/// it. Tests that call the kernel are left out there.
fn undefined_behaviour(tally: &mut Tally) {
    // By rustup: the cargo that runs this is one toolchain's own, which cannot choose another.
    let miri = |arguments: &[&str]| {
        let mut command = Command::new("rustup");
        command
            .args(["run", "nightly", "cargo", "miri"])
            .args(arguments)
            .current_dir(build::workspace());
        command
    };
    let version = miri(&["--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if version.is_ok_and(|status| status.success()) {
        let arguments = ["test", "--quiet", "-p", "connector-sys", "--lib"];
        check(tally, "undefined behaviour", &mut miri(&arguments));
    } else {
        eprintln!(
            "skipped: undefined behaviour: there is no Miri \
             (rustup toolchain install nightly --component miri,rust-src)"
        );
        tally.skipped += 1;
    }
}

/// Runs cargo test, passing its output on and counting. Skips come by a file: libtest has no word
/// for them.
fn tests(tally: &mut Tally, name: &str, command: &mut Command, long: bool) -> Result<(), Failed> {
    eprintln!("==> {name}");
    let start = Instant::now();
    let skips = build::target_dir().join("skips");
    std::fs::write(&skips, "").map_err(|error| Failed {
        why: format!("{}: {error}", skips.display()),
    })?;
    command
        .env("OUTGATE_SKIP_LOG", &skips)
        .stdout(Stdio::piped());
    if long {
        command.env("OUTGATE_LONG", "1");
    }
    if std::env::var_os("CI").is_some() {
        command.env("OUTGATE_REQUIRE_VM", "1");
    }
    let mut child = command.spawn().map_err(|error| Failed {
        why: format!("{name}: cargo cannot be started: {error}"),
    })?;
    let before = tally.failed;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            println!("{line}");
            tally.add_line(&line);
        }
    }
    let status = child.wait().map_err(|error| Failed {
        why: format!("{name}: {error}"),
    })?;
    report_skips(tally, &skips);
    eprintln!("    {name}: {:.1} s", start.elapsed().as_secs_f32());
    // A runner that failed without counting a failure did not get as far as the tests.
    if !status.success() && tally.failed == before {
        tally.failed += 1;
        eprintln!("failed: {name} ended with {status}");
    }
    Ok(())
}

fn report_skips(tally: &mut Tally, path: &Path) {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let mut count = 0;
    for line in text.lines() {
        eprintln!("skipped: {line}");
        count += 1;
    }
    tally.skip(count);
}
