//! Which certificate opens which door.

use std::io;

use connector_proto::control::ConnectorEvent;
use connector_proto::error::Error;
use connector_proto::message::CloseCode;
use connector_proto::message::{ALPN_CONTROL, ALPN_DATA, ALPN_ENROL};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio::io::AsyncReadExt;

use crate::harness::{Identity, TestEdge, attach, dial, now, soon};

/// A TLS 1.3 client is told of its refused certificate by the first read after its own handshake.
async fn is_let_in(connection: io::Result<crate::harness::Tls>) -> bool {
    let Ok(mut tls) = connection else {
        return false;
    };
    let mut buffer = [0; 64];
    let first = tokio::time::timeout(std::time::Duration::from_millis(300), tls.read(&mut buffer));
    // Whoever is let in hears nothing: the edge awaits the greeting.
    first.await.is_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_connectors_own_certificate_opens_control_and_data() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    let ca = &identity.enrolment.ca;
    let address = edge.address();
    for alpn in [ALPN_CONTROL, ALPN_DATA] {
        assert!(is_let_in(identity.dial(address, alpn).await).await);
        assert!(
            !is_let_in(dial(address, alpn, Some(ca), None).await).await,
            "no certificate"
        );
        for (class, impostor) in impostors(&edge, &identity) {
            let connection = dial(address, alpn, Some(ca), Some(impostor)).await;
            assert!(!is_let_in(connection).await, "{class}");
        }
    }
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
    let ca_key = KeyPair::try_from(read("ca.key").as_slice()).unwrap();
    let own_ca = Issuer::from_ca_cert_der(&read("ca.der").into(), ca_key).unwrap();
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
        ("the CA itself", (read("ca.der"), read("ca.key"))),
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
async fn a_revoked_connector_is_told_that_it_is_not_authorised() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    edge.store()
        .revoke_connector(identity.name(), now())
        .unwrap();
    let (_tls, _channel, event) = soon("the answer", identity.greet(edge.address())).await;
    assert_eq!(
        event,
        ConnectorEvent::Closed {
            code: CloseCode::NotAuthorised
        }
    );
    let refused = attach(&identity, edge.address(), [1; 16]).await.err();
    let code = CloseCode::NotAuthorised;
    assert_eq!(refused, Some(Error::PeerClosed { code }));
}
