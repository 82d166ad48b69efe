//! Everything random in a simulated world comes from one number.

use std::time::Duration;

/// A generator of numbers that are as good as random (`SplitMix64`), the same for the same seed.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Less than `bound`, which is not 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True in so many cases of a hundred.
    pub const fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Between the two.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let spread = u64::try_from((most - least).as_micros()).unwrap();
        least + Duration::from_micros(self.below(spread + 1))
    }

    /// Short times are likelier than long ones: each order of magnitude is as likely as the next.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        let most = most / 2_u32.pow(u32::try_from(self.below(12)).unwrap());
        self.between(Duration::ZERO, most)
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next().to_be_bytes()[0])
    }
}
