//! Both ends of a control channel, with anybody in between: the body of the fuzz target `control`.

use alloc::vec::Vec;

use super::{Channel, ConnectorEvent, ConnectorSide, EVENTS_MAX, EdgeEvent, EdgeSide, Side};
use crate::error::Error;
use crate::frame;
use crate::limits;
use crate::message::{
    CloseCode, Fingerprint, KNOWN, RatchetValue, SessionRefusal, Trust, Verdict, Welcome,
};
use crate::time::Instant;

/// Drives both machines by `data`: what each sends is delivered, cut, corrupted or replaced, time
/// passes, sessions are offered and refused, ratchet values and trust anchors handed out and stored.
///
/// # Panics
/// If a machine queues more than [`limits::OUTBOX_MAX`] bytes or more events than it may, hands
/// out a longer text than it may, waits for more after an error, takes a message out of order, offers a session too early, or panics itself.
pub fn fuzz_control(data: &[u8]) {
    let mut world = World::new();
    let mut script = data;
    while let Some((&command, rest)) = script.split_first() {
        let (&argument, rest) = rest.split_first().unwrap_or((&0, rest));
        script = world.step(command, argument, rest);
    }
    sent(&mut world.connector);
    sent(&mut world.edge);
}

struct World {
    connector: Channel<ConnectorSide>,
    edge: Channel<EdgeSide>,
    now: Instant,
    /// How often the path was proven: once at most.
    proofs: u32,
    /// What the edge took the connector for, if it said so; it does once at most.
    admitted: Option<bool>,
    /// Whether the connector is welcomed: once at most, and never if it is not admitted.
    is_welcomed: bool,
    /// The step of the newest ratchet value that the edge sent, and the connector got: it only grows.
    sent_step: u64,
    got_step: u64,
    /// Digests of the trust anchors that the edge sent.
    sent_trust: Vec<[u8; 32]>,
    /// Digest of the newest that the connector got.
    got_trust: [u8; 32],
    /// Whether somebody asked for the connector and has no answer.
    is_asked: bool,
}

impl World {
    fn new() -> Self {
        let now = Instant::default();
        let fingerprint = Fingerprint {
            mac: [2; 6],
            smbios_uuid: [3; 16],
            vm_generation: [0; 16],
            tpm: [0; 32],
        };
        let connector = Channel::connector(now, 1, "0.1.0", fingerprint, RatchetValue::default())
            .expect("a hello fits into an empty outbox");
        Self {
            connector,
            edge: Channel::edge(now, 2),
            now,
            proofs: 0,
            admitted: None,
            is_welcomed: false,
            sent_step: 0,
            got_step: 0,
            sent_trust: Vec::new(),
            got_trust: [0; 32],
            is_asked: false,
        }
    }

