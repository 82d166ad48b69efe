//! Sessions of the whole connector, in this process, by a real edge to real applications.

#![expect(clippy::unwrap_used, reason = "a panic is a test's report")]

#[path = "../common/application.rs"]
mod application;
#[allow(dead_code, reason = "each of the targets that share it uses a part")]
#[path = "../through_a_proxy/edge.rs"]
mod edge;
#[allow(dead_code, reason = "each of the targets that share it uses a part")]
#[path = "../common/machine.rs"]
mod machine;
#[path = "../common/partition.rs"]
mod partition;

mod half_close;

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use connector_proto::local::{EngineSetting, Phase, ToConnector};
use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
use splice_core::plane;

use crate::application::address_beside_loopback;
use crate::edge::TestEdge;
use crate::machine::{FINGERPRINT, Machine};

/// How long a read may take on a busy machine.
const STEP_MAX: Duration = Duration::from_secs(60);

/// An edge, a connector that is connected to it, and an application.
struct Site {
    edge: TestEdge,
    machine: Machine,
    target: SocketAddr,
}

impl Site {
    /// `None` if this machine has no address where an application may be.
    fn start(engine: EngineSetting, plane: plane::Config, serve: fn(TcpStream)) -> Option<Self> {
        appliance::logger::start();
        let target = serve_at(address_beside_loopback()?, serve);
        let edge = TestEdge::start_as(&["127.0.0.1".into()], plane);
        edge.add_application(target);
        let name = edge.address().to_string();
        let machine = Machine::start_with(&name, None, engine, plane);
        Some(Self::enrolled(edge, machine, target))
    }

    fn enrolled(edge: TestEdge, machine: Machine, target: SocketAddr) -> Self {
        machine.wait_for(|phase| matches!(phase, Phase::NeedKey { refused: None, .. }));
        machine.type_key(&edge.mint());
        machine.wait_for(|phase| matches!(phase, Phase::Connected { .. }));
        Self {
            edge,
            machine,
            target,
        }
    }

    /// A user's connection to the application.
    fn connect(&self) -> TcpStream {
        let user = self.edge.ask(self.target).connect();
        user.set_read_timeout(Some(STEP_MAX)).unwrap();
        user
    }
}

/// An application for as long as this process lives.
fn serve_at(address: IpAddr, serve: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let target = listener.local_addr().unwrap();
    thread::spawn(move || {
        for user in listener.incoming() {
            let user = user.unwrap();
            // A session's thread is small: there are a thousand of them.
            let builder = thread::Builder::new().stack_size(64 << 10);
            builder.spawn(move || serve(user)).unwrap();
        }
    });
    target
}

/// Says back what it hears, to the end.
fn echo(mut user: TcpStream) {
    let mut reader = user.try_clone().unwrap();
    // Whoever is reset has ended, too.
    let _ = io::copy(&mut reader, &mut user);
    let _ = user.shutdown(Shutdown::Write);
}

/// Bytes that tell their place.
fn pattern(seed: usize, len: usize) -> Vec<u8> {
    let byte = |at: usize| (at.wrapping_mul(31) ^ (at >> 8) ^ seed).to_le_bytes()[0];
    (0..len).map(byte).collect()
}

/// Sends `len` bytes and has them come back.
fn exchange(user: &TcpStream, seed: usize, len: usize) -> JoinHandle<()> {
    let sent = pattern(seed, len);
    let (mut writer, mut reader) = (user.try_clone().unwrap(), user.try_clone().unwrap());
    let expected = sent.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    thread::spawn(move || {
        let mut heard = Vec::new();
        reader.read_to_end(&mut heard).unwrap();
        writing.join().unwrap();
        assert_eq!(heard.len(), expected.len());
        assert!(heard == expected, "bytes were changed on their way");
    })
}

