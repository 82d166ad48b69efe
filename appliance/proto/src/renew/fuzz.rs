//! Both sides of a renewal, with anybody in between: the body of the fuzz target `renew`.

use alloc::vec::Vec;

use super::{Connector, ConnectorEvent, Edge, EdgeEvent};
use crate::frame;
use crate::limits;
use crate::message::{Fingerprint, KNOWN, RatchetValue, RenewAccepted, RenewRefusal, Verdict};
use crate::time::Instant;

/// Drives both machines by `data`: what each sends is delivered, cut, corrupted or replaced, and the
/// edge decides at will.
///
/// # Panics
/// If a side learns a second outcome, takes a certificate of an impossible size, queues more than
/// [`limits::OUTBOX_MAX`], waits for more after an error, or panics itself.
pub fn fuzz_renew(data: &[u8]) {
    let mut script = data;
    let mut world = World::new();
    while let Some((&command, rest)) = script.split_first() {
        let (&argument, rest) = rest.split_first().unwrap_or((&0, rest));
        script = world.step(command, argument, rest);
    }
}

struct World {
    connector: Connector,
    edge: Edge,
    requests: u32,
    /// What the connector learned; one at most.
    outcome: Option<ConnectorEvent>,
}

impl World {
    fn new() -> Self {
        let now = Instant::default();
        let connector = Connector::new(now, b"csr", Fingerprint::default(), RatchetValue([1; 32]))
            .expect("a request fits into an empty outbox");
        Self {
            connector,
            edge: Edge::new(now),
            requests: 0,
            outcome: None,
        }
    }

    /// Does one command; what it leaves of `script`.
    fn step<'a>(&mut self, command: u8, argument: u8, script: &'a [u8]) -> &'a [u8] {
        let to_edge = command & 0x80 == 0;
        let (foreign, rest) = script.split_at(script.len().min(usize::from(argument)));
        let (bytes, script) = match command % 8 {
            // Mostly what the other side says, sometimes with one bit wrong.
            0..=3 => (self.sent(to_edge), script),
            4 => {
                let mut bytes = self.sent(to_edge);
                let at = usize::from(argument) % bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << (command >> 4 & 7);
                }
                (bytes, script)
            }
            5 => {
                let (id, _) = KNOWN[usize::from(command >> 3) % KNOWN.len()];
                let bytes = frame::encode(id, foreign).expect("shorter than a byte can say");
                (bytes, rest)
            }
            6 => (foreign.to_vec(), rest),
            _ => {
                let now = Instant::from_micros(u64::from(argument) * 100_000);
                let _ = self.connector.handle_timeout(now);
                let _ = self.edge.handle_timeout(now);
                (Vec::new(), script)
            }
        };
        for piece in bytes.chunks(usize::from(argument) + 1) {
            if to_edge {
                self.edge_reads(piece, argument)
            } else {
                self.connector_reads(piece)
            }
        }
        script
    }

    /// Everything that the side opposite to the reader has to say.
    fn sent(&mut self, to_edge: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(frame) = if to_edge {
            self.connector.poll_transmit()
        } else {
            self.edge.poll_transmit()
        } {
            bytes.extend(frame);
        }
        let queued = bytes.len();
        assert!(queued <= limits::OUTBOX_MAX, "{queued} bytes queued");
        bytes
    }

    fn connector_reads(&mut self, bytes: &[u8]) {
        let result = self.connector.handle_input(bytes);
        let waits = self.connector.poll_timeout().is_some();
        assert!(result.is_ok() || !waits, "an error ends the renewal");
        if let Some(event) = self.connector.poll_event() {
            if let ConnectorEvent::Renewed { certificate, .. } = &event {
                assert!((1..=limits::DER_MAX).contains(&certificate.len()));
            }
            assert_eq!(self.outcome.replace(event), None, "a second outcome");
        }
    }

    /// As the edge's driver does: events are looked at only if the input was in order.
    fn edge_reads(&mut self, bytes: &[u8], decision: u8) {
        if self.edge.handle_input(bytes).is_err() {
            assert!(self.edge.is_done() && self.edge.poll_event().is_none());
            return;
        }
        let Some(EdgeEvent::Request { .. }) = self.edge.poll_event() else {
            return;
        };
        self.requests += 1;
        assert_eq!(self.requests, 1, "one connection, one request");
        let certificate = [0x30; DER_STEP * u8::MAX as usize];
        let accepted = self.edge.accept(&RenewAccepted {
            certificate: &certificate[..DER_STEP * usize::from(decision)],
            generation: decision.into(),
        });
        if accepted.is_err() {
            self.edge.refuse(RenewRefusal::Held(Verdict::Copy));
        }
        assert!(self.edge.is_done());
    }
}

/// Certificates come in 255 sizes of this step, the largest of which fit into no message.
const DER_STEP: usize = limits::FRAME_BODY_MAX / 256 + 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DELIVER_TO_EDGE: u8 = 0;
    const DELIVER_TO_CONNECTOR: u8 = 0x80;

    #[test]
    fn the_script_of_an_honest_renewal_ends_with_a_certificate() {
        for (decision, renewed) in [(1, true), (89, true), (91, false), (254, false)] {
            let mut world = World::new();
            world.step(DELIVER_TO_EDGE, decision, &[]);
            world.step(DELIVER_TO_CONNECTOR, u8::MAX, &[]);
            let got = matches!(world.outcome, Some(ConnectorEvent::Renewed { .. }));
            assert_eq!(got, renewed, "{} bytes", DER_STEP * usize::from(decision));
        }
    }

    proptest! {
        #[test]
        fn no_script_makes_a_side_panic_or_end_twice(data: Vec<u8>) {
            fuzz_renew(&data);
        }
    }
}