    /// Does one command; what it leaves of `script`.
    fn step<'a>(&mut self, command: u8, argument: u8, script: &'a [u8]) -> &'a [u8] {
        let to_edge = command & 0x80 == 0;
        let length = script.len().min(usize::from(argument));
        match command % 8 {
            // Mostly what the other side says, sometimes with one bit wrong.
            0..=2 => {
                let mut bytes = if to_edge {
                    sent(&mut self.connector)
                } else {
                    sent(&mut self.edge)
                };
                let at = usize::from(argument) % bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(at).filter(|_| command % 8 == 2) {
                    *byte ^= 1 << (command >> 4 & 7);
                }
                self.deliver(to_edge, &bytes, usize::from(argument) + 1);
                script
            }
            3 | 4 => {
                let (body, script) = script.split_at(length);
                let bytes = frame::encode(KNOWN[usize::from(command >> 3) % KNOWN.len()].0, body)
                    .expect("shorter than a byte can say");
                // In one read: this is where a queue would grow without a bound.
                let times = if command % 8 == 3 {
                    1
                } else {
                    usize::from(argument) * 4
                };
                self.deliver(to_edge, &bytes.repeat(times), usize::MAX);
                script
            }
            5 => {
                let (bytes, script) = script.split_at(length);
                self.deliver(to_edge, bytes, bytes.len().max(1));
                script
            }
            6 => {
                self.now = Instant::from_micros(
                    self.now
                        .as_micros()
                        .saturating_add(u64::from(argument) * 500_000),
                );
                let result = self.connector.handle_timeout(self.now);
                check(&self.connector, &result);
                let result = self.edge.handle_timeout(self.now);
                check(&self.edge, &result);
                script
            }
            _ => {
                let (text, script) = script.split_at(length);
                self.act(command >> 3, text);
                script
            }
        }
    }

    /// Something that a driver does of its own accord.
    fn act(&mut self, which: u8, bytes: &[u8]) {
        match which % 12 {
            0 | 1 => {
                let may = self.edge.takes_sessions();
                let offered = self.edge.open_session(bytes);
                assert!(may || offered.is_err(), "no ratchet value was stored");
            }
            2 => {
                let detail = core::str::from_utf8(bytes).unwrap_or("not text");
                let reason = SessionRefusal::Unreachable;
                let _ = self.connector.refuse_session([6; 16], reason, detail);
            }
            3 => {
                self.connector.probe(self.now);
                self.edge.probe(self.now);
            }
            4 => {
                let step = self.sent_step + 1;
                if self.edge.ratchet(step, RatchetValue([1; 32])).is_ok() {
                    self.sent_step = step;
                }
            }
            5 => {
                let step = bytes.first().map_or(self.got_step, |step| u64::from(*step));
                let _ = self.connector.ratchet_stored(step);
            }
            6 => {
                let (ca, other_ca) = bytes.split_at(bytes.len() / 2);
                if self.edge.trust(ca, other_ca).is_ok() {
                    self.sent_trust.push(Trust { ca, other_ca }.digest());
                }
            }
            7 => {
                let digest = bytes.first_chunk().unwrap_or(&self.got_trust);
                let _ = self.connector.trust_stored(*digest);
            }
            8 => self.is_asked |= self.edge.ask_alive(self.now, limits::INCUMBENT_MAX).is_ok(),
            9 => {
                let sessions = bytes
                    .first_chunk()
                    .map_or(9_000, |bytes| u32::from_be_bytes(*bytes));
                let _ = self.connector.announce_capacity(sessions);
            }
            10 => {
                let number = bytes.first_chunk().copied().map_or(1, u32::from_be_bytes);
                let _ = self.edge.ask_successor([6; 16], number);
            }
            _ if bytes.len().is_multiple_of(2) => self.connector.close(CloseCode::GoingAway),
            _ => self.edge.close(CloseCode::Replaced),
        }
    }

    fn deliver(&mut self, to_edge: bool, bytes: &[u8], piece: usize) {
        for piece in bytes.chunks(piece) {
            if to_edge {
                self.edge_reads(piece)
            } else {
                self.connector_reads(piece)
            }
        }
    }

    /// As the connector's driver does: events are looked at only if the input was in order.
    fn connector_reads(&mut self, bytes: &[u8]) {
        let result = self.connector.handle_input(self.now, bytes);
        check(&self.connector, &result);
        while let Some(event) = self.connector.poll_event() {
            self.connector_learns(event);
        }
    }

    fn connector_learns(&mut self, event: ConnectorEvent) {
        match event {
            ConnectorEvent::Recognised { admitted, .. } => {
                let before = self.admitted.replace(admitted);
                assert!(
                    before.is_none() && !self.is_welcomed,
                    "said once, and first"
                );
            }
            ConnectorEvent::Welcomed { name, group, .. } => {
                assert!(self.admitted != Some(false) && !self.is_welcomed);
                self.is_welcomed = true;
                let longest = name.len().max(group.len());
                assert!(longest <= limits::NAME_MAX, "{name:?} {group:?}");
            }
            ConnectorEvent::PathProven => {
                self.proofs += 1;
                assert!(self.proofs <= 1, "one question, one answer");
            }
            ConnectorEvent::Ratchet { step, value } => {
                assert!(self.got_step < step && value != RatchetValue::default());
                self.got_step = step;
            }
            ConnectorEvent::Trust { ca, other_ca } => {
                assert!(!ca.is_empty() && ca.len().max(other_ca.len()) <= limits::DER_MAX);
                let (ca, other_ca) = (ca.as_slice(), other_ca.as_slice());
                self.got_trust = Trust { ca, other_ca }.digest();
            }
            ConnectorEvent::SessionOffered { .. }
            | ConnectorEvent::Succeed { .. }
            | ConnectorEvent::Closed { .. } => {}
        }
    }

    fn edge_reads(&mut self, bytes: &[u8]) {
        let result = self.edge.handle_input(self.now, bytes);
        check(&self.edge, &result);
        if result.is_err() {
            return;
        }
        while let Some(event) = self.edge.poll_event() {
            match event {
                EdgeEvent::Greeted {
                    version,
                    fingerprint,
                    ..
                } => {
                    assert!(version.len() <= limits::NAME_MAX, "{version:?}");
                    self.decide(&fingerprint);
                }
                EdgeEvent::RatchetStored { step } => {
                    assert_eq!((step, true), (self.sent_step, self.edge.takes_sessions()));
                }
                EdgeEvent::Alive => {
                    assert!(core::mem::take(&mut self.is_asked), "nobody asked");
                }
                EdgeEvent::TrustStored { digest } => {
                    assert!(self.sent_trust.contains(&digest), "never sent");
                }
                EdgeEvent::SessionRefused { detail, .. } => {
                    assert!(detail.len() <= limits::DETAIL_MAX, "{detail:?}");
                }
                EdgeEvent::Capacity { sessions } => assert!(sessions <= limits::CAPACITY_MAX),
                EdgeEvent::Closed { .. } => assert!(!self.edge.is_established(), "it is closed"),
            }
        }
    }

    /// By the first byte of the fingerprint, which a script can alter: as before, or recognised.
    fn decide(&mut self, fingerprint: &Fingerprint) {
        if fingerprint.mac[0] == 2 {
            return self.welcome();
        }
        let admitted = fingerprint.mac[0].is_multiple_of(2);
        self.edge
            .recognise(Verdict::MovedNic, admitted)
            .expect("a verdict fits beside what one read can queue");
        if admitted {
            self.welcome();
        } else {
            self.edge.close(CloseCode::Held);
        }
    }

    fn welcome(&mut self) {
        let welcome = Welcome {
            name: "mumbai-01",
            group: "Mumbai",
            reconnect_spread_ms: 1_000,
            reconnect_cap_ms: 10_000,
        };
        self.edge
            .welcome(&welcome)
            .expect("a welcome fits beside what one read can queue");
    }
}

