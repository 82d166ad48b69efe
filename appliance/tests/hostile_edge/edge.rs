//! An edge of a few lines that does what the test wants.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use appliance::clock;
use connector_proto::control::{Channel, EdgeEvent};
use connector_proto::derive::EnrolSecrets;
use connector_proto::edge_time;
use connector_proto::enrol;
use connector_proto::frame;
use connector_proto::grant::{self, Grant, Protocol};
use connector_proto::key::ProvisioningKey;
use connector_proto::limits::LOCAL_MAX;
use connector_proto::local;
use connector_proto::message::{
    ALPN_CONTROL, ALPN_DATA, ALPN_ENROL, ALPN_RENEW, ALPN_TIME, EXPORTER_LABEL, EnrolAccepted,
    EnrolRefusal, Message,
};
use connector_proto::record::{EdgeAddresses, Identity, State};
use connector_proto::time::{UnixMicros, UnixSeconds};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::control::Control;
use crate::machine::{STEP_MAX, wait_readable, wait_readable_for};

pub type Tls = StreamOwned<ServerConnection, TcpStream>;

pub const KEY: [u8; 14] = [0x15; 14];

/// What the hostile edge does with an enrolment.
#[derive(Clone, Copy)]
pub enum Answer {
    Accept,
    Refuse(EnrolRefusal),
    WrongProof,
}

/// An edge of a few lines that does what the test wants.
pub struct HostileEdge {
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
        self.config_for(self, name, from, until)
    }

    /// The same, for clients of another authority.
    fn config_for(&self, clients: &Self, name: &str, from: i32, until: i32) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        leaf.not_before = rcgen::date_time_ymd(from, 1, 1);
        leaf.not_after = rcgen::date_time_ymd(until, 1, 1);
        let leaf = leaf.signed_by(&key, &self.issuer).unwrap().der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(clients.ca.clone()).unwrap();
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
        config.alpn_protocols = [ALPN_ENROL, ALPN_CONTROL, ALPN_TIME, ALPN_RENEW]
            .map(<[u8]>::to_vec)
            .into();
        Arc::new(config)
    }
}

const LOOPBACK: &str = "127.0.0.1";

impl HostileEdge {
    pub fn new() -> Self {
        Self::dated(1999, 4095)
    }

    pub fn dated(from: i32, until: i32) -> Self {
        let authority = TestAuthority::new();
        Self {
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            config: authority.config(LOOPBACK, from, until),
            authority,
        }
    }

    /// The same edge with another certificate.
    pub fn redated(&self, from: i32, until: i32) -> Self {
        self.with(&self.authority, LOOPBACK, from, until)
    }

    pub fn named(&self, name: &str) -> Self {
        self.with(&self.authority, name, 1999, 4095)
    }

    pub fn with_another_ca(&self) -> Self {
        self.with(&TestAuthority::new(), LOOPBACK, 1999, 4095)
    }

    pub fn back_to(&self, edge: &Self) -> Self {
        self.with(&edge.authority, LOOPBACK, 1999, 4095)
    }

    /// The same edge, which takes the connectors of `edge`'s authority in.
    pub fn with_clients_of(&self, edge: &Self) -> Self {
        let config = self
            .authority
            .config_for(&edge.authority, LOOPBACK, 1999, 4095);
        Self {
            listener: self.listener.try_clone().unwrap(),
            authority: self.authority.clone(),
            config,
        }
    }

    fn with(&self, authority: &Arc<TestAuthority>, name: &str, from: i32, until: i32) -> Self {
        Self {
            listener: self.listener.try_clone().unwrap(),
            config: authority.config(name, from, until),
            authority: authority.clone(),
        }
    }

    /// Takes a connection whose client does not take this edge's certificate.
    pub fn refuse_handshake(&self) {
        assert!(wait_readable(&self.listener), "nobody comes");
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
    pub fn tell_time(&self, tell: impl Fn(u64) -> u64) {
        self.answer_time(|nonce, now_us| edge_time::reply(nonce, UnixMicros(tell(now_us))));
    }

    pub fn answer_time(&self, answer: impl Fn([u8; 32], u64) -> Vec<u8>) {
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

    /// TLS of data channels.
    pub fn data_config(&self) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.config);
        config.alpn_protocols = vec![ALPN_DATA.to_vec()];
        config.enable_secret_extraction = true;
        Arc::new(config)
    }

    /// Takes the next connection that wants to be a data channel, if one comes within this time; nothing of
    /// it is read. Others are dropped.
    pub fn socket_for_data_within(&self, at_most: Duration) -> Option<TcpStream> {
        let until = Instant::now() + at_most;
        let left = || until.saturating_duration_since(Instant::now());
        while wait_readable_for(&self.listener, left()) {
            let socket = self.next_for_data();
            if socket.is_some() {
                return socket;
            }
        }
        None
    }

