//! The sessions: those whose application is looked for, those that wait for a channel, and those that the
//! data plane carries.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use connector_proto::limits::GREETING_MAX;
use connector_proto::message::SessionRefusal;
use connector_proto::time::Instant;
use splice_core::channel::Channel;
use splice_core::engine::{Broken, Engine};
use splice_core::plane::{End, Event, NewSession, Plane, SessionKey, Totals};

use super::PLANE;
use super::succession::{Channels, Wish};
use crate::mailbox::Mailbox;
use crate::pool::demand::WARM_MOST;
use crate::pool::{Pool, WarmChannel};
use crate::session::{Context, Session, Step, Target};
use crate::waiting::Waiting;

/// How long a session whose application stands may wait for a data channel.
const CHANNEL_WAIT_MAX: Duration = GREETING_MAX;

/// Ends in order wake nobody: at the latest after this time they are heard of.
const HEARD_EVERY: Duration = Duration::from_secs(1);

/// All sessions under way.
#[derive(Debug)]
pub(super) struct Sessions {
    plane: Arc<Plane>,
    mailbox: Mailbox<(u64, Event)>,
    opening: HashMap<u64, Session>,
    /// Those that wait for their first channel, the one that came first in front.
    queue: VecDeque<Queued>,
    /// The tokens of those that are to go on on another channel, the one that asked first in front. Some have
    /// ended meanwhile.
    wanting: VecDeque<u64>,
    carried: HashMap<u64, Carried>,
    /// The tokens of those.
    by_id: HashMap<[u8; 16], u64>,
    /// Sessions that began since the process started.
    begun: u64,
    /// How many there may be at a time.
    capacity: u32,
    /// When it was heard last what the data plane has to tell.
    heard_at: Instant,
}

#[derive(Debug)]
struct Queued {
    target: Target,
    application: TcpStream,
    until: Instant,
}

/// A session that the data plane carries.
#[derive(Debug)]
struct Carried {
    target: Target,
    key: SessionKey,
    channels: Channels,
}

/// What the edge is told of a session that does not come about.
#[derive(Debug)]
pub(super) struct Refused {
    pub session: [u8; 16],
    pub reason: SessionRefusal,
    pub detail: String,
}

impl AsFd for Sessions {
    /// Readable when the data plane has something to tell.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mailbox.as_fd()
    }
}

impl Sessions {
    /// None yet, and no more than `capacity` at a time.
    ///
    /// # Errors
    /// If the process is out of descriptors.
    pub(super) fn new(plane: Arc<Plane>, capacity: u32) -> io::Result<Self> {
        Ok(Self {
            plane,
            mailbox: Mailbox::new()?,
            opening: HashMap::new(),
            queue: VecDeque::new(),
            wanting: VecDeque::new(),
            carried: HashMap::new(),
            by_id: HashMap::new(),
            begun: 0,
            capacity,
            heard_at: Instant::default(),
        })
    }

    /// Sessions under way.
    pub(super) fn len(&self) -> u32 {
        let len = self.opening.len() + self.queue.len() + self.carried.len();
        u32::try_from(len).unwrap_or(u32::MAX)
    }

    pub(super) const fn begun(&self) -> u64 {
        self.begun
    }

    pub(super) const fn set_capacity(&mut self, capacity: u32) {
        self.capacity = capacity;
    }

    /// Sessions that may still begin.
    pub(super) fn room(&self) -> usize {
        usize::try_from(self.capacity.saturating_sub(self.len())).unwrap_or(usize::MAX)
    }

    /// Channels that are wanted, and those that will be as soon as applications answer.
    pub(super) fn wanted(&self) -> usize {
        self.queue.len() + self.wanting.len() + self.opening.len().min(WARM_MOST)
    }

