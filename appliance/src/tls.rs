//! TLS towards the edge: who is trusted, and a TLS connection over a non-blocking socket.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use connector_proto::message::{ALPN_CONTROL, ALPN_DATA, ALPN_ENROL, ALPN_TIME, EXPORTER_LABEL};
use connector_proto::record::{Identity, State};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring as ring_provider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};

use crate::edge_time::{AtItsOwnTime, Dates};
use crate::interest::Interest;
use crate::issuer::Naming;
use crate::verifier::Judged;

/// Bytes that may wait to be encrypted and sent, per connection.
const SEND_BUFFER_MAX: usize = 64 * 1024;

/// Configurations of an enrolled connector.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// For control channels.
    pub control: Arc<ClientConfig>,
    /// For data channels.
    pub data: Arc<ClientConfig>,
    roots: Arc<RootCertStore>,
}

impl Pinned {
    /// Trusts the edge's CA and nothing else, and presents the connector's certificate.
    ///
    /// # Errors
    /// If certificate and key of the state record do not belong together.
    pub fn new(state: &State, identity: &Identity) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(identity.ca.clone()))?;
        let roots = Arc::new(roots);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let verifier = Arc::new(Judged::new(verifier, Naming));
        let config = |alpn: &[u8]| -> Result<Arc<ClientConfig>, rustls::Error> {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(state.private_key.clone()));
            let chain = vec![CertificateDer::from(identity.certificate.clone())];
            let mut config = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&rustls::version::TLS13])?
                .dangerous()
                .with_custom_certificate_verifier(verifier.clone())
                .with_client_auth_cert(chain, key)?;
            config.alpn_protocols = vec![alpn.to_vec()];
            Ok(Arc::new(config))
        };
        Ok(Self {
            control: config(ALPN_CONTROL)?,
            data: config(ALPN_DATA)?,
            roots,
        })
    }

    /// For one question for the edge's time: trusts the same CA, whatever the dates, and notes whether
    /// they held (see [`crate::edge_time`]). Shows no certificate: the question needs none.
    ///
    /// # Errors
    /// If the cryptographic provider lacks TLS 1.3, which it does not.
    pub fn time(&self) -> Result<(Arc<ClientConfig>, Arc<Dates>), rustls::Error> {
        let verifier = WebPkiServerVerifier::builder_with_provider(self.roots.clone(), provider())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let dates = Arc::new(Dates::default());
        let verifier = Arc::new(Judged::new(verifier, AtItsOwnTime(dates.clone())));
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN_TIME.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Ok((Arc::new(config), dates))
    }
}

/// The configuration of an enrolment.
///
/// This is the one connection whose certificate is checked against no pin: there is none yet. The
/// proof of the provisioning key, bound to the connection's exporter, authenticates the edge before
/// anything is sent to it (`connector_proto::enrol`).
///
/// # Errors
/// If the cryptographic provider lacks TLS 1.3, which it does not.
pub fn enrolment() -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = provider();
    let verifier = Arc::new(ProvenByKey {
        provider: provider.clone(),
    });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_ENROL.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring_provider::default_provider())
}

/// Accepts any certificate whose key signed the handshake.
#[derive(Debug)]
struct ProvenByKey {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ProvenByKey {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

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

/// Why a TLS connection failed.
#[derive(Debug)]
pub enum TlsError {
    /// The socket failed.
    Io(io::Error),
    /// The peer's TLS failed.
    Tls(rustls::Error),
    /// The edge's name cannot be a server's name.
    Name,
}

impl TlsError {
    /// How the certificate's dates do not fit this machine's clock, if it is them that do not.
    #[must_use]
    pub const fn dates_problem(&self) -> Option<&'static str> {
        let Self::Tls(rustls::Error::InvalidCertificate(error)) = self else {
            return None;
        };
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Some("has expired")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Some("is not valid yet")
            }
            _ => None,
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(problem) = self.dates_problem() {
            return write!(
                f,
                "by this machine's clock the edge's certificate {problem}; the edge is asked for \
                 the time"
            );
        }
        match self {
            Self::Io(error) => write!(f, "connection failed: {error}"),
            Self::Tls(rustls::Error::InvalidCertificate(CertificateError::Other(error))) => write!(
                f,
                "the edge's certificate does not verify ({error}); is TLS inspected on the way?"
            ),
            Self::Tls(rustls::Error::InvalidCertificate(error)) => write!(
                f,
                "the edge's certificate does not verify ({error}); is TLS inspected on the way?"
            ),
            Self::Tls(error) => write!(f, "TLS: {error}"),
            Self::Name => f.write_str("the edge's name is neither a host name nor an address"),
        }
    }
}

impl std::error::Error for TlsError {}

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

    /// Moves bytes between socket and TLS until one of them has to wait.
    ///
    /// # Errors
    /// What broke the connection. An alert for the peer is on its way as far as possible.
    pub fn turn(&mut self) -> Result<(), TlsError> {
        self.flush()?;
        while self.end.is_none() && self.tls.wants_read() {
            match self.tls.read_tls(&mut self.socket) {
                Ok(0) => self.end = Some(End::Truncated),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
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
        self.flush()
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