    /// Who is next, if the first message of its handshake names that protocol.
    fn next_for_data(&self) -> Option<TcpStream> {
        let (socket, _) = self.listener.accept().unwrap();
        socket.set_read_timeout(Some(STEP_MAX)).unwrap();
        let mut hello = [0; 4096];
        let len = socket.peek(&mut hello).unwrap_or(0);
        let names = |bytes: &[u8]| bytes == ALPN_DATA;
        hello[..len]
            .windows(ALPN_DATA.len())
            .any(names)
            .then_some(socket)
    }

    /// Takes the next connection for `alpn`. One for something else is dropped, and comes again; one
    /// that the connector gave up is gone.
    pub fn accept(&self, alpn: &[u8]) -> Tls {
        loop {
            assert!(wait_readable(&self.listener), "nobody comes");
            let (socket, _) = self.listener.accept().unwrap();
            socket.set_read_timeout(Some(STEP_MAX)).unwrap();
            let mut tls = Tls::new(ServerConnection::new(self.config.clone()).unwrap(), socket);
            let mut done = Ok((0, 0));
            while tls.conn.is_handshaking() && done.is_ok() {
                done = tls.conn.complete_io(&mut tls.sock);
            }
            if done.is_ok() && tls.conn.alpn_protocol() == Some(alpn) {
                return tls;
            }
        }
    }

    pub fn enrol(&self, answer: Answer) {
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
        machine
            .accept(&EnrolAccepted {
                certificate: &self.issue(csr),
                connector_id: [1; 16],
                name: "mumbai-01",
                group: "Mumbai",
                grant_key: [2; 32],
            })
            .unwrap();
    }

    /// A certificate for what is requested.
    pub fn issue(&self, csr: &[u8]) -> Vec<u8> {
        let request = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        let certificate = request.signed_by(&self.authority.issuer).unwrap();
        certificate.der().to_vec()
    }

    /// The CA certificate.
    pub fn ca(&self) -> &[u8] {
        &self.authority.ca
    }

    /// Takes a control channel, welcomes the connector on it and answers its path probe.
    pub fn welcome(&self) -> Tls {
        self.established().tls
    }

    /// The same, to go on with.
    pub fn established(&self) -> Control {
        let mut control = self.greet();
        control.answer_path_probe();
        control.read_capacity();
        control
    }

    /// Takes a control channel and welcomes the connector on it. What the connector says then is for
    /// the test to answer.
    pub fn greet(&self) -> Control {
        let mut control = self.meet();
        control.welcome();
        control
    }

    /// Takes a control channel and reads the connector's hello.
    pub fn meet(&self) -> Control {
        let tls = self.accept(ALPN_CONTROL);
        let channel = Channel::edge(clock::now(), 1);
        let mut control = Control {
            tls,
            channel,
            greeted: None,
        };
        control.read_until(|control, _| {
            control.greeted = control.channel.poll_event();
            matches!(control.greeted, Some(EdgeEvent::Greeted { .. }))
        });
        control
    }

    /// Whether a connection comes within this time. It is left to be accepted.
    pub fn is_dialled_within(&self, at_most: Duration) -> bool {
        wait_readable_for(&self.listener, at_most)
    }

    /// The edge's name and port, as an operator types them.
    pub fn text(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    pub fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// The state record of a connector that is enrolled at the edge `host`.
    pub fn enrolled_state(&self, host: &str) -> State {
        self.enrolled_state_dated(host, 1999, 4095)
    }

    /// The same, with a certificate for the years from `from` to `until`.
    pub fn enrolled_state_dated(&self, host: &str, from: i32, until: i32) -> State {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.authority.issuer).unwrap();
        State {
            next: None,
            ratchet: connector_proto::message::RatchetValue::default(),
            private_key: key.serialize_der(),
            edge: format!("{host}:{}", self.port()),
            identity: Some(Identity {
                other_ca: Vec::new(),
                ca: self.authority.ca.to_vec(),
                certificate: certificate.der().to_vec(),
                connector_id: [1; 16],
                name: "mumbai-01".into(),
                group: "Mumbai".into(),
                grant_key: grant_key_pair().public_key().as_ref().try_into().unwrap(),
            }),
            last_good_time: 0,
            edge_addresses: EdgeAddresses::new(),
            proxy_credentials: None,
        }
    }
}

/// What signs this edge's grants.
pub fn grant_key_pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

/// A grant for what listens there.
pub fn grant_for(host: &str, port: u16, session: u8) -> Vec<u8> {
    let now = clock::unix().0;
    let grant = Grant {
        connector_id: [1; 16],
        session: [session; 16],
        host,
        port,
        protocol: Protocol::Tcp,
        not_after: UnixSeconds(now + 30),
    };
    grant::sign(&grant_key_pair(), &grant).unwrap()
}

/// Sends a message whatever this edge's own channel thinks of it.
pub fn send<'a>(control: &mut Control, message: &impl Message<'a>) {
    control.tls.write_all(&bytes_of(message)).unwrap();
}

/// A message as it goes over the wire.
pub fn bytes_of<'a, M: Message<'a>>(message: &M) -> Vec<u8> {
    let mut buffer = [0; LOCAL_MAX];
    let body = local::encode(message, &mut buffer).unwrap();
    frame::encode(M::ID, body).unwrap()
}
