//! When to try again: decorrelated jitter.
//!
//! First delay `U(0, spread)`, then `min(cap, U(1 s, 3 x previous))`, where the spread itself counts as
//! the delay before the second: who drew a short first one would come back for the second and the third
//! while the rest of a fleet is at its first. The spread decides how a fleet comes back after a short
//! outage, the cap after a long one. It never gives up.

use core::time::Duration;

use crate::keepalive::jitter;

/// Reconnect delays of one peer.
#[derive(Clone, Debug)]
pub struct Backoff {
    spread: Duration,
    cap: Duration,
    previous: Option<Duration>,
    attempts: u32,
    seed: u64,
}

/// Shortest delay after the first one.
const FLOOR: Duration = Duration::from_secs(1);

impl Backoff {
    /// Delays with the given first spread and cap; `seed` should differ between machines.
    #[must_use]
    pub const fn new(spread: Duration, cap: Duration, seed: u64) -> Self {
        Self {
            spread,
            cap,
            previous: None,
            attempts: 0,
            seed,
        }
    }

    /// The edge told other values.
    pub const fn set_limits(&mut self, spread: Duration, cap: Duration) {
        self.spread = spread;
        self.cap = cap;
    }

    /// The delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        let Some(previous) = self.previous else {
            let delay = jitter(&mut self.seed, self.spread).min(self.cap);
            self.previous = Some(self.spread.max(FLOOR));
            return delay;
        };
        let delay = FLOOR
            + jitter(
                &mut self.seed,
                previous.saturating_mul(3).saturating_sub(FLOOR),
            );
        let delay = delay.min(self.cap.max(FLOOR));
        self.previous = Some(delay);
        delay
    }

    /// Delays handed out since the last success.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// An attempt succeeded: start over.
    pub const fn reset(&mut self) {
        self.previous = None;
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn delays_stay_within_their_bounds(seed: u64, spread in 0u64..30, cap in 1u64..120) {
            let (spread, cap) = (Duration::from_secs(spread), Duration::from_secs(cap));
            let mut backoff = Backoff::new(spread, cap, seed);
            prop_assert!(backoff.next_delay() <= spread.min(cap));
            for _ in 0..200 {
                let delay = backoff.next_delay();
                prop_assert!(delay >= FLOOR && delay <= cap, "{delay:?}");
            }
        }
    }

    #[test]
    fn two_machines_do_not_try_at_the_same_times() {
        let delays = |seed| -> Vec<Duration> {
            let mut backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(60), seed);
            (0..8).map(|_| backoff.next_delay()).collect()
        };
        assert_ne!(delays(1), delays(2));
        assert_eq!(delays(1), delays(1));
    }

    #[test]
    fn attempts_are_counted_and_a_success_starts_over() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), 1);
        for count in 1..=20 {
            backoff.next_delay();
            assert_eq!(backoff.attempts(), count);
        }
        backoff.reset();
        assert_eq!(backoff.attempts(), 0);
        assert!(backoff.next_delay() <= Duration::from_secs(1));
    }
}
