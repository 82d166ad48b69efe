//! Programs that do not outlive us.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{self, ChildStdout, Command, ExitStatus};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::host::find_program;

/// How long a killed program may take to be gone: it may have to finish a disk write.
const DEATH_TIME_MAX: Duration = Duration::from_secs(10);

/// A running program. It is killed when this is dropped, and also when this process dies without
/// dropping it.
///
/// A thread that does nothing but wait for the program is its parent: the kernel sends the
/// parent-death signal when the *thread* that forked ends, so it must live as long as the program.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    stdout: Option<ChildStdout>,
    exit: Arc<Exit>,
}

/// How a program ended, once it has.
#[derive(Debug, Default)]
struct Exit {
    status: Mutex<Option<ExitStatus>>,
    ended: Condvar,
}

impl Child {
    /// Starts `program` with the arguments and descriptors that `configure` sets.
    ///
    /// # Errors
    /// Those of starting a process or a thread.
    pub fn start(program: &Path, configure: impl FnOnce(&mut Command)) -> io::Result<Self> {
        let mut command = command_that_dies_with_us(program);
        configure(&mut command);
        let exit = Arc::new(Exit::default());
        let exit_of_waiter = Arc::clone(&exit);
        let (sender, started) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("child".to_owned())
            .spawn(move || {
                match spawn(&mut command) {
                    Ok((mut child, pidfd)) => {
                        // A closed channel means that the starter died; the child is waited for still.
                        let _ =
                            sender.send(Ok((Pid::from_child(&child), pidfd, child.stdout.take())));
                        if let Ok(status) = child.wait() {
                            exit_of_waiter.set(status);
                        }
                    }
                    Err(error) => {
                        let _ = sender.send(Err(error));
                    }
                }
            })?;
        let started = started
            .recv()
            .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
        let (pid, pidfd, stdout) = started?;
        Ok(Self {
            pid,
            pidfd,
            stdout,
            exit,
        })
    }

    /// The program's process, for looking at what it uses. Signals go by [`Self::kill`] and
    /// [`Self::terminate`], which can hit nobody else.
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// The program's standard output, once, when it was configured as a pipe.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.take()
    }

    /// Kills the program (SIGKILL); does nothing when it has ended.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Asks the program to end (SIGTERM); does nothing when it has ended.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// The exit status once the program has ended, waiting at most `timeout` for that.
    pub fn wait_exit(&self, timeout: Duration) -> Option<ExitStatus> {
        self.exit.wait(timeout)
    }

    fn signal(&self, signal: Signal) {
        // An error means that it has ended.
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }
}

impl AsFd for Child {
    /// Readable when the program has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        // Makes sure that its files are no longer written and its ports are free.
        self.exit.wait(DEATH_TIME_MAX);
    }
}

impl Exit {
    fn set(&self, status: ExitStatus) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
        self.ended.notify_all();
    }

    fn wait(&self, timeout: Duration) -> Option<ExitStatus> {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, _) = self
            .ended
            .wait_timeout_while(status, timeout, |status| status.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        *status
    }
}

fn spawn(command: &mut Command) -> io::Result<(process::Child, OwnedFd)> {
    let mut child = command.spawn()?;
    match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
        Ok(pidfd) => Ok((child, pidfd)),
        Err(error) => {
            child.kill()?;
            child.wait()?;
            Err(error.into())
        }
    }
}

/// `program`, through util-linux's setpriv where it is installed: that asks the kernel to kill it
/// when we are killed, which Rust alone cannot do without unsafe code between fork and exec.
fn command_that_dies_with_us(program: &Path) -> Command {
    let Some(setpriv) = find_program("setpriv") else {
        return Command::new(program);
    };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::process::Stdio;

    #[test]
    fn output_and_exit_status_come_back() {
        let mut child = shell("echo ready; exit 3");
        let mut output = String::new();
        child
            .take_stdout()
            .unwrap()
            .read_to_string(&mut output)
            .unwrap();
        assert_eq!(output, "ready\n");
        assert_eq!(
            child
                .wait_exit(DEATH_TIME_MAX)
                .and_then(|status| status.code()),
            Some(3)
        );
    }

    #[test]
    fn a_dropped_program_is_gone() {
        let mut child = shell("echo ready; exec sleep 1000");
        let mut output = child.take_stdout().unwrap();
        let mut word = [0; 6];
        output.read_exact(&mut word).unwrap();
        drop(child);
        // Only its death closes the pipe.
        assert_eq!(output.read(&mut word).unwrap(), 0);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_or_a_failed_exit() {
        let child = Child::start(Path::new("/no/such/program"), |_| {});
        let failed = child.is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
        // With setpriv in between, that is what starts, and then fails with 127.
        assert!(failed || find_program("setpriv").is_some());
    }

    fn shell(script: &str) -> Child {
        Child::start(Path::new("/bin/sh"), |command| {
            command.args(["-c", script]).stdout(Stdio::piped());
        })
        .unwrap()
    }
}