#[test]
fn a_thousand_sessions_that_are_opened_at_once_all_stand_and_none_is_mixed_up() {
    const SESSIONS: usize = 1_000;
    let Some(site) = Site::start(EngineSetting::User, plane::Config::default(), echo) else {
        return;
    };
    let began = Instant::now();
    let users: Vec<TcpStream> = thread::scope(|scope| {
        let connect = || -> Vec<TcpStream> { (0..SESSIONS / 50).map(|_| site.connect()).collect() };
        let threads: Vec<_> = (0..50).map(|_| scope.spawn(connect)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    eprintln!("{SESSIONS} sessions opened in {:?}", began.elapsed());
    site.machine
        .wait_for_status(|status| status.sessions == 1_000);
    for (number, mut user) in users.iter().enumerate() {
        user.write_all(&pattern(number, 300)).unwrap();
    }
    for (number, mut user) in users.iter().enumerate() {
        let mut heard = [0; 300];
        user.read_exact(&mut heard).unwrap();
        assert!(heard == *pattern(number, 300), "session {number}");
    }
    drop(users);
    let status = site.machine.wait_for_status(|status| status.sessions == 0);
    assert_eq!(status.sessions_total, 1_000);
    assert_eq!((status.bytes_up, status.bytes_down), (300_000, 300_000));
    site.machine.stop();
}

#[test]
fn sessions_change_channels_many_times_and_no_byte_is_lost_or_doubled() {
    let plane = plane::Config {
        records_max: 20,
        threads: 2,
        ..plane::Config::default()
    };
    for engine in [EngineSetting::User, EngineSetting::Kernel] {
        let Some(site) = Site::start(engine, plane, echo) else {
            return;
        };
        // Each direction waits for good at forty records, and these are two hundred at least.
        let users: Vec<TcpStream> = (0..4).map(|_| site.connect()).collect();
        let exchanges = users.iter().enumerate();
        let exchanges: Vec<_> = exchanges
            .map(|(seed, user)| exchange(user, seed, 3 << 20))
            .collect();
        for exchange in exchanges {
            exchange.join().unwrap();
        }
        site.machine.wait_for_status(|status| status.sessions == 0);
        site.machine.stop();
    }
}

#[test]
fn the_engine_that_is_set_is_used_and_told() {
    for (engine, is_kernel) in [(EngineSetting::User, false), (EngineSetting::Kernel, true)] {
        let Some(site) = Site::start(engine, plane::Config::default(), echo) else {
            return;
        };
        exchange(&site.connect(), 1, 1 << 20).join().unwrap();
        let status = site.machine.wait_for_status(|status| status.sessions == 0);
        assert_eq!(status.is_kernel_engine, Some(is_kernel));
        site.machine.stop();
    }
}

#[test]
fn a_machine_that_is_another_one_all_of_a_sudden_drops_sessions_and_warm_channels() {
    let Some(site) = Site::start(EngineSetting::User, plane::Config::default(), echo) else {
        return;
    };
    let mut user = site.connect();
    user.write_all(b"before").unwrap();
    user.read_exact(&mut [0; 6]).unwrap();
    let mut other = FINGERPRINT;
    other.vm_generation = [9; 16];
    site.machine.send(&ToConnector::Fingerprint(other));
    // The user is reset: nobody takes that for the end.
    let error = user.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    site.machine.wait_for_status(|status| status.sessions == 0);
    site.machine.stop();
}

#[test]
fn an_application_that_is_not_there_is_told_to_the_user_as_what_it_is() {
    let Some(site) = Site::start(EngineSetting::User, plane::Config::default(), echo) else {
        return;
    };
    let gone = TcpListener::bind((site.target.ip(), 0)).unwrap();
    let target = gone.local_addr().unwrap();
    drop(gone);
    site.edge.add_application_called("gone", target);
    let answer = site.edge.ask(target).answer();
    assert!(answer.contains("refuses the connection"), "{answer}");
    // And the next one is served.
    exchange(&site.connect(), 1, 1_000).join().unwrap();
    site.machine.stop();
}

#[test]
fn a_connector_out_of_descriptors_refuses_with_that_reason_and_serves_again_when_it_has_some() {
    let Some(address) = address_beside_loopback() else {
        return;
    };
    let target = serve_at(address, echo);
    let edge = TestEdge::start_as(&["127.0.0.1".into()], plane::Config::default());
    edge.add_application(target);
    let machine = Machine::start_process(&edge.address().to_string());
    let site = Site::enrolled(edge, machine, target);
    exchange(&site.connect(), 1, 1_000).join().unwrap();
    let pid = site.machine.pid();
    let limited = |descriptors| {
        let limit = Rlimit {
            current: Some(descriptors),
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        prlimit(Some(pid), Resource::Nofile, limit).unwrap().current
    };
    // Whatever number a new descriptor would have is too large.
    let before = limited(3).unwrap();
    let answer = site.edge.ask(target).answer();
    assert!(
        answer.contains("too many connections are open here, try again"),
        "{answer}"
    );
    limited(before);
    exchange(&site.connect(), 2, 1_000).join().unwrap();
    site.machine.stop();
}
