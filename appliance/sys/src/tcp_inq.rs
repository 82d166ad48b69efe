//! Receiving from a TCP socket that says in the same call what is left in it (`TCP_INQ`, since Linux 4.18).
//!
//! A receive that fills less than it was given has not always emptied the socket: TCP also stops short
//! where urgent data is, and bytes behind that wait without another word. What is left tells both apart.

use std::io::{self, IoSliceMut};
use std::os::fd::AsFd;

use crate::control_message;
use crate::kernel_tls::set_option;

/// What one call received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Bytes; none at the end.
    pub length: usize,
    /// Whether there is something more, and be it the end. `None` where the socket does not tell
    /// ([`enable`]).
    pub has_more: Option<bool>,
}

/// Has each [`receive`] on a TCP socket tell whether there is more.
///
/// # Errors
/// `ENOPROTOOPT` before Linux 4.18 and on what is no TCP socket.
pub fn enable(socket: impl AsFd) -> io::Result<()> {
    let on = libc::c_int::from(true).to_ne_bytes();
    set_option(socket, libc::IPPROTO_TCP, TCP_INQ, &on)
}

/// Receives into `pieces`, one after the other, without waiting.
///
/// # Errors
/// `EAGAIN` while there is nothing; those of the connection.
pub fn receive(socket: impl AsFd, pieces: &mut [IoSliceMut<'_>]) -> io::Result<Received> {
    let (length, left) = control_message::receive(socket, pieces, libc::IPPROTO_TCP, TCP_INQ)?;
    let left = left.map(libc::c_int::from_ne_bytes);
    Ok(Received {
        length,
        has_more: left.map(|left| left > 0),
    })
}

/// Option and type of its control message (include/uapi/linux/tcp.h); libc has it for some targets only.
const TCP_INQ: libc::c_int = 36;

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel about a socket")]
    fn each_call_says_whether_there_is_more() {
        let (mut peer, socket) = sockets();
        enable(&socket).unwrap();
        peer.write_all(b"abcdef").unwrap();
        await_bytes(&socket, 6);
        for (bytes, has_more) in [(b"abcd", true), (b"ef\0\0", false)] {
            let mut buffer = [0; 4];
            let received = receive(&socket, &mut [IoSliceMut::new(&mut buffer)]).unwrap();
            assert_eq!((&buffer, received.has_more), (bytes, Some(has_more)));
        }
        let nothing = receive(&socket, &mut [IoSliceMut::new(&mut [0; 4])]);
        assert_eq!(nothing.unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel about a socket")]
    fn bytes_fill_the_pieces_in_their_order_and_nobody_tells_more_than_was_asked_for() {
        let (mut peer, socket) = sockets();
        peer.write_all(b"abcdef").unwrap();
        await_bytes(&socket, 6);
        let (mut first, mut second) = ([0; 2], [0; 8]);
        let mut pieces = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        let received = receive(&socket, &mut pieces).unwrap();
        assert_eq!((received.length, received.has_more), (6, None));
        assert_eq!((&first, &second), (b"ab", b"cdef\0\0\0\0"));
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel about a socket")]
    fn what_is_no_tcp_socket_cannot_tell() {
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(enable(&socket).is_err());
    }

    fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    fn await_bytes(socket: &TcpStream, count: usize) {
        while socket.peek(&mut [0; 64]).unwrap() < count {}
    }
}
