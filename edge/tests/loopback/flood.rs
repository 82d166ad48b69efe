//! Peers in their thousands that want nothing but the edge's memory and time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use connector_proto::message::ALPN_ENROL;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::harness::{Machine, Program, dial, enrol, soon};

/// What the edge may take for all of them together, in KiB.
const GROWTH_MAX_KIB: u64 = 64 * 1024;
/// How long a good connector's enrolment may take beside them.
const ENROLMENT_MAX: Duration = Duration::from_secs(1);
/// Sockets of all of them, on each side.
const DESCRIPTORS: u64 = 4000;
/// Handshakes that the test itself does at once.
const AT_ONCE: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_bad_peers_cost_little_memory_and_a_good_connector_less_than_a_second() {
    raise_descriptor_limit();
    let program = Program::with_edge();
    let edge = program.serve("127.0.0.1:0");
    let key = program.mint(10);
    let (pid, address) = (edge.child.id(), edge.control);
    // What is made once, at the first connection.
    enrol(address, &key, &Machine::new()).await.unwrap();
    let before = resident_kib(pid);

    refused_frames(address, 1000).await;
    let after_frames = resident_kib(pid);
    let half = many(address, 2000, &half_a_hello()).await;
    let dribbled = many(address, 500, &hello_byte_by_byte()).await;
    let quickest = quickest_enrolment(address, &key).await;
    let during = resident_kib(pid);
    drop((half, dribbled));

    let most = during.max(after_frames);
    eprintln!("{before} KiB before, {most} KiB at most, an enrolment in {quickest:?}");
    assert!(
        most - before < GROWTH_MAX_KIB,
        "{before} KiB, then {most} KiB"
    );
    assert!(quickest < ENROLMENT_MAX, "{quickest:?}");
    assert_eq!(edge.terminate().0, Some(0));
}

/// The best of three: the machine that runs the test may be busy with others.
async fn quickest_enrolment(
    address: SocketAddr,
    key: &connector_proto::key::ProvisioningKey,
) -> Duration {
    let mut quickest = Duration::MAX;
    for _ in 0..3 {
        let machine = Machine::new();
        let started = Instant::now();
        enrol(address, key, &machine).await.unwrap();
        quickest = quickest.min(started.elapsed());
    }
    quickest
}

/// Connections that finish their handshake and announce a frame of 4 GiB; each is cut off.
async fn refused_frames(address: SocketAddr, number: usize) {
    let mut cut_off = JoinSet::new();
    for count in 0..number {
        cut_off.spawn(async move {
            let mut tls = dial(address, ALPN_ENROL, None, None).await.unwrap();
            tls.write_all(b"\xff\xff\xff\xff\x01\x00").await.unwrap();
            let mut farewell = Vec::new();
            soon("the farewell", tls.read_to_end(&mut farewell))
                .await
                .unwrap();
            assert!(!farewell.is_empty() && farewell.len() < 1024);
        });
        if count >= AT_ONCE {
            cut_off.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(done) = cut_off.join_next().await {
        done.unwrap();
    }
}

/// Connections that say this and no more.
async fn many(address: SocketAddr, number: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let mut all = Vec::with_capacity(number);
    for _ in 0..number {
        let mut tcp = TcpStream::connect(address).await.unwrap();
        // Cut off already, where there are too many.
        let _ = tcp.write_all(bytes).await;
        all.push(tcp);
    }
    all
}

/// A record of 512 bytes with a client hello in it, of which half comes.
fn half_a_hello() -> Vec<u8> {
    let mut bytes = vec![22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    bytes.resize(256, 0);
    bytes
}

/// A client hello that announces 65,280 bytes and comes one byte to a record.
fn hello_byte_by_byte() -> Vec<u8> {
    let announced = [1, 0, 0xff, 0].into_iter().chain(std::iter::repeat(0));
    let records = announced.flat_map(|byte| [22, 3, 1, 0, 1, byte]);
    records.take(6 * 1000).collect()
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The edge inherits it.
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
