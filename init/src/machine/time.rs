//! What PID 1 does about the clock: it asks [`crate::time_policy`] and does what that says.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use connector_proto::local::{ClockSource, EdgeSample, Sample};
use connector_proto::record::{self, SLOT_LEN, SLOTS};
use connector_proto::time::Instant;
use connector_sys::clock_adjust::{self, Adjustment};

use super::Machine;
use crate::clock::{self, ClockWatch, RealMicros};
use crate::hub::{Hub, Topic};
use crate::ptp;
use crate::service::Condition;
use crate::time_policy::{Input, Output, Policy};

/// What PID 1 knows about the time.
#[derive(Debug)]
pub(super) struct Time {
    policy: Policy,
    /// Without it a clock that is set is seen within a minute.
    watch: Option<ClockWatch>,
    /// For how long the machine had been suspended when that was looked at last.
    suspended_us: i64,
}

/// A suspension that is shorter is an inaccuracy.
const SUSPENSION_MIN_US: i64 = 10_000;

impl Time {
    /// `floor` is the earliest time possible, in microseconds since 1970.
    pub(super) fn new(floor: RealMicros) -> Self {
        let watch = ClockWatch::new();
        if let Err(error) = &watch {
            log::warn!("cannot watch the clock: {error}");
        }
        Self {
            policy: Policy::new(clock::read(), floor),
            watch: watch.ok(),
            suspended_us: clock::suspended_us(),
        }
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.policy.poll_timeout()
    }

    /// Becomes readable when the clock was set or the machine resumed.
    pub(super) fn watch_fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }
}

impl Machine {
    /// The machine was started: its clock may be below the floor, or the hypervisor may know better.
    pub(super) fn begin_time(&mut self, now: Instant) {
        self.follow_policy(now);
        if let Some((driver, real_us)) = ptp::hint() {
            log::info!("the hypervisor's clock ({driver}) says {real_us} us");
            self.tell_policy(now, Input::Hint(real_us));
        }
    }

    /// The clock was set, or the machine resumed.
    pub(super) fn clock_was_set(&mut self, now: Instant) {
        if let Some(Err(error)) = self.time.watch.as_ref().map(ClockWatch::rearm) {
            log::warn!("cannot watch the clock any more: {error}");
            self.time.watch = None;
        }
        self.look_at_clock(now);
    }

    /// Tells the policy what the network has to offer, and gives it its turn if it is due.
    pub(super) fn check_time(&mut self, now: Instant) {
        if !self.time.policy.is_right() && self.hub.network().is_some() {
            let has_ntp = !self.hub.time_servers().is_empty();
            self.tell_policy(now, Input::Network { has_ntp });
        }
        if self.time.poll_timeout() <= now {
            self.look_at_clock(now);
        }
    }

    fn look_at_clock(&mut self, now: Instant) {
        let suspended_us = clock::suspended_us();
        let since_us = suspended_us - self.time.suspended_us;
        if since_us >= SUSPENSION_MIN_US {
            self.time.suspended_us = suspended_us;
            log::info!("the machine was suspended for {} ms", since_us / 1000);
            self.tell_policy(now, Input::Resumed);
        }
        self.tell_policy(now, Input::Tick);
    }

    /// Takes what most NTP servers agree on.
    pub(super) fn take_sample(&mut self, now: Instant, sample: &Sample) {
        self.tell_policy(now, Input::Ntp(sample));
    }

    /// Takes what NTP servers say that do not agree.
    pub(super) fn take_split(&mut self, now: Instant, samples: &[Sample]) {
        self.tell_policy(now, Input::Split(samples));
    }

    /// Takes the edge's time.
    pub(super) fn take_edge_time(&mut self, now: Instant, sample: &EdgeSample) {
        self.tell_policy(now, Input::Edge(sample));
    }

    /// Reads from the state partition when the edge last told the time.
    pub(super) fn learn_floor(&mut self, now: Instant, partition: &File) {
        match last_good_time(partition) {
            Ok(Some(seconds)) => {
                let told_us = i64::try_from(seconds).unwrap_or(i64::MAX);
                self.tell_policy(now, Input::Floor(told_us.saturating_mul(1_000_000)));
            }
            Ok(None) => {}
            // The connector says what is the matter with it.
            Err(error) => log::warn!("the state partition cannot be read: {error}"),
        }
    }

    pub(super) fn tell_policy(&mut self, now: Instant, input: Input<'_>) {
        self.time.policy.handle(clock::read(), input);
        self.follow_policy(now);
    }

    /// Does everything that the policy wants done.
    fn follow_policy(&mut self, now: Instant) {
        while let Some(output) = self.time.policy.poll_output() {
            match output {
                Output::Step { epoch_us } => {
                    if let Err(error) = clock::set_epoch(epoch_us) {
                        log::error!("cannot set the clock: {error}");
                    }
                }
                Output::Slew {
                    by_us,
                    bound_us,
                    interval,
                } => slew(by_us, bound_us, interval),
                Output::ClockOk {
                    source,
                    moved_us,
                    bound_us,
                } => self.clock_ok(now, source, moved_us, bound_us),
                Output::Resync => self.deliver(vec![Hub::resync()]),
                Output::AskEdge => self.ask_edge(now),
                Output::Alarm(sentence) => {
                    log::warn!("{sentence}");
                    self.tell_problem(now, Topic::Time, &sentence);
                }
                Output::Clear => self.hub.solved(Topic::Time),
            }
        }
    }

    fn clock_ok(&mut self, now: Instant, source: ClockSource, moved_us: i64, bound_us: u32) {
        log::info!("clock: moved by {moved_us} us, within {bound_us} us, by {source:?}");
        let letters = if moved_us == 0 {
            self.hub.clock_ok(now, source, moved_us, bound_us)
        } else {
            self.hub.clock_moved(now, source, moved_us, bound_us)
        };
        self.deliver(letters);
        self.supervisor
            .handle_condition(now, Condition::ClockSettled);
        self.promote_if_due(now);
    }

    /// Has the edge asked. While the clock is provisional, the connector is started for it.
    fn ask_edge(&mut self, now: Instant) {
        log::info!("the edge is asked for the time");
        if !self.hub.is_clock_ok() {
            let letters = self.hub.edge_asked(now);
            self.deliver(letters);
            self.supervisor
                .handle_condition(now, Condition::ClockSettled);
        }
        self.deliver(vec![Hub::ask_time()]);
    }
}

fn slew(offset_us: i64, bound_us: u32, interval: Duration) {
    let adjustment = Adjustment {
        offset_us,
        bound_us,
        interval,
    };
    match clock_adjust::adjust(adjustment) {
        Ok(state) => log::info!(
            "clock: slewed by {offset_us} us, within {bound_us} us; its frequency by {} ppb",
            state.frequency_ppb
        ),
        Err(error) => log::error!("cannot slew the clock: {error}"),
    }
}

/// Without the device secret, which lies behind the slots: PID 1 opens no record.
fn last_good_time(partition: &File) -> io::Result<Option<u64>> {
    let mut bytes = vec![0; SLOTS * SLOT_LEN];
    partition.read_exact_at(&mut bytes, 0)?;
    Ok(record::last_good_time(&bytes))
}
