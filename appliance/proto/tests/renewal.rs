//! Both ends of a renewal in one process.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on says where")]

use connector_proto::error::Error;
use connector_proto::frame;
use connector_proto::limits::{DER_MAX, GREETING_MAX};
use connector_proto::message::{
    Close, CloseCode, EnrolHello, Fingerprint, Message, RETIRED, RatchetValue, RenewAccepted,
    RenewRefusal, RenewRefused, Verdict,
};
use connector_proto::renew::{Connector, ConnectorEvent, Edge, EdgeEvent};
use connector_proto::time::{Instant, UnixSeconds};

const START: Instant = Instant::from_micros(0);
const CSR: &[u8] = b"a signing request";
const FINGERPRINT: Fingerprint = Fingerprint {
    mac: [2; 6],
    smbios_uuid: [3; 16],
    vm_generation: [4; 16],
    tpm: [5; 32],
};
const RATCHET: RatchetValue = RatchetValue([6; 32]);

#[test]
fn a_request_arrives_as_it_was_made_and_its_certificate_comes_back() {
    for piece in [1, 2, 7, usize::MAX] {
        let (mut connector, mut edge) = ends();
        for bytes in connector.poll_transmit().unwrap().chunks(piece) {
            edge.handle_input(bytes).unwrap();
        }
        let request = EdgeEvent::Request {
            csr: CSR.to_vec(),
            fingerprint: FINGERPRINT,
            ratchet: RATCHET,
        };
        assert_eq!(edge.poll_event(), Some(request));
        assert!(!edge.is_done());
        let certificate = b"certificate";
        let generation = 2;
        edge.accept(&RenewAccepted {
            certificate,
            generation,
        })
        .unwrap();
        assert!(edge.is_done() && edge.poll_timeout().is_none());
        for bytes in edge.poll_transmit().unwrap().chunks(piece) {
            assert_eq!(connector.poll_event(), None);
            connector.handle_input(bytes).unwrap();
        }
        let certificate = certificate.to_vec();
        let renewed = ConnectorEvent::Renewed {
            certificate,
            generation,
        };
        assert_eq!(connector.poll_event(), Some(renewed));
        assert_eq!(connector.poll_timeout(), None);
    }
}

#[test]
fn every_refusal_arrives_with_its_reason() {
    let expired_at = UnixSeconds(1_700_000_000);
    for reason in [
        RenewRefusal::Revoked,
        RenewRefusal::Disabled,
        RenewRefusal::TooLate { expired_at },
        RenewRefusal::Superseded,
        RenewRefusal::Held(Verdict::RestoredBackup),
        RenewRefusal::RequestInvalid,
        RenewRefusal::TryLater,
    ] {
        let (mut connector, mut edge) = ends();
        edge.handle_input(&connector.poll_transmit().unwrap())
            .unwrap();
        edge.refuse(reason);
        assert!(edge.is_done());
        connector
            .handle_input(&edge.poll_transmit().unwrap())
            .unwrap();
        assert_eq!(
            connector.poll_event(),
            Some(ConnectorEvent::Refused(reason))
        );
    }
}

#[test]
fn without_an_answer_a_renewal_ends_on_both_sides_with_a_farewell() {
    let (mut connector, mut edge) = ends();
    let request = connector.poll_transmit().unwrap();
    let (half, _) = request.split_at(20);
    edge.handle_input(half).unwrap();
    let late = START + GREETING_MAX;
    assert_eq!(connector.handle_timeout(START), Ok(()));
    assert_eq!(edge.handle_timeout(START), Ok(()));
    let awaited = "RenewAccepted";
    assert_eq!(
        connector.handle_timeout(late),
        Err(Error::TimedOut { awaited })
    );
    let awaited = "RenewRequest";
    assert_eq!(edge.handle_timeout(late), Err(Error::TimedOut { awaited }));
    for (farewell, timeout) in [
        (connector.poll_transmit(), connector.poll_timeout()),
        (edge.poll_transmit(), edge.poll_timeout()),
    ] {
        assert!(farewell.is_some() && timeout.is_none());
    }
}

