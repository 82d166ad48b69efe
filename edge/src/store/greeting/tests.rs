//! Stories of one connector's machines.

use super::*;
use crate::store::enrolment::{Decision, Enrolled, Request};
use crate::store::keys::KeyOrder;
use crate::store::ratchet::Stored;
use crate::store::tests::{NOW, Scratch};

const HARDWARE: Fingerprint = Fingerprint {
    mac: [2, 0, 0, 0, 0, 1],
    smbios_uuid: [1; 16],
    vm_generation: [7; 16],
    tpm: [8; 32],
};
const FIRST: [u8; 32] = [1; 32];
const SECOND: [u8; 32] = [2; 32];
const ZEROS: RatchetValue = RatchetValue([0; 32]);

#[test]
fn a_value_is_good_from_when_it_is_handed_out_and_zeros_until_one_was_stored() {
    let world = World::new();
    assert_eq!(world.same_machine(ZEROS), 1);
    // The answer was lost, or the power failed before the value was stored.
    assert_eq!(world.same_machine(ZEROS), 2);
    assert_eq!(world.same_machine(value(2)), 3);
    // Shown by a greeting or told by the connector: the one before is old from here on.
    assert_eq!(world.greet(ZEROS), admitted(Verdict::Reverted));
    world.stored(4, Stored::Current);
    world.stored(4, Stored::Current);
    assert_eq!(world.greet(value(2)), admitted(Verdict::Reverted));
    assert_eq!(world.same_machine(value(4)), 6);
}

#[test]
fn who_answers_for_a_value_that_was_overtaken_is_told_so() {
    let world = World::new();
    world.same_machine(ZEROS);
    world.same_machine(ZEROS);
    world.stored(1, Stored::Overtaken);
    world.stored(7, Stored::Overtaken);
    world.stored(2, Stored::Current);
}

#[test]
fn a_copy_beside_the_original_is_held_and_its_value_is_the_copys_alone_once_the_original_has_another()
 {
    let world = World::new();
    world.connected();
    let copy = Given {
        incumbent: Incumbent::Unknown,
        ..world.given(value(1))
    };
    assert_eq!(world.judged(&copy), Greeted::AskIncumbent);
    let copy = Given {
        incumbent: Incumbent::Alive,
        ..copy
    };
    assert!(world.is_twin(&copy));
    // The original comes back before it has stored another value: nobody can tell the two apart by
    // theirs yet, and the original keeps its identity.
    assert_eq!(world.same_machine(value(1)), 2);
    world.stored(2, Stored::Current);
    assert_eq!(world.greet(value(1)), held(Verdict::Copy));
    assert!(!world.is_twin(&copy));
    let invented = Given {
        ratchet: value(99),
        ..copy
    };
    assert!(!world.is_twin(&invented));
    assert_eq!(world.same_machine(value(2)), 3);
}

#[test]
fn the_original_is_told_of_another_value_while_it_is_connected() {
    let world = World::new();
    world.connected();
    let step = world
        .store()
        .advance_ratchet(&world.id(), &value(9))
        .unwrap();
    assert_eq!(step, 2);
    world.stored(2, Stored::Current);
    assert_eq!(world.same_machine(value(9)), 3);
}

#[test]
fn another_nic_is_held_until_it_is_confirmed_and_then_it_is_the_machine() {
    let world = World::new();
    world.connected();
    let moved = Given {
        fingerprint: other_nic(),
        ..world.given(value(1))
    };
    assert_eq!(world.verdict(&moved), held(Verdict::MovedNic));
    world.store().confirm_connector("plant", NOW).unwrap();
    assert_eq!(world.verdict(&moved), admitted(Verdict::SameMachine));
    assert_eq!(world.greet(value(2)), held(Verdict::MovedNic), "back again");
    assert_eq!(world.events("connector_confirmed"), 1);
}

#[test]
fn a_group_may_accept_another_nic_and_a_restored_backup_but_never_a_copy() {
    let world = World::new();
    world.connected();
    world.accept_moved();
    let moved = Given {
        fingerprint: other_nic(),
        ..world.given(value(1))
    };
    assert_eq!(world.verdict(&moved), admitted(Verdict::MovedNic));
    assert_eq!(
        world.verdict(&moved),
        admitted(Verdict::SameMachine),
        "known from here on"
    );
    world.stored(3, Stored::Current);
    let restored = Given {
        fingerprint: other_machine(),
        ..world.given(value(1))
    };
    assert_eq!(world.verdict(&restored), admitted(Verdict::RestoredBackup));
    world.stored(4, Stored::Current);
    let copy = Given {
        fingerprint: HARDWARE,
        ratchet: value(4),
        ..restored
    };
    assert_eq!(world.verdict(&copy), held(Verdict::Copy));
}

