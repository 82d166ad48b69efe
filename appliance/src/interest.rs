//! What the loop waits for: descriptors with the flags they are wanted for, and whose they are.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use connector_proto::time::Instant;

/// Readiness that somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(PollFlags);

impl Interest {
    /// Waits for exactly these.
    #[must_use]
    pub const fn from_flags(flags: PollFlags) -> Self {
        Self(flags)
    }

    /// Waits to read, to write, or both.
    #[must_use]
    pub fn new(read: bool, write: bool) -> Self {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, read);
        flags.set(PollFlags::OUT, write);
        Self(flags)
    }
}

/// One round of waiting.
#[derive(Debug, Default)]
pub struct Watch<'a> {
    descriptors: Vec<PollFd<'a>>,
    tokens: Vec<u64>,
    deadline: Option<Instant>,
}

impl<'a> Watch<'a> {
    /// Waits for `interest` in `descriptor` on behalf of `token`. No interest, no entry: a peer's
    /// hang-up alone is then not reported, and cannot spin the loop.
    pub fn add(&mut self, token: u64, descriptor: &'a impl AsFd, interest: Interest) {
        if !interest.0.is_empty() {
            self.descriptors.push(PollFd::new(descriptor, interest.0));
            self.tokens.push(token);
        }
    }

    /// Waits no longer than until `deadline`.
    pub fn until(&mut self, deadline: Option<Instant>) {
        self.deadline = match (self.deadline, deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// Waits, and returns the tokens for which something is ready, each once.
    ///
    /// # Errors
    /// Those of `poll(2)`, an interruption excepted.
    pub fn wait(mut self, now: Instant) -> Result<Vec<u64>, Errno> {
        let timeout = self.deadline.map(|deadline| {
            let left = deadline.since(now);
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        match poll(&mut self.descriptors, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
        let ready = |(descriptor, token): (&PollFd<'_>, &u64)| {
            (!descriptor.revents().is_empty()).then_some(*token)
        };
        let mut tokens: Vec<u64> = self
            .descriptors
            .iter()
            .zip(&self.tokens)
            .filter_map(ready)
            .collect();
        tokens.sort_unstable();
        tokens.dedup();
        Ok(tokens)
    }
}