#[test]
fn an_edge_that_decided_too_late_or_too_early_says_nothing() {
    let accepted = RenewAccepted {
        certificate: b"certificate",
        generation: 2,
    };
    let (mut connector, mut edge) = ends();
    let early = edge.accept(&accepted);
    assert!(matches!(early, Err(Error::NotReady { .. })));
    edge.handle_input(&connector.poll_transmit().unwrap())
        .unwrap();
    assert!(edge.handle_timeout(START + GREETING_MAX).is_err());
    assert!(edge.poll_transmit().is_some(), "the farewell");
    assert_eq!(edge.accept(&accepted), Ok(()));
    edge.refuse(RenewRefusal::TryLater);
    assert_eq!(edge.poll_transmit(), None);
}

#[test]
fn a_certificate_of_no_bytes_or_of_too_many_is_refused() {
    let long = [0x30; DER_MAX + 1];
    for (certificate, good) in [
        (&long[..0], false),
        (&long[..DER_MAX], true),
        (&long, false),
    ] {
        let (mut connector, _) = ends();
        let result = tell(
            &mut connector,
            &RenewAccepted {
                certificate,
                generation: 2,
            },
        );
        let id = RenewAccepted::ID;
        let expected = if good {
            Ok(())
        } else {
            Err(Error::InvalidMessage { id })
        };
        assert_eq!(result, expected, "{} bytes", certificate.len());
        assert_eq!(connector.poll_event().is_some(), good);
    }
}

#[test]
fn anything_else_in_the_place_of_an_answer_is_a_typed_error() {
    let (mut connector, _) = ends();
    let result = tell(&mut connector, &EnrolHello { key_id: [1; 16] });
    assert!(matches!(result, Err(Error::UnexpectedMessage { .. })));
    assert!(connector.poll_transmit().is_some() && connector.poll_timeout().is_none());

    let (mut connector, _) = ends();
    let code = CloseCode::NotAuthorised;
    let detail = "";
    let closed = tell(&mut connector, &Close { code, detail });
    assert_eq!(closed, Err(Error::PeerClosed { code }));

    let (mut connector, _) = ends();
    let reason = RenewRefusal::TryLater;
    tell(&mut connector, &RenewRefused { reason }).unwrap();
    let again = tell(&mut connector, &RenewRefused { reason });
    assert!(matches!(again, Err(Error::UnexpectedMessage { .. })));

    let mut edge = Edge::new(START);
    for id in RETIRED {
        let mut edge = Edge::new(START);
        let retired = frame::encode(id, &[0; 40]).unwrap();
        assert_eq!(
            edge.handle_input(&retired),
            Err(Error::UnknownMessage { id })
        );
    }
    let ignorable = frame::encode(0x7fff | frame::IGNORABLE, b"new").unwrap();
    assert_eq!(edge.handle_input(&ignorable), Ok(()));
    let second = [request(), request()].concat();
    let result = edge.handle_input(&second);
    assert!(matches!(result, Err(Error::UnexpectedMessage { .. })));
    assert_eq!(edge.poll_event(), None, "nothing is left to decide");
}

#[test]
fn a_signing_request_larger_than_a_message_is_not_sent() {
    let csr = [0; 4096];
    let result = Connector::new(START, &csr, FINGERPRINT, RATCHET);
    assert!(matches!(result, Err(Error::OutboxFull { .. })));
}

fn ends() -> (Connector, Edge) {
    let connector = Connector::new(START, CSR, FINGERPRINT, RATCHET).unwrap();
    (connector, Edge::new(START))
}

fn request() -> Vec<u8> {
    ends().0.poll_transmit().unwrap()
}

fn tell<'a, M: Message<'a>>(connector: &mut Connector, message: &M) -> Result<(), Error> {
    connector.handle_input(&encoded(message))
}

fn encoded<'a, M: Message<'a>>(message: &M) -> Vec<u8> {
    frame::encode(M::ID, &postcard::to_allocvec(message).unwrap()).unwrap()
}
