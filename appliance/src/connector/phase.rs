//! What the console is told.

use connector_proto::local::{ConnectorStatus, Phase, text};
use connector_proto::time::Instant;
use splice_core::engine::Engine;

use super::Connector;
use crate::store::StoreError;

impl Connector {
    /// The status as the console shows it.
    #[must_use]
    pub fn status(&self) -> ConnectorStatus {
        let totals = self.sessions.totals();
        ConnectorStatus {
            phase: self.phase.clone(),
            since_boot_us: self.phase_since.as_micros(),
            edge: self.life.edge().map(text),
            proxy: self.last_network.proxy.clone(),
            recognised: self.life.recognised(),
            foreign_issuer: self.foreign_issuer.clone(),
            certificate_left_h: self.certificate_left.map(|left| {
                let hours = left.as_secs() / 3_600;
                u16::try_from(hours).unwrap_or(u16::MAX)
            }),
            is_kernel_engine: Some(self.sessions.engine() == Engine::Kernel),
            sessions: self.sessions.len(),
            sessions_total: self.sessions.begun(),
            bytes_up: totals.outward,
            bytes_down: totals.inward,
        }
    }

    /// Whether the phase is another one than this status has.
    #[must_use]
    pub fn is_elsewhere(&self, status: &ConnectorStatus) -> bool {
        self.phase != status.phase || self.phase_since.as_micros() != status.since_boot_us
    }

    /// The phase of the life machine, unless something around it is what is waited for.
    pub(super) fn update_phase(&mut self, now: Instant) {
        let phase = match (self.life.phase(now), self.proxy.refused) {
            (Phase::Connecting { .. } | Phase::Enrolling, Some(refused)) => {
                Phase::NeedProxyCredentials { refused }
            }
            // The edge is asked for the time first.
            (
                Phase::Connecting {
                    enrolling: false, ..
                },
                None,
            ) if !self.is_clock_right => self.asking_time(),
            (phase, _) => phase,
        };
        if std::mem::discriminant(&phase) != std::mem::discriminant(&self.phase) {
            self.phase_since = now;
        }
        self.phase = phase;
    }

    fn asking_time(&self) -> Phase {
        let (attempt, last_error, next) = self.question.progress();
        Phase::Connecting {
            attempt,
            last_error: text(last_error),
            next_boot_us: next.as_micros(),
            enrolling: false,
        }
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
        foreign_issuer: None,
        certificate_left_h: None,
        is_kernel_engine: None,
        sessions: 0,
        sessions_total: 0,
        bytes_up: 0,
        bytes_down: 0,
    }
}
