//! TLS: which certificate each protocol asks for, and what a peer may cost before it is known.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

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
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert, ServerConfig,
};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, SupportedCipherSuite};
use splice_core::greeting::Greeting;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::server::{StartHandshake, TlsStream};

use crate::Error;
use crate::authority::{Leaf, Roots, sha256};
use crate::clock;
use crate::config::LINGER_MAX;

mod clients;
mod hello;
mod metered;
mod tickets;

pub(crate) use hello::send;
use metered::Metered;
pub use tickets::fuzz_ticket;

/// A connector's connection after the handshake.
pub(crate) type Tls = TlsStream<Metered<TcpStream>>;

/// What a connection is for that stays with rustls; named by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamProtocol {
    Enrol,
    Time,
    Control,
    Renew,
}

/// A connection after the handshake.
pub(crate) enum Arrived {
    /// One that is to become a data channel. What the handshake leaves to send is not sent yet.
    Data(Box<Greeting>, TcpStream),
    /// One of any other protocol.
    Stream(StreamProtocol, Box<Tls>),
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
    pub(crate) async fn handshake(&self, mut tcp: TcpStream) -> io::Result<Arrived> {
        let hello::Hello { accepted, bytes } = hello::read(&mut tcp).await?;
        let configs = Arc::clone(&self.configs.read().unwrap_or_else(PoisonError::into_inner));
        let Some((protocol, config)) = configs.choose(&accepted.client_hello())? else {
            // rustls cannot make what it has accepted into an unbuffered connection: it reads the hello
            // once more.
            let config = Arc::clone(&configs.data);
            let greeting = hello::greet(&mut tcp, config, &bytes).await?;
            return Ok(Arrived::Data(Box::new(greeting), tcp));
        };
        let start = StartHandshake::from_parts(accepted, Metered::new(tcp, bytes.len()));
        let tls = start.into_stream(Arc::clone(config)).await?;
        Ok(Arrived::Stream(protocol, Box::new(tls)))
    }
}

impl Configs {
    fn new(roots: &Roots, leaf: &Arc<LeafInUse>) -> Result<Self, Error> {
        let provider = Arc::new(preferring_aes_128(provider::default_provider()));
        let strict = clients::strict(roots, &provider)?;
        let whatever_the_date = clients::whatever_the_date(Arc::clone(&strict));
        let config = |alpn, clients| config(&provider, leaf, alpn, clients).map(Arc::new);
        let data = config(ALPN_DATA, Some(Arc::clone(&strict)))?;
        Ok(Self {
            roots: roots.digest(),
            enrol: config(ALPN_ENROL, None)?,
            time: config(ALPN_TIME, None)?,
            control: config(ALPN_CONTROL, Some(strict))?,
            data: for_data_channels(data)?,
            renew: config(ALPN_RENEW, Some(whatever_the_date))?,
        })
    }

    /// The first protocol of ours that is offered; `None` is a data channel. If only foreign ones are, any
    /// of our configurations makes rustls send the alert `no_application_protocol`; if none is offered at
    /// all it would go on without, so that is refused here.
    fn choose(
        &self,
        hello: &ClientHello<'_>,
    ) -> io::Result<Option<(StreamProtocol, &Arc<ServerConfig>)>> {
        let Some(mut offered) = hello.alpn() else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "no protocol named by ALPN",
            ));
        };
        let first = offered.find_map(|name| match name {
            ALPN_ENROL => Some(Some((StreamProtocol::Enrol, &self.enrol))),
            ALPN_TIME => Some(Some((StreamProtocol::Time, &self.time))),
            ALPN_CONTROL => Some(Some((StreamProtocol::Control, &self.control))),
            ALPN_DATA => Some(None),
            ALPN_RENEW => Some(Some((StreamProtocol::Renew, &self.renew))),
            _ => None,
        });
        Ok(first.unwrap_or(Some((StreamProtocol::Enrol, &self.enrol))))
    }
}

/// The exporter that both proofs of an enrolment cover.
pub(crate) fn exporter(tls: &Tls) -> Result<Exporter, rustls::Error> {
    tls.get_ref()
        .1
        .export_keying_material([0; 32], EXPORTER_LABEL, None)
}

/// SHA-256 of the subject public key info of the leaf that the handshake verified.
pub(crate) fn verified_spki(chain: Option<&[CertificateDer<'_>]>) -> Option<[u8; 32]> {
    // A part of what the handshake has just done, and a fraction of parsing all of the certificate.
    let leaf = ParsedCertificate::try_from(chain?.first()?).ok()?;
    Some(sha256(&leaf.subject_public_key_info()))
}

/// The peer is known: it may send as much as its protocol lets it.
pub(crate) fn lift_limit(tls: &mut Tls) {
    tls.get_mut().0.lift();
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
    // Every connection proves its certificate anew: no tickets, no resumption. Data channels differ.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// Data channels are many and short-lived, and their keys leave rustls. The tickets are of these roots and
/// of this run of the edge: other roots make other tickets.
fn for_data_channels(config: Arc<ServerConfig>) -> Result<Arc<ServerConfig>, Error> {
    let mut config = Arc::unwrap_or_clone(config);
    config.enable_secret_extraction = true;
    config.ticketer = tickets::ticketer().map_err(Error::crypto("tickets of data channels"))?;
    config.send_tls13_tickets = TICKETS;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

/// The suite that costs least where the CPU has AES. A client's own order comes before it.
fn preferring_aes_128(mut provider: CryptoProvider) -> CryptoProvider {
    let is_other =
        |suite: &SupportedCipherSuite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256;
    provider.cipher_suites.sort_by_key(is_other);
    provider
}

/// Tickets for each data channel: each is used once, and a pool that is refilled needs one for every
/// channel and some for those that fail. The second costs less than a hundredth of a session; without it a pool
/// that grows does a whole handshake for each new channel.
const TICKETS: usize = 2;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::spki_of_certificate;
    use rcgen::PublicKeyData as _;

    #[test]
    fn a_certificate_is_looked_for_by_the_key_that_it_was_issued_for() {
        let made = rcgen::generate_simple_self_signed(["connector".to_owned()]).unwrap();
        let chain = [made.cert.der().clone()];
        let spki = verified_spki(Some(&chain)).unwrap();
        assert_eq!(Some(spki), spki_of_certificate(&chain[0]));
        assert_eq!(spki, sha256(&made.signing_key.subject_public_key_info()));
        assert_eq!(
            verified_spki(Some(&[b"no certificate".to_vec().into()])),
            None
        );
    }
}
