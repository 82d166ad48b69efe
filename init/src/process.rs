//! Starting, signalling and reaping processes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitOptions, getrlimit, setrlimit};

use crate::channel::Channel;
use crate::installer;
use crate::service::Service;

/// Bytes read from a log pipe in one go, so that a chatty service does not keep PID 1.
const LOG_READ_MAX: usize = 16 * 1024;

/// Longest reason that is taken from the installer.
const LAST_WORDS_MAX: usize = 512;

/// Descriptors that a service may raise its limit to: two for each of 15,000 sessions, and some to spare.
/// The kernel's own limit is 4096.
const DESCRIPTORS_MAX: u64 = 32_768;

/// Lets the services that are started after this have [`DESCRIPTORS_MAX`] descriptors. A service that does
/// not ask for more than usual has as few as before.
///
/// # Errors
/// If this process may not grant them.
pub fn grant_descriptors() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let granted = Rlimit {
        maximum: limit.maximum.map(|maximum| maximum.max(DESCRIPTORS_MAX)),
        ..limit
    };
    Ok(setrlimit(Resource::Nofile, granted)?)
}

/// A running service.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    /// The local channel to it.
    pub channel: Channel,
    /// The reading end of its standard output and error, until it closed them.
    log: Option<File>,
}

impl Process {
    /// Starts a service as its own user, with nothing but its channel and its log.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn spawn(service: Service) -> io::Result<Self> {
        Self::start(service.path(), service.uid())
    }

    /// Starts the program `path` as the user and group `uid`, with nothing but its channel and its
    /// log.
    ///
    /// # Errors
    /// If its file is missing or the kernel is out of processes, descriptors or memory.
    pub fn start(path: &str, uid: u32) -> io::Result<Self> {
        let (channel, theirs) = Channel::pair()?;
        let (log, theirs_log) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&log, OFlags::NONBLOCK)?;
        let child = Command::new(path)
            .env_clear()
            .current_dir("/")
            .uid(uid)
            .gid(uid)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(theirs_log.try_clone()?))
            .stderr(Stdio::from(theirs_log))
            .spawn()?;
        Ok(Self {
            pid: pid_of(&child)?,
            channel,
            log: Some(File::from(log)),
        })
    }

    /// Its process id. It cannot be another process's before [`reap`] has returned it.
    #[must_use]
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// The log's descriptor, to wait on.
    #[must_use]
    pub fn log_fd(&self) -> Option<BorrowedFd<'_>> {
        self.log.as_ref().map(AsFd::as_fd)
    }

    /// What it logged since the last call, up to [`LOG_READ_MAX`] bytes.
    pub fn read_log(&mut self) -> Vec<u8> {
        let Some(pipe) = &mut self.log else {
            return Vec::new();
        };
        let mut buffer = vec![0; LOG_READ_MAX];
        let len = match pipe.read(&mut buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Vec::new(),
            Err(_) => 0,
        };
        if len == 0 {
            self.log = None;
        }
        buffer.truncate(len);
        buffer
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Err(error) = rustix::process::kill_process(self.pid, signal) {
            log::warn!(
                "cannot signal process {}: {error}",
                self.pid.as_raw_nonzero()
            );
        }
    }
}

/// What the installer is started for.
#[derive(Debug)]
pub enum InstallerRole {
    /// To write the slot.
    Install {
        /// What it is written from.
        stream: OwnedFd,
    },
    /// To check what is in the slot.
    Check,
}

/// A running installer; see [`installer`] for what it is given.
#[derive(Debug)]
pub struct Installation {
    pid: Pid,
    log: File,
}

impl Installation {
    /// Starts it as its own user on a slot's device.
    ///
    /// # Errors
    /// If its file is missing or the kernel is out of processes, descriptors or memory.
    pub fn spawn(role: InstallerRole, slot: File) -> io::Result<Self> {
        let (log, theirs_log) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&log, OFlags::NONBLOCK)?;
        let (argument, stdin) = match role {
            InstallerRole::Install { stream } => (installer::INSTALL, Stdio::from(stream)),
            InstallerRole::Check => (installer::CHECK, Stdio::null()),
        };
        let child = Command::new(installer::PATH)
            .arg(argument)
            .env_clear()
            .current_dir("/")
            .uid(installer::UID)
            .gid(installer::UID)
            .stdin(stdin)
            .stdout(Stdio::from(slot))
            .stderr(Stdio::from(theirs_log))
            .spawn()?;
        Ok(Self {
            pid: pid_of(&child)?,
            log: File::from(log),
        })
    }

    /// Its process id, until [`reap`] has returned it.
    #[must_use]
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// The first line it said. To be called when it has ended.
    pub fn last_words(&mut self) -> Option<String> {
        let mut buffer = [0; LAST_WORDS_MAX];
        let len = self.log.read(&mut buffer).ok()?;
        let said = String::from_utf8_lossy(buffer.get(..len)?).into_owned();
        let line = said.lines().next()?.trim();
        (!line.is_empty()).then(|| line.to_owned())
    }

    /// Ends it.
    pub fn kill(&self) {
        if let Err(error) = rustix::process::kill_process(self.pid, Signal::KILL) {
            log::warn!("cannot end the installer: {error}");
        }
    }
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| io::Error::other("the kernel gave a process no id"))
}

/// A process that ended.
#[derive(Debug)]
pub struct Ended {
    /// Its id.
    pub pid: Pid,
    /// How, in words.
    pub how: String,
    /// Whether it did what it was started for.
    pub is_success: bool,
}

/// Takes one process that ended off the kernel's table: a service, the installer, or an orphan.
///
/// The caller repeats this until `None`: several ends may have raised one signal.
#[must_use]
pub fn reap() -> Option<Ended> {
    let (pid, status) = rustix::process::wait(WaitOptions::NOHANG).ok()??;
    let how = if let Some(code) = status.exit_status() {
        format!("exit {code}")
    } else if let Some(signal) = status.terminating_signal() {
        format!("signal {signal}")
    } else {
        "in an unknown way".to_owned()
    };
    let is_success = status.exit_status() == Some(0);
    Some(Ended {
        pid,
        how,
        is_success,
    })
}

/// Both ends of a pipe that wakes the event loop; the writing end never blocks.
///
/// # Errors
/// If the kernel is out of descriptors.
pub fn wake_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?)
}

/// Empties a wake pipe.
pub fn drain(pipe: BorrowedFd<'_>) {
    let mut buffer = [0; 64];
    while matches!(rustix::io::read(pipe, &mut buffer), Ok(len) if len == buffer.len()) {}
}
