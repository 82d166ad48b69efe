//! `cargo bench-tunnel`: builds and fetches what is measured, then has `tests/bench` measure it.
//!
//! A peer that cannot be had is skipped; why is said here, and the tables name it.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::build;
use crate::packages;
use crate::servers;
use crate::step::{self, Failed};

/// Packages that are installed.
const TOOLS: &[(&str, &str)] = &[
    ("gcc", "the C parts of ring and SQLite"),
    ("iproute2", "the private network"),
    ("libc6-dev", "static linking of the connector"),
    ("libssl-dev", "rathole's TLS"),
    ("openssl", "a certificate for the peers"),
    ("pkg-config", "finds OpenSSL for rathole"),
    ("util-linux", "unshare and mount"),
];

/// Packages that are unpacked below `target`: installed, they would serve.
const PEERS: &[(&str, &str)] = &[
    ("haproxy", "a peer: proxies with TLS between them"),
    ("libnginx-mod-stream", "a peer: nginx's proxies of TCP"),
    ("nginx-light", "a peer: nginx itself"),
    ("openssh-client", "a peer: ssh -R"),
    ("openssh-server", "where ssh -R logs in"),
    ("stunnel4", "a peer: client and server"),
];

/// The version of rathole that is measured.
const RATHOLE: &str = "0.5.0";

/// Becomes the measuring program; returns only if something failed before.
pub fn run(arguments: &[String]) -> ExitCode {
    let failed = match prepare(arguments) {
        Ok(mut command) => Failed {
            why: format!("bench-tunnel cannot be started: {}", command.exec()),
        },
        Err(failed) => failed,
    };
    eprintln!("\n{failed}");
    ExitCode::FAILURE
}

/// The command that measures.
fn prepare(arguments: &[String]) -> Result<Command, Failed> {
    packages::ensure_these(TOOLS)?;
    let out = build::target_dir().join("bench");
    let program = build::release(&["bench-tunnel"])?.join("bench-tunnel");
    let mut check = Command::new(&program);
    // Before minutes are spent on building and fetching.
    step::run_quietly("bench-tunnel", check.arg("--check").args(arguments))?;
    let mut command = Command::new(program);
    command.args(arguments).arg("--out").arg(&out);
    command.arg("--checkout").arg(build::workspace());
    if wants(arguments, &["outgate", "outgate-kernel"]) {
        command.arg("--connector").arg(build::connector()?);
        let edge = build::release(&["edge"])?.join("edge");
        command.arg("--edge").arg(edge);
    }
    if wants(arguments, &["haproxy", "nginx", "ssh", "stunnel"]) {
        let debian = out.join("debian");
        let unpacked = servers::unpack(&debian, PEERS);
        if or_skipped("peers from Debian", unpacked).is_some() {
            command.arg("--debian").arg(debian.join("root"));
        }
    }
    if wants(arguments, &["rathole"])
        && let Some(program) = or_skipped("rathole", rathole())
    {
        command.arg("--rathole").arg(program);
    }
    Ok(command)
}

/// Whether any of these peers is to run: all are, unless `--only` names others.
fn wants(arguments: &[String], peers: &[&str]) -> bool {
    let mut rest = arguments.iter().skip_while(|word| *word != "--only");
    match rest.nth(1) {
        None => true,
        Some(only) => only.split(',').any(|name| peers.contains(&name.trim())),
    }
}

fn or_skipped<T>(what: &str, result: Result<T, Failed>) -> Option<T> {
    result
        .map_err(|failed| eprintln!("skipped: {what}: {failed}"))
        .ok()
}

/// rathole, built once and kept where kernels are: it takes minutes.
fn rathole() -> Result<PathBuf, Failed> {
    let folder = cache()?.join(format!("bench/rathole-{RATHOLE}"));
    let program = folder.join("bin/rathole");
    if program.is_file() {
        return Ok(program);
    }
    let mut install = build::cargo(&["install", "rathole", "--quiet", "--version", RATHOLE]);
    install.args(["--no-default-features", "--features", "server,client,tls"]);
    install.arg("--root").arg(&folder);
    // Beside the checkout's own target folder, whose lock this command may hold.
    install.env("CARGO_TARGET_DIR", folder.join("target"));
    step::run("build of rathole", &mut install)?;
    remove(&folder.join("target"));
    Ok(program)
}

/// What is left behind costs room and nothing else.
fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        eprintln!("{} stays: {error}", folder.display());
    }
}

/// Where what takes long to build is kept, outside of checkouts: the same place as for kernels.
fn cache() -> Result<PathBuf, Failed> {
    let set = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    set("OUTGATE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("outgate")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/outgate")))
        .ok_or_else(|| Failed {
            why: "none of OUTGATE_CACHE, XDG_CACHE_HOME and HOME is set".to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_in_order_named_once_and_each_has_its_reason() {
        for packages in [TOOLS, PEERS] {
            assert!(packages.windows(2).all(|pair| pair[0].0 < pair[1].0));
            assert!(packages.iter().all(|(_, reason)| reason.len() > 10));
        }
    }

    #[test]
    fn what_is_not_asked_for_is_not_built() {
        let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
        assert!(wants(&words("--quick"), &["rathole"]));
        assert!(wants(&words("--only splice,nginx"), &["ssh", "nginx"]));
        assert!(!wants(&words("--quick --only splice,nginx"), &["outgate"]));
    }
}
