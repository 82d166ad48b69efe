//! This process's end of the local channel to PID 1: packets of `connector_proto::local`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use connector_proto::limits::LOCAL_MAX;
use connector_proto::local::{self, FromConnector, ToConnector};
use connector_sys::packet_channel::{self, Received};
use rustix::io::Errno;
use zeroize::Zeroizing;

/// The channel that PID 1 gave this process as its standard input.
#[derive(Debug)]
pub struct LocalChannel {
    socket: OwnedFd,
}

/// What one receive yielded.
#[derive(Debug)]
pub enum Incoming {
    /// A message and the descriptors beside it.
    Message(Box<ToConnector>, Vec<OwnedFd>),
    /// Nothing there now.
    Empty,
    /// PID 1 is gone.
    Closed,
}

impl AsFd for LocalChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl LocalChannel {
    /// Takes standard input over.
    ///
    /// # Errors
    /// If it cannot be duplicated.
    pub fn from_stdin() -> Result<Self, Errno> {
        let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        Ok(Self { socket })
    }

    /// A channel over any socket, for tests.
    #[must_use]
    pub const fn from_socket(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Receives one message. Packets that are none are logged and dropped.
    ///
    /// # Errors
    /// Those of `recvmsg(2)`.
    pub fn recv(&self) -> Result<Incoming, Errno> {
        // A packet may be a key that was typed.
        let mut buffer = Zeroizing::new([0; LOCAL_MAX]);
        loop {
            match packet_channel::recv(&self.socket, &mut *buffer)? {
                Received::Empty => return Ok(Incoming::Empty),
                Received::Closed => return Ok(Incoming::Closed),
                Received::TooLong => log::warn!("a local packet over {LOCAL_MAX} bytes is dropped"),
                Received::Packet { len, descriptors } => match local::decode(&buffer[..len]) {
                    Ok(message) => return Ok(Incoming::Message(Box::new(message), descriptors)),
                    Err(error) => log::warn!("{error}"),
                },
            }
        }
    }

    /// Sends one message; false if PID 1 does not read now.
    ///
    /// # Errors
    /// Those of `sendmsg(2)`.
    pub fn send(&self, message: &FromConnector) -> Result<bool, Errno> {
        let mut buffer = [0; LOCAL_MAX];
        let packet = local::encode(message, &mut buffer).map_err(|_| Errno::MSGSIZE)?;
        match packet_channel::send(&self.socket, packet, &[]) {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
