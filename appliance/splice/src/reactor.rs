//! What is ready: one interface over io_uring and epoll.
//!
//! Bytes are never moved by the ring. `IORING_OP_SPLICE` sets `REQ_F_FORCE_ASYNC`, so that every splice
//! goes to a worker thread (measured at 2.2 times the CPU of `splice(2)`); the ring carries readiness and
//! the time to wait, and `splice(2)` runs inline, non-blocking.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::io::Errno;

pub mod epoll;
pub mod ring;

/// Something that became ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Whose descriptor.
    pub token: u64,
    /// It can be read, has ended, or failed.
    pub readable: bool,
    /// It can be written, or failed.
    pub writable: bool,
    /// Its peer sends no more, or it failed: what is left to read ends with an end of file or an error, and
    /// no further edge will tell of that end.
    pub ended: bool,
    /// An error is pending on it.
    pub failed: bool,
}

/// The key of something that is watched; used up by [`Reactor::forget`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Watched(pub u64);

/// What to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Every change to readable or writable, as long as it is watched: edge-triggered, so what is told of
    /// is to be used until `EAGAIN`. The state at the beginning is told, too.
    Edges,
    /// The next time that it can be read or, if so, written; once, and at once if it already is.
    Once {
        /// When there is something to read.
        read: bool,
        /// When there is room to write.
        write: bool,
    },
}

/// Waits for descriptors, on behalf of tokens.
pub trait Reactor: fmt::Debug {
    /// Watches a descriptor, which must not be watched yet. It must be forgotten before it is closed; the
    /// ring keeps the file open up to the next [`Self::wait`] after that, and so does its FIN or RST wait.
    ///
    /// # Errors
    /// Those of the system.
    fn watch(
        &mut self,
        descriptor: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> Result<Watched, Errno>;

    /// Watches no more; nothing of it is told after this. One that was watched once and was told of is
    /// forgotten by itself, and forgetting it does nothing.
    fn forget(&mut self, watched: Watched);

    /// Waits until something is ready, no longer than `timeout` (for ever without), and adds what is to
    /// `ready`, a token possibly more than once. May return with nothing at any time, and does so when it is
    /// interrupted. To be called on the thread that opened the reactor.
    ///
    /// # Errors
    /// Those of the system.
    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> Result<(), Errno>;

    /// Which one it is, for people.
    fn name(&self) -> &'static str;
}

/// Which reactor to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// io_uring where the system allows it, else epoll.
    #[default]
    Best,
    /// io_uring or nothing.
    Ring,
    /// epoll.
    Epoll,
}

/// Opens a reactor, for the calling thread.
///
/// # Errors
/// Why the one that was asked for is not to be had.
pub fn open(kind: Kind) -> Result<Box<dyn Reactor + Send>, Errno> {
    match kind {
        Kind::Epoll => Ok(Box::new(epoll::Epoll::open()?)),
        Kind::Ring => Ok(Box::new(ring::Ring::open().map_err(|error| error.errno)?)),
        Kind::Best => match ring::Ring::open() {
            Ok(ring) => Ok(Box::new(ring)),
            Err(error) => {
                log::info!("epoll is used, because io_uring is not to be had: {error}");
                Ok(Box::new(epoll::Epoll::open()?))
            }
        },
    }
}

#[cfg(test)]
mod tests;
