//! epoll, for hosts that forbid io_uring.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use super::{Interest, Reactor, Ready, Watched};

/// See the module.
#[derive(Debug)]
pub struct Epoll {
    set: OwnedFd,
    /// By id. An event whose id is not in here is of something that was forgotten.
    watches: BTreeMap<u64, Watch>,
    last_id: u64,
}

/// What is watched.
#[derive(Clone, Copy, Debug)]
struct Watch {
    token: u64,
    descriptor: RawFd,
    is_once: bool,
}

/// Events that are taken in one wait; the others come with the next.
const EVENTS_MAX: usize = 128;

impl Epoll {
    /// Opens it.
    ///
    /// # Errors
    /// Those of the system.
    pub fn open() -> Result<Self, Errno> {
        Ok(Self {
            set: epoll::create(CreateFlags::CLOEXEC)?,
            watches: BTreeMap::new(),
            last_id: 0,
        })
    }
}

impl Reactor for Epoll {
    fn watch(
        &mut self,
        descriptor: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> Result<Watched, Errno> {
        let flags = match interest {
            Interest::Edges => {
                EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET
            }
            Interest::Once { read, write } => {
                let mut flags = EventFlags::ONESHOT;
                flags.set(EventFlags::IN | EventFlags::RDHUP, read);
                flags.set(EventFlags::OUT, write);
                flags
            }
        };
        let id = self.last_id + 1;
        let data = EventData::new_u64(id);
        match epoll::add(&self.set, descriptor, data, flags) {
            // One that was watched once and told of is still in the set, disarmed.
            Err(Errno::EXIST) => epoll::modify(&self.set, descriptor, data, flags),
            other => other,
        }?;
        self.last_id = id;
        let watch = Watch {
            token,
            descriptor: descriptor.as_raw_fd(),
            is_once: matches!(interest, Interest::Once { .. }),
        };
        self.watches.insert(id, watch);
        Ok(Watched(id))
    }

    fn forget(&mut self, watched: Watched) {
        if let Some(watch) = self.watches.remove(&watched.0) {
            // If it is not in the set, as after a close that came too early, there is nothing to forget.
            let _ = connector_sys::epoll::remove(&self.set, watch.descriptor);
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> Result<(), Errno> {
        let timeout = timeout.map(whole_milliseconds);
        let mut space = [MaybeUninit::<Event>::uninit(); EVENTS_MAX];
        let events = match epoll::wait(&self.set, &mut space[..], timeout.as_ref()) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error),
        };
        for event in events {
            let (id, flags) = (event.data.u64(), event.flags);
            let Some(watch) = self.watches.get(&id).copied() else {
                continue;
            };
            if watch.is_once {
                self.watches.remove(&id);
            }
            ready.push(told(watch.token, flags));
        }
        Ok(())
    }

    fn name(&self) -> &'static str {
        "epoll"
    }
}

fn told(token: u64, flags: EventFlags) -> Ready {
    let broken = EventFlags::HUP | EventFlags::ERR;
    Ready {
        token,
        readable: flags.intersects(EventFlags::IN | EventFlags::RDHUP | broken),
        writable: flags.intersects(EventFlags::OUT | broken),
        ended: flags.intersects(EventFlags::RDHUP | broken),
        failed: flags.contains(EventFlags::ERR),
    }
}

/// Rounds up: `epoll_pwait(2)` counts milliseconds, and a wait that is too short would spin.
fn whole_milliseconds(timeout: Duration) -> Timespec {
    let milliseconds = timeout.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128);
    let milliseconds = i64::try_from(milliseconds).unwrap_or(i64::from(i32::MAX));
    Timespec {
        tv_sec: milliseconds / 1000,
        tv_nsec: milliseconds % 1000 * 1_000_000,
    }
}
