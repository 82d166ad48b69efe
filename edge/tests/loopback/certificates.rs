//! Which certificate opens which door.

use std::io;

use connector_proto::control::ConnectorEvent;
use connector_proto::error::Error;
use connector_proto::grant;
use connector_proto::message::CloseCode;
use connector_proto::message::{ALPN_CONTROL, ALPN_DATA, ALPN_ENROL, ALPN_RENEW};
use connector_proto::renew::{Connector as Renewing, ConnectorEvent as RenewEvent};
use connector_proto::time::UnixSeconds;
use edge::store::Store;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{
    FINGERPRINT, HOST, Identity, Machine, PORT, TestEdge, Tls, attach, clock, dial,
    dial_with_chain, next_event, now, proxy_connect, soon,
};

/// A TLS 1.3 client is told of its refused certificate by the first read after its own handshake.
async fn is_let_in(connection: io::Result<Tls>) -> bool {
    let Ok(mut tls) = connection else {
        return false;
    };
    let mut buffer = [0; 64];
    let first = tokio::time::timeout(std::time::Duration::from_millis(300), tls.read(&mut buffer));
    // Whoever is let in hears nothing: the edge awaits the greeting.
    first.await.is_err()
}

/// What is behind the three doors that ask for a certificate.
const DOORS: [&[u8]; 3] = [ALPN_CONTROL, ALPN_DATA, ALPN_RENEW];

