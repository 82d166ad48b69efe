//! TLS: which certificate each protocol asks for, and what a peer may cost before it is known.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use connector_proto::derive::Exporter;
use connector_proto::error::Error as ProtocolError;
use connector_proto::message::{
    ALPN_CONTROL, ALPN_DATA, ALPN_ENROL, ALPN_RENEW, ALPN_TIME, CloseCode, EXPORTER_LABEL,
};
use connector_proto::time::Instant;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring as provider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::Error;
use crate::authority::{Leaf, Roots, spki_of_certificate};
use crate::clock;
use crate::config::{LINGER_MAX, UNAUTHENTICATED_BYTES_MAX};

mod clients;

/// A connector's connection after the handshake.
pub(crate) type Tls = TlsStream<Metered<TcpStream>>;

/// What a connection is for; named by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Enrol,
    Time,
    Control,
    Data,
    Renew,
}

/// The TLS configuration of each protocol, and what changes of it while the edge runs.
#[derive(Debug)]
pub(crate) struct Setup {
    configs: RwLock<Arc<Configs>>,
    leaf: Arc<LeafInUse>,
}

#[derive(Debug)]
struct Configs {
    /// Digest of the roots whose certificates are accepted.
    roots: [u8; 32],
    enrol: Arc<ServerConfig>,
    time: Arc<ServerConfig>,
    control: Arc<ServerConfig>,
    data: Arc<ServerConfig>,
    renew: Arc<ServerConfig>,
}

impl Setup {
    /// Only certificates that one of `roots` issued are accepted of clients.
    pub(crate) fn new(roots: &Roots, leaf: &Leaf) -> Result<Self, Error> {
        let leaf = Arc::new(LeafInUse(RwLock::new(certified(leaf)?)));
        let configs = Configs::new(roots, &leaf)?;
        Ok(Self {
            configs: RwLock::new(Arc::new(configs)),
            leaf,
        })
    }

    /// Whether it is these roots whose certificates are accepted.
    pub(crate) fn accepts(&self, roots: &Roots) -> bool {
        let configs = self.configs.read().unwrap_or_else(PoisonError::into_inner);
        configs.roots == roots.digest()
    }

    /// Accepts what other roots issued, from the next handshake on.
    pub(crate) fn replace_roots(&self, roots: &Roots) -> Result<(), Error> {
        let configs = Arc::new(Configs::new(roots, &self.leaf)?);
        *self.configs.write().unwrap_or_else(PoisonError::into_inner) = configs;
        Ok(())
    }

    /// Uses another certificate from the next handshake on.
    pub(crate) fn replace_leaf(&self, leaf: &Leaf) -> Result<(), Error> {
        let certified = certified(leaf)?;
        *self.leaf.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(())
    }

    /// Does the handshake. A peer that offers none of the five protocols is refused.
    pub(crate) async fn handshake(&self, tcp: TcpStream) -> io::Result<(Protocol, Tls)> {
        let metered = Metered {
            inner: tcp,
            left: Some(UNAUTHENTICATED_BYTES_MAX),
        };
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), metered).await?;
        let configs = Arc::clone(&self.configs.read().unwrap_or_else(PoisonError::into_inner));
        let (protocol, config) = configs.choose(&start.client_hello())?;
        Ok((protocol, start.into_stream(Arc::clone(config)).await?))
    }
}

impl Configs {
    fn new(roots: &Roots, leaf: &Arc<LeafInUse>) -> Result<Self, Error> {
        let provider = Arc::new(provider::default_provider());
        let strict = clients::strict(roots, &provider)?;
        let whatever_the_date = clients::whatever_the_date(Arc::clone(&strict));
        let config = |alpn, clients| config(&provider, leaf, alpn, clients).map(Arc::new);
        Ok(Self {
            roots: roots.digest(),
            enrol: config(ALPN_ENROL, None)?,
            time: config(ALPN_TIME, None)?,
            control: config(ALPN_CONTROL, Some(Arc::clone(&strict)))?,
            data: config(ALPN_DATA, Some(strict))?,
            renew: config(ALPN_RENEW, Some(whatever_the_date))?,
        })
    }

    /// The first protocol of ours that is offered. If only foreign ones are, any of our
    /// configurations makes rustls send the alert `no_application_protocol`; if none is offered at
    /// all it would go on without, so that is refused here.
    fn choose(&self, hello: &ClientHello<'_>) -> io::Result<(Protocol, &Arc<ServerConfig>)> {
        let Some(offered) = hello.alpn() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "no protocol named by ALPN",
            ));
        };
        let ours = offered.filter_map(|name| match name {
            ALPN_ENROL => Some((Protocol::Enrol, &self.enrol)),
            ALPN_TIME => Some((Protocol::Time, &self.time)),
            ALPN_CONTROL => Some((Protocol::Control, &self.control)),
            ALPN_DATA => Some((Protocol::Data, &self.data)),
            ALPN_RENEW => Some((Protocol::Renew, &self.renew)),
            _ => None,
        });
        Ok({ ours }.next().unwrap_or((Protocol::Enrol, &self.enrol)))
    }
}

