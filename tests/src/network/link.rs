//! The faults of a cable: latency and loss.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Frames on their way, in order.
#[derive(Debug)]
pub struct DelayLine<T> {
    queue: VecDeque<(Instant, T)>,
}

impl<T> Default for DelayLine<T> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
        }
    }
}

impl<T> DelayLine<T> {
    /// Sends `item` on its way. It does not overtake what was sent before, even when the latency
    /// has become shorter meanwhile.
    pub fn push(&mut self, now: Instant, latency: Duration, item: T) {
        let earliest = self.queue.back().map_or(now, |(due, _)| *due);
        self.queue.push_back((earliest.max(now + latency), item));
    }

    /// The next item that has arrived.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        self.queue
            .pop_front_if(|(due, _)| *due <= now)
            .map(|(_, item)| item)
    }

    /// When the next item arrives.
    pub fn next_due(&self) -> Option<Instant> {
        self.queue.front().map(|(due, _)| *due)
    }
}

/// A seeded source of chances (xorshift64*): the same seed loses the same frames.
#[derive(Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// A source that depends on `seed` only.
    pub fn new(seed: u64) -> Self {
        // Zero would stay zero.
        Self {
            state: seed ^ 0x9e37_79b9_7f4a_7c15 | 1,
        }
    }

    /// True `per_mille` times in a thousand.
    pub fn strikes(&mut self, per_mille: u16) -> bool {
        self.next_u32() % 1000 < u32::from(per_mille)
    }

    /// Any number.
    pub fn next_u32(&mut self) -> u32 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let [a, b, c, d, ..] = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// A position below `length`, which is not 0.
    pub fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.next_u32()).unwrap_or(0) % length
    }

    /// Any bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(4) {
            chunk.copy_from_slice(&self.next_u32().to_be_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_late_and_in_order() {
        let mut line = DelayLine::default();
        let start = Instant::now();
        line.push(start, Duration::from_millis(20), 'a');
        line.push(start, Duration::ZERO, 'b');
        assert_eq!(line.pop(start + Duration::from_millis(19)), None);
        let due = start + Duration::from_millis(20);
        assert_eq!(line.next_due(), Some(due));
        assert_eq!(
            (line.pop(due), line.pop(due), line.pop(due)),
            (Some('a'), Some('b'), None)
        );
    }

    #[test]
    fn the_same_seed_strikes_the_same_frames_about_as_often_as_told() {
        let strikes = |seed| {
            let mut chance = Chance::new(seed);
            (0..10_000).map(|_| chance.strikes(100)).collect::<Vec<_>>()
        };
        assert_eq!(strikes(7), strikes(7));
        assert_ne!(strikes(7), strikes(8));
        let count = strikes(7).into_iter().filter(|struck| *struck).count();
        assert!((900..1100).contains(&count), "{count}");
        assert!(!Chance::new(1).strikes(0));
    }
}
