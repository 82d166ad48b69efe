//! What each input does to the state.

use std::time::Duration;

use connector_proto::local::{ClockSource, EdgeSample, Sample};
use connector_proto::time::Instant;

use super::verdict::{self, Ntp, Trust, Verdict};
use super::words::Alarm;
use super::{
    ASK_AGAIN, CEILING_US, FLOOR_MARGIN, Input, JUMP_MIN, LOOK_EVERY, NTP_ANSWERS_IN,
    NTP_FOLLOWED_FOR, NTP_NAMED_IN, Output, Policy, Reading, Word, is_agreed, micros,
};
use crate::clock::RealMicros;

impl Policy {
    /// Takes one input, with the clocks as they are when it comes.
    pub fn handle(&mut self, at: Reading, input: Input<'_>) {
        self.look(at);
        match input {
            Input::Network { has_ntp } => self.expect_ntp(at.now, has_ntp),
            Input::Ntp(sample) => self.hear_ntp(at.now, sample),
            Input::Split(samples) => self.hear_split(at.now, samples),
            Input::Edge(sample) => self.hear_edge(at.now, sample),
            Input::Hint(real_us) => self.hear_hint(at, real_us),
            Input::Floor(told_us) => self.raise_floor(at.now, told_us),
            Input::Resumed => {
                self.outputs.push_back(Output::Resync);
                if self.is_right() {
                    self.ask_edge(at.now);
                }
            }
            Input::Tick => self.handle_timeouts(at.now),
        }
    }

    /// Sees whether somebody set the clock. One that is right is put back.
    fn look(&mut self, at: Reading) {
        self.look_at = at.now + LOOK_EVERY;
        let found_us = at.epoch_us();
        let jump_us = found_us.saturating_sub(self.epoch_us);
        if Duration::from_micros(jump_us.unsigned_abs()) < JUMP_MIN {
            self.epoch_us = found_us;
            return self.raise(at.now);
        }
        if self.is_right() {
            self.step(at.now, self.epoch_us);
            self.outputs.push_back(Output::Slew {
                by_us: 0,
                bound_us: u32::try_from(JUMP_MIN.as_micros()).unwrap_or(u32::MAX),
                interval: Duration::ZERO,
            });
            self.alarm(Alarm::PutBack { jump_us });
            self.ask_edge(at.now);
        } else {
            self.epoch_us = found_us;
            self.set_at = at.now;
            self.was_moved = true;
            self.raise(at.now);
        }
        self.outputs.push_back(Output::Resync);
    }

    fn expect_ntp(&mut self, now: Instant, has_ntp: bool) {
        if self.is_right() || self.ask.again_at.is_some() {
            return;
        }
        let due = match (self.ntp_due, has_ntp) {
            // The first to come was without servers; these have their time.
            (None | Some((_, false)), true) => (now + NTP_ANSWERS_IN, true),
            (None, false) => (now + NTP_NAMED_IN, false),
            (Some((at, had_ntp)), _) => (at, had_ntp),
        };
        self.ntp_due = Some(due);
    }

    fn handle_timeouts(&mut self, now: Instant) {
        if let Some((at, has_ntp)) = self.ntp_due
            && at <= now
        {
            self.ntp_due = None;
            if !has_ntp {
                self.alarm(Alarm::NoServer);
            }
            self.ask_edge(now);
        }
        let is_asked_again = self.ask.again_at.is_some_and(|at| at <= now);
        if is_asked_again || self.word_due().is_some_and(|at| at <= now) {
            self.ask_edge(now);
        }
    }

