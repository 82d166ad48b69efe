//! Two ends of a data channel in one process, for tests.

#![expect(
    clippy::unwrap_used,
    reason = "tests alone use it, and a panic is their report"
)]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring::default_provider};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite};

use crate::channel::Channel;
use crate::greeting::Greeting;

/// The name that the accepting end's certificate is for.
pub const NAME: &str = "edge.test";

/// Configurations of both ends, which trust each other.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Of the end that dials.
    pub client: Arc<ClientConfig>,
    /// Of the end that accepts.
    pub server: Arc<ServerConfig>,
}

impl Trust {
    /// With these suites alone, or all of ring's.
    pub fn new(suites: Option<&[SupportedCipherSuite]>) -> Self {
        let mut provider = default_provider();
        if let Some(suites) = suites {
            provider.cipher_suites = suites.to_vec();
        }
        let provider = Arc::new(provider);
        let (certificate, key) = certificate();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let roots = Arc::new(roots);
        Self {
            client: client(&provider, &roots, &certificate, &key),
            server: server(&provider, &roots, &certificate, &key),
        }
    }

    /// A greeting of each end, not yet begun.
    pub fn greetings(&self) -> (Greeting, Greeting) {
        let name = ServerName::try_from(NAME).unwrap();
        (
            Greeting::client(self.client.clone(), name).unwrap(),
            Greeting::server(self.server.clone()).unwrap(),
        )
    }

    /// A channel: the end that dialled, and the end that accepted. Both sockets are non-blocking.
    pub fn channels(&self) -> (Channel, Channel) {
        self.channels_over(sockets())
    }

    /// The same over two connected sockets that block: the one that dialled and the one that was accepted.
    pub fn channels_over(
        &self,
        (mut dialling, mut accepting): (TcpStream, TcpStream),
    ) -> (Channel, Channel) {
        let (mut client, mut server) = self.greetings();
        while client.is_handshaking() || server.is_handshaking() || !server.to_send().is_empty() {
            exchange(&mut client, &mut dialling, &mut server, &mut accepting);
        }
        // What the end that accepts sends last: by then the other end has read its tickets.
        server.write(b"ready").unwrap();
        let mut heard = Vec::new();
        while heard != b"ready" {
            exchange(&mut client, &mut dialling, &mut server, &mut accepting);
            heard.extend(client.take_plaintext());
        }
        dialling.set_nonblocking(true).unwrap();
        accepting.set_nonblocking(true).unwrap();
        (
            client.into_channel(dialling).unwrap(),
            server.into_channel(accepting).unwrap(),
        )
    }
}

/// A channel between two ends that trust each other; see [`Trust::channels`].
pub fn pair() -> (Channel, Channel) {
    Trust::new(None).channels()
}

/// Two connected sockets: the one that dialled and the one that was accepted. They block.
pub fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let dialling = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepting, _) = listener.accept().unwrap();
    for socket in [&dialling, &accepting] {
        socket.set_nodelay(true).unwrap();
    }
    (dialling, accepting)
}

/// Sends what either end has to say and lets the other one hear it.
fn exchange(
    client: &mut Greeting,
    dialling: &mut TcpStream,
    server: &mut Greeting,
    accepting: &mut TcpStream,
) {
    pass(client, dialling, server, accepting);
    pass(server, accepting, client, dialling);
}

fn pass(from: &mut Greeting, out: &mut TcpStream, to: &mut Greeting, into: &mut TcpStream) {
    let len = from.to_send().len();
    out.write_all(from.to_send()).unwrap();
    from.sent(len);
    let mut left = len;
    while left > 0 {
        let mut buffer = vec![0; to.wanted().min(left)];
        let len = into.read(&mut buffer).unwrap();
        assert_ne!(len, 0, "the socket ended");
        to.handle_input(&buffer[..len]).unwrap();
        left -= len;
    }
}

fn certificate() -> (CertificateDer<'static>, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.der().clone(), key.serialize_der())
}

fn client(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    certificate: &CertificateDer<'static>,
    key: &[u8],
) -> Arc<ClientConfig> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .unwrap();
    let key = PrivatePkcs8KeyDer::from(key.to_vec()).into();
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(vec![certificate.clone()], key)
        .unwrap();
    config.enable_secret_extraction = true;
    Arc::new(config)
}

fn server(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    certificate: &CertificateDer<'static>,
    key: &[u8],
) -> Arc<ServerConfig> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .unwrap();
    let key = PrivatePkcs8KeyDer::from(key.to_vec()).into();
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    config.enable_secret_extraction = true;
    config.send_tls13_tickets = 2;
    Arc::new(config)
}
