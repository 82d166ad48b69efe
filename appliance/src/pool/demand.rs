//! How many data channels are to be kept warm, and when the next one is dialled.
//!
//! Pure: whoever dials says what happened and when. A session that comes takes a channel at once if there
//! are as many as come while one is dialled; twice that, because they do not come evenly.

use std::time::Duration;

use connector_proto::backoff::Backoff;
use connector_proto::keepalive::jitter;
use connector_proto::limits::WARM_RETIRED;
use connector_proto::time::Instant;

/// Channels that are kept warm when nobody comes: enough for the requests of one web page.
pub const WARM_MIN: usize = 8;
/// Channels that are kept warm at most: with 64 dialled at a time no rate that one machine carries needs
/// more, and each costs the edge a socket.
pub const WARM_MOST: usize = 256;
/// Channels that are dialled at a time: a crowd of handshakes would hold up the control channel, which
/// shares their thread (0.2 ms each), and fill the edge's queue of new connections.
pub const DIALLING_MAX: usize = 64;
/// Channels that were taken are replaced some at a time, and not while sessions are being opened, as long as
/// there are enough for those that come meanwhile: after a pause of this length, or when half of them are gone.
const PAUSE: Duration = Duration::from_millis(20);
/// The youngest age at which a warm channel is retired; the oldest is [`WARM_RETIRED`].
const RETIRED_MIN: Duration = Duration::from_secs(60);
/// A channel that waited so long has shown that the edge means it.
const PROVEN: Duration = Duration::from_secs(10);
/// Delays after failures: the first one is up to a second, and none is longer than a minute.
const SPREAD: Duration = Duration::from_secs(1);
const CAP: Duration = Duration::from_secs(60);

/// What there is and what is wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stock {
    /// Channels that wait for a session.
    pub warm: usize,
    /// Channels on their way.
    pub dialling: usize,
    /// Sessions that wait for a channel.
    pub queued: usize,
    /// Sessions that may still come before the machine is full.
    pub room: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Demand {
    arrivals: Arrivals,
    /// How long a channel takes to be warm; smoothed.
    dial_time: Option<Duration>,
    backoff: Backoff,
    /// Nothing is dialled before.
    retry_at: Option<Instant>,
    /// When something failed last.
    failed_at: Instant,
    /// Whether that was the last thing that happened: then one channel is tried, and no crowd.
    is_in_doubt: bool,
    arrived_at: Instant,
    /// Some are missing and are dialled after the pause.
    is_pausing: bool,
    seed: u64,
}

