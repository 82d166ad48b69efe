//! Tests that cannot run say so, are counted, and are an error where all must run.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

/// A file to which each skipped test appends `test: reason`.
pub const LOG_VARIABLE: &str = "OUTGATE_SKIP_LOG";

/// When `1`, a test that cannot run fails.
pub const REQUIRE_VARIABLE: &str = "OUTGATE_REQUIRE_VM";

/// Set by `cargo verify -- --long`: stories take the time that the promise names, not a part of it.
pub const LONG_VARIABLE: &str = "OUTGATE_LONG";

/// Whether the long run was asked for.
pub fn is_long() -> bool {
    std::env::var_os(LONG_VARIABLE).is_some()
}

/// Ends the test that calls it, and reports why it cannot run.
///
/// `skip!(reason)` in a test that returns nothing, `skip!(reason => Ok(()))` in one that returns a
/// `Result`.
#[macro_export]
macro_rules! skip {
    ($reason:expr => $value:expr) => {{
        $crate::skip::report(&$reason.to_string());
        return $value;
    }};
    ($reason:expr) => {
        $crate::skip!($reason => ())
    };
}

/// Reports that the current test does not run.
///
/// # Panics
/// When [`REQUIRE_VARIABLE`] is `1`.
pub fn report(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    assert!(
        std::env::var(REQUIRE_VARIABLE).as_deref() != Ok("1"),
        "{test} cannot run, and {REQUIRE_VARIABLE}=1: {reason}"
    );
    note(reason);
}

/// Reports that the current test does not run for want of something that cannot be installed: a
/// skip even where all must run.
pub fn note(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    eprintln!("skipped: {test}: {reason}");
    if let Some(log) = std::env::var_os(LOG_VARIABLE) {
        append(Path::new(&log), &format!("{test}: {reason}\n"));
    }
}

fn append(log: &Path, line: &str) {
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    // A skip that is not counted would pass for a test that ran.
    if let Err(error) = written {
        panic!("{}: {error}", log.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qemu::temp::TempDir;

    #[test]
    fn every_skip_is_a_line_of_the_log() {
        let folder = TempDir::new("outgate-skip").unwrap();
        let log = folder.path().join("skips");
        append(&log, "one: no QEMU\n");
        append(&log, "two: no image\n");
        assert_eq!(
            std::fs::read_to_string(&log).unwrap(),
            "one: no QEMU\ntwo: no image\n"
        );
    }
}