#[test]
fn a_copy_on_other_hardware_stays_a_copy_when_the_original_went_on() {
    let world = World::new();
    world.connected();
    world.accept_moved();
    let copy = Given {
        fingerprint: other_machine(),
        ..world.given(value(1))
    };
    assert_eq!(world.verdict(&copy), held(Verdict::Copy));
    assert_eq!(world.same_machine(value(1)), 2);
    world.stored(2, Stored::Current);
    assert_eq!(world.verdict(&copy), held(Verdict::Copy));
}

#[test]
fn a_copy_that_is_confirmed_is_the_connector_and_the_other_machine_is_then_held() {
    let world = World::new();
    world.connected();
    let copy = Given {
        fingerprint: other_machine(),
        ..world.given(value(1))
    };
    assert_eq!(world.verdict(&copy), held(Verdict::Copy));
    assert_eq!(
        world.store().confirm_connector("plant", NOW).unwrap(),
        "plant"
    );
    assert_eq!(world.verdict(&copy), admitted(Verdict::SameMachine));
    world.stored(2, Stored::Current);
    assert_eq!(world.greet(value(1)), held(Verdict::RestoredBackup));
}

#[test]
fn nothing_is_confirmed_when_nothing_is_held() {
    let world = World::new();
    world.connected();
    let error = world.store().confirm_connector("plant", NOW).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
}

#[test]
fn a_machine_that_asks_every_four_minutes_is_in_the_audit_log_once_a_day_and_when_it_changes() {
    let world = World::new();
    world.connected();
    let given = Given {
        fingerprint: other_nic(),
        ..world.given(value(1))
    };
    for minutes in (0..24 * 60).step_by(4) {
        let now = UnixSeconds(NOW.0 + minutes * 60);
        assert_eq!(
            world.verdict(&Given { now, ..given }),
            held(Verdict::MovedNic)
        );
    }
    assert_eq!(world.events("connector_recognised"), 1);
    let now = UnixSeconds(NOW.0 + 86_400);
    world.verdict(&Given { now, ..given });
    assert_eq!(world.events("connector_recognised"), 2);
    let fingerprint = other_machine();
    world.verdict(&Given {
        fingerprint,
        now,
        ..given
    });
    assert_eq!(world.events("connector_recognised"), 3);
}

#[test]
fn the_audit_log_says_what_was_recognised_and_how_the_value_was_found() {
    let world = World::new();
    world.connected();
    world.greet(ZEROS);
    world.greet(value(77));
    let rows = world.store().audit_rows(2).unwrap();
    for (row, ratchet) in rows.iter().zip(["stale", "never_handed_out"]) {
        assert_eq!(row["event"], "connector_recognised");
        assert_eq!(row["verdict"], "reverted");
        assert_eq!(row["admitted"], true);
        assert_eq!(row["ratchet"], ratchet);
        assert_eq!(row["address"], "192.0.2.9:40000");
        assert_eq!(row["mac"], "02:00:00:00:00:01");
    }
    world.store().verify_audit().unwrap();
}

#[test]
fn who_is_denied_or_has_to_wait_for_the_incumbents_answer_changes_nothing() {
    let world = World::new();
    world.connected();
    let before = world.store().audit_rows(100).unwrap().len();
    let unknown = Given {
        spki: [99; 32],
        ..world.given(value(1))
    };
    assert_eq!(world.judged(&unknown), Greeted::Denied(Denied::Unknown));
    let asked = Given {
        incumbent: Incumbent::Unknown,
        fingerprint: other_machine(),
        ..world.given(value(1))
    };
    assert_eq!(world.judged(&asked), Greeted::AskIncumbent);
    assert_eq!(world.store().audit_rows(100).unwrap().len(), before);
    assert_eq!(world.same_machine(value(1)), 2);
}

