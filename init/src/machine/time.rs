//! What PID 1 does about the clock: who is asked, and what becomes of the answers.
//!
//! NTP comes first. Where DHCP names no server, or none answers within [`NTP_ANSWERS_IN`], the
//! connector is started although the clock may be wrong, and asks the service edge. An NTP server
//! that answers later is heard as ever.

use std::io;
use std::time::Duration;

use connector_proto::local::{ClockSource, EdgeSample, Sample};
use connector_proto::time::Instant;

use super::Machine;
use crate::clock::{self, Decision, RealMicros};
use crate::hub::Topic;
use crate::service::Condition;

/// How long an NTP server has for its first answer: four rounds of `timed`.
const NTP_ANSWERS_IN: Duration = Duration::from_secs(10);

/// What PID 1 knows about the time.
#[derive(Debug)]
pub(super) struct Time {
    /// Nothing sets the clock below this.
    floor: RealMicros,
    /// Samples taken before this instant are of a clock that was since set.
    set_at: Instant,
    /// When the edge is asked, unless an NTP server answers before.
    edge_asked_at: Option<Instant>,
}

impl Time {
    pub(super) const fn new(now: Instant, floor: RealMicros) -> Self {
        Self {
            floor,
            set_at: now,
            edge_asked_at: None,
        }
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.edge_asked_at
    }
}

impl Machine {
    /// The network is up, with NTP servers or without.
    pub(super) fn expect_time(&mut self, now: Instant, has_ntp: bool) {
        if self.hub.is_clock_ok() {
            return;
        }
        if has_ntp {
            let at = self.time.edge_asked_at;
            self.time.edge_asked_at = Some(at.unwrap_or(now + NTP_ANSWERS_IN));
            return;
        }
        let letters = self.hub.problem(now, Topic::Time, NO_NTP_SERVER);
        self.deliver(letters);
        self.ask_edge(now);
    }

    /// Has the edge asked if the NTP servers had their time.
    pub(super) fn check_ntp_silence(&mut self, now: Instant) {
        if self.time.edge_asked_at.is_some_and(|at| at <= now) {
            log::info!("no NTP server answers: the edge is asked for the time");
            self.ask_edge(now);
        }
    }

    fn ask_edge(&mut self, now: Instant) {
        self.time.edge_asked_at = None;
        let letters = self.hub.edge_asked(now);
        self.deliver(letters);
        self.supervisor
            .handle_condition(now, Condition::ClockSettled);
    }

    /// Sets the clock by what NTP servers agree on, if it has to be.
    pub(super) fn take_sample(&mut self, now: Instant, sample: &Sample) {
        let source = ClockSource::Ntp(sample.server);
        let (offset_us, bound_us) = (sample.offset_us, sample.bound_us);
        self.take_time(now, source, offset_us, bound_us, sample.at_boot_us);
    }

    /// Sets the clock by the edge's, if nobody else has.
    pub(super) fn take_edge_time(&mut self, now: Instant, sample: EdgeSample) {
        if self.hub.is_clock_ok() {
            return;
        }
        let source = ClockSource::Edge(sample.edge);
        let (offset_us, bound_us) = (sample.offset_us, sample.bound_us);
        self.take_time(now, source, offset_us, bound_us, sample.at_boot_us);
    }

    fn take_time(
        &mut self,
        now: Instant,
        source: ClockSource,
        offset_us: i64,
        bound_us: u32,
        at_boot_us: u64,
    ) {
        if at_boot_us < self.time.set_at.as_micros() {
            return;
        }
        let (real, was_checked) = (clock::real_now(), self.hub.is_clock_ok());
        let moved_us = match clock::decide(real, self.time.floor, was_checked, offset_us) {
            Decision::Keep => 0,
            Decision::Step { to } => match self.step_clock(to) {
                Ok(()) => offset_us,
                Err(error) => return log::error!("cannot set the clock: {error}"),
            },
            Decision::BelowFloor => {
                return self.distrust(now, &source, "a time before this image was built");
            }
            Decision::TooFarBack => {
                return self.distrust(now, &source, "that the clock is days ahead");
            }
        };
        log::info!(
            "clock: off by {offset_us} us, within {bound_us} us, by {source:?}; moved by {moved_us} us"
        );
        self.time.edge_asked_at = None;
        self.hub.solved(Topic::Time);
        let letters = self.hub.clock_ok(now, source, moved_us, bound_us);
        self.deliver(letters);
        self.supervisor
            .handle_condition(now, Condition::ClockSettled);
        self.promote_if_due(now);
    }

    fn step_clock(&mut self, to: RealMicros) -> io::Result<()> {
        clock::set_real(to)?;
        self.time.set_at = clock::boot_now();
        Ok(())
    }

    fn distrust(&mut self, now: Instant, source: &ClockSource, claim: &str) {
        let sentence = match source {
            ClockSource::Ntp(server) => format!("NTP server {server} claims {claim}: check it."),
            ClockSource::Edge(edge) => {
                format!("Service edge {edge} claims {claim}: check its clock.")
            }
        };
        log::warn!("{sentence}");
        let letters = self.hub.problem(now, Topic::Time, &sentence);
        self.deliver(letters);
    }
}

const NO_NTP_SERVER: &str = "The DHCP server names no NTP server (option 42): the service edge is \
     asked for the time.";
