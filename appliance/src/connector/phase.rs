//! What the console is told.

use connector_proto::local::{ConnectorStatus, NoIdentity, Phase, text};
use connector_proto::time::Instant;

use super::Connector;
use crate::store::StoreError;
use crate::tunnel::Tunnel;

impl Connector {
    /// The status as the console shows it.
    #[must_use]
    pub fn status(&self) -> ConnectorStatus {
        let carried = self.sessions.carried();
        ConnectorStatus {
            phase: self.phase.clone(),
            since_boot_us: self.phase_since.as_micros(),
            edge: self.edge.as_deref().map(text),
            proxy: self.last_network.proxy.clone(),
            recognised: None,
            sessions: self.sessions.len(),
            sessions_total: self.sessions.begun(),
            bytes_up: carried.up,
            bytes_down: carried.down,
        }
    }

    pub(super) fn is_connected(&mut self) -> bool {
        let channel = self.tunnel.as_mut().and_then(Tunnel::control);
        channel.is_some_and(|channel| channel.is_path_proven())
    }

    pub(super) fn update_phase(&mut self, now: Instant) {
        if self.is_connected() {
            return;
        }
        let enrolling = self.pinned.is_none();
        let phase = match (&self.edge, enrolling && self.key.is_none()) {
            (None, _) => Phase::NeedEdge,
            (Some(_), true) => Phase::NeedKey {
                refused: self.refused,
                why: NoIdentity::Blank,
            },
            (Some(_), false) => self.reaching(enrolling),
        };
        self.set_phase(now, phase);
    }

    /// The phase of a connector that has all it needs to reach the edge.
    fn reaching(&self, enrolling: bool) -> Phase {
        if let Some(refused) = self.proxy_refused {
            return Phase::NeedProxyCredentials { refused };
        }
        let attempts = self.backoff.attempts();
        if enrolling && attempts == 0 {
            return Phase::Enrolling;
        }
        let (attempt, last_error, next) = if enrolling || self.is_clock_right {
            let attempt = attempts.saturating_add(1);
            (attempt, self.last_error.as_str(), self.next_attempt)
        } else {
            self.question.progress()
        };
        Phase::Connecting {
            attempt,
            last_error: text(last_error),
            next_boot_us: next.as_micros(),
            enrolling,
        }
    }

    pub(super) fn set_phase(&mut self, now: Instant, phase: Phase) {
        if std::mem::discriminant(&phase) != std::mem::discriminant(&self.phase) {
            self.phase_since = now;
        }
        self.phase = phase;
    }
}

/// The status of a connector that cannot start.
#[must_use]
pub fn stuck(now: Instant, error: &StoreError) -> ConnectorStatus {
    let sentence = format!("{error}. Boot this machine from the disk image it came with.");
    ConnectorStatus {
        phase: Phase::Stuck {
            text: text(&sentence),
        },
        since_boot_us: now.as_micros(),
        edge: None,
        proxy: None,
        recognised: None,
        sessions: 0,
        sessions_total: 0,
        bytes_up: 0,
        bytes_down: 0,
    }
}
