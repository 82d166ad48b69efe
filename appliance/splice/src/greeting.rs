//! A data channel from its handshake to the moment when it becomes a session's.
//!
//! Sans-IO over rustls's unbuffered connections, because those alone can be turned into keys *and* leave
//! every byte that was read with us. The order of things (`docs/PROTOCOL.md`, data channel):
//!
//! ```text
//! connector                                   edge
//!   handshake  <----------------------------->  who is it, may it?
//!              <------ tickets, Ready{} ------
//!   warm: both wait, nobody sends
//!   Attach{session, channel} ------------------>
//!   into_channel                                into_channel
//! ```
//!
//! The connector may read whatever comes until `Ready`: the edge sends nothing behind it. The edge may
//! read whatever comes until its own `Ready`, and from then on one record and not a byte more, because
//! the session's first bytes may follow the `Attach` at once: they stay in the kernel's buffer, where
//! either engine finds them. [`Greeting::wanted`] says how much that is.

use std::fmt;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, ExtractedSecrets, HandshakeKind, ServerConfig};

use crate::channel::{Channel, DirectionKeys, Rekey};
use crate::record::traffic::Overheard;

/// Bytes read at once while it does not matter how many.
const CHUNK: usize = 4096;
/// Bytes of the peer in all. A mutual handshake with P-256 certificates takes less than 4 KiB.
pub const INPUT_MAX: usize = 16 * 1024;
/// Header of a record (RFC 8446 section 5.1).
const HEADER_LEN: usize = 5;

/// What keeps a greeting from its end.
#[derive(Debug)]
pub enum GreetingError {
    /// What rustls finds wrong. An alert for the peer may be left to send.
    Tls(rustls::Error),
    /// The peer sent more than [`INPUT_MAX`] bytes.
    TooMuch,
    /// The handshake is not over, or something that was read or written is left.
    Unfinished(&'static str),
}

impl fmt::Display for GreetingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(error) => write!(f, "TLS: {error}"),
            Self::TooMuch => write!(
                f,
                "the peer sent more than {INPUT_MAX} bytes before the channel was a session's"
            ),
            Self::Unfinished(what) => write!(f, "the channel is not ready for a session: {what}"),
        }
    }
}

impl std::error::Error for GreetingError {}

impl From<rustls::Error> for GreetingError {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error)
    }
}

/// See the module.
pub struct Greeting {
    tls: Side,
    /// The secrets, for KeyUpdates.
    overheard: Arc<Overheard>,
    /// Read and not understood yet.
    incoming: Vec<u8>,
    /// To be sent.
    outgoing: Vec<u8>,
    /// What the peer said, decrypted.
    plaintext: Vec<u8>,
    /// Bytes that the peer may still send.
    left: usize,
    is_closed: bool,
    /// rustls is not asked again: it asserts that nobody does after a fatal alert.
    has_failed: bool,
}

enum Side {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

impl fmt::Debug for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Greeting")
            .field("is_handshaking", &self.is_handshaking())
            .field("to_send", &self.outgoing.len())
            .finish_non_exhaustive()
    }
}

