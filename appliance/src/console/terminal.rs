//! One terminal: raw mode, reading and writing without ever blocking on it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::io::{Errno, read, write};
use rustix::termios::{OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::{Zeroize, Zeroizing};

use super::view::{Live, Screen};

/// A terminal and what it has to show. Its mode is put back when it is dropped.
#[derive(Debug)]
pub struct Terminal {
    descriptor: OwnedFd,
    /// The mode it had; `None` if it is not a terminal or does not answer.
    original: Option<Termios>,
    screen: Screen,
    /// Bytes of the screen, of which the first `written` are out.
    output: Zeroizing<Vec<u8>>,
    written: usize,
    tried_at_us: u64,
    /// It failed, and is left alone until then.
    rest_until_us: Option<u64>,
    /// How long it rests after its next failure.
    rest_us: u64,
}

impl Terminal {
    /// Takes a descriptor that was opened with `O_NONBLOCK` and `O_NOCTTY`.
    #[must_use]
    pub fn new(descriptor: OwnedFd) -> Self {
        let original = make_raw(descriptor.as_fd());
        Self {
            descriptor,
            original,
            screen: Screen::default(),
            output: Zeroizing::new(Vec::new()),
            written: 0,
            tried_at_us: 0,
            rest_until_us: None,
            rest_us: REST_MIN_US,
        }
    }

    /// The lines it shows.
    pub const fn screen(&mut self) -> &mut Screen {
        &mut self.screen
    }

    /// What to poll for; `None` while it rests, since a hang-up would be reported for ever.
    #[must_use]
    pub fn interest(&self) -> Option<PollFlags> {
        match self.rest_until_us {
            Some(_) => None,
            None if self.is_drained() => Some(PollFlags::IN),
            None => Some(PollFlags::IN | PollFlags::OUT),
        }
    }

    /// When it wants [`Self::update`] although nothing happened.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        match self.rest_until_us {
            Some(until_us) => Some(until_us),
            None if self.is_drained() => self.screen.poll_timeout(),
            // Not every driver tells when it takes bytes again.
            None => Some(self.tried_at_us.saturating_add(RETRY_US)),
        }
    }

    /// Reads what was typed into `buffer`; the number of bytes.
    pub fn read(&mut self, now_us: u64, buffer: &mut [u8]) -> usize {
        match read(&self.descriptor, buffer) {
            Ok(0) => self.rest(now_us),
            Ok(length) => {
                self.rest_us = REST_MIN_US;
                return length;
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.rest(now_us),
        }
        0
    }

    /// Ends a rest that is over, and writes what the screen lacks.
    pub fn update(&mut self, now_us: u64, live: Live) {
        if let Some(until_us) = self.rest_until_us {
            if now_us < until_us {
                return;
            }
            // What hung up and came back has its mode of before, and a screen nobody knows.
            self.rest_until_us = None;
            let mode = make_raw(self.descriptor.as_fd());
            self.original = self.original.take().or(mode);
            self.screen.redraw();
        }
        // What was left from before goes out first; lines may have gathered behind it.
        self.write(now_us);
        if self.is_drained() {
            self.output =
                Zeroizing::new(self.screen.poll_transmit(now_us, live).as_bytes().to_vec());
            self.write(now_us);
        }
    }

    /// Notes a hang-up or an error that polling reported.
    pub fn failed(&mut self, now_us: u64) {
        self.rest(now_us);
    }

    fn write(&mut self, now_us: u64) {
        self.tried_at_us = now_us;
        while !self.is_drained() {
            match write(&self.descriptor, &self.output[self.written..]) {
                Ok(0) | Err(Errno::AGAIN) => return,
                Ok(length) => {
                    self.rest_us = REST_MIN_US;
                    self.written += length;
                }
                Err(Errno::INTR) => {}
                Err(_) => return self.rest(now_us),
            }
        }
        self.output.zeroize();
        self.written = 0;
    }

    fn rest(&mut self, now_us: u64) {
        self.rest_until_us = Some(now_us.saturating_add(self.rest_us));
        self.rest_us = self.rest_us.saturating_mul(2).min(REST_MAX_US);
    }

    fn is_drained(&self) -> bool {
        self.written == self.output.len()
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Best effort: who writes next begins on a line of its own, in the mode that was.
        let _ = write(&self.descriptor, b"\r\n");
        if let Some(original) = &self.original {
            let _ = tcsetattr(&self.descriptor, OptionalActions::Now, original);
        }
    }
}

/// Switches echo, line editing, signals and flow control off; the mode before.
///
/// The change is made at once: waiting for the output to drain would block on a port nobody reads.
fn make_raw(descriptor: BorrowedFd<'_>) -> Option<Termios> {
    let original = tcgetattr(descriptor).ok()?;
    let mut raw = original.clone();
    raw.make_raw();
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    raw.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(descriptor, OptionalActions::Now, &raw).ok()?;
    Some(original)
}

/// A terminal that takes no bytes is tried again after this, even if polling reports nothing.
const RETRY_US: u64 = 1_000_000;
/// A terminal that failed is tried again after this, doubled at each failure.
const REST_MIN_US: u64 = 1_000_000;
/// A terminal that keeps failing costs two system calls in this time.
const REST_MAX_US: u64 = 30_000_000;
