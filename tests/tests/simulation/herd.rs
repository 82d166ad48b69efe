//! Ten thousand connectors after an outage of their edge: how many call in any one second, and when
//! the last one is back.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::time::Duration;

use connector_proto::life::validity::{Validity, unsigned_certificate};
use connector_proto::life::{Action, Conditions, Event, Failure, Life, Opened, Purpose};
use connector_proto::record::{Identity, State};
use connector_proto::time::{Instant, UnixSeconds};

const CONNECTORS: usize = 10_000;
/// What an edge with so many connectors tells them (`edge/src/control.rs`).
const SPREAD: Duration = Duration::from_secs(10);
const CAP: Duration = Duration::from_secs(60);
/// From the machine to the edge and back.
const ROUND_TRIP: Duration = Duration::from_millis(40);
/// How long the edge takes for one handshake: it does a thousand a second.
const HANDSHAKE: Duration = Duration::from_millis(1);
/// How long a connector waits for its turn. The edge notices only when the turn has come.
const PATIENCE: Duration = Duration::from_secs(10);
const START: Instant = Instant::from_micros(1_000_000_000);
const WALL: u64 = 1_800_000_000;

/// How it went.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub outage: Duration,
    /// Most connection attempts in any second.
    pub peak: usize,
    /// From when the edge was back until everybody was.
    pub recovered: Duration,
    pub attempts: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "outage {:>4} s: {} attempts, at most {} in a second, all back {:.1} s after the edge",
            self.outage.as_secs(),
            self.attempts,
            self.peak,
            self.recovered.as_secs_f32()
        )
    }
}

/// What comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Wake,
    Refused,
    /// The edge has done the handshake that began then.
    Served(Instant),
    GaveUp(Instant),
}

struct Herd {
    lives: Vec<Life>,
    /// When the attempt that is under way began.
    calling: Vec<Option<Instant>>,
    queue: BinaryHeap<Reverse<(Instant, usize, What)>>,
    /// When the edge has served everybody in its queue.
    busy_until: Instant,
    back_at: Instant,
    attempts: Vec<Instant>,
}

/// An edge with all its connectors ends, and is back after `outage`.
pub fn outage(outage: Duration, seed: u64) -> Report {
    let lives = (0..CONNECTORS as u64).map(|number| connected(seed ^ number << 20));
    let back_at = START + outage;
    let mut herd = Herd {
        lives: lives.collect(),
        calling: vec![None; CONNECTORS],
        queue: BinaryHeap::new(),
        busy_until: back_at,
        back_at,
        attempts: Vec::new(),
    };
    for number in 0..CONNECTORS {
        herd.tell(START, number, [lost()]);
    }
    let (mut last, mut back) = (START, 0);
    while back < CONNECTORS {
        let Reverse((now, number, what)) = herd.queue.pop().expect("somebody has given up");
        if herd.step(now, number, what) {
            (last, back) = (now, back + 1);
        }
    }
    Report {
        outage,
        peak: peak(&herd.attempts),
        recovered: last.since(back_at),
        attempts: herd.attempts.len(),
    }
}

impl Herd {
    /// Whether somebody is back by it.
    fn step(&mut self, now: Instant, number: usize, what: What) -> bool {
        match what {
            What::Wake => {
                let is_due = self.lives[number]
                    .poll_timeout()
                    .is_some_and(|at| at <= now);
                if is_due {
                    self.lives[number].handle_timeout(now);
                    self.perform(now, number);
                }
                false
            }
            What::Refused => {
                self.tell(now, number, [lost()]);
                false
            }
            What::GaveUp(since) | What::Served(since) if self.calling[number] != Some(since) => {
                false
            }
            What::GaveUp(_) => {
                self.tell(now, number, [lost()]);
                false
            }
            What::Served(_) => {
                self.tell(now, number, welcome());
                true
            }
        }
    }

    fn tell<const N: usize>(&mut self, now: Instant, number: usize, events: [Event; N]) {
        self.calling[number] = None;
        for event in events {
            self.lives[number].handle_event(now, event);
        }
        self.perform(now, number);
    }

    fn perform(&mut self, now: Instant, number: usize) {
        while let Some(action) = self.lives[number].poll_action() {
            assert!(
                matches!(action, Action::Open(Purpose::Control { next: false })),
                "{action:?}"
            );
            self.call(now, number);
        }
        if let (None, Some(at)) = (self.calling[number], self.lives[number].poll_timeout()) {
            self.queue.push(Reverse((at, number, What::Wake)));
        }
    }

    fn call(&mut self, now: Instant, number: usize) {
        self.attempts.push(now);
        self.calling[number] = Some(now);
        if now < self.back_at {
            return self
                .queue
                .push(Reverse((now + ROUND_TRIP, number, What::Refused)));
        }
        self.busy_until = self.busy_until.max(now + ROUND_TRIP) + HANDSHAKE;
        self.queue
            .push(Reverse((self.busy_until, number, What::Served(now))));
        self.queue
            .push(Reverse((now + PATIENCE, number, What::GaveUp(now))));
    }
}

/// Most of the sorted instants that lie within one second.
fn peak(attempts: &[Instant]) -> usize {
    let mut first = 0;
    let mut peak = 0;
    for (at, attempt) in attempts.iter().enumerate() {
        while attempt.since(attempts[first]) >= Duration::from_secs(1) {
            first += 1;
        }
        peak = peak.max(at + 1 - first);
    }
    peak
}

/// A connector that has been connected for a while.
fn connected(seed: u64) -> Life {
    let dates = Validity {
        not_before: UnixSeconds(WALL - 86_400),
        not_after: UnixSeconds(WALL + 86_400),
    };
    let mut state = State::default();
    state.private_key = vec![1];
    state.edge = "edge.test:443".into();
    state.identity = Some(Identity {
        ca: vec![1],
        other_ca: Vec::new(),
        certificate: unsigned_certificate(dates, &[1]),
        connector_id: [1; 16],
        name: "c".into(),
        group: "g".into(),
        grant_key: [1; 32],
    });
    let start = START - Duration::from_secs(600);
    let mut life = Life::new(start, Opened { state, why: None }, None, seed);
    let conditions = Conditions {
        can_dial: true,
        wall: Some(UnixSeconds(WALL)),
    };
    life.handle_conditions(start, conditions);
    for event in welcome() {
        life.handle_event(start, event);
    }
    while life.poll_action().is_some() {}
    life
}

fn lost() -> Event {
    Event::Failed {
        why: Failure::Transport,
        text: String::new(),
    }
}

fn welcome() -> [Event; 2] {
    let welcomed = Event::Welcomed {
        name: "c".into(),
        group: "g".into(),
        spread: SPREAD,
        cap: CAP,
    };
    [welcomed, Event::PathProven]
}
