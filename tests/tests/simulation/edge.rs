//! The service edge of a simulated world: its real store, and the edge's ends of the protocol.

use std::collections::{BTreeMap, BTreeSet};

use connector_proto::control::{Channel, EdgeSide};
use connector_proto::derive::Exporter;
use connector_proto::life::validity::{Validity, unsigned_certificate};
use connector_proto::message::{Fingerprint, RatchetValue};
use connector_proto::time::{Instant, UnixSeconds};
use connector_proto::{enrol, life, renew};
use edge::authorise::{Endpoint, authorise};
use edge::recognise::Incumbent;
use edge::store::Store;
use edge::store::audit::Entry;
use edge::store::roots::{Root, RootState};
use ring::signature::Ed25519KeyPair;

use super::chance::Chance;
use super::sha256;

mod control;
mod issue;

/// Wall-clock time at the start of the world.
pub const START: u64 = 1_800_000_000;
/// The one group.
pub const GROUP: &str = "fleet";

/// The number of a connection.
pub type Line = u64;

/// The edge.
#[derive(Debug)]
pub struct Edge {
    pub store: Store,
    pub chance: Chance,
    /// Ends of connections.
    ends: BTreeMap<Line, End>,
    /// The control channel of each connector.
    pub connected: BTreeMap<[u8; 16], Line>,
    /// Who greeted and waits until the incumbent has answered, by the incumbent.
    waiting: BTreeMap<Line, Vec<Line>>,
    /// Ratchet values that a copy presented while the connector itself was there.
    pub copies: BTreeSet<([u8; 16], [u8; 32])>,
    /// The ratchet values that a connector may hold: the one it stored last, and the one on its way.
    held_values: BTreeMap<[u8; 16], [Option<[u8; 32]>; 2]>,
    /// Certificates, and whose they are.
    issued: BTreeMap<Vec<u8>, Issued>,
    pub roots: Vec<Root>,
    serial: u64,
    /// Its disk is full, or its database locked.
    pub is_failing: bool,
    touched: BTreeSet<Line>,
    pub tally: Tally,
}

/// What happened at the edge.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub enrolments: u64,
    pub admitted: u64,
    pub renewals: u64,
    pub held: u64,
    pub reverted: u64,
    pub asked: u64,
}

/// Whose certificate it is.
#[derive(Clone, Copy, Debug)]
pub struct Issued {
    /// SHA-256 of the public key.
    pub spki: [u8; 32],
    /// The root that issued it.
    pub root: [u8; 32],
    pub not_after: UnixSeconds,
}

#[derive(Debug)]
enum End {
    Enrol {
        machine: enrol::Edge,
        key_id: [u8; 16],
    },
    Renew {
        machine: renew::Edge,
        spki: [u8; 32],
    },
    Control(Box<Control>),
}

#[derive(Debug)]
struct Control {
    channel: Channel<EdgeSide>,
    spki: [u8; 32],
    /// The connector, from the handshake on.
    id: [u8; 16],
    hello: Option<(Fingerprint, RatchetValue)>,
    /// The newest ratchet value that was handed out on it.
    step: u64,
    is_asked: bool,
    wants_ratchet: bool,
}

/// What the edge sends, or ends.
#[derive(Debug)]
pub enum Output {
    Bytes(Vec<u8>),
    End,
}

impl Edge {
    pub fn new(mut chance: Chance) -> Self {
        let audit_key = Ed25519KeyPair::from_seed_unchecked(&chance.bytes::<32>()).unwrap();
        let store = Store::in_memory(audit_key).unwrap();
        let now = UnixSeconds(START);
        store
            .add_first_root(&[1; 40], Entry::new("root_added"), now)
            .unwrap();
        store.add_group(GROUP, now).unwrap();
        let roots = store.roots().unwrap();
        Self {
            store,
            chance,
            ends: BTreeMap::new(),
            connected: BTreeMap::new(),
            waiting: BTreeMap::new(),
            copies: BTreeSet::new(),
            held_values: BTreeMap::new(),
            issued: BTreeMap::new(),
            roots,
            serial: 0,
            is_failing: false,
            touched: BTreeSet::new(),
            tally: Tally::default(),
        }
    }

