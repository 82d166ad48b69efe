//! The clock: what PID 1 says it is worth, and what the edge says it should show.

use connector_proto::edge_time::Answer;
use connector_proto::limits::PROBE_SETTLE;
use connector_proto::local::EdgeSample;
use connector_proto::time::{Instant, UnixSeconds};

use super::Connector;
use super::question::Outcome;
use crate::clock;

/// An edge whose time is further from this clock's is not what confirms the clock.
const CONFIRMED_US_MAX: u64 = 60_000_000;

impl Connector {
    /// Takes what the clock is worth. Once it is right, the question for the time is moot.
    pub fn handle_clock(&mut self, now: Instant, is_right: bool) {
        let became_right = is_right && (!self.is_clock_right || self.is_clock_doubted);
        self.is_clock_right = is_right;
        if became_right && self.pinned.is_some() && !self.life.is_connected() {
            self.is_clock_doubted = false;
            self.question.drop();
            self.try_at_once(now);
        }
        self.turn(now, &[]);
    }

    /// Asks the edge for the time once more: the clock was moved, or somebody says that it is wrong.
    /// The machine may have slept, so the tunnel is looked at as well.
    pub fn handle_ask_time(&mut self, now: Instant) {
        self.question.ask_now(now);
        if let Some(channel) = self.control() {
            channel.probe(now + PROBE_SETTLE);
        }
        self.turn(now, &[]);
    }

    /// What the edge said the time is, once.
    pub const fn poll_time(&mut self) -> Option<EdgeSample> {
        self.measured.take()
    }

    pub(super) fn turn_question(&mut self, now: Instant) {
        if !self.may_ask_time() {
            return;
        }
        if !self.is_clock_right {
            self.question.ensure(now);
        }
        if self.question.is_due(now) {
            let outcome = match self.question_plan() {
                Ok((plan, dates)) => self.question.start(now, plan, dates),
                Err(error) => Outcome::Failed(error),
            };
            self.take_outcome(now, outcome);
        }
        let outcome = self.question.turn(now);
        self.take_outcome(now, outcome);
    }

    fn take_outcome(&mut self, now: Instant, outcome: Outcome) {
        match outcome {
            Outcome::Pending => {}
            Outcome::Answered { answer, is_strict } => self.handle_time(now, &answer, is_strict),
            Outcome::Failed(error) => {
                let delay = self.note_proxy(&error);
                self.question.retry(now, &error.to_string(), delay);
            }
        }
    }

    /// Passes the edge's time on. PID 1 says whether it makes the clock right.
    fn handle_time(&mut self, now: Instant, answer: &Answer, is_strict: bool) {
        self.proxy.refused = None;
        let clocks = (clock::now(), clock::unix_us());
        let edge = self.edge_text();
        let sample = self.question.answered(now, edge, answer, is_strict, clocks);
        self.question.schedule(now, self.is_clock_right);
        let Some(sample) = sample else {
            return log::warn!("the edge's time cannot be: {:?}", answer.time);
        };
        log::info!(
            "by the edge's time the clock is off by {} us, within {} us{}",
            sample.offset_us,
            sample.bound_us,
            if is_strict {
                ""
            } else {
                "; its certificate's dates do not hold"
            }
        );
        let is_close = sample.offset_us.unsigned_abs() <= CONFIRMED_US_MAX;
        if self.is_clock_right && is_strict && is_close {
            let time = UnixSeconds(answer.time.0 / 1_000_000);
            self.memory.confirmed(now, &mut self.life, time);
        }
        self.measured = Some(sample);
    }
}
