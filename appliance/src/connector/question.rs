//! The question for the edge's time: when it is asked, and what its answer is worth.
//!
//! It has a connection of its own beside the control channel, so that the time can be asked while a
//! tunnel stands, and while none can.

use std::sync::Arc;
use std::time::Duration;

use connector_proto::backoff::Backoff;
use connector_proto::edge_time::Answer;
use connector_proto::keepalive::jitter;
use connector_proto::local::{EdgeSample, EdgeText};
use connector_proto::time::Instant;

use crate::edge_time::{self, Clocks, Dates};
use crate::interest::Watch;
use crate::tunnel::{Event, Plan, Tunnel, TunnelError};

/// After an answer that did not make the clock right, the edge is asked for the time again.
const AGAIN_WHILE_WRONG: Duration = Duration::from_secs(30);
/// While all is well the edge is asked about once a day.
const AGAIN: Duration = Duration::from_secs(24 * 3_600);
/// By so much earlier, so that a fleet does not ask at the same minute.
const AGAIN_SPREAD: Duration = Duration::from_secs(2 * 3_600);

/// The question, asked or to be asked.
#[derive(Debug)]
pub(super) struct Question {
    asking: Option<Asking>,
    /// When to ask next.
    due: Option<Instant>,
    /// Something happened that the question under way does not know of.
    again: bool,
    answered: Option<Instant>,
    backoff: Backoff,
    last_error: String,
    seed: u64,
}

#[derive(Debug)]
struct Asking {
    tunnel: Tunnel,
    dates: Arc<Dates>,
}

/// What came of a turn.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing yet.
    Pending,
    /// What the edge said, and whether its certificate's dates held by this machine's clock.
    Answered { answer: Answer, is_strict: bool },
    /// No answer; the next try is to be set with [`Question::retry`].
    Failed(TunnelError),
}

impl Question {
    /// Nothing is asked until somebody wants it.
    pub(super) const fn new(spread: Duration, cap: Duration, seed: u64) -> Self {
        Self {
            asking: None,
            due: None,
            again: false,
            answered: None,
            backoff: Backoff::new(spread, cap, seed),
            last_error: String::new(),
            seed,
        }
    }

    /// The edge told other delays.
    pub(super) const fn set_limits(&mut self, spread: Duration, cap: Duration) {
        self.backoff.set_limits(spread, cap);
    }

    /// Asks at once; once more if it is being asked already, because what happened may have come
    /// after the answer was made.
    pub(super) fn ask_now(&mut self, now: Instant) {
        self.again = self.asking.is_some();
        self.due = Some(now);
    }

    /// Asks soon: each connector of a fleet that returns, at another moment.
    pub(super) fn ask_soon(&mut self, now: Instant) {
        self.backoff.reset();
        self.due = Some(now + self.backoff.next_delay());
    }

    /// Asks because something does not fit, unless the edge has just answered.
    pub(super) fn ask_in_doubt(&mut self, now: Instant) {
        let is_recent = |answered| now.since(answered) < AGAIN_WHILE_WRONG;
        if self.asking.is_none() && !self.answered.is_some_and(is_recent) {
            self.due = Some(self.due.map_or(now, |due| due.min(now)));
        }
    }

    /// Sees to it that it will be asked.
    pub(super) fn ensure(&mut self, now: Instant) {
        if self.asking.is_none() {
            self.due.get_or_insert(now);
        }
    }

    /// Nobody needs the answer any more.
    pub(super) fn drop(&mut self) {
        self.asking = None;
        self.due = None;
        self.again = false;
        self.last_error.clear();
    }

    /// Ends what is under way without another byte, and asks anew.
    pub(super) fn abandon(&mut self, now: Instant) {
        if let Some(asking) = self.asking.take() {
            asking.tunnel.abandon();
            self.due = Some(now);
        }
    }

    /// The network is another: what was sent may be lost.
    pub(super) fn restart(&mut self, now: Instant) {
        let has_failed = !self.last_error.is_empty();
        if self.asking.take().is_some() || has_failed {
            self.due = Some(now);
            self.backoff.reset();
        }
    }

