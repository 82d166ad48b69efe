//! One short run of a yardstick, as a stranger would start it.

use std::fs;
use std::process::Command;

use serde_json::Value;

#[test]
fn a_run_measures_in_a_network_of_its_own_and_leaves_nothing_but_its_results() {
    let allowed = Command::new("unshare").args(["--net", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this user may not make a network namespace");
        return;
    }
    let out = std::env::temp_dir().join(format!("bench-run-{}", std::process::id()));
    let routes = || fs::read_to_string("/proc/net/fib_trie").unwrap();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = (routes(), mounts());
    let run = Command::new(env!("CARGO_BIN_EXE_bench-tunnel"))
        .args(["--quick", "--only", "copy", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{said}");
    assert!((routes(), mounts()) == before, "the machine was changed");

    let text = fs::read_to_string(out.join("tunnel.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let values = &json["peers"][0]["values"];
    let median = |key: &str| values[key]["median"].as_f64().unwrap();
    // As many as were asked for, and each answered with its own byte.
    assert_eq!(median("idle_alive"), 1000.0, "{said}");
    for key in ["cpu_s_per_gib_mean", "gbit_s_8_mean", "session_p50_us_1"] {
        assert!(median(key) > 0.0, "{key} in {text}");
    }
    let table = fs::read_to_string(out.join("tunnel.md")).unwrap();
    assert!(table.contains("| plain read/write, no TLS"), "{table}");
    fs::remove_dir_all(out).unwrap();
}

#[test]
fn a_word_that_is_not_understood_starts_nothing() {
    let run = Command::new(env!("CARGO_BIN_EXE_bench-tunnel"))
        .args(["--only", "nginy"])
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(2));
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(said.contains("\"nginy\" is not a peer"), "{said}");
}
