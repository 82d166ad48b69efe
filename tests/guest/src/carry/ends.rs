//! Source and sink.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use rustix::net::{RecvFlags, recv};

use super::Failure;
use super::pattern::{CHUNK, Pattern};
use super::peer::Peer;

/// What a source writes.
#[derive(Debug)]
pub enum Content<'a> {
    /// So many bytes of the pattern.
    Plain(&'a Pattern, usize),
    /// Records that were sealed beforehand.
    Sealed(Vec<u8>),
}

impl Content<'_> {
    /// Writes it all, a chunk a call, and ends the connection's direction.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn write(&self, mut socket: &TcpStream) -> Result<(), Failure> {
        match self {
            Self::Plain(pattern, bytes) => {
                let mut written = 0;
                while written < *bytes {
                    let chunk = pattern.at(written, bytes - written);
                    socket.write_all(chunk)?;
                    written += chunk.len();
                }
            }
            Self::Sealed(records) => {
                for chunk in records.chunks(CHUNK) {
                    socket.write_all(chunk)?;
                }
            }
        }
        socket.shutdown(Shutdown::Write)?;
        Ok(())
    }
}

/// What becomes of what arrives.
#[derive(Debug)]
pub enum Sink<'a> {
    /// Thrown away in the kernel: nothing is copied.
    Discard,
    /// Compared with the pattern.
    Plain(&'a Pattern),
    /// Opened, and compared with the pattern.
    Sealed(Peer, &'a Pattern),
}

impl Sink<'_> {
    /// Takes everything up to the end; returns how many bytes that were, opened where it opens them.
    ///
    /// # Errors
    /// Those of the socket and of TLS, and that a byte is not the one that was sent.
    pub fn take(self, mut socket: &TcpStream) -> Result<usize, Failure> {
        let mut buffer = vec![0; CHUNK];
        let mut arrived = 0;
        match self {
            Self::Discard => loop {
                let flags = RecvFlags::TRUNC | RecvFlags::WAITALL;
                match recv(socket, &mut buffer[..], flags)?.1 {
                    0 => return Ok(arrived),
                    len => arrived += len,
                }
            },
            Self::Plain(pattern) => loop {
                match socket.read(&mut buffer)? {
                    0 => return Ok(arrived),
                    len => {
                        pattern.compare(arrived, &buffer[..len])?;
                        arrived += len;
                    }
                }
            },
            Self::Sealed(mut peer, pattern) => loop {
                match socket.read(&mut buffer)? {
                    0 if peer.is_closed() => return Ok(arrived),
                    0 => return Err("the data channel ended without close_notify".into()),
                    len => peer.open(&buffer[..len], |bytes| {
                        pattern.compare(arrived, bytes)?;
                        arrived += bytes.len();
                        Ok(())
                    })?,
                }
            },
        }
    }
}