impl Demand {
    /// Nobody has come yet. `seed` spreads delays and ages.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            arrivals: Arrivals::new(),
            dial_time: None,
            backoff: Backoff::new(SPREAD, CAP, seed),
            retry_at: None,
            failed_at: Instant::from_micros(0),
            is_in_doubt: false,
            arrived_at: Instant::from_micros(0),
            is_pausing: false,
            seed: !seed,
        }
    }

    /// A session wants a channel.
    pub fn arrived(&mut self, now: Instant) {
        self.arrivals.add(now);
        self.arrived_at = now;
    }

    /// A channel that was dialled since `began` is warm. When it is to be retired: at an age of its own,
    /// so that those that were dialled together do not end together.
    pub fn warmed(&mut self, now: Instant, began: Instant) -> Instant {
        let took = now.since(began);
        let smoothed = |before: Duration| (before * 7 + took) / 8;
        self.dial_time = Some(self.dial_time.map_or(took, smoothed));
        self.is_in_doubt = false;
        now + RETIRED_MIN + jitter(&mut self.seed, WARM_RETIRED - RETIRED_MIN)
    }

    /// A warm channel was of use, or would have been until its age.
    pub const fn proven(&mut self) {
        self.backoff.reset();
    }

    /// A channel that had been warm since then ended before anybody took it. See [`Self::failed`].
    pub fn lost(&mut self, now: Instant, warm_since: Instant) -> Option<Duration> {
        if now.since(warm_since) < PROVEN {
            return self.failed(now, warm_since);
        }
        self.proven();
        None
    }

    /// A channel that was dialled since `began` did not come about. For how long nothing is dialled now;
    /// `None` if that was decided already by one that failed with it.
    pub fn failed(&mut self, now: Instant, began: Instant) -> Option<Duration> {
        if began < self.failed_at {
            return None;
        }
        let delay = self.backoff.next_delay();
        self.failed_at = now;
        self.retry_at = Some(now + delay);
        self.is_in_doubt = true;
        Some(delay)
    }

    /// The way to the edge is another: what failed before may not fail on it.
    pub const fn start_over(&mut self) {
        self.backoff.reset();
        self.retry_at = None;
        self.is_in_doubt = false;
    }

    /// How many channels are to be kept warm.
    #[must_use]
    pub fn size(&mut self, now: Instant) -> usize {
        let size = self.come_while_dialling(now).saturating_mul(2);
        size.clamp(WARM_MIN, WARM_MOST)
    }

    /// How many must not be missing for long.
    fn least(&mut self, now: Instant) -> usize {
        let size = self.size(now);
        let come = self.come_while_dialling(now);
        (size / 2).max(come.saturating_add(come / 2).min(size))
    }

    fn come_while_dialling(&mut self, now: Instant) -> usize {
        let dial_ms = self.dial_time.map_or(0, |time| time.as_millis());
        let come = (u128::from(self.arrivals.recent(now)) * dial_ms)
            .div_ceil(Arrivals::WINDOW.as_millis());
        usize::try_from(come).unwrap_or(WARM_MOST)
    }

    /// How many channels are to be dialled now.
    #[must_use]
    pub fn dials(&mut self, now: Instant, stock: Stock) -> usize {
        if self.retry_at.is_some_and(|at| now < at) {
            return 0;
        }
        self.retry_at = None;
        let there = stock.warm + stock.dialling;
        let missing_of =
            |wanted: usize| (wanted.min(stock.room) + stock.queued).saturating_sub(there);
        let missing = missing_of(self.size(now));
        let is_urgent = missing_of(self.least(now)) > 0;
        self.is_pausing = missing > 0 && !is_urgent && now < self.arrived_at + PAUSE;
        if self.is_pausing {
            return 0;
        }
        let at_a_time = if self.is_in_doubt { 1 } else { DIALLING_MAX };
        missing.min(at_a_time.saturating_sub(stock.dialling))
    }

    /// When [`Self::dials`] may say more than it did, though nothing happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let pause = self.is_pausing.then(|| self.arrived_at + PAUSE);
        self.retry_at.or(pause)
    }
}

/// Sessions that came within the last seconds.
#[derive(Debug)]
struct Arrivals {
    /// For each of the last seconds, by its number modulo their count.
    counts: [u32; Self::SECONDS],
    second: u64,
}

impl Arrivals {
    const SECONDS: usize = 8;
    const WINDOW: Duration = Duration::from_secs(Self::SECONDS as u64);

    const fn new() -> Self {
        Self {
            counts: [0; Self::SECONDS],
            second: 0,
        }
    }

    fn add(&mut self, now: Instant) {
        let count = self.slot(now);
        *count = count.saturating_add(1);
    }

    fn recent(&mut self, now: Instant) -> u64 {
        self.slot(now);
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// The count of this second; those of seconds that are too long ago are cleared.
    fn slot(&mut self, now: Instant) -> &mut u32 {
        let second = now.as_micros() / 1_000_000;
        let place = |second: u64| usize::try_from(second % Self::SECONDS as u64).unwrap_or(0);
        let passed = second.saturating_sub(self.second);
        for gone in 0..passed.min(Self::SECONDS as u64) {
            self.counts[place(second - gone)] = 0;
        }
        self.second = self.second.max(second);
        &mut self.counts[place(self.second)]
    }
}

#[cfg(test)]
mod tests;