    fn hear_ntp(&mut self, now: Instant, sample: &Sample) {
        let at = Instant::from_micros(sample.at_boot_us).min(now);
        if at < self.set_at {
            return self.outputs.push_back(Output::Resync);
        }
        let word = Word {
            source: ClockSource::Ntp(sample.server),
            epoch_us: self.epoch_us.saturating_add(sample.offset_us),
            bound_us: sample.bound_us,
        };
        let is_contradicted = self.is_contradicted(&word);
        match verdict::of_ntp(self.trust, self.claim(now, &word), is_contradicted) {
            Verdict::Refuse => self.refuse(now, &word),
            Verdict::Slew => {
                let interval = self
                    .ntp
                    .followed_at
                    .map_or(Duration::ZERO, |at| now.since(at));
                self.slew_by(&word, interval);
                self.follow_ntp(now);
                self.clear();
            }
            Verdict::Step => {
                self.step_by(now, &word);
                self.follow_ntp(now);
            }
            Verdict::Hold => self.hold(now, word),
            Verdict::Ignore
            | Verdict::Keep
            | Verdict::KeepAndResync
            | Verdict::StepByHeld
            | Verdict::SlewAgainstNtp
            | Verdict::StepAgainstNtp => {}
        }
    }

    fn follow_ntp(&mut self, now: Instant) {
        self.ntp.followed_at = Some(now);
        self.ntp.held = None;
        self.ntp.contradicted = None;
        self.stop_asking();
    }

    /// Keeps a step that NTP wants until the edge has spoken about it.
    fn hold(&mut self, now: Instant, word: Word) {
        self.alarm(Alarm::Held {
            source: word.source.clone(),
            off_us: word.epoch_us.saturating_sub(self.epoch_us),
        });
        let held = self.ntp.held.as_ref();
        let is_known = held.is_some_and(|(held, _)| is_agreed(held, &word));
        let since = held.filter(|_| is_known).map_or(now, |(_, since)| *since);
        self.ntp.followed_at = None;
        self.ntp.held = Some((word, since));
        if !is_known {
            self.ask_edge(now);
        }
    }

    /// Whether the edge has contradicted what `word` says.
    fn is_contradicted(&self, word: &Word) -> bool {
        self.ntp.contradicted.is_some_and(|epoch_us| {
            let known = Word {
                epoch_us,
                ..word.clone()
            };
            is_agreed(word, &known)
        })
    }

    fn hear_split(&mut self, now: Instant, samples: &[Sample]) {
        let by_offset = |sample: &&Sample| sample.offset_us;
        let lowest = samples.iter().min_by_key(by_offset);
        let highest = samples.iter().max_by_key(by_offset);
        let (Some(lowest), Some(highest)) = (lowest, highest) else {
            return;
        };
        self.alarm(Alarm::Split {
            servers: [lowest.server, highest.server],
            apart_us: highest.offset_us.saturating_sub(lowest.offset_us),
        });
        let heard_at = self.edge_heard_at;
        let is_settled = self.is_right() && heard_at.is_some_and(|at| now < at + ASK_AGAIN.1);
        if !is_settled && self.ask.again_at.is_none() {
            self.ask_edge(now);
        }
    }

    fn hear_edge(&mut self, now: Instant, sample: &EdgeSample) {
        let at = Instant::from_micros(sample.at_boot_us).min(now);
        let held_since = self.ntp.held.as_ref().map(|(_, since)| *since);
        if at < self.set_at || held_since.is_some_and(|since| at < since) {
            return self.ask_edge(now);
        }
        let word = Word {
            source: ClockSource::Edge(sample.edge.clone()),
            epoch_us: self.epoch_us.saturating_add(sample.offset_us),
            bound_us: sample.bound_us,
        };
        let is_refused = self.weigh_edge(now, &word) == Verdict::Refuse;
        if !is_refused {
            self.stop_asking();
            self.edge_heard_at = Some(now);
            if sample.is_strict {
                let told_us = word.epoch_us.saturating_add(micros(now));
                self.raise_floor(now, told_us);
            }
        }
    }

