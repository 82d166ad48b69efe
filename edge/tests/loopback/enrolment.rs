//! Keys, uses and certificates.

use std::fmt::Write as _;

use connector_proto::derive::EnrolSecrets;
use connector_proto::key::ProvisioningKey;
use connector_proto::message::EnrolRefusal;
use connector_proto::time::UnixSeconds;
use tokio::task::JoinSet;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::harness::{Machine, TestEdge, enrol, enrol_without_hearing, now, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_minted_key_enrols_a_connector_whose_certificate_says_only_what_the_edge_decided() {
    let edge = TestEdge::start().await;
    let identity = edge.enrolled().await;
    let der = &identity.enrolment.certificate;
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let id = &edge.store().connectors().unwrap()[0].id;
    assert_eq!(certificate.subject().to_string(), format!("CN={id}"));
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    assert!(!certificate.is_ca());
    assert!(certificate.subject_alternative_name().unwrap().is_none());
    let validity = certificate.validity();
    let now = i64::try_from(now().0).unwrap();
    assert!((86_395..=86_400).contains(&(now - validity.not_before.timestamp())));
    assert!((86_395..=86_405).contains(&(validity.not_after.timestamp() - now)));
    let (_, ca) = X509Certificate::from_der(&identity.enrolment.ca).unwrap();
    certificate.verify_signature(Some(ca.public_key())).unwrap();
    assert!(identity.name().starts_with("connector-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_key_is_refused_with_its_reason_and_no_use_is_lost() {
    let edge = TestEdge::start().await;
    let refusal = async |key| {
        enrol(edge.address(), key, &Machine::new())
            .await
            .unwrap_err()
    };

    let spent = edge.mint(1);
    enrol(edge.address(), &spent, &Machine::new())
        .await
        .unwrap();
    assert_eq!(
        refusal(&spent).await,
        EnrolRefusal::KeySpent { max_uses: 1 }
    );

    let expires_at = now().0 - 1;
    let expired = edge.mint_until(1, expires_at);
    let at = UnixSeconds(expires_at);
    assert_eq!(refusal(&expired).await, EnrolRefusal::KeyExpired { at });

    let revoked = edge.mint(1);
    let id = hex(&EnrolSecrets::derive(&revoked).id);
    edge.store().revoke_key(&id, now()).unwrap();
    assert_eq!(refusal(&revoked).await, EnrolRefusal::KeyRevoked);

    let unknown = ProvisioningKey::from_random([7; 14]);
    assert_eq!(refusal(&unknown).await, EnrolRefusal::KeyUnknown);

    assert_eq!(edge.uses(), 1);
    assert_eq!(edge.store().connectors().unwrap().len(), 1);
    edge.store().verify_audit().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_machines_with_a_ten_use_key_become_ten_connectors() {
    let edge = TestEdge::start().await;
    let key = edge.mint(10);
    let mut machines = JoinSet::new();
    for _ in 0..100 {
        let (address, key) = (edge.address(), key.clone());
        machines.spawn(async move { enrol(address, &key, &Machine::new()).await.is_ok() });
    }
    let enrolled = machines
        .join_all()
        .await
        .into_iter()
        .filter(|enrolled| *enrolled)
        .count();
    assert_eq!(enrolled, 10);
    assert_eq!(edge.uses(), 10);
    assert_eq!(edge.store().connectors().unwrap().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_costs_no_use_and_makes_no_second_connector() {
    let edge = TestEdge::start().await;
    let (key, machine) = (edge.mint(1), Machine::new());
    enrol_without_hearing(edge.address(), &key, &machine).await;
    until("the spent use", || edge.uses() == 1).await;
    let enrolment = enrol(edge.address(), &key, &machine).await.unwrap();
    assert_eq!(edge.uses(), 1);
    let connectors = edge.store().connectors().unwrap();
    assert_eq!(connectors.len(), 1);
    assert_eq!(connectors[0].id, hex(&enrolment.connector_id));
    let events = edge.audit_events();
    assert!(events.contains(&"enrolment_repeated".into()), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_no_signing_request_is_refused_and_costs_nothing() {
    let edge = TestEdge::start().await;
    let key = edge.mint(1);
    let whole = Machine::new();
    let mut altered = Machine::new();
    let last = altered.csr.len() - 1;
    altered.csr[last] ^= 1;
    let mut longer = Machine::new();
    longer.csr.push(0);
    let mut empty = Machine::new();
    empty.csr.clear();
    for machine in [altered, longer, empty] {
        let refusal = enrol(edge.address(), &key, &machine).await.unwrap_err();
        assert_eq!(refusal, EnrolRefusal::RequestInvalid);
    }
    assert_eq!(edge.uses(), 0);
    enrol(edge.address(), &key, &whole).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keys_text_and_seed_are_in_no_file_of_the_edge() {
    let edge = TestEdge::start().await;
    let key = edge.mint(1);
    enrol(edge.address(), &key, &Machine::new()).await.unwrap();
    let text = key.to_text();
    let needles: Vec<Vec<u8>> = vec![
        key.data().to_vec(),
        hex(key.data()).into_bytes(),
        text.as_bytes().to_vec(),
        text.replace('-', "").into_bytes(),
    ];
    let mut bytes_searched = 0;
    for file in std::fs::read_dir(&edge.dir).unwrap() {
        let content = std::fs::read(file.unwrap().path()).unwrap();
        bytes_searched += content.len();
        for needle in &needles {
            assert!(!content.windows(needle.len()).any(|part| part == needle));
        }
    }
    assert!(
        bytes_searched > 100_000,
        "{bytes_searched} bytes are not a database"
    );
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
