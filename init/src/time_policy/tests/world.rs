//! A machine in a world of its own, told by hand what it hears.

use std::net::{IpAddr, Ipv4Addr};

use super::super::*;

/// A moment in 2027, and what the image was built at.
pub(super) const TRUE_US: RealMicros = 1_800_000_000_000_000;
pub(super) const FLOOR: RealMicros = 1_767_000_000_000_000;
pub(super) const SECOND: i64 = 1_000_000;

/// A machine, and the true time beside it.
pub(super) struct World {
    pub(super) policy: Policy,
    boot_us: i64,
    pub(super) real_us: RealMicros,
    pub(super) truth_us: RealMicros,
}

impl World {
    /// A machine that was just started, its clock off by this.
    pub(super) fn with_offset(off_us: i64) -> Self {
        let (boot_us, real_us) = (5 * SECOND, TRUE_US + off_us);
        let at = Reading {
            now: instant(boot_us),
            real_us,
        };
        let mut world = Self {
            policy: Policy::new(at, FLOOR),
            boot_us,
            real_us,
            truth_us: TRUE_US,
        };
        world.carry_out();
        world
    }

    /// One whose clock NTP made right.
    pub(super) fn right() -> Self {
        let mut world = Self::with_offset(0);
        world.ntp();
        world
    }

    pub(super) fn reading(&self) -> Reading {
        Reading {
            now: instant(self.boot_us),
            real_us: self.real_us,
        }
    }

    pub(super) fn truth(&self) -> RealMicros {
        self.truth_us
    }

    /// By how much the clock is fast.
    pub(super) fn off_us(&self) -> i64 {
        self.real_us - self.truth_us
    }

    pub(super) fn pass(&mut self, us: i64) {
        self.boot_us += us;
        self.real_us += us;
        self.truth_us += us;
    }

    pub(super) fn hear(&mut self, input: Input<'_>) -> Vec<Output> {
        self.policy.handle(self.reading(), input);
        self.carry_out()
    }

    fn carry_out(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(output) = self.policy.poll_output() {
            if let Output::Step { epoch_us } = output {
                self.real_us = self.boot_us + epoch_us;
            }
            outputs.push(output);
        }
        outputs
    }

    pub(super) fn ntp(&mut self) -> Vec<Output> {
        self.ntp_that_is(0)
    }

    pub(super) fn ntp_that_is(&mut self, lie_us: i64) -> Vec<Output> {
        self.pass(SECOND);
        let sample = self.sample(lie_us);
        self.hear(Input::Ntp(&sample))
    }

    pub(super) fn edge(&mut self) -> Vec<Output> {
        self.edge_that_is(0)
    }

    pub(super) fn edge_that_is(&mut self, lie_us: i64) -> Vec<Output> {
        self.edge_with(lie_us, true)
    }

    pub(super) fn edge_with(&mut self, lie_us: i64, is_strict: bool) -> Vec<Output> {
        self.pass(SECOND);
        let sample = self.edge_sample(lie_us, is_strict);
        self.hear(Input::Edge(&sample))
    }

    pub(super) fn sample(&self, lie_us: i64) -> Sample {
        Sample {
            server: IpAddr::V4(Ipv4Addr::new(10, 77, 0, 123)),
            offset_us: self.truth_us + lie_us - self.real_us,
            bound_us: 0,
            at_boot_us: instant(self.boot_us).as_micros(),
            stratum: 2,
        }
    }

    pub(super) fn edge_sample(&self, lie_us: i64, is_strict: bool) -> EdgeSample {
        EdgeSample {
            edge: "edge.example.org".parse().unwrap(),
            offset_us: self.truth_us + lie_us - self.real_us,
            bound_us: 0,
            at_boot_us: instant(self.boot_us).as_micros(),
            is_strict,
        }
    }

    /// Ticks until the policy does this; how long that took.
    pub(super) fn wait_for(&mut self, awaited: &Output) -> i64 {
        let began = self.boot_us;
        for _ in 0..10_000 {
            let at = i64::try_from(self.policy.poll_timeout().as_micros()).unwrap();
            self.pass((at - self.boot_us).max(0));
            if self.hear(Input::Tick).contains(awaited) {
                return self.boot_us - began;
            }
        }
        panic!("never: {awaited:?}");
    }
}

pub(super) fn alarm(outputs: &[Output]) -> &str {
    let told = outputs.iter().find_map(|output| match output {
        Output::Alarm(sentence) => Some(sentence.as_str()),
        _ => None,
    });
    told.unwrap_or("")
}

pub(super) fn clock_ok(outputs: &[Output]) -> Option<(&ClockSource, i64)> {
    outputs.iter().find_map(|output| match output {
        Output::ClockOk {
            source, moved_us, ..
        } => Some((source, *moved_us)),
        _ => None,
    })
}

fn instant(us: i64) -> Instant {
    Instant::from_micros(u64::try_from(us).unwrap())
}
