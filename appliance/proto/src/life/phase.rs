//! What the console says.

use alloc::borrow::Cow;

use super::Life;
use super::standing::{Standing, name, too_late};
use crate::local::{Phase, text};
use crate::time::Instant;

impl Life {
    /// The step that the connector is in.
    #[must_use]
    pub fn phase(&self, now: Instant) -> Phase {
        if self.is_connected() {
            return self.connected();
        }
        let has_edge = self.edge().is_some();
        if self.key.is_some() && has_edge {
            return self.reaching(true);
        }
        let standing = if self.standing == Standing::Good && self.is_too_late(now) {
            Cow::Owned(Standing::shut(too_late(&self.state)))
        } else {
            Cow::Borrowed(&self.standing)
        };
        match standing.as_ref() {
            _ if self.journal.is_erasing() && self.journal.failure().is_some() => {
                self.reaching(false)
            }
            _ if !has_edge => Phase::NeedEdge,
            Standing::Good => self.reaching(false),
            Standing::Held(verdict) => Phase::Held {
                verdict: *verdict,
                name: text(name(&self.state)),
                refused: self.refused,
            },
            Standing::Shut { why, .. } => Phase::NeedKey {
                refused: self.refused,
                why: why.clone(),
            },
        }
    }

    fn connected(&self) -> Phase {
        let identity = self.state.identity.as_ref();
        Phase::Connected {
            name: text(name(&self.state)),
            group: text(identity.map_or("", |identity| identity.group.as_str())),
        }
    }

    /// The phase of a connector that has all it needs to reach the edge.
    fn reaching(&self, enrolling: bool) -> Phase {
        let failure = self.journal.failure();
        let attempt = self.link.attempt();
        if enrolling && attempt == 1 && failure.is_none() {
            return Phase::Enrolling;
        }
        let retry = self
            .journal
            .poll_timeout(false)
            .filter(|_| failure.is_some());
        Phase::Connecting {
            attempt,
            last_error: text(failure.unwrap_or(&self.link.last_error)),
            next_boot_us: retry.unwrap_or(self.link.next_attempt).as_micros(),
            enrolling,
        }
    }
}
