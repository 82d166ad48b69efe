//! Both directions of one session, and its succession from channel to channel.
//!
//! A session begins with one data channel and may be given successors, in order ([`Session::succeed`]). Each
//! direction goes along them on its own: outward leaves a channel as soon as there is a next one, inward when
//! the peer says so. A channel is closed when both have left it. A direction that has ended stays ended.
//!
//! ```text
//! outward  channel 0 ....CONTINUES | channel 1 ..........   channel 0 is closed here
//! inward   channel 0 ..................|....CONTINUES | channel 1 ...
//! ```
//!
//! Whatever breaks one direction resets every socket of the session, so that nobody takes a part for the
//! whole. An idle session is this struct, its engines, and nothing else.

use std::time::Duration;

use connector_proto::time::Instant;
use connector_sys::tcp_inq;

use crate::buffers::Buffers;
use crate::channel::Channel;
use crate::engine::{self, Broken, Engine};
use crate::plane::{End, Event, NewSession};
use crate::reactor::{Reactor, Ready};

mod direction;
mod side;
mod turns;

use direction::{At, Direction};
pub use side::reset_on_close;
use side::{Link, Side};

/// Payload bytes that a session moves in one turn, both directions together, before others get theirs.
pub const TURN_BUDGET: usize = 256 * 1024;

/// Channels that a session may have at once. Two do in all order; more wait only where a direction is
/// blocked while the other one uses up several.
pub const LINKS_MAX: usize = 8;

/// What a session works with during a call.
pub(crate) struct Around<'a> {
    pub(crate) reactor: &'a mut dyn Reactor,
    pub(crate) buffers: &'a mut Buffers,
    pub(crate) engine: Engine,
    pub(crate) records_max: u64,
    pub(crate) now: Instant,
}

/// Where a session stands after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It waits for an edge or for its deadline.
    Waiting,
    /// It has more to do, after the others.
    Again,
    /// Both directions have ended in order.
    Over,
}

/// See the module.
pub(crate) struct Session {
    /// Its number, of which the lowest [`SIDE_BITS`] of a token are left free.
    key: u64,
    plain: Side,
    /// In order. The first is needed by a direction; never empty.
    links: Vec<Link>,
    outward: Direction<dyn engine::Outward>,
    inward: Direction<dyn engine::Inward>,
    /// What the limit of bytes outward leaves for the link to come.
    limit: Option<u64>,
    is_inward_first: bool,
    /// A successor of the newest link has been asked for.
    has_asked: bool,
    tell: Box<dyn FnMut(Event) + Send>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("key", &self.key)
            .field("links", &self.links)
            .field("outward", &self.outward)
            .field("inward", &self.inward)
            .finish_non_exhaustive()
    }
}

/// Bits of a token that name a socket of the session: 0 is the plain one.
pub(crate) const SIDE_BITS: u32 = 8;

impl Session {
    /// A session that does nothing yet.
    pub(crate) fn new(key: u64, new: NewSession, now: Instant) -> (Self, Vec<u8>) {
        let session = Self {
            key,
            plain: Side::plain(new.plain),
            links: vec![Link::new(0, new.channel)],
            outward: Direction::new(now),
            inward: Direction::new(now),
            limit: new.limit,
            is_inward_first: false,
            has_asked: false,
            tell: new.tell,
        };
        (session, new.first)
    }

    /// Makes its engines and watches its sockets. `first` goes out before anything that is read.
    ///
    /// # Errors
    /// What the session is to be closed for.
    pub(crate) fn begin(&mut self, first: Vec<u8>, around: &mut Around<'_>) -> Result<(), Broken> {
        self.start_outward(around.engine)?;
        self.start_inward(around.engine)?;
        if let At::Link(engine) = &mut self.outward.at {
            engine.preload(first);
            if engine.engine() == Engine::InPlace {
                // Where the socket does not tell what is left in it, it is read until it is empty.
                let _ = tcp_inq::enable(&self.plain.socket);
            }
        }
        let token = self.key << SIDE_BITS;
        let watched = self.plain.watch(around.reactor, token);
        watched.map_err(|error| Broken::Plain(error.into()))?;
        self.watch_newest(around.reactor)
    }

    /// Notes that a socket is ready; a turn is due.
    pub(crate) fn mark(&mut self, ready: &Ready) {
        let side = ready.token & ((1 << SIDE_BITS) - 1);
        if side == 0 {
            self.inward.has_moved |= ready.writable;
            return self.plain.mark(ready);
        }
        let mut links = self.links.iter_mut();
        if let Some(link) = links.find(|link| side_of(link.number) == side) {
            self.outward.has_moved |= ready.writable && link.number == self.outward.link;
            link.side.mark(ready);
        }
    }