#[test]
fn disabled_revoked_and_deleted_connectors_are_denied_and_an_enabled_one_is_back() {
    let world = World::new();
    world.connected();
    world.store().disable_connector("plant", NOW).unwrap();
    let given = world.given(value(1));
    assert_eq!(world.judged(&given), Greeted::Denied(Denied::Disabled));
    world.store().enable_connector("plant", NOW).unwrap();
    assert_eq!(world.verdict(&given), admitted(Verdict::SameMachine));
    world.store().revoke_connector("plant", NOW).unwrap();
    assert_eq!(world.judged(&given), Greeted::Denied(Denied::Revoked));
    let error = world.store().enable_connector("plant", NOW).unwrap_err();
    assert!(error.to_string().contains("not revoked"), "{error}");
    world.store().delete_connector("plant", NOW).unwrap();
    assert_eq!(world.judged(&given), Greeted::Denied(Denied::Deleted));
    assert!(world.store().connectors().unwrap().is_empty());
    let order = world.request();
    let again = world.store().enrol(&order, NOW, |_, _| Ok(vec![])).unwrap();
    assert!(matches!(again, Decision::Refused(_)), "{again:?}");
}

#[test]
fn the_first_use_of_a_certificate_ends_those_before_it_and_a_machine_with_one_of_them_is_held() {
    let world = World::new();
    world.connected();
    world.add_certificate(SECOND, 2);
    assert_eq!(world.same_machine(value(1)), 2);
    let renewed = Given {
        spki: SECOND,
        ..world.given(value(2))
    };
    assert_eq!(world.verdict(&renewed), admitted(Verdict::SameMachine));
    world.stored(3, Stored::Current);
    // A snapshot from before the renewal: the same machine, with a key that was given up.
    assert_eq!(world.greet(value(1)), held(Verdict::Reverted));
    world.store().confirm_connector("plant", NOW).unwrap();
    assert_eq!(world.greet(value(1)), admitted(Verdict::Reverted));
    world.stored(4, Stored::Current);
    let given_up = Given {
        ratchet: value(3),
        ..renewed
    };
    assert_eq!(world.verdict(&given_up), held(Verdict::Reverted));
}

#[test]
fn a_machine_without_its_tpm_for_a_while_is_not_one_with_any_tpm() {
    let world = World::new();
    world.connected();
    let with_tpm = |tpm| Given {
        fingerprint: Fingerprint { tpm, ..HARDWARE },
        ..world.given(value(1))
    };
    assert_eq!(
        world.verdict(&with_tpm([0; 32])),
        admitted(Verdict::SameMachine)
    );
    assert_eq!(world.verdict(&with_tpm([9; 32])), held(Verdict::Copy));
    assert_eq!(
        world.verdict(&with_tpm([8; 32])),
        admitted(Verdict::SameMachine)
    );
}

