//! The data plane: one thread for each core, each with a reactor and its share of the sessions.
//!
//! Whoever opens sessions (the connector's main loop, the edge's tasks) hands over sockets and keys and is
//! told how each session ends. Control traffic never waits for bulk: it is not on these threads.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::channel::Channel;
use crate::engine::{Broken, Engine};
use crate::reactor;

mod queue;
mod worker;

use queue::{Command, Queue};
use worker::{Counters, Worker};

/// How the data plane is run.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Threads; one for each core is right.
    pub threads: usize,
    /// Which engine is wanted for new sessions.
    pub engine: Engine,
    /// Which reactor.
    pub reactor: reactor::Kind,
    /// Records under one set of keys after which a successor is asked for (DATAPLANE section 4: 2^23 for
    /// AES-GCM); no fewer than [`RECORDS_MIN`].
    pub records_max: u64,
    /// How long a side may take none of the bytes that wait for it.
    pub stall_max: Duration,
}

/// Records after which a session moves to a fresh data channel: half of AES-GCM's limit of 2^24 full
/// records (RFC 8446 section 5.5).
pub const RECORDS_MAX: u64 = 1 << 23;

/// The least that [`Config::records_max`] can be: a channel's greeting takes a few records, and one that is
/// spent by it would only ever be succeeded.
pub const RECORDS_MIN: u64 = 8;

/// How long a side may leave its bytes untaken before the session is reset.
pub const STALL_MAX: Duration = Duration::from_secs(60);

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            engine: Engine::InPlace,
            reactor: reactor::Kind::Best,
            records_max: RECORDS_MAX,
            stall_max: STALL_MAX,
        }
    }
}

/// Names a session of a plane; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub u64);

/// What the plane tells of a session.
#[derive(Debug)]
pub enum Event {
    /// The present channel's keys near their limit: [`Plane::succeed`] is to be called with a fresh one.
    /// Told once for each channel.
    WantsSuccessor {
        /// The number of that channel: 0 is the session's first, each successor's one more.
        channel: u32,
    },
    /// It is over; told last, and once.
    Ended(End),
}

/// How a session ended.
#[derive(Debug)]
pub struct End {
    /// Bytes from the plain socket that went into the channel.
    pub outward: u64,
    /// Bytes out of the channel that the plain socket took.
    pub inward: u64,
    /// What broke it; `None` if both directions ended in order.
    pub broken: Option<Broken>,
}

/// A session to be carried.
pub struct NewSession {
    /// The socket without TLS; non-blocking. From here on it is reset if the process is killed.
    pub plain: TcpStream,
    /// The data channel.
    pub channel: Channel,
    /// Goes out before anything that is read from `plain`; at most 64 KiB.
    pub first: Vec<u8>,
    /// At most so many bytes are taken from `plain`.
    pub limit: Option<u64>,
    /// Is told what happens, on one of the plane's threads: it must not block.
    pub tell: Box<dyn FnMut(Event) + Send>,
}

impl std::fmt::Debug for NewSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewSession")
            .field("plain", &self.plain)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// Sums over all sessions, as they are now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Sessions that are carried.
    pub sessions: u64,
    /// Bytes outward, of all sessions there ever were.
    pub outward: u64,
    /// Bytes inward.
    pub inward: u64,
}

/// The threads. Dropped, it resets every session and waits for the threads. Should one of them panic, the
/// process aborts: its sessions would hang otherwise.
#[derive(Debug)]
pub struct Plane {
    config: Config,
    threads: Vec<Thread>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Thread {
    queue: Arc<Queue>,
    counters: Arc<Counters>,
    handle: JoinHandle<()>,
}

/// Bits of a session's key that say which thread carries it.
const THREAD_BITS: u32 = 8;

/// Threads that a plane may have.
pub const THREADS_MAX: usize = 1 << THREAD_BITS;

impl Plane {
    /// Starts the threads, and returns when each of them has its reactor.
    ///
    /// # Errors
    /// Those of the reactor, and of starting a thread.
    pub fn start(mut config: Config) -> io::Result<Arc<Self>> {
        config.threads = config.threads.clamp(1, THREADS_MAX);
        config.records_max = config.records_max.max(RECORDS_MIN);
        let mut plane = Self {
            config,
            threads: Vec::with_capacity(config.threads),
            next: AtomicU64::new(1),
        };
        for number in 0..config.threads {
            // On an error the plane is dropped, which stops those that were started.
            plane.threads.push(Thread::start(number, config)?);
        }
        Ok(Arc::new(plane))
    }

