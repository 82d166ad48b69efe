//! Chains with a certificate in them that is not the peer's own.

use connector_proto::message::CloseCode;
use rcgen::{ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::AlertDescription;

use crate::certificates::{Credentials, gone, memory, params, subject};
use crate::doors::{Door, Heard};
use crate::shared::harness::{Identity, TestEdge, now};

/// The doors at which a certificate counts.
const DOORS: [Door; 3] = [Door::Control, Door::Data, Door::Renew];

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_stuffed_with_a_connectors_certificate_is_refused_and_leaves_no_trace() {
    let edge = TestEdge::start().await;
    let (victim, insider) = (edge.enrolled().await, edge.enrolled().await);
    for (what, credentials, alert) in stuffed(&victim, &insider) {
        for door in DOORS {
            let before = memory(&edge);
            let ca = &victim.enrolment.ca;
            let connection = credentials.dial(edge.address(), door.alpn(), ca).await;
            let ratchet = victim.machine.stored();
            let heard = door.knock(connection, ratchet, &Heard::Alert(alert)).await;
            assert_eq!(heard, Heard::Alert(alert), "{what} at {door:?}");
            assert_eq!(memory(&edge), before, "{what} at {door:?}");
        }
    }
}

/// Chains, each with the alert that RFC 8446 section 6.2 has for it.
fn stuffed(
    victim: &Identity,
    insider: &Identity,
) -> Vec<(&'static str, Credentials, AlertDescription)> {
    let certificate = victim.enrolment.certificate.clone();
    let key = KeyPair::generate().unwrap();
    let client = || params(&subject(victim), ExtendedKeyUsagePurpose::ClientAuth);
    let own = client().self_signed(&key).unwrap().der().to_vec();
    let by = |issuer: &KeyPair| {
        let issuer = Issuer::from_ca_cert_der(&certificate.as_slice().into(), issuer).unwrap();
        client().signed_by(&key, &issuer).unwrap().der().to_vec()
    };
    let ca = victim.enrolment.ca.clone();
    let with = |chain, key: &KeyPair| Credentials {
        chain,
        key: key.serialize_der(),
    };
    let insiders = insider.enrolment.certificate.clone();
    vec![
        (
            "the attacker's own leaf, the victim's certificate behind it",
            with(vec![own, certificate.clone()], &key),
            AlertDescription::CertificateUnknown,
        ),
        (
            "the victim's certificate, the attacker's key",
            with(vec![certificate.clone()], &key),
            AlertDescription::DecryptError,
        ),
        (
            "the victim's certificate, an insider's key and certificate behind it",
            with(vec![certificate.clone(), insiders], &insider.machine.key),
            AlertDescription::DecryptError,
        ),
        (
            "a leaf that only names the victim's certificate as issuer",
            with(vec![by(&key), certificate.clone(), ca.clone()], &key),
            AlertDescription::CertificateUnknown,
        ),
        (
            "a leaf that the victim's key has signed",
            with(vec![by(&victim.machine.key), certificate.clone(), ca], &key),
            AlertDescription::CertificateUnknown,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insider_with_a_victims_certificate_behind_its_own_is_nobody_but_itself() {
    let edge = TestEdge::start().await;
    let (victim, insider) = (edge.enrolled().await, edge.enrolled().await);
    let mut both = Credentials::of(&insider);
    both.chain.push(victim.enrolment.certificate.clone());
    let knock = async |door: Door, expected: Heard| {
        let ca = &insider.enrolment.ca;
        let connection = both.dial(edge.address(), door.alpn(), ca).await;
        let ratchet = insider.machine.stored();
        assert_eq!(door.knock(connection, ratchet, &expected).await, expected);
    };
    let itself = Heard::Served(Some(insider.name().to_owned()));
    knock(Door::Control, itself.clone()).await;
    gone(&edge, &insider).await;
    // It stands and falls with itself: not with the victim, not through the victim.
    edge.store().revoke_connector(victim.name(), now()).unwrap();
    knock(Door::Control, itself).await;
    edge.store()
        .disable_connector(insider.name(), now())
        .unwrap();
    for door in [Door::Control, Door::Data] {
        knock(door, Heard::Closed(CloseCode::Disabled)).await;
    }
}
