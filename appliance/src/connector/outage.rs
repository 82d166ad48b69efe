//! Why there is no tunnel, and when the next attempt is.

use std::time::Duration;

use connector_proto::error::Error as ProtocolError;
use connector_proto::local::KeyRefused;
use connector_proto::message::CloseCode;
use connector_proto::time::Instant;

use super::Connector;
use crate::proxy::ProxyError;
use crate::tunnel::TunnelError;

/// A proxy that asked who is there is tried again, in case it lets the machine pass by now.
const PROXY_AGAIN: Duration = Duration::from_secs(30);
/// The same after it refused user and password: seldom enough for one that locks accounts.
const REFUSED_PROXY_AGAIN: Duration = Duration::from_secs(10 * 60);

impl Connector {
    pub(super) fn lose_tunnel(&mut self, now: Instant, error: &TunnelError) {
        self.tunnel = None;
        if self.pinned.is_none()
            && let TunnelError::Protocol(protocol) = error
            && let Some(refused) = key_refused(protocol)
        {
            log::warn!("enrolment failed: {error}");
            self.key = None;
            self.refused = Some(refused);
            return;
        }
        if let TunnelError::Tls(tls) = error
            && tls.dates_problem().is_some()
        {
            self.is_clock_doubted = true;
            self.question.ask_in_doubt(now);
        }
        let delay = self.note_proxy(error);
        self.retry_later(now, &error.to_string(), delay);
    }

    /// Whether a proxy's demand is what keeps the edge away, and how long to wait then.
    pub(super) fn note_proxy(&mut self, error: &TunnelError) -> Option<Duration> {
        match error {
            TunnelError::Proxy(ProxyError::NeedsCredentials { refused, .. }) => {
                self.proxy_refused = Some(*refused);
                Some(if *refused {
                    REFUSED_PROXY_AGAIN
                } else {
                    PROXY_AGAIN
                })
            }
            // The proxy let it pass.
            TunnelError::Tls(_) | TunnelError::Protocol(_) | TunnelError::Closed => {
                self.proxy_refused = None;
                None
            }
            TunnelError::Proxy(_)
            | TunnelError::Lookup(_)
            | TunnelError::Dial(_)
            | TunnelError::Machine(_) => None,
        }
    }

    /// Starts over, with what is new.
    pub(super) fn try_at_once(&mut self, now: Instant) {
        self.tunnel = None;
        self.last_error.clear();
        self.backoff.reset();
        self.next_attempt = now;
    }

    pub(super) fn retry_later(&mut self, now: Instant, why: &str, delay: Option<Duration>) {
        self.tunnel = None;
        why.clone_into(&mut self.last_error);
        let own = self.backoff.next_delay();
        let delay = delay.unwrap_or(own);
        self.next_attempt = now + delay;
        log::warn!(
            "no tunnel: {why}; next attempt in {:.1} s",
            delay.as_secs_f32()
        );
        // Even if the next attempt succeeds within this very turn, the loss was one.
        self.update_phase(now);
    }
}

/// Whether an enrolment that ended so is the end of its key. What the edge said is final for a key;
/// what the network did is not.
const fn key_refused(error: &ProtocolError) -> Option<KeyRefused> {
    match error {
        ProtocolError::ProofInvalid => Some(KeyRefused::EdgeNotProven),
        ProtocolError::TimedOut { .. }
        | ProtocolError::PathUnproven { .. }
        | ProtocolError::PeerClosed {
            code: CloseCode::GoingAway | CloseCode::TimedOut | CloseCode::InternalError,
        } => None,
        _ => Some(KeyRefused::Protocol),
    }
}
