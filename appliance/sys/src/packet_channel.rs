//! A `SOCK_SEQPACKET` socket pair between two processes of the machine: one packet a message, with
//! descriptors beside the bytes (`SCM_RIGHTS`, unix(7)). No `unsafe`; it is here because PID 1 and
//! the services both need it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};

/// Descriptors that one packet may carry.
pub const DESCRIPTORS_MAX: usize = 4;

/// What one receive yielded.
#[derive(Debug)]
pub enum Received {
    /// A packet.
    Packet {
        /// Its length in the caller's buffer, in bytes.
        len: usize,
        /// Descriptors that came with it, close-on-exec set.
        descriptors: Vec<OwnedFd>,
    },
    /// Nothing there now.
    Empty,
    /// The other end is gone.
    Closed,
    /// A packet larger than the buffer; it is lost.
    TooLong,
}

/// Makes a connected, non-blocking pair, close-on-exec set on both ends.
///
/// # Errors
/// Those of `socketpair(2)`.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// Sends one packet without blocking.
///
/// # Errors
/// `AGAIN` when the other side does not read, `PIPE` when it is gone, and those of `sendmsg(2)`.
/// More than [`DESCRIPTORS_MAX`] descriptors are `INVAL`.
pub fn send(
    channel: impl AsFd,
    packet: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL);
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(channel, &[IoSlice::new(packet)], &mut ancillary, flags).map(drop)
}

/// Receives one packet into `buffer` without blocking.
///
/// # Errors
/// Those of `recvmsg(2)` other than "nothing there" and "gone".
pub fn recv(channel: impl AsFd, buffer: &mut [u8]) -> Result<Received, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let message = match recvmsg(
        channel,
        &mut [IoSliceMut::new(buffer)],
        &mut ancillary,
        flags,
    ) {
        Ok(message) => message,
        Err(Errno::AGAIN) => return Ok(Received::Empty),
        Err(Errno::CONNRESET | Errno::PIPE) => return Ok(Received::Closed),
        Err(error) => return Err(error),
    };
    let mut descriptors = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            descriptors.extend(received);
        }
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Ok(Received::TooLong);
    }
    match message.bytes {
        0 => Ok(Received::Closed),
        len => Ok(Received::Packet { len, descriptors }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "needs a pair of packet sockets")]
    fn a_packet_arrives_whole_with_its_descriptors() {
        let (left, right) = pair().unwrap();
        let (one, two) = pair().unwrap();
        send(&left, b"two files", &[one.as_fd(), two.as_fd()]).unwrap();
        let mut buffer = [0; 64];
        let Received::Packet { len, descriptors } = recv(&right, &mut buffer).unwrap() else {
            panic!("a packet was sent");
        };
        assert_eq!(&buffer[..len], b"two files");
        assert_eq!(descriptors.len(), 2);
        send(&descriptors[0], b"through it", &[]).unwrap();
        assert!(matches!(
            recv(&two, &mut buffer).unwrap(),
            Received::Packet { len: 10, .. }
        ));
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs a pair of packet sockets")]
    fn an_empty_channel_and_a_closed_one_are_told_apart() {
        let (left, right) = pair().unwrap();
        let mut buffer = [0; 8];
        assert!(matches!(
            recv(&right, &mut buffer).unwrap(),
            Received::Empty
        ));
        drop(left);
        assert!(matches!(
            recv(&right, &mut buffer).unwrap(),
            Received::Closed
        ));
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs a pair of packet sockets")]
    fn a_packet_over_the_buffer_is_reported_and_does_not_hurt_the_next() {
        let (left, right) = pair().unwrap();
        send(&left, &[1; 100], &[]).unwrap();
        send(&left, b"next", &[]).unwrap();
        let mut buffer = [0; 8];
        assert!(matches!(
            recv(&right, &mut buffer).unwrap(),
            Received::TooLong
        ));
        assert!(matches!(
            recv(&right, &mut buffer).unwrap(),
            Received::Packet { len: 4, .. }
        ));
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs a pair of packet sockets")]
    fn a_reader_that_does_not_read_never_blocks_the_sender() {
        let (left, _right) = pair().unwrap();
        let refused = (0..100_000).find_map(|_| send(&left, &[0; 1024], &[]).err());
        assert_eq!(refused, Some(Errno::AGAIN));
    }
}
