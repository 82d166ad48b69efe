//! One thread of the plane: its reactor, its sessions, and the order in which they get their turns.
//!
//! Each round: what is asked from outside, a bounded number of it; turns of sessions that have something to
//! do, one each and a bounded number of them, first come, first served; deadlines; then readiness, without
//! waiting if there is more to do. Nothing in a round grows with the number of sessions that are idle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use connector_proto::time::Instant;
use rustix::time::{ClockId, clock_gettime};

use super::queue::{Command, Queue};
use super::{Config, NewSession};
use crate::buffers::Buffers;
use crate::channel::Channel;
use crate::engine::Broken;
use crate::reactor::{Interest, Reactor, Ready};
use crate::session::{Around, SIDE_BITS, Session, Turn, reset_on_close};

/// Commands that are carried out before sessions get their turns.
const COMMANDS_PER_ROUND: usize = 64;

/// Turns before commands, deadlines and readiness are looked at again.
const TURNS_PER_ROUND: usize = 64;

/// The token of what wakes the thread; tokens of sessions are larger than any side.
const WAKE: u64 = 0;

/// What is known of a thread from outside.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Sessions that were handed to it and have not ended.
    pub(super) sessions: AtomicU64,
    pub(super) outward: AtomicU64,
    pub(super) inward: AtomicU64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Worker {
    config: Config,
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    reactor: Box<dyn Reactor + Send>,
    buffers: Buffers,
    /// A tree, because it gives memory back as sessions end.
    sessions: BTreeMap<u64, Entry>,
    /// Sessions that have something to do.
    due: VecDeque<u64>,
    /// Deadlines, of which a session has at most one in here, possibly one that it has left behind.
    timers: BTreeSet<(Instant, u64)>,
    now: Instant,
    ready: Vec<Ready>,
    commands: Vec<Command>,
}

#[derive(Debug)]
struct Entry {
    session: Box<Session>,
    is_due: bool,
    timer: Option<Instant>,
}

impl Worker {
    pub(super) fn new(
        config: Config,
        queue: Arc<Queue>,
        counters: Arc<Counters>,
    ) -> Result<Self, rustix::io::Errno> {
        let mut reactor = crate::reactor::open(config.reactor)?;
        reactor.watch(queue.wake(), WAKE, Interest::Edges)?;
        Ok(Self {
            config,
            queue,
            counters,
            reactor,
            buffers: Buffers::default(),
            sessions: BTreeMap::new(),
            due: VecDeque::new(),
            timers: BTreeSet::new(),
            now: now(),
            ready: Vec::new(),
            commands: Vec::new(),
        })
    }

