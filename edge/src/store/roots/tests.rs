use super::*;
use crate::store::tests::{NOW, Scratch};

#[test]
fn there_are_two_roots_at_most_and_each_step_has_its_turn() {
    let scratch = with_root();
    let store = &scratch.store;
    let refused = |result: Result<(), Error>| match result {
        Err(Error::Refused { problem }) => problem,
        other => panic!("{other:?}"),
    };
    let use_next = || store.use_next_root(false, NOW).map(|_| ());
    let retire = || store.retire_root(false, NOW).map(|_| ());
    assert!(refused(use_next()).contains("authority rotate"));
    assert!(refused(retire()).contains("authority list"));
    store.add_next_root(b"second", NOW).unwrap();
    assert!(refused(store.add_next_root(b"third", NOW)).contains("use-next"));
    assert!(refused(retire()).contains("authority list"));
    use_next().unwrap();
    assert!(refused(store.add_next_root(b"third", NOW)).contains("retire"));
    assert!(refused(use_next()).contains("authority rotate"));
    assert_eq!(
        states(store),
        [
            (RootState::Active, "second"),
            (RootState::Retiring, "first")
        ]
    );
    assert_eq!(store.retire_root(false, NOW).unwrap().0, b"first");
    assert_eq!(states(store), [(RootState::Active, "second")]);
    store.verify_audit().unwrap();
}

#[test]
fn the_next_root_is_not_used_before_every_active_connector_trusts_it() {
    let scratch = with_root();
    let store = &scratch.store;
    let ids = [1, 2, 3].map(|number| connector(store, number));
    let trusts = |id: &[u8; 16]| {
        let digest = digest(&store.lock()).unwrap();
        let statement = "UPDATE connectors SET trust_digest = ?2 WHERE id = ?1";
        store
            .lock()
            .execute(statement, params![id, digest])
            .unwrap();
    };
    // What was stored before there was a next root does not count.
    ids.iter().for_each(trusts);
    store.add_next_root(b"second", NOW).unwrap();
    assert_eq!(store.awaited_by_roots().unwrap(), ["c-1", "c-2", "c-3"]);
    trusts(&ids[0]);
    store.disable_connector("c-2", NOW).unwrap();
    let error = store.use_next_root(false, NOW).unwrap_err().to_string();
    assert!(error.contains("c-3") && !error.contains("c-2"), "{error}");
    assert_eq!(states(store)[0].1, "first", "nothing happened");
    trusts(&ids[2]);
    assert_eq!(
        store.use_next_root(false, NOW).unwrap(),
        <[String; 0]>::default()
    );
}

#[test]
fn force_names_the_loss_and_writes_it_down() {
    let scratch = with_root();
    let store = &scratch.store;
    connector(store, 1);
    store.add_next_root(b"second", NOW).unwrap();
    assert_eq!(store.use_next_root(true, NOW).unwrap(), ["c-1"]);
    let last = store.audit_rows(1).unwrap().remove(0);
    assert_eq!(
        (&last["event"], &last["lost"][0]),
        (&"root_in_use".into(), &"c-1".into())
    );
}

#[test]
fn a_root_is_not_dropped_before_every_active_connector_has_a_certificate_of_the_other() {
    let scratch = with_root();
    let store = &scratch.store;
    let id = connector(store, 1);
    store.add_next_root(b"second", NOW).unwrap();
    store.use_next_root(true, NOW).unwrap();
    assert_eq!(store.awaited_by_roots().unwrap(), ["c-1"]);
    assert!(
        store
            .retire_root(false, NOW)
            .unwrap_err()
            .to_string()
            .contains("c-1")
    );
    let statement =
        "INSERT INTO certificates (spki, connector_id, issued_at, not_after, generation, issuer)
         VALUES (?1, ?2, 0, 0, 2, ?3)";
    let values = params![[9_u8; 32], id, sha256(b"second")];
    store.lock().execute(statement, values).unwrap();
    store.retire_root(false, NOW).unwrap();
}

fn with_root() -> Scratch {
    let scratch = Scratch::new();
    let entry = Entry::new("edge_created");
    scratch.store.add_first_root(b"first", entry, NOW).unwrap();
    scratch
}

fn states(store: &Store) -> Vec<(RootState, &'static str)> {
    let name = |root: Root| match root.certificate.as_slice() {
        b"first" => (root.state, "first"),
        b"second" => (root.state, "second"),
        other => panic!("{other:?}"),
    };
    store.roots().unwrap().into_iter().map(name).collect()
}

/// An active connector called `c-NUMBER`.
fn connector(store: &Store, number: u8) -> [u8; 16] {
    let connection = store.lock();
    connection
        .execute_batch(
            "INSERT OR IGNORE INTO groups (id, name, created_at) VALUES (1, 'hq', 0);
             INSERT OR IGNORE INTO keys (id, public_key, proof_key, group_id, max_uses, created_at, expires_at)
             VALUES (x'00', x'00', x'00', 1, 9, 0, 9);",
        )
        .unwrap();
    let statement = "INSERT INTO connectors (id, name, group_id, key_id, enrol_spki, mac, smbios_uuid, created_at)
         VALUES (?1, ?2, 1, x'00', ?1, '', '', 0)";
    let id = [number; 16];
    connection
        .execute(statement, params![id, format!("c-{number}")])
        .unwrap();
    id
}
