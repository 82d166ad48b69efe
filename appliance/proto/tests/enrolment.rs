//! Both ends of an enrolment in one process: what a key, a stranger, a cut and a flipped bit lead to.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on says where")]

use connector_proto::derive::EnrolSecrets;
use connector_proto::enrol;
use connector_proto::error::Error;
use connector_proto::frame;
use connector_proto::key::ProvisioningKey;
use connector_proto::limits;
use connector_proto::message::{EnrolAccepted, EnrolHello, EnrolRefusal, Fingerprint, Message};
use connector_proto::time::{Instant, UnixSeconds};

const EXPORTER: [u8; 32] = [7; 32];
const TIME: UnixSeconds = UnixSeconds(1_800_000_000);
const FINGERPRINT: Fingerprint = Fingerprint {
    mac: [2; 6],
    smbios_uuid: [3; 16],
    vm_generation: [4; 16],
    tpm: [5; 32],
};

#[test]
fn a_key_enrols_and_both_sides_agree() {
    let mut pair = EnrolPair::new(EXPORTER);
    assert_eq!(pair.run(Decision::Accept), Ok(()));
    let Some(enrol::ConnectorEvent::Enrolled(enrolment)) = pair.outcome else {
        panic!("{:?}", pair.outcome)
    };
    assert_eq!(
        (
            enrolment.identity.name.as_str(),
            enrolment.identity.group.as_str()
        ),
        ("mumbai-01", "Mumbai")
    );
    assert_eq!(
        (enrolment.identity.ca.clone(), enrolment.time),
        (b"the edge's CA".to_vec(), TIME)
    );
    assert_eq!(pair.csr_at_edge.as_deref(), Some(b"csr".as_slice()));
}

#[test]
fn a_middlebox_between_two_tls_sessions_learns_and_answers_nothing() {
    // The connector's exporter is not the edge's: somebody relays.
    let mut pair = EnrolPair::new([8; 32]);
    assert_eq!(pair.run(Decision::Accept), Err(Error::ProofInvalid));
    assert_eq!(pair.outcome, None);
    assert_eq!(
        pair.csr_at_edge, None,
        "nothing of the machine goes out before the proof holds"
    );
}

#[test]
fn a_refusal_after_the_proof_is_the_edges_for_certain() {
    let mut pair = EnrolPair::new(EXPORTER);
    let reason = EnrolRefusal::KeySpent { max_uses: 1 };
    assert_eq!(pair.run(Decision::Refuse(reason)), Ok(()));
    assert_eq!(
        pair.outcome,
        Some(enrol::ConnectorEvent::Refused {
            reason,
            proven: true
        })
    );
}

#[test]
fn an_unknown_key_is_refused_without_proof() {
    let mut pair = EnrolPair::new(EXPORTER);
    assert_eq!(pair.run(Decision::Unknown), Ok(()));
    let reason = EnrolRefusal::KeyUnknown;
    assert_eq!(
        pair.outcome,
        Some(enrol::ConnectorEvent::Refused {
            reason,
            proven: false
        })
    );
}

#[test]
fn the_edge_refuses_a_request_that_another_key_signed() {
    let now = Instant::default();
    let other = EnrolSecrets::derive(&ProvisioningKey::from_random([9; 14]));
    let real = secrets();
    let mut edge = enrol::Edge::new(now, EXPORTER);
    let mut connector =
        enrol::Connector::new(now, secrets(), EXPORTER, b"csr".to_vec(), FINGERPRINT).unwrap();
    edge.handle_input(&connector.poll_transmit().unwrap())
        .unwrap();
    assert!(edge.poll_event().is_some());
    // The edge's database has another public key for this id.
    edge.key_found(other.signer.public_key(), &real.edge_proof, b"ca", TIME)
        .unwrap();
    connector
        .handle_input(&edge.poll_transmit().unwrap())
        .unwrap();
    let request = connector.poll_transmit().unwrap();
    assert_eq!(edge.handle_input(&request), Err(Error::ProofInvalid));
    assert!(edge.is_done());
}

