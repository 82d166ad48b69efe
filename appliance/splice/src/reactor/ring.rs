//! io_uring: multishot polls, in a ring that can do nothing else.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use connector_sys::ring::{self, Completion, OpenError, PollRing};
use rustix::io::Errno;

use super::{Interest, Reactor, Ready, Watched};

/// See the module.
#[derive(Debug)]
pub struct Ring {
    ring: PollRing,
    /// By id. A completion whose id is not in here is of something that was forgotten.
    watches: BTreeMap<u64, Watch>,
    last_id: u64,
    /// Ids whose polls are to be cancelled.
    forgotten: Vec<u64>,
}

/// What is watched.
#[derive(Clone, Copy, Debug)]
struct Watch {
    token: u64,
    descriptor: RawFd,
    events: u32,
    is_multishot: bool,
}

/// Requests between two waits that need no further system call.
const SUBMISSIONS: u32 = 256;

/// Results that are taken in one wait; the kernel keeps those beyond.
const COMPLETIONS: u32 = 1024;

impl Ring {
    /// Opens it, for the calling thread.
    ///
    /// # Errors
    /// See [`PollRing::open`].
    pub fn open() -> Result<Self, OpenError> {
        Ok(Self {
            ring: PollRing::open(SUBMISSIONS, COMPLETIONS)?,
            watches: BTreeMap::new(),
            last_id: 0,
            forgotten: Vec::new(),
        })
    }

    /// Asks again for the polls that ended by themselves, which may happen to one that tells very often.
    fn rearm(&mut self, ended: &[u64]) -> Result<(), Errno> {
        for id in ended {
            if let Some(watch) = self.watches.get(id) {
                watch.arm(&mut self.ring, *id)?;
            }
        }
        Ok(())
    }
}

impl Watch {
    fn arm(&self, ring: &mut PollRing, id: u64) -> Result<(), Errno> {
        ring.poll(self.descriptor, self.events, self.is_multishot, id)
    }
}

impl Reactor for Ring {
    fn watch(
        &mut self,
        descriptor: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> Result<Watched, Errno> {
        let (is_multishot, events) = match interest {
            Interest::Edges => (true, ring::READABLE | ring::WRITABLE | ring::PEER_ENDED),
            Interest::Once { read, write } => (
                false,
                (u32::from(read) * (ring::READABLE | ring::PEER_ENDED))
                    | (u32::from(write) * ring::WRITABLE),
            ),
        };
        let watch = Watch {
            token,
            descriptor: descriptor.as_raw_fd(),
            events,
            is_multishot,
        };
        let id = self.last_id + 1;
        watch.arm(&mut self.ring, id)?;
        self.last_id = id;
        self.watches.insert(id, watch);
        Ok(Watched(id))
    }

    fn forget(&mut self, watched: Watched) {
        if self.watches.remove(&watched.0).is_some() {
            self.forgotten.push(watched.0);
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> Result<(), Errno> {
        while let Some(id) = self.forgotten.last() {
            self.ring.cancel(*id)?;
            self.forgotten.pop();
        }
        if self.forgotten.capacity() > FORGOTTEN_KEPT {
            self.forgotten = Vec::new();
        }
        self.ring.wait(timeout)?;
        let mut ended = Vec::new();
        for Completion {
            id,
            events,
            is_armed,
        } in self.ring.completions()
        {
            let Some(watch) = self.watches.get(&id) else {
                continue;
            };
            // A poll that could not be made (EBADF) is told as a failure: whoever uses the descriptor finds it.
            ready.push(told(watch.token, events.unwrap_or(ring::FAILED)));
            if !watch.is_multishot {
                self.watches.remove(&id);
            } else if !is_armed && events.is_ok() {
                ended.push(id);
            }
        }
        self.rearm(&ended)
    }

    fn name(&self) -> &'static str {
        "io_uring"
    }
}

/// Room for this many forgotten ids is kept from one wait to the next.
const FORGOTTEN_KEPT: usize = 256;

fn told(token: u64, events: u32) -> Ready {
    let has = |bits| events & bits != 0;
    Ready {
        token,
        readable: has(ring::READABLE | ring::PEER_ENDED | ring::HUNG_UP | ring::FAILED),
        writable: has(ring::WRITABLE | ring::HUNG_UP | ring::FAILED),
        ended: has(ring::PEER_ENDED | ring::HUNG_UP | ring::FAILED),
        failed: has(ring::FAILED),
    }
}