    /// When the first of them has waited too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let queued = self.queue.front().map(|queued| queued.until);
        let heard = (!self.carried.is_empty()).then(|| self.heard_at + HEARD_EVERY);
        queued.into_iter().chain(heard).min()
    }

    /// What carries them, where it can.
    pub(super) fn engine(&self) -> Engine {
        self.plane.config().engine
    }

    /// Bytes of all sessions, ended or not.
    pub(super) fn totals(&self) -> Totals {
        self.plane.totals()
    }

    /// Starts a session that a grant allows.
    pub(super) fn start(
        &mut self,
        now: Instant,
        target: Target,
        context: Context,
        waiting: &mut Waiting,
    ) -> Option<Refused> {
        if self.len() >= self.capacity {
            // Some may have ended meanwhile.
            self.hear(now, false);
        }
        if self.len() >= self.capacity {
            let detail = format!(
                "it carries {}, as many as its descriptors, ports and memory allow",
                self.len()
            );
            let reason = SessionRefusal::TooManySessions;
            return Some(refused(&target, reason, detail));
        }
        let token = waiting.token();
        let step = Session::start(now, target, context);
        self.begun += u64::from(!matches!(step, Step::Refused { .. }));
        self.take_step(now, token, step, waiting)
    }

    /// The edge wants a session to go on on the channel of this number.
    pub(super) fn succeed(&mut self, session: &[u8; 16], channel: u32) {
        match self.by_id.get(session) {
            Some(token) => self.want(*token, channel),
            // It ended meanwhile.
            None => log::debug!("a channel is wanted for a session that is not carried"),
        }
    }

    /// Goes on with those whose tokens are `ready`, hears what the data plane has to tell, and gives
    /// channels to those that wait for one.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        ready: &[u64],
        pool: &mut Pool,
        waiting: &mut Waiting,
    ) -> Vec<Refused> {
        let mut refused = Vec::new();
        for token in ready {
            if let Some(session) = self.opening.remove(token) {
                refused.extend(self.take_step(now, *token, session.turn(now), waiting));
            }
        }
        self.hear(now, ready.contains(&PLANE));
        refused.extend(self.take_channels(now, pool, waiting));
        refused
    }

    /// Hears what the data plane has to tell.
    fn hear(&mut self, now: Instant, is_readable: bool) {
        self.heard_at = now;
        for (token, event) in self.mailbox.take(is_readable) {
            match event {
                Event::WantsSuccessor { channel } => self.want(token, channel),
                Event::Ended(end) => self.forget(token, &end),
            }
        }
    }

    /// Gives channels to those that wait for one, and refuses those that wait in vain.
    pub(super) fn take_channels(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        waiting: &mut Waiting,
    ) -> Vec<Refused> {
        self.give_channels(now, pool, waiting);
        self.give_up(now, pool)
    }

    /// Ends all of them without another byte on a data channel.
    pub(super) fn abandon(&mut self, waiting: &mut Waiting) {
        for (token, session) in self.opening.drain() {
            waiting.release(token);
            drop(session);
        }
        self.queue.clear();
        self.wanting.clear();
        // The plane tells of each that it ended.
        self.plane.abandon_all();
    }

    fn take_step(
        &mut self,
        now: Instant,
        token: u64,
        step: Step,
        waiting: &mut Waiting,
    ) -> Option<Refused> {
        match step {
            Step::Open(session) => {
                waiting.set(token, |watch| session.watch(watch));
                self.opening.insert(token, session);
            }
            Step::Connected {
                target,
                application,
            } => self.queue.push_back(Queued {
                target,
                application,
                until: now + CHANNEL_WAIT_MAX,
            }),
            Step::Refused {
                target,
                reason,
                detail,
            } => return Some(refused(&target, reason, detail)),
        }
        None
    }

    /// Gives warm channels to those that wait: first to those that cannot go on without.
    fn give_channels(&mut self, now: Instant, pool: &mut Pool, waiting: &mut Waiting) {
        while let Some(token) = self.wanting.pop_front() {
            let Some(carried) = self.carried.get_mut(&token) else {
                continue;
            };
            if !carried.succeed(&self.plane, || pool.take(now, waiting)) {
                return self.wanting.push_front(token);
            }
        }
        while !self.queue.is_empty() {
            let Some(channel) = pool.take(now, waiting) else {
                return;
            };
            let Some(queued) = self.queue.front() else {
                return;
            };
            match channel.attach(queued.target.session, 0) {
                Ok(channel) => {
                    if let Some(queued) = self.queue.pop_front() {
                        self.carry(waiting.token(), queued, channel);
                    }
                }
                // The session takes the next one.
                Err(error) => log::debug!("a warm data channel is of no use: {error}"),
            }
        }
    }

    fn carry(&mut self, token: u64, queued: Queued, channel: Channel) {
        let Queued {
            target,
            application,
            ..
        } = queued;
        let slot = self.mailbox.slot();
        let key = self.plane.carry(NewSession {
            plain: application,
            channel,
            first: Vec::new(),
            limit: None,
            tell: Box::new(move |event| match event {
                // It only has to be written down.
                Event::Ended(End { broken: None, .. }) => slot.leave((token, event)),
                event => slot.send((token, event)),
            }),
        });
        self.by_id.insert(target.session, token);
        let carried = Carried {
            target,
            key,
            channels: Channels::first(),
        };
        self.carried.insert(token, carried);
    }

    /// One end of a session wants the channel of this number.
    fn want(&mut self, token: u64, number: u32) {
        let Some(carried) = self.carried.get_mut(&token) else {
            return;
        };
        match carried.channels.ask(number) {
            Wish::New => self.wanting.push_back(token),
            Wish::Known => {}
            Wish::TooEarly => {
                log::debug!("{}: nobody can want channel {number} yet", carried.target)
            }
        }
    }

    /// Refuses those that have waited too long, and all if the machine cannot dial for them.
    fn give_up(&mut self, now: Instant, pool: &Pool) -> Vec<Refused> {
        let error = pool.last_error();
        let is_full = error.is_some_and(|error| error.is_out_of_descriptors());
        let mut given_up = Vec::new();
        while let Some(queued) = self
            .queue
            .pop_front_if(|queued| is_full || queued.until <= now)
        {
            let why = error.map_or_else(String::new, |error| format!(": {error}"));
            let reason = if is_full {
                SessionRefusal::TooManySessions
            } else {
                SessionRefusal::Unreachable
            };
            let waited_s = CHANNEL_WAIT_MAX.as_secs();
            let detail = if is_full {
                format!("no data channel{why}")
            } else {
                format!("no data channel came about within {waited_s} s{why}")
            };
            given_up.push(refused(&queued.target, reason, detail));
        }
        given_up
    }

    fn forget(&mut self, token: u64, end: &End) {
        let Some(Carried { target, .. }) = self.carried.remove(&token) else {
            return;
        };
        if self.by_id.get(&target.session) == Some(&token) {
            self.by_id.remove(&target.session);
        }
        log_ended(&target, end);
    }
}

