//! Both sides of an enrolment, with anybody in between: the body of the fuzz target `enrol`.

use alloc::vec::Vec;

use super::{Connector, ConnectorEvent, Edge, EdgeEvent};
use crate::derive::{EdgeProofKey, EnrolSecrets, Exporter};
use crate::error::Error;
use crate::frame;
use crate::key::ProvisioningKey;
use crate::limits;
use crate::message::{EnrolAccepted, EnrolRefusal, Fingerprint, KNOWN};
use crate::time::{Instant, UnixSeconds};

/// Drives both machines by `data`: what each sends is delivered, cut, corrupted or replaced, and
/// the edge decides at will. The first byte says whether both ends are on one TLS session.
///
/// # Panics
/// If a side believes the other over a TLS session that is not shared, queues more than
/// [`limits::OUTBOX_MAX`], waits for more after an error, or panics itself.
pub fn fuzz_enrol(data: &[u8]) {
    let Some((first, mut script)) = data.split_first() else {
        return;
    };
    let relayed = first % 2 == 1;
    let mut world = World::new(if relayed { [8; 32] } else { EXPORTER });
    while let Some((&command, rest)) = script.split_first() {
        let (&argument, rest) = rest.split_first().unwrap_or((&0, rest));
        script = world.step(command, argument, rest);
    }
    assert!(
        !(relayed && world.believed),
        "somebody relays, and is believed"
    );
}

struct World {
    connector: Connector,
    edge: Edge,
    public_key: [u8; 32],
    proof_key: EdgeProofKey,
    /// Whether a proof of one side was accepted by the other.
    believed: bool,
}

impl World {
    fn new(edge_exporter: Exporter) -> Self {
        let secrets = EnrolSecrets::derive(&ProvisioningKey::from_random([7; 14]));
        let public_key = secrets.signer.public_key();
        let proof_key = EdgeProofKey::from_bytes(*secrets.edge_proof.as_bytes());
        let csr = b"csr".to_vec();
        let fingerprint = Fingerprint {
            mac: [2; 6],
            smbios_uuid: [3; 16],
            vm_generation: [0; 16],
            tpm: [0; 32],
        };
        let connector = Connector::new(Instant::default(), secrets, EXPORTER, csr, fingerprint)
            .expect("a hello fits into an empty outbox");
        let edge = Edge::new(Instant::default(), edge_exporter);
        Self {
            connector,
            edge,
            public_key,
            proof_key,
            believed: false,
        }
    }

    /// Does one command; what it leaves of `script`.
    fn step<'a>(&mut self, command: u8, argument: u8, script: &'a [u8]) -> &'a [u8] {
        let to_edge = command & 0x80 == 0;
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
                let (body, script) = script.split_at(script.len().min(usize::from(argument)));
                (
                    frame::encode(KNOWN[usize::from(command >> 3) % KNOWN.len()].0, body)
                        .expect("shorter than a byte can say"),
                    script,
                )
            }
            6 => {
                let (bytes, script) = script.split_at(script.len().min(usize::from(argument)));
                (bytes.to_vec(), script)
            }
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
        assert!(
            bytes.len() <= limits::OUTBOX_MAX,
            "{} bytes queued",
            bytes.len()
        );
        bytes
    }

    fn connector_reads(&mut self, bytes: &[u8]) {
        if self.connector.handle_input(bytes).is_err() {
            assert_eq!(
                self.connector.poll_timeout(),
                None,
                "an error ends the enrolment"
            );
        }
        self.believed |= match self.connector.poll_event() {
            Some(ConnectorEvent::EdgeProven | ConnectorEvent::Enrolled(_)) => true,
            Some(ConnectorEvent::Refused { proven, .. }) => proven,
            None => false,
        };
    }

    /// As the edge's driver does: events are looked at only if the input was in order.
    fn edge_reads(&mut self, bytes: &[u8], decision: u8) {
        if self.edge.handle_input(bytes).is_err() {
            assert!(self.edge.is_done(), "an error ends the enrolment");
            return;
        }
        while let Some(event) = self.edge.poll_event() {
            if self.decide(&event, decision).is_err() {
                self.edge.refuse(EnrolRefusal::TryLater);
            }
        }
    }

    fn decide(&mut self, event: &EdgeEvent, decision: u8) -> Result<(), Error> {
        let der = [0x30; DER_STEP * u8::MAX as usize];
        let der = &der[..DER_STEP * usize::from(decision)];
        self.believed |= matches!(event, EdgeEvent::Request { .. });
        if decision % 4 == 3 {
            self.edge.refuse(EnrolRefusal::KeySpent {
                max_uses: decision.into(),
            });
            return Ok(());
        }
        match event {
            EdgeEvent::Lookup { .. } => {
                let time = UnixSeconds(u64::MAX - u64::from(decision));
                self.edge
                    .key_found(self.public_key, &self.proof_key, der, time)
            }
            EdgeEvent::Request { .. } => self.edge.accept(&EnrolAccepted {
                certificate: der,
                connector_id: [4; 16],
                name: "mumbai-01",
                group: "Mumbai",
                grant_key: [5; 32],
            }),
        }
    }
}

const EXPORTER: Exporter = [7; 32];

/// Certificates come in 255 sizes of this step, the largest of which fit into no message.
const DER_STEP: usize = limits::FRAME_BODY_MAX / 256 + 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DELIVER_TO_EDGE: u8 = 0;
    const DELIVER_TO_CONNECTOR: u8 = 0x80;

    #[test]
    fn the_script_of_an_honest_enrolment_ends_in_belief_and_the_relayed_one_does_not() {
        let believed = |exporter| {
            let mut world = World::new(exporter);
            for command in [DELIVER_TO_EDGE, DELIVER_TO_CONNECTOR].repeat(2) {
                world.step(command, 0, &[]);
            }
            world.believed
        };
        assert!(believed(EXPORTER));
        assert!(!believed([8; 32]));
    }

    #[test]
    fn a_ca_that_fits_no_message_is_refused_instead_of_sent() {
        let is_done = |argument: u8| {
            let mut world = World::new(EXPORTER);
            world.step(DELIVER_TO_EDGE, argument, &[]);
            world.edge.is_done()
        };
        assert!(!is_done(238), "4,046 bytes and a proof fit");
        assert!(is_done(254), "4,318 bytes do not");
    }

    #[test]
    fn an_edge_that_met_an_error_has_nothing_left_to_decide() {
        let mut world = World::new(EXPORTER);
        let mut read = world.sent(true);
        read.extend([0xff; 4]);
        assert!(world.edge.handle_input(&read).is_err());
        assert_eq!(
            world.edge.poll_event(),
            None,
            "the hello came with a frame of 4 GiB"
        );
        world.edge_reads(&[0], 0);
        assert!(world.edge.is_done());
    }

    proptest! {
        #[test]
        fn no_script_makes_a_side_panic_or_believe_a_stranger(data: Vec<u8>) {
            fuzz_enrol(&data);
        }
    }
}
