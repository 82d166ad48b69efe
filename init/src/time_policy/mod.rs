//! What the clock is to be, given what NTP, the service edge and the machine itself say about it.
//!
//! Pure: each call brings both clocks, read together, and one [`Input`]; then drain
//! [`Policy::poll_output`] until `None`, and call again with [`Input::Tick`] at
//! [`Policy::poll_timeout`], which never ends. [`verdict`] is the table of the decisions, which
//! `docs/TIME.md` shows; [`words`] are the sentences; here is the state between them.
//!
//! A clock is described by its *epoch*: the wall-clock time at which `CLOCK_BOOTTIME` was zero. Both
//! clocks run at the same rate, slewed or not, so the epoch changes when somebody sets the clock,
//! and never else. What a server says becomes an epoch too, and can be compared later.
//!
//! Guaranteed: nothing sets the clock below the floor; NTP alone never steps a clock that is right;
//! an edge that answers ends every doubt.

mod input;
pub mod verdict;
pub mod words;

use std::collections::VecDeque;
use std::time::Duration;

use connector_proto::local::{ClockSource, EdgeSample, Sample};
use connector_proto::time::Instant;

use crate::clock::RealMicros;
use verdict::{Claim, Trust};
use words::Alarm;

/// A clock that nobody has confirmed yet and that is off by less is slewed.
pub const RIGHT_WITHIN: Duration = Duration::from_millis(128);
/// A clock that is right and off by no more is slewed.
pub const SLEWED_WITHIN: Duration = Duration::from_secs(1);
/// NTP and the edge agree when they differ by no more than this and their bounds: what edges without
/// NTP of their own drift apart within weeks.
pub const AGREED_WITHIN: Duration = Duration::from_secs(60);
/// What is taken off a time that the edge told before it becomes the floor: NTP may be as far behind
/// the edge as it may be while they agree, and that once more for the bounds.
pub const FLOOR_MARGIN: Duration = Duration::from_secs(120);
/// How long NTP servers have for their first answer: four rounds of `timed`.
pub const NTP_ANSWERS_IN: Duration = Duration::from_secs(10);
/// How long a network that names no NTP server has to name one: a DHCP answer may come behind a
/// router's.
pub const NTP_NAMED_IN: Duration = Duration::from_secs(1);
/// NTP that was silent for so long is not followed any more: two of its longest rests.
pub const NTP_FOLLOWED_FOR: Duration = Duration::from_secs(2100);
/// How long a clock may go without anybody's word before the edge is asked.
pub const WORD_EVERY: Duration = Duration::from_secs(3600);
/// How long the edge has to answer before it is asked again, at first and at most.
pub const ASK_AGAIN: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(960));
/// The edge is asked no more often than this, whatever happens.
pub const ASK_APART: Duration = Duration::from_secs(2);
/// How often the clock is looked at even if nothing says that it was set.
pub const LOOK_EVERY: Duration = Duration::from_secs(60);
/// A clock whose epoch differs by less was read twice, not set.
pub const JUMP_MIN: Duration = Duration::from_millis(128);
/// No time from this on, 2160, is believed: whoever tells it has no clock that could be mended by it.
pub const CEILING_US: RealMicros = 5_995_814_400_000_000;

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// `CLOCK_BOOTTIME`.
    pub now: Instant,
    /// `CLOCK_REALTIME` in microseconds since 1970.
    pub real_us: RealMicros,
}

