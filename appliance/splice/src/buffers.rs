//! Memory that sessions borrow while they move bytes. An idle session holds none.
//!
//! Each thread of the data plane has one [`Buffers`]. A turn takes a buffer and gives it back at its end.
//! Where a sink did not take everything, the rest stays with the session: in the buffer itself as long as
//! few sessions do that, else in memory of exactly its size.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::record::RECORD_MAX;

pub mod pipes;

use pipes::Pipes;

/// Records that a buffer has room for.
pub const SLOTS: usize = 16;

/// Bytes of a buffer: whole records of full size, so that a stream of them, received by the buffer,
/// never leaves a part of one behind.
pub const BUFFER: usize = SLOTS * RECORD_MAX;

/// One thread's buffers and pipes.
#[derive(Default)]
pub struct Buffers {
    /// The pipes, for the engine in the kernel.
    pub pipes: Pipes,
    spare: Vec<Box<[u8]>>,
    /// How many whole buffers are with sessions. Sessions hold a share of it, because they may end
    /// without a turn.
    kept: Arc<AtomicUsize>,
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffers")
            .field("spare", &self.spare.len())
            .field("kept", &self.kept)
            .field("pipes", &self.pipes)
            .finish()
    }
}

impl Buffers {
    /// A buffer of [`BUFFER`] bytes; what is in it is of no meaning.
    #[must_use]
    pub fn take(&mut self) -> Box<[u8]> {
        let spare = self.spare.pop();
        spare.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice())
    }

    /// Takes a buffer back.
    pub fn give_back(&mut self, buffer: Box<[u8]>) {
        if buffer.len() == BUFFER && self.spare.len() < SPARE_MAX {
            self.spare.push(buffer);
        }
    }

    /// Keeps a part of a buffer for a session beyond its turn.
    #[must_use]
    pub fn keep(&mut self, buffer: Box<[u8]>, range: Range<usize>) -> Kept {
        let is_small = range.len() <= COPIED_MAX;
        if is_small || self.kept.load(Ordering::Relaxed) >= KEPT_MAX {
            let kept = Kept::copy(&buffer[range]);
            self.give_back(buffer);
            return kept;
        }
        self.kept.fetch_add(1, Ordering::Relaxed);
        Kept {
            bytes: buffer,
            range,
            share: Some(Share(Arc::clone(&self.kept))),
        }
    }

    /// Takes back what was kept.
    pub fn release(&mut self, kept: Kept) {
        self.give_back(kept.bytes);
    }

    /// How many records a turn may hold in hand at once: fewer where so many sessions wait for their
    /// sinks that what they hold has to be small.
    #[must_use]
    pub fn slots(&self) -> usize {
        match self.kept.load(Ordering::Relaxed) >= KEPT_MAX {
            true => SLOTS_SCARCE,
            false => SLOTS,
        }
    }
}

/// Bytes that stay with a session until its sink takes them.
pub struct Kept {
    bytes: Box<[u8]>,
    range: Range<usize>,
    share: Option<Share>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.share.is_some() { ", whole" } else { "" };
        write!(f, "Kept({} bytes{whole})", self.range.len())
    }
}

impl Kept {
    /// A copy, in memory of exactly its size.
    #[must_use]
    pub fn copy(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.into(),
            range: 0..bytes.len(),
            share: None,
        }
    }

    /// What is left.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }

    /// Forgets this many bytes from the front; no more than there are.
    pub fn advance(&mut self, count: usize) {
        self.range.start = self.range.end.min(self.range.start + count);
    }
}

/// A whole buffer's place among those that are kept.
struct Share(Arc<AtomicUsize>);

impl Drop for Share {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Buffers that wait for a turn: one is in use at a time, the others return from sessions.
const SPARE_MAX: usize = 4;

/// Whole buffers with sessions: 4 MiB a thread. More sessions than that wait with copies.
const KEPT_MAX: usize = 16;

/// A rest that is copied in any case: the part of a record, or little more.
const COPIED_MAX: usize = 2 * RECORD_MAX;

/// Records in hand at once while [`KEPT_MAX`] sessions and more wait for their sinks.
const SLOTS_SCARCE: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_is_given_back_is_used_again() {
        let mut buffers = Buffers::default();
        let mut buffer = buffers.take();
        buffer[7] = 77;
        buffers.give_back(buffer);
        assert_eq!(buffers.take()[7], 77);
    }

    #[test]
    fn no_more_than_a_few_whole_buffers_stay_with_sessions() {
        let mut buffers = Buffers::default();
        let mut kept = Vec::new();
        for _ in 0..KEPT_MAX + 3 {
            let mut buffer = buffers.take();
            buffer[9] = 99;
            kept.push(buffers.keep(buffer, 9..BUFFER));
        }
        let held = |kept: &[Kept]| kept.iter().filter(|kept| kept.share.is_some()).count();
        assert_eq!(held(&kept), KEPT_MAX);
        assert!(
            kept.iter()
                .all(|kept| kept.bytes().len() == BUFFER - 9 && kept.bytes()[0] == 99)
        );
        assert_eq!(buffers.slots(), SLOTS_SCARCE);
        kept.clear();
        assert_eq!(buffers.slots(), SLOTS);
    }

    #[test]
    fn a_small_rest_is_copied_and_its_buffer_is_free_at_once() {
        let mut buffers = Buffers::default();
        let buffer = buffers.take();
        let kept = buffers.keep(buffer, 0..COPIED_MAX);
        assert_eq!((kept.bytes.len(), buffers.spare.len()), (COPIED_MAX, 1));
    }
}
