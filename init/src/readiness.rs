//! Waiting: for descriptors, until an instant. The only place where a process of this crate sleeps.

use std::io;
use std::time::Duration;

use connector_proto::time::Instant;
use rustix::event::{PollFd, Timespec, poll};
use rustix::io::Errno;

use crate::clock;

/// Returns when a descriptor is ready, the deadline has come, or a signal arrived.
///
/// # Errors
/// If the kernel is out of memory.
pub fn wait(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<()> {
    let timeout = deadline.map(|at| timespec(at.since(clock::boot_now())));
    match poll(fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Rounded up to a whole microsecond's end, so that the deadline has come when the wait is over.
fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
