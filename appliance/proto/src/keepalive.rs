//! Keeps a control channel alive and notices when it is not.
//!
//! Pure: the caller supplies the time and sends a ping whenever [`Keepalive::handle_timeout`] says so.
//! Any byte from the peer counts as a sign of life, not only pongs.

use core::time::Duration;

use crate::limits::{PING_INTERVAL, PINGS_DEAD, PINGS_SUSPECT, PROBE_MAX};
use crate::time::Instant;

/// Heartbeat of one control channel.
#[derive(Debug)]
pub struct Keepalive {
    /// When the next ping goes out.
    ping_at: Instant,
    /// Pings sent since the peer was last heard of.
    unanswered: u32,
    /// Since when the answer to a ping, and nothing less, is awaited.
    probed_at: Option<Instant>,
    /// State of the jitter, see [`jitter`].
    seed: u64,
}

/// What a time-out means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Not due yet.
    Wait,
    /// Send a ping.
    Ping,
    /// The peer is dead: close.
    Dead,
}

impl Keepalive {
    /// Starts with a peer that was just heard of. `seed` spreads the pings of a fleet.
    #[must_use]
    pub fn new(now: Instant, seed: u64) -> Self {
        let mut keepalive = Self {
            ping_at: now,
            unanswered: 0,
            probed_at: None,
            seed,
        };
        keepalive.ping_at = now + keepalive.interval();
        keepalive
    }

    /// The peer was heard of.
    pub const fn heard(&mut self) {
        self.unanswered = 0;
    }

    /// The peer answered the ping that was sent at `sent`. What else it said may have been on its way
    /// for long, or in this machine already.
    pub fn answered(&mut self, sent: Instant) {
        self.probed_at = self.probed_at.filter(|probed| sent < *probed);
    }

    /// What is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) -> Beat {
        if self.probed_at.is_some_and(|at| at + PROBE_MAX <= now) {
            return Beat::Dead;
        }
        if now < self.ping_at {
            return Beat::Wait;
        }
        if self.unanswered >= PINGS_DEAD {
            return Beat::Dead;
        }
        self.unanswered += 1;
        self.ping_at = now + self.interval();
        Beat::Ping
    }

    /// Asks for a ping at `at`, after a resume, a carrier or an address change, and for its
    /// answer within [`PROBE_MAX`]. Asking again meanwhile gives no more time.
    pub fn probe(&mut self, at: Instant) {
        let is_to_come = self.probed_at == Some(self.ping_at);
        if !is_to_come {
            self.ping_at = at;
        }
        self.probed_at.get_or_insert(at);
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.probed_at
            .map_or(self.ping_at, |at| self.ping_at.min(at + PROBE_MAX))
    }

    /// Whether a ping went unanswered: new sessions should go elsewhere.
    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        self.unanswered > PINGS_SUSPECT
    }

    /// The mean interval give or take a fifth.
    fn interval(&mut self) -> Duration {
        let spread = PING_INTERVAL * 2 / 5;
        PING_INTERVAL - spread / 2 + jitter(&mut self.seed, spread)
    }
}

/// A delay in `0..=spread`, from a generator that need not be secure (`SplitMix64`) and keeps its state
/// in `seed`.
pub fn jitter(seed: &mut u64, spread: Duration) -> Duration {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *seed;
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    let micros = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX - 1);
    Duration::from_micros(mixed % (micros + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_peer_is_suspect_after_two_intervals_and_dead_after_four() {
        let mut keepalive = Keepalive::new(Instant::default(), 1);
        let mut beats = alloc::vec::Vec::new();
        while beats.last() != Some(&Beat::Dead) {
            beats.push(keepalive.handle_timeout(keepalive.poll_timeout()));
            assert_eq!(keepalive.is_suspect(), beats.len() > 1);
        }
        assert_eq!(beats, [Beat::Ping, Beat::Ping, Beat::Ping, Beat::Dead]);
        let silent = keepalive.poll_timeout().since(Instant::default());
        assert!((48..=72).contains(&silent.as_secs()), "{silent:?}");
    }

    #[test]
    fn any_sign_of_life_starts_over() {
        let mut keepalive = Keepalive::new(Instant::default(), 1);
        for _ in 0..100 {
            assert_eq!(
                keepalive.handle_timeout(keepalive.poll_timeout()),
                Beat::Ping
            );
            keepalive.heard();
            assert!(!keepalive.is_suspect());
        }
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let mut keepalive = Keepalive::new(Instant::default(), 1);
        assert_eq!(keepalive.handle_timeout(Instant::default()), Beat::Wait);
        keepalive.probe(Instant::default());
        assert_eq!(keepalive.handle_timeout(Instant::default()), Beat::Ping);
    }

    #[test]
    fn a_probe_that_is_to_come_is_sent_when_it_was_to_be_however_often_it_is_asked_for() {
        let mut keepalive = Keepalive::new(Instant::default(), 1);
        let (start, tenth) = (Instant::from_micros(3_000_000), Duration::from_millis(100));
        for number in 0..5 {
            let now = start + tenth * number;
            keepalive.probe(now + tenth * 5);
            assert_eq!(keepalive.handle_timeout(now), Beat::Wait);
        }
        assert_eq!(keepalive.poll_timeout(), start + tenth * 5);
        assert_eq!(keepalive.handle_timeout(start + tenth * 5), Beat::Ping);
        let dead = start + tenth * 5 + PROBE_MAX;
        assert_eq!(keepalive.poll_timeout(), dead);
        assert_eq!(keepalive.handle_timeout(dead), Beat::Dead);
    }

    #[test]
    fn a_probed_peer_is_dead_in_five_seconds_and_one_that_answers_is_not() {
        let mut keepalive = Keepalive::new(Instant::default(), 1);
        let mut now = Instant::from_micros(3_000_000);
        keepalive.probe(now);
        assert_eq!(keepalive.handle_timeout(now), Beat::Ping);
        keepalive.answered(now);
        now = now + PROBE_MAX;
        assert_eq!(keepalive.handle_timeout(now), Beat::Wait);
        for _ in 0..2 {
            keepalive.probe(now);
            assert_eq!(keepalive.handle_timeout(now), Beat::Ping);
            // Neither old bytes nor the answer to an older ping prove anything.
            keepalive.heard();
            keepalive.answered(Instant::default());
            now = now + PROBE_MAX / 2;
        }
        assert_eq!(keepalive.poll_timeout(), now);
        assert_eq!(keepalive.handle_timeout(now), Beat::Dead);
    }
}
