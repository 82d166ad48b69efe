//! A test VM's eyes and hands. The lab adds it to the initramfs as `/init`; no image contains it.
//!
//! As PID 1 it starts itself once more as root's ordinary process and becomes the real init, so that
//! everything else is the product's. The process answers commands on the second serial port:
//!
//! - `ps`: pid, uid and name of each user process;
//! - `cat PATH`: a file, `/proc/net/tcp` for one;
//! - `clock SECONDS`: moves the wall clock by so many, which may be negative;
//! - `kill NAME`: SIGKILL to each process of that name;
//! - `log`: the kernel's log, into which init's and the services' lines go, each with its stamp in
//!   microseconds since the start;
//! - `random`: 32 bytes of the kernel's random generator, in hex;
//! - `open PATH`: lets every process read that device;
//! - `set PATH VALUE`: writes a value, as a line, into a file, `/proc/sys/kernel/printk_devkmsg` for one;
//! - `time`: the wall clock in seconds since 1970.
//!
//! Each answer ends with a line that is a single dot.
//!
//! In a system that is to fail there is a file [`MODE`], and nothing of the product: as PID 1 it then
//! does what the file says. Started as `console` it takes the console's place; see [`update`].

mod update;

use std::fs::{self, File, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use rustix::system::RebootCommand;
use rustix::time::{ClockId, clock_gettime, clock_settime};

/// Where the lab put the product's init, under each of its names.
const REAL: &str = "/real";
/// A device node for ttyS1 outside of `/dev`, which the real init mounts over.
const PORT: &str = "/real/ttyS1";
/// What a PID 1 that is to fail does: `end`, `hang`, `hang with watchdog` or `restart`.
const MODE: &str = "/etc/agent-mode";
/// Tells the ordinary process from PID 1.
const SERVE: &str = "serve";

fn main() {
    let name = std::env::args().next().unwrap_or_default();
    if std::env::args().nth(1).as_deref() == Some(SERVE) {
        if let Err(error) = serve() {
            eprintln!("agent: {error}");
        }
        return;
    }
    if let Ok(mode) = fs::read_to_string(MODE) {
        return fail(&mode);
    }
    if name.ends_with("console") {
        if let Err(error) = update::run() {
            eprintln!("agent: {error}");
        }
        return;
    }
    if rustix::process::getpid().is_init()
        && let Err(error) = Command::new("/init").arg(SERVE).spawn()
    {
        eprintln!("agent: {error}");
    }
    // netd and timed are the same binary under other names.
    let program = format!("{REAL}/{}", name.rsplit('/').next().unwrap_or_default());
    let error = Command::new(&program)
        .arg0(name)
        .args(std::env::args().skip(1))
        .exec();
    eprintln!("agent: {program}: {error}");
}

/// Fails as a system on trial can. To return is to end.
fn fail(mode: &str) {
    // The words are the lab's; see its `trial` module.
    eprintln!("agent as PID 1: {mode}");
    // A panic's own words would overtake what the port has not sent yet.
    if let Err(error) = rustix::termios::tcdrain(std::io::stderr()) {
        eprintln!("agent: the console: {error}");
    }
    let mut watchdog = None;
    match mode {
        "hang with watchdog" => match File::options().write(true).open("/dev/watchdog") {
            Ok(armed) => watchdog = Some(armed),
            Err(error) => eprintln!("agent: /dev/watchdog: {error}"),
        },
        "hang" => {}
        "restart" => {
            if let Err(error) = rustix::system::reboot(RebootCommand::Restart) {
                eprintln!("agent: restart: {error}");
            }
        }
        _ => return,
    }
    loop {
        std::thread::park();
        // Stays open, for to close it could disarm it.
        let _ = &watchdog;
    }
}

fn serve() -> std::io::Result<()> {
    let port = File::options().read(true).write(true).open(PORT)?;
    let mut answers = port.try_clone()?;
    writeln!(answers, "agent ready\n.")?;
    for line in BufReader::new(port).lines() {
        let line = line?;
        let (command, argument) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        match command {
            "ps" => ps(&mut answers)?,
            "cat" => cat(&mut answers, argument)?,
            "clock" => clock(&mut answers, argument)?,
            "log" => log(&mut answers)?,
            "time" => writeln!(answers, "{}", clock_gettime(ClockId::Realtime).tv_sec)?,
            "random" => random(&mut answers)?,
            "open" => open(&mut answers, argument)?,
            "set" => set(&mut answers, argument)?,
            "kill" => kill(&mut answers, argument)?,
            "" => continue,
            _ => writeln!(answers, "unknown command")?,
        }
        writeln!(answers, ".")?;
    }
    Ok(())
}

/// User processes: those with a command line; this one is left out.
fn processes() -> Vec<(Pid, u32, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
            let is_kernel_thread = fs::read(entry.path().join("cmdline")).ok()?.is_empty();
            let uid = entry.metadata().ok()?.uid();
            let name = fs::read_to_string(entry.path().join("comm"))
                .ok()?
                .trim()
                .to_owned();
            (!is_kernel_thread && pid != rustix::process::getpid()).then_some((pid, uid, name))
        })
        .collect()
}

