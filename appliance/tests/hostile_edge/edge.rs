//! An edge of a few lines that does what the test wants.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use appliance::clock;
use connector_proto::control::{Channel, EdgeEvent, EdgeSide};
use connector_proto::derive::EnrolSecrets;
use connector_proto::edge_time;
use connector_proto::enrol;
use connector_proto::frame::Deframer;
use connector_proto::key::ProvisioningKey;
use connector_proto::message::{
    ALPN_CONTROL, ALPN_ENROL, ALPN_TIME, Close, CloseCode, EXPORTER_LABEL, EnrolAccepted,
    EnrolRefusal, Message as _, PathProbe, Ping, Welcome,
};
use connector_proto::record::{EdgeAddresses, Identity, State};
use connector_proto::time::{UnixMicros, UnixSeconds};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

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

    /// Takes the next connection for `alpn`. One for something else is dropped, and comes again; one
    /// that the connector gave up is gone.
    fn accept(&self, alpn: &[u8]) -> Tls {
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

    /// Takes a control channel, welcomes the connector on it and answers its path probe.
    pub fn welcome(&self) -> Tls {
        let mut control = self.greet();
        control.read_until(|control, read| {
            control.send();
            read == PathProbe::ID
        });
        control.tls
    }

    /// Takes a control channel and welcomes the connector on it. What the connector says then is for
    /// the test to answer.
    pub fn greet(&self) -> Control {
        let tls = self.accept(ALPN_CONTROL);
        let channel = Channel::edge(clock::now(), 1);
        let mut control = Control { tls, channel };
        control.read_until(|control, _| {
            matches!(
                control.channel.poll_event(),
                Some(EdgeEvent::Greeted { .. })
            )
        });
        // No delay between attempts: the test waits for them.
        let welcome = Welcome {
            name: "mumbai-01",
            group: "Mumbai",
            reconnect_spread_ms: 0,
            reconnect_cap_ms: 0,
        };
        control.channel.welcome(&welcome).unwrap();
        control.send();
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
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(Vec::new()).unwrap();
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
                grant_key: [2; 32],
            }),
            last_good_time: 0,
            edge_addresses: EdgeAddresses::new(),
            proxy_credentials: None,
        }
    }
}

/// A control channel, driven step by step.
pub struct Control {
    pub tls: Tls,
    pub channel: Channel<EdgeSide>,
}

impl Control {
    /// Reads, and hands what was read to the channel, until the test is content with the id of a
    /// message.
    pub fn read_until(&mut self, mut is_content: impl FnMut(&mut Self, u16) -> bool) {
        let mut deframer = Deframer::new();
        let mut buffer = [0; 8192];
        loop {
            let len = self.tls.read(&mut buffer).unwrap();
            assert_ne!(len, 0, "the connector closed");
            let now = clock::now();
            self.channel.handle_input(now, &buffer[..len]).unwrap();
            let mut bytes = &buffer[..len];
            while let Some(frame) = deframer.next(&mut bytes).unwrap() {
                let id = frame.id;
                if is_content(self, id) {
                    return;
                }
            }
        }
    }

    /// Waits for a ping; its answer waits to be sent.
    pub fn read_ping(&mut self) {
        self.read_until(|_, id| id == Ping::ID);
    }

    /// Sends what the channel has to say.
    pub fn send(&mut self) {
        while let Some(bytes) = self.channel.poll_transmit() {
            self.tls.write_all(&bytes).unwrap();
        }
    }

    /// Closes with a reason of the test's own.
    pub fn close(mut self, code: CloseCode) {
        self.channel.close(code);
        self.send();
        // Nothing of what it said is left unread, which would reset the connection.
        let _ = self.tls.read_to_end(&mut Vec::new());
    }
}

/// Reads to the end and returns the code of the connector's farewell.
pub fn farewell(tls: &mut Tls) -> Option<CloseCode> {
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
