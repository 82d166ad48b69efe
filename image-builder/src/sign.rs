//! Signs the manifest of an OVA, and checks such signatures.
//!
//! DSP0243 2.1.0 section 5.1: the certificate file holds the manifest's name, the hex digits of an
//! RSA signature (PKCS #1 v1.5 over SHA-256) over the manifest's bytes, and the signer's X.509
//! certificate as PEM. This padding takes no random bytes: one key and one manifest give one file.

use std::fmt;

use ovf::certificate::{Certificate, der_of_pem};
use ring::rand::SystemRandom;
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::OID_PKCS1_RSAENCRYPTION;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer as _;

/// What makes the certificate file of an OVA.
#[derive(Debug)]
pub struct Signer(Source);

#[derive(Debug)]
enum Source {
    /// A private key, and its certificate as DER.
    Key { pair: Box<RsaKeyPair>, der: Vec<u8> },
    /// A certificate file made earlier, for exactly one manifest.
    Made(Vec<u8>),
}

impl Signer {
    /// A signer with a private key (`PRIVATE KEY` or `RSA PRIVATE KEY`, unencrypted, 2048 to 4096
    /// bits) and its certificate, both PEM.
    ///
    /// # Errors
    /// When one of them cannot be read, or the certificate is another key's.
    pub fn from_pem(key: &[u8], certificate: &[u8]) -> Result<Self, SignError> {
        let pair = private_key(key)?;
        let text = String::from_utf8_lossy(certificate);
        let der = der_of_pem(&text).map_err(|error| SignError::Certificate {
            what: error.to_string(),
        })?;
        let parsed = parse(&der)?;
        if public_key(&parsed)? != pair.public().as_ref() {
            return Err(SignError::OtherKey {
                subject: parsed.subject().to_string(),
            });
        }
        Ok(Self(Source::Key {
            pair: Box::new(pair),
            der,
        }))
    }

    /// A signer that repeats the signature in `file`, the certificate file of a published image.
    /// Who rebuilds a signed image has no key and needs none: the manifest is to be the same.
    #[must_use]
    pub fn repeating(file: &[u8]) -> Self {
        Self(Source::Made(file.to_vec()))
    }

    /// The certificate file for the manifest called `name`.
    ///
    /// # Errors
    /// When a repeated signature is not one of this manifest.
    pub fn sign(&self, name: &str, manifest: &[u8]) -> Result<Vec<u8>, SignError> {
        match &self.0 {
            Source::Key { pair, der } => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    manifest,
                    &mut signature,
                )
                .map_err(|_| SignError::Signing)?;
                let certificate = Certificate {
                    manifest: name.into(),
                    signature,
                    der: der.clone(),
                };
                Ok(certificate.emit().into_bytes())
            }
            Source::Made(file) => {
                verify(file, name, manifest)?;
                Ok(file.clone())
            }
        }
    }
}

/// Who signed a manifest. The signature holds; whether to trust the signer is the reader's decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The certificate's subject.
    pub subject: String,
    /// The certificate's issuer; the same as the subject when it is self-signed.
    pub issuer: String,
    /// From when until when the certificate holds.
    pub validity: String,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            subject,
            issuer,
            validity,
        } = self;
        write!(
            f,
            "by {subject}, certified by {issuer}, {validity}. Whether this is the publisher is \
             yours to decide"
        )
    }
}

/// Checks that the certificate file `file` signs the manifest called `name`.
///
/// # Errors
/// When the file is malformed, is about another manifest, or its signature does not hold.
pub fn verify(file: &[u8], name: &str, manifest: &[u8]) -> Result<Signature, SignError> {
    let certificate = Certificate::parse(file).map_err(|error| SignError::File {
        what: error.to_string(),
    })?;
    if certificate.manifest != name {
        return Err(SignError::OtherManifest {
            named: certificate.manifest,
            wanted: name.into(),
        });
    }
    let parsed = parse(&certificate.der)?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key(&parsed)?)
        .verify(manifest, &certificate.signature)
        .map_err(|_| SignError::DoesNotHold)?;
    Ok(Signature {
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        validity: format!(
            "{} to {}",
            parsed.validity().not_before,
            parsed.validity().not_after
        ),
    })
}

/// Why there is no signature, or none that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignError {
    /// The certificate is no X.509 certificate in PEM, or its key is not RSA.
    Certificate {
        /// What is wrong.
        what: String,
    },
    /// The signature is not one of this manifest by this certificate's key.
    DoesNotHold,
    /// The certificate file is malformed.
    File {
        /// What is wrong.
        what: String,
    },
    /// The private key cannot be used.
    Key {
        /// What is wrong.
        what: String,
    },
    /// The certificate is for another key.
    OtherKey {
        /// Whose certificate it is.
        subject: String,
    },
    /// The certificate file is about another manifest.
    OtherManifest {
        /// The manifest it names.
        named: String,
        /// The manifest there is.
        wanted: String,
    },
    /// The system has no random bytes to blind the computation with.
    Signing,
}

impl fmt::Display for SignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate { what } => write!(
                f,
                "certificate: {what}; wanted is one X.509 certificate of an RSA key, as PEM"
            ),
            Self::DoesNotHold => f.write_str(
                "the signature is not one of this manifest by the certificate's key: manifest, \
                 signature or certificate was changed",
            ),
            Self::File { what } => write!(f, "certificate file: {what}"),
            Self::Key { what } => write!(
                f,
                "private key: {what}; wanted is an unencrypted RSA key of 2048 to 4096 bits as \
                 PEM (openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072)"
            ),
            Self::OtherKey { subject } => write!(
                f,
                "the certificate of {subject} is for another key than the one given; give the \
                 pair that belongs together"
            ),
            Self::OtherManifest { named, wanted } => {
                write!(f, "the certificate file signs {named:?}, not {wanted:?}")
            }
            Self::Signing => f.write_str("the system gave no random bytes; try again"),
        }
    }
}

impl std::error::Error for SignError {}

fn private_key(text: &[u8]) -> Result<RsaKeyPair, SignError> {
    let refuse = |what| SignError::Key { what };
    let (_, pem) = parse_x509_pem(text).map_err(|_| refuse("no PEM block was found".into()))?;
    let read = match pem.label.as_str() {
        "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&pem.contents),
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(&pem.contents),
        label => return Err(refuse(format!("the PEM block is {label:?}"))),
    };
    read.map_err(|error| refuse(error.to_string()))
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, SignError> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(SignError::Certificate {
            what: "its DER cannot be read".into(),
        }),
    }
}

/// The `RSAPublicKey` inside the certificate, as DER.
fn public_key<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a [u8], SignError> {
    let info = certificate.public_key();
    if info.algorithm.algorithm != OID_PKCS1_RSAENCRYPTION {
        return Err(SignError::Certificate {
            what: "its key is not RSA".into(),
        });
    }
    Ok(&info.subject_public_key.data)
}
