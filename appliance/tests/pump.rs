//! A session's bytes between a real application socket and a real TLS peer on loopback.
#![expect(clippy::unwrap_used, reason = "a panic is a test's report")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use appliance::clock;
use appliance::interest::Watch;
use appliance::pump::{Broken, Carried, Pump as _, Turn, UserSpace};
use appliance::tls::{self, TlsStream};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

type Peer = StreamOwned<ServerConnection, TcpStream>;

/// More than all buffers on the way together.
const LARGE: usize = 3_000_000;

#[test]
fn bytes_arrive_whole_in_both_directions_at_once() {
    let (outcome, carried) = session(
        |application| {
            let writer = spawn_writer(application, LARGE);
            assert_eq!(read_pattern(application), LARGE);
            writer.join().unwrap();
        },
        |peer| {
            // One thread both reads and writes: in pieces, so that neither side is ever full.
            let mut buffer = vec![0; 16_384];
            let mut read = 0;
            for piece in pattern(LARGE).chunks(16_384) {
                peer.write_all(piece).unwrap();
                let len = peer.read(&mut buffer).unwrap();
                read += len;
            }
            peer.conn.send_close_notify();
            peer.flush().unwrap();
            loop {
                match peer.read(&mut buffer).unwrap() {
                    0 => break,
                    len => read += len,
                }
            }
            assert_eq!(read, LARGE);
        },
    );
    assert!(matches!(outcome, Turn::Finished), "{outcome:?}");
    assert_eq!(
        carried,
        Carried {
            up: LARGE as u64,
            down: LARGE as u64
        }
    );
}

#[test]
fn an_application_that_ends_first_still_gets_the_rest_and_the_session_finishes() {
    let (outcome, _) = session(
        |application| {
            application.shutdown(Shutdown::Write).unwrap();
            assert_eq!(read_pattern(application), LARGE);
        },
        |peer| {
            assert_eq!(peer.read(&mut [0; 16]).unwrap(), 0);
            peer.write_all(&pattern(LARGE)).unwrap();
            peer.conn.send_close_notify();
            peer.flush().unwrap();
        },
    );
    assert!(matches!(outcome, Turn::Finished), "{outcome:?}");
}

#[test]
fn a_user_that_ends_first_still_gets_the_rest_and_the_session_finishes() {
    let (outcome, _) = session(
        |application| {
            assert_eq!(read_pattern(application), 0);
            application.write_all(&pattern(LARGE)).unwrap();
            application.shutdown(Shutdown::Write).unwrap();
        },
        |peer| {
            peer.conn.send_close_notify();
            peer.flush().unwrap();
            let mut read = Vec::new();
            peer.read_to_end(&mut read).unwrap();
            assert!(read == pattern(LARGE));
        },
    );
    assert!(matches!(outcome, Turn::Finished), "{outcome:?}");
}

#[test]
fn a_last_word_and_close_notify_in_one_segment_end_the_session() {
    for _ in 0..50 {
        let (outcome, _) = session(
            |application| {
                application.write_all(b"answer").unwrap();
                application.shutdown(Shutdown::Write).unwrap();
                assert_eq!(read_pattern(application), 1);
            },
            |peer| {
                let mut answer = Vec::new();
                peer.read_to_end(&mut answer).unwrap();
                peer.conn.writer().write_all(&pattern(1)).unwrap();
                peer.conn.send_close_notify();
                peer.flush().unwrap();
            },
        );
        assert!(matches!(outcome, Turn::Finished), "{outcome:?}");
    }
}

#[test]
fn a_truncated_channel_resets_the_application_instead_of_ending_it() {
    let (outcome, _) = session(
        |application| {
            let mut buffer = Vec::new();
            let error = application.read_to_end(&mut buffer).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        },
        |peer| {
            peer.write_all(b"a part").unwrap();
            peer.flush().unwrap();
            // Both directions of TCP end without a word of TLS.
            peer.sock.shutdown(Shutdown::Both).unwrap();
        },
    );
    assert!(
        matches!(outcome, Turn::Broken(Broken::Truncated)),
        "{outcome:?}"
    );
}

/// Runs a session between an application and a TLS peer until it is over.
fn session(
    application: impl FnOnce(&mut TcpStream) + Send + 'static,
    peer: impl FnOnce(&mut Peer) + Send + 'static,
) -> (Turn, Carried) {
    let (near, mut far) = tcp_pair();
    near.set_nonblocking(true).unwrap();
    let application = thread::spawn(move || application(&mut far));
    let (socket, accepted) = tcp_pair();
    socket.set_nonblocking(true).unwrap();
    let peer = thread::spawn(move || {
        let connection = ServerConnection::new(server_config()).unwrap();
        let mut stream = StreamOwned::new(connection, accepted);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        peer(&mut stream);
        // Stays until the other side is done, so that nothing is reset under way.
        let _ = stream.sock.read(&mut [0; 1]);
    });
    let mut channel = TlsStream::new(socket, tls::enrolment().unwrap(), "edge.example").unwrap();
    while channel.is_handshaking() {
        channel.turn().unwrap();
        let mut watch = Watch::default();
        watch.add(0, &channel, channel.interest(true));
        if channel.is_handshaking() {
            watch.wait(clock::now()).unwrap();
        }
    }
    let outcome = run(UserSpace::new(near, channel));
    join(application);
    join(peer);
    outcome
}

/// Turns the pump whenever it says that there is something to do, and never otherwise.
fn run(mut pump: UserSpace) -> (Turn, Carried) {
    loop {
        match pump.turn() {
            Turn::Open => {}
            over => return (over, pump.carried()),
        }
        if !pump.has_work() {
            let mut watch = Watch::default();
            pump.watch(&mut watch, 0);
            let late = clock::now() + std::time::Duration::from_secs(20);
            watch.until(Some(late));
            let ready = watch.wait(clock::now()).unwrap();
            assert!(
                !ready.is_empty(),
                "the pump waits for something that never comes"
            );
        }
    }
}

fn join(thread: JoinHandle<()>) {
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

fn server_config() -> Arc<ServerConfig> {
    let certified = rcgen::generate_simple_self_signed(vec!["edge.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(
        certified.signing_key.serialize_der(),
    ));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![connector_proto::message::ALPN_ENROL.to_vec()];
    Arc::new(config)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

fn read_pattern(stream: &mut TcpStream) -> usize {
    let mut read = Vec::new();
    stream.read_to_end(&mut read).unwrap();
    assert!(read == pattern(read.len()), "other bytes arrived");
    read.len()
}

fn spawn_writer(stream: &TcpStream, len: usize) -> JoinHandle<()> {
    let mut stream = stream.try_clone().unwrap();
    thread::spawn(move || {
        stream.write_all(&pattern(len)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    })
}
