//! Connections: dialled, verified, delayed, broken.

use std::time::Duration;

use connector_proto::control::{Channel, ConnectorSide};
use connector_proto::derive::{EnrolSecrets, Exporter};
use connector_proto::enrol;
use connector_proto::life::{Event, Failure, Purpose};
use connector_proto::message::CloseCode;
use connector_proto::renew;

use super::{LineState, What, World, wall};
use crate::edge::{Line, Output};
use crate::machine::{Client, Heard};
use crate::sha256;

/// How long a machine waits for an answer to its first packet.
const DIAL_MAX: Duration = Duration::from_secs(15);

impl World {
    pub(super) fn open(&mut self, machine: usize, purpose: Purpose) {
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
    pub(super) fn handshake(&mut self, line: Line) {
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
            sha256(sha256(key)),
            "key and certificate belong together"
        );
        let is_over = strict && issued.not_after < wall(self.now);
        if is_over || !self.edge.accepts(&issued.root) {
            return Err(Failure::CertificateRefused);
        }
        Ok(issued.spki)
    }

    /// The machine ends its connection.
    pub(super) fn close(&mut self, machine: usize, code: Option<CloseCode>) {
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

    pub(super) fn tell_edge(
        &mut self,
        machine: usize,
        say: impl FnOnce(&mut Channel<ConnectorSide>),
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
    pub(super) fn arrive(&mut self, line: Line, bytes: Option<&[u8]>) {
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

    pub(super) fn fail(&mut self, line: Line, why: Failure) {
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

    pub(super) fn flush_edge(&mut self) {
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
    pub(super) fn send(&mut self, line: Line, way: usize, what: What) {
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
    pub(super) fn break_off(&mut self, line: Line) {
        if let Some(state) = self.lines.get_mut(&line) {
            state.is_broken = true;
            self.set_timer(line);
        }
    }

    pub(super) fn set_timer(&mut self, line: Line) {
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

    pub(super) fn timer(&mut self, line: Line, timer: u64) {
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
