use connector_proto::message::Verdict;

use super::*;
use crate::recognise::MovedNic;
use crate::store::enrolment::{Decision, Request};
use crate::store::greeting::{Greeted, Greeting};
use crate::store::groups::Change;
use crate::store::keys::KeyOrder;
use crate::store::tests::{NOW, Scratch};

const DAY: u64 = 86_400;

#[test]
fn a_renewal_yields_the_next_generation_and_leaves_the_old_certificate_good() {
    let plant = Plant::new();
    let renewed = renewed(plant.renew(1, 2, NOW));
    assert_eq!((renewed.generation, renewed.repeated), (2, false));
    assert_eq!(plant.greets_as(1, NOW), "admitted");
    assert_eq!(plant.greets_as(2, NOW), "admitted");
    // The new one was used: the old one is a state that was given up.
    assert_eq!(plant.greets_as(1, NOW), "held");
    let refused = plant.renew(1, 3, NOW);
    assert_eq!(refused, RenewDecision::Refused(RenewRefusal::Superseded));
    plant.scratch.store.verify_audit().unwrap();
}

#[test]
fn asking_again_with_the_same_key_is_the_same_renewal() {
    let plant = Plant::new();
    let first = renewed(plant.renew(1, 2, NOW));
    let again = renewed(plant.renew(1, 2, NOW));
    assert_eq!((again.generation, again.repeated), (first.generation, true));
    assert_eq!(renewed(plant.renew(1, 3, NOW)).generation, 3);
    let events = plant.events();
    let count = |event| events.iter().filter(|one| *one == event).count();
    assert_eq!(
        (count("certificate_renewed"), count("renewal_repeated")),
        (2, 1)
    );
}

#[test]
fn a_key_that_is_anothers_is_refused() {
    let plant = Plant::new();
    plant.enrol(9);
    let invalid = RenewDecision::Refused(RenewRefusal::RequestInvalid);
    assert_eq!(plant.renew(1, 1, NOW), invalid, "its own");
    assert_eq!(plant.renew(1, 9, NOW), invalid, "another connector's");
    renewed(plant.renew(1, 2, NOW));
    assert_eq!(plant.greets_as(2, NOW), "admitted");
    assert_eq!(plant.renew(2, 1, NOW), invalid, "one that was given up");
    let ninth = plant.names()[1].clone();
    plant.scratch.store.delete_connector(&ninth, NOW).unwrap();
    assert_eq!(plant.renew(2, 9, NOW), invalid, "a deleted connector's");
}

#[test]
fn an_expired_certificate_renews_for_30_days() {
    let plant = Plant::new();
    let end = UnixSeconds(NOW.0 + DAY);
    let last = UnixSeconds(end.0 + 30 * DAY);
    let later = UnixSeconds(last.0 + 1);
    assert_eq!(renewed(plant.renew(1, 2, last)).generation, 2);
    let too_late = RenewRefusal::TooLate { expired_at: end };
    assert_eq!(plant.renew(1, 3, later), RenewDecision::Refused(too_late));
    // The one that was issued meanwhile is another certificate with a time of its own.
    assert_eq!(renewed(plant.renew(2, 3, later)).generation, 3);
}

#[test]
fn what_an_administrator_did_refuses_a_renewal_for_its_reason() {
    let plant = Plant::new();
    let (store, name) = (&plant.scratch.store, plant.names().remove(0));
    let refused = |reason| assert_eq!(plant.renew(1, 2, NOW), RenewDecision::Refused(reason));
    store.disable_connector(&name, NOW).unwrap();
    refused(RenewRefusal::Disabled);
    store.enable_connector(&name, NOW).unwrap();
    store.revoke_connector(&name, NOW).unwrap();
    refused(RenewRefusal::Revoked);
    store.delete_connector(&name, NOW).unwrap();
    refused(RenewRefusal::Revoked);
    assert!(!plant.events().contains(&"certificate_renewed".into()));
}

#[test]
fn a_machine_that_is_not_the_same_is_held_as_on_a_control_channel() {
    let plant = Plant::new();
    let moved = |request| RenewOrder {
        fingerprint: Fingerprint {
            mac: [9; 6],
            ..fingerprint()
        },
        ..order(1, request)
    };
    let renew = |request| {
        plant
            .scratch
            .store
            .renew(&moved(request), NOW, issue)
            .unwrap()
    };
    let held = RenewRefusal::Held(Verdict::MovedNic);
    assert_eq!(renew(2), RenewDecision::Refused(held));
    let change = Change {
        moved_nic: Some(MovedNic::Accept),
        ..Change::default()
    };
    plant.scratch.store.set_group("hq", &change, NOW).unwrap();
    assert_eq!(renewed(renew(2)).generation, 2);
}

#[test]
fn a_certificate_that_cannot_be_made_changes_nothing() {
    let plant = Plant::new();
    let before = plant.events().len();
    let fails = |_: &_, _| {
        Err(Error::DataDir {
            problem: "no key".into(),
        })
    };
    plant
        .scratch
        .store
        .renew(&order(1, 2), NOW, fails)
        .unwrap_err();
    assert_eq!(plant.certificates(), [1]);
    assert_eq!(plant.events().len(), before);
}

