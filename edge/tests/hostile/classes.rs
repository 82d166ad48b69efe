//! Every class of certificate at every door: each hears what the table says, and what is refused leaves
//! no trace in the edge's memory.

use connector_proto::message::{CloseCode, RenewRefusal, Verdict};
use connector_proto::time::UnixSeconds;
use rcgen::{ExtendedKeyUsagePurpose, KeyPair};
use rustls::AlertDescription;

use crate::certificates::{
    Credentials, ca, ca_key, ended, enrolled_in, gone, memory, params, subject, superseded,
};
use crate::doors::{Door, Heard};
use crate::shared::harness::{Identity, TestEdge, dial, now};

const DAY: u64 = 86_400;

/// A peer and what it must hear.
struct Class {
    what: &'static str,
    /// The connector that it is, or says it is.
    identity: Identity,
    credentials: Option<Credentials>,
    control: Heard,
    data: Heard,
    renew: Heard,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_class_of_certificate_opens_its_own_doors_and_no_other() {
    let edge = TestEdge::start().await;
    let mut classes = impostors(&edge).await;
    classes.extend(refused(&edge).await);
    classes.extend(expired(&edge).await);
    classes.extend(served(&edge).await);
    assert_eq!(classes.len(), 16);
    for class in &classes {
        for door in [
            Door::Control,
            Door::Data,
            Door::Renew,
            Door::Enrol,
            Door::Time,
        ] {
            let before = memory(&edge);
            let (heard, expected) = (class.heard(&edge, door).await, class.expected(door));
            assert_eq!(heard, expected, "{} at {door:?}", class.what);
            gone(&edge, &class.identity).await;
            let after = memory(&edge);
            let is_traceless = !matches!(door, Door::Control | Door::Renew);
            if is_traceless || !matches!(heard, Heard::Served(_) | Heard::Held(_)) {
                assert_eq!(after, before, "{} at {door:?}", class.what);
            } else {
                assert_ne!(after, before, "{} at {door:?}", class.what);
            }
        }
    }
    let events = edge.audit_events();
    let count = |event| events.iter().filter(|one| *one == event).count();
    // The superseded machine, which is held, and its like who renewed.
    assert_eq!(count("connector_recognised"), 1, "{events:?}");
    let renewed = classes.iter().filter(|class| class.renew == SERVED);
    // And the renewal by which one class came to be superseded.
    assert_eq!(count("certificate_renewed"), renewed.count() + 1);
    edge.store().verify_audit().unwrap();
}

const SERVED: Heard = Heard::Served(None);

impl Class {
    /// A peer that TLS refuses wherever a certificate is asked for.
    fn refused_by_tls(
        what: &'static str,
        identity: Identity,
        credentials: Option<Credentials>,
        alert: AlertDescription,
    ) -> Self {
        Self {
            what,
            identity,
            credentials,
            control: Heard::Alert(alert),
            data: Heard::Alert(alert),
            renew: Heard::Alert(alert),
        }
    }

    /// A connector that is told so on its channels and at its renewal.
    fn told(what: &'static str, identity: Identity, code: CloseCode, reason: RenewRefusal) -> Self {
        let credentials = Some(Credentials::of(&identity));
        Self {
            what,
            identity,
            credentials,
            control: Heard::Closed(code),
            data: Heard::Closed(code),
            renew: Heard::Refused(reason),
        }
    }

    fn expected(&self, door: Door) -> Heard {
        match door {
            // Nobody is asked for a certificate there, so everybody is nobody.
            Door::Enrol | Door::Time => SERVED,
            Door::Control => self.control.clone(),
            Door::Data => self.data.clone(),
            Door::Renew => self.renew.clone(),
        }
    }

