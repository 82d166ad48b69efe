//! Bytes that say where they belong.

use super::Failure;

/// Bytes written by one call of the source.
pub const CHUNK: usize = 1 << 20;

/// The pattern's period: a prime, so that no lost or doubled record, page or chunk leaves it as it was,
/// and longer than a chunk.
const PERIOD: usize = 1_048_583;

/// An endless sequence of bytes with a long period.
#[derive(Debug)]
pub struct Pattern {
    /// One period, and as much of the next as one chunk may need.
    bytes: Vec<u8>,
}

impl Pattern {
    /// Makes it, the same each time.
    pub fn new() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
            // xorshift64: Marsaglia, "Xorshift RNGs", 2003.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        })
        .take(PERIOD)
        .collect();
        bytes.extend_from_within(..CHUNK);
        Self { bytes }
    }

    /// The bytes from `position` on: `len` of them, but no more than [`CHUNK`].
    pub fn at(&self, position: usize, len: usize) -> &[u8] {
        let start = position % PERIOD;
        &self.bytes[start..start + len.min(CHUNK)]
    }

    /// Whether `bytes` belong at `position`.
    ///
    /// # Errors
    /// Where they begin to differ.
    pub fn compare(&self, position: usize, bytes: &[u8]) -> Result<(), Failure> {
        let mut at = 0;
        while at < bytes.len() {
            let expected = self.at(position + at, bytes.len() - at);
            let found = &bytes[at..at + expected.len()];
            if found != expected {
                let same = found
                    .iter()
                    .zip(expected)
                    .take_while(|(a, b)| a == b)
                    .count();
                return Err(
                    format!("byte {} is not the one that was sent", position + at + same).into(),
                );
            }
            at += expected.len();
        }
        Ok(())
    }
}