#[test]
fn what_is_remembered_of_values_is_bounded() {
    let world = World::new();
    for _ in 0..200 {
        world.same_machine(ZEROS);
        let copy = Given {
            incumbent: Incumbent::Alive,
            ..world.given(value(world.next_step()))
        };
        assert_eq!(world.verdict(&copy), held(Verdict::Copy));
    }
    for table in ["ratchets", "quarantined"] {
        let query = format!("SELECT count(*) FROM {table}");
        let rows: i64 = world
            .store()
            .lock()
            .query_row(&query, [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 64, "{table}");
    }
}

/// A connector called `plant`, just enrolled.
struct World {
    scratch: Scratch,
    enrolled: Enrolled,
    key_id: [u8; 16],
}

/// What is presented, and when.
#[derive(Clone, Copy)]
struct Given {
    spki: [u8; 32],
    fingerprint: Fingerprint,
    ratchet: RatchetValue,
    incumbent: Incumbent,
    now: UnixSeconds,
}

impl World {
    fn new() -> Self {
        let scratch = Scratch::new();
        scratch.store.add_group("hq", NOW).unwrap();
        let order = KeyOrder {
            group: "hq",
            max_uses: 1,
            expires_at: UnixSeconds(NOW.0 + 3600),
            label: Some("plant"),
        };
        let key_id = scratch.store.mint_key(&order, NOW).unwrap().id;
        let request = request(key_id);
        let week = "UPDATE groups SET certificate_life_s = 604800";
        scratch.store.lock().execute(week, []).unwrap();
        let decision = scratch.store.enrol(&request, NOW, |_, _| Ok(vec![]));
        let Decision::Enrolled(enrolled) = decision.unwrap() else {
            panic!("not enrolled");
        };
        Self {
            scratch,
            enrolled,
            key_id,
        }
    }

    fn store(&self) -> &Store {
        &self.scratch.store
    }

    fn id(&self) -> [u8; 16] {
        self.enrolled.id
    }

    fn request(&self) -> Request {
        request(self.key_id)
    }

    /// The first session: value 1 is current.
    fn connected(&self) {
        assert_eq!(self.same_machine(ZEROS), 1);
        self.stored(1, Stored::Current);
    }

    fn given(&self, ratchet: RatchetValue) -> Given {
        Given {
            spki: FIRST,
            fingerprint: HARDWARE,
            ratchet,
            incumbent: Incumbent::None,
            now: NOW,
        }
    }

    /// Greets; the value handed out is [`value`] of its step.
    fn judged(&self, given: &Given) -> Greeted {
        let greeting = Greeting {
            spki: given.spki,
            fingerprint: given.fingerprint,
            ratchet: given.ratchet,
            incumbent: given.incumbent,
            new_value: value(self.next_step()),
            version: "1.0",
            address: "192.0.2.9:40000",
        };
        self.store().greet(&greeting, given.now).unwrap()
    }

    fn verdict(&self, given: &Given) -> (Verdict, bool) {
        match self.judged(given) {
            Greeted::Admitted(admitted) => (admitted.verdict, true),
            Greeted::Held { verdict, .. } => (verdict, false),
            other => panic!("{other:?}"),
        }
    }

    /// Is held as a copy; whether its value is one that the original may hold.
    fn is_twin(&self, given: &Given) -> bool {
        match self.judged(given) {
            Greeted::Held { verdict, fresh, .. } => {
                assert_eq!(verdict, Verdict::Copy);
                fresh
            }
            other => panic!("{other:?}"),
        }
    }

    fn greet(&self, ratchet: RatchetValue) -> (Verdict, bool) {
        self.verdict(&self.given(ratchet))
    }

    /// Is admitted as the same machine; the step handed out.
    fn same_machine(&self, ratchet: RatchetValue) -> u64 {
        match self.judged(&self.given(ratchet)) {
            Greeted::Admitted(admitted) => {
                assert_eq!(admitted.verdict, Verdict::SameMachine);
                assert_eq!(admitted.identity.name, "plant");
                admitted.step
            }
            other => panic!("{other:?}"),
        }
    }

    fn stored(&self, step: u64, expected: Stored) {
        let stored = self.store().ratchet_stored(&self.id(), step).unwrap();
        assert_eq!(stored, expected);
    }

    fn next_step(&self) -> u64 {
        let query = "SELECT coalesce(max(max(current_step, pending_step)), 0) + 1 FROM connectors";
        let step: i64 = self
            .store()
            .lock()
            .query_row(query, [], |row| row.get(0))
            .unwrap();
        u64::try_from(step).unwrap()
    }

    fn accept_moved(&self) {
        let accept = "UPDATE groups SET moved_nic = 'accept'";
        self.store().lock().execute(accept, []).unwrap();
    }

    fn add_certificate(&self, spki: [u8; 32], generation: u32) {
        let insert =
            "INSERT INTO certificates (spki, connector_id, issued_at, not_after, generation)
             VALUES (?1, ?2, ?3, ?3 + 604800, ?4)";
        let values = params![spki, self.id(), sql_time(NOW), generation];
        self.store().lock().execute(insert, values).unwrap();
    }

    fn events(&self, event: &str) -> usize {
        let rows = self.store().audit_rows(1000).unwrap();
        rows.iter().filter(|row| row["event"] == event).count()
    }
}

fn request(key_id: [u8; 16]) -> Request {
    Request {
        key_id,
        spki: FIRST,
        fingerprint: HARDWARE,
        issuer: [0xca; 32],
    }
}

/// The value handed out with a step; never zeros.
fn value(step: u64) -> RatchetValue {
    let mut value = [0xee; 32];
    value[..8].copy_from_slice(&step.to_be_bytes());
    RatchetValue(value)
}

fn admitted(verdict: Verdict) -> (Verdict, bool) {
    (verdict, true)
}

fn held(verdict: Verdict) -> (Verdict, bool) {
    (verdict, false)
}

fn other_nic() -> Fingerprint {
    Fingerprint {
        mac: [2, 0, 0, 0, 0, 2],
        ..HARDWARE
    }
}

fn other_machine() -> Fingerprint {
    Fingerprint {
        mac: [2, 0, 0, 0, 0, 3],
        smbios_uuid: [3; 16],
        ..HARDWARE
    }
}