/// The exporter that both proofs of an enrolment cover.
pub(crate) fn exporter(tls: &Tls) -> Result<Exporter, rustls::Error> {
    tls.get_ref()
        .1
        .export_keying_material([0; 32], EXPORTER_LABEL, None)
}

/// SHA-256 of the subject public key info of the leaf that the handshake verified.
pub(crate) fn verified_spki(tls: &Tls) -> Option<[u8; 32]> {
    let leaf = tls.get_ref().1.peer_certificates()?.first()?;
    spki_of_certificate(leaf)
}

/// The peer is known: it may send as much as its protocol lets it.
pub(crate) fn lift_limit(tls: &mut Tls) {
    tls.get_mut().0.left = None;
}

/// Reads what the peer sends next; `None` when it has said nothing until `deadline` (of
/// [`crate::clock`]). What ends the connection is told in words for the log.
pub(crate) async fn heard(
    tls: &mut Tls,
    deadline: Instant,
    buffer: &mut [u8],
) -> Result<Option<usize>, String> {
    match timeout_at(clock::deadline(deadline), tls.read(buffer)).await {
        Ok(Ok(0)) => Err("the connector closed it".into()),
        Ok(Ok(len)) => Ok(Some(len)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Ok(None),
    }
}

/// Reads until `take` has made out what the peer asks, no longer than until `deadline` (of
/// [`crate::clock`]). What goes wrong is the code for the peer, and words for the log.
pub(crate) async fn question<T>(
    tls: &mut Tls,
    deadline: Instant,
    mut take: impl FnMut(&[u8]) -> Result<Option<T>, ProtocolError>,
) -> Result<T, (CloseCode, String)> {
    let deadline = clock::deadline(deadline);
    let mut buffer = [0; 4096];
    loop {
        let len = match timeout_at(deadline, tls.read(&mut buffer)).await {
            Ok(Ok(0)) => return Err((CloseCode::Normal, "it ended before it asked".into())),
            Ok(Ok(len)) => len,
            Ok(Err(error)) => return Err((CloseCode::Normal, error.to_string())),
            Err(_) => return Err((CloseCode::TimedOut, "it did not ask in time".into())),
        };
        match take(&buffer[..len]) {
            Ok(Some(asked)) => return Ok(asked),
            Ok(None) => {}
            Err(error) => return Err((error.close_code(), error.to_string())),
        }
    }
}

/// Sends the last bytes, then ends the connection so that they arrive: a socket that is closed with
/// unread bytes in it resets the connection and the farewell with it.
pub(crate) async fn farewell(mut tls: Tls, bytes: &[u8]) {
    let goodbye = async {
        tls.write_all(bytes).await?;
        tls.shutdown().await?;
        let mut rest = [0; 1024];
        while tls.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // The peer may be gone already, and may stay silent: either way it has had its chance.
    let _ = tokio::time::timeout(LINGER_MAX, goodbye).await;
}

fn config(
    provider: &Arc<CryptoProvider>,
    leaf: &Arc<LeafInUse>,
    alpn: &[u8],
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, Error> {
    let versions = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(Error::crypto("TLS 1.3"))?;
    let verified = match clients {
        None => versions.with_no_client_auth(),
        Some(clients) => versions.with_client_cert_verifier(clients),
    };
    let mut config = verified.with_cert_resolver(Arc::clone(leaf) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = vec![alpn.to_vec()];
    // Every connection proves its certificate anew: no tickets, no resumption.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

fn certified(leaf: &Leaf) -> Result<Arc<CertifiedKey>, Error> {
    let key = PrivatePkcs8KeyDer::from(leaf.key.as_slice()).into();
    let key = provider::sign::any_ecdsa_type(&key).map_err(Error::crypto("the edge's key"))?;
    let chain = vec![CertificateDer::from(leaf.certificate.clone())];
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// The edge's certificate, which changes while the edge runs.
#[derive(Debug)]
struct LeafInUse(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for LeafInUse {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(
            &self.0.read().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

/// Ends a connection whose peer sent too much before it was known. May take one read more than
/// the limit, which is 4 KiB while a handshake is read.
pub(crate) struct Metered<S> {
    inner: S,
    left: Option<usize>,
}

impl<S> fmt::Debug for Metered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metered({:?} left)", self.left)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == Some(0) {
            let problem =
                format!("more than {UNAUTHENTICATED_BYTES_MAX} bytes before authentication");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, problem)));
        }
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.inner).poll_read(cx, buf);
        let taken = buf.filled().len() - before;
        self.left = self.left.map(|left| left.saturating_sub(taken));
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
