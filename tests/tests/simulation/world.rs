//! A world of a few machines and their edge, in virtual time: what happens next, and what follows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use connector_proto::life::{Action, Conditions, Failure, Life, Purpose};
use connector_proto::time::{Instant, UnixSeconds};

use super::chance::Chance;
use super::edge::{Edge, Line, wall};
use super::machine::{Client, Machine};

mod checks;
mod faults;
mod lines;

/// The world.
#[derive(Debug)]
pub struct World {
    pub now: Instant,
    chance: Chance,
    pub edge: Edge,
    /// When the edge is up again.
    edge_down_until: Instant,
    pub machines: Vec<Machine>,
    lines: BTreeMap<Line, LineState>,
    last_line: Line,
    queue: BinaryHeap<Reverse<Entry>>,
    entries: u64,
    /// Connectors that were deleted.
    deleted: u64,
    /// Roots that were made.
    roots: u8,
    /// Nothing goes wrong any more.
    is_calm: bool,
    pub tally: Tally,
}

/// What happened in the world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub steps: u64,
    pub connections: u64,
    pub restarts: u64,
    pub power_cuts: u64,
    pub clones: u64,
    pub reverts: u64,
    pub network_faults: u64,
    pub edge_outages: u64,
    pub disk_faults: u64,
    pub clock_jumps: u64,
    pub nic_changes: u64,
    pub administrator: u64,
    pub sessions: u64,
}

/// A connection.
#[derive(Debug)]
struct LineState {
    machine: usize,
    client: Option<Client>,
    /// What it is for, until the handshake.
    purpose: Option<Purpose>,
    latency: Duration,
    /// When the last bytes arrive, upwards and downwards: they never overtake each other.
    last: [Instant; 2],
    /// Nothing gets through any more.
    is_broken: bool,
    timer: u64,
}

