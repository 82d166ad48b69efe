//! The one thing that is taken from a signing request: its public key.

use connector_proto::limits::DER_MAX;
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SubjectPublicKeyInfo};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use super::sha256;
use crate::Error;

mod fuzz;

pub use fuzz::fuzz_request;

/// A public key out of a request whose signature holds.
#[derive(Debug)]
pub struct RequestKey {
    pub(super) key: SubjectPublicKeyInfo,
    /// SHA-256 of the subject public key info.
    pub spki: [u8; 32],
}

impl RequestKey {
    /// Takes the public key out of a PKCS#10 request (RFC 2986) and checks that its holder signed
    /// it. Subject, attributes and extensions are not looked at.
    ///
    /// # Errors
    /// [`Error::Crypto`].
    pub fn of_request(der: &[u8]) -> Result<Self, Error> {
        let invalid = |cause: String| Error::Crypto {
            what: "the signing request",
            cause,
        };
        if der.len() > DER_MAX {
            return Err(invalid(format!(
                "{} bytes, allowed are {DER_MAX}",
                der.len()
            )));
        }
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|error| invalid(error.to_string()))?;
        if !rest.is_empty() {
            return Err(invalid(format!("{} bytes too many", rest.len())));
        }
        let public_key = &request.certification_request_info.subject_pki;
        let key = SubjectPublicKeyInfo::from_der(public_key.raw)
            .map_err(|error| invalid(error.to_string()))?;
        if key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(invalid("the key is not of type ECDSA P-256".into()));
        }
        request
            .verify_signature()
            .map_err(|error| invalid(error.to_string()))?;
        let spki = sha256(&key.subject_public_key_info());
        Ok(Self { key, spki })
    }
}