#[test]
fn an_enrolment_without_an_answer_ends_on_both_sides_with_a_farewell() {
    let now = Instant::default();
    let mut edge = enrol::Edge::new(now, EXPORTER);
    let mut connector =
        enrol::Connector::new(now, secrets(), EXPORTER, b"csr".to_vec(), FINGERPRINT).unwrap();
    assert!(connector.poll_transmit().is_some(), "the hello");
    let late = now + limits::GREETING_MAX;
    assert_eq!(connector.handle_timeout(now), Ok(()));
    let awaited = "EnrolProof";
    assert_eq!(
        connector.handle_timeout(late),
        Err(Error::TimedOut { awaited })
    );
    let awaited = "EnrolHello";
    assert_eq!(edge.handle_timeout(late), Err(Error::TimedOut { awaited }));
    for (farewell, timeout) in [
        (connector.poll_transmit(), connector.poll_timeout()),
        (edge.poll_transmit(), edge.poll_timeout()),
    ] {
        assert!(farewell.is_some() && timeout.is_none());
    }
}

#[test]
fn enrolment_survives_any_cut_of_its_bytes() {
    for piece in [1, 2, 3, 7, 64] {
        let mut pair = EnrolPair::new(EXPORTER);
        pair.piece = piece;
        assert_eq!(pair.run(Decision::Accept), Ok(()), "pieces of {piece}");
        assert!(matches!(
            pair.outcome,
            Some(enrol::ConnectorEvent::Enrolled(_))
        ));
    }
}

#[test]
fn a_hello_that_is_too_long_is_an_error() {
    let mut edge = enrol::Edge::new(Instant::default(), EXPORTER);
    let result = edge.handle_input(&frame::encode(EnrolHello::ID, &[0; 17]).unwrap());
    assert_eq!(
        result,
        Err(Error::TrailingBytes {
            id: EnrolHello::ID,
            extra: 1
        })
    );
}

#[test]
fn a_connection_cut_after_any_byte_of_either_side_costs_no_use_and_the_same_csr_enrols() {
    for to_edge in [true, false] {
        let whole = Registry::default().connection([1; 32], Cut::never()).1;
        let len = if to_edge { whole.0 } else { whole.1 };
        assert!(len > 100, "{len} bytes");
        for after in 0..=len {
            let cut = if to_edge {
                Cut {
                    to_edge: after,
                    ..Cut::never()
                }
            } else {
                Cut {
                    to_connector: after,
                    ..Cut::never()
                }
            };
            let mut registry = Registry::default();
            let (first, _) = registry.connection([1; 32], cut);
            assert_eq!(first.is_some(), after == len, "{after} of {len} bytes");
            // Another connection has another exporter, and the machine the same key pair.
            let (second, _) = registry.connection([2; 32], Cut::never());
            let second = second.unwrap();
            assert_eq!(second.identity.certificate, b"certificate 1");
            assert!(first.is_none_or(|first| first == second));
            assert_eq!((registry.uses, registry.issued.len()), (1, 1));
        }
    }
}

#[test]
fn an_edge_with_any_byte_of_its_proof_wrong_is_refused_before_the_csr_leaves() {
    let proof = {
        let (mut connector, mut edge) = ends();
        edge.handle_input(&connector.poll_transmit().unwrap())
            .unwrap();
        answer_lookup(&mut edge);
        edge.poll_transmit().unwrap()
    };
    let mut refused = 0;
    for place in 0..proof.len() {
        for bit in 0..8 {
            let mut altered = proof.clone();
            altered[place] ^= 1 << bit;
            let (mut connector, _) = ends();
            assert!(connector.poll_transmit().is_some(), "the hello");
            let result = connector.handle_input(&altered);
            assert_eq!(connector.poll_event(), None, "byte {place}, bit {bit}");
            while let Some(bytes) = connector.poll_transmit() {
                assert!(!contains(&bytes, CSR), "byte {place}, bit {bit}");
                assert!(!contains(&bytes, &FINGERPRINT.smbios_uuid));
            }
            refused += usize::from(result.is_err());
        }
    }
    // All but a length that grew, which waits for bytes that do not come, and an id that became
    // ignorable: those wait for a proof until their time is over.
    let bits = proof.len() * 8;
    assert!((bits - 32..bits).contains(&refused), "{refused} of {bits}");
}

