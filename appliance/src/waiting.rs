//! What everybody waits for, kept from one turn of the loop to the next.
//!
//! Each party has a token. What it waits for is asked of it once, after its turn, and then holds until it
//! is ready or due: a turn of the loop costs as much as there is to do, however many wait.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsRawFd as _, RawFd};

use connector_proto::time::Instant;
use rustix::io::Errno;
use splice_core::reactor::{self, Kind, Reactor, Ready, Watched};

use crate::clock;
use crate::interest::{Interest, Watch};

/// See the module.
#[derive(Debug)]
pub struct Waiting {
    reactor: Box<dyn Reactor + Send>,
    parties: HashMap<u64, Party>,
    deadlines: BTreeSet<(Instant, u64)>,
    /// Filled anew by each wait; kept for its room.
    ready: Vec<Ready>,
    last_token: u64,
}

/// What one party waits for.
#[derive(Debug, Default)]
struct Party {
    watched: Vec<(RawFd, Interest, Watched)>,
    deadline: Option<Instant>,
}

impl Party {
    /// Whether it waits for these already.
    fn watches(&self, watch: &Watch<'_>) -> bool {
        let own = self
            .watched
            .iter()
            .map(|(file, interest, _)| (*file, *interest));
        let asked = watch.descriptors.iter();
        own.eq(asked.map(|(file, interest)| (file.as_raw_fd(), *interest)))
    }
}

impl Waiting {
    /// Nobody waits yet.
    ///
    /// # Errors
    /// If the system has no reactor.
    pub fn open(kind: Kind) -> Result<Self, Errno> {
        Ok(Self {
            reactor: reactor::open(kind)?,
            parties: HashMap::new(),
            deadlines: BTreeSet::new(),
            ready: Vec::new(),
            last_token: FIXED_TOKENS,
        })
    }

    /// A token that nobody had; it is above [`FIXED_TOKENS`].
    pub const fn token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }

    /// Takes what a party waits for from here on. A descriptor that cannot be watched is as good as
    /// ready: whoever owns it looks at it and finds out why.
    pub fn set<'a>(&mut self, token: u64, ask: impl FnOnce(&mut Watch<'a>)) {
        self.release(token);
        let mut watch = Watch::default();
        ask(&mut watch);
        self.watch(token, &watch);
    }

    /// The same of a party that may wait already, and whose descriptors are those of that time: what it
    /// goes on waiting for costs nothing.
    pub fn keep<'a>(&mut self, token: u64, ask: impl FnOnce(&mut Watch<'a>)) {
        let mut watch = Watch::default();
        ask(&mut watch);
        match self.parties.get_mut(&token) {
            Some(party) if party.watches(&watch) => {
                let before = std::mem::replace(&mut party.deadline, watch.deadline);
                if before != watch.deadline {
                    before.map(|deadline| self.deadlines.remove(&(deadline, token)));
                    self.deadlines
                        .extend(watch.deadline.map(|deadline| (deadline, token)));
                }
            }
            Some(_) | None => {
                self.release(token);
                self.watch(token, &watch);
            }
        }
    }

    fn watch(&mut self, token: u64, watch: &Watch<'_>) {
        let mut party = Party {
            watched: Vec::with_capacity(watch.descriptors.len()),
            deadline: watch.deadline,
        };
        for (descriptor, interest) in &watch.descriptors {
            let once = reactor::Interest::Once {
                read: interest.read,
                write: interest.write,
            };
            match self.reactor.watch(*descriptor, token, once) {
                Ok(watched) => {
                    let file = descriptor.as_raw_fd();
                    party.watched.push((file, *interest, watched));
                }
                Err(error) => {
                    log::warn!("a descriptor cannot be waited for: {error}");
                    party.deadline = Some(Instant::default());
                }
            }
        }
        self.deadlines
            .extend(party.deadline.map(|deadline| (deadline, token)));
        self.parties.insert(token, party);
    }

    /// A party waits no more. To be called before its turn, and before it is dropped: a descriptor must
    /// not be closed while it is watched.
    pub fn release(&mut self, token: u64) {
        let Some(party) = self.parties.remove(&token) else {
            return;
        };
        for (_, _, watched) in party.watched {
            self.reactor.forget(watched);
        }
        if let Some(deadline) = party.deadline {
            self.deadlines.remove(&(deadline, token));
        }
    }

    /// Waits until somebody is ready or due, and says who, each once. They wait no more: each has its
    /// turn and is asked anew.
    ///
    /// # Errors
    /// Those of the reactor.
    pub fn wait(&mut self) -> Result<Vec<u64>, Errno> {
        loop {
            let first = self.deadlines.first().map(|(deadline, _)| *deadline);
            let timeout = first.map(|deadline| deadline.since(clock::now()));
            self.ready.clear();
            self.reactor.wait(timeout, &mut self.ready)?;
            let now = clock::now();
            let due = self.deadlines.iter().take_while(|(at, _)| *at <= now);
            let mut tokens: Vec<u64> = due.map(|(_, token)| *token).collect();
            tokens.extend(self.ready.iter().map(|ready| ready.token));
            tokens.sort_unstable();
            tokens.dedup();
            for token in &tokens {
                self.release(*token);
            }
            // An interruption, or a clock that is a little behind, wakes nobody.
            if !tokens.is_empty() {
                return Ok(tokens);
            }
        }
    }

    /// How readiness is learned, for people.
    #[must_use]
    pub fn reactor(&self) -> &'static str {
        self.reactor.name()
    }
}

