//! PID 1 of a machine that runs cases: prepares it, runs them one after the other, switches it off.

use std::fs;
use std::io;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{MountFlags, mount};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::system::RebootCommand;

use crate::{CASE, cases};

/// The cases to run, one a line, each with its arguments. Without the file, all that need none.
const ARGUMENTS: &str = "/arguments";
/// How long a case may take under software emulation on a busy computer.
const CASE_TIME_MAX: Duration = Duration::from_secs(240);
/// What is said last. The lab waits for it.
const OVER: &str = "guest: the cases are over";

/// Does all of it. Returns only if the machine cannot be switched off.
pub fn run() -> ExitCode {
    if let Err(error) = prepare() {
        println!("guest: the machine cannot be prepared: {error}");
    }
    for line in lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [name, arguments @ ..] = words.as_slice() {
            run_case(name, arguments);
        }
    }
    println!("{OVER}");
    // The port would lose what it has not sent yet.
    let drained = rustix::termios::tcdrain(io::stdout());
    let off = drained.and_then(|()| rustix::system::reboot(RebootCommand::PowerOff));
    println!("guest: the machine cannot be switched off: {off:?}");
    ExitCode::FAILURE
}

fn lines() -> Vec<String> {
    match fs::read_to_string(ARGUMENTS) {
        Ok(text) => text.lines().map(str::to_owned).collect(),
        Err(_) => cases::ALL
            .iter()
            .filter(|case| case.arguments.is_empty())
            .map(|case| case.name.to_owned())
            .collect(),
    }
}

/// Runs a case as a process of its own: what it leaves behind, and its panics, end with it.
fn run_case(name: &str, arguments: &[&str]) {
    let child = Command::new("/proc/self/exe")
        .arg(CASE)
        .arg(name)
        .args(arguments)
        .spawn();
    match child.and_then(|mut child| wait(&mut child)) {
        Ok(Some(status)) if status.success() => println!("case {name}: ok"),
        // It has said why.
        Ok(Some(status)) if status.code() == Some(1) => {}
        Ok(Some(status)) => println!("case {name}: FAILED: it ended with {status}"),
        Ok(None) => println!(
            "case {name}: FAILED: not over after {} s",
            CASE_TIME_MAX.as_secs()
        ),
        Err(error) => println!("case {name}: FAILED: not run: {error}"),
    }
}

/// Waits for the end of a case; `None` for one that had to be killed.
fn wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let timeout = Timespec {
        tv_sec: i64::try_from(CASE_TIME_MAX.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    let mut watched = [PollFd::new(&pidfd, PollFlags::IN)];
    if poll(&mut watched, Some(&timeout))? == 0 {
        child.kill()?;
        child.wait()?;
        return Ok(None);
    }
    child.wait().map(Some)
}

fn prepare() -> io::Result<()> {
    mount(c"proc", c"/proc", c"proc", MountFlags::empty(), None)?;
    set_loopback_up()
}

/// Sets the first interface up (rtnetlink(7)): the loopback, which the kernel then gives 127.0.0.1.
fn set_loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None, // rtnetlink
    )?;
    rustix::net::send(&socket, &LOOPBACK_UP, SendFlags::empty())?;
    let mut answer = [0_u8; 128];
    let (len, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    // nlmsghdr, then the error, which is zero for an acknowledgement.
    match answer.get(16..20) {
        Some([0, 0, 0, 0]) if len >= 20 => Ok(()),
        other => Err(io::Error::other(format!(
            "the loopback does not come up: {other:?}"
        ))),
    }
}

/// `RTM_NEWLINK` of interface 1 with `IFF_UP` set, to be acknowledged; little-endian.
const LOOPBACK_UP: [u8; 32] = [
    32, 0, 0, 0, 16, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0,
    0, // length, type, request and ack, sequence, port
    0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, // family, type, index, flags, change
];