impl Greeting {
    /// The end that dials. `config` has `enable_secret_extraction`.
    ///
    /// # Errors
    /// What rustls finds wrong with the configuration.
    pub fn client(
        mut config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, GreetingError> {
        let overheard = Arc::<Overheard>::default();
        Arc::make_mut(&mut config).key_log = overheard.clone();
        let tls = UnbufferedClientConnection::new(config, name)?;
        Self::new(Side::Client(Box::new(tls)), overheard)
    }

    /// The end that accepts. `config` has `enable_secret_extraction`.
    ///
    /// # Errors
    /// What rustls finds wrong with the configuration.
    pub fn server(mut config: Arc<ServerConfig>) -> Result<Self, GreetingError> {
        let overheard = Arc::<Overheard>::default();
        Arc::make_mut(&mut config).key_log = overheard.clone();
        let tls = UnbufferedServerConnection::new(config)?;
        Self::new(Side::Server(Box::new(tls)), overheard)
    }

    fn new(tls: Side, overheard: Arc<Overheard>) -> Result<Self, GreetingError> {
        let mut greeting = Self {
            tls,
            overheard,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            plaintext: Vec::new(),
            left: INPUT_MAX,
            is_closed: false,
            has_failed: false,
        };
        greeting.advance(None)?;
        Ok(greeting)
    }

    /// How many bytes may be read from the socket now, at most; never zero.
    #[must_use]
    pub fn wanted(&self) -> usize {
        if self.is_handshaking() || matches!(self.tls, Side::Client(_)) {
            return CHUNK;
        }
        match self.incoming.first_chunk::<HEADER_LEN>() {
            None => HEADER_LEN - self.incoming.len(),
            Some([_, _, _, high, low]) => {
                let body = usize::from(u16::from_be_bytes([*high, *low]));
                // A length of zero is an error, which rustls finds as soon as it is asked again.
                (HEADER_LEN + body - self.incoming.len().min(HEADER_LEN + body)).max(1)
            }
        }
    }

    /// Takes what was read.
    ///
    /// # Errors
    /// What the peer did wrong. What [`Self::to_send`] holds then is the alert that tells it.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<(), GreetingError> {
        self.left = self
            .left
            .checked_sub(bytes.len())
            .ok_or(GreetingError::TooMuch)?;
        self.incoming.extend_from_slice(bytes);
        self.advance(None)
    }

    /// Encrypts a message for the peer.
    ///
    /// # Errors
    /// [`GreetingError::Unfinished`] before the handshake is done.
    pub fn write(&mut self, message: &[u8]) -> Result<(), GreetingError> {
        if self.is_handshaking() {
            return Err(GreetingError::Unfinished("the handshake is not over"));
        }
        self.advance(Some(message))
    }

    /// What is to be sent next.
    #[must_use]
    pub fn to_send(&self) -> &[u8] {
        &self.outgoing
    }

    /// Notes that so many bytes of [`Self::to_send`] were sent.
    pub fn sent(&mut self, len: usize) {
        self.outgoing.drain(..len.min(self.outgoing.len()));
    }

    /// What the peer said since the last time.
    #[must_use]
    pub fn take_plaintext(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.plaintext)
    }

    /// Whether the handshake is still going on.
    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.common().is_handshaking()
    }

    /// Whether the peer has said that it sends no more.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether the handshake was an abbreviated one, from a ticket.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The certificates that the peer proved, the leaf first; those of the first handshake if this one
    /// was resumed.
    #[must_use]
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.common().peer_certificates()
    }

    /// The greeting is over: what is left is the socket and the keys.
    ///
    /// # Errors
    /// See [`Self::into_keys`].
    pub fn into_channel(self, socket: TcpStream) -> Result<Channel, GreetingError> {
        let (outward, inward, rekey) = self.into_keys()?;
        Ok(Channel {
            socket,
            outward,
            inward,
            rekey,
        })
    }

    /// The same without the socket: the keys of what we send, of what the peer sends, and what makes
    /// others of them.
    ///
    /// # Errors
    /// [`GreetingError::Unfinished`] if something that was read was not taken or something that was
    /// written was not sent; a session that began then would lose it.
    pub fn into_keys(self) -> Result<(DirectionKeys, DirectionKeys, Rekey), GreetingError> {
        if !self.outgoing.is_empty() {
            return Err(GreetingError::Unfinished("not everything is sent"));
        }
        if !self.incoming.is_empty() || !self.plaintext.is_empty() {
            return Err(GreetingError::Unfinished(
                "the peer said more than it may before it is answered",
            ));
        }
        let did_we_dial = matches!(self.tls, Side::Client(_));
        let ExtractedSecrets { tx, rx } = match self.tls {
            Side::Client(tls) => tls.dangerous_into_kernel_connection()?.0,
            Side::Server(tls) => tls.dangerous_into_kernel_connection()?.0,
        };
        let keys = |(sequence, secrets)| DirectionKeys { sequence, secrets };
        let outward = keys(tx);
        let traffic = self.overheard.take(&outward, did_we_dial);
        let traffic = traffic.ok_or(GreetingError::Unfinished("its secrets are not known"))?;
        Ok((outward, keys(rx), Rekey::Traffic(Box::new(traffic))))
    }

    fn common(&self) -> &CommonState {
        match &self.tls {
            Side::Client(tls) => tls,
            Side::Server(tls) => tls,
        }
    }

    /// Lets rustls go on until it wants input; encrypts `message` when it can.
    fn advance(&mut self, mut message: Option<&[u8]>) -> Result<(), GreetingError> {
        if self.has_failed {
            return Err(GreetingError::Unfinished("it has failed before"));
        }
        let mut failure: Option<rustls::Error> = None;
        loop {
            let (taken, next) = match &mut self.tls {
                Side::Client(tls) => {
                    let UnbufferedStatus { discard, state, .. } =
                        tls.process_tls_records(&mut self.incoming);
                    let next = step(state, &mut self.outgoing, &mut self.plaintext, &mut message);
                    (discard, next)
                }
                Side::Server(tls) => {
                    let UnbufferedStatus { discard, state, .. } =
                        tls.process_tls_records(&mut self.incoming);
                    let next = step(state, &mut self.outgoing, &mut self.plaintext, &mut message);
                    (discard, next)
                }
            };
            self.incoming.drain(..taken.min(self.incoming.len()));
            match next {
                Ok(Next::Again) => {}
                Ok(Next::Wait) => break,
                Ok(Next::PeerClosed) => self.is_closed = true,
                Err(error) => {
                    self.has_failed = true;
                    failure.get_or_insert(error);
                }
            }
            // After a failure rustls must not see input again; what is left is the alert for the peer.
            if self.has_failed && !self.common().wants_write() {
                break;
            }
        }
        failure.map_or(Ok(()), |error| Err(error.into()))
    }
}

