//! A cable: Ethernet frames over a unix socket, each preceded by its length, 4 bytes big-endian.
//!
//! That is what QEMU's `-netdev stream` speaks.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// The longest frame: a VLAN-tagged frame at QEMU's largest packet, rounded up.
pub const FRAME_BYTES_MAX: usize = 65_550;

/// Bytes waiting to be taken by the guest. Beyond it frames are dropped, as a switch does.
const OUTGOING_BYTES_MAX: usize = 16 << 20;

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// Length of a frame's length.
const PREFIX_BYTES: usize = 4;

/// One end of a cable.
#[derive(Debug)]
pub struct Port {
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: VecDeque<u8>,
}

impl Port {
    /// A port over a connected socket.
    ///
    /// # Errors
    /// Those of making the socket non-blocking.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            incoming: Vec::new(),
            outgoing: VecDeque::new(),
        })
    }

    /// Reads what is there and hands each whole frame to `take`.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other end is closed, `InvalidData` for a frame beyond
    /// [`FRAME_BYTES_MAX`], or the socket's.
    pub fn receive(&mut self, mut take: impl FnMut(Vec<u8>)) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.incoming.extend_from_slice(&buffer[..count]),
            Err(error) if is_transient(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        let mut rest = &self.incoming[..];
        while let Some((prefix, after)) = rest.split_first_chunk::<PREFIX_BYTES>() {
            let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
            if length > FRAME_BYTES_MAX {
                let problem = format!("a frame of {length} bytes, more than {FRAME_BYTES_MAX}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
            }
            let Some((frame, after)) = after.split_at_checked(length) else {
                break;
            };
            take(frame.to_vec());
            rest = after;
        }
        let used = self.incoming.len() - rest.len();
        self.incoming.drain(..used);
        Ok(())
    }

    /// Queues a frame; false when the guest is so far behind that it is dropped.
    pub fn send(&mut self, frame: &[u8]) -> bool {
        let Ok(length) = u32::try_from(frame.len()) else {
            return false;
        };
        if self.outgoing.len() + PREFIX_BYTES + frame.len() > OUTGOING_BYTES_MAX {
            return false;
        }
        self.outgoing.extend(length.to_be_bytes());
        self.outgoing.extend(frame);
        true
    }

    /// Writes as much of the queue as the socket takes.
    ///
    /// # Errors
    /// The socket's.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.outgoing.is_empty() {
            let (front, _) = self.outgoing.as_slices();
            match self.stream.write(front) {
                Ok(count) => drop(self.outgoing.drain(..count)),
                Err(error) if is_transient(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether [`Self::flush`] has something left to do.
    pub fn wants_write(&self) -> bool {
        !self.outgoing.is_empty()
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Whether the same call can succeed later.
pub(crate) fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_whole_whatever_the_pieces() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut port = Port::new(near).unwrap();
        let mut frames = Vec::new();
        for byte in [0, 0, 0, 2, b'a', b'b', 0, 0, 0, 1, b'c'] {
            far.write_all(&[byte]).unwrap();
            port.receive(|frame| frames.push(frame)).unwrap();
        }
        assert_eq!(frames, [b"ab".to_vec(), b"c".to_vec()]);
    }

    #[test]
    fn a_frame_is_sent_with_its_length() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut port = Port::new(near).unwrap();
        assert!(port.send(b"abc"));
        port.flush().unwrap();
        assert!(!port.wants_write());
        let mut bytes = [0; 7];
        far.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"\0\0\0\x03abc");
    }

    #[test]
    fn an_absurd_length_and_a_closed_end_are_errors() {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut port = Port::new(near).unwrap();
        far.write_all(&[0xff; 4]).unwrap();
        assert_eq!(
            port.receive(drop).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        drop(far);
        assert_eq!(
            port.receive(drop).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