    /// Moves what can be moved without blocking, up to [`TURN_BUDGET`].
    ///
    /// # Errors
    /// What the session is to be closed for.
    pub(crate) fn turn(&mut self, around: &mut Around<'_>) -> Result<Turn, Broken> {
        let mut budget = TURN_BUDGET;
        let mut has_more = false;
        self.is_inward_first = !self.is_inward_first;
        for is_inward in [self.is_inward_first, !self.is_inward_first] {
            has_more |= match is_inward {
                true => self.turn_inward(around, &mut budget)?,
                false => match self.turn_outward(around, &mut budget) {
                    // The peer may have said why before it closed.
                    Err(Broken::Channel(error)) => {
                        self.turn_inward(around, &mut budget)?;
                        return Err(Broken::Channel(error));
                    }
                    turn => turn?,
                },
            };
        }
        if self.outward.is_over() && self.inward.is_over() {
            return Ok(Turn::Over);
        }
        self.find_error()?;
        self.close_left_links(around.reactor);
        self.ask_for_successor(around.records_max);
        Ok(if has_more { Turn::Again } else { Turn::Waiting })
    }

    /// Takes the channel with which it goes on; a turn is due.
    ///
    /// # Errors
    /// What the session is to be closed for.
    pub(crate) fn succeed(
        &mut self,
        channel: Channel,
        around: &mut Around<'_>,
    ) -> Result<(), Broken> {
        if self.links.len() >= LINKS_MAX {
            return Err(Broken::Flood);
        }
        let newest = self.newest();
        self.links.push(Link::new(newest + 1, channel));
        self.has_asked = false;
        self.watch_newest(around.reactor)?;
        match &mut self.outward.at {
            At::Link(engine) => engine.course().leave(),
            At::Between => self.start_outward(around.engine)?,
            At::End => {}
        }
        if matches!(self.inward.at, At::Between) {
            self.start_inward(around.engine)?;
        }
        Ok(())
    }

    /// When it is to be looked at by [`Self::overdue`].
    pub(crate) fn deadline(&self, stall_max: Duration) -> Option<Instant> {
        let outward = self.outward.deadline(stall_max);
        let inward = self.inward.deadline(stall_max);
        outward.into_iter().chain(inward).min()
    }

    /// What it is to be closed for at this moment, if a deadline has passed.
    pub(crate) fn overdue(&self, now: Instant, stall_max: Duration) -> Option<Broken> {
        let outward = self.outward.overdue(now, stall_max);
        outward.or_else(|| self.inward.overdue(now, stall_max))
    }

    /// Bytes carried outward and inward.
    pub(crate) const fn carried(&self) -> (u64, u64) {
        (self.outward.carried, self.inward.carried)
    }

    /// Closes its sockets, in order or, if it is broken, by RST, and tells its end.
    pub(crate) fn close(self, broken: Option<Broken>, reactor: &mut dyn Reactor) {
        let is_reset = broken.is_some();
        self.plain.close(reactor, is_reset);
        for link in self.links {
            link.side.close(reactor, is_reset);
        }
        let mut tell = self.tell;
        tell(Event::Ended(End {
            outward: self.outward.carried,
            inward: self.inward.carried,
            broken,
        }));
    }

    fn watch_newest(&mut self, reactor: &mut dyn Reactor) -> Result<(), Broken> {
        let Some(link) = self.links.last_mut() else {
            return Ok(());
        };
        let token = (self.key << SIDE_BITS) | side_of(link.number);
        let watched = link.side.watch(reactor, token);
        watched.map_err(|error| Broken::Channel(error.into()))
    }

    /// An error on a socket that a direction uses ends the session even where that direction would not come
    /// across it now. One of a channel that nobody has come to yet is left for whoever does: the peer may have
    /// ended both directions before that, and have closed what it had no more use for.
    fn find_error(&mut self) -> Result<(), Broken> {
        if let Some(error) = self.plain.error() {
            return Err(Broken::Plain(error));
        }
        let used = [self.outward.uses(), self.inward.uses()];
        let error = self
            .links
            .iter_mut()
            .filter(|link| used.contains(&Some(link.number)))
            .find_map(|link| link.side.error());
        error.map_or(Ok(()), |error| Err(Broken::Channel(error)))
    }

    fn close_left_links(&mut self, reactor: &mut dyn Reactor) {
        let needed = self.outward.needs().min(self.inward.needs());
        let left = self
            .links
            .iter()
            .take_while(|link| link.number < needed)
            .count();
        // Where a direction waits for a link that is not there yet, the newest one stays: it is the session's.
        let left = left.min(self.links.len() - 1);
        if left == 0 {
            return;
        }
        for link in self.links.drain(..left) {
            link.side.close(reactor, false);
        }
        self.links.shrink_to_fit();
    }

    /// Not while a direction lags behind by several channels: those come first.
    fn ask_for_successor(&mut self, records_max: u64) {
        if self.has_asked || self.links.len() >= LINKS_MAX / 2 {
            return;
        }
        let newest = self.newest();
        let is_near = |link, records| link == newest && records >= records_max;
        let is_due = is_near(self.outward.link, self.outward.records())
            || is_near(self.inward.link, self.inward.records());
        if is_due {
            self.has_asked = true;
            let channel = newest + 1;
            (self.tell)(Event::WantsSuccessor { channel });
        }
    }

    fn newest(&self) -> u32 {
        self.links.last().map_or(0, |link| link.number)
    }
}

fn link_of(links: &mut [Link], number: u32) -> Option<&mut Link> {
    links.iter_mut().find(|link| link.number == number)
}

/// The side of a token that stands for a link: unique among the [`LINKS_MAX`] of a session.
fn side_of(link: u32) -> u64 {
    1 + u64::from(link % 255)
}

#[cfg(test)]
mod tests;
