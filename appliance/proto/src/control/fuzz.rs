//! Both ends of a control channel, with anybody in between: the body of the fuzz target `control`.

use alloc::vec::Vec;

use super::{Channel, ConnectorEvent, ConnectorSide, EVENTS_MAX, EdgeEvent, EdgeSide, Side};
use crate::error::Error;
use crate::frame;
use crate::limits;
use crate::message::{CloseCode, Fingerprint, KNOWN, RatchetValue, SessionRefusal, Welcome};
use crate::time::Instant;

/// Drives both machines by `data`: what each sends is delivered, cut, corrupted or replaced, time
/// passes, sessions are offered and refused.
///
/// # Panics
/// If a machine queues more than [`limits::OUTBOX_MAX`] bytes or more events than it may, hands
/// out a longer text than it may, waits for more after an error, or panics itself.
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
    /// How often the path was proven.
    proofs: u32,
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
        match which % 6 {
            0..=2 => {
                let _ = self.edge.open_session(bytes);
            }
            3 => {
                let detail = core::str::from_utf8(bytes).unwrap_or("not text");
                let reason = SessionRefusal::Unreachable;
                let _ = self.connector.refuse_session([6; 16], reason, detail);
            }
            4 => {
                self.connector.probe(self.now);
                self.edge.probe(self.now);
            }
            _ if which & 8 == 0 => self.connector.close(CloseCode::GoingAway),
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
            match event {
                ConnectorEvent::Welcomed { name, group, .. } => assert!(
                    name.len().max(group.len()) <= limits::NAME_MAX,
                    "{name:?} {group:?}"
                ),
                ConnectorEvent::PathProven => self.proofs += 1,
                ConnectorEvent::SessionOffered { .. } | ConnectorEvent::Closed { .. } => {}
            }
            assert!(self.proofs <= 1, "one question, one answer");
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
                EdgeEvent::Greeted { version, .. } => {
                    assert!(version.len() <= limits::NAME_MAX, "{version:?}");
                    self.welcome();
                }
                EdgeEvent::SessionRefused { detail, .. } => {
                    assert!(detail.len() <= limits::DETAIL_MAX, "{detail:?}");
                }
                EdgeEvent::Closed { .. } => assert!(!self.edge.is_established(), "it is closed"),
            }
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

    proptest! {
        #[test]
        fn no_script_makes_an_end_panic_or_queue_without_bound(data: Vec<u8>) {
            fuzz_control(&data);
        }
    }
}
