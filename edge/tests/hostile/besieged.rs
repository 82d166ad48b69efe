//! An edge as a process of its own, what it takes of the machine, and how quick it is meanwhile.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use connector_proto::key::ProvisioningKey;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinSet;

use crate::shared::harness::program::Serving;
use crate::shared::harness::{Identity, Machine, Program, enrol};

/// What the edge may take more for all hostile peers together, in KiB.
const GROWTH_MAX_KIB: u64 = 64 * 1024;
/// How long a good connector's enrolment may take beside them.
const ENROLMENT_MAX: Duration = Duration::from_secs(1);
/// How long the slowest of them may take on a machine that is busy with others: before the edge's patience
/// with any hostile peer ends.
const SLOWEST_MAX: Duration = Duration::from_secs(5);
/// How long after the hostile peers fell silent everything is free again: the longest patience of the
/// edge is 20 s, and the machine that runs the test may be busy with others.
const RELIEVED_MAX: Duration = Duration::from_secs(60);
/// Sockets of the test.
const DESCRIPTORS: u64 = 4000;
/// Connections that the test opens at the same time.
const AT_ONCE: usize = 50;
/// Enough for the connectors of one story.
const KEY_USES: u32 = 5000;

/// One flood at a time: each is measured. What follows it is patience.
static SIEGE: Mutex<()> = Mutex::const_new(());

/// An edge that is about to be besieged.
pub struct Besieged {
    pub address: SocketAddr,
    pub key: ProvisioningKey,
    edge: Serving,
    _program: Program,
    resident_kib_before: u64,
    descriptors_before: usize,
    turn: Option<MutexGuard<'static, ()>>,
}

impl Besieged {
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// The edge may open so many descriptors.
    pub async fn start_with(descriptors: Option<u64>) -> Self {
        let turn = SIEGE.lock().await;
        raise_descriptor_limit();
        let program = Program::with_edge();
        let limit = descriptors.map_or_else(|| ":".into(), |limit| format!("ulimit -n {limit}"));
        let edge = program.serve_after(&limit, "127.0.0.1:0");
        let key = program.mint(KEY_USES);
        let address = edge.control;
        // What is made once, at the first connection.
        enrol(address, &key, &Machine::new()).await.unwrap();
        let pid = edge.child.id();
        // Resets VmHWM (proc(5)).
        fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        let mut besieged = Self {
            address,
            key,
            edge,
            _program: program,
            resident_kib_before: 0,
            descriptors_before: 0,
            turn: Some(turn),
        };
        besieged.resident_kib_before = besieged.kib("VmRSS:");
        besieged.descriptors_before = besieged.descriptors();
        besieged
    }

    pub async fn enrolled(&self) -> Identity {
        let machine = Machine::new();
        let enrolment = enrol(self.address, &self.key, &machine).await.unwrap();
        Identity { machine, enrolment }
    }

    /// Fails if a good connector cannot enrol in a second, or if the edge has taken too much.
    pub async fn assert_well(&self) {
        let (median, slowest) = self.enrolments().await;
        let (before, most) = (self.resident_kib_before, self.kib("VmHWM:"));
        let descriptors = self.descriptors();
        eprintln!(
            "{before} KiB before, {most} KiB at most, {descriptors} descriptors, an enrolment in {median:?}, \
             the slowest in {slowest:?}"
        );
        assert!(
            most - before < GROWTH_MAX_KIB,
            "{before} KiB, then {most} KiB"
        );
        assert!(median < ENROLMENT_MAX, "{median:?}");
        assert!(slowest < SLOWEST_MAX, "{slowest:?}");
    }

    /// The flood is over and was measured.
    pub fn let_others_begin(&mut self) {
        self.turn = None;
    }

    /// Returns when the edge holds no descriptor more than before.
    pub async fn relieved(&mut self) {
        self.let_others_begin();
        let deadline = Instant::now() + RELIEVED_MAX;
        while self.descriptors() > self.descriptors_before {
            let (left, before) = (self.descriptors(), self.descriptors_before);
            assert!(
                Instant::now() < deadline,
                "{left} descriptors, {before} before"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The edge is well beside these peers, forgets them while they are still connected, and ends well.
    pub async fn withstands<T>(mut self, peers: Vec<T>) {
        self.assert_well().await;
        self.relieved().await;
        drop(peers);
        self.end();
    }

    /// Ends the edge, which must still be able to end well.
    pub fn end(self) {
        assert_eq!(self.edge.terminate().0, Some(0));
    }

    /// What the median and the slowest of some enrolments took.
    async fn enrolments(&self) -> (Duration, Duration) {
        let mut took = Vec::new();
        for _ in 0..5 {
            let machine = Machine::new();
            let started = Instant::now();
            enrol(self.address, &self.key, &machine).await.unwrap();
            took.push(started.elapsed());
        }
        took.sort();
        (took[2], took[4])
    }

    pub fn descriptors(&self) -> usize {
        let pid = self.edge.child.id();
        fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
    }

    fn kib(&self, field: &str) -> u64 {
        let pid = self.edge.child.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

/// So many peers, some at a time.
pub async fn many<T, F>(number: usize, peer: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut done = Vec::with_capacity(number);
    let mut under_way = JoinSet::new();
    for count in 0..number {
        under_way.spawn(peer(count));
        if under_way.len() >= AT_ONCE {
            done.push(under_way.join_next().await.unwrap().unwrap());
        }
    }
    while let Some(one) = under_way.join_next().await {
        done.push(one.unwrap());
    }
    done
}

fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < DESCRIPTORS) {
        let raised = Rlimit {
            current: Some(DESCRIPTORS),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).unwrap();
    }
}