    /// How it is run.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Carries a session, on the thread with the fewest.
    pub fn carry(&self, session: NewSession) -> SessionKey {
        let load = |thread: &Thread| thread.counters.sessions.load(Ordering::Relaxed);
        let threads = (0..).zip(&self.threads);
        let fewest = threads.min_by_key(|(_, thread)| load(thread));
        let number = self.next.fetch_add(1, Ordering::Relaxed) << THREAD_BITS;
        let Some((at, thread)) = fewest else {
            return SessionKey(number); // there is always one
        };
        thread.counters.sessions.fetch_add(1, Ordering::Relaxed);
        let key = number | at;
        thread.queue.push(Command::Carry(key, Box::new(session)));
        SessionKey(key)
    }

    /// Gives a session the channel with which it goes on: what is sent from now on goes there, and what
    /// comes is taken from there once the peer has left the old one. Without effect if it has ended.
    /// Several successors of one session are to be given in their order.
    pub fn succeed(&self, session: SessionKey, channel: Channel) {
        if let Some(thread) = self.thread_of(session) {
            let command = Command::Succeed(session.0, Box::new(channel));
            thread.queue.push(command);
        }
    }

    /// Resets a session; its end is told as [`Broken::Cancelled`].
    pub fn end(&self, session: SessionKey) {
        if let Some(thread) = self.thread_of(session) {
            thread.queue.push(Command::End(session.0));
        }
    }

    /// Resets all sessions, without another byte on a data channel. Returns when that is done; not to be
    /// called by what is told of a session's events.
    pub fn abandon_all(&self) {
        let (done, waiting) = mpsc::channel();
        for thread in &self.threads {
            let done = done.clone();
            thread.queue.change(|state| state.abandoning.push(done));
        }
        drop(done);
        while waiting.recv().is_ok() {}
    }

    /// Sums, for people.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let sum = |of: fn(&Counters) -> &AtomicU64| {
            let counters = self.threads.iter().map(|thread| of(&thread.counters));
            counters
                .map(|counter| counter.load(Ordering::Relaxed))
                .sum()
        };
        Totals {
            sessions: sum(|counters| &counters.sessions),
            outward: sum(|counters| &counters.outward),
            inward: sum(|counters| &counters.inward),
        }
    }

    fn thread_of(&self, session: SessionKey) -> Option<&Thread> {
        let at = usize::try_from(session.0 % (1 << THREAD_BITS)).ok()?;
        self.threads.get(at)
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        for thread in &self.threads {
            thread.queue.change(|state| state.is_stopping = true);
        }
        for thread in self.threads.drain(..) {
            // Dropped by what is told of events, it is on one of its threads, which ends after this.
            if thread.handle.thread().id() != thread::current().id() {
                let _ = thread.handle.join();
            }
        }
    }
}

impl Thread {
    fn start(number: usize, config: Config) -> io::Result<Self> {
        let queue = Arc::new(Queue::new()?);
        let counters = Arc::<Counters>::default();
        let (told, outcome) = mpsc::channel();
        let (its_queue, its_counters) = (Arc::clone(&queue), Arc::clone(&counters));
        let handle = thread::Builder::new()
            .name(format!("plane-{number}"))
            .spawn(move || {
                let _guard = AbortOnPanic;
                // Here, because a ring belongs to the thread that opens it.
                match Worker::new(config, its_queue, its_counters) {
                    Ok(worker) => {
                        let _ = told.send(Ok(worker.name()));
                        worker.run();
                    }
                    Err(error) => drop(told.send(Err(error))),
                }
            })?;
        let reactor = outcome
            .recv()
            .map_err(|_| io::Error::other("the thread ended at once"))??;
        log::debug!("plane-{number} waits by {reactor}");
        Ok(Self {
            queue,
            counters,
            handle,
        })
    }
}

/// A session whose thread is gone would hang for ever.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}
