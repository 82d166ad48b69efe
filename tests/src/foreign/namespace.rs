//! A network of its own for one story: a bridge with the servers' addresses and a guest's tap.
//!
//! It is a user and a network namespace that a sleeping process holds open. Nothing of it has to be
//! removed: it is gone with its last process, and those die with us.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use qemu::child::Child;
use qemu::host::find_program;

use super::ForeignError;
use crate::network::address::{
    APPLICATION, APPLICATION6, EDGE, EDGE6, GATEWAY, GATEWAY6_GLOBAL, PREFIX_LENGTH, PROXY,
    RESOLVER, RESOLVER6, TIME_SERVER, TIME_SERVER6,
};

/// The bridge, on which servers listen.
pub const BRIDGE: &str = "lan";
/// The interface of the guest's cable.
pub const TAP: &str = "guest0";

/// Programs that a namespace takes, and Debian's package of each.
const PROGRAMS: [(&str, &str); 5] = [
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("python3", "python3"),
    ("unshare", "util-linux"),
];

/// Root in a user namespace is root over its network, and nothing else.
const NAMESPACES: [&str; 3] = ["--user", "--map-root-user", "--net"];

/// A network namespace. It ends when this is dropped and the last process in it has ended.
#[derive(Debug)]
pub struct Namespace {
    /// Of the process that holds it open.
    pid: u32,
    _holder: Child,
}

impl Namespace {
    /// What this computer lacks for one, as one sentence.
    pub fn missing() -> Option<String> {
        let is_missing = |(program, _): &&(&str, &str)| find_program(program).is_none();
        if let Some((program, package)) = PROGRAMS.iter().find(is_missing) {
            return Some(format!(
                "{program} is in no folder of PATH: install the Debian package {package}"
            ));
        }
        let tried = Command::new("unshare")
            .args(NAMESPACES)
            .args(["ip", "tuntap", "add", "dev", TAP, "mode", "tap"])
            .output();
        match tried {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(format!(
                "no network namespaces for servers: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )),
            Err(error) => Some(format!("unshare: {error}")),
        }
    }

    /// A network with the lab's addresses.
    ///
    /// # Errors
    /// [`ForeignError`].
    pub fn new() -> Result<Self, ForeignError> {
        let unshare = find_program("unshare").ok_or_else(|| ForeignError::Refused {
            command: "unshare".to_owned(),
            output: "not in PATH".to_owned(),
        })?;
        let mut holder = Child::start(&unshare, |command| {
            command
                .args(NAMESPACES)
                .args(["sh", "-e", "-c", &set_up()])
                .stdin(Stdio::null())
                .stdout(Stdio::piped());
        })?;
        let mut line = String::new();
        if let Some(stdout) = holder.take_stdout() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let pid = line.trim().parse().map_err(|_| ForeignError::Refused {
            command: "the making of a network namespace".to_owned(),
            output: line,
        })?;
        Ok(Self {
            pid,
            _holder: holder,
        })
    }

    /// The words to put before a command that is to run in it.
    pub fn enter(&self) -> Vec<OsString> {
        let nsenter = find_program("nsenter").unwrap_or_else(|| "nsenter".into());
        let mut words = vec![nsenter.into_os_string()];
        words.push(format!("--target={}", self.pid).into());
        words.extend(["--user", "--net", "--preserve-credentials"].map(OsString::from));
        words
    }

    /// Runs a command in it, and returns what it printed.
    ///
    /// # Errors
    /// [`ForeignError::Refused`] when it fails.
    pub fn run(&self, words: &[&str]) -> Result<String, ForeignError> {
        let enter = self.enter();
        let output = Command::new(&enter[0])
            .args(&enter[1..])
            .args(words)
            .stdin(Stdio::null())
            .output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(ForeignError::Refused {
            command: words.join(" "),
            output: text(&output.stdout) + &text(&output.stderr),
        })
    }
}

/// The shell's commands that build the network and then hold it open.
fn set_up() -> String {
    // The pair `spare` and `far` gives the bridge a carrier while no guest is there: servers do not
    // listen without one. `far` ends in a bridge that is down, or the host would answer twice.
    let mut script = format!(
        "ip link add {BRIDGE} type bridge\n\
         ip link add void type bridge\n\
         ip link add spare type veth peer name far\n\
         ip tuntap add dev {TAP} mode tap\n\
         ip link set spare master {BRIDGE}\n\
         ip link set far master void\n\
         ip link set {TAP} master {BRIDGE}\n"
    );
    for address in HOSTS {
        let _ = writeln!(
            script,
            "ip address add {address}/{PREFIX_LENGTH} dev {BRIDGE}"
        );
    }
    for address in [GATEWAY6_GLOBAL, RESOLVER6, TIME_SERVER6, *APPLICATION6.ip()] {
        // Nobody else is there who could have the address.
        let _ = writeln!(script, "ip -6 address add {address}/64 dev {BRIDGE} nodad");
    }
    for interface in ["lo", "spare", "far", TAP, BRIDGE] {
        let _ = writeln!(script, "ip link set {interface} up");
    }
    let _ = writeln!(script, "ip route add local {EDGE_NETWORK}/24 dev lo");
    let _ = writeln!(script, "ip -6 address add {}/128 dev lo nodad", EDGE6.ip());
    script + "echo $$\nexec sleep infinity\n"
}

/// Who is on the bridge.
const HOSTS: [Ipv4Addr; 5] = [
    GATEWAY,
    RESOLVER,
    TIME_SERVER,
    *APPLICATION.ip(),
    *PROXY.ip(),
];

/// All of it is the edge's.
const EDGE_NETWORK: Ipv4Addr = {
    let [a, b, c, _] = EDGE.ip().octets();
    Ipv4Addr::new(a, b, c, 0)
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip;

    #[test]
    fn a_namespace_has_its_addresses_and_is_gone_with_its_processes() {
        if let Some(reason) = Namespace::missing() {
            skip!(reason);
        }
        let namespace = Namespace::new().unwrap();
        let addresses = namespace.run(&["ip", "-brief", "address"]).unwrap();
        for address in HOSTS {
            assert!(addresses.contains(&format!("{address}/24")), "{addresses}");
        }
        let routed = namespace.run(&["ip", "route", "get", "203.0.113.77"]);
        assert!(routed.unwrap().contains("local"));
        let pid = namespace.pid;
        drop(namespace);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_command_that_fails_says_why() {
        if let Some(reason) = Namespace::missing() {
            skip!(reason);
        }
        let namespace = Namespace::new().unwrap();
        let error = namespace
            .run(&["ip", "link", "show", "nowhere"])
            .unwrap_err();
        assert!(error.to_string().contains("nowhere"), "{error}");
    }
}
