//! Names who issued a certificate that does not verify.
//!
//! What inspects TLS signs with an authority of its own, and that authority's name is what the people
//! who run it recognise. It is read for the sentence alone: nothing is decided by it.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerified;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, OtherError};

use crate::verifier::Judgement;

/// A certificate of another authority than the pinned one, and that authority's name for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignIssuer {
    name: String,
    /// The name is the pinned authority's, and the key is not.
    is_borrowed: bool,
}

impl fmt::Display for ForeignIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, is_borrowed } = self;
        if *is_borrowed {
            write!(
                f,
                "it was issued by a stranger that takes the name \"{name}\""
            )
        } else {
            write!(f, "it was issued by \"{name}\"")
        }
    }
}

impl std::error::Error for ForeignIssuer {}

/// The same error, with the issuer of `certificate` where that is unknown, or has the pinned
/// authority's name but did not sign with its key.
#[must_use]
pub fn named(error: rustls::Error, certificate: &CertificateDer<'_>) -> rustls::Error {
    let rustls::Error::InvalidCertificate(invalid) = &error else {
        return error;
    };
    let is_borrowed = match invalid {
        CertificateError::UnknownIssuer => false,
        CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => true,
        _ => return error,
    };
    match issuer(certificate) {
        Some(name) => {
            let foreign = ForeignIssuer { name, is_borrowed };
            CertificateError::Other(OtherError(Arc::new(foreign))).into()
        }
        None => error,
    }
}

/// The name that [`named`] put into an error.
#[must_use]
pub fn foreign(error: &rustls::Error) -> Option<&str> {
    let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(error))) = error
    else {
        return None;
    };
    let issuer = error.downcast_ref::<ForeignIssuer>()?;
    Some(&issuer.name)
}

/// Accepts what verifies now and nothing else, and names foreign issuers.
#[derive(Debug)]
pub struct Naming;

impl Judgement for Naming {
    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        now: UnixTime,
        verify: &dyn Fn(UnixTime) -> Result<ServerCertVerified, rustls::Error>,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify(now).map_err(|error| named(error, certificate))
    }
}

/// The issuer's common name in a certificate (RFC 5280 section 4.1), or else its organisation:
/// printable ASCII of at most [`NAME_COLUMNS`].
#[must_use]
pub fn issuer(certificate: &[u8]) -> Option<String> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut to_be_signed, _) = element(certificate, SEQUENCE)?;
    if let Some((_version, rest)) = element(to_be_signed, VERSION) {
        to_be_signed = rest;
    }
    let (_serial, rest) = element(to_be_signed, INTEGER)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    let (mut name, _) = element(rest, SEQUENCE)?;
    let mut organisation = None;
    while let Some((set, rest)) = element(name, SET) {
        name = rest;
        let Some((attribute, _)) = element(set, SEQUENCE) else {
            continue;
        };
        match element(attribute, OBJECT_IDENTIFIER)? {
            (COMMON_NAME, value) => return text(value),
            (ORGANISATION, value) => organisation = text(value),
            _ => {}
        }
    }
    organisation
}

/// The string in `value`, whatever kind of string it is.
fn text(value: &[u8]) -> Option<String> {
    let (content, _) = element(value, *value.first()?)?;
    let shown: String = content
        .iter()
        .take(NAME_COLUMNS)
        .map(|byte| match byte {
            b'"' => '\'',
            b' '..=b'~' => char::from(*byte),
            _ => '?',
        })
        .collect();
    (!shown.trim().is_empty()).then_some(shown)
}

/// The content of the element that `bytes` begin with, if it has this tag, and what follows it
/// (X.690 section 8.1).
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first != tag {
        return None;
    }
    let (len, rest) = rest.split_first()?;
    let (len, rest) = match *len {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => {
            let (len, rest) = rest.split_at_checked(2)?;
            (usize::from(len[0]) << 8 | usize::from(len[1]), rest)
        }
        // No certificate that fits a handshake is longer.
        _ => return None,
    };
    rest.split_at_checked(len)
}

