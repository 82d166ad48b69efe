//! Starting, signalling and reaping processes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::channel::Channel;
use crate::service::Service;

/// Bytes read from a log pipe in one go, so that a chatty service does not keep PID 1.
const LOG_READ_MAX: usize = 16 * 1024;

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
    /// If its file is missing or the kernel is out of processes, descriptors or memory.
    pub fn spawn(service: Service) -> io::Result<Self> {
        let (channel, theirs) = Channel::pair()?;
        let (log, theirs_log) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&log, OFlags::NONBLOCK)?;
        let child = Command::new(service.path())
            .env_clear()
            .current_dir("/")
            .uid(service.uid())
            .gid(service.uid())
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(theirs_log.try_clone()?))
            .stderr(Stdio::from(theirs_log))
            .spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the kernel gave a process no id"))?;
        Ok(Self {
            pid,
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

/// Takes one process that ended off the kernel's table: a service, or an orphan of one.
///
/// The caller repeats this until `None`: several ends may have raised one signal.
#[must_use]
pub fn reap() -> Option<(Pid, String)> {
    let (pid, status) = rustix::process::wait(WaitOptions::NOHANG).ok()??;
    let how = if let Some(code) = status.exit_status() {
        format!("exit {code}")
    } else if let Some(signal) = status.terminating_signal() {
        format!("signal {signal}")
    } else {
        "in an unknown way".to_owned()
    };
    Some((pid, how))
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
