//! What can go wrong with TLS, in words for the operator.

use std::fmt;
use std::io;

use rustls::{AlertDescription, CertificateError};

/// Why a TLS connection failed.
#[derive(Debug)]
pub enum TlsError {
    /// The socket failed.
    Io(io::Error),
    /// The peer's TLS failed.
    Tls(rustls::Error),
    /// The edge's name cannot be a server's name.
    Name,
}

impl TlsError {
    /// How the edge's certificate's dates do not fit this machine's clock, if it is them that do not.
    #[must_use]
    pub const fn dates_problem(&self) -> Option<&'static str> {
        let Self::Tls(rustls::Error::InvalidCertificate(error)) = self else {
            return None;
        };
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Some("has expired")
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Some("is not valid yet")
            }
            _ => None,
        }
    }

    /// Whether the edge's certificate is not one of the pinned authority's, dates apart.
    #[must_use]
    pub const fn is_edge_unverified(&self) -> bool {
        matches!(self, Self::Tls(rustls::Error::InvalidCertificate(_)))
            && self.dates_problem().is_none()
    }

    /// What the edge says is the matter with *this* machine's certificate, if its alert says so (RFC
    /// 8446 section 6.2).
    #[must_use]
    pub const fn certificate_refused(&self) -> Option<&'static str> {
        let Self::Tls(rustls::Error::AlertReceived(alert)) = self else {
            return None;
        };
        match alert {
            AlertDescription::CertificateExpired => Some("it has expired"),
            AlertDescription::CertificateRevoked => Some("it was revoked"),
            AlertDescription::UnknownCA => Some("it does not know who issued it"),
            AlertDescription::AccessDenied => Some("access is denied"),
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired => Some("it is not a connector's"),
            _ => None,
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(problem) = self.dates_problem() {
            return write!(
                f,
                "by this machine's clock the edge's certificate {problem}; the edge is asked for \
                 the time"
            );
        }
        if let Some(problem) = self.certificate_refused() {
            return write!(
                f,
                "the edge does not take this machine's certificate: {problem}"
            );
        }
        match self {
            Self::Io(error) => write!(f, "connection failed: {error}"),
            Self::Tls(rustls::Error::InvalidCertificate(CertificateError::Other(error))) => write!(
                f,
                "the edge's certificate does not verify ({error}); is TLS inspected on the way?"
            ),
            Self::Tls(rustls::Error::InvalidCertificate(error)) => write!(
                f,
                "the edge's certificate does not verify ({error}); is TLS inspected on the way?"
            ),
            Self::Tls(error) => write!(f, "TLS: {error}"),
            Self::Name => f.write_str("the edge's name is neither a host name nor an address"),
        }
    }
}

impl std::error::Error for TlsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_about_this_machines_certificate_are_told_from_those_about_anything_else() {
        use AlertDescription as Alert;
        let refused = |alert| TlsError::Tls(rustls::Error::AlertReceived(alert));
        for alert in [
            Alert::BadCertificate,
            Alert::UnsupportedCertificate,
            Alert::CertificateRevoked,
            Alert::CertificateExpired,
            Alert::CertificateUnknown,
            Alert::UnknownCA,
            Alert::AccessDenied,
            Alert::CertificateRequired,
        ] {
            let error = refused(alert);
            assert!(error.certificate_refused().is_some(), "{alert:?}");
            assert!(!error.is_edge_unverified());
            let text = error.to_string();
            assert!(text.contains("this machine's certificate") && text.len() < 160);
        }
        for alert in [
            Alert::HandshakeFailure,
            Alert::InternalError,
            Alert::NoApplicationProtocol,
            Alert::DecryptError,
        ] {
            assert_eq!(refused(alert).certificate_refused(), None, "{alert:?}");
        }
    }

    #[test]
    fn an_edge_that_does_not_verify_is_told_from_one_whose_dates_do_not_hold() {
        let invalid = |error| TlsError::Tls(rustls::Error::InvalidCertificate(error));
        assert!(invalid(CertificateError::UnknownIssuer).is_edge_unverified());
        assert!(!invalid(CertificateError::Expired).is_edge_unverified());
        assert!(!TlsError::Name.is_edge_unverified());
    }
}
