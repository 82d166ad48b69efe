//! When the edge is tried next, and why the last attempt failed.

use alloc::string::String;
use core::time::Duration;

use super::{CAP, SPREAD};
use crate::backoff::Backoff;
use crate::keepalive::jitter;
use crate::limits::HELD_RETRY;
use crate::time::Instant;

/// A control channel that stood for less is no success: who takes connectors in and throws them out
/// again would be called without a pause.
const STABLE: Duration = Duration::from_secs(10);

/// The way to the edge, as far as it is a matter of patience.
#[derive(Debug)]
pub(super) struct Link {
    backoff: Backoff,
    /// The longest delay that the edge wants.
    cap: Duration,
    pub(super) next_attempt: Instant,
    pub(super) last_error: String,
    seed: u64,
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// A little longer each time.
    Backoff,
    /// As long as is usual at the longest: an administrator said no for the time being.
    Cap,
    /// As a machine that is held: an administrator may say otherwise some day.
    Held,
}

impl Link {
    pub(super) const fn new(now: Instant, seed: u64) -> Self {
        Self {
            backoff: Backoff::new(SPREAD, CAP, seed),
            cap: CAP,
            next_attempt: now,
            last_error: String::new(),
            seed: !seed,
        }
    }

    /// The edge told other delays.
    pub(super) const fn set_limits(&mut self, spread: Duration, cap: Duration) {
        self.backoff.set_limits(spread, cap);
        self.cap = cap;
    }

    /// Starts over, with what is new.
    pub(super) fn try_at_once(&mut self, now: Instant) {
        self.last_error.clear();
        self.backoff.reset();
        self.next_attempt = now;
    }

    /// The control channel stands.
    pub(super) fn connected(&mut self) {
        self.last_error.clear();
    }

    /// The control channel stood since `proven_at`; it ends.
    pub(super) fn disconnected(&mut self, now: Instant, proven_at: Option<Instant>) {
        if proven_at.is_some_and(|at| now.since(at) >= STABLE) {
            self.backoff.reset();
        }
    }

    /// An attempt failed.
    pub(super) fn retry(&mut self, now: Instant, why: String, pace: Pace) {
        self.last_error = why;
        let delay = self.backoff.next_delay();
        self.next_attempt = now
            + match pace {
                Pace::Backoff => delay,
                Pace::Cap => self.around(self.cap),
                Pace::Held => self.around(HELD_RETRY),
            };
    }

    /// The attempt that is under way or comes next, counted from 1 since the last success.
    pub(super) const fn attempt(&self) -> u32 {
        self.backoff.attempts().saturating_add(1)
    }

    /// Three quarters to five quarters of `mean`.
    fn around(&mut self, mean: Duration) -> Duration {
        mean * 3 / 4 + jitter(&mut self.seed, mean / 2)
    }
}
