//! Tests that need a program of another project say so when they are left out. A part of the test
//! targets of this crate and of `disk-format`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::process::Command;

/// True when `program` runs; else the skip of `test` is recorded with the Debian `package`.
pub fn has_program(test: &str, program: &str, package: &str) -> bool {
    let runs = Command::new(program).arg("--version").output().is_ok();
    if !runs {
        skip(test, &format!("{program} is not installed ({package})"));
    }
    runs
}

/// Prints why `test` does not run, and appends it to the file that counts skips; where all must run
/// (`OUTGATE_REQUIRE_VM=1`, as on CI) it fails instead.
pub fn skip(test: &str, reason: &str) {
    assert!(
        std::env::var("OUTGATE_REQUIRE_VM").as_deref() != Ok("1"),
        "{test} cannot run, and all must: {reason}"
    );
    eprintln!("skipped: {test}: {reason}");
    if let Some(log) = std::env::var_os("OUTGATE_SKIP_LOG") {
        let mut log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        writeln!(log, "{test}: {reason}").unwrap();
    }
}
