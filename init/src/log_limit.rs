//! How many lines a second are kept of a log that others can fill from the network.

use std::collections::VecDeque;
use std::time::Duration;

use connector_proto::time::Instant;

/// Lines within any [`WINDOW`], the notices of what was left out included.
pub const LINES_MAX: usize = 10;
/// See [`LINES_MAX`].
pub const WINDOW: Duration = Duration::from_secs(1);

/// Lets lines pass, and counts those that may not.
#[derive(Debug, Default)]
pub struct LogLimit {
    /// When the last lines passed, oldest first; at most [`LINES_MAX`].
    passed: VecDeque<Instant>,
    left_out: u64,
}

impl LogLimit {
    /// Whether a line may pass at `now`. One that may not is counted.
    pub fn admits(&mut self, now: Instant) -> bool {
        let admits = self.has_room(now);
        if admits {
            self.note(now);
        } else {
            self.left_out += 1;
        }
        admits
    }

    /// How many lines were left out, once there is room for a line that says so.
    pub fn poll_notice(&mut self, now: Instant) -> Option<u64> {
        if self.left_out == 0 || !self.has_room(now) {
            return None;
        }
        self.note(now);
        Some(std::mem::take(&mut self.left_out))
    }

    /// When [`Self::poll_notice`] will have something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let oldest = self.passed.front().filter(|_| self.left_out > 0)?;
        Some(*oldest + WINDOW)
    }

    fn has_room(&self, now: Instant) -> bool {
        let oldest = self.passed.front();
        self.passed.len() < LINES_MAX || oldest.is_some_and(|at| *at + WINDOW <= now)
    }

    fn note(&mut self, now: Instant) {
        if self.passed.len() >= LINES_MAX {
            self.passed.pop_front();
        }
        self.passed.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_lines_than_it_may_and_none_goes_uncounted() {
        let mut limit = LogLimit::default();
        let (mut passed, mut counted) = (Vec::new(), 0);
        let offered = 100_000_u64;
        for number in 0..offered {
            let now = at(number * 137);
            if let Some(left_out) = limit.poll_notice(now) {
                counted += left_out;
                passed.push(now);
            }
            if limit.admits(now) {
                counted += 1;
                passed.push(now);
            }
        }
        for window in passed.windows(LINES_MAX + 1) {
            assert!(window[LINES_MAX].since(window[0]) >= WINDOW);
        }
        let rest = limit.poll_notice(limit.poll_timeout().unwrap()).unwrap();
        assert_eq!(counted + rest, offered);
        assert_eq!(limit.poll_timeout(), None);
        assert!(passed.len() > 100, "{}", passed.len());
    }

    #[test]
    fn a_few_lines_pass_at_once_and_leave_no_notice() {
        let mut limit = LogLimit::default();
        for _ in 0..LINES_MAX {
            assert!(limit.admits(at(0)));
        }
        assert_eq!(
            (limit.poll_notice(at(0)), limit.poll_timeout()),
            (None, None)
        );
        assert!(!limit.admits(at(0)));
        assert_eq!(limit.poll_notice(at(999_999)), None);
        assert_eq!(limit.poll_notice(at(1_000_000)), Some(1));
    }

    fn at(us: u64) -> Instant {
        Instant::from_micros(us)
    }
}
