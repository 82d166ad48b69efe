//! The whole connector in this process, with PID 1 played by the test, against an edge that enrols it
//! and then does not keep to the protocol.

#![expect(clippy::unwrap_used, reason = "a panic is a test's report")]

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use appliance::clock;
use appliance::event_loop::{Exit, run};
use appliance::local_channel::LocalChannel;
use connector_proto::control::{Channel, EdgeEvent};
use connector_proto::derive::EnrolSecrets;
use connector_proto::edge_time;
use connector_proto::enrol;
use connector_proto::frame::Deframer;
use connector_proto::key::ProvisioningKey;
use connector_proto::limits::LOCAL_MAX;
use connector_proto::local::{
    self, EdgeSample, FromConnector, FromConsole, KeyRefused, Lease, LeaseOrigin, Network, Phase,
    ToConnector,
};
use connector_proto::message::{
    ALPN_CONTROL, ALPN_ENROL, ALPN_TIME, Close, CloseCode, EXPORTER_LABEL, EnrolAccepted,
    EnrolRefusal, Fingerprint, Message as _, Welcome,
};
use connector_proto::time::{UnixMicros, UnixSeconds};
use connector_sys::packet_channel::{self, Received};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// How long a step may take on a busy machine.
const STEP_MAX: Duration = Duration::from_secs(30);
const KEY: [u8; 14] = [0x15; 14];

#[test]
fn a_malformed_frame_of_the_edge_ends_that_connection_with_a_typed_error_and_no_more() {
    let edge = HostileEdge::new();
    let machine = Machine::start(&edge);
    machine.wait_for(|phase| matches!(phase, Phase::NeedKey { refused: None }));
    machine.type_key();
    edge.enrol(Answer::Accept);
    for (garbage, code) in [
        (&[0xff; 8][..], CloseCode::FrameLength),
        (
            &[0, 0, 0, 3, 0x02, 0x04, 0xff][..],
            CloseCode::InvalidMessage,
        ),
        (&[0, 0, 0, 2, 0x7f, 0xff][..], CloseCode::UnknownMessage),
        (&[0, 0, 0, 2, 0x03, 0x01][..], CloseCode::UnexpectedMessage),
    ] {
        let mut tls = edge.welcome();
        machine.wait_for(|phase| matches!(phase, Phase::Connected { .. }));
        tls.write_all(garbage).unwrap();
        assert_eq!(farewell(&mut tls), Some(code));
    }
    // It is still there, and still the same connector.
    let _tls = edge.welcome();
    machine.wait_for(|phase| matches!(phase, Phase::Connected { .. }));
    machine.stop();
}

#[test]
fn an_edge_that_cannot_prove_itself_learns_nothing_and_the_console_is_told() {
    let edge = HostileEdge::new();
    let machine = Machine::start(&edge);
    machine.wait_for(|phase| matches!(phase, Phase::NeedKey { refused: None }));
    machine.type_key();
    edge.enrol(Answer::WrongProof);
    machine.wait_for(|phase| {
        matches!(
            phase,
            Phase::NeedKey {
                refused: Some(KeyRefused::EdgeNotProven)
            }
        )
    });
    machine.stop();
}

#[test]
fn a_refused_key_is_forgotten_and_the_next_one_enrols() {
    let edge = HostileEdge::new();
    let machine = Machine::start(&edge);
    machine.wait_for(|phase| matches!(phase, Phase::NeedKey { refused: None }));
    machine.type_key();
    let reason = EnrolRefusal::KeySpent { max_uses: 1 };
    edge.enrol(Answer::Refuse(reason));
    let refused = Some(KeyRefused::ByEdge(reason));
    machine.wait_for(|phase| *phase == Phase::NeedKey { refused });
    machine.type_key();
    edge.enrol(Answer::Accept);
    let _tls = edge.welcome();
    machine.wait_for(|phase| matches!(phase, Phase::Connected { .. }));
    machine.stop();
}

