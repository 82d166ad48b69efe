//! A store whose disk is full, that cannot be written, or that another process holds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use connector_proto::message::Fingerprint;
use connector_proto::time::UnixSeconds;

use super::enrolment::{Decision, Request};
use super::keys::KeyOrder;
use super::tests::{NOW, Scratch};
use super::{BUSY_MAX, Store, TURN_MAX};
use crate::Error;

#[test]
fn a_full_disk_spends_nothing_and_heals() {
    let (scratch, key_id) = with_key();
    let set = |limit: u32| {
        let connection = scratch.store.lock();
        connection
            .pragma_update(None, "max_page_count", limit)
            .unwrap();
    };
    let pages = "SELECT page_count FROM pragma_page_count";
    let pages: u32 = scratch
        .store
        .lock()
        .query_row(pages, [], |row| row.get(0))
        .unwrap();
    set(pages + 1);
    let mut number = 0;
    let error = loop {
        match enrol(&scratch.store, key_id, number) {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("full"), "{error}");
    agrees(&scratch.store, number);
    set(u32::MAX - 1);
    enrol(&scratch.store, key_id, number).unwrap();
    agrees(&scratch.store, number + 1);
}

#[test]
fn a_store_that_cannot_be_written_spends_nothing_and_heals() {
    let (scratch, key_id) = with_key();
    let set = |read_only: bool| {
        let connection = scratch.store.lock();
        connection
            .pragma_update(None, "query_only", read_only)
            .unwrap();
    };
    set(true);
    let error = enrol(&scratch.store, key_id, 0).unwrap_err();
    assert!(error.to_string().contains("readonly"), "{error}");
    agrees(&scratch.store, 0);
    set(false);
    enrol(&scratch.store, key_id, 0).unwrap();
    agrees(&scratch.store, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_another_process_holds_the_store_all_who_ask_hear_of_it_in_time() {
    let (scratch, key_id) = with_key();
    let store = Arc::new(scratch.again());
    let lock = rusqlite::Connection::open(scratch.path()).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let start = Instant::now();
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..200 {
        let store = Arc::clone(&store);
        asking.spawn(async move { store.run(move |store| enrol(store, key_id, number)).await });
    }
    let longest = BUSY_MAX + TURN_MAX + Duration::from_secs(1);
    for result in asking.join_all().await {
        assert!(
            matches!(result, Err(Error::Store(_) | Error::StoreBusy { .. })),
            "{result:?}"
        );
    }
    assert!(start.elapsed() < longest, "{:?}", start.elapsed());
    lock.execute_batch("ROLLBACK").unwrap();
    store
        .run(move |store| enrol(store, key_id, 0))
        .await
        .unwrap();
    agrees(&store, 1);
}

/// Uses, connectors and certificates are so many, and the audit chain holds.
fn agrees(store: &Store, enrolled: u8) {
    let count = |table: &str| -> u8 {
        let query = format!("SELECT {table}");
        store
            .lock()
            .query_row(&query, [], |row| row.get(0))
            .unwrap()
    };
    let uses = count("sum(uses) FROM keys");
    let connectors = count("count(*) FROM connectors");
    let certificates = count("count(*) FROM certificates");
    let rows = count("count(*) FROM audit WHERE text LIKE '%connector_enrolled%'");
    assert_eq!([uses, connectors, certificates, rows], [enrolled; 4]);
    store.verify_audit().unwrap();
}

fn with_key() -> (Scratch, [u8; 16]) {
    let scratch = Scratch::new();
    scratch.store.add_group("hq", NOW).unwrap();
    let order = KeyOrder {
        group: "hq",
        max_uses: 255,
        expires_at: UnixSeconds(NOW.0 + 3600),
        label: None,
    };
    let id = scratch.store.mint_key(&order, NOW).unwrap().id;
    (scratch, id)
}

fn enrol(store: &Store, key_id: [u8; 16], number: u8) -> Result<Decision, Error> {
    let request = Request {
        key_id,
        spki: [number; 32],
        fingerprint: Fingerprint::default(),
        issuer: [7; 32],
    };
    store.enrol(&request, NOW, |id, _| Ok(id.to_vec()))
}
