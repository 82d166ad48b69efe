//! The console's end of the local channel to PID 1.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use connector_proto::limits::LOCAL_MAX;
use connector_proto::local::{self, FromConsole, LocalError, ToConsole};
use connector_sys::packet_channel;
use rustix::io::Errno;
use zeroize::{Zeroize, Zeroizing};

/// A `SOCK_SEQPACKET` socket, used without blocking whatever its own flags say.
#[derive(Debug)]
pub struct Channel<'fd> {
    socket: BorrowedFd<'fd>,
    unsent: VecDeque<Zeroizing<Vec<u8>>>,
}

/// What a look into the channel found.
#[derive(Debug)]
pub enum Received {
    /// A message, with the descriptors that came with it.
    Message(ToConsole, Vec<OwnedFd>),
    /// A packet that is no message.
    Garbage(LocalError),
    /// No packet waits.
    Nothing,
    /// PID 1 closed its end.
    Closed,
}

impl<'fd> Channel<'fd> {
    /// Wraps the socket.
    #[must_use]
    pub const fn new(socket: BorrowedFd<'fd>) -> Self {
        Self {
            socket,
            unsent: VecDeque::new(),
        }
    }

    /// Takes the next packet.
    ///
    /// # Errors
    /// What the kernel says, if the socket is none or is broken.
    pub fn receive(&self) -> Result<Received, Errno> {
        let mut packet = [0; LOCAL_MAX];
        Ok(match packet_channel::recv(self.socket, &mut packet)? {
            packet_channel::Received::Empty => Received::Nothing,
            packet_channel::Received::Closed => Received::Closed,
            packet_channel::Received::TooLong => Received::Garbage(LocalError),
            packet_channel::Received::Packet { len, descriptors } => {
                match local::decode(&packet[..len]) {
                    Ok(message) => Received::Message(message, descriptors),
                    Err(error) => Received::Garbage(error),
                }
            }
        })
    }

    /// Takes a message to send; [`Self::flush`] sends it. Wiped once it is sent.
    ///
    /// # Errors
    /// If [`UNSENT_MAX`] messages wait already, or the message does not fit into a packet.
    pub fn send(&mut self, message: &FromConsole) -> Result<(), LocalError> {
        if self.unsent.len() == UNSENT_MAX {
            return Err(LocalError);
        }
        let mut buffer = [0; LOCAL_MAX];
        let packet =
            local::encode(message, &mut buffer).map(|packet| Zeroizing::new(packet.to_vec()));
        buffer.zeroize();
        self.unsent.push_back(packet?);
        Ok(())
    }

    /// Sends what waits, as far as the socket takes it.
    ///
    /// # Errors
    /// What the kernel says, if PID 1 closed its end.
    pub fn flush(&mut self) -> Result<(), Errno> {
        while let Some(packet) = self.unsent.front() {
            match packet_channel::send(self.socket, packet, &[]) {
                Ok(()) => drop(self.unsent.pop_front()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether [`Self::flush`] has something to do.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }
}

impl AsFd for Channel<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket
    }
}

/// Messages that wait for PID 1. An operator types one a minute, PID 1 reads at once.
const UNSENT_MAX: usize = 8;
