//! Renewals: in two phases, and from an edge that issues nonsense.

use std::io::{Read as _, Write as _};

use appliance::clock;
use connector_proto::local::{NoIdentity, Phase};
use connector_proto::message::{ALPN_RENEW, RenewAccepted, RenewRefusal};
use connector_proto::renew;
use rcgen::{CertificateParams, KeyPair};

use crate::edge::HostileEdge;
use crate::machine::{LOOPBACK, Machine, network};

/// What the edge answers to a renewal.
enum Answer {
    Accept,
    /// With a certificate for a key that nobody asked for.
    Another,
    Garbage,
    Refuse(RenewRefusal),
}

#[test]
fn a_renewed_certificate_is_used_next_and_takes_the_place_of_the_old_one_when_it_is_welcomed() {
    let edge = HostileEdge::new();
    let state = edge.enrolled_state_dated("127.0.0.1", 1999, 2034);
    let old = state.identity.as_ref().unwrap().certificate.clone();
    let old_key = state.private_key.clone();
    let machine = Machine::start_enrolled(state, network(LOOPBACK));
    let certificate = renew(&edge, &Answer::Accept).unwrap();
    let mut control = edge.meet();
    assert!(control.certificate() == certificate);
    // The edge has not taken it yet: both are there.
    let record = machine.record();
    assert!(record.identity.as_ref().unwrap().certificate == old);
    assert!(record.next.as_ref().unwrap().certificate == certificate);
    control.welcome();
    control.answer_path_probe();
    machine.wait_until_connected();
    let record = machine.record();
    assert!(record.identity.as_ref().unwrap().certificate == certificate);
    assert!(record.next.is_none() && record.private_key != old_key);
    machine.stop();
}

#[test]
fn a_certificate_for_another_key_is_not_taken_over_and_the_old_one_goes_on() {
    for answer in [Answer::Another, Answer::Garbage] {
        let edge = HostileEdge::new();
        let state = edge.enrolled_state_dated("127.0.0.1", 1999, 2034);
        let old = state.identity.as_ref().unwrap().certificate.clone();
        let machine = Machine::start_enrolled(state, network(LOOPBACK));
        renew(&edge, &answer);
        machine.wait_for_failure("not usable");
        let control = edge.established();
        assert!(control.certificate() == old);
        machine.wait_for_status(|status| {
            matches!(status.phase, Phase::Connected { .. }) && status.certificate_left_h.is_some()
        });
        machine.stop();
    }
}

#[test]
fn a_renewal_that_is_refused_for_good_asks_for_a_key() {
    let edge = HostileEdge::new();
    let state = edge.enrolled_state_dated("127.0.0.1", 1999, 2034);
    let machine = Machine::start_enrolled(state, network(LOOPBACK));
    renew(&edge, &Answer::Refuse(RenewRefusal::Revoked));
    machine.wait_for(|phase| {
        let why = NoIdentity::Revoked {
            name: "mumbai-01".parse().unwrap(),
        };
        *phase == Phase::NeedKey { refused: None, why }
    });
    machine.stop();
}

/// Takes a renewal and answers it; the certificate that was issued.
fn renew(edge: &HostileEdge, answer: &Answer) -> Option<Vec<u8>> {
    let mut tls = edge.accept(ALPN_RENEW);
    let mut machine = renew::Edge::new(clock::now());
    let mut buffer = [0; 4096];
    let csr = loop {
        let len = tls.read(&mut buffer).unwrap();
        assert_ne!(len, 0, "nothing is asked");
        machine.handle_input(&buffer[..len]).unwrap();
        if let Some(renew::EdgeEvent::Request { csr, .. }) = machine.poll_event() {
            break csr;
        }
    };
    let certificate = match answer {
        Answer::Accept => Some(edge.issue(&csr)),
        Answer::Another => {
            let params = CertificateParams::new(Vec::new()).unwrap();
            let other = params.serialize_request(&KeyPair::generate().unwrap());
            Some(edge.issue(other.unwrap().der()))
        }
        Answer::Garbage => Some(b"no certificate".to_vec()),
        Answer::Refuse(reason) => {
            machine.refuse(*reason);
            None
        }
    };
    if let Some(certificate) = &certificate {
        let generation = 2;
        let accepted = RenewAccepted {
            certificate,
            generation,
        };
        machine.accept(&accepted).unwrap();
    }
    while let Some(bytes) = machine.poll_transmit() {
        tls.write_all(&bytes).unwrap();
    }
    tls.conn.send_close_notify();
    tls.flush().unwrap();
    certificate
}