enum Next {
    Again,
    PeerClosed,
    Wait,
}

/// Does what one state of rustls asks for.
fn step<Data>(
    state: Result<ConnectionState<'_, '_, Data>, rustls::Error>,
    outgoing: &mut Vec<u8>,
    plaintext: &mut Vec<u8>,
    message: &mut Option<&[u8]>,
) -> Result<Next, rustls::Error> {
    match state? {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                plaintext.extend_from_slice(record?.payload);
            }
            Ok(Next::Again)
        }
        ConnectionState::EncodeTlsData(mut data) => {
            append(outgoing, |room| {
                data.encode(room).map_err(|error| match error {
                    EncodeError::InsufficientSize(needed) => Some(needed.required_size),
                    EncodeError::AlreadyEncoded => None,
                })
            })?;
            Ok(Next::Again)
        }
        ConnectionState::TransmitTlsData(data) => {
            // Sent in the order in which it was encoded: `outgoing` is a queue.
            data.done();
            Ok(Next::Again)
        }
        ConnectionState::WriteTraffic(mut traffic) => {
            let Some(message) = message.take() else {
                return Ok(Next::Wait);
            };
            append(outgoing, |room| {
                traffic.encrypt(message, room).map_err(|error| match error {
                    EncryptError::InsufficientSize(needed) => Some(needed.required_size),
                    EncryptError::EncryptExhausted => None,
                })
            })?;
            Ok(Next::Again)
        }
        ConnectionState::PeerClosed => Ok(Next::PeerClosed),
        // Early data is never accepted, so its state does not come; nor does what rustls may add.
        _ => Ok(Next::Wait),
    }
}

/// Appends what `encode` writes. It is asked with no room first and says how much it needs.
fn append(
    outgoing: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Result<(), rustls::Error> {
    let start = outgoing.len();
    let mut room = 0;
    // The second time there is as much as it asked for.
    for _ in 0..2 {
        outgoing.resize(start + room, 0);
        match encode(&mut outgoing[start..]) {
            Ok(len) => {
                outgoing.truncate(start + len);
                return Ok(());
            }
            Err(Some(needed)) => room = needed,
            Err(None) => break,
        }
    }
    outgoing.truncate(start);
    Err(rustls::Error::EncryptError)
}

#[cfg(test)]
mod tests;