    /// Does what the table says about the edge's word.
    fn weigh_edge(&mut self, now: Instant, word: &Word) -> Verdict {
        let verdict = verdict::of_edge(self.trust, self.claim(now, word), self.ntp_view(now, word));
        let interval = self
            .edge_heard_at
            .map_or(Duration::ZERO, |at| now.since(at));
        match verdict {
            Verdict::Refuse => self.refuse(now, word),
            Verdict::Slew => {
                self.slew_by(word, interval);
                self.clear();
            }
            Verdict::Step => {
                self.ntp.followed_at = None;
                self.step_by(now, word);
                self.outputs.push_back(Output::Resync);
            }
            Verdict::Keep => self.clear(),
            Verdict::KeepAndResync => self.outputs.push_back(Output::Resync),
            Verdict::StepByHeld => {
                if let Some((held, _)) = self.ntp.held.take() {
                    self.step_by(now, &held);
                    self.follow_ntp(now);
                }
            }
            Verdict::SlewAgainstNtp => {
                let ntp = self.contradict();
                self.slew_by(word, interval);
                self.disagree(ntp, word);
            }
            Verdict::StepAgainstNtp => {
                let ntp = self.contradict();
                self.step_by(now, word);
                self.disagree(ntp, word);
            }
            Verdict::Hold | Verdict::Ignore => {}
        }
        verdict
    }

    fn ntp_view(&self, now: Instant, edge: &Word) -> Ntp {
        if let Some((held, _)) = &self.ntp.held {
            return if is_agreed(held, edge) {
                Ntp::HeldAgreeing
            } else {
                Ntp::HeldContradicted
            };
        }
        let followed_at = self.ntp.followed_at;
        if followed_at.is_some_and(|at| now <= at + NTP_FOLLOWED_FOR) {
            Ntp::Followed
        } else {
            Ntp::Silent
        }
    }

    /// The edge has spoken against the claim that was held.
    fn contradict(&mut self) -> Option<Word> {
        let (held, _) = self.ntp.held.take()?;
        self.ntp.contradicted = Some(held.epoch_us);
        Some(held)
    }

    fn disagree(&mut self, ntp: Option<Word>, edge: &Word) {
        if let Some(ntp) = ntp {
            self.alarm(Alarm::Disagree {
                ntp: ntp.source,
                apart_us: ntp.epoch_us.saturating_sub(edge.epoch_us),
            });
        }
    }

    /// A claim that cannot be. While nobody else has spoken, the edge is asked.
    fn refuse(&mut self, now: Instant, word: &Word) {
        let real_us = word.epoch_us.saturating_add(micros(now));
        self.alarm(Alarm::Refused {
            source: word.source.clone(),
            floor_us: (real_us < self.floor).then_some(self.floor),
        });
        if !self.is_right() && self.ask.again_at.is_none() {
            self.ntp_due = None;
            self.ask_edge(now);
        }
    }

    /// Raises a clock that nobody has confirmed to the hypervisor's.
    fn hear_hint(&mut self, at: Reading, real_us: RealMicros) {
        let hint_us = real_us.saturating_sub(micros(at.now));
        let is_possible = real_us >= self.floor && real_us < CEILING_US;
        let raised_us = hint_us.saturating_sub(self.epoch_us);
        let is_higher =
            raised_us > 0 && Duration::from_micros(raised_us.unsigned_abs()) >= JUMP_MIN;
        if !self.is_right() && is_possible && is_higher {
            self.was_moved = true;
            self.step(at.now, hint_us);
        }
    }

    /// The time is past `told_us`. A clock below the floor that follows was not right.
    fn raise_floor(&mut self, now: Instant, told_us: RealMicros) {
        let margin_us = i64::try_from(FLOOR_MARGIN.as_micros()).unwrap_or(i64::MAX);
        let floor = told_us.min(CEILING_US).saturating_sub(margin_us);
        self.floor = self.floor.max(floor);
        if self.epoch_us < self.floor.saturating_sub(micros(now)) {
            self.trust = Trust::Provisional;
            self.ntp.held = None;
            self.ntp.followed_at = None;
            self.raise(now);
            self.outputs.push_back(Output::Resync);
            self.ask_edge(now);
        }
    }
}
