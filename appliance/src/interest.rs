//! What somebody waits for: descriptors, and whether to read or to write; and a time.

use std::os::fd::{AsFd, BorrowedFd};

use connector_proto::time::Instant;

/// Readiness that somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

impl Interest {
    /// Waits to read, to write, or both.
    #[must_use]
    pub const fn new(read: bool, write: bool) -> Self {
        Self { read, write }
    }
}

/// What one party waits for, until it has had its next turn.
#[derive(Debug, Default)]
pub struct Watch<'a> {
    pub(crate) descriptors: Vec<(BorrowedFd<'a>, Interest)>,
    pub(crate) deadline: Option<Instant>,
}

impl<'a> Watch<'a> {
    /// Waits for `interest` in `descriptor`. No interest, no entry: a peer's hang-up alone is then not
    /// reported, and cannot spin the loop.
    pub fn add(&mut self, descriptor: &'a impl AsFd, interest: Interest) {
        if interest.read || interest.write {
            self.descriptors.push((descriptor.as_fd(), interest));
        }
    }

    /// Waits no longer than until `deadline`.
    pub fn until(&mut self, deadline: Option<Instant>) {
        self.deadline = match (self.deadline, deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}