    /// Whose certificate that is, if this edge issued it.
    pub fn issued(&self, certificate: &[u8]) -> Option<Issued> {
        self.issued.get(certificate).copied()
    }

    /// The certificate of the root that issues, and by which the edge proves itself.
    pub fn ca(&self) -> &[u8] {
        let active = self
            .roots
            .iter()
            .find(|root| root.state == RootState::Active);
        &active.unwrap().certificate
    }

    fn other_ca(&self) -> &[u8] {
        let other = self
            .roots
            .iter()
            .find(|root| root.state != RootState::Active);
        other.map_or(&[], |root| &root.certificate)
    }

    /// Whether certificates of that root are accepted.
    pub fn accepts(&self, root: &[u8; 32]) -> bool {
        self.roots.iter().any(|own| own.hash() == *root)
    }

    /// Whether the connection's end at the edge is there.
    pub fn has_end(&self, line: Line) -> bool {
        self.ends.contains_key(&line)
    }

    pub fn accept_enrolment(&mut self, now: Instant, line: Line, exporter: Exporter) {
        let machine = enrol::Edge::new(now, exporter);
        let key_id = [0; 16];
        self.ends.insert(line, End::Enrol { machine, key_id });
    }

    pub fn accept_renewal(&mut self, now: Instant, line: Line, spki: [u8; 32]) {
        let machine = renew::Edge::new(now);
        self.ends.insert(line, End::Renew { machine, spki });
    }

    /// A control channel, unless the holder of the certificate may not have one.
    pub fn accept_control(&mut self, now: Instant, line: Line, spki: [u8; 32]) {
        let mut channel = Channel::edge(now, self.chance.next());
        let mut id = [0; 16];
        let holder = self.store.holder(&spki).unwrap();
        match authorise(Endpoint::Control, &holder.standing, wall(now)) {
            Ok(()) => id = holder.identity.unwrap().id,
            Err(denied) => channel.close(denied.close_code()),
        }
        let control = Control {
            channel,
            spki,
            id,
            hello: None,
            step: 0,
            is_asked: false,
            wants_ratchet: false,
        };
        self.ends.insert(line, End::Control(Box::new(control)));
        self.touched.insert(line);
    }

    /// Takes bytes of a connector.
    pub fn handle_input(&mut self, now: Instant, line: Line, bytes: &[u8]) {
        self.touched.insert(line);
        // What the connector did wrong ends its connection; a farewell is left.
        let _ = match self.ends.get_mut(&line) {
            Some(End::Enrol { machine, .. }) => machine.handle_input(bytes),
            Some(End::Renew { machine, .. }) => machine.handle_input(bytes),
            Some(End::Control(control)) => control.channel.handle_input(now, bytes),
            None => return,
        };
        self.handle_events(now, line);
    }

    pub fn handle_timeout(&mut self, now: Instant, line: Line) {
        self.touched.insert(line);
        let _ = match self.ends.get_mut(&line) {
            Some(End::Enrol { machine, .. }) => machine.handle_timeout(now),
            Some(End::Renew { machine, .. }) => machine.handle_timeout(now),
            Some(End::Control(control)) => control.channel.handle_timeout(now),
            None => return,
        };
        self.handle_events(now, line);
    }

    /// When something of this connection is due. The heartbeat of one that carries everything
    /// changes nothing and is left out: `is_broken` says that it does not.
    pub fn poll_timeout(&self, line: Line, is_broken: bool) -> Option<Instant> {
        match self.ends.get(&line)? {
            End::Enrol { machine, .. } => machine.poll_timeout(),
            End::Renew { machine, .. } => machine.poll_timeout(),
            End::Control(control) => {
                let is_quiet = control.channel.is_established() && !control.is_asked && !is_broken;
                control.channel.poll_timeout().filter(|_| !is_quiet)
            }
        }
    }