/// Reads a name out of any bytes.
///
/// # Panics
/// If what is found could not stand in a sentence.
pub fn fuzz_issuer(data: &[u8]) {
    if let Some(name) = issuer(data) {
        assert!((1..=NAME_COLUMNS).contains(&name.len()), "{name:?}");
        assert!(name.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        assert!(!name.contains('"'), "{name:?}");
    }
}

const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `[0]`, explicit.
const VERSION: u8 = 0xa0;
/// 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
/// 2.5.4.10.
const ORGANISATION: &[u8] = &[0x55, 4, 10];

/// Columns of an issuer's name that are shown.
const NAME_COLUMNS: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    /// A certificate for an edge, by an authority of this name.
    fn certificate(name: &[(DnType, &str)]) -> Vec<u8> {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in name {
            authority
                .distinguished_name
                .push(kind.clone(), (*value).to_owned());
        }
        let issuer = Issuer::new(authority, KeyPair::generate().unwrap());
        let leaf = CertificateParams::new(vec!["edge.example".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &issuer);
        leaf.unwrap().der().to_vec()
    }

    #[test]
    fn the_issuer_is_named_as_people_know_it() {
        use DnType::{CommonName, CountryName, OrganizationName};
        let long = "x".repeat(300);
        for (name, expected) in [
            (
                &[
                    (CountryName, "IN"),
                    (OrganizationName, "Corp"),
                    (CommonName, "Corp TLS Inspection CA"),
                ][..],
                Some("Corp TLS Inspection CA"),
            ),
            (
                &[(OrganizationName, "Corp \"X\"\x1b[2J")],
                Some("Corp 'X'?[2J"),
            ),
            (&[(CountryName, "IN")], None),
            (&[(CommonName, " ")], None),
            (&[], None),
            (&[(CommonName, &long)], Some(&long[..NAME_COLUMNS])),
        ] {
            assert_eq!(issuer(&certificate(name)).as_deref(), expected, "{name:?}");
        }
    }

    #[test]
    fn only_an_unknown_issuer_is_named() {
        let certificate = certificate(&[(DnType::CommonName, "Corp")]).into();
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let rustls::Error::InvalidCertificate(CertificateError::Other(named)) =
            named(unknown.clone(), &certificate)
        else {
            panic!("not named")
        };
        assert_eq!(named.to_string(), "it was issued by \"Corp\"");
        assert_eq!(
            foreign(&super::named(unknown.clone(), &certificate)),
            Some("Corp")
        );
        let forged = rustls::Error::InvalidCertificate(CertificateError::BadSignature);
        let forged = super::named(forged, &certificate);
        assert_eq!(foreign(&forged), Some("Corp"));
        assert!(forged.to_string().contains("is_borrowed: true"), "{forged}");
        assert_eq!(foreign(&unknown), None);
        let expired = rustls::Error::InvalidCertificate(CertificateError::Expired);
        assert_eq!(super::named(expired.clone(), &certificate), expired);
        assert_eq!(super::named(unknown.clone(), &Vec::new().into()), unknown);
    }

    #[test]
    fn a_certificate_cut_anywhere_is_read_or_not() {
        let whole = certificate(&[(DnType::CommonName, "Corp")]);
        for len in 0..whole.len() {
            fuzz_issuer(&whole[..len]);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            fuzz_issuer(&data);
        }

        #[test]
        fn a_certificate_with_wrong_bytes_is_read_or_not(
            places in proptest::collection::vec((0..200_usize, any::<u8>()), 1..6),
        ) {
            let mut bytes = certificate(&[(DnType::CommonName, "Corp")]);
            for (place, byte) in places {
                bytes[place] = byte;
            }
            fuzz_issuer(&bytes);
        }
    }
}
