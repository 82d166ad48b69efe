//! What certificates of an edge look like.

use std::time::Duration;

use connector_proto::life::BACKDATED;
use connector_proto::time::UnixSeconds;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;

use super::random;
use crate::Error;
use crate::text::hex;

/// A CA is pinned by every connector, so it outlives them.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A new CA's own certificate.
pub(super) fn ca_certificate(key: &KeyPair, now: UnixSeconds) -> Result<Vec<u8>, Error> {
    let short_id = &hex(&random::<4>()?);
    let not_after = UnixSeconds(now.0 + CA_LIFE.as_secs());
    let mut params = leaf_params(&format!("outgate edge CA {short_id}"), now, not_after)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = false;
    let certificate = params
        .self_signed(key)
        .map_err(Error::crypto("the CA certificate"))?;
    Ok(certificate.der().to_vec())
}

/// What every certificate has: a random serial number, a backdated start, one common name.
pub(super) fn leaf_params(
    common_name: &str,
    now: UnixSeconds,
    not_after: UnixSeconds,
) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    let mut serial = random::<16>()?;
    // A serial number is positive, and its first byte is not zero (RFC 5280 section 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = asn1(UnixSeconds(now.0.saturating_sub(BACKDATED.as_secs())))?.to_datetime();
    params.not_after = asn1(not_after)?.to_datetime();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

pub(super) fn sign(
    params: &CertificateParams,
    key: &impl PublicKeyData,
    issuer: &Issuer<'static, KeyPair>,
) -> Result<Vec<u8>, Error> {
    let certificate = params
        .signed_by(key, issuer)
        .map_err(Error::crypto("a certificate"))?;
    Ok(certificate.der().to_vec())
}

fn asn1(time: UnixSeconds) -> Result<ASN1Time, Error> {
    let seconds = i64::try_from(time.0).map_err(Error::crypto("a certificate's time"))?;
    ASN1Time::from_timestamp(seconds).map_err(Error::crypto("a certificate's time"))
}

/// How long a certificate still holds; nothing if it does not parse.
pub(super) fn holds_for(certificate: &[u8], now: UnixSeconds) -> Duration {
    let not_after = u64::try_from(not_after(certificate)).unwrap_or(0);
    Duration::from_secs(not_after.saturating_sub(now.0))
}

/// The end of a certificate, unix seconds; 0 if it does not parse.
pub(crate) fn not_after(certificate: &[u8]) -> i64 {
    X509Certificate::from_der(certificate).map_or(0, |(_, certificate)| {
        certificate.validity().not_after.timestamp()
    })
}

/// Whether `issuer` signed the certificate.
pub(super) fn is_signed_by(certificate: &[u8], issuer: &[u8]) -> bool {
    let parsed = (
        X509Certificate::from_der(certificate),
        X509Certificate::from_der(issuer),
    );
    match parsed {
        (Ok((_, certificate)), Ok((_, issuer))) => certificate
            .verify_signature(Some(issuer.public_key()))
            .is_ok(),
        _ => false,
    }
}
