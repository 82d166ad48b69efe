//! Who is trusted, and who this machine says it is.

use std::sync::Arc;

use connector_proto::message::{ALPN_CONTROL, ALPN_DATA, ALPN_ENROL, ALPN_RENEW, ALPN_TIME};
use connector_proto::record::{Identity, State};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::crypto::{CryptoProvider, ring as ring_provider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedCipherSuite,
};

use super::tickets::Tickets;
use crate::edge_time::{AtItsOwnTime, Dates};
use crate::issuer::Naming;
use crate::verifier::Judged;

/// Configurations of an enrolled connector, for one of its certificates.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// For control channels.
    pub control: Arc<ClientConfig>,
    /// For data channels.
    pub data: Arc<ClientConfig>,
    /// For renewals.
    pub renew: Arc<ClientConfig>,
    roots: Arc<RootCertStore>,
}

impl Pinned {
    /// Trusts the edge's one or two CAs and nothing else, and presents `certificate`, DER, whose
    /// `private_key` is PKCS#8 DER.
    ///
    /// # Errors
    /// If one of them does not parse, or certificate and key do not belong together.
    pub fn new(
        identity: &Identity,
        certificate: &[u8],
        private_key: &[u8],
    ) -> Result<Self, rustls::Error> {
        let roots = roots(&identity.ca, &identity.other_ca)?;
        let verifier = Arc::new(Judged::new(verifier(&roots)?, Naming));
        let credentials = credentials(certificate, private_key)?;
        let config = |alpn: &[u8]| -> Result<ClientConfig, rustls::Error> {
            let mut config = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&rustls::version::TLS13])?
                .dangerous()
                .with_custom_certificate_verifier(verifier.clone())
                .with_client_cert_resolver(credentials.clone());
            config.alpn_protocols = vec![alpn.to_vec()];
            config.resumption = Resumption::store(Arc::new(Tickets::new()));
            Ok(config)
        };
        let mut data = config(ALPN_DATA)?;
        // The session's engine is given the keys.
        data.enable_secret_extraction = true;
        Ok(Self {
            control: Arc::new(config(ALPN_CONTROL)?),
            data: Arc::new(data),
            renew: Arc::new(config(ALPN_RENEW)?),
            roots,
        })
    }

    /// For the certificate in use; `None` if there is none.
    ///
    /// # Errors
    /// See [`Self::new`].
    pub fn in_use(state: &State) -> Result<Option<Self>, rustls::Error> {
        let identity = state.identity.as_ref();
        identity
            .map(|identity| Self::new(identity, &identity.certificate, &state.private_key))
            .transpose()
    }

    /// For the certificate that is to take the place of the one in use; `None` if there is none.
    ///
    /// # Errors
    /// See [`Self::new`].
    pub fn next(state: &State) -> Result<Option<Self>, rustls::Error> {
        let (Some(identity), Some(next)) = (&state.identity, &state.next) else {
            return Ok(None);
        };
        if next.certificate.is_empty() {
            return Ok(None);
        }
        Self::new(identity, &next.certificate, &next.private_key).map(Some)
    }

    /// For one question for the edge's time: trusts the same CAs, whatever the dates, and notes whether
    /// they held (see [`crate::edge_time`]). Shows no certificate: the question needs none.
    ///
    /// # Errors
    /// If the cryptographic provider lacks TLS 1.3, which it does not.
    pub fn time(&self) -> Result<(Arc<ClientConfig>, Arc<Dates>), rustls::Error> {
        let dates = Arc::new(Dates::default());
        let verifier = Judged::new(verifier(&self.roots)?, AtItsOwnTime(dates.clone()));
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN_TIME.to_vec()];
        config.resumption = Resumption::disabled();
        Ok((Arc::new(config), dates))
    }
}

/// The trust anchors that two CA certificates are, DER; the second may be empty.
///
/// # Errors
/// If one does not parse.
pub fn roots(ca: &[u8], other_ca: &[u8]) -> Result<Arc<RootCertStore>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ca))?;
    if !other_ca.is_empty() {
        roots.add(CertificateDer::from(other_ca))?;
    }
    Ok(Arc::new(roots))
}

/// Certificate and key, of which no copy is left behind in memory but the signer's own.
fn credentials(
    certificate: &[u8],
    private_key: &[u8],
) -> Result<Arc<SingleCertAndKey>, rustls::Error> {
    let key = any_ecdsa_type(&PrivateKeyDer::from(PrivatePkcs8KeyDer::from(private_key)))?;
    let chain = vec![CertificateDer::from(certificate.to_vec())];
    let pair = CertifiedKey::new(chain, key);
    pair.keys_match()?;
    Ok(Arc::new(SingleCertAndKey::from(pair)))
}