#[tokio::test(flavor = "multi_thread")]
async fn only_a_connectors_own_certificate_opens_control_data_and_renewal() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    let ca = &identity.enrolment.ca;
    let address = edge.address();
    for door in DOORS {
        let opened = opens(door, identity.dial(address, door).await).await;
        assert!(opened, "the connector's own");
        let opened = opens(door, dial(address, door, Some(ca), None).await).await;
        assert!(!opened, "no certificate");
        for (class, impostor) in impostors(&edge, &identity) {
            let connection = dial(address, door, Some(ca), Some(impostor)).await;
            assert!(!opens(door, connection).await, "{class}");
        }
    }
    identity.connect(address).await;
    let revoked = edge.enrolled().await;
    edge.store()
        .revoke_connector(revoked.name(), now())
        .unwrap();
    for door in DOORS {
        assert!(
            !opens(door, revoked.dial(address, door).await).await,
            "revoked"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_opens_renewal_and_nothing_else() {
    let edge = TestEdge::start().await;
    let mut identity = edge.enrolled().await;
    let mut params = client_params("whoever");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 1, 2);
    let expired = params.signed_by(&identity.machine.key, &own_ca(&edge, &identity));
    identity.enrolment.certificate = expired.unwrap().der().to_vec();
    for door in DOORS {
        let opened = opens(door, identity.dial(edge.address(), door).await).await;
        assert_eq!(opened, door == ALPN_RENEW);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_stuffed_with_a_connectors_certificate_opens_nothing() {
    let edge = TestEdge::start().await;
    let victim = edge.enrolled().await;
    let ca = victim.enrolment.ca.clone();
    let certificate = victim.enrolment.certificate.clone();
    let key = KeyPair::generate().unwrap();
    let attacker = client_params("attacker").self_signed(&key).unwrap();
    let attacker = attacker.der().to_vec();
    let mut by_victim = client_params("attacker");
    by_victim.use_authority_key_identifier_extension = true;
    let issuer = Issuer::from_ca_cert_der(&certificate.as_slice().into(), &key).unwrap();
    let under_victim = by_victim.signed_by(&key, &issuer).unwrap().der().to_vec();
    let chains = [
        (
            "the attacker's leaf first",
            vec![attacker, certificate.clone()],
        ),
        (
            "the victim's leaf with another key",
            vec![certificate.clone()],
        ),
        (
            "the victim as intermediate",
            vec![under_victim, certificate, ca.clone()],
        ),
    ];
    for (what, chain) in chains {
        for door in DOORS {
            let key = key.serialize_der();
            let connection = dial_with_chain(edge.address(), door, &ca, chain.clone(), key).await;
            assert!(!opens(door, connection).await, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_offered_to_one_connector_is_carried_by_no_other() {
    let edge = TestEdge::start().await;
    let victim = edge.enrolled().await;
    let (mut tls, mut channel) = victim.connect(edge.address()).await;
    let thief = edge.enrolled().await;
    let target = format!("{HOST}:{PORT}");
    let stealing = async {
        let grant = loop {
            let event = next_event(&mut tls, &mut channel).await.unwrap();
            if let ConnectorEvent::SessionOffered { grant } = event {
                break grant;
            }
        };
        let (grant_key, id) = (&victim.enrolment.grant_key, &victim.enrolment.connector_id);
        let session = grant::verify(&grant, grant_key, id, now()).unwrap().session;
        let refused = attach(&thief, edge.address(), session).await.err();
        let code = CloseCode::UnknownSession;
        assert_eq!(refused, Some(Error::PeerClosed { code }));
        attach(&victim, edge.address(), session).await.unwrap()
    };
    let ((status, _user), _carrier) = tokio::join!(proxy_connect(&edge, &target), stealing);
    assert_eq!(status, 200);
}

/// Whether a connection gets past a door. Behind that of renewal everybody asks for a renewal.
async fn opens(door: &[u8], connection: io::Result<Tls>) -> bool {
    if door != ALPN_RENEW {
        return is_let_in(connection).await;
    }
    let Ok(mut tls) = connection else {
        return false;
    };
    let next = Machine::new();
    let ratchet = next.stored();
    let mut renewing = Renewing::new(clock(), &next.csr, FINGERPRINT, ratchet).unwrap();
    let mut buffer = [0; 4096];
    loop {
        while let Some(bytes) = renewing.poll_transmit() {
            // Refused already: the read says so.
            let _ = tls.write_all(&bytes).await;
        }
        let _ = tls.flush().await;
        match soon("the answer", tls.read(&mut buffer)).await {
            Ok(0) | Err(_) => return false,
            Ok(len) if renewing.handle_input(&buffer[..len]).is_err() => return false,
            Ok(_) => {}
        }
        match renewing.poll_event() {
            Some(RenewEvent::Renewed { .. }) => return true,
            Some(RenewEvent::Refused(_)) => return false,
            None => {}
        }
    }
}

fn own_ca(edge: &TestEdge, identity: &Identity) -> Issuer<'static, KeyPair> {
    let key = KeyPair::try_from(edge.ca_key().as_slice()).unwrap();
    Issuer::from_ca_cert_der(&identity.enrolment.ca.as_slice().into(), key).unwrap()
}

/// Certificate and key, DER.
type Credentials = (Vec<u8>, Vec<u8>);

/// Certificates that are none of this edge's connectors', each with a key that fits.
fn impostors(edge: &TestEdge, identity: &Identity) -> Vec<(&'static str, Credentials)> {
    let read = |name: &str| std::fs::read(edge.dir.join(name)).unwrap();
    let id = identity
        .enrolment
        .connector_id
        .map(|byte| format!("{byte:02x}"))
        .concat();
    let self_made = KeyPair::generate().unwrap();
    let certificate = client_params(&id)
        .self_signed(&self_made)
        .unwrap()
        .der()
        .to_vec();

    let mut ca_params = client_params("outgate edge CA 00000000");
    ca_params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let foreign_ca = Issuer::new(ca_params, KeyPair::generate().unwrap());
    let theirs = KeyPair::generate().unwrap();
    let foreign = client_params(&id)
        .signed_by(&theirs, &foreign_ca)
        .unwrap()
        .der()
        .to_vec();

    // Even a certificate of the right CA opens nothing if the store does not know its key.
    let (ca, ca_key) = (identity.enrolment.ca.clone(), edge.ca_key());
    let own_ca = own_ca(edge, identity);
    let stray = KeyPair::generate().unwrap();
    let unknown = client_params(&id)
        .signed_by(&stray, &own_ca)
        .unwrap()
        .der()
        .to_vec();
    vec![
        (
            "self-made with a connector's name",
            (certificate, self_made.serialize_der()),
        ),
        ("another CA's", (foreign, theirs.serialize_der())),
        ("the edge's own", (read("edge.der"), read("edge.key"))),
        ("the CA itself", (ca, ca_key)),
        (
            "the right CA's, but unknown",
            (unknown, stray.serialize_der()),
        ),
    ]
}

fn client_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_protocol_of_ours_there_is_no_handshake() {
    let edge = TestEdge::start().await;
    for alpn in [&b""[..], b"h2", b"outgate-control/2"] {
        assert!(
            dial(edge.address(), alpn, None, None).await.is_err(),
            "{alpn:?}"
        );
    }
    assert!(dial(edge.address(), ALPN_ENROL, None, None).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_refused_connector_is_told_why_at_both_doors() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    let store = edge.store();
    let named = |act: fn(&Store, &str, UnixSeconds) -> Result<String, edge::Error>| {
        act(store, identity.name(), now()).unwrap();
    };
    named(Store::disable_connector);
    assert_eq!(refusals(&edge, &identity).await, CloseCode::Disabled);
    named(Store::enable_connector);
    assert!(is_let_in(identity.dial(edge.address(), ALPN_DATA).await).await);
    named(Store::revoke_connector);
    assert_eq!(refusals(&edge, &identity).await, CloseCode::Revoked);
    named(Store::delete_connector);
    assert_eq!(refusals(&edge, &identity).await, CloseCode::Revoked);
}

/// What a connector hears on a control and on a data channel, which is the same.
async fn refusals(edge: &TestEdge, identity: &Identity) -> CloseCode {
    let (_tls, _channel, event) = soon("the answer", identity.greet(edge.address())).await;
    let ConnectorEvent::Closed { code } = event else {
        panic!("{event:?}");
    };
    let refused = attach(identity, edge.address(), [1; 16]).await.err();
    assert_eq!(refused, Some(Error::PeerClosed { code }));
    code
}