    /// Whether it is to be asked now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.asking.is_none() && self.due.is_some_and(|due| due <= now)
    }

    pub(super) fn start(&mut self, now: Instant, plan: Plan, dates: Arc<Dates>) -> Outcome {
        self.due = None;
        match Tunnel::start(now, plan) {
            Ok(tunnel) => {
                self.asking = Some(Asking { tunnel, dates });
                Outcome::Pending
            }
            Err(error) => Outcome::Failed(error),
        }
    }

    /// Goes on as far as it can without waiting.
    pub(super) fn turn(&mut self, now: Instant) -> Outcome {
        let Some(Asking { tunnel, dates }) = self.asking.take() else {
            return Outcome::Pending;
        };
        let mut events = Vec::new();
        let result = tunnel.turn(now, &mut events);
        let answer = events.into_iter().find_map(|event| match event {
            Event::Time(answer) => Some(answer),
            Event::Issuer(_) | Event::Enrol(_) | Event::Renew(_) | Event::Control(_) => None,
        });
        match (answer, result) {
            (Some(answer), _) => Outcome::Answered {
                answer,
                is_strict: dates.held(),
            },
            (None, Ok(tunnel)) => {
                self.asking = Some(Asking { tunnel, dates });
                Outcome::Pending
            }
            (None, Err(error)) => Outcome::Failed(error),
        }
    }

    /// Takes note of an answer and sets the next question.
    pub(super) fn answered(
        &mut self,
        now: Instant,
        edge: EdgeText,
        answer: &Answer,
        is_strict: bool,
        clocks: Clocks,
    ) -> Option<EdgeSample> {
        self.backoff.reset();
        self.last_error.clear();
        self.answered = Some(now);
        self.due = std::mem::take(&mut self.again).then_some(now);
        edge_time::sample(edge, answer, is_strict, clocks)
    }

    /// Sets the next question, unless there is one sooner.
    pub(super) fn schedule(&mut self, now: Instant, is_clock_right: bool) {
        let after = if is_clock_right {
            AGAIN - jitter(&mut self.seed, AGAIN_SPREAD)
        } else {
            AGAIN_WHILE_WRONG
        };
        self.due = Some(self.due.unwrap_or(now + after));
    }

    /// Takes note of a failure; asks again after `delay`, or after one of its own.
    pub(super) fn retry(&mut self, now: Instant, why: &str, delay: Option<Duration>) {
        why.clone_into(&mut self.last_error);
        let own = self.backoff.next_delay();
        let delay = delay.unwrap_or(own);
        self.again = false;
        self.due = Some(now + delay);
        log::warn!(
            "the edge's time is not known: {why}; asked again in {:.1} s",
            delay.as_secs_f32()
        );
    }

    /// The attempt under way or next, why the last one failed, and when the next one is.
    pub(super) fn progress(&self) -> (u32, &str, Instant) {
        let attempt = self.backoff.attempts().saturating_add(1);
        (attempt, &self.last_error, self.due.unwrap_or_default())
    }

    /// Adds what it waits for. Where it cannot be asked, `may_ask` is false.
    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a>, may_ask: bool) {
        match &self.asking {
            Some(asking) => asking.tunnel.watch(watch),
            None if may_ask => watch.until(self.due),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use connector_proto::time::UnixMicros;

    use super::*;

    const NOW: Instant = Instant::from_micros(5_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3_600);

    #[test]
    fn after_an_answer_the_next_question_is_a_day_later_and_soon_while_the_clock_is_wrong() {
        let mut due = Vec::new();
        for seed in 0..50 {
            let mut question = Question::new(Duration::ZERO, Duration::ZERO, seed);
            answer(&mut question);
            question.schedule(NOW, false);
            assert_eq!(question.due, Some(NOW + Duration::from_secs(30)));
            answer(&mut question);
            question.schedule(NOW, true);
            due.push(question.due.unwrap().since(NOW));
        }
        assert!(due.iter().all(|due| (DAY * 11 / 12..=DAY).contains(due)));
        due.sort_unstable();
        due.dedup();
        assert!(due.len() > 40, "a fleet that asks at the same time");
    }

    #[test]
    fn a_doubt_is_asked_about_at_once_but_not_right_behind_an_answer() {
        let mut question = Question::new(Duration::ZERO, Duration::ZERO, 1);
        question.ask_in_doubt(NOW);
        assert!(question.is_due(NOW));
        answer(&mut question);
        question.schedule(NOW, true);
        question.ask_in_doubt(NOW + Duration::from_secs(29));
        assert!(!question.is_due(NOW + Duration::from_secs(29)));
        question.ask_in_doubt(NOW + Duration::from_secs(30));
        assert!(question.is_due(NOW + Duration::from_secs(30)));
    }

    #[test]
    fn what_init_wants_to_know_is_asked_at_once_whatever_was_planned() {
        let mut question = Question::new(Duration::ZERO, Duration::ZERO, 1);
        answer(&mut question);
        question.schedule(NOW, true);
        question.ask_now(NOW);
        assert!(question.is_due(NOW));
        question.retry(NOW, "nobody is there", Some(DAY));
        assert!(!question.is_due(NOW) && question.is_due(NOW + DAY));
        // The network changed: that may have been the reason.
        question.restart(NOW);
        assert!(question.is_due(NOW));
    }

    fn answer(question: &mut Question) {
        let answer = Answer {
            time: UnixMicros(1_800_000_000_000_000),
            asked: NOW,
            round_trip: Duration::from_millis(80),
        };
        let clocks = (NOW, 1_800_000_000_000_000);
        question.answered(NOW, EdgeText::new(), &answer, true, clocks);
        assert_eq!(question.due, None);
    }
}
