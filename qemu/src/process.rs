//! A running QEMU: started, watched, and killed when its owner is gone.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::child::Child;
use crate::console::Console;
use crate::host::{self, HostError};
use crate::machine::{Machine, Serial};
use crate::qmp::{Qmp, QmpError};
use crate::screen::{self, ScreenError};
use crate::temp::TempDir;

/// How long QEMU may take from its start to connecting its sockets.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(20);

/// QEMU's messages, in the machine's temporary folder.
const LOG_FILE: &str = "qemu.log";

/// A running virtual machine.
///
/// QEMU is killed when this is dropped, and also when this process dies without dropping it.
#[derive(Debug)]
pub struct Vm {
    console: Console,
    second_console: Option<Console>,
    qmp: Qmp,
    process: Child,
    folder: TempDir,
}

/// Why a machine does not run.
#[derive(Debug)]
pub enum VmError {
    /// QEMU ended before its console was connected.
    Ended {
        /// Its exit status, unless that is unknown.
        status: Option<ExitStatus>,
        /// What it wrote to stderr.
        stderr: String,
    },
    /// QEMU is not installed.
    Host(HostError),
    /// A file, socket or process could not be made.
    Io {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        error: io::Error,
    },
    /// The control connection failed.
    Qmp(QmpError),
    /// QEMU did not connect its sockets in time.
    Silent {
        /// What it wrote to stderr.
        stderr: String,
    },
}

impl Vm {
    /// Starts QEMU with the serial ports and QMP connected to us; where `machine` says that those
    /// go is replaced.
    ///
    /// # Errors
    /// [`VmError`], with QEMU's words when it refused.
    pub fn start(machine: Machine) -> Result<Self, VmError> {
        Self::start_by(&[], machine)
    }

    /// The same with QEMU's command line after that of another program, which becomes QEMU:
    /// `nsenter` with its options, for instance.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_by(before: &[OsString], mut machine: Machine) -> Result<Self, VmError> {
        let qemu = host::find_qemu().map_err(VmError::Host)?;
        let folder = TempDir::new("outgate-vm").map_err(during("creating a temporary folder"))?;
        let serial_path = folder.path().join("serial");
        let qmp_path = folder.path().join("qmp");
        let serial = listen(&serial_path)?;
        let qmp = listen(&qmp_path)?;
        machine.serial = Serial::Socket(serial_path);
        machine.qmp = Some(qmp_path);
        let mut second = None;
        if let Some(path) = &mut machine.second_serial {
            *path = folder.path().join("serial2");
            second = Some(listen(path)?);
        }
        let log = folder.path().join(LOG_FILE);
        let stderr = File::create(&log).map_err(during("creating QEMU's log"))?;
        let mut words = before.to_vec();
        words.push(qemu.into());
        words.extend(machine.argv());
        let program = PathBuf::from(words.remove(0));
        let process = Child::start(&program, |command| {
            command.args(words);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(stderr);
        })
        .map_err(during("starting QEMU"))?;
        let serial = accept(&process, &serial, &log)?;
        let console = Console::new(serial).map_err(during("reading serial"))?;
        let mut second_console = None;
        if let Some(listener) = second {
            let line = accept(&process, &listener, &log)?;
            second_console = Some(Console::new(line).map_err(during("reading serial"))?);
        }
        let qmp = Qmp::new(accept(&process, &qmp, &log)?).map_err(|error| {
            // What QEMU wrote says more than that it is gone.
            match process.wait_exit(Duration::from_secs(1)) {
                None => VmError::Qmp(error),
                status => VmError::Ended {
                    status,
                    stderr: read_log(&log),
                },
            }
        })?;
        Ok(Self {
            console,
            second_console,
            qmp,
            process,
            folder,
        })
    }

    /// The serial console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// What is at the second serial port, if the machine has one.
    pub fn second_console(&self) -> Option<&Console> {
        self.second_console.as_ref()
    }

    /// The control connection.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// Both at once.
    pub fn console_and_qmp(&mut self) -> (&Console, &mut Qmp) {
        (&self.console, &mut self.qmp)
    }

    /// The rows of the VGA text screen; see [`screen::vga_text`].
    ///
    /// # Errors
    /// Those of [`screen::vga_text`].
    pub fn vga_text(&mut self) -> Result<Vec<String>, ScreenError> {
        screen::vga_text(&mut self.qmp, &self.folder.path().join("screen"))
    }

    /// Types on the emulated keyboard; see [`screen::type_on_keyboard`].
    ///
    /// # Errors
    /// Those of [`screen::type_on_keyboard`].
    pub fn type_on_keyboard(&mut self, text: &str) -> Result<(), ScreenError> {
        screen::type_on_keyboard(&mut self.qmp, text)
    }

    /// QEMU's exit status once it has ended, waiting at most `timeout` for that.
    pub fn wait_exit(&self, timeout: Duration) -> Option<ExitStatus> {
        self.process.wait_exit(timeout)
    }

    /// Cuts the power: QEMU ends at once and writes nothing more.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// What QEMU wrote to stderr so far.
    pub fn qemu_stderr(&self) -> String {
        read_log(&self.folder.path().join(LOG_FILE))
    }
}

/// The connection that QEMU makes to `listener`.
fn accept(qemu: &Child, listener: &UnixListener, log: &Path) -> Result<UnixStream, VmError> {
    let deadline = Instant::now() + CONNECT_TIME_MAX;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [
            PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(qemu.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, Some(&timespec(left))) {
            Ok(0) => {
                return Err(VmError::Silent {
                    stderr: read_log(log),
                });
            }
            Ok(_) if fds[0].revents().contains(PollFlags::IN) => {
                let (stream, _) = listener.accept().map_err(during("accepting QEMU"))?;
                return Ok(stream);
            }
            Ok(_) => {
                let status = qemu.wait_exit(left);
                return Err(VmError::Ended {
                    status,
                    stderr: read_log(log),
                });
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(during("waiting for QEMU")(error.into())),
        }
    }
}

fn read_log(log: &Path) -> String {
    fs::read(log)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn listen(path: &Path) -> Result<UnixListener, VmError> {
    UnixListener::bind(path).map_err(during("listening on a unix socket"))
}

fn during(doing: &'static str) -> impl Fn(io::Error) -> VmError {
    move |error| VmError::Io { doing, error }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

impl fmt::Display for VmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { status, stderr } => {
                f.write_str("QEMU ended at its start")?;
                if let Some(status) = status {
                    write!(f, " with {status}")?;
                }
                write!(f, ": {}", stderr.trim())
            }
            Self::Host(error) => error.fmt(f),
            Self::Io { doing, error } => write!(f, "{doing} failed: {error}"),
            Self::Qmp(error) => error.fmt(f),
            Self::Silent { stderr } => write!(
                f,
                "QEMU did not connect its console within {CONNECT_TIME_MAX:?}: {}",
                stderr.trim()
            ),
        }
    }
}

impl std::error::Error for VmError {}