/// What comes.
#[derive(Debug)]
enum What {
    Wake { machine: usize, wake: u64 },
    Start { machine: usize, boot: u64 },
    ClockRight { machine: usize, boot: u64 },
    NetworkBack { machine: usize, boot: u64 },
    Written { machine: usize, boot: u64 },
    DiskMended { machine: usize },
    EdgeMended,
    Handshake { line: Line },
    DialFailed { line: Line },
    ToEdge { line: Line, bytes: Vec<u8> },
    ToMachine { line: Line, bytes: Vec<u8> },
    EndAtEdge { line: Line },
    EndAtMachine { line: Line },
    Timer { line: Line, timer: u64 },
    Fault,
    Visit,
    Look,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    number: u64,
    what: What,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl World {
    /// Lives until `end`.
    pub fn run_until(&mut self, end: Instant) {
        while let Some(Reverse(entry)) = self.queue.pop() {
            if entry.at > end {
                self.queue.push(Reverse(entry));
                break;
            }
            self.now = self.now.max(entry.at);
            self.tally.steps += 1;
            self.step(entry.what);
            self.check();
        }
        self.now = end;
    }

    fn push(&mut self, delay: Duration, what: What) {
        self.push_at(self.now + delay, what);
    }

    fn push_at(&mut self, at: Instant, what: What) {
        self.entries += 1;
        let number = self.entries;
        self.queue.push(Reverse(Entry { at, number, what }));
    }

    fn step(&mut self, what: What) {
        match what {
            What::Wake { machine, wake } => {
                if self.machines[machine].wake == wake {
                    self.with_life(machine, |life, now| life.handle_timeout(now));
                }
            }
            What::Start { machine, boot } => self.start(machine, boot),
            What::ClockRight { machine, boot } => {
                if self.machines[machine].boot == boot {
                    self.machines[machine].is_clock_right = true;
                    self.tell_conditions(machine);
                }
            }
            What::NetworkBack { machine, boot } => {
                if self.machines[machine].boot == boot {
                    self.machines[machine].has_network = true;
                    self.tell_conditions(machine);
                    self.with_life(machine, |life, now| life.handle_network_changed(now, true));
                }
            }
            What::Written { machine, boot } => self.written(machine, boot),
            What::DiskMended { machine } => self.machines[machine].disk.is_failing = false,
            What::EdgeMended => self.edge.is_failing = false,
            What::Handshake { line } => self.handshake(line),
            What::DialFailed { line } => self.fail(line, Failure::Transport),
            What::ToEdge { line, bytes } => {
                self.edge.handle_input(self.now, line, &bytes);
                self.flush_edge();
                self.set_timer(line);
            }
            What::ToMachine { line, bytes } => self.arrive(line, Some(&bytes)),
            What::EndAtEdge { line } => {
                self.edge.handle_end(self.now, line);
                self.flush_edge();
            }
            What::EndAtMachine { line } => self.fail(line, Failure::Transport),
            What::Timer { line, timer } => self.timer(line, timer),
            What::Fault => self.fault(),
            What::Visit => self.visit(),
            What::Look => {
                self.edge.judge_again(self.now);
                self.edge.offer_sessions();
                self.flush_edge();
                self.push(Duration::from_secs(1_800), What::Look);
            }
        }
    }

    fn start(&mut self, machine: usize, boot: u64) {
        let now = self.now;
        let it = &mut self.machines[machine];
        if it.boot != boot || it.life.is_some() {
            return;
        }
        it.start(now, &mut self.chance);
        let boot = it.boot;
        self.perform(machine);
        self.tell_conditions(machine);
        let delay = self.chance.up_to(Duration::from_secs(60));
        self.push(delay, What::ClockRight { machine, boot });
    }

    fn tell_conditions(&mut self, machine: usize) {
        let it = &self.machines[machine];
        // A clock that is right is some seconds wrong.
        let skew = self.chance.below(3);
        let conditions = Conditions {
            can_dial: it.has_network,
            wall: it
                .is_clock_right
                .then_some(UnixSeconds(wall(self.now).0 + skew - 1)),
        };
        self.with_life(machine, |life, now| life.handle_conditions(now, conditions));
    }

    /// Does something to the life of a machine that is on, and what it wants then.
    fn with_life(&mut self, machine: usize, act: impl FnOnce(&mut Life, Instant)) {
        if let Some(life) = &mut self.machines[machine].life {
            act(life, self.now);
            self.perform(machine);
        }
    }

    fn perform(&mut self, machine: usize) {
        loop {
            let it = &mut self.machines[machine];
            let Some(life) = &mut it.life else { return };
            let Some(action) = life.poll_action() else {
                break;
            };
            match action {
                Action::NewKey => {
                    let pair = self.chance.bytes::<32>().to_vec();
                    life.handle_new_key(self.now, Ok(pair));
                }
                Action::Save(state) => {
                    it.disk.write(it.hardware.smbios_uuid, *state);
                    self.writing(machine);
                }
                Action::Erase => {
                    it.disk.erase();
                    self.writing(machine);
                }
                Action::Open(purpose) => self.open(machine, purpose),
                Action::Close(code) => self.close(machine, code),
                Action::RatchetStored { step } => self.tell_edge(machine, |channel| {
                    channel.ratchet_stored(step).unwrap();
                }),
                Action::TrustStored { digest } => self.tell_edge(machine, |channel| {
                    // Newer ones may have come meanwhile: those are answered for then.
                    let _ = channel.trust_stored(digest);
                }),
            }
        }
        let it = &mut self.machines[machine];
        it.wake += 1;
        let wake = it.wake;
        if let Some(at) = it.life.as_ref().and_then(Life::poll_timeout) {
            self.push_at(at, What::Wake { machine, wake });
        }
    }

    fn writing(&mut self, machine: usize) {
        let boot = self.machines[machine].boot;
        let delay = self.chance.up_to(Duration::from_millis(200));
        self.push(delay, What::Written { machine, boot });
    }

    fn written(&mut self, machine: usize, boot: u64) {
        let it = &mut self.machines[machine];
        if it.boot != boot || it.life.is_none() {
            return;
        }
        let result = it.disk.finish(&mut self.chance);
        let is_written = result.is_ok();
        self.with_life(machine, |life, now| life.handle_saved(now, result));
        let it = &mut self.machines[machine];
        if let (true, Some(life)) = (is_written, &it.life) {
            it.acknowledged = life.state().identity.as_ref().map(|own| own.connector_id);
        }
    }
}
