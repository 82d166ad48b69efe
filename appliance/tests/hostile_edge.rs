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
use connector_proto::enrol;
use connector_proto::frame::Deframer;
use connector_proto::key::ProvisioningKey;
use connector_proto::limits::LOCAL_MAX;
use connector_proto::local::{
    self, FromConnector, FromConsole, KeyRefused, Lease, Phase, ToConnector,
};
use connector_proto::message::{
    ALPN_CONTROL, ALPN_ENROL, Close, CloseCode, EXPORTER_LABEL, EnrolAccepted, EnrolRefusal,
    Fingerprint, Message as _, Welcome,
};
use connector_proto::time::UnixSeconds;
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

/// The connector's loop in a thread, and the other end of its local channel.
struct Machine {
    channel: OwnedFd,
    connector: JoinHandle<Exit>,
}

impl Machine {
    fn start(edge: &HostileEdge) -> Self {
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
        machine.send(
            &ToConnector::Network {
                lease: Some(lease()),
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
        let deadline = Instant::now() + STEP_MAX;
        let mut last = None;
        let mut buffer = [0; LOCAL_MAX];
        while Instant::now() < deadline {
            match packet_channel::recv(&self.channel, &mut buffer).unwrap() {
                Received::Packet { len, .. } => {
                    let FromConnector::Status(status) = local::decode(&buffer[..len]).unwrap();
                    if wanted(&status.phase) {
                        return;
                    }
                    last = Some(status.phase);
                }
                Received::Empty => wait_readable(&self.channel),
                other => panic!("{other:?}"),
            }
        }
        panic!("the last phase was {last:?}");
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
    ca: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    config: Arc<ServerConfig>,
}

impl HostileEdge {
    fn new() -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap().der().clone();
        let issuer = Issuer::new(params, ca_key);
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap().der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone()).unwrap();
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
        config.alpn_protocols = vec![ALPN_ENROL.to_vec(), ALPN_CONTROL.to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            listener,
            ca,
            issuer,
            config: Arc::new(config),
        }
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
            .key_found(public_key, &secrets.edge_proof, &self.ca, time)
            .unwrap();
    }

    fn decide(&self, machine: &mut enrol::Edge, csr: &[u8], answer: Answer) {
        if let Answer::Refuse(reason) = answer {
            return machine.refuse(reason);
        }
        let request = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        let certificate = request.signed_by(&self.issuer).unwrap();
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

fn lease() -> Lease {
    Lease {
        address: Ipv4Addr::new(10, 0, 0, 2),
        prefix_len: 24,
        router: None,
        resolvers: local::Servers::new(),
        ntp_servers: local::Servers::new(),
        mtu: None,
        lease_s: 3_600,
        server: Ipv4Addr::new(10, 0, 0, 1),
    }
}