impl Carried {
    /// Has it go on on the first of the warm channels that is of use, if it still wants one; false if there is
    /// none.
    fn succeed(&mut self, plane: &Plane, mut warm: impl FnMut() -> Option<WarmChannel>) -> bool {
        while let Some(number) = self.channels.wanted() {
            let Some(channel) = warm() else {
                return false;
            };
            match channel.attach(self.target.session, number) {
                Ok(channel) => {
                    log::debug!("{} goes on on channel {number}", self.target);
                    plane.succeed(self.key, channel);
                    self.channels.give();
                }
                Err(error) => log::debug!("a warm data channel is of no use: {error}"),
            }
        }
        true
    }
}

/// Notes that a session does not come about, for the log and for the edge.
fn refused(target: &Target, reason: SessionRefusal, detail: String) -> Refused {
    log::warn!("{target} is refused: {reason}: {detail}");
    Refused {
        session: target.session,
        reason,
        detail,
    }
}

fn log_ended(target: &Target, end: &End) {
    let (up, down) = (end.outward, end.inward);
    match &end.broken {
        None => log::info!("{target} ended: {up} bytes up, {down} down"),
        // The user has gone: that is no fault.
        Some(Broken::Refused) => log::info!("{target} ended: {}", Broken::Refused),
        Some(broken) => log::info!("{target} broke: {broken}; {up} bytes up, {down} down"),
    }
}

#[cfg(test)]
mod tests {
    use splice_core::plane::Config;
    use splice_core::reactor::Kind;

    use super::*;

    #[test]
    fn one_session_more_than_the_machine_can_carry_is_refused_with_the_number() {
        let plane = Plane::start(Config {
            threads: 1,
            ..Config::default()
        });
        let mut sessions = Sessions::new(plane.unwrap(), 3).unwrap();
        let mut waiting = Waiting::open(Kind::Best).unwrap();
        let mut refused = Vec::new();
        for number in 0..4 {
            let target = Target {
                session: [number; 16],
                // Nobody answers there (RFC 5737).
                host: "198.51.100.1".into(),
                port: 9,
            };
            let context = Context {
                resolvers: Vec::new(),
                own: Vec::new(),
                gateways: Vec::new(),
                edges: Vec::new(),
            };
            refused.extend(sessions.start(Instant::default(), target, context, &mut waiting));
        }
        let too_many = refused.pop().unwrap();
        assert_eq!(too_many.session, [3; 16]);
        assert_eq!(too_many.reason, SessionRefusal::TooManySessions);
        assert!(
            too_many.detail.contains("it carries 3"),
            "{}",
            too_many.detail
        );
        assert!(refused.is_empty() && sessions.room() == 0);
        sessions.abandon(&mut waiting);
        assert_eq!(sessions.len(), 0);
    }
}