#[test]
fn a_connector_with_any_byte_of_its_request_wrong_is_not_enrolled() {
    let (mut connector, mut edge) = ends();
    edge.handle_input(&connector.poll_transmit().unwrap())
        .unwrap();
    answer_lookup(&mut edge);
    connector
        .handle_input(&edge.poll_transmit().unwrap())
        .unwrap();
    let request = connector.poll_transmit().unwrap();
    let fingerprint = postcard::to_allocvec(&FINGERPRINT).unwrap();
    let start = request
        .windows(fingerprint.len())
        .position(|part| part == fingerprint);
    let evidence = start.unwrap()..start.unwrap() + fingerprint.len();
    for place in 0..request.len() {
        let (mut connector, mut edge) = ends();
        edge.handle_input(&connector.poll_transmit().unwrap())
            .unwrap();
        answer_lookup(&mut edge);
        let mut altered = request.clone();
        altered[place] ^= 1;
        let _ = edge.handle_input(&altered);
        // The evidence is TLS's to protect: it is no proof of anything.
        assert_eq!(
            edge.poll_event().is_some(),
            evidence.contains(&place),
            "byte {place}"
        );
    }
}

const CSR: &[u8] = b"a signing request";

/// What an edge's store does about enrolments, with a key of one use.
#[derive(Default)]
struct Registry {
    uses: u32,
    /// Signing requests and their certificates.
    issued: Vec<(Vec<u8>, Vec<u8>)>,
}

/// After how many bytes each direction of a connection ends.
#[derive(Clone, Copy)]
struct Cut {
    to_edge: usize,
    to_connector: usize,
}

impl Cut {
    const fn never() -> Self {
        Self {
            to_edge: usize::MAX,
            to_connector: usize::MAX,
        }
    }
}

impl Registry {
    /// One connection until it is done or cut; the enrolment, and how many bytes went each way.
    fn connection(
        &mut self,
        exporter: [u8; 32],
        cut: Cut,
    ) -> (Option<enrol::Enrolment>, (usize, usize)) {
        let now = Instant::default();
        let mut connector =
            enrol::Connector::new(now, secrets(), exporter, CSR.to_vec(), FINGERPRINT).unwrap();
        let mut edge = enrol::Edge::new(now, exporter);
        let (mut sent, mut received) = (0, 0);
        let mut enrolment = None;
        loop {
            let to_edge = connector.poll_transmit();
            let to_connector = edge.poll_transmit();
            if to_edge.is_none() && to_connector.is_none() {
                return (enrolment, (sent, received));
            }
            for byte in to_edge.into_iter().flatten().take(cut.to_edge - sent) {
                sent += 1;
                edge.handle_input(&[byte]).unwrap();
                if let Some(event) = edge.poll_event() {
                    self.decide(&mut edge, &event);
                }
            }
            for byte in to_connector
                .into_iter()
                .flatten()
                .take(cut.to_connector - received)
            {
                received += 1;
                connector.handle_input(&[byte]).unwrap();
                if let Some(enrol::ConnectorEvent::Enrolled(whole)) = connector.poll_event() {
                    enrolment = Some(whole);
                }
            }
        }
    }

    fn decide(&mut self, edge: &mut enrol::Edge, event: &enrol::EdgeEvent) {
        let enrol::EdgeEvent::Request { csr, .. } = event else {
            return answer_lookup(edge);
        };
        if !self.issued.iter().any(|(known, _)| known == csr) {
            if self.uses == 1 {
                return edge.refuse(EnrolRefusal::KeySpent { max_uses: 1 });
            }
            self.uses += 1;
            let certificate = format!("certificate {}", self.uses).into_bytes();
            self.issued.push((csr.clone(), certificate));
        }
        let (_, certificate) = self.issued.iter().find(|(known, _)| known == csr).unwrap();
        edge.accept(&EnrolAccepted {
            certificate,
            connector_id: [1; 16],
            name: "mumbai-01",
            group: "Mumbai",
            grant_key: [2; 32],
        })
        .unwrap();
    }
}