    pub(super) fn name(&self) -> &'static str {
        self.reactor.name()
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        while self.obey() {
            self.give_turns();
            self.end_overdue();
            self.wait();
        }
    }

    /// Does what is asked from outside; false if that is to stop.
    fn obey(&mut self) -> bool {
        let (abandoning, is_stopping) = {
            let mut state = self.queue.lock();
            let abandoning = std::mem::take(&mut state.abandoning);
            let is_stopping = state.is_stopping;
            let is_abandoning = is_stopping || !abandoning.is_empty();
            let max = if is_abandoning {
                usize::MAX
            } else {
                COMMANDS_PER_ROUND
            };
            state.take(max, &mut self.commands);
            (abandoning, is_stopping)
        };
        if is_stopping || !abandoning.is_empty() {
            self.abandon();
        }
        for command in std::mem::take(&mut self.commands) {
            self.carry_out(command);
        }
        for waiting in abandoning {
            // Nobody waits any more: then nobody needs to know.
            let _ = waiting.send(());
        }
        !is_stopping
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Carry(key, new) => self.begin(key, *new),
            Command::Succeed(key, channel) => self.succeed(key, *channel),
            Command::End(key) => self.end(key, Some(Broken::Cancelled)),
        }
    }

    fn begin(&mut self, key: u64, new: NewSession) {
        let (session, first) = Session::new(key, new, self.now);
        let entry = Entry {
            session: Box::new(session),
            is_due: false,
            timer: None,
        };
        let entry = self.sessions.entry(key).or_insert(entry);
        let mut around = Around {
            reactor: &mut *self.reactor,
            buffers: &mut self.buffers,
            engine: self.config.engine,
            records_max: self.config.records_max,
            now: self.now,
        };
        // Its first turn comes with the first edge, which tells the state of its sockets.
        if let Err(broken) = entry.session.begin(first, &mut around) {
            self.end(key, Some(broken));
        }
    }

    fn succeed(&mut self, key: u64, channel: Channel) {
        let Some(entry) = self.sessions.get_mut(&key) else {
            return;
        };
        let mut around = Around {
            reactor: &mut *self.reactor,
            buffers: &mut self.buffers,
            engine: self.config.engine,
            records_max: self.config.records_max,
            now: self.now,
        };
        match entry.session.succeed(channel, &mut around) {
            Ok(()) => self.make_due(key),
            Err(broken) => self.end(key, Some(broken)),
        }
    }

    fn make_due(&mut self, key: u64) {
        if let Some(entry) = self.sessions.get_mut(&key)
            && !entry.is_due
        {
            entry.is_due = true;
            self.due.push_back(key);
        }
    }

    fn give_turns(&mut self) {
        for _ in 0..self.due.len().min(TURNS_PER_ROUND) {
            if let Some(key) = self.due.pop_front() {
                self.give_turn(key);
            }
        }
        if self.due.is_empty() && self.due.capacity() > DUE_KEPT {
            self.due = VecDeque::new();
        }
    }

    fn give_turn(&mut self, key: u64) {
        let Some(entry) = self.sessions.get_mut(&key) else {
            return;
        };
        entry.is_due = false;
        let before = entry.session.carried();
        let turn = entry.session.turn(&mut Around {
            reactor: &mut *self.reactor,
            buffers: &mut self.buffers,
            engine: self.config.engine,
            records_max: self.config.records_max,
            now: self.now,
        });
        let after = entry.session.carried();
        count(&self.counters.outward, after.0 - before.0);
        count(&self.counters.inward, after.1 - before.1);
        match turn {
            Ok(Turn::Waiting) => self.set_timer(key),
            Ok(Turn::Again) => {
                self.set_timer(key);
                self.make_due(key);
            }
            Ok(Turn::Over) => self.end(key, None),
            Err(broken) => self.end(key, Some(broken)),
        }
    }

    /// Sets a session's timer where it has none that is early enough. One that is too early is left: when it
    /// fires, the session's deadline of then is what counts.
    fn set_timer(&mut self, key: u64) {
        let Some(entry) = self.sessions.get_mut(&key) else {
            return;
        };
        let Some(deadline) = entry.session.deadline(self.config.stall_max) else {
            return;
        };
        match entry.timer {
            Some(timer) if timer <= deadline => return,
            Some(timer) => self.timers.remove(&(timer, key)),
            None => false,
        };
        entry.timer = Some(deadline);
        self.timers.insert((deadline, key));
    }

    fn end_overdue(&mut self) {
        while let Some(&(timer, key)) = self.timers.first()
            && timer <= self.now
        {
            self.timers.pop_first();
            let Some(entry) = self.sessions.get_mut(&key) else {
                continue;
            };
            entry.timer = None;
            match entry.session.overdue(self.now, self.config.stall_max) {
                Some(broken) => self.end(key, Some(broken)),
                None => self.set_timer(key),
            }
        }
    }

    fn end(&mut self, key: u64, broken: Option<Broken>) {
        let Some(entry) = self.sessions.remove(&key) else {
            return;
        };
        if let Some(timer) = entry.timer {
            self.timers.remove(&(timer, key));
        }
        // Before it is told: whoever hears of the end may look at the sum.
        self.counters.sessions.fetch_sub(1, Ordering::Relaxed);
        entry.session.close(broken, &mut *self.reactor);
    }

    /// Resets every session, also those that were to be begun.
    fn abandon(&mut self) {
        for command in std::mem::take(&mut self.commands) {
            match command {
                Command::Carry(key, new) => {
                    let (session, _) = Session::new(key, *new, self.now);
                    self.counters.sessions.fetch_sub(1, Ordering::Relaxed);
                    session.close(Some(Broken::Cancelled), &mut *self.reactor);
                }
                Command::Succeed(_, channel) => reset_on_close(&channel.socket),
                Command::End(_) => {}
            }
        }
        while let Some((&key, _)) = self.sessions.first_key_value() {
            self.end(key, Some(Broken::Cancelled));
        }
        // The ring lets go of the sockets in a wait and not before.
        self.look(Some(Duration::ZERO));
    }

    fn wait(&mut self) {
        let is_busy = !self.due.is_empty() || !self.queue.lock().sleeps();
        let timer = self.timers.first().map(|(timer, _)| timer.since(self.now));
        self.look(if is_busy { Some(Duration::ZERO) } else { timer });
        self.queue.lock().is_awake();
    }

    /// Lets the reactor tell what is ready, and makes those sessions due.
    fn look(&mut self, timeout: Option<Duration>) {
        if let Err(error) = self.reactor.wait(timeout, &mut self.ready) {
            self.survive(error);
        }
        self.now = now();
        let mut ready = std::mem::take(&mut self.ready);
        for one in ready.drain(..) {
            let key = one.token >> SIDE_BITS;
            if let Some(entry) = self.sessions.get_mut(&key) {
                entry.session.mark(&one);
                self.make_due(key);
            }
        }
        self.ready = ready;
    }

    /// A reactor that fails does so for lack of memory; what this thread has of it is its sessions.
    fn survive(&mut self, error: rustix::io::Errno) {
        log::error!("the data plane cannot wait for its sessions, which are reset: {error}");
        assert!(
            !self.sessions.is_empty(),
            "the reactor fails without a session: {error}"
        );
        while let Some((&key, _)) = self.sessions.first_key_value() {
            self.end(key, Some(Broken::Channel(error.into())));
        }
    }
}

fn count(counter: &AtomicU64, bytes: u64) {
    if bytes > 0 {
        counter.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The time that counts while the machine sleeps, too.
fn now() -> Instant {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    Instant::from_micros(seconds * 1_000_000 + nanoseconds / 1000)
}

/// Room for due sessions that is kept while there are none.
const DUE_KEPT: usize = 1024;
