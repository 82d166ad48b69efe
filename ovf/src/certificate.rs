//! The certificate file: the signature of the manifest and who made it (DSP0243 section 5.1).
//!
//! The first line has the form of a manifest's, with the RSA signature (PKCS #1 v1.5 over SHA-256)
//! of the manifest's bytes in place of a digest; the signer's X.509 certificate in PEM follows.
//! This is the text alone: signing and checking are elsewhere.

mod pem;

use std::fmt;

use crate::file_name::{FILE_NAME_WANTED, is_file_name};
use crate::manifest::{digest_line, parse_digest_line};
use crate::shown::shown;
pub use pem::{PEM_BYTES_MAX, PemError};

/// Longest certificate file that is read, in bytes.
pub const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;
/// Longest signature, in bytes: RSA with 8192 bits.
pub const SIGNATURE_BYTES_MAX: usize = 1024;

/// A signed manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Name of the manifest that is signed ([`is_file_name`]).
    pub manifest: String,
    /// The signature of its bytes, 1 to [`SIGNATURE_BYTES_MAX`] bytes.
    pub signature: Vec<u8>,
    /// The signer's X.509 certificate, DER, not empty. Its content is not looked at here.
    pub der: Vec<u8>,
}

impl Certificate {
    /// The file: the signature's line, then the certificate in PEM.
    #[must_use]
    pub fn emit(&self) -> String {
        digest_line(&self.manifest, &self.signature) + &pem::emit(&self.der)
    }

    /// Reads a file of the form that [`Self::emit`] writes, and no other.
    ///
    /// # Errors
    /// When the text is longer than [`CERTIFICATE_BYTES_MAX`] or of any other form.
    pub fn parse(text: &[u8]) -> Result<Self, CertificateError> {
        if text.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::TooLong { bytes: text.len() });
        }
        let text = std::str::from_utf8(text).map_err(|_| CertificateError::NotText)?;
        let (line, pem) = text.split_once('\n').unwrap_or((text, ""));
        let error = || CertificateError::Line { text: shown(line) };
        let (manifest, signature) = parse_digest_line(line).ok_or_else(error)?;
        if !(1..=SIGNATURE_BYTES_MAX).contains(&signature.len()) {
            let bytes = signature.len();
            return Err(CertificateError::Signature { bytes });
        }
        if !is_file_name(manifest) {
            let name = shown(manifest);
            return Err(CertificateError::Name { name });
        }
        Ok(Self {
            manifest: manifest.to_owned(),
            signature,
            der: pem::parse(pem).map_err(CertificateError::Pem)?,
        })
    }
}

/// The DER bytes of the one certificate of a PEM file, as tools write it: text before and behind it,
/// lines of any length and carriage returns are passed over.
///
/// # Errors
/// When the text is longer than [`PEM_BYTES_MAX`], holds no certificate or more than one, or its
/// base 64 is broken.
pub fn der_of_pem(text: &str) -> Result<Vec<u8>, PemError> {
    pem::find(text)
}

/// Why a certificate file is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateError {
    /// The first line has another form.
    Line {
        /// Its start, escaped.
        text: String,
    },
    /// The manifest's name is not one of a file of a package.
    Name {
        /// Its start, escaped.
        name: String,
    },
    /// The bytes are not UTF-8.
    NotText,
    /// The part behind the first line is not a certificate.
    Pem(PemError),
    /// The signature is empty or too long.
    Signature {
        /// How long.
        bytes: usize,
    },
    /// The text is too long.
    TooLong {
        /// How long.
        bytes: usize,
    },
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { text } => write!(
                f,
                "certificate file: the first line \"{text}\" is not of the form \"SHA256(name.mf)= \
                 hex\" with lower-case digits; sign the manifest again"
            ),
            Self::Name { name } => write!(
                f,
                "certificate file: \"{name}\" is not a file name; use {FILE_NAME_WANTED}"
            ),
            Self::NotText => write!(
                f,
                "certificate file: the bytes are not UTF-8; give the .cert file, not a DER certificate"
            ),
            Self::Pem(error) => write!(f, "certificate file: {error}"),
            Self::Signature { bytes } => write!(
                f,
                "certificate file: the signature has {bytes} bytes; the limits are 1 and \
                 {SIGNATURE_BYTES_MAX}: sign with an RSA key of at most 8192 bits"
            ),
            Self::TooLong { bytes } => write!(
                f,
                "certificate file: {bytes} bytes; the limit is {CERTIFICATE_BYTES_MAX}: this is not \
                 a .cert file"
            ),
        }
    }
}

impl std::error::Error for CertificateError {}

/// Fuzz body: no text makes the parsers panic, and what is accepted is written as it was read.
pub fn fuzz_certificate(data: &[u8]) {
    match Certificate::parse(data) {
        Ok(certificate) => assert_eq!(certificate.emit().as_bytes(), data),
        Err(error) => assert!(error.to_string().is_ascii()),
    }
    match der_of_pem(&String::from_utf8_lossy(data)) {
        // Lines make a text that had none longer, perhaps longer than what is read.
        Ok(der) if pem::emit(&der).len() > PEM_BYTES_MAX => {}
        Ok(der) => assert_eq!(der_of_pem(&pem::emit(&der)), Ok(der)),
        Err(error) => assert!(error.to_string().is_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutate::mutants;
    use proptest::prelude::*;

    fn signed(signature_bytes: usize, der_bytes: usize) -> Certificate {
        Certificate {
            manifest: "a.mf".to_owned(),
            signature: vec![0xab; signature_bytes],
            der: (0..=255).cycle().take(der_bytes).collect(),
        }
    }

    #[test]
    fn the_file_is_the_signature_and_a_certificate_with_lines_of_64() {
        let text = signed(2, 50).emit();
        let golden = "SHA256(a.mf)= abab\n-----BEGIN CERTIFICATE-----\n\
            AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v\n\
            MDE=\n-----END CERTIFICATE-----\n";
        assert_eq!(text, golden);
    }

    #[test]
    fn any_other_form_is_refused_with_the_reason() {
        let good = signed(256, 700).emit();
        let cases = [
            (String::new(), "is not of the form"),
            (good.replace(")= ", ")="), "is not of the form"),
            (good.replace("ab", "AB"), "is not of the form"),
            (good.replace("a.mf", "../mf"), "is not a file name"),
            (
                signed(0, 9).emit(),
                "has 0 bytes; the limits are 1 and 1024",
            ),
            (signed(1025, 9).emit(), "has 1025 bytes"),
            (good.replace("BEGIN", "BEGUN"), "BEGIN CERTIFICATE"),
            (
                good.replace("-----END CERTIFICATE-----\n", ""),
                "END CERTIFICATE",
            ),
            (format!("{good}{good}"), "more than one certificate"),
            (good.replace('\n', "\r\n"), "is not of the form"),
        ];
        for (text, says) in cases {
            let error = Certificate::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
        assert_eq!(Certificate::parse(b"\xff"), Err(CertificateError::NotText));
        let long = vec![b'a'; CERTIFICATE_BYTES_MAX + 1];
        let error = CertificateError::TooLong { bytes: long.len() };
        assert_eq!(Certificate::parse(&long), Err(error));
    }

    proptest! {
        #[test]
        fn every_certificate_reads_back(signature in 1usize..=512, der in 1usize..3000) {
            let certificate = signed(signature, der);
            prop_assert_eq!(Certificate::parse(certificate.emit().as_bytes()), Ok(certificate));
        }

        #[test]
        fn no_mutant_makes_the_parser_panic(data in mutants(signed(64, 100).emit().into_bytes())) {
            fuzz_certificate(&data);
        }
    }
}
