//! When the certificate is renewed, and which one is used meanwhile.

use core::time::Duration;

use super::validity::{Validity, validity};
use crate::keepalive::jitter;
use crate::limits::RENEW_GRACE;
use crate::record::State;
use crate::time::{Instant, UnixSeconds};

/// By how much the edge dates a certificate back (DESIGN section 7): not a part of its life.
pub const BACKDATED: Duration = Duration::from_secs(86_400);

/// Shortest and longest mean time between two attempts at a renewal while the certificate is good.
const RETRY_MIN: Duration = Duration::from_secs(10);
const RETRY_MAX: Duration = Duration::from_secs(1_800);

/// The certificates at hand, and what is to become of them.
#[derive(Debug)]
pub(super) struct Renewal {
    /// The identity's own.
    own: Option<Validity>,
    /// The next one's, if there is one.
    next: Option<Validity>,
    has_next: bool,
    /// The next one was refused: the identity's own is used.
    prefers_own: bool,
    /// When the one in use is to be renewed; never, if its dates are not known.
    due: Option<UnixSeconds>,
    /// Not before that, unless it has expired.
    retry_at: Instant,
    /// The edge refuses the one in use: a renewal tells why, or helps.
    is_wanted: bool,
    /// It failed since it was due.
    has_failed: bool,
    seed: u64,
}

impl Renewal {
    pub(super) fn new(now: Instant, state: &State, seed: u64) -> Self {
        let mut renewal = Self {
            own: None,
            next: None,
            has_next: false,
            prefers_own: false,
            due: None,
            retry_at: now,
            is_wanted: false,
            has_failed: false,
            seed,
        };
        renewal.certificate_issued(now, state);
        renewal
    }

    /// There is another certificate to use. Nothing that was known of the one before holds of it.
    pub(super) fn certificate_issued(&mut self, now: Instant, state: &State) {
        self.certificates_moved(state);
        self.retry_at = now;
        self.is_wanted = false;
        self.has_failed = false;
        self.due = self.in_use().map(|dates| self.choose_due(dates));
    }

    /// The one in use may be in another place, and the other one gone.
    pub(super) fn certificates_moved(&mut self, state: &State) {
        let own = state
            .identity
            .as_ref()
            .map(|own| own.certificate.as_slice());
        let next = state.next.as_ref().map(|next| next.certificate.as_slice());
        let next = next.filter(|certificate| !certificate.is_empty());
        self.own = own.and_then(validity);
        self.next = next.and_then(validity);
        self.has_next = next.is_some();
        self.prefers_own = false;
    }

    /// Two thirds of its life after it was issued, and up to a tenth later: a fleet that was enrolled
    /// in one minute is not renewed in one.
    fn choose_due(&mut self, dates: Validity) -> UnixSeconds {
        let life = life(dates);
        let before_end = (life / 3).saturating_sub(jitter(&mut self.seed, life / 10));
        UnixSeconds(dates.not_after.0.saturating_sub(before_end.as_secs()))
    }

    /// Whether a control channel is opened with the next certificate.
    pub(super) fn uses_next(&self, wall: UnixSeconds) -> bool {
        self.has_next && !self.prefers_own && !is_over(self.next, wall)
    }

    /// Whether a renewal is the next thing to do. While a control channel stands it never hurries.
    pub(super) fn is_due(&self, now: Instant, wall: UnixSeconds, is_connected: bool) -> bool {
        let must = !self.uses_next(wall) && is_over(self.own, wall) && !is_connected;
        let is_time = self.is_wanted || self.due.is_some_and(|due| due <= wall);
        must || is_time && self.retry_at <= now
    }

    /// When a renewal becomes due on a control channel that stands, if the clock goes on as it is.
    pub(super) fn due_at(&self, instant: impl Fn(UnixSeconds) -> Instant) -> Option<Instant> {
        if self.is_wanted {
            return Some(self.retry_at);
        }
        self.due.map(|due| instant(due).max(self.retry_at))
    }

    /// A renewal came to nothing; tries again later.
    pub(super) fn failed(&mut self, now: Instant) {
        self.has_failed = true;
        self.wait(now);
    }

    /// The edge refuses the certificate in use. There is another one, or a renewal is to tell why.
    pub(super) fn certificate_refused(&mut self, now: Instant, was_next: bool) {
        if was_next {
            self.prefers_own = true;
            self.wait(now);
            self.due = self.in_use().map(|dates| self.choose_due(dates));
        } else if self.has_next {
            self.prefers_own = false;
        } else {
            self.is_wanted = true;
        }
    }

    /// The edge says that a newer certificate was used: whether there is one.
    pub(super) const fn superseded(&mut self) -> bool {
        self.prefers_own = false;
        self.has_next
    }

    /// Whether a next key pair may take the place of the next certificate without a trace.
    pub(super) const fn gives_up_next(&self) -> bool {
        self.prefers_own
    }

    /// Whether the certificate expired so long ago that the edge does not renew it any more.
    pub(super) fn is_too_late(&self, wall: UnixSeconds) -> bool {
        let until = |dates: Validity| dates.not_after.0.saturating_add(RENEW_GRACE.as_secs());
        self.in_use().is_some_and(|dates| until(dates) < wall.0)
    }

    /// Whether the certificate in use has expired.
    pub(super) fn is_expired(&self, wall: UnixSeconds) -> bool {
        is_over(self.in_use(), wall)
    }

    /// For how long the certificate is still good, while its renewal is overdue and fails.
    pub(super) fn left_while_failing(&self, wall: UnixSeconds) -> Option<Duration> {
        let dates = self.in_use().filter(|_| self.has_failed)?;
        Some(Duration::from_secs(
            dates.not_after.0.saturating_sub(wall.0),
        ))
    }

    fn wait(&mut self, now: Instant) {
        let life = self.in_use().map_or(Duration::MAX, life);
        let mean = (life / 20).clamp(RETRY_MIN, RETRY_MAX);
        self.retry_at = now + mean / 2 + jitter(&mut self.seed, mean);
    }

    const fn in_use(&self) -> Option<Validity> {
        if self.has_next && !self.prefers_own {
            self.next
        } else {
            self.own
        }
    }
}

/// How long a certificate is good after it was issued.
fn life(dates: Validity) -> Duration {
    let total = Duration::from_secs(dates.not_after.0.saturating_sub(dates.not_before.0));
    total.checked_sub(BACKDATED).unwrap_or(total)
}

/// Whether dates that are known are over.
fn is_over(dates: Option<Validity>, wall: UnixSeconds) -> bool {
    dates.is_some_and(|dates| dates.not_after < wall)
}