/// What the policy hears.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The machine has an address, and NTP servers to ask, or none. May be repeated.
    Network {
        /// Whether there are NTP servers.
        has_ntp: bool,
    },
    /// Most of the NTP servers that answered agree on this.
    Ntp(&'a Sample),
    /// NTP servers answered and no majority agrees.
    Split(&'a [Sample]),
    /// The edge's time.
    Edge(&'a EdgeSample),
    /// The hypervisor's time, in microseconds since 1970. It raises a clock that nobody has
    /// confirmed, and does no more.
    Hint(RealMicros),
    /// The time is past this, in microseconds since 1970: the edge said so once, perhaps before the
    /// machine was started.
    Floor(RealMicros),
    /// The machine was suspended.
    Resumed,
    /// The clock was set by somebody, or it is time to look.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Set `CLOCK_REALTIME` to `CLOCK_BOOTTIME` plus this, in microseconds.
    Step {
        /// The epoch.
        epoch_us: i64,
    },
    /// Slew the clock; the kernel may take it as right. Follows each step of a clock that is right,
    /// by nothing then, so that the kernel does not learn a frequency from the step.
    Slew {
        /// What to add to it, in microseconds.
        by_us: i64,
        /// How wrong it can be, in microseconds.
        bound_us: u32,
        /// How long ago it was measured before.
        interval: Duration,
    },
    /// The clock is right, by this source's word; or it was, and was stepped by it.
    ClockOk {
        /// Whose word.
        source: ClockSource,
        /// By how much the clock was stepped, in microseconds.
        moved_us: i64,
        /// How wrong it can be, in microseconds.
        bound_us: u32,
    },
    /// Have NTP asked at once.
    Resync,
    /// Have the edge asked at once.
    AskEdge,
    /// Tell the operator.
    Alarm(String),
    /// What the operator was told is over.
    Clear,
}

/// The state between what is heard.
#[derive(Debug)]
pub struct Policy {
    floor: RealMicros,
    trust: Trust,
    /// The clock's epoch, as it was set last or found.
    epoch_us: i64,
    /// What was measured before this instant was measured on another clock.
    set_at: Instant,
    /// The hypervisor's time, the floor or a jump moved the clock before anybody confirmed it, so
    /// that how far it is off says nothing about the machine's battery clock.
    was_moved: bool,
    ntp: NtpState,
    edge_heard_at: Option<Instant>,
    ask: Ask,
    /// When the edge is asked because no NTP server answers, and whether there is one.
    ntp_due: Option<(Instant, bool)>,
    look_at: Instant,
    alarm: Option<Alarm>,
    outputs: VecDeque<Output>,
}

/// What NTP said last.
#[derive(Debug, Default)]
struct NtpState {
    /// When the clock was slewed or stepped by it.
    followed_at: Option<Instant>,
    /// A step it wants, and since when it is held.
    held: Option<(Word, Instant)>,
    /// The epoch of a claim that the edge contradicted.
    contradicted: Option<i64>,
}

/// Somebody's word about the clock.
#[derive(Clone, Debug)]
struct Word {
    source: ClockSource,
    epoch_us: i64,
    bound_us: u32,
}

/// The questions to the edge.
#[derive(Debug, Default)]
struct Ask {
    last: Option<Instant>,
    /// When it is asked again unless it answers.
    again_at: Option<Instant>,
    wait: Duration,
}

impl Reading {
    /// The wall-clock time at which `CLOCK_BOOTTIME` was zero.
    #[must_use]
    pub fn epoch_us(&self) -> i64 {
        self.real_us.saturating_sub(micros(self.now))
    }
}

impl Policy {
    /// A clock that nobody has confirmed. `floor` is the earliest time possible.
    #[must_use]
    pub fn new(at: Reading, floor: RealMicros) -> Self {
        let mut policy = Self {
            floor,
            trust: Trust::Provisional,
            epoch_us: at.epoch_us(),
            set_at: Instant::default(),
            was_moved: false,
            ntp: NtpState::default(),
            edge_heard_at: None,
            ask: Ask::default(),
            ntp_due: None,
            look_at: at.now + LOOK_EVERY,
            alarm: None,
            outputs: VecDeque::new(),
        };
        policy.raise(at.now);
        policy
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let ntp_due = self.ntp_due.map(|(at, _)| at);
        [ntp_due, self.ask.again_at, self.word_due()]
            .into_iter()
            .flatten()
            .fold(self.look_at, Instant::min)
    }

    /// Whether anybody has confirmed the clock.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.trust == Trust::Right
    }

    /// The earliest time possible, in microseconds since 1970.
    #[must_use]
    pub const fn floor(&self) -> RealMicros {
        self.floor
    }

    /// When somebody's word on a right clock is due.
    fn word_due(&self) -> Option<Instant> {
        if !self.is_right() || self.ask.again_at.is_some() {
            return None;
        }
        let last = self.ntp.followed_at.max(self.edge_heard_at);
        last.map(|at| at + WORD_EVERY)
    }

    /// Sets the clock to `epoch_us` at `now`.
    fn step(&mut self, now: Instant, epoch_us: i64) {
        self.epoch_us = epoch_us;
        self.set_at = now;
        self.outputs.push_back(Output::Step { epoch_us });
    }

    /// Steps the clock by a word, which makes it right.
    fn step_by(&mut self, now: Instant, word: &Word) {
        let moved_us = word.epoch_us.saturating_sub(self.epoch_us);
        self.step(now, word.epoch_us);
        self.confirm(word, moved_us);
        self.outputs.push_back(Output::Slew {
            by_us: 0,
            bound_us: word.bound_us,
            interval: Duration::ZERO,
        });
    }

    /// Slews the clock by a word, which makes it right.
    fn slew_by(&mut self, word: &Word, interval: Duration) {
        if !self.is_right() {
            self.confirm(word, 0);
        }
        self.outputs.push_back(Output::Slew {
            by_us: word.epoch_us.saturating_sub(self.epoch_us),
            bound_us: word.bound_us,
            interval,
        });
    }

    fn confirm(&mut self, word: &Word, moved_us: i64) {
        let was_right = self.is_right();
        self.trust = Trust::Right;
        self.ntp_due = None;
        self.ntp.held = None;
        self.clear();
        self.outputs.push_back(Output::ClockOk {
            source: word.source.clone(),
            moved_us,
            bound_us: word.bound_us,
        });
        if !was_right && !self.was_moved && words::looks_like_local_time(moved_us) {
            self.alarm(Alarm::LocalTime { moved_us });
        }
    }

    /// What a word is to this clock.
    fn claim(&self, now: Instant, word: &Word) -> Claim {
        let real_us = word.epoch_us.saturating_add(micros(now));
        let off_us = word.epoch_us.saturating_sub(self.epoch_us).unsigned_abs();
        let bound = Duration::from_micros(word.bound_us.into());
        let off = Duration::from_micros(off_us);
        let is_near = match self.trust {
            Trust::Provisional => off < RIGHT_WITHIN,
            Trust::Right => off <= SLEWED_WITHIN + bound,
        };
        if real_us < self.floor || real_us >= CEILING_US {
            Claim::Impossible
        } else if is_near {
            Claim::Near
        } else if off <= AGREED_WITHIN + bound {
            Claim::Off
        } else {
            Claim::Far
        }
    }

    /// Sets a clock that is below the floor to it.
    fn raise(&mut self, now: Instant) {
        let lowest_us = self.floor.saturating_sub(micros(now));
        if self.epoch_us < lowest_us {
            self.was_moved = true;
            self.step(now, lowest_us);
        }
    }

    fn alarm(&mut self, alarm: Alarm) {
        if self.alarm.as_ref().is_some_and(|told| told.is_like(&alarm)) {
            return;
        }
        self.outputs.push_back(Output::Alarm(alarm.to_string()));
        self.alarm = Some(alarm);
    }

    fn clear(&mut self) {
        if self.alarm.take().is_some() {
            self.outputs.push_back(Output::Clear);
        }
    }

    /// Has the edge asked, and again until it answers.
    fn ask_edge(&mut self, now: Instant) {
        if self.ask.last.is_some_and(|last| now < last + ASK_APART) {
            let at = self.ask.again_at.unwrap_or(now + ASK_APART);
            self.ask.again_at = Some(at.min(now + ASK_APART));
            return;
        }
        self.ask.wait = (self.ask.wait * 2).clamp(ASK_AGAIN.0, ASK_AGAIN.1);
        self.ask.last = Some(now);
        self.ask.again_at = Some(now + self.ask.wait);
        self.outputs.push_back(Output::AskEdge);
    }

    /// Nobody waits for the edge any more.
    fn stop_asking(&mut self) {
        self.ask.again_at = None;
        self.ask.wait = Duration::ZERO;
    }
}

/// Whether two epochs agree within a minute and both bounds.
fn is_agreed(a: &Word, b: &Word) -> bool {
    let apart = a.epoch_us.saturating_sub(b.epoch_us).unsigned_abs();
    let bounds = u64::from(a.bound_us) + u64::from(b.bound_us);
    Duration::from_micros(apart) <= AGREED_WITHIN + Duration::from_micros(bounds)
}

fn micros(at: Instant) -> i64 {
    i64::try_from(at.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
