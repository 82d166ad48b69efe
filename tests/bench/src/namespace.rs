//! A network, processes and mounts of our own, which are gone with us however we end.
//!
//! `unshare(1)` makes the namespaces and kills what runs in them when it is killed itself. In the network
//! there is the loopback alone, with three addresses: the service edge's, the connector's and the application's.
//! The connector dials no address of 127.0.0.0/8, so they are others.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::{Resource, Rlimit, getrlimit, getuid, setrlimit};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::scene::{APPLICATION, CONNECTOR, EDGE};
use crate::trouble::Trouble;

/// What the kernel is told for the namespace's network, below `/proc/sys/net`.
const KNOBS: &[(&str, &str)] = &[
    // Enough ports for sessions that come and go; what listens has ports below.
    ("ipv4/ip_local_port_range", "1024 65535"),
    // A port may be used again a second after its connection ended.
    ("ipv4/tcp_tw_reuse", "1"),
    // Nobody is refused because many dial at once.
    ("core/somaxconn", "65535"),
    ("ipv4/tcp_max_syn_backlog", "65535"),
];

/// Descriptors wanted: 9,000 sessions of two each, at both of their ends.
const DESCRIPTORS: u64 = 65_536;

/// Turns this process into one that waits for this program, started again inside of the namespaces:
/// whoever ends the one ends the other. Returns only if that cannot be done.
pub fn enter(words: &[String]) -> Trouble {
    let this = match std::env::current_exe() {
        Ok(this) => this,
        Err(error) => return error.into(),
    };
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount", "--pid", "--fork", "--kill-child"]);
    unshare.arg("--mount-proc");
    if !getuid().is_root() {
        unshare.args(["--user", "--map-root-user"]);
    }
    let error = unshare.arg(this).args(words).arg("--inside").exec();
    Trouble::at("unshare")(error)
}

/// Sets the network up and makes an empty folder in memory.
///
/// # Errors
/// The command that failed, and its words.
pub fn furnish() -> Result<PathBuf, Trouble> {
    // The first process of a namespace hears no signal that it does not ask for. With it everything ends.
    for signal in [SIGINT, SIGTERM] {
        let always = Arc::new(AtomicBool::new(true));
        flag::register_conditional_shutdown(signal, INTERRUPTED, always)?;
    }
    for (knob, value) in KNOBS {
        let path = Path::new("/proc/sys/net").join(knob);
        fs::write(&path, value).map_err(Trouble::at(path.display()))?;
    }
    run(&mut words("ip", "link set lo up"))?;
    for address in [EDGE, CONNECTOR, APPLICATION] {
        // Only the machine's own namespace may make cubic the default; a route may name it anywhere.
        for line in [
            format!("address add {address}/32 dev lo"),
            format!("route replace local {address} dev lo table local congctl cubic"),
        ] {
            run(&mut words("ip", &line))?;
        }
    }
    raise_descriptor_limit();
    run(&mut words("mount", "-t tmpfs -o mode=0755 tmpfs /run"))?;
    let folder = PathBuf::from("/run/bench");
    fs::create_dir(&folder)?;
    Ok(folder)
}

/// A command of words without spaces in them.
#[must_use]
pub fn words(program: &str, line: &str) -> Command {
    let mut command = Command::new(program);
    command.args(line.split_whitespace());
    command
}

/// Runs a command to its end.
///
/// # Errors
/// What it said.
pub fn run(command: &mut Command) -> Result<(), Trouble> {
    let what = format!("{command:?}");
    let output = command.output().map_err(Trouble::at(&what))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(Trouble::Failed(format!("{what}: {said}")))
        }
    }
}

/// Exit code of a run that was interrupted, as a shell would tell it.
const INTERRUPTED: i32 = 130;

/// Takes as many as wanted, or as may be had: a peer that needs more says where it ends.
fn raise_descriptor_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let wanted = |current: u64, maximum: u64| Rlimit {
        current: Some(current),
        maximum: Some(maximum),
    };
    let most = DESCRIPTORS.max(maximum.unwrap_or(u64::MAX));
    if setrlimit(Resource::Nofile, wanted(most, most)).is_err()
        && let Some(maximum) = maximum
    {
        // A limit may always be raised up to its maximum.
        let _ = setrlimit(Resource::Nofile, wanted(maximum, maximum));
    }
}
