//! Engine B: in this process, records sealed and opened where they lie.
//!
//! A turn borrows one buffer. Outward, the source is read straight into record slots, whose neighbours'
//! headers and tags it leaves room for; they are sealed where they are, and since full slots adjoin, all
//! of them leave in one call. Inward, what was received is opened record by record, each to where the
//! content before it ended, so that the plain bytes are one piece, and leave in one call, too.
//!
//! ```text
//! outward   | h | content      | t | h | content      | t | h | con | t |  one receive, one send
//! inward    | h | content      | t | h | content      | t | h | con           received
//!           | content      content      |              | h | con              opened; the part stays
//! ```
//!
//! Nothing is lost where the sink is full: what was sealed or opened stays with the session
//! ([`Kept`](crate::buffers::Kept)), and nothing more is read before it has left.

use std::io::{self, ErrorKind, IoSliceMut};
use std::os::fd::BorrowedFd;

use connector_sys::tcp_inq::{self, Received};
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

/// Receives from the data channel what is there: 0 bytes at the end, `None` if there is nothing yet.
///
/// What does not fill the buffer has emptied the socket, and the flag is false as if `EAGAIN` had said so: what
/// comes later is an edge of its own (epoll(7), question 9). The end of file behind the bytes is one, too, unless
/// it was told of before; then whoever gives the turns knows of it.
fn receive(
    channel: BorrowedFd<'_>,
    buffer: &mut [u8],
    readable: &mut bool,
) -> Result<Option<usize>, Broken> {
    loop {
        #[cfg(test)]
        tests::count_call();
        match rustix::net::recv(channel, &mut *buffer, RecvFlags::empty()) {
            Ok((received, _)) => {
                *readable = received == buffer.len();
                return Ok(Some(received));
            }
            Err(Errno::AGAIN) => {
                *readable = false;
                return Ok(None);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(Broken::Channel(error.into())),
        }
    }
}

/// Reads from the plain socket what is there, like [`receive`]. A read that does not fill its slots may have
/// stopped before urgent data, behind which more may wait that no edge will tell of: the socket is empty when
/// it says so, or by `EAGAIN`.
fn read(
    plain: BorrowedFd<'_>,
    slots: &mut [IoSliceMut<'_>],
    readable: &mut bool,
) -> Result<Option<usize>, Broken> {
    loop {
        #[cfg(test)]
        tests::count_call();
        match tcp_inq::receive(plain, slots) {
            Ok(Received { length, has_more }) => {
                *readable = has_more != Some(false);
                return Ok(Some(length));
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => {
                    *readable = false;
                    return Ok(None);
                }
                ErrorKind::Interrupted => {}
                _ => return Err(Broken::Plain(error)),
            },
        }
    }
}
