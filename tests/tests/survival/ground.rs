//! A network of its own for each story, in which the story's test starts itself again.
//!
//! There is the loopback alone, with an address for everybody: a connector dials neither 127.0.0.0/8, nor its
//! own addresses, nor the edge's.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use qemu::child::Child;
use qemu::host::find_program;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tests::skip;

/// Where users come in.
pub const USERS: SocketAddr = at([10, 77, 0, 10], 80);
/// Where connectors dial: the relay, or the edge where there is no relay.
pub const WAY: SocketAddr = at([10, 77, 0, 11], 443);
/// Where the edge is behind a relay.
pub const EDGE: SocketAddr = at([10, 77, 0, 12], 443);
/// What the connector is told to be its own address.
pub const CONNECTOR: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 20);
/// Where applications are.
pub const APPLICATION: SocketAddr = at([10, 77, 0, 30], 7);

const fn at([a, b, c, d]: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port))
}

/// Descriptors that each process of a story may have: what an ordinary host allows.
pub const DESCRIPTORS: u64 = 20_000;

/// What the kernel is told for the network, below `/proc/sys/net/ipv4`.
const KNOBS: [(&str, &str); 3] = [
    ("ip_local_port_range", "1024 65535"),
    ("tcp_tw_reuse", "1"),
    ("tcp_max_syn_backlog", "65535"),
];

/// Set in the process in which the story is told.
const INSIDE: &str = "OUTGATE_STORY_INSIDE";
/// Longer than the longest story.
const STORY_MAX: Duration = Duration::from_secs(45 * 60);
/// One story at a time has the machine.
static TURN: Mutex<()> = Mutex::new(());

/// Tells the story of the test that calls this in a network of its own; skips it where there can be none.
pub fn on_own_ground(story: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        furnish();
        return story();
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let unshare = match missing() {
        Some(reason) => skip!(reason),
        None => find_program("unshare").unwrap(),
    };
    let current = thread::current();
    let test = current.name().unwrap();
    let child = Child::start(&unshare, |command| {
        command
            .args(NAMESPACES)
            .arg(std::env::current_exe().unwrap());
        command
            .args(["--exact", test, "--nocapture"])
            .env(INSIDE, "1");
    });
    let status = child.unwrap().wait_exit(STORY_MAX);
    assert!(
        status.is_some_and(|status| status.success()),
        "{test} failed in its network: {status:?}"
    );
}

/// Root in a user namespace is root over its network, and nothing else.
const NAMESPACES: [&str; 3] = ["--user", "--map-root-user", "--net"];

/// What this machine lacks, as one sentence.
fn missing() -> Option<String> {
    for (program, package) in [
        ("ip", "iproute2"),
        ("unshare", "util-linux"),
        ("prlimit", "util-linux"),
    ] {
        if find_program(program).is_none() {
            return Some(format!(
                "{program} is in no folder of PATH: install the Debian package {package}"
            ));
        }
    }
    let allowed = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    if allowed < DESCRIPTORS {
        return Some(format!(
            "a process may have {allowed} descriptors here, and {DESCRIPTORS} are needed: ulimit -Hn {DESCRIPTORS}"
        ));
    }
    let tried = Command::new("unshare")
        .args(NAMESPACES)
        .arg("true")
        .output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

fn furnish() {
    for (knob, value) in KNOBS {
        fs::write(Path::new("/proc/sys/net/ipv4").join(knob), value).unwrap();
    }
    fs::write("/proc/sys/net/core/somaxconn", "65535").unwrap();
    ip("link set lo up");
    for address in [
        USERS,
        WAY,
        EDGE,
        SocketAddr::from((CONNECTOR, 0)),
        APPLICATION,
    ] {
        ip(&format!("address add {}/32 dev lo", address.ip()));
    }
    let wanted = Rlimit {
        current: Some(DESCRIPTORS),
        maximum: Some(DESCRIPTORS),
    };
    setrlimit(Resource::Nofile, wanted).unwrap();
}

/// Whether packets between connector and edge arrive. Those of users and applications always do.
pub fn set_way_open(is_open: bool) {
    let kind = if is_open { "local" } else { "blackhole" };
    let way = WAY.ip();
    let device = if is_open { "dev lo src" } else { "" };
    let source = if is_open {
        way.to_string()
    } else {
        String::new()
    };
    ip(&format!(
        "route replace {kind} {way}/32 {device} {source} table local"
    ));
}

fn ip(line: &str) {
    let output = Command::new("ip")
        .args(line.split_whitespace())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {line}: {said}");
}
