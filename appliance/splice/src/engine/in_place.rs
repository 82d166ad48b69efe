//! Engine B: in this process, records sealed and opened where they lie.
//!
//! A turn borrows one buffer. Outward, the source is read straight into record slots, whose neighbours'
//! headers and tags it leaves room for; they are sealed where they are, and since full slots adjoin, all
//! of them leave in one call. Inward, what was received is opened record by record, each to where the
//! content before it ended, so that the plain bytes are one piece, and leave in one call, too.
//!
//! ```text
//! outward   | h | content      | t | h | content      | t | h | con | t |     one readv, one send
//! inward    | h | content      | t | h | content      | t | h | con           received
//!           | content      content      |              | h | con              opened; the part stays
//! ```
//!
//! Nothing is lost where the sink is full: what was sealed or opened stays with the session
//! ([`Kept`](crate::buffers::Kept)), and nothing more is read before it has left.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::Broken;
use crate::record::RecordError;

pub(super) mod control;
mod inward;
mod outward;
#[cfg(test)]
mod tests;

pub use control::fuzz_control;
pub use inward::Inward;
pub use outward::Outward;

impl From<RecordError> for Broken {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Spent => Self::KeysSpent,
            other => Self::BadRecord(other.text()),
        }
    }
}

/// Which of a direction's two sockets failed.
type Side = fn(io::Error) -> Broken;

/// Sends what the socket takes, and says how much that is. Where it does not take everything, it is full:
/// there will be an edge when it has room again, and the flag waits for that.
fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    writable: &mut bool,
    side: Side,
) -> Result<usize, Broken> {
    loop {
        let sent = match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => sent,
            Err(Errno::AGAIN) => 0,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(side(error.into())),
        };
        *writable = sent == bytes.len();
        return Ok(sent);
    }
}

/// Receives what is there: 0 bytes at the end, `None` (and the flag false) if there is nothing yet.
fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    readable: &mut bool,
    side: Side,
) -> Result<Option<usize>, Broken> {
    loop {
        match rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((received, _)) => return Ok(Some(received)),
            Err(Errno::AGAIN) => {
                *readable = false;
                return Ok(None);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(side(error.into())),
        }
    }
}
