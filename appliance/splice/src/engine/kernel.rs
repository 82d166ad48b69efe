//! Engine A: the kernel's TLS and `splice(2)`; no byte comes into this process.
//!
//! ```text
//! outward   plain socket  --splice-->  pipe  --splice-->  TLS socket: sealed there, 16 KiB a record
//! inward    TLS socket: opened there  --splice-->  pipe  --splice-->  plain socket
//! ```
//!
//! A pipe is filled first, inward by one record a call, and then emptied by one call. Where too many sinks
//! stall, what is left in a pipe is copied out of it; where there is no pipe to be had at all, everything is. Records that are not data cannot be spliced; they are
//! fetched and sent with their type beside them ([`connector_sys::kernel_tls`]).
//!
//! Linux before 6.14 cannot change the keys of a socket: a KeyUpdate of the peer ends the session as
//! [`Broken::CannotRekey`]. Our own peers move on to another channel instead of sending one.

use std::io;
use std::net::TcpStream;
use std::os::fd::BorrowedFd;

use connector_sys::kernel_tls::{self, Direction, Suite, TrafficKey};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustls::ConnectionTrafficSecrets;

use super::{Broken, Flow};
use crate::buffers::Kept;
use crate::buffers::pipes::Pipe;
use crate::channel::DirectionKeys;
use crate::record::RecordError;

mod inward;
mod outward;
#[cfg(test)]
mod tests;

pub use inward::Inward;
pub use outward::Outward;

/// Whether this kernel has TLS for this connected socket. Nothing about the socket changes beside that it
/// could be given keys.
#[must_use]
pub fn is_available(socket: &TcpStream) -> bool {
    kernel_tls::attach(socket).is_ok()
}

/// Gives the kernel the keys of one direction; `None` if it does not take them, and then nothing changed.
fn install(socket: &TcpStream, direction: Direction, keys: &DirectionKeys) -> Option<Suite> {
    kernel_tls::attach(socket).ok()?;
    give(socket, direction, keys).ok()
}

/// The same for a socket that takes keys.
fn give(
    socket: impl std::os::fd::AsFd,
    direction: Direction,
    keys: &DirectionKeys,
) -> io::Result<Suite> {
    let (suite, key, iv) = match &keys.secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Suite::Aes128Gcm, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Suite::Aes256Gcm, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
            (Suite::Chacha20Poly1305, key, iv)
        }
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let iv = <[u8; 12]>::try_from(iv.as_ref()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // rustls keeps the key of every suite in as many bytes as the longest takes.
    let key = key.as_ref().get(..suite.key_length());
    let key = TrafficKey {
        suite,
        key: key.ok_or(io::ErrorKind::InvalidInput)?,
        iv,
        sequence: keys.sequence,
    };
    kernel_tls::install(socket, direction, &key)?;
    Ok(suite)
}

/// What a direction holds that its sink has not taken.
#[derive(Debug, Default)]
struct Held {
    /// Bytes in memory; they go first.
    copied: Option<Kept>,
    /// Bytes in a pipe.
    pipe: Option<Pipe>,
}

impl Held {
    const fn is_empty(&self) -> bool {
        self.copied.is_none() && self.pipe.is_none()
    }

    /// Hands on what is held. Returns how many bytes the sink took; if that is not all of them, the flow's
    /// flag says so. A pipe that was emptied goes back to the others.
    fn flush(&mut self, flow: &mut Flow<'_>) -> Result<usize, Errno> {
        let mut moved = 0;
        while *flow.writable && !self.is_empty() {
            match self.flush_once(flow) {
                Ok(count) => moved += count,
                Err(Errno::AGAIN) => *flow.writable = false,
                Err(error) => return Err(error),
            }
        }
        *flow.carried += moved as u64;
        self.spare_pipe(flow)?;
        Ok(moved)
    }

    /// Copies what is left in a pipe, if no other is to be had: the next turn of whoever needs one.
    fn spare_pipe(&mut self, flow: &mut Flow<'_>) -> Result<(), Errno> {
        if !flow.buffers.pipes.are_used_up() {
            return Ok(());
        }
        let Some(mut pipe) = self.pipe.take() else {
            return Ok(());
        };
        let mut buffer = flow.buffers.take();
        let copied = pipe.copy_out(&mut buffer)?;
        self.copied = Some(flow.buffers.keep(buffer, 0..copied));
        flow.buffers.pipes.give_back(pipe);
        Ok(())
    }

    fn flush_once(&mut self, flow: &mut Flow<'_>) -> Result<usize, Errno> {
        if let Some(copied) = &mut self.copied {
            let moved =
                rustix::net::send(flow.sink, copied.bytes(), rustix::net::SendFlags::NOSIGNAL)?;
            copied.advance(moved);
            if copied.bytes().is_empty()
                && let Some(copied) = self.copied.take()
            {
                flow.buffers.release(copied);
            }
            return Ok(moved);
        }
        let Some(mut pipe) = self.pipe.take() else {
            return Ok(0);
        };
        let moved = pipe.drain(flow.sink);
        match pipe.held() {
            0 => flow.buffers.pipes.give_back(pipe),
            _ => self.pipe = Some(pipe),
        }
        moved
    }
}

/// What an error of the data channel's socket means.
fn channel(error: Errno) -> Broken {
    match error {
        Errno::BADMSG => RecordError::Forged.into(),
        Errno::MSGSIZE => RecordError::Long.into(),
        Errno::INVAL => RecordError::Header.into(),
        other => Broken::Channel(other.into()),
    }
}

fn plain(error: Errno) -> Broken {
    Broken::Plain(error.into())
}

/// The number of the system's error.
fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Whether a socket has room, and, if not, that there will be an edge when it has.
fn has_room(socket: BorrowedFd<'_>) -> bool {
    is_so(socket, PollFlags::OUT)
}

/// Whether the peer of a connection sends no more.
fn has_ended(socket: BorrowedFd<'_>) -> bool {
    is_so(socket, PollFlags::RDHUP)
}

fn is_so(socket: BorrowedFd<'_>, what: PollFlags) -> bool {
    let mut watched = [PollFd::from_borrowed_fd(socket, what)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut watched, Some(&now)).is_ok_and(|count| count > 0)
}