fn verifier(roots: &Arc<RootCertStore>) -> Result<Arc<WebPkiServerVerifier>, rustls::Error> {
    WebPkiServerVerifier::builder_with_provider(roots.clone(), provider())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))
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
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: suites(has_aes()),
        ..ring_provider::default_provider()
    })
}

/// The suites of TLS 1.3, the one that costs this machine least first.
fn suites(has_aes: bool) -> Vec<SupportedCipherSuite> {
    let mut suites = vec![TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384];
    let place = if has_aes { suites.len() } else { 0 };
    suites.insert(place, TLS13_CHACHA20_POLY1305_SHA256);
    suites
}

/// Whether the CPU has instructions for AES-GCM. Without them it takes three times as long as `ChaCha20`,
/// and not always the same time.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
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

#[cfg(test)]
mod tests {
    use super::*;
    use connector_proto::record::Next;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::CipherSuite;

    /// An authority and its certificate.
    fn authority() -> (Issuer<'static, KeyPair>, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap().der().to_vec();
        (Issuer::new(params, key), ca)
    }

    /// A certificate and its private key.
    fn pair(issuer: &Issuer<'static, KeyPair>) -> (Vec<u8>, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(Vec::new()).unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap().der().to_vec();
        (certificate, key.serialize_der())
    }

    fn enrolled() -> (State, Issuer<'static, KeyPair>) {
        let (issuer, ca) = authority();
        let (certificate, private_key) = pair(&issuer);
        let mut state = State::default();
        state.private_key = private_key;
        state.identity = Some(Identity {
            ca,
            other_ca: Vec::new(),
            certificate,
            connector_id: [1; 16],
            name: "mumbai-01".into(),
            group: "Mumbai".into(),
            grant_key: [2; 32],
        });
        (state, issuer)
    }

    #[test]
    fn a_certificate_for_another_key_and_garbage_are_errors_and_none_is_none() {
        let (mut state, issuer) = enrolled();
        assert!(Pinned::in_use(&state).unwrap().is_some());
        assert!(Pinned::next(&state).unwrap().is_none());
        assert!(Pinned::in_use(&State::default()).unwrap().is_none());
        let own = state.private_key.clone();
        for other in [pair(&issuer).1, Vec::new(), b"no key".to_vec()] {
            state.private_key = other;
            assert!(Pinned::in_use(&state).is_err());
        }
        state.private_key = own;
        state.identity.as_mut().unwrap().certificate = b"no certificate".to_vec();
        assert!(Pinned::in_use(&state).is_err());
    }

    #[test]
    fn the_next_certificate_has_its_own_key() {
        let (mut state, issuer) = enrolled();
        let (certificate, private_key) = pair(&issuer);
        state.next = Some(Next {
            private_key: private_key.clone(),
            certificate: Vec::new(),
        });
        assert!(
            Pinned::next(&state).unwrap().is_none(),
            "it is not issued yet"
        );
        let mut next = Next {
            private_key,
            certificate,
        };
        state.next = Some(next.clone());
        assert!(Pinned::next(&state).unwrap().is_some());
        next.private_key.clone_from(&state.private_key);
        state.next = Some(next);
        assert!(Pinned::next(&state).is_err());
    }

    #[test]
    fn data_channels_give_their_keys_away_and_no_other_connection_does() {
        let pinned = Pinned::in_use(&enrolled().0).unwrap().unwrap();
        assert!(pinned.data.enable_secret_extraction);
        for other in [&pinned.control, &pinned.renew] {
            assert!(!other.enable_secret_extraction);
        }
        for config in [&pinned.data, &pinned.control, &pinned.renew] {
            assert!(!config.enable_early_data);
        }
    }

    #[test]
    fn aes_comes_first_where_the_cpu_has_it_and_chacha20_where_it_has_not() {
        let first = |has_aes| suites(has_aes)[0].suite();
        assert_eq!(first(true), CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(first(false), CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
        assert_eq!(suites(true).len(), 3);
    }

    #[test]
    fn trust_anchors_are_one_or_two_and_none_of_them_garbage() {
        let (one, two) = (authority().1, authority().1);
        assert_eq!(roots(&one, &[]).unwrap().len(), 1);
        assert_eq!(roots(&one, &two).unwrap().len(), 2);
        for (ca, other) in [
            (&[][..], &one[..]),
            (b"garbage", &one),
            (&one, b"garbage"),
            (&one[..one.len() - 1], &[]),
        ] {
            assert!(roots(ca, other).is_err());
        }
    }
}
