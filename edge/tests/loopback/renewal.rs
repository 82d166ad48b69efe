//! Certificates that follow each other.

use connector_proto::control::ConnectorEvent;
use connector_proto::message::{ALPN_CONTROL, ALPN_RENEW, CloseCode, RenewRefusal};
use connector_proto::renew::{Connector, ConnectorEvent as RenewEvent};
use connector_proto::time::UnixSeconds;
use edge::authority::{Authority, RequestKey, open_store};
use edge::config::DataDir;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{Identity, Machine, TestEdge, clock, now, soon};

const DAY: u64 = 86_400;

#[tokio::test(flavor = "multi_thread")]
async fn a_connector_renews_with_a_new_key_and_the_old_certificate_holds_until_the_new_one_is_used()
{
    let edge = TestEdge::start().await;
    let old = edge.enrolled().await;
    drop(old.connect(edge.address()).await);
    let request = another(&old.machine);
    let first = renew(&old, edge.address(), &request).await.unwrap();
    // The answer was lost: the same request is the same renewal.
    let again = renew(&old, edge.address(), &request).await.unwrap();
    assert_eq!((first.1, again.1), (2, 2));
    drop(old.connect(edge.address()).await);
    request.store(old.machine.stored());
    let new = with_certificate(&old, request, again.0);
    let (_tls, _channel) = new.connect(edge.address()).await;
    let refused = renew(&old, edge.address(), &another(&old.machine)).await;
    assert_eq!(refused, Err(RenewRefusal::Superseded));
    assert_eq!(edge.uses(), 1);
    let events = edge.audit_events();
    let count = |event| events.iter().filter(|one| *one == event).count();
    assert_eq!(count("certificate_renewed"), 1, "{events:?}");
    assert_eq!(count("renewal_repeated"), 1, "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_was_off_renews_by_proof_of_its_key_for_30_days() {
    let edge = TestEdge::start().await;
    let present = edge.enrolled().await;
    let off = expired(&edge, present, 29 * DAY);
    assert!(!is_welcome(&off, &edge).await, "its time is over");
    let request = another(&off.machine);
    let (certificate, generation) = renew(&off, edge.address(), &request).await.unwrap();
    assert_eq!(generation, 2);
    let back = with_certificate(&off, request, certificate);
    drop(back.connect(edge.address()).await);

    let long_off = expired(&edge, edge.enrolled().await, 31 * DAY);
    let refused = renew(&long_off, edge.address(), &Machine::new()).await;
    let Err(RenewRefusal::TooLate { expired_at }) = refused else {
        panic!("{refused:?}")
    };
    assert!(now().0 - expired_at.0 >= 31 * DAY);
    // Its time is not what counts for who was revoked.
    let id = long_off.name().to_owned();
    edge.store().revoke_connector(&id, now()).unwrap();
    let refused = renew(&long_off, edge.address(), &Machine::new()).await;
    assert_eq!(refused, Err(RenewRefusal::Revoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_holds_for_as_long_as_its_group_says() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    let request = another(&identity.machine);
    let (certificate, _) = renew(&identity, edge.address(), &request).await.unwrap();
    assert!((DAY - 10..=DAY).contains(&left(&certificate)));
    let change = edge::store::groups::Change {
        certificate_life: Some(std::time::Duration::from_secs(7 * DAY)),
        ..Default::default()
    };
    let group = crate::harness::GROUP;
    edge.store().set_group(group, &change, now()).unwrap();
    let (certificate, _) = renew(&identity, edge.address(), &request).await.unwrap();
    assert!((7 * DAY - 10..=7 * DAY).contains(&left(&certificate)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_no_signing_request_or_asks_for_a_used_key_renews_nothing() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    let other = edge.enrolled().await;
    let mut altered = Machine::new();
    let last = altered.csr.len() - 1;
    altered.csr[last] ^= 1;
    for request in [&altered, &identity.machine, &other.machine] {
        let refused = renew(&identity, edge.address(), request).await;
        assert_eq!(refused, Err(RenewRefusal::RequestInvalid));
    }
    assert!(!edge.audit_events().contains(&"certificate_renewed".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_connector_is_refused_everywhere_and_its_name_is_free() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    let name = identity.name().to_owned();
    edge.store().delete_connector(&name, now()).unwrap();
    let (_, _, event) = identity.greet(edge.address()).await;
    let code = CloseCode::Revoked;
    assert_eq!(event, ConnectorEvent::Closed { code });
    let refused = renew(&identity, edge.address(), &Machine::new()).await;
    assert_eq!(refused, Err(RenewRefusal::Revoked));
    let second = edge.enrolled().await;
    edge.store()
        .rename_connector(second.name(), &name, now())
        .unwrap();
    let about = |row: &&serde_json::Value| row["name"] == *name;
    let rows = edge.store().audit_rows(100).unwrap();
    assert_eq!(rows.iter().filter(about).count(), 2, "enrolled and deleted");
}

/// Asks for the next certificate with the one there is; certificate and generation.
pub async fn renew(
    identity: &Identity,
    edge: SocketAddr,
    request: &Machine,
) -> Result<(Vec<u8>, u32), RenewRefusal> {
    let asking = async {
        let mut tls = identity.dial(edge, ALPN_RENEW).await.unwrap();
        let (fingerprint, ratchet) = (identity.machine.fingerprint, identity.machine.stored());
        let mut renewing = Connector::new(clock(), &request.csr, fingerprint, ratchet).unwrap();
        let mut buffer = [0; 4096];
        loop {
            while let Some(bytes) = renewing.poll_transmit() {
                tls.write_all(&bytes).await.unwrap();
            }
            tls.flush().await.unwrap();
            if let Some(event) = renewing.poll_event() {
                return event;
            }
            let len = tls.read(&mut buffer).await.unwrap();
            assert_ne!(len, 0, "the edge closed without an answer");
            renewing.handle_input(&buffer[..len]).unwrap();
        }
    };
    match soon("the renewal", asking).await {
        RenewEvent::Renewed {
            certificate,
            generation,
        } => Ok((certificate, generation)),
        RenewEvent::Refused(refusal) => Err(refusal),
    }
}

/// The same machine with another key pair.
pub fn another(machine: &Machine) -> Machine {
    let other = Machine::new();
    other.store(machine.stored());
    *other.roots.lock().unwrap() = machine.roots.lock().unwrap().clone();
    other
}

/// The identity with the certificate that was asked for by `request`.
pub fn with_certificate(before: &Identity, request: Machine, certificate: Vec<u8>) -> Identity {
    let mut enrolment = before.enrolment.clone();
    enrolment.certificate = certificate;
    Identity {
        machine: request,
        enrolment,
    }
}

/// The identity with a certificate that ended so many seconds ago, as the edge remembers it.
fn expired(edge: &TestEdge, identity: Identity, ago: u64) -> Identity {
    let data = DataDir::new(&edge.dir);
    let store = open_store(&data).unwrap();
    let roots = Authority::open(&data, &store).unwrap().roots();
    let key = RequestKey::of_request(&identity.machine.csr).unwrap();
    let not_after = UnixSeconds(now().0 - ago);
    let id = identity.enrolment.connector_id;
    let certificate = roots.issue(&key, &id, not_after, not_after).unwrap();
    let database = rusqlite::Connection::open(data.store()).unwrap();
    let statement = "UPDATE certificates SET not_after = ?1 WHERE spki = ?2";
    let values = rusqlite::params![i64::try_from(not_after.0).unwrap(), key.spki];
    assert_eq!(database.execute(statement, values).unwrap(), 1);
    let Identity { machine, enrolment } = identity;
    with_certificate(
        &Identity {
            machine: another(&machine),
            enrolment,
        },
        machine,
        certificate,
    )
}

/// Whether the edge answers a greeting.
async fn is_welcome(identity: &Identity, edge: &TestEdge) -> bool {
    let Ok(mut tls) = identity.dial(edge.address(), ALPN_CONTROL).await else {
        return false;
    };
    // A client of TLS 1.3 hears of its refused certificate by its first read.
    let first = tokio::time::timeout(std::time::Duration::from_millis(300), tls.read_u8());
    first.await.is_err()
}

/// Seconds that a certificate still holds.
fn left(certificate: &[u8]) -> u64 {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    let not_after = certificate.validity().not_after.timestamp();
    u64::try_from(not_after).unwrap() - now().0
}
