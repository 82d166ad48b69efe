//! What the connector says.

use connector_proto::local::{ConnectorStatus, KeyRefused, Phase};

use super::super::sentence;
use super::{Action, Connector, Model, say};

impl Model {
    pub(super) fn status(
        &mut self,
        now_us: u64,
        status: ConnectorStatus,
        actions: &mut Vec<Action>,
    ) {
        let before = match core::mem::take(&mut self.connector) {
            Connector::Running(before) => Some(before),
            Connector::NotYet | Connector::Gone { .. } => None,
        };
        let moved = before.as_ref().is_none_or(|before| {
            before.since_boot_us != status.since_boot_us || before.phase != status.phase
        });
        if moved {
            // What happens within a phase happens now, not when the phase began.
            let began = before
                .as_ref()
                .is_none_or(|before| before.since_boot_us != status.since_boot_us);
            let at_us = if began { status.since_boot_us } else { now_us };
            self.moved(
                at_us,
                &status,
                before.as_ref().map(|before| &before.phase),
                actions,
            );
        }
        self.say_certificate(now_us, &status, actions);
        self.connector = Connector::Running(status);
    }

    /// Warns of a certificate that is not renewed: when it begins, and whenever half of what was left
    /// then is gone.
    fn say_certificate(
        &mut self,
        now_us: u64,
        status: &ConnectorStatus,
        actions: &mut Vec<Action>,
    ) {
        let left_h = status.certificate_left_h;
        let is_news = match (left_h, self.warned_left_h) {
            (None, _) => return self.warned_left_h = None,
            (Some(_), None) => true,
            (Some(left_h), Some(warned_h)) => left_h < warned_h && left_h <= warned_h / 2,
        };
        if let Some(left_h) = left_h.filter(|_| is_news) {
            self.warned_left_h = Some(left_h);
            actions.push(say(now_us, &sentence::certificate_ends(left_h)));
        }
    }

    /// The connector's phase, or something in it, is another than `before`.
    fn moved(
        &mut self,
        at_us: u64,
        status: &ConnectorStatus,
        before: Option<&Phase>,
        actions: &mut Vec<Action>,
    ) {
        self.submitted = None;
        let mut say = |text: String| actions.push(say(at_us, &text));
        let goes_on = match (before, &status.phase) {
            (
                Some(Phase::Connecting { enrolling: was, .. }),
                Phase::Connecting { enrolling: is, .. },
            ) => was == is,
            (Some(Phase::Connecting { enrolling, .. }), Phase::Enrolling) => *enrolling,
            (
                Some(Phase::Enrolling),
                Phase::Connecting {
                    enrolling: true, ..
                },
            ) => !self.errors_said.is_empty(),
            _ => false,
        };
        if !goes_on {
            say(sentence::phase(status, before));
            if is_edge_unproven(&status.phase) {
                say(sentence::bypass(&sentence::edge_name(status)));
            }
        }
        match &status.phase {
            Phase::Connecting {
                attempt,
                last_error,
                ..
            } => {
                let lost = matches!(before, Some(Phase::Connected { .. }));
                if lost {
                    self.errors_said.clear();
                }
                if !last_error.is_empty() && !self.errors_said.contains(last_error) {
                    if !lost {
                        say(sentence::attempt_failed(status, *attempt, last_error));
                    }
                    if status.foreign_issuer.is_some() {
                        say(sentence::bypass(&sentence::edge_name(status)));
                    }
                    self.errors_said.truncate(ERRORS_SAID_MAX - 1);
                    self.errors_said.insert(0, last_error.clone());
                }
            }
            Phase::Connected { .. } => {
                if let Some(sentence) = status.recognised.and_then(sentence::recognised) {
                    say(sentence.to_owned());
                }
                let engine = status.is_kernel_engine;
                if engine != self.engine_said {
                    self.engine_said = engine;
                    if let Some(is_kernel) = engine {
                        say(sentence::engine(is_kernel).to_owned());
                    }
                }
                self.forget_typed();
            }
            Phase::Stuck { .. } => self.forget_typed(),
            Phase::Enrolling
            | Phase::NeedEdge
            | Phase::NeedKey { .. }
            | Phase::Held { .. }
            | Phase::NeedProxyCredentials { .. } => {}
        }
        if matches!(
            status.phase,
            Phase::Connected { .. } | Phase::NeedKey { .. } | Phase::Held { .. }
        ) {
            self.errors_said.clear();
        }
        let has_identity = matches!(status.phase, Phase::Connected { .. } | Phase::Held { .. });
        if has_identity && !core::mem::replace(&mut self.reset_named, true) {
            say(sentence::RESET_HELP.to_owned());
        }
    }

    pub(super) fn connector_gone(&mut self, now_us: u64, actions: &mut Vec<Action>) {
        if matches!(self.connector, Connector::Running(_)) {
            actions.push(say(now_us, "The connector is not running"));
        }
        if !matches!(self.connector, Connector::Gone { .. }) {
            self.connector = Connector::Gone { since_us: now_us };
        }
        self.submitted = None;
    }
}

/// Whether something answered in the edge's place when the key was tried.
const fn is_edge_unproven(phase: &Phase) -> bool {
    matches!(
        phase,
        Phase::NeedKey {
            refused: Some(KeyRefused::EdgeNotProven),
            ..
        } | Phase::Held {
            refused: Some(KeyRefused::EdgeNotProven),
            ..
        }
    )
}

/// Different errors remembered during one outage, so that errors which alternate leave a line each,
/// not a line per attempt.
const ERRORS_SAID_MAX: usize = 4;
