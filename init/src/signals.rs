//! Signals as readable descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::low_level::pipe::register_raw;

use crate::process::{drain, wake_pipe};

/// The signals PID 1 heeds. All others do not reach it: the kernel keeps them from PID 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A process ended.
    Child,
    /// Ctrl-Alt-Del, or the kernel's request to restart.
    Interrupt,
    /// Somebody's request to switch off, the kernel's among them.
    Terminate,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Child, Self::Interrupt, Self::Terminate];

    const fn number(self) -> i32 {
        match self {
            Self::Child => SIGCHLD,
            Self::Interrupt => SIGINT,
            Self::Terminate => SIGTERM,
        }
    }
}

/// One readable pipe for each signal.
#[derive(Debug)]
pub struct Signals {
    pipes: [(Signal, OwnedFd); Signal::ALL.len()],
}

impl Signals {
    /// Catches the signals from now on.
    ///
    /// # Errors
    /// If the kernel is out of descriptors.
    pub fn catch() -> io::Result<Self> {
        let catch_one = |signal: Signal| -> io::Result<(Signal, OwnedFd)> {
            let (reader, writer) = wake_pipe()?;
            register_raw(signal.number(), writer)?;
            Ok((signal, reader))
        };
        let [child, interrupt, terminate] = Signal::ALL;
        Ok(Self {
            pipes: [
                catch_one(child)?,
                catch_one(interrupt)?,
                catch_one(terminate)?,
            ],
        })
    }

    /// The descriptors to wait on.
    pub fn descriptors(&self) -> impl Iterator<Item = (Signal, BorrowedFd<'_>)> {
        self.pipes
            .iter()
            .map(|(signal, pipe)| (*signal, pipe.as_fd()))
    }

    /// Empties a signal's pipe. Do this before acting on it, so that one that comes meanwhile wakes
    /// the loop again.
    pub fn drain(&self, signal: Signal) {
        for (of, pipe) in &self.pipes {
            if *of == signal {
                drain(pipe.as_fd());
            }
        }
    }
}
