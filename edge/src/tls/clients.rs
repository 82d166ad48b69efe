//! Which client certificates a handshake lets through.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use std::time::Duration;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::Error;
use crate::authority::Roots;

/// Certificates that one of the roots issued for clients, and that are valid.
pub(super) fn strict(
    roots: &Roots,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let mut accepted = RootCertStore::empty();
    for ca in [roots.ca(), roots.other_ca()] {
        if !ca.is_empty() {
            let added = accepted.add(CertificateDer::from(ca.to_vec()));
            added.map_err(Error::crypto("a CA certificate"))?;
        }
    }
    WebPkiClientVerifier::builder_with_provider(accepted.into(), Arc::clone(provider))
        .build()
        .map_err(Error::crypto("a CA certificate"))
}

/// The same, but for the dates: [`crate::authorise`] judges those.
pub(super) fn whatever_the_date(
    strict: Arc<dyn ClientCertVerifier>,
) -> Arc<dyn ClientCertVerifier> {
    Arc::new(WhateverTheDate(strict))
}

/// Asks `strict` at a time at which the certificate is valid: now, or else its first or last second.
#[derive(Debug)]
struct WhateverTheDate(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for WhateverTheDate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // One that does not parse is left to the strict verifier, which says so.
        let at = clamped(end_entity, now).unwrap_or(now);
        self.0.verify_client_cert(end_entity, intermediates, at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn clamped(certificate: &[u8], now: UnixTime) -> Option<UnixTime> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let validity = certificate.validity();
    let first = u64::try_from(validity.not_before.timestamp()).ok()?;
    let last = u64::try_from(validity.not_after.timestamp()).ok()?;
    let at = now.as_secs().max(first).min(last);
    Some(UnixTime::since_unix_epoch(Duration::from_secs(at)))
}