#[test]
fn without_a_clock_an_expired_edge_is_asked_for_the_time_and_trusted_with_nothing_else() {
    let edge = HostileEdge::dated(1999, 2000);
    let machine = Machine::start_with(&edge, false);
    machine.wait_for(|phase| matches!(phase, Phase::NeedKey { refused: None }));
    machine.type_key();
    edge.enrol(Answer::Accept);
    edge.tell_time(|now_us| now_us + 7_200_000_000);
    let sample = machine.wait_for_time();
    let off_us = sample.offset_us - 7_200_000_000;
    assert!(
        off_us.unsigned_abs() <= u64::from(sample.bound_us) + 100_000,
        "{sample:?}"
    );
    assert_eq!(
        sample.edge,
        edge.listener.local_addr().unwrap().to_string().as_str()
    );
    machine.send(&ToConnector::Clock { is_right: true }, None);
    edge.refuse_handshake();
    machine.wait_for(|phase| {
        matches!(phase, Phase::Connecting { last_error, .. } if last_error.contains("expired"))
    });
    machine.stop();
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_asked_as_well_and_a_right_clock_connects() {
    let edge = HostileEdge::new();
    let machine = Machine::start_with(&edge, false);
    machine.wait_for(|phase| matches!(phase, Phase::NeedKey { refused: None }));
    machine.type_key();
    edge.enrol(Answer::Accept);
    let later = edge.redated(2090, 2091);
    later.tell_time(|now_us| now_us);
    machine.wait_for_time();
    machine.send(&ToConnector::Clock { is_right: true }, None);
    let edge = later.redated(1999, 4095);
    let _tls = edge.welcome();
    machine.wait_for(|phase| matches!(phase, Phase::Connected { .. }));
    machine.stop();
}

#[test]
fn a_stranger_or_another_name_or_an_old_answer_tells_no_time() {
    let edge = HostileEdge::new();
    let machine = Machine::start_with(&edge, false);
    machine.wait_for(|phase| matches!(phase, Phase::NeedKey { refused: None }));
    machine.type_key();
    edge.enrol(Answer::Accept);
    let failed = |edge: &HostileEdge, why: &str| {
        edge.refuse_handshake();
        machine.wait_for(|phase| {
            matches!(phase, Phase::Connecting { last_error, .. } if last_error.contains(why))
        });
    };
    let stranger = edge.with_another_ca();
    failed(&stranger, "does not verify");
    let misnamed = stranger.back_to(&edge).named("elsewhere.example");
    failed(&misnamed, "does not verify");
    let edge = misnamed.named("127.0.0.1");
    edge.answer_time(|_, now_us| edge_time::reply([0; 32], UnixMicros(now_us)));
    machine.wait_for(|phase| {
        matches!(phase, Phase::Connecting { last_error, .. } if last_error.contains("another question"))
    });
    edge.tell_time(|now_us| now_us);
    machine.wait_for_time();
    machine.stop();
}

/// The connector's loop in a thread, and the other end of its local channel.
struct Machine {
    channel: OwnedFd,
    connector: JoinHandle<Exit>,
}

impl Machine {
    fn start(edge: &HostileEdge) -> Self {
        Self::start_with(edge, true)
    }

    fn start_with(edge: &HostileEdge, is_right: bool) -> Self {
        let (channel, theirs) = packet_channel::pair().unwrap();
        let connector = thread::spawn(move || run(&LocalChannel::from_socket(theirs)));
        let machine = Self { channel, connector };
        let fingerprint = Fingerprint {
            mac: [2; 6],
            smbios_uuid: [3; 16],
        };
        let edge = edge.listener.local_addr().unwrap().to_string();
        let start = ToConnector::Start {
            edge: Some(edge.parse().unwrap()),
            fingerprint,
            version: "0.0.0".parse().unwrap(),
        };
        machine.send(&start, Some(&blank_partition()));
        machine.send(&ToConnector::Clock { is_right }, None);
        machine.send(
            &ToConnector::Network {
                network: Some(network()),
            },
            None,
        );
        machine
    }

    fn type_key(&self) {
        let key = *ProvisioningKey::from_random(KEY).data();
        self.send(&ToConnector::Operator(FromConsole::Key(key)), None);
    }

    fn send(&self, message: &ToConnector, descriptor: Option<&OwnedFd>) {
        let mut buffer = [0; LOCAL_MAX];
        let packet = local::encode(message, &mut buffer).unwrap();
        let descriptors: Vec<_> = descriptor.iter().map(|fd| fd.as_fd()).collect();
        packet_channel::send(&self.channel, packet, &descriptors).unwrap();
    }

    fn wait_for(&self, wanted: impl Fn(&Phase) -> bool) {
        self.wait_for_message(|message| match message {
            FromConnector::Status(status) => wanted(&status.phase).then_some(()),
            FromConnector::Time(_) => None,
        });
    }

    fn wait_for_time(&self) -> EdgeSample {
        self.wait_for_message(|message| match message {
            FromConnector::Time(sample) => Some(sample.clone()),
            FromConnector::Status(_) => None,
        })
    }

    fn wait_for_message<T>(&self, wanted: impl Fn(&FromConnector) -> Option<T>) -> T {
        let deadline = Instant::now() + STEP_MAX;
        let mut last = None;
        let mut buffer = [0; LOCAL_MAX];
        while Instant::now() < deadline {
            match packet_channel::recv(&self.channel, &mut buffer).unwrap() {
                Received::Packet { len, .. } => {
                    let message = local::decode(&buffer[..len]).unwrap();
                    if let Some(found) = wanted(&message) {
                        return found;
                    }
                    last = Some(message);
                }
                Received::Empty => wait_readable(&self.channel),
                other => panic!("{other:?}"),
            }
        }
        panic!("the last message was {last:?}");
    }

    fn stop(self) {
        self.send(&ToConnector::Stop, None);
        assert!(matches!(self.connector.join().unwrap(), Exit::Stopped));
    }
}

/// What the hostile edge does with an enrolment.
#[derive(Clone, Copy)]
enum Answer {
    Accept,
    Refuse(EnrolRefusal),
    WrongProof,
}

/// An edge of a few lines that does what the test wants.
struct HostileEdge {
    listener: TcpListener,
    authority: Arc<TestAuthority>,
    config: Arc<ServerConfig>,
}

struct TestAuthority {
    ca: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl TestAuthority {
    fn new() -> Arc<Self> {
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap().der().clone();
        let issuer = Issuer::new(params, ca_key);
        Arc::new(Self { ca, issuer })
    }

    /// TLS with a certificate for `name` that is valid from the beginning of year `from` to that of
    /// `until`.
    fn config(&self, name: &str, from: i32, until: i32) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        leaf.not_before = rcgen::date_time_ymd(from, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(until, 1, 1);
        let leaf = leaf.signed_by(&key, &self.issuer).unwrap().der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .allow_unauthenticated()
                .build()
                .unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![leaf], key)
            .unwrap();
        config.alpn_protocols = [ALPN_ENROL, ALPN_CONTROL, ALPN_TIME]
            .map(<[u8]>::to_vec)
            .into();
        Arc::new(config)
    }
}

const LOOPBACK: &str = "127.0.0.1";

impl HostileEdge {
    fn new() -> Self {
        Self::dated(1999, 4095)
    }

    fn dated(from: i32, until: i32) -> Self {
        let authority = TestAuthority::new();
        Self {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            config: authority.config(LOOPBACK, from, until),
            authority,
        }
    }

    /// The same edge with another certificate.
    fn redated(&self, from: i32, until: i32) -> Self {
        self.with(&self.authority, LOOPBACK, from, until)
    }

    fn named(&self, name: &str) -> Self {
        self.with(&self.authority, name, 1999, 4095)
    }

    fn with_another_ca(&self) -> Self {
        self.with(&TestAuthority::new(), LOOPBACK, 1999, 4095)
    }

    fn back_to(&self, edge: &Self) -> Self {
        self.with(&edge.authority, LOOPBACK, 1999, 4095)
    }

    fn with(&self, authority: &Arc<TestAuthority>, name: &str, from: i32, until: i32) -> Self {
        Self {
            listener: self.listener.try_clone().unwrap(),
            config: authority.config(name, from, until),
            authority: authority.clone(),
        }
    }

    /// Takes a connection whose client does not take this edge's certificate.
    fn refuse_handshake(&self) {
        wait_readable(&self.listener);
        let (socket, _) = self.listener.accept().unwrap();
        socket.set_read_timeout(Some(STEP_MAX)).unwrap();
        let mut tls = Tls::new(ServerConnection::new(self.config.clone()).unwrap(), socket);
        while tls.conn.is_handshaking() {
            if tls.conn.complete_io(&mut tls.sock).is_err() {
                return;
            }
        }
        panic!("the certificate was taken");
    }

    /// Answers the question for the time with what `tell` makes of this machine's.
    fn tell_time(&self, tell: impl Fn(u64) -> u64) {
        self.answer_time(|nonce, now_us| edge_time::reply(nonce, UnixMicros(tell(now_us))));
    }

    fn answer_time(&self, answer: impl Fn([u8; 32], u64) -> Vec<u8>) {
        let mut tls = self.accept(ALPN_TIME);
        let mut answering = edge_time::Answering::new(clock::now());
        let mut buffer = [0; 4096];
        let nonce = loop {
            let len = tls.read(&mut buffer).unwrap();
            if let Some(nonce) = answering.handle_input(&buffer[..len]).unwrap() {
                break nonce;
            }
        };
        let now_us = u64::try_from(clock::unix_us()).unwrap();
        tls.write_all(&answer(nonce, now_us)).unwrap();
        tls.conn.send_close_notify();
        tls.flush().unwrap();
    }

    fn accept(&self, alpn: &[u8]) -> Tls {
        wait_readable(&self.listener);
        let (socket, _) = self.listener.accept().unwrap();
        socket.set_read_timeout(Some(STEP_MAX)).unwrap();
        let mut tls = Tls::new(ServerConnection::new(self.config.clone()).unwrap(), socket);
        while tls.conn.is_handshaking() {
            tls.conn.complete_io(&mut tls.sock).unwrap();
        }
        assert_eq!(tls.conn.alpn_protocol(), Some(alpn));
        tls
    }

    fn enrol(&self, answer: Answer) {
        let mut tls = self.accept(ALPN_ENROL);
        let exporter = tls
            .conn
            .export_keying_material([0; 32], EXPORTER_LABEL, None)
            .unwrap();
        let mut machine = enrol::Edge::new(clock::now(), exporter);
        let mut buffer = [0; 4096];
        loop {
            let len = tls.read(&mut buffer).unwrap_or(0);
            if len == 0 {
                return;
            }
            // A farewell of the connector ends it; the test reads the reason from the console.
            if machine.handle_input(&buffer[..len]).is_err() {
                return;
            }
            match machine.poll_event() {
                Some(enrol::EdgeEvent::Lookup { .. }) => self.prove(&mut machine, answer),
                Some(enrol::EdgeEvent::Request { csr, .. }) => {
                    assert!(
                        !matches!(answer, Answer::WrongProof),
                        "nothing of it may be sent"
                    );
                    self.decide(&mut machine, &csr, answer);
                }
                None => {}
            }
            while let Some(bytes) = machine.poll_transmit() {
                tls.write_all(&bytes).unwrap();
            }
            if machine.is_done() {
                tls.conn.send_close_notify();
                tls.flush().unwrap();
                return;
            }
        }
    }

    fn prove(&self, machine: &mut enrol::Edge, answer: Answer) {
        let held = if matches!(answer, Answer::WrongProof) {
            [0x99; 14]
        } else {
            KEY
        };
        let secrets = EnrolSecrets::derive(&ProvisioningKey::from_random(held));
        let time = UnixSeconds(1_800_000_000);
        let public_key = secrets.signer.public_key();
        machine
            .key_found(public_key, &secrets.edge_proof, &self.authority.ca, time)
            .unwrap();
    }

    fn decide(&self, machine: &mut enrol::Edge, csr: &[u8], answer: Answer) {
        if let Answer::Refuse(reason) = answer {
            return machine.refuse(reason);
        }
        let request = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        let certificate = request.signed_by(&self.authority.issuer).unwrap();
        machine
            .accept(&EnrolAccepted {
                certificate: certificate.der(),
                connector_id: [1; 16],
                name: "mumbai-01",
                group: "Mumbai",
                grant_key: [2; 32],
            })
            .unwrap();
    }

    /// Takes a control channel and welcomes the connector on it.
    fn welcome(&self) -> Tls {
        let mut tls = self.accept(ALPN_CONTROL);
        let mut channel = Channel::edge(clock::now(), 1);
        let mut buffer = [0; 4096];
        loop {
            let len = tls.read(&mut buffer).unwrap();
            channel.handle_input(clock::now(), &buffer[..len]).unwrap();
            if let Some(EdgeEvent::Greeted { .. }) = channel.poll_event() {
                break;
            }
        }
        let (name, group) = ("mumbai-01", "Mumbai");
        // No delay between attempts: the test waits for them.
        let welcome = Welcome {
            name,
            group,
            reconnect_spread_ms: 0,
            reconnect_cap_ms: 0,
        };
        channel.welcome(&welcome).unwrap();
        while let Some(bytes) = channel.poll_transmit() {
            tls.write_all(&bytes).unwrap();
        }
        tls
    }
}

/// Reads to the end and returns the code of the connector's farewell.
fn farewell(tls: &mut Tls) -> Option<CloseCode> {
    let mut bytes = Vec::new();
    // The connector may end without close_notify: it has broken off.
    let _ = tls.read_to_end(&mut bytes);
    let mut deframer = Deframer::new();
    let mut input = bytes.as_slice();
    let mut code = None;
    while let Some(frame) = deframer.next(&mut input).unwrap() {
        if frame.id == Close::ID {
            code = Some(Close::decode(frame).unwrap().code);
        }
    }
    code
}

fn wait_readable(fd: &impl std::os::fd::AsFd) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let timeout = Timespec {
        tv_sec: 30,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timeout)).unwrap();
}

fn blank_partition() -> OwnedFd {
    let id = format!("{:?}", thread::current().id());
    let path = std::env::temp_dir().join(format!("outgate-edge-{}-{id}", std::process::id()));
    std::fs::write(&path, vec![0; 1024 * 1024]).unwrap();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(path).unwrap();
    file.into()
}

fn network() -> Network {
    let lease = Lease {
        address: Ipv4Addr::new(10, 0, 0, 2),
        prefix_len: 24,
        router: None,
        resolvers: local::Servers::new(),
        ntp_servers: local::Servers::new(),
        mtu: None,
        hostname: None,
        lease_s: 3_600,
        origin: LeaseOrigin::Static,
    };
    Network {
        ipv4: Some(lease),
        ..Network::default()
    }
}
