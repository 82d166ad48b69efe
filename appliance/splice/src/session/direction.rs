//! One direction of a session, on its way along the session's data channels.

use std::time::Duration;

use connector_proto::time::Instant;

use crate::engine::{Broken, OneWay, Progress};

/// See the module; `E` is the engine's interface.
#[derive(Debug)]
pub(super) struct Direction<E: ?Sized> {
    pub(super) at: At<E>,
    /// The number of the link that it is on, or waits for.
    pub(super) link: u32,
    /// It waits for its sink or for a successor, as of its last turn.
    pub(super) waits: Option<Waits>,
    /// The sink has had room since the last turn.
    pub(super) has_moved: bool,
    /// Plain bytes delivered.
    pub(super) carried: u64,
    /// When it last moved something, or began to wait.
    since: Instant,
}

/// Where a direction stands.
#[derive(Debug)]
pub(super) enum At<E: ?Sized> {
    /// On its link.
    Link(Box<E>),
    /// It goes on with a link that is not there yet.
    Between,
    /// It is over.
    End,
}

/// What a direction waits for with bytes in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// Its sink, which is full.
    Sink,
    /// A fresh channel, because the keys of this one are spent.
    Successor,
}

/// How long a direction waits for a channel's successor.
const SUCCESSOR_MAX: Duration = Duration::from_secs(20);

impl<E: ?Sized> Direction<E> {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            at: At::Between,
            link: 0,
            waits: None,
            has_moved: false,
            carried: 0,
            since: now,
        }
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self.at, At::End)
    }

    /// The first link that it needs; none at its end.
    pub(super) const fn needs(&self) -> u32 {
        match self.at {
            At::Link(_) | At::Between => self.link,
            At::End => u32::MAX,
        }
    }

    /// The link that it is on, if it is on one.
    pub(super) const fn uses(&self) -> Option<u32> {
        match self.at {
            At::Link(_) => Some(self.link),
            At::Between | At::End => None,
        }
    }

    /// Notes what it waits for. `is_moving`: it delivered something.
    pub(super) fn wait_for(&mut self, waits: Option<Waits>, is_moving: bool, now: Instant) {
        let has_moved = std::mem::take(&mut self.has_moved);
        if is_moving || has_moved || self.waits != waits {
            self.since = now;
        }
        self.waits = waits;
    }

    /// When the session is to be given up unless this direction moves.
    pub(super) fn deadline(&self, stall_max: Duration) -> Option<Instant> {
        self.waits.map(|waits| match waits {
            Waits::Sink => self.since + stall_max,
            Waits::Successor => self.since + SUCCESSOR_MAX,
        })
    }

    /// What it is given up for.
    pub(super) fn overdue(&self, now: Instant, stall_max: Duration) -> Option<Broken> {
        let is_due = self
            .deadline(stall_max)
            .is_some_and(|deadline| deadline <= now);
        match self.waits.filter(|_| is_due)? {
            Waits::Sink => Some(Broken::Stalled(stall_max.as_secs())),
            Waits::Successor => Some(Broken::KeysSpent),
        }
    }
}

impl<E: OneWay + ?Sized> Direction<E> {
    /// Records under the keys of the link that it is on.
    pub(super) fn records(&self) -> u64 {
        match &self.at {
            At::Link(engine) => engine.records(),
            At::Between | At::End => 0,
        }
    }

    /// Gives its engine a turn, by `turn`, and takes it off its link where that is over.
    pub(super) fn turn(
        &mut self,
        turn: impl FnOnce(&mut E, &mut u64) -> Result<Progress, Broken>,
    ) -> Result<Turned, Broken> {
        let At::Link(engine) = &mut self.at else {
            return Ok(Turned::default());
        };
        let before = self.carried;
        let progress = turn(engine, &mut self.carried)?;
        match progress {
            Progress::Waiting | Progress::Spent => {}
            Progress::Ended => self.at = At::End,
            Progress::Continues => {
                self.at = At::Between;
                self.link += 1;
            }
        }
        let has_left = progress == Progress::Continues;
        Ok(Turned {
            has_left,
            is_moving: has_left || self.carried != before,
            has_more: has_left || progress == Progress::Spent,
        })
    }

    /// Notes after a turn what it waits for.
    pub(super) fn note(&mut self, is_moving: bool, now: Instant) {
        let waits = match &self.at {
            At::Link(engine) => engine.is_holding().then_some(Waits::Sink),
            At::Between => Some(Waits::Successor),
            At::End => None,
        };
        self.wait_for(waits, is_moving, now);
    }
}

/// What came of a turn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turned {
    /// It goes on with the next link.
    pub(super) has_left: bool,
    /// It delivered something, or has left its link.
    pub(super) is_moving: bool,
    /// There may be more to do at once.
    pub(super) has_more: bool,
}
