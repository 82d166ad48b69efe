//! When to ask again.

use std::time::Duration;

/// Between two rounds before the clock is right, at first and at most.
pub const SEARCHING: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));
/// Between two rounds once it is right, at first and at most (RFC 5905's poll exponents 6 and 10).
pub const TRACKING: (Duration, Duration) = (Duration::from_secs(64), Duration::from_secs(1024));
/// A clock that is off by more is measured again soon.
pub const CALM_WITHIN: Duration = Duration::from_millis(128);

/// The distance between rounds: quick until the clock is right, then slow.
#[derive(Debug)]
pub struct Pace {
    /// The time was found once.
    is_tracking: bool,
    next: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            is_tracking: false,
            next: SEARCHING.0,
        }
    }
}

impl Pace {
    /// How long to wait after a round that found the clock off by `offset_us`, or found no time.
    /// `random` spreads machines that were started together over an eighth of the distance.
    pub fn after_round(&mut self, offset_us: Option<i64>, random: u32) -> Duration {
        let is_calm =
            offset_us.is_some_and(|us| Duration::from_micros(us.unsigned_abs()) <= CALM_WITHIN);
        // An outage is noticed, and its end soon enough; so is a clock that has to be slewed.
        if offset_us.is_some() && !self.is_tracking || self.is_tracking && !is_calm {
            self.is_tracking = true;
            self.next = TRACKING.0;
        }
        let max = if self.is_tracking {
            TRACKING.1
        } else {
            SEARCHING.1
        };
        let wait = self.next.min(max);
        self.next = (wait * 2).min(max);
        wait + wait.mul_f64(f64::from(random) / f64::from(u32::MAX) / 8.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_is_quick_and_the_tracking_slow() {
        let mut pace = Pace::default();
        let mut wait = |offset_us| pace.after_round(offset_us, 0).as_secs();
        let searching = [1, 2, 4, 8, 16, 16].map(|expected| (expected, wait(None)));
        let tracking = [64, 128, 256, 512, 1024, 1024].map(|expected| (expected, wait(Some(0))));
        for (expected, waited) in searching.into_iter().chain(tracking) {
            assert_eq!(waited, expected);
        }
        assert_eq!(wait(None), 64);
        assert_eq!(wait(Some(128_000)), 128);
        assert_eq!(wait(Some(-128_001)), 64);
    }

    #[test]
    fn jitter_is_at_most_an_eighth() {
        let wait = Pace::default().after_round(None, u32::MAX);
        assert_eq!(wait, SEARCHING.0 + SEARCHING.0 / 8);
    }
}