/// Tokens up to this one are for parties that there is one of.
pub const FIXED_TOKENS: u64 = 15;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;
    use crate::interest::Interest;

    fn both() -> [Waiting; 2] {
        [Kind::Best, Kind::Epoll].map(|kind| Waiting::open(kind).unwrap())
    }

    fn far() -> Option<Instant> {
        Some(clock::now() + Duration::from_secs(60))
    }

    #[test]
    fn who_is_ready_is_told_once_and_has_to_be_asked_anew() {
        for mut waiting in both() {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let ask = |watch: &mut Watch<'_>| watch.until(far());
            let token = waiting.token();
            let idle = waiting.token();
            ours.write_all(b"x").unwrap();
            waiting.set(token, |watch| {
                watch.add(&theirs, Interest::new(true, false))
            });
            waiting.set(idle, ask);
            assert_eq!(waiting.wait().unwrap(), [token]);
            let soon = clock::now() + Duration::from_millis(5);
            waiting.set(idle, |watch| watch.until(Some(soon)));
            assert_eq!(waiting.wait().unwrap(), [idle]);
            assert!(waiting.parties.is_empty() && waiting.deadlines.is_empty());
        }
    }

    #[test]
    fn a_party_that_waits_for_several_descriptors_and_a_time_is_told_of_once() {
        for mut waiting in both() {
            let (mut one, other) = UnixStream::pair().unwrap();
            let token = waiting.token();
            one.write_all(b"x").unwrap();
            waiting.set(token, |watch| {
                watch.add(&one, Interest::new(false, true));
                watch.add(&other, Interest::new(true, true));
                watch.until(Some(Instant::default()));
            });
            assert_eq!(waiting.wait().unwrap(), [token]);
        }
    }

    #[test]
    fn who_is_kept_waits_on_without_being_watched_anew_and_by_its_new_deadline() {
        for mut waiting in both() {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let (kept, other) = (waiting.token(), waiting.token());
            let key = |waiting: &Waiting| waiting.parties[&kept].watched[0].2;
            let readable = Interest::new(true, false);
            waiting.keep(kept, |watch| {
                watch.add(&theirs, readable);
                watch.until(far());
            });
            let first = key(&waiting);
            let soon = clock::now() + Duration::from_millis(5);
            waiting.keep(kept, |watch| {
                watch.add(&theirs, readable);
                watch.until(Some(soon));
            });
            assert_eq!(key(&waiting), first);
            assert_eq!(waiting.wait().unwrap(), [kept]);
            assert!(clock::now() >= soon);
            // It was told, so it waits no more; what it wants now is more than before.
            for interest in [readable, Interest::new(true, true)] {
                waiting.keep(kept, |watch| watch.add(&theirs, interest));
            }
            assert_ne!(key(&waiting), first);
            assert_eq!(waiting.wait().unwrap(), [kept]);
            waiting.keep(kept, |watch| watch.add(&theirs, readable));
            waiting.set(other, |watch| watch.until(Some(soon)));
            assert_eq!(waiting.wait().unwrap(), [other]);
            ours.write_all(b"x").unwrap();
            assert_eq!(waiting.wait().unwrap(), [kept]);
            assert!(waiting.parties.is_empty() && waiting.deadlines.is_empty());
        }
    }

    #[test]
    fn who_was_released_is_told_nothing_and_what_replaces_a_wish_holds_alone() {
        for mut waiting in both() {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            let (gone, here) = (waiting.token(), waiting.token());
            for token in [gone, here] {
                waiting.set(token, |watch| {
                    watch.add(&theirs, Interest::new(true, false));
                    watch.until(Some(Instant::default()));
                });
            }
            waiting.release(gone);
            let soon = clock::now() + Duration::from_millis(5);
            waiting.set(here, |watch| watch.until(Some(soon)));
            ours.write_all(b"x").unwrap();
            drop(theirs);
            assert_eq!(waiting.wait().unwrap(), [here]);
            assert!(clock::now() >= soon);
        }
    }
}
