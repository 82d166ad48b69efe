//! What a plane's thread is told from outside, and how it is woken for it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use super::NewSession;
use crate::channel::Channel;

/// One thing to do.
#[derive(Debug)]
pub(super) enum Command {
    /// Begin a session under this key.
    Carry(u64, Box<NewSession>),
    /// Give a session the channel with which it goes on.
    Succeed(u64, Box<Channel>),
    /// Reset a session.
    End(u64),
}

/// The commands of one thread. Not bounded here: whoever opens sessions bounds them by its capacity.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Each write is an edge; nobody reads it.
    wake: OwnedFd,
}

/// What is asked of the thread as a whole comes before all commands.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) commands: VecDeque<Command>,
    /// Told when all sessions are reset.
    pub(super) abandoning: Vec<Sender<()>>,
    pub(super) is_stopping: bool,
    is_asleep: bool,
}

impl Queue {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Self {
            state: Mutex::default(),
            wake: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
        })
    }

    pub(super) fn push(&self, command: Command) {
        self.change(|state| state.commands.push_back(command));
    }

    /// Changes what is asked and wakes the thread if it sleeps.
    pub(super) fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let is_asleep = std::mem::take(&mut state.is_asleep);
        // Who is woken takes the lock first of all.
        drop(state);
        if is_asleep {
            // Fails only at 2^64 - 1 writes, and then it is readable all the same.
            let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
        }
    }

    /// For the thread itself.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under this lock would be one of `change`'s closures, which cannot leave a half state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What wakes the thread.
    pub(super) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

impl State {
    /// Takes some commands, and gives memory back that a burst of them took.
    pub(super) fn take(&mut self, max: usize, commands: &mut Vec<Command>) {
        let count = self.commands.len().min(max);
        commands.extend(self.commands.drain(..count));
        if self.commands.is_empty() && self.commands.capacity() > COMMANDS_KEPT {
            self.commands = VecDeque::new();
        }
    }

    /// Says whether the thread may sleep, and has it woken from then on.
    pub(super) fn sleeps(&mut self) -> bool {
        self.is_asleep =
            self.commands.is_empty() && self.abandoning.is_empty() && !self.is_stopping;
        self.is_asleep
    }

    /// The thread is awake.
    pub(super) const fn is_awake(&mut self) {
        self.is_asleep = false;
    }
}

/// Room for commands that is kept while there are none.
const COMMANDS_KEPT: usize = 256;
