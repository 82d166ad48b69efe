//! Many machines that enrol with one key at once: whatever happens in between, the key makes as many
//! connectors as it is good for, and the audit log says so.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on says where")]

#[path = "loopback"]
mod shared {
    #[expect(
        dead_code,
        unused_imports,
        reason = "most of it is for the other stories"
    )]
    pub mod harness;
}

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use connector_proto::derive::EnrolSecrets;
use connector_proto::enrol::{Connector, ConnectorEvent};
use connector_proto::key::ProvisioningKey;
use connector_proto::message::{ALPN_ENROL, EXPORTER_LABEL, EnrolRefusal};
use connector_proto::time::UnixSeconds;
use edge::authority::open_store;
use edge::config::DataDir;
use edge::store::Store;
use edge::store::keys::KeyOrder;
use shared::harness::{FINGERPRINT, GROUP, Machine, Program, clock, dial, now};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

const MACHINES: u32 = 100;
const LIMITS: [u32; 3] = [1, 10, 99];
/// Of each limit.
const ROUNDS: u32 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_parallel_enrolments_exactly_as_many_succeed_as_the_key_is_good_for() {
    let program = Program::with_edge();
    let store = open_store(&DataDir::new(&program.dir)).unwrap();
    let edge = program.serve("127.0.0.1:0");
    for limit in LIMITS.repeat(ROUNDS as usize) {
        let key = mint(&store, limit);
        let edges = Arc::new([edge.control]);
        let outcomes = enrol_all(&edges, &key).await;
        let enrolled = outcomes.iter().filter(|one| one.is_ok()).count();
        assert_eq!(enrolled, limit as usize);
        let spent = EnrolRefusal::KeySpent { max_uses: limit };
        assert!(
            outcomes.iter().all(|one| one.is_ok() || *one == Err(spent)),
            "{outcomes:?}"
        );
        let told = told_of(&store, &key, limit);
        assert_eq!(told.get("enrolment_refused"), Some(&(MACHINES - limit)));
        assert_eq!(told.len(), 2, "{told:?}");
    }
    agree(&program, &store);
    assert_eq!(edge.terminate().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_do_two_edges_of_which_one_is_killed_give_more_or_less() {
    let program = Program::with_edge();
    let store = open_store(&DataDir::new(&program.dir)).unwrap();
    let steady = program.serve("127.0.0.1:0");
    let mut repeated = 0;
    for round in 0..ROUNDS {
        for limit in LIMITS {
            let key = mint(&store, limit);
            let victim = program.serve("127.0.0.1:0");
            let edges = Arc::new([victim.control, steady.control]);
            let killed_after = (round * 7 + limit) % (MACHINES / 2);
            let outcomes = enrol_until_killed(&edges, &key, victim, killed_after).await;
            let enrolled = outcomes.iter().filter(|one| one.is_ok()).count();
            assert_eq!(enrolled, limit as usize, "killed after {killed_after}");
            let told = told_of(&store, &key, limit);
            repeated += told.get("enrolment_repeated").unwrap_or(&0);
        }
    }
    println!("{repeated} replies were lost and asked for again");
    agree(&program, &store);
    assert_eq!(steady.terminate().0, Some(0));
}

/// What a machine was told in the end.
type Outcome = Result<(), EnrolRefusal>;

async fn enrol_all<const N: usize>(
    edges: &Arc<[SocketAddr; N]>,
    key: &ProvisioningKey,
) -> Vec<Outcome> {
    start_all(edges, key, &Arc::default()).join_all().await
}

/// The victim is killed as soon as so many machines heard an answer.
async fn enrol_until_killed<const N: usize>(
    edges: &Arc<[SocketAddr; N]>,
    key: &ProvisioningKey,
    victim: shared::harness::program::Serving,
    killed_after: u32,
) -> Vec<Outcome> {
    let answered = Arc::new(AtomicU32::new(0));
    let enrolling = start_all(edges, key, &answered);
    while answered.load(Ordering::Relaxed) < killed_after {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    victim.kill();
    enrolling.join_all().await
}

/// Each machine asks one edge after the other until it has an answer, always for the same key pair.
fn start_all<const N: usize>(
    edges: &Arc<[SocketAddr; N]>,
    key: &ProvisioningKey,
    answered: &Arc<AtomicU32>,
) -> JoinSet<Outcome> {
    let mut machines = JoinSet::new();
    for number in 0..MACHINES as usize {
        let (edges, key, answered) = (Arc::clone(edges), key.clone(), Arc::clone(answered));
        machines.spawn(async move {
            let machine = Machine::new();
            for attempt in 0..100 {
                let edge = edges[(number + attempt) % N];
                let asked = timeout(Duration::from_secs(20), ask(edge, &key, &machine)).await;
                match asked.expect("an answer or an end") {
                    Ok(Err(EnrolRefusal::TryLater)) | Err(_) => {}
                    Ok(outcome) => {
                        answered.fetch_add(1, Ordering::Relaxed);
                        return outcome;
                    }
                }
            }
            panic!("no answer in 100 attempts");
        });
    }
    machines
}

async fn ask(edge: SocketAddr, key: &ProvisioningKey, machine: &Machine) -> io::Result<Outcome> {
    let mut tls = dial(edge, ALPN_ENROL, None, None).await?;
    let exporter = tls
        .get_ref()
        .1
        .export_keying_material([0; 32], EXPORTER_LABEL, None)
        .map_err(io::Error::other)?;
    let secrets = EnrolSecrets::derive(key);
    let csr = machine.csr.clone();
    let mut enrolling = Connector::new(clock(), secrets, exporter, csr, FINGERPRINT).unwrap();
    let mut buffer = [0; 4096];
    loop {
        while let Some(bytes) = enrolling.poll_transmit() {
            tls.write_all(&bytes).await?;
        }
        tls.flush().await?;
        match enrolling.poll_event() {
            Some(ConnectorEvent::EdgeProven) => continue,
            Some(ConnectorEvent::Enrolled(_)) => return Ok(Ok(())),
            Some(ConnectorEvent::Refused { reason, .. }) => return Ok(Err(reason)),
            None => {}
        }
        let len = tls.read(&mut buffer).await?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        enrolling
            .handle_input(&buffer[..len])
            .map_err(io::Error::other)?;
    }
}

fn mint(store: &Store, max_uses: u32) -> ProvisioningKey {
    let order = KeyOrder {
        group: GROUP,
        max_uses,
        expires_at: UnixSeconds(now().0 + 3600),
        label: None,
    };
    store.mint_key(&order, now()).unwrap().key
}

/// How often each event of this key is in the audit log, the mint apart: as many enrolments as the
/// key is good for, and as many uses are spent.
fn told_of(store: &Store, key: &ProvisioningKey, limit: u32) -> BTreeMap<String, u32> {
    let id = hex(&EnrolSecrets::derive(key).id);
    let mut told = BTreeMap::new();
    for row in store.audit_rows(1000).unwrap() {
        if row["key"] == *id && row["event"] != "key_minted" {
            let event = row["event"].as_str().unwrap().to_owned();
            *told.entry(event).or_default() += 1;
        }
    }
    assert_eq!(told.get("connector_enrolled"), Some(&limit));
    let keys = store.keys(now()).unwrap();
    let key = keys.iter().find(|key| key.id == id).unwrap();
    assert_eq!(key.uses, limit);
    told
}

/// Uses, connectors and certificates are as many as all keys together were good for, and the audit
/// chain holds.
fn agree(program: &Program, store: &Store) {
    let database = rusqlite::Connection::open(program.dir.join("edge.sqlite")).unwrap();
    let count = |what: &str| {
        let query = format!("SELECT {what}");
        database
            .query_row(&query, [], |row| row.get::<_, u32>(0))
            .unwrap()
    };
    let expected = ROUNDS * LIMITS.iter().sum::<u32>();
    assert_eq!(count("sum(uses) FROM keys"), expected);
    assert_eq!(count("count(*) FROM connectors"), expected);
    assert_eq!(count("count(*) FROM certificates"), expected);
    assert_eq!(
        count("count(DISTINCT connector_id) FROM certificates"),
        expected
    );
    store.verify_audit().unwrap();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
