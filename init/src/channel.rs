//! The local channel: one packet is one message, with the descriptors that travel with it.
//!
//! Sending never blocks. What the peer has not taken yet waits in a queue in which a newer message
//! of the same slot replaces an older one: facts and statuses are states, only the latest matters.
//! There are few slots, so the queue is bounded without losing a state.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use connector_proto::{limits, local};
use connector_sys::packet_channel;
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

/// Which state a message carries; of those that wait, the latest of each slot is kept.
pub type Slot = u8;

/// One end of a local channel.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    waiting: VecDeque<Packet>,
}

#[derive(Debug)]
struct Packet {
    slot: Slot,
    /// May hold a provisioning key on its way to the connector.
    bytes: Zeroizing<Vec<u8>>,
    descriptors: Vec<OwnedFd>,
}

/// What [`Channel::receive`] found.
#[derive(Debug)]
pub enum Received<M> {
    /// A message, and the descriptors that came with it.
    Message(M, Vec<OwnedFd>),
    /// A packet that is not a message of this channel.
    Malformed,
    /// Nothing at the moment.
    Empty,
    /// The peer is gone.
    Closed,
}

impl Channel {
    /// A channel, and the descriptor for the other side.
    ///
    /// # Errors
    /// If the kernel is out of descriptors or memory.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = packet_channel::pair()?;
        Ok((Self::new(ours), theirs))
    }

    /// A service's end, which is its standard input.
    ///
    /// # Errors
    /// If the kernel is out of descriptors.
    pub fn from_stdin() -> io::Result<Self> {
        Ok(Self::new(rustix::io::fcntl_dupfd_cloexec(
            rustix::stdio::stdin(),
            3,
        )?))
    }

    const fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            waiting: VecDeque::new(),
        }
    }

    /// Sends `message`, or keeps it until the peer has room.
    ///
    /// # Errors
    /// If the peer is gone.
    pub fn send<M: Serialize>(
        &mut self,
        slot: Slot,
        message: &M,
        descriptors: Vec<OwnedFd>,
    ) -> io::Result<()> {
        let mut buffer = Zeroizing::new([0; limits::LOCAL_MAX]);
        let bytes = local::encode(message, &mut buffer).map_err(io::Error::other)?;
        let bytes = Zeroizing::new(bytes.to_vec());
        self.waiting.retain(|packet| packet.slot != slot);
        self.waiting.push_back(Packet {
            slot,
            bytes,
            descriptors,
        });
        self.flush()
    }

    /// Sends what waits, as far as the peer has room.
    ///
    /// # Errors
    /// If the peer is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some(packet) = self.waiting.front() {
            let descriptors: Vec<_> = packet.descriptors.iter().map(AsFd::as_fd).collect();
            match packet_channel::send(&self.socket, &packet.bytes, &descriptors) {
                Ok(()) => {
                    self.waiting.pop_front();
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether something waits for the peer to have room.
    #[must_use]
    pub fn wants_to_send(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes the next message, if there is one.
    ///
    /// # Errors
    /// If the socket fails otherwise than by the peer's end.
    pub fn receive<M: DeserializeOwned>(&self) -> io::Result<Received<M>> {
        let mut buffer = Zeroizing::new([0; limits::LOCAL_MAX]);
        let (len, descriptors) = match packet_channel::recv(&self.socket, &mut *buffer)? {
            packet_channel::Received::Packet { len, descriptors } => (len, descriptors),
            packet_channel::Received::Empty => return Ok(Received::Empty),
            packet_channel::Received::Closed => return Ok(Received::Closed),
            packet_channel::Received::TooLong => return Ok(Received::Malformed),
        };
        match local::decode(buffer.get(..len).unwrap_or_default()) {
            Ok(message) => Ok(Received::Message(message, descriptors)),
            Err(local::LocalError) => Ok(Received::Malformed),
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use connector_proto::local::ToNetd;

    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptor() {
        let (mut ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::new(theirs);
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let start = ToNetd::Start {
            mac: [1; 6],
            hostname: None,
            dhcp: true,
            link_local: None,
        };
        ours.send(0, &start, vec![writer]).unwrap();
        let Received::Message(message, descriptors) = theirs.receive::<ToNetd>().unwrap() else {
            panic!("no message");
        };
        assert_eq!(message, start);
        rustix::io::write(&descriptors[0], b"x").unwrap();
        let mut byte = [0; 1];
        assert_eq!(rustix::io::read(&reader, &mut byte).unwrap(), 1);
    }

    #[test]
    fn a_peer_that_does_not_read_gets_only_the_latest_state() {
        let (mut ours, theirs) = Channel::pair().unwrap();
        let theirs = Channel::new(theirs);
        for round in 0..100_000_u32 {
            ours.send(0, &ToNetd::Carrier { up: round % 2 == 0 }, vec![])
                .unwrap();
        }
        assert_eq!(ours.waiting.len(), 1);
        let mut last = None;
        loop {
            match theirs.receive::<ToNetd>().unwrap() {
                Received::Message(message, _) => last = Some(message),
                Received::Empty if ours.wants_to_send() => ours.flush().unwrap(),
                Received::Empty => break,
                Received::Malformed | Received::Closed => panic!("broken"),
            }
        }
        assert_eq!(last, Some(ToNetd::Carrier { up: false }));
    }

    #[test]
    fn garbage_is_named_malformed_and_the_end_closed() {
        let (ours, theirs) = Channel::pair().unwrap();
        packet_channel::send(&theirs, &[0xff; 20], &[]).unwrap();
        assert!(matches!(
            ours.receive::<ToNetd>().unwrap(),
            Received::Malformed
        ));
        assert!(matches!(ours.receive::<ToNetd>().unwrap(), Received::Empty));
        drop(theirs);
        assert!(matches!(
            ours.receive::<ToNetd>().unwrap(),
            Received::Closed
        ));
    }
}