    /// The connector's end is gone.
    pub fn handle_end(&mut self, now: Instant, line: Line) {
        self.touched.remove(&line);
        let Some(end) = self.ends.remove(&line) else {
            return;
        };
        if let End::Control(control) = end {
            self.sign_off(now, line, control.id, control.step);
        }
    }

    /// What is to be sent; connections that are over are ended.
    pub fn poll_output(&mut self, now: Instant) -> Vec<(Line, Output)> {
        let mut outputs = Vec::new();
        while let Some(line) = self.touched.pop_first() {
            let Some(end) = self.ends.get_mut(&line) else {
                continue;
            };
            let is_over = match end {
                End::Enrol { machine, .. } => {
                    outputs.extend(sent(line, || machine.poll_transmit()));
                    machine.poll_timeout().is_none()
                }
                End::Renew { machine, .. } => {
                    outputs.extend(sent(line, || machine.poll_transmit()));
                    machine.is_done()
                }
                End::Control(control) => {
                    outputs.extend(sent(line, || control.channel.poll_transmit()));
                    control.channel.poll_timeout().is_none()
                }
            };
            if is_over {
                outputs.push((line, Output::End));
                self.handle_end(now, line);
            }
        }
        outputs
    }

    fn handle_events(&mut self, now: Instant, line: Line) {
        loop {
            match self.ends.get_mut(&line) {
                Some(End::Enrol { machine, .. }) => {
                    let Some(event) = machine.poll_event() else {
                        return;
                    };
                    self.handle_enrolment(now, line, event);
                }
                Some(End::Renew { machine, .. }) => {
                    let Some(event) = machine.poll_event() else {
                        return;
                    };
                    self.handle_renewal(now, line, &event);
                }
                Some(End::Control(control)) => {
                    let Some(event) = control.channel.poll_event() else {
                        return;
                    };
                    self.handle_control(now, line, event);
                }
                None => return,
            }
        }
    }

    /// Ends the waiting of those who greeted while this channel was the connector's.
    fn sign_off(&mut self, now: Instant, line: Line, id: [u8; 16], step: u64) {
        if self.connected.get(&id) == Some(&line) {
            self.connected.remove(&id);
            self.store.set_disconnected(&id, step, wall(now)).unwrap();
        }
        self.resume(now, line, Incumbent::None);
    }

    /// A certificate for whoever has this public key.
    fn issue(&mut self, spki: [u8; 32], now: Instant, not_after: UnixSeconds) -> Vec<u8> {
        self.serial += 1;
        let not_before = UnixSeconds(wall(now).0 - life::BACKDATED.as_secs());
        let dates = Validity {
            not_before,
            not_after,
        };
        let certificate = unsigned_certificate(dates, &self.serial.to_be_bytes());
        let issued = Issued {
            spki,
            root: sha256(self.ca()),
            not_after,
        };
        self.issued.insert(certificate.clone(), issued);
        certificate
    }

    fn control(&mut self, line: Line) -> Option<&mut Control> {
        match self.ends.get_mut(&line)? {
            End::Control(control) => Some(control),
            End::Enrol { .. } | End::Renew { .. } => None,
        }
    }
}

fn sent(line: Line, mut next: impl FnMut() -> Option<Vec<u8>>) -> Vec<(Line, Output)> {
    let mut outputs = Vec::new();
    while let Some(bytes) = next() {
        outputs.push((line, Output::Bytes(bytes)));
    }
    outputs
}

/// The edge's wall-clock time, which is right.
pub const fn wall(now: Instant) -> UnixSeconds {
    UnixSeconds(START + now.as_micros() / 1_000_000)
}