fn ps(answers: &mut impl Write) -> std::io::Result<()> {
    for (pid, uid, name) in processes() {
        writeln!(answers, "{} {uid} {name}", pid.as_raw_nonzero())?;
    }
    Ok(())
}

fn cat(answers: &mut impl Write, path: &str) -> std::io::Result<()> {
    match fs::read(path) {
        Ok(bytes) => {
            answers.write_all(&bytes)?;
            // The dot that ends the answer is on a line of its own.
            let is_line = bytes.last().is_none_or(|last| *last == b'\n');
            answers.write_all(if is_line { b"" } else { b"\n" })
        }
        Err(error) => writeln!(answers, "{path}: {error}"),
    }
}

/// Moves the clock as a hypervisor's tools, or a resumed machine's host, would.
fn clock(answers: &mut impl Write, seconds: &str) -> std::io::Result<()> {
    let Ok(seconds) = seconds.parse::<i64>() else {
        return writeln!(answers, "{seconds:?} is no number of seconds");
    };
    let mut time = clock_gettime(ClockId::Realtime);
    time.tv_sec += seconds;
    match clock_settime(ClockId::Realtime, time) {
        Ok(()) => writeln!(answers, "moved to {}", time.tv_sec),
        Err(error) => writeln!(answers, "{error}"),
    }
}

/// Each record is `PRIORITY,NUMBER,MICROSECONDS,FLAGS;TEXT`, and more lines that begin with a space.
fn log(answers: &mut impl Write) -> std::io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    let device = rustix::fs::open("/dev/kmsg", flags, Mode::empty())?;
    let mut buffer = [0; 8192];
    loop {
        match rustix::io::read(&device, &mut buffer) {
            Ok(length) => {
                let record = String::from_utf8_lossy(&buffer[..length]);
                let line = record.lines().next().unwrap_or_default();
                let (head, text) = line.split_once(';').unwrap_or(("", line));
                let stamp = head.split(',').nth(2).unwrap_or_default();
                writeln!(answers, "{stamp} {text}")?;
            }
            // The end, for now.
            Err(Errno::AGAIN) => return Ok(()),
            // Overwritten while it was read: the next read goes on after the gap.
            Err(Errno::PIPE) => writeln!(answers, "0 (lines were lost)")?,
            Err(error) => return Err(error.into()),
        }
    }
}

fn kill(answers: &mut impl Write, name: &str) -> std::io::Result<()> {
    for (pid, ..) in processes().into_iter().filter(|(.., comm)| comm == name) {
        match kill_process(pid, Signal::KILL) {
            Ok(()) => writeln!(answers, "killed {}", pid.as_raw_nonzero())?,
            Err(error) => writeln!(answers, "{}: {error}", pid.as_raw_nonzero())?,
        }
    }
    Ok(())
}

fn random(answers: &mut impl Write) -> std::io::Result<()> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(answers, "{hex}")
}

fn set(answers: &mut impl Write, argument: &str) -> std::io::Result<()> {
    let (path, value) = argument.split_once(' ').unwrap_or((argument, ""));
    match fs::write(path, format!("{value}\n")) {
        Ok(()) => writeln!(answers, "set {path}"),
        Err(error) => writeln!(answers, "{path}: {error}"),
    }
}

fn open(answers: &mut impl Write, path: &str) -> std::io::Result<()> {
    match fs::set_permissions(path, Permissions::from_mode(0o644)) {
        Ok(()) => writeln!(answers, "opened {path}"),
        Err(error) => writeln!(answers, "{path}: {error}"),
    }
}
