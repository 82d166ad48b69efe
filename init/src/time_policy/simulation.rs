//! Machines with random luck: servers that lie, stop and come back, an edge that is away at times,
//! hands that set the clock. What is guaranteed holds after each event of each of them.

use std::net::{IpAddr, Ipv4Addr};

use super::*;

const MACHINES: u64 = 3000;
const EVENTS: usize = 300;
const TRUE_US: RealMicros = 1_800_000_000_000_000;
const FLOOR: RealMicros = 1_767_000_000_000_000;
const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 24 * 60 * MINUTE;

#[test]
fn whatever_happens_the_floor_holds_ntp_alone_steps_nothing_and_an_honest_edge_settles_it() {
    for seed in 0..MACHINES {
        let mut machine = Machine::new(seed);
        for _ in 0..EVENTS {
            machine.live();
        }
        machine.meets_its_edge();
    }
}

struct Machine {
    seed: u64,
    random: u64,
    policy: Policy,
    boot_us: i64,
    real_us: RealMicros,
    /// The true time, as an epoch: constant but for pauses.
    truth_us: i64,
    /// By how much each question to NTP is answered wrongly.
    ntp_lie_us: i64,
    edge_is_away: bool,
    /// The edge was asked and has not answered.
    is_edge_asked: bool,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let mut random = seed;
        let boot_us = SECOND;
        let real_us = match draw(&mut random) % 4 {
            0 => 0,
            1 => TRUE_US + DAY * 365 * 11,
            2 => TRUE_US + DAY * 365 * 80,
            _ => TRUE_US,
        };
        let at = Reading {
            now: Instant::from_micros(1_000_000),
            real_us,
        };
        let mut machine = Self {
            seed,
            random,
            policy: Policy::new(at, FLOOR),
            boot_us,
            real_us,
            truth_us: TRUE_US - boot_us,
            ntp_lie_us: 0,
            edge_is_away: true,
            is_edge_asked: false,
        };
        machine.carry_out();
        machine
    }

    fn live(&mut self) {
        match self.below(12) {
            0 => self.ntp_lie_us = self.lie(),
            1 => self.edge_is_away = !self.edge_is_away,
            2 => {
                // Somebody sets the clock.
                self.real_us += self.lie();
                self.hear(Input::Tick, false);
            }
            3 => {
                // The whole machine stands still.
                let lost_us = self.below(3 * DAY);
                self.truth_us += lost_us;
            }
            4 => self.hear(Input::Resumed, false),
            5 => {
                let has_ntp = self.below(2) == 0;
                self.hear(Input::Network { has_ntp }, false);
            }
            6 => {
                let samples = [self.sample(0), self.sample(DAY)];
                self.hear(Input::Split(&samples), false);
            }
            7 => {
                let hint = self.truth() + self.lie();
                self.hear(Input::Hint(hint), !self.policy.is_right());
            }
            8 => {
                // The floor is of the past: the edge that told it was honest.
                let told = self.truth() - self.below(300 * DAY);
                self.hear(Input::Floor(told), true);
            }
            9 | 10 => {
                let sample = self.sample(self.ntp_lie_us);
                let may_step = !self.policy.is_right();
                self.hear(Input::Ntp(&sample), may_step);
            }
            _ => self.pass(),
        }
        self.answer();
    }

    /// From here on the edge answers; NTP does as it did.
    fn meets_its_edge(&mut self) {
        self.edge_is_away = false;
        self.hear(Input::Network { has_ntp: true }, false);
        for _ in 0..200 {
            let sample = self.sample(self.ntp_lie_us);
            let may_step = !self.policy.is_right();
            self.hear(Input::Ntp(&sample), may_step);
            self.answer();
            self.pass();
            self.answer();
        }
        let off_us = self.real_us - self.truth();
        assert!(
            self.policy.is_right(),
            "seed {}: {:?}",
            self.seed,
            self.policy
        );
        assert!(
            off_us.abs() <= MINUTE + SECOND,
            "seed {}: off by {off_us} us: {:?}",
            self.seed,
            self.policy
        );
    }

    /// The edge answers if it was asked and is there.
    fn answer(&mut self) {
        if self.is_edge_asked && !self.edge_is_away {
            self.is_edge_asked = false;
            let sample = EdgeSample {
                edge: "edge".parse().unwrap(),
                offset_us: self.truth() - self.real_us,
                bound_us: 20_000,
                at_boot_us: u64::try_from(self.boot_us).unwrap(),
                is_strict: self.below(2) == 0,
            };
            self.hear(Input::Edge(&sample), true);
        }
    }

    /// Until the policy's next timeout, or a part of it.
    fn pass(&mut self) {
        let at = i64::try_from(self.policy.poll_timeout().as_micros()).unwrap();
        let wait_us = (at - self.boot_us).max(0);
        assert!(wait_us <= MINUTE, "seed {}: it would not wake", self.seed);
        self.boot_us += wait_us;
        self.real_us += wait_us;
        self.hear(Input::Tick, false);
    }

    /// `may_step`: this input may step a clock that nobody set by hand.
    fn hear(&mut self, input: Input<'_>, may_step: bool) {
        let at = Reading {
            now: Instant::from_micros(u64::try_from(self.boot_us).unwrap()),
            real_us: self.real_us,
        };
        let before_us = self.policy.epoch_us;
        let was_right = self.policy.is_right();
        self.policy.handle(at, input);
        // What was put back is where it was.
        self.carry_out();
        if was_right && !may_step {
            let jump_us = (self.real_us - self.boot_us - before_us).unsigned_abs();
            assert!(
                Duration::from_micros(jump_us) < JUMP_MIN,
                "seed {}: stepped",
                self.seed
            );
        }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.policy.poll_output() {
            match output {
                Output::Step { epoch_us } => self.real_us = self.boot_us + epoch_us,
                Output::Slew { by_us, .. } => {
                    // Half a second of it at most, and both clocks take part.
                    let by_us = by_us.clamp(-SECOND / 2, SECOND / 2);
                    self.boot_us += by_us.max(0);
                    self.real_us += by_us.max(0);
                    self.truth_us -= by_us;
                }
                Output::AskEdge => self.is_edge_asked = true,
                Output::Alarm(sentence) => {
                    assert!(sentence.len() <= 160, "{sentence}");
                }
                Output::ClockOk { .. } | Output::Resync | Output::Clear => {}
            }
        }
        let floor = self.policy.floor();
        assert!(self.real_us >= floor, "seed {}: below the floor", self.seed);
    }

    fn sample(&self, lie_us: i64) -> Sample {
        Sample {
            server: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
            offset_us: self.truth() + lie_us - self.real_us,
            bound_us: 10_000,
            at_boot_us: u64::try_from(self.boot_us).unwrap(),
            stratum: 2,
        }
    }

    fn truth(&self) -> RealMicros {
        self.truth_us + self.boot_us
    }

    /// None, small or large.
    fn lie(&mut self) -> i64 {
        let size_us = match self.below(4) {
            0 => return 0,
            1 => 2 * SECOND,
            2 => 2 * MINUTE,
            _ => 400 * DAY,
        };
        self.below(2 * size_us) - size_us
    }

    fn below(&mut self, limit: i64) -> i64 {
        i64::try_from(draw(&mut self.random) % u64::try_from(limit).unwrap()).unwrap()
    }
}

/// SplitMix64.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