/// What holds after every call.
fn check<S: Side>(channel: &Channel<S>, result: &Result<(), Error>) {
    assert!(
        channel.events.len() <= EVENTS_MAX,
        "{} events",
        channel.events.len()
    );
    assert!(
        result.is_ok() || channel.poll_timeout().is_none(),
        "an error ends the channel"
    );
}

/// Everything that a side has to say.
fn sent<S: Side>(channel: &mut Channel<S>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(frame) = channel.poll_transmit() {
        bytes.extend(frame);
    }
    assert!(
        bytes.len() <= limits::OUTBOX_MAX,
        "{} bytes queued",
        bytes.len()
    );
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DELIVER_TO_EDGE: u8 = 0;
    const DELIVER_TO_CONNECTOR: u8 = 0x80;

    #[test]
    fn the_script_of_an_honest_greeting_establishes_both_ends_and_proves_the_path() {
        let mut world = World::new();
        for _ in 0..2 {
            assert!(!world.connector.is_path_proven());
            world.step(DELIVER_TO_EDGE, 0, &[]);
            world.step(DELIVER_TO_CONNECTOR, 0, &[]);
            assert!(world.connector.is_established() && world.edge.is_established());
        }
        assert!(world.connector.is_path_proven());
    }

    #[test]
    fn a_connector_that_closes_in_the_same_read_as_its_hello_stays_closed() {
        let mut world = World::new();
        world.connector.close(CloseCode::Normal);
        world.step(DELIVER_TO_EDGE, u8::MAX, &[]);
        assert!(!world.edge.is_established());
        assert_eq!(world.edge.poll_timeout(), None);
        assert_eq!(world.edge.poll_transmit(), None, "nobody reads a welcome");
    }

    #[test]
    fn scripts_reach_ratchet_values_trust_anchors_and_the_question_who_is_there() {
        const RATCHET: u8 = 4 << 3 | 7;
        const RATCHET_STORED: u8 = 5 << 3 | 7;
        const TRUST: u8 = 6 << 3 | 7;
        const TRUST_STORED: u8 = 7 << 3 | 7;
        const ASK: u8 = 8 << 3 | 7;
        const TIME: u8 = 6;
        let mut world = World::new();
        for act in [
            TIME,
            TIME,
            RATCHET,
            RATCHET_STORED,
            TRUST,
            TRUST_STORED,
            ASK,
            TIME,
        ] {
            let length = if act == TRUST { 2 } else { 0 };
            world.step(act, length, b"ab");
            for direction in [DELIVER_TO_EDGE, DELIVER_TO_CONNECTOR, DELIVER_TO_EDGE] {
                world.step(direction, u8::MAX, &[]);
            }
        }
        assert_eq!((world.got_step, world.edge.takes_sessions()), (1, true));
        assert_eq!(world.sent_trust, [world.got_trust]);
        assert!(!world.is_asked, "it answered");
        assert!(world.edge.is_established() && world.connector.is_established());
    }

    proptest! {
        #[test]
        fn no_script_makes_an_end_panic_or_queue_without_bound(data: Vec<u8>) {
            fuzz_control(&data);
        }
    }
}