/// Both ends on one TLS session.
fn ends() -> (enrol::Connector, enrol::Edge) {
    let now = Instant::default();
    let connector = enrol::Connector::new(now, secrets(), EXPORTER, CSR.to_vec(), FINGERPRINT);
    (connector.unwrap(), enrol::Edge::new(now, EXPORTER))
}

fn answer_lookup(edge: &mut enrol::Edge) {
    let _ = edge.poll_event();
    let real = secrets();
    let public_key = real.signer.public_key();
    edge.key_found(public_key, &real.edge_proof, b"the edge's CA", TIME)
        .unwrap();
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

/// What the edge decides.
#[derive(Clone, Copy)]
enum Decision {
    Accept,
    Refuse(EnrolRefusal),
    Unknown,
}

/// A connector and an edge that enrol over a wire which cuts bytes into pieces.
struct EnrolPair {
    connector: enrol::Connector,
    edge: enrol::Edge,
    piece: usize,
    outcome: Option<enrol::ConnectorEvent>,
    csr_at_edge: Option<Vec<u8>>,
}

impl EnrolPair {
    fn new(connector_exporter: [u8; 32]) -> Self {
        let now = Instant::default();
        Self {
            connector: enrol::Connector::new(
                now,
                secrets(),
                connector_exporter,
                b"csr".to_vec(),
                FINGERPRINT,
            )
            .unwrap(),
            edge: enrol::Edge::new(now, EXPORTER),
            piece: usize::MAX,
            outcome: None,
            csr_at_edge: None,
        }
    }

    fn run(&mut self, decision: Decision) -> Result<(), Error> {
        loop {
            let mut quiet = true;
            while let Some(bytes) = self.connector.poll_transmit() {
                quiet = false;
                for piece in bytes.chunks(self.piece.min(bytes.len())) {
                    self.edge.handle_input(piece)?;
                    if let Some(event) = self.edge.poll_event() {
                        self.decide(&event, decision);
                    }
                }
            }
            while let Some(bytes) = self.edge.poll_transmit() {
                quiet = false;
                for piece in bytes.chunks(self.piece.min(bytes.len())) {
                    self.connector.handle_input(piece)?;
                    if let Some(event) = self.connector.poll_event()
                        && event != enrol::ConnectorEvent::EdgeProven
                    {
                        self.outcome = Some(event);
                    }
                }
            }
            if quiet {
                return Ok(());
            }
        }
    }

    fn decide(&mut self, event: &enrol::EdgeEvent, decision: Decision) {
        let real = secrets();
        match (event, decision) {
            (enrol::EdgeEvent::Lookup { .. }, Decision::Unknown) => {
                self.edge.refuse(EnrolRefusal::KeyUnknown);
            }
            (enrol::EdgeEvent::Lookup { key_id }, _) => {
                assert_eq!(*key_id, real.id);
                self.edge
                    .key_found(
                        real.signer.public_key(),
                        &real.edge_proof,
                        b"the edge's CA",
                        TIME,
                    )
                    .unwrap();
            }
            (enrol::EdgeEvent::Request { .. }, Decision::Refuse(reason)) => {
                self.edge.refuse(reason)
            }
            (enrol::EdgeEvent::Request { csr, fingerprint }, _) => {
                assert_eq!(*fingerprint, FINGERPRINT);
                self.csr_at_edge = Some(csr.clone());
                self.edge
                    .accept(&EnrolAccepted {
                        certificate: b"certificate",
                        connector_id: [1; 16],
                        name: "mumbai-01",
                        group: "Mumbai",
                        grant_key: [2; 32],
                    })
                    .unwrap();
            }
        }
    }
}

fn secrets() -> EnrolSecrets {
    EnrolSecrets::derive(&ProvisioningKey::from_random([6; 14]))
}
