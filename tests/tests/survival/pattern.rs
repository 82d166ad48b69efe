//! Bytes that tell their place: what a session carries differs from what any other one does, and from
//! itself at any other place.

use std::io;
use std::sync::OnceLock;

/// A prime, so that no power of two of bytes brings the same ones again.
const NOISE_LEN: usize = 1_048_583;

/// The bytes of one direction of one session, without an end.
#[derive(Clone)]
pub struct Pattern {
    noise: &'static [u8],
    at: usize,
    passed: u64,
}

impl Pattern {
    pub fn new(seed: u64) -> Self {
        let offset = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        Self {
            noise: noise(),
            at: usize::try_from(offset).unwrap() % NOISE_LEN,
            passed: 0,
        }
    }

    /// The next ones: some, and no more than `most`.
    pub fn next(&mut self, most: usize) -> &'static [u8] {
        let len = most.min(NOISE_LEN - self.at);
        let next = &self.noise[self.at..][..len];
        self.at = (self.at + len) % NOISE_LEN;
        self.passed += len as u64;
        next
    }

    /// How many were given out or found right.
    pub const fn passed(&self) -> u64 {
        self.passed
    }

    /// Goes on if these are the next ones.
    pub fn check(&mut self, mut heard: &[u8]) -> io::Result<()> {
        while !heard.is_empty() {
            let before = self.passed;
            let expected = self.next(heard.len());
            let (now, rest) = heard.split_at(expected.len());
            if now != expected {
                let same = now.iter().zip(expected).take_while(|(a, b)| a == b).count();
                let place = before + same as u64;
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("byte {place} is another one"),
                ));
            }
            heard = rest;
        }
        Ok(())
    }
}

fn noise() -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    NOISE.get_or_init(|| {
        let mut state = 1_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        (0..NOISE_LEN).map(|_| next()).collect()
    })
}

#[test]
fn a_byte_that_is_changed_lost_or_doubled_is_found() {
    let mut pattern = Pattern::new(7);
    let bytes: Vec<u8> = (0..3)
        .flat_map(|_| pattern.next(NOISE_LEN).to_vec())
        .collect();
    assert!(Pattern::new(7).check(&bytes).is_ok());
    assert!(Pattern::new(8).check(&bytes).is_err());
    for at in [0, 1, 70_000, bytes.len() - 2] {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(Pattern::new(7).check(&changed).is_err(), "{at}");
        let lost = [&bytes[..at], &bytes[at + 1..]].concat();
        assert!(Pattern::new(7).check(&lost).is_err(), "{at}");
        let doubled = [&bytes[..=at], &bytes[at..]].concat();
        assert!(Pattern::new(7).check(&doubled).is_err(), "{at}");
    }
}
