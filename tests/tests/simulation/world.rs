//! A world of a few machines and their edge, in virtual time: what happens next, and what follows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use connector_proto::control::Channel;
use connector_proto::derive::{EnrolSecrets, Exporter};
use connector_proto::enrol;
use connector_proto::life::{Action, Conditions, Event, Failure, Purpose};
use connector_proto::message::CloseCode;
use connector_proto::renew;
use connector_proto::time::{Instant, UnixSeconds};

use super::chance::Chance;
use super::edge::{Edge, Line, Output, wall};
use super::machine::{Client, Heard, Machine};
use super::sha256;

mod checks;
mod faults;

/// How long a machine waits for an answer to its first packet.
const DIAL_MAX: Duration = Duration::from_secs(15);

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
    fn with_life(
        &mut self,
        machine: usize,
        act: impl FnOnce(&mut connector_proto::life::Life, Instant),
    ) {
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
        if let Some(at) = it.life.as_ref().and_then(|life| life.poll_timeout()) {
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

    fn open(&mut self, machine: usize, purpose: Purpose) {
        self.last_line += 1;
        let line = self.last_line;
        self.tally.connections += 1;
        self.machines[machine].line = Some(line);
        let longest = Duration::from_millis(300);
        let latency = Duration::from_millis(1) + self.chance.up_to(longest);
        let state = LineState {
            machine,
            client: None,
            purpose: Some(purpose),
            latency,
            last: [self.now; 2],
            is_broken: false,
            timer: 0,
        };
        self.lines.insert(line, state);
        if self.is_cut_off(machine) {
            self.push(DIAL_MAX, What::DialFailed { line });
        } else {
            self.push(latency * 4, What::Handshake { line });
        }
    }

    fn is_cut_off(&self, machine: usize) -> bool {
        self.now < self.machines[machine].cut_off_until
    }

    /// The TLS handshake: each side looks at the other's certificate.
    fn handshake(&mut self, line: Line) {
        let Some(state) = self.lines.get_mut(&line) else {
            return;
        };
        let machine = state.machine;
        let Some(purpose) = state.purpose.take() else {
            return;
        };
        if self.now < self.edge_down_until || self.is_cut_off(machine) {
            return self.fail(line, Failure::Transport);
        }
        match self.shake_hands(line, machine, purpose) {
            Ok(client) => {
                self.lines.get_mut(&line).unwrap().client = Some(client);
                self.flush_machine(line);
                self.flush_edge();
                self.set_timer(line);
            }
            Err(why) => self.fail(line, why),
        }
    }

    fn shake_hands(
        &mut self,
        line: Line,
        machine: usize,
        purpose: Purpose,
    ) -> Result<Client, Failure> {
        let (now, seed) = (self.now, self.chance.next());
        let it = &self.machines[machine];
        let life = it.life.as_ref().unwrap();
        let request = life.requested_key().map(sha256);
        let (hardware, ratchet) = (it.hardware, life.state().ratchet);
        match purpose {
            Purpose::Enrol { key } => {
                let exporter: Exporter = self.chance.bytes();
                self.edge.accept_enrolment(now, line, exporter);
                let (secrets, csr) = (EnrolSecrets::derive(&key), request.unwrap().to_vec());
                let client = enrol::Connector::new(now, secrets, exporter, csr, hardware);
                Ok(Client::Enrol(client.unwrap()))
            }
            Purpose::Renew => {
                let spki = self.verify(machine, false, false)?;
                self.edge.accept_renewal(now, line, spki);
                let client = renew::Connector::new(now, &request.unwrap(), hardware, ratchet);
                Ok(Client::Renew(client.unwrap()))
            }
            Purpose::Control { next } => {
                let spki = self.verify(machine, next, true)?;
                self.edge.accept_control(now, line, spki);
                let channel = Channel::connector(now, seed, "0.1.0", hardware, ratchet);
                Ok(Client::Control {
                    channel: Box::new(channel.unwrap()),
                    is_path_proven: false,
                })
            }
        }
    }

    /// What TLS verifies: whom the machine trusts, whose certificate it shows, and for how long that is
    /// good. The SHA-256 of its public key.
    fn verify(&self, machine: usize, next: bool, strict: bool) -> Result<[u8; 32], Failure> {
        let state = self.machines[machine].life.as_ref().unwrap().state();
        let identity = state.identity.as_ref().unwrap();
        if identity.ca != self.edge.ca() && identity.other_ca != self.edge.ca() {
            return Err(Failure::EdgeNotVerified);
        }
        let (certificate, key) = if next {
            let next = state.next.as_ref().unwrap();
            (&next.certificate, &next.private_key)
        } else {
            (&identity.certificate, &state.private_key)
        };
        let issued = self.edge.issued(certificate).unwrap();
        // The "public key" of a simulated key pair is its hash, and is hashed again.
        assert_eq!(
            issued.spki,
            sha256(&sha256(key)),
            "key and certificate belong together"
        );
        let is_over = strict && issued.not_after < wall(self.now);
        if is_over || !self.edge.accepts(&issued.root) {
            return Err(Failure::CertificateRefused);
        }
        Ok(issued.spki)
    }

    /// The machine ends its connection.
    fn close(&mut self, machine: usize, code: Option<CloseCode>) {
        let Some(line) = self.machines[machine].line.take() else {
            return;
        };
        if let (Some(code), Some(client)) = (
            code,
            self.lines
                .get_mut(&line)
                .and_then(|state| state.client.as_mut()),
        ) {
            client.close(code);
            self.flush_machine(line);
        }
        self.hang_up(line);
    }

    /// The machine's end is gone; the edge notices when that has travelled.
    fn hang_up(&mut self, line: Line) {
        let Some(state) = self.lines.get_mut(&line) else {
            return;
        };
        state.client = None;
        state.purpose = None;
        self.send(line, 0, What::EndAtEdge { line });
    }

    fn tell_edge(
        &mut self,
        machine: usize,
        say: impl FnOnce(&mut Channel<connector_proto::control::ConnectorSide>),
    ) {
        let line = self.machines[machine].line.expect("the channel is open");
        let state = self.lines.get_mut(&line).unwrap();
        if let Some(Client::Control { channel, .. }) = &mut state.client {
            say(channel);
        }
        self.flush_machine(line);
        self.set_timer(line);
    }

    /// Bytes, or the end of the connection, arrive at the machine.
    fn arrive(&mut self, line: Line, bytes: Option<&[u8]>) {
        let Some(state) = self.lines.get_mut(&line) else {
            return;
        };
        let Some(client) = &mut state.client else {
            return;
        };
        let machine = state.machine;
        let heard = match bytes {
            Some(bytes) => client.handle_input(self.now, bytes),
            None => client.handle_timeout(self.now),
        };
        self.flush_machine(line);
        for heard in heard {
            self.hear(machine, line, heard);
        }
        self.set_timer(line);
    }

    fn hear(&mut self, machine: usize, line: Line, heard: Heard) {
        if self.machines[machine].line != Some(line) {
            return;
        }
        match heard {
            Heard::Session => self.check_session(machine),
            Heard::Event(event) => {
                if event.is_last() {
                    self.machines[machine].line = None;
                    self.hang_up(line);
                }
                self.with_life(machine, |life, now| life.handle_event(now, event));
            }
        }
    }

    fn fail(&mut self, line: Line, why: Failure) {
        let Some(state) = self.lines.get_mut(&line) else {
            return;
        };
        state.client = None;
        state.purpose = None;
        let machine = state.machine;
        let text = format!("{why:?}");
        self.hear(machine, line, Heard::Event(Event::Failed { why, text }));
    }

    fn flush_machine(&mut self, line: Line) {
        loop {
            let Some(state) = self.lines.get_mut(&line) else {
                return;
            };
            let Some(bytes) = state.client.as_mut().and_then(Client::poll_transmit) else {
                return;
            };
            self.send(line, 0, What::ToEdge { line, bytes });
        }
    }

    fn flush_edge(&mut self) {
        loop {
            let outputs = self.edge.poll_output(self.now);
            if outputs.is_empty() {
                return;
            }
            for (line, output) in outputs {
                let what = match output {
                    Output::Bytes(bytes) => What::ToMachine { line, bytes },
                    Output::End => What::EndAtMachine { line },
                };
                self.send(line, 1, what);
                self.set_timer(line);
            }
        }
    }

    /// Sends something along a connection: in order, sometimes late, and not at all once it broke.
    fn send(&mut self, line: Line, way: usize, what: What) {
        let Some(state) = self.lines.get(&line) else {
            return;
        };
        let machine = state.machine;
        if self.is_cut_off(machine) {
            return self.break_off(line);
        }
        if state.is_broken {
            return;
        }
        let mut delay = self.lines[&line].latency;
        if self.chance.percent(1) {
            delay += self.chance.up_to(Duration::from_secs(10));
        }
        let state = self.lines.get_mut(&line).unwrap();
        state.last[way] = state.last[way].max(self.now + delay);
        let at = state.last[way];
        self.push_at(at, what);
    }

    /// Nothing gets through any more, and nobody is told.
    fn break_off(&mut self, line: Line) {
        if let Some(state) = self.lines.get_mut(&line) {
            state.is_broken = true;
            self.set_timer(line);
        }
    }

    fn set_timer(&mut self, line: Line) {
        let Some(state) = self.lines.get_mut(&line) else {
            return;
        };
        let is_broken = state.is_broken;
        let client = state
            .client
            .as_ref()
            .and_then(|it| it.poll_timeout(is_broken));
        let edge = self.edge.poll_timeout(line, is_broken);
        let Some(at) = client.into_iter().chain(edge).min() else {
            return;
        };
        state.timer += 1;
        let timer = state.timer;
        self.push_at(at.max(self.now), What::Timer { line, timer });
    }

    fn timer(&mut self, line: Line, timer: u64) {
        if self
            .lines
            .get(&line)
            .is_none_or(|state| state.timer != timer)
        {
            return;
        }
        self.edge.handle_timeout(self.now, line);
        self.flush_edge();
        self.arrive(line, None);
        self.set_timer(line);
    }
}
