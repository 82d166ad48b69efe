//! When to ask the servers again.

use std::time::Duration;

/// Between two rounds before the clock is right, at first and at most.
pub const SEARCHING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));
/// Between two rounds once it is right, at first and at most (RFC 5905's poll exponents 6 and 10).
pub const TRACKING: (Duration, Duration) = (Duration::from_secs(64), Duration::from_secs(1024));

/// The distance between rounds: quick until the clock is right, then slow.
#[derive(Debug)]
pub struct Pace {
    /// The clock is right, or a server said that it is asked too often.
    is_slow: bool,
    next: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            is_slow: false,
            next: SEARCHING.0,
        }
    }
}

impl Pace {
    /// How long to wait after a round that found the time, or did not. `random` spreads machines
    /// that were started together over an eighth of the distance.
    pub fn after_round(&mut self, found: bool, random: u32) -> Duration {
        if found && !self.is_slow {
            self.is_slow = true;
            self.next = TRACKING.0;
        }
        let max = if self.is_slow {
            TRACKING.1
        } else {
            SEARCHING.1
        };
        if self.is_slow && !found {
            self.next = TRACKING.0; // an outage is noticed, and its end soon enough
        }
        let wait = self.next.min(max);
        self.next = (wait * 2).min(max);
        wait + wait.mul_f64(f64::from(random) / f64::from(u32::MAX) / 8.0)
    }

    /// A server does not want to be asked, or not so often. It is asked again, because its
    /// administrator may change that, but seldom.
    pub fn slow_down(&mut self) {
        self.next = self.next.max(TRACKING.0);
        self.is_slow = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_is_quick_and_the_tracking_slow() {
        let mut pace = Pace::default();
        let mut wait = |found| pace.after_round(found, 0).as_secs();
        let searching = [1, 2, 4, 8, 16, 16].map(|expected| (expected, wait(false)));
        let tracking = [64, 128, 256, 512, 1024, 1024].map(|expected| (expected, wait(true)));
        for (expected, waited) in searching.into_iter().chain(tracking) {
            assert_eq!(waited, expected);
        }
        assert_eq!(wait(false), 64);
    }

    #[test]
    fn jitter_is_at_most_an_eighth() {
        let wait = Pace::default().after_round(false, u32::MAX);
        assert_eq!(wait, SEARCHING.0 + SEARCHING.0 / 8);
    }
}
