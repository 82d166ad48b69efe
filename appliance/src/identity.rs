//! The connector's own key pair and its signing request.

use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::PrivatePkcs8KeyDer;

/// Makes a P-256 key pair; PKCS#8 DER. Blocks until the kernel has enough entropy.
///
/// # Errors
/// If the kernel yields no random bytes.
pub fn new_private_key() -> Result<Vec<u8>, rcgen::Error> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_der())
}

/// A PKCS#10 signing request (RFC 2986) for the key; DER. The edge takes nothing but the public key
/// from it.
///
/// # Errors
/// If `private_key` is not a P-256 key in PKCS#8.
pub fn signing_request(private_key: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
    let key = KeyPair::from_pkcs8_der_and_sign_algo(
        &PrivatePkcs8KeyDer::from(private_key),
        &PKCS_ECDSA_P256_SHA256,
    )?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "outgate connector");
    Ok(params.serialize_request(&key)?.der().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_machines_never_share_a_key_and_a_request_fits_its_message() {
        let (one, two) = (new_private_key().unwrap(), new_private_key().unwrap());
        assert_ne!(one, two);
        let request = signing_request(&one).unwrap();
        assert!(
            request.len() < connector_proto::limits::DER_MAX,
            "{}",
            request.len()
        );
        assert!(signing_request(b"not a key").is_err());
    }
}