    async fn heard(&self, edge: &TestEdge, door: Door) -> Heard {
        let (address, alpn, ca) = (edge.address(), door.alpn(), &self.identity.enrolment.ca);
        let connection = match &self.credentials {
            None => dial(address, alpn, Some(ca), None).await,
            Some(credentials) => credentials.dial(address, alpn, ca).await,
        };
        let ratchet = self.identity.machine.stored();
        door.knock(connection, ratchet, &self.expected(door)).await
    }
}

/// Those who are no connector of this edge. The victim is in good standing.
async fn impostors(edge: &TestEdge) -> Vec<Class> {
    let victim = edge.enrolled().await;
    let name = subject(&victim);
    let client = || params(&name, ExtendedKeyUsagePurpose::ClientAuth);
    let own = KeyPair::generate().unwrap();
    let read = |name: &str| std::fs::read(edge.dir.join(name)).unwrap();

    let self_made = client().self_signed(&own).unwrap().der().to_vec();
    // Its name and key id are those of the edge's CA; only the key is not.
    let false_ca = ca(&victim, KeyPair::generate().unwrap());
    let of_false_ca = client().signed_by(&own, &false_ca).unwrap().der().to_vec();
    let true_ca = ca(&victim, ca_key(edge));
    let server = params(&name, ExtendedKeyUsagePurpose::ServerAuth);
    let server = server.signed_by(&victim.machine.key, &true_ca).unwrap();
    let stray = client().signed_by(&own, &true_ca).unwrap().der().to_vec();

    let by_tls =
        |what, credentials, alert| Class::refused_by_tls(what, clone(&victim), credentials, alert);
    let of_edge = Credentials {
        chain: vec![read("edge.der")],
        key: read("edge.key"),
    };
    let of_ca = Credentials::new(victim.enrolment.ca.clone(), &ca_key(edge));
    let mut stranger = Class::told(
        "one of the CA's whose key is no connector's",
        clone(&victim),
        CloseCode::NotAuthorised,
        RenewRefusal::Revoked,
    );
    stranger.credentials = Some(Credentials::new(stray, &own));
    vec![
        by_tls("none", None, AlertDescription::CertificateRequired),
        by_tls(
            "the edge's own",
            Some(of_edge),
            AlertDescription::UnsupportedCertificate,
        ),
        by_tls(
            "the CA's",
            Some(of_ca),
            AlertDescription::CertificateUnknown,
        ),
        by_tls(
            "a self-made one with a connector's name",
            Some(Credentials::new(self_made, &own)),
            AlertDescription::UnknownCA,
        ),
        by_tls(
            "one of another CA of the same name",
            Some(Credentials::new(of_false_ca, &own)),
            AlertDescription::DecryptError,
        ),
        by_tls(
            "a connector's key in one for servers",
            Some(Credentials::new(server.der().to_vec(), &victim.machine.key)),
            AlertDescription::UnsupportedCertificate,
        ),
        stranger,
    ]
}

/// Connectors of this edge that may do nothing any more.
async fn refused(edge: &TestEdge) -> Vec<Class> {
    let store = edge.store();
    let revoked = edge.enrolled().await;
    store.revoke_connector(revoked.name(), now()).unwrap();
    let disabled = edge.enrolled().await;
    store.disable_connector(disabled.name(), now()).unwrap();
    let deleted = edge.enrolled().await;
    store.delete_connector(deleted.name(), now()).unwrap();
    let (code, reason) = (CloseCode::NotAuthorised, RenewRefusal::Superseded);
    let mut outdated = Class::told("superseded", superseded(edge).await, code, reason);
    // It hears what it is taken for, and gets no further.
    outdated.control = Heard::Held(Verdict::Reverted);
    let (code, reason) = (CloseCode::Revoked, RenewRefusal::Revoked);
    vec![
        Class::told("revoked", revoked, code, reason),
        Class::told("deleted", deleted, code, reason),
        Class::told(
            "disabled",
            disabled,
            CloseCode::Disabled,
            RenewRefusal::Disabled,
        ),
        outdated,
    ]
}

/// Connectors that were off.
async fn expired(edge: &TestEdge) -> Vec<Class> {
    let alert = AlertDescription::CertificateExpired;
    let mut all = Vec::new();
    for (what, days) in [("expired", 1), ("expired too long ago", 31)] {
        let identity = ended(edge, days * DAY).await;
        let credentials = Some(Credentials::of(&identity));
        let mut class = Class::refused_by_tls(what, identity, credentials, alert);
        class.renew = if days == 1 {
            SERVED
        } else {
            Heard::Refused(RenewRefusal::TooLate {
                expired_at: not_after(&class.identity),
            })
        };
        all.push(class);
    }
    all
}

/// Connectors in good standing: each is itself.
async fn served(edge: &TestEdge) -> Vec<Class> {
    let identities = [
        ("the connector's own", edge.enrolled().await),
        ("another connector's", edge.enrolled().await),
        ("another group's", enrolled_in(edge, "branch").await),
    ];
    let class = |(what, identity): (_, Identity)| Class {
        what,
        credentials: Some(Credentials::of(&identity)),
        control: Heard::Served(Some(identity.name().to_owned())),
        data: SERVED,
        renew: SERVED,
        identity,
    };
    identities.map(class).into()
}

fn clone(identity: &Identity) -> Identity {
    identity.copied_to(identity.machine.fingerprint)
}

fn not_after(identity: &Identity) -> UnixSeconds {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let (_, certificate) = X509Certificate::from_der(&identity.enrolment.certificate).unwrap();
    let at = certificate.validity().not_after.timestamp();
    UnixSeconds(u64::try_from(at).unwrap())
}
