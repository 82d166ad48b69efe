//! TLS as a connector does it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::EDGE_NAME;

pub type Tls = TlsStream<TcpStream>;

/// A TLS 1.3 connection. `ca`: the only issuer trusted; without it any certificate is taken.
pub async fn dial(
    edge: SocketAddr,
    alpn: &[u8],
    ca: Option<&[u8]>,
    certificate: Option<(Vec<u8>, Vec<u8>)>,
) -> io::Result<Tls> {
    dial_trusting(edge, alpn, ca.as_slice(), certificate).await
}

/// A TLS 1.3 connection. `cas`: the issuers trusted; without any each certificate is taken.
pub async fn dial_trusting(
    edge: SocketAddr,
    alpn: &[u8],
    cas: &[&[u8]],
    certificate: Option<(Vec<u8>, Vec<u8>)>,
) -> io::Result<Tls> {
    connect(edge, alpn, config(cas, certificate)).await
}

/// How a client connects. `cas`: the issuers trusted; without any each certificate is taken.
pub fn config(cas: &[&[u8]], certificate: Option<(Vec<u8>, Vec<u8>)>) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(default_provider().into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap();
    let builder = if cas.is_empty() {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate))
    } else {
        let mut roots = RootCertStore::empty();
        for ca in cas {
            roots.add(CertificateDer::from(ca.to_vec())).unwrap();
        }
        builder.with_root_certificates(roots)
    };
    match certificate {
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
            builder
                .with_client_auth_cert(vec![certificate.into()], key)
                .unwrap()
        }
        None => builder.with_no_client_auth(),
    }
}

/// A TLS connection to the edge by these rules.
pub async fn connect(edge: SocketAddr, alpn: &[u8], mut config: ClientConfig) -> io::Result<Tls> {
    config.alpn_protocols = if alpn.is_empty() {
        vec![]
    } else {
        vec![alpn.to_vec()]
    };
    let tcp = TcpStream::connect(edge).await?;
    let name = ServerName::try_from(EDGE_NAME).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
}

#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.3 only")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