#[test]
fn certificates_that_nobody_can_use_do_not_pile_up() {
    let plant = Plant::new();
    for request in 2..=100 {
        renewed(plant.renew(1, request, NOW));
    }
    // Enrolment's own, and the newest that were not used.
    let newest: Vec<u32> = (85..=100).rev().chain([1]).collect();
    assert_eq!(plant.certificates(), newest);
    assert_eq!(plant.greets_as(100, NOW), "admitted");
    let later = UnixSeconds(NOW.0 + 32 * DAY);
    renewed(plant.renew(100, 101, UnixSeconds(NOW.0 + DAY)));
    assert_eq!(plant.greets_as(101, UnixSeconds(NOW.0 + DAY)), "admitted");
    renewed(plant.renew(101, 102, later));
    assert_eq!(plant.certificates(), [102, 101]);
}

#[test]
fn the_group_decides_how_long_a_certificate_holds() {
    let plant = Plant::new();
    let change = Change {
        certificate_life: Some(std::time::Duration::from_secs(3 * DAY)),
        ..Change::default()
    };
    plant.scratch.store.set_group("hq", &change, NOW).unwrap();
    let mut until = None;
    let noted = |id: &[u8; 16], not_after| {
        until = Some(not_after);
        issue(id, not_after)
    };
    plant.scratch.store.renew(&order(1, 2), NOW, noted).unwrap();
    assert_eq!(until, Some(UnixSeconds(NOW.0 + 3 * DAY)));
}

/// A store with one connector, whose certificate has key number 1.
struct Plant {
    scratch: Scratch,
}

impl Plant {
    fn new() -> Self {
        let scratch = Scratch::new();
        scratch.store.add_group("hq", NOW).unwrap();
        let plant = Self { scratch };
        plant.enrol(1);
        plant
    }

    fn enrol(&self, number: u8) {
        let key = KeyOrder {
            group: "hq",
            max_uses: 1,
            expires_at: UnixSeconds(NOW.0 + 3600),
            label: None,
        };
        let request = Request {
            key_id: self.scratch.store.mint_key(&key, NOW).unwrap().id,
            spki: [number; 32],
            fingerprint: fingerprint(),
            issuer: [7; 32],
        };
        let decision = self.scratch.store.enrol(&request, NOW, issue).unwrap();
        assert!(matches!(decision, Decision::Enrolled(_)), "{decision:?}");
    }

    fn renew(&self, certificate: u8, request: u8, now: UnixSeconds) -> RenewDecision {
        let order = order(certificate, request);
        self.scratch.store.renew(&order, now, issue).unwrap()
    }

    fn greets_as(&self, certificate: u8, now: UnixSeconds) -> &'static str {
        let greeting = Greeting {
            spki: [certificate; 32],
            fingerprint: fingerprint(),
            ratchet: RatchetValue::default(),
            incumbent: Incumbent::None,
            new_value: RatchetValue([certificate; 32]),
            version: "test 1.0",
            address: "192.0.2.1:5",
        };
        match self.scratch.store.greet(&greeting, now).unwrap() {
            Greeted::Admitted(_) => "admitted",
            Greeted::AskIncumbent => "ask",
            Greeted::Denied(_) => "denied",
            Greeted::Held { .. } => "held",
        }
    }

    /// Generations of the first connector, newest first.
    fn certificates(&self) -> Vec<u32> {
        let name = self.names().remove(0);
        let detail = self.scratch.store.connector_detail(&name).unwrap();
        detail
            .certificates
            .iter()
            .map(|one| one.generation)
            .collect()
    }

    /// Of the connectors, in the order of enrolment.
    fn names(&self) -> Vec<String> {
        let query = "SELECT name FROM connectors ORDER BY rowid";
        let connection = self.scratch.store.lock();
        let mut statement = connection.prepare(query).unwrap();
        let names = statement.query_map([], |row| row.get(0)).unwrap();
        names.collect::<Result<_, _>>().unwrap()
    }

    fn events(&self) -> Vec<String> {
        let rows = self.scratch.store.audit_rows(1000).unwrap();
        let event = |row: &serde_json::Value| row["event"].as_str().unwrap().to_owned();
        rows.iter().map(event).collect()
    }
}

fn order(certificate: u8, request: u8) -> RenewOrder<'static> {
    RenewOrder {
        spki: [certificate; 32],
        request_spki: [request; 32],
        fingerprint: fingerprint(),
        ratchet: RatchetValue::default(),
        address: "192.0.2.1:5",
        issuer: [7; 32],
    }
}

fn fingerprint() -> Fingerprint {
    Fingerprint {
        mac: [2, 0, 0, 0, 0, 1],
        smbios_uuid: [1; 16],
        ..Fingerprint::default()
    }
}

fn issue(id: &[u8; 16], _not_after: UnixSeconds) -> Result<Vec<u8>, Error> {
    Ok(id.to_vec())
}

fn renewed(decision: RenewDecision) -> Renewed {
    match decision {
        RenewDecision::Renewed(renewed) => renewed,
        RenewDecision::Refused(refusal) => panic!("{refusal:?}"),
    }
}
