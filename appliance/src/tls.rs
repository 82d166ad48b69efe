//! TLS towards the edge: who is trusted, and a TLS connection over a non-blocking socket.

mod config;
mod error;
mod tickets;

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use connector_proto::message::EXPORTER_LABEL;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use splice_core::session::reset_on_close;

pub use config::{Pinned, enrolment, roots};
pub use error::TlsError;

use crate::interest::Interest;
use crate::issuer;

/// Bytes that may wait to be encrypted and sent, per connection.
const SEND_BUFFER_MAX: usize = 64 * 1024;
/// Bytes that rustls has room for when it reads.
const TLS_ROOM: usize = 4096;

/// A TLS connection over a non-blocking socket.
pub struct TlsStream {
    socket: TcpStream,
    tls: ClientConnection,
    end: Option<End>,
    /// Decrypted bytes wait in TLS. While they do it reads no more, so the socket's readiness says
    /// nothing about them.
    has_plaintext: bool,
}

/// How the peer's direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It said that it sends no more.
    CloseNotify,
    /// The connection broke off: data may be missing.
    Truncated,
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl AsFd for TlsStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl TlsStream {
    /// Starts a handshake with `host`.
    ///
    /// # Errors
    /// [`TlsError::Name`], or what rustls finds wrong with the configuration.
    pub fn new(socket: TcpStream, config: Arc<ClientConfig>, host: &str) -> Result<Self, TlsError> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::Name)?;
        let mut tls = ClientConnection::new(config, name).map_err(TlsError::Tls)?;
        tls.set_buffer_limit(Some(SEND_BUFFER_MAX));
        Ok(Self {
            socket,
            tls,
            end: None,
            has_plaintext: false,
        })
    }

    /// Moves bytes between socket and TLS until one of them has to wait; whether the socket may have more
    /// as soon as TLS has room.
    ///
    /// # Errors
    /// What broke the connection. An alert for the peer is on its way as far as possible.
    pub fn turn(&mut self) -> Result<bool, TlsError> {
        self.flush()?;
        let mut may_have_more = self.end.is_none();
        while may_have_more && self.end.is_none() && self.tls.wants_read() {
            match self.tls.read_tls(&mut self.socket) {
                Ok(0) => self.end = Some(End::Truncated),
                // TLS has room for so much at least: less is all there was. Whatever comes now, or a reader
                // that was wrong about it, has the socket readable when it is waited for.
                Ok(len) => may_have_more = len >= TLS_ROOM,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => may_have_more = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TlsError::Io(error)),
            }
            match self.tls.process_new_packets() {
                Ok(state) => {
                    self.has_plaintext = state.plaintext_bytes_to_read() > 0;
                    if state.peer_has_closed() {
                        self.end = Some(End::CloseNotify);
                    }
                }
                Err(error) => {
                    let _ = self.flush();
                    return Err(TlsError::Tls(error));
                }
            }
        }
        if self.end == Some(End::Truncated) && self.tls.is_handshaking() {
            return Err(TlsError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        self.flush()?;
        Ok(may_have_more && self.end.is_none())
    }

    /// Whether the handshake is still going on.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// The TLS exporter of an enrolment.
    ///
    /// # Errors
    /// Before the handshake is done.
    pub fn exporter(&self) -> Result<[u8; 32], TlsError> {
        self.tls
            .export_keying_material([0; 32], EXPORTER_LABEL, None)
            .map_err(TlsError::Tls)
    }

    /// Who issued the certificate that the peer showed, in words for people. Nothing is decided by it.
    #[must_use]
    pub fn peer_issuer(&self) -> Option<String> {
        issuer::issuer(self.tls.peer_certificates()?.first()?)
    }

    /// Has the connection end without another byte: what waits to be sent is lost, and the peer's
    /// kernel is told by a reset.
    pub fn abandon(self) {
        reset_on_close(&self.socket);
    }

    /// Reads decrypted bytes; zero if there are none now. See [`Self::end`] for the end.
    ///
    /// # Errors
    /// None in practice; those of the in-memory reader by type.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = match self.tls.reader().read(buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            // A truncation; `end` tells it apart.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(error),
        };
        self.has_plaintext &= len > 0;
        Ok(len)
    }

    /// Whether [`Self::read`] may have something, or the end is reached: no event of the socket
    /// will tell.
    #[must_use]
    pub const fn has_input(&self) -> bool {
        self.has_plaintext || self.end.is_some()
    }

    /// Takes bytes to encrypt and send, as many as fit.
    ///
    /// # Errors
    /// None in practice; those of the in-memory writer by type.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tls.writer().write(bytes)
    }

    /// Whether everything written so far has left this process.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        !self.tls.wants_write()
    }

    /// Says that nothing more is sent; the other direction goes on.
    pub fn send_close_notify(&mut self) {
        self.tls.send_close_notify();
    }

    /// How the peer's direction ended, if it has. Decrypted bytes may still wait to be read.
    #[must_use]
    pub const fn end(&self) -> Option<End> {
        self.end
    }

    /// The socket, for its options.
    #[must_use]
    pub const fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// What this connection waits for; `read` is false while its user has no room for more.
    #[must_use]
    pub fn interest(&self, read: bool) -> Interest {
        let read =
            self.end.is_none() && self.tls.wants_read() && (read || self.tls.is_handshaking());
        Interest::new(read, self.tls.wants_write())
    }

    /// Sends what waits, as far as the socket takes it. Reads nothing.
    ///
    /// # Errors
    /// If the socket fails.
    pub fn flush(&mut self) -> Result<(), TlsError> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(TlsError::Io(error)),
            }
        }
        Ok(())
    }
}
