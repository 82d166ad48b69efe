//! Rustls' verifier of the pinned authority, with a judgement of ours about what it found.
//!
//! Signatures are verified by rustls alone. A judgement may look at a certificate's verdict, and may
//! have the whole chain verified again at another time; it cannot make a certificate valid by itself.

use std::fmt::Debug;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

/// What is made of a certificate's verification.
pub trait Judgement: Debug + Send + Sync {
    /// The verdict about `certificate` at `now`. `verify` verifies the whole chain at a time.
    ///
    /// # Errors
    /// Why the certificate is not accepted.
    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        now: UnixTime,
        verify: &dyn Fn(UnixTime) -> Result<ServerCertVerified, Error>,
    ) -> Result<ServerCertVerified, Error>;
}

/// Verifies as `inner` does, and judges.
#[derive(Debug)]
pub struct Judged<J> {
    inner: Arc<WebPkiServerVerifier>,
    judgement: J,
}

impl<J: Judgement> Judged<J> {
    /// Puts `judgement` behind `inner`.
    #[must_use]
    pub const fn new(inner: Arc<WebPkiServerVerifier>, judgement: J) -> Self {
        Self { inner, judgement }
    }
}

impl<J: Judgement> ServerCertVerifier for Judged<J> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judgement.judge(end_entity, now, &|at| {
            let inner = &self.inner;
            inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at)
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
