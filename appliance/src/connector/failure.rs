//! Why there is no tunnel, and what that means.

use std::time::Duration;

use connector_proto::error::Error as ProtocolError;
use connector_proto::life::{Event, Failure};
use connector_proto::local::text;
use connector_proto::message::CloseCode;
use connector_proto::time::Instant;

use super::{Connector, PROXY_AGAIN, REFUSED_PROXY_AGAIN};
use crate::edge_name;
use crate::proxy::ProxyError;
use crate::tls::TlsError;
use crate::tunnel::TunnelError;

/// What a connection was for, as far as it matters for what its failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Enrolment,
    Renewal,
    Control,
}

impl Connector {
    /// The connection that the life machine has open failed, or could not be opened.
    pub(super) fn fail(&mut self, now: Instant, error: &TunnelError) {
        if let Some(delay) = self.note_proxy(error) {
            self.proxy.again_at = now + delay;
        }
        if let TunnelError::Tls(tls) = error
            && tls.dates_problem().is_some()
        {
            self.is_clock_doubted = true;
            self.question.ask_in_doubt(now);
        }
        let mut event = event(error, self.kind);
        let issuer = match &mut event {
            Event::EdgeNotProven | Event::NotTheProtocol => self.peer_issuer.take(),
            Event::Failed { text, .. } => {
                // Whoever answered may not have been the edge: the operator may know the name.
                if let Some(issuer) = self.peer_issuer.take() {
                    *text += &format!(" (certificate issued by \"{issuer}\")");
                }
                error.foreign_issuer().map(str::to_owned)
            }
            _ => None,
        };
        self.foreign_issuer = issuer.as_deref().map(text);
        match issuer {
            None => log::warn!("no tunnel: {error}"),
            Some(issuer) => {
                let edge = self.edge_text();
                let (host, port) = edge_name::parse(&edge).unwrap_or_default();
                log::warn!(
                    "no tunnel: {error}; the certificate there was issued by \"{issuer}\". For the \
                     firewall team: exempt TCP {port} to {host} from TLS inspection"
                );
            }
        }
        self.tell(now, event);
    }

    /// Whether a proxy's demand is what keeps the edge away, and how long to wait then.
    pub(super) fn note_proxy(&mut self, error: &TunnelError) -> Option<Duration> {
        match error {
            TunnelError::Proxy(ProxyError::NeedsCredentials { refused, .. }) => {
                self.proxy.refused = Some(*refused);
                Some(if *refused {
                    REFUSED_PROXY_AGAIN
                } else {
                    PROXY_AGAIN
                })
            }
            // The proxy let it pass.
            TunnelError::Tls(_) | TunnelError::Protocol(_) | TunnelError::Closed => {
                self.proxy.refused = None;
                None
            }
            TunnelError::Proxy(_)
            | TunnelError::Lookup(_)
            | TunnelError::Dial(_)
            | TunnelError::Machine(_) => None,
        }
    }
}

/// What a failure means for the life machine.
fn event(error: &TunnelError, kind: Kind) -> Event {
    let failed = |why| Event::Failed {
        why,
        text: error.to_string(),
    };
    match (error, kind) {
        (TunnelError::Protocol(error), Kind::Enrolment) => {
            after_enrolment(error).unwrap_or_else(|| failed(Failure::Transport))
        }
        (TunnelError::Protocol(ProtocolError::PeerClosed { code }), Kind::Renewal) => {
            Event::Closed { code: *code }
        }
        (TunnelError::Tls(tls), Kind::Renewal | Kind::Control) => failed(tls_failure(tls)),
        _ => failed(Failure::Transport),
    }
}

/// Whether an enrolment that ended so is the end of its key. What the edge said is final for a key;
/// what the network did is not.
const fn after_enrolment(error: &ProtocolError) -> Option<Event> {
    match error {
        ProtocolError::ProofInvalid => Some(Event::EdgeNotProven),
        ProtocolError::TimedOut { .. }
        | ProtocolError::PathUnproven { .. }
        | ProtocolError::PeerClosed {
            code: CloseCode::GoingAway | CloseCode::TimedOut | CloseCode::InternalError,
        } => None,
        _ => Some(Event::NotTheProtocol),
    }
}

const fn tls_failure(error: &TlsError) -> Failure {
    if error.certificate_refused().is_some() {
        Failure::CertificateRefused
    } else if error.dates_problem().is_some() {
        Failure::Dates
    } else if error.is_edge_unverified() {
        Failure::EdgeNotVerified
    } else {
        Failure::Transport
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, CertificateError};

    use super::*;

    #[test]
    fn what_a_failure_means_depends_on_what_the_connection_was_for() {
        use Kind::{Control, Enrolment, Renewal};
        let protocol = TunnelError::Protocol;
        let tls = |error| TunnelError::Tls(TlsError::Tls(error));
        let alert = |alert| tls(rustls::Error::AlertReceived(alert));
        let invalid = |error| tls(rustls::Error::InvalidCertificate(error));
        let closed = |code| protocol(ProtocolError::PeerClosed { code });
        let timed_out = || protocol(ProtocolError::TimedOut { awaited: "it" });
        for (error, kind, expected) in [
            (
                protocol(ProtocolError::ProofInvalid),
                Enrolment,
                "not proven",
            ),
            (
                protocol(ProtocolError::NonceMismatch),
                Enrolment,
                "no protocol",
            ),
            (closed(CloseCode::InternalError), Enrolment, "Transport"),
            (closed(CloseCode::InvalidMessage), Enrolment, "no protocol"),
            (timed_out(), Enrolment, "Transport"),
            (alert(AlertDescription::UnknownCA), Enrolment, "Transport"),
            (TunnelError::Closed, Enrolment, "Transport"),
            (closed(CloseCode::Revoked), Renewal, "closed"),
            (timed_out(), Renewal, "Transport"),
            (
                alert(AlertDescription::CertificateExpired),
                Renewal,
                "CertificateRefused",
            ),
            (
                alert(AlertDescription::CertificateRevoked),
                Control,
                "CertificateRefused",
            ),
            (alert(AlertDescription::InternalError), Control, "Transport"),
            (invalid(CertificateError::Expired), Control, "Dates"),
            (
                invalid(CertificateError::UnknownIssuer),
                Control,
                "EdgeNotVerified",
            ),
            (TunnelError::Closed, Control, "Transport"),
        ] {
            let meant = match event(&error, kind) {
                Event::EdgeNotProven => "not proven".to_owned(),
                Event::NotTheProtocol => "no protocol".to_owned(),
                Event::Closed { .. } => "closed".to_owned(),
                Event::Failed { why, text } => {
                    assert_eq!(text, error.to_string());
                    format!("{why:?}")
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(meant, expected, "{error} in {kind:?}");
        }
    }
}
