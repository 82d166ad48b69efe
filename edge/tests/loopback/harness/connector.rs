//! Connectors: machines that enrol, hold control channels and carry sessions.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use connector_proto::control::{Channel, ConnectorEvent as ControlEvent, ConnectorSide};
use connector_proto::derive::EnrolSecrets;
use connector_proto::enrol::{Connector as Enrolling, ConnectorEvent};
use connector_proto::grant;
use connector_proto::key::ProvisioningKey;
use connector_proto::message::{
    ALPN_CONTROL, ALPN_DATA, ALPN_ENROL, CloseCode, EXPORTER_LABEL, EnrolRefusal, Fingerprint,
    RatchetValue, SessionRefusal, Trust,
};
use connector_proto::record;
use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::data::{DataStream, Said, Turned, WarmChannel, warm_up};
use super::tls::{config, connect};
use super::{EDGE_NAME, HOST, PORT, TestEdge, Tls, clock, dial, now, soon, until};

/// A machine: its key, made before it enrols, its hardware, and what it keeps on its disk.
pub struct Machine {
    pub key: KeyPair,
    pub csr: Vec<u8>,
    pub fingerprint: Fingerprint,
    /// The newest ratchet value it has stored.
    pub ratchet: Mutex<RatchetValue>,
    /// The trust anchors it was told of since its enrolment.
    pub roots: Mutex<Vec<Vec<u8>>>,
}

impl Machine {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        // Names that would be dangerous if the edge took them over.
        let mut params = CertificateParams::new(vec![EDGE_NAME.to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let csr = params.serialize_request(&key).unwrap().der().to_vec();
        Self {
            key,
            csr,
            fingerprint: FINGERPRINT,
            ratchet: Mutex::default(),
            roots: Mutex::default(),
        }
    }

    /// Another machine with this one's disk.
    pub fn copied_to(&self, fingerprint: Fingerprint) -> Self {
        Self {
            key: KeyPair::try_from(self.key.serialized_der()).unwrap(),
            csr: self.csr.clone(),
            fingerprint,
            ratchet: Mutex::new(self.stored()),
            roots: Mutex::new(self.roots.lock().unwrap().clone()),
        }
    }

    pub fn stored(&self) -> RatchetValue {
        *self.ratchet.lock().unwrap()
    }

    pub fn store(&self, value: RatchetValue) {
        *self.ratchet.lock().unwrap() = value;
    }
}

/// A machine with its certificate.
pub struct Identity {
    pub machine: Machine,
    pub enrolment: record::Identity,
}

impl Identity {
    pub fn name(&self) -> &str {
        &self.enrolment.name
    }

    /// Another machine with this one's disk.
    pub fn copied_to(&self, fingerprint: Fingerprint) -> Self {
        Self {
            machine: self.machine.copied_to(fingerprint),
            enrolment: self.enrolment.clone(),
        }
    }

    /// A mutually authenticated connection that trusts the pinned CAs only.
    pub async fn dial(&self, edge: SocketAddr, alpn: &[u8]) -> io::Result<Tls> {
        connect(edge, alpn, self.config()).await
    }

    /// How data channels are dialled. What dials with the same one resumes what it had before.
    pub fn data_config(&self) -> Arc<ClientConfig> {
        let mut config = self.config();
        config.alpn_protocols = vec![ALPN_DATA.to_vec()];
        config.enable_secret_extraction = true;
        Arc::new(config)
    }

    /// A data channel that waits for its session.
    pub async fn warm_up(&self, edge: SocketAddr) -> Result<WarmChannel, Turned> {
        warm_up(edge, self.data_config()).await
    }

    /// A data channel for a session.
    pub async fn attach(&self, edge: SocketAddr, session: [u8; 16]) -> DataStream {
        self.warm_up(edge).await.unwrap().attach(session, 0).await
    }

    fn config(&self) -> ClientConfig {
        let certificate = self.enrolment.certificate.clone();
        let key = self.machine.key.serialized_der().to_vec();
        let told = self.machine.roots.lock().unwrap().clone();
        let mut cas: Vec<&[u8]> = told.iter().map(Vec::as_slice).collect();
        if cas.is_empty() {
            cas.push(&self.enrolment.ca);
        }
        config(&cas, Some((certificate, key)))
    }

    /// A control channel up to the answer to the greeting.
    pub async fn greet(&self, edge: SocketAddr) -> (Tls, Channel<ConnectorSide>, ControlEvent) {
        let mut tls = self.dial(edge, ALPN_CONTROL).await.unwrap();
        let (fingerprint, ratchet) = (self.machine.fingerprint, self.machine.stored());
        let mut channel = Channel::connector(clock(), 7, "test 1.0", fingerprint, ratchet).unwrap();
        let event = soon("the welcome", next_event(&mut tls, &mut channel))
            .await
            .unwrap();
        (tls, channel, event)
    }

    /// A control channel up to the edge's being ready to offer sessions.
    pub async fn connect(&self, edge: SocketAddr) -> (Tls, Channel<ConnectorSide>) {
        self.connect_carrying(edge, None).await
    }

    /// The same, of a connector that says how many sessions it carries.
    pub async fn connect_carrying(
        &self,
        edge: SocketAddr,
        capacity: Option<u32>,
    ) -> (Tls, Channel<ConnectorSide>) {
        let (mut tls, mut channel, event) = self.greet(edge).await;
        assert!(matches!(event, ControlEvent::Welcomed { .. }), "{event:?}");
        if let Some(capacity) = capacity {
            channel.announce_capacity(capacity).unwrap();
        }
        let settling = async {
            loop {
                let event = next_event(&mut tls, &mut channel).await.unwrap();
                if let Some(ControlEvent::Ratchet { .. }) = self.heed(&mut channel, event) {
                    break settle(&mut tls, &mut channel).await;
                }
            }
        };
        soon("the ratchet value", settling).await;
        (tls, channel)
    }

    /// Stores what the edge wants stored; the event, unless it was about the path.
    pub fn heed(
        &self,
        channel: &mut Channel<ConnectorSide>,
        event: ControlEvent,
    ) -> Option<ControlEvent> {
        match &event {
            ControlEvent::Ratchet { step, value } => {
                self.machine.store(*value);
                channel.ratchet_stored(*step).unwrap();
            }
            ControlEvent::Trust { ca, other_ca } => {
                let told = [ca, other_ca].map(Vec::clone).into_iter();
                *self.machine.roots.lock().unwrap() = told.filter(|ca| !ca.is_empty()).collect();
                channel
                    .trust_stored(Trust { ca, other_ca }.digest())
                    .unwrap();
            }
            ControlEvent::PathProven => return None,
            _ => {}
        }
        Some(event)
    }
}

pub const FINGERPRINT: Fingerprint = Fingerprint {
    mac: [2, 0, 0, 0, 0, 1],
    smbios_uuid: [1; 16],
    vm_generation: [0; 16],
    tpm: [0; 32],
};

/// Sends what is to be sent and reads until something happens.
pub async fn next_event(
    tls: &mut Tls,
    channel: &mut Channel<ConnectorSide>,
) -> io::Result<ControlEvent> {
    let mut buffer = [0; 4096];
    loop {
        while let Some(bytes) = channel.poll_transmit() {
            tls.write_all(&bytes).await?;
        }
        tls.flush().await?;
        if let Some(event) = channel.poll_event() {
            return Ok(event);
        }
        let len = tls.read(&mut buffer).await?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        channel
            .handle_input(clock(), &buffer[..len])
            .map_err(io::Error::other)?;
    }
}

/// Returns when the edge has acted on everything that was said: it answers a ping after that.
async fn settle(tls: &mut Tls, channel: &mut Channel<ConnectorSide>) {
    channel.probe(clock());
    channel.handle_timeout(clock()).unwrap();
    let mut buffer = [0; 4096];
    while channel.round_trip().is_none() {
        while let Some(bytes) = channel.poll_transmit() {
            tls.write_all(&bytes).await.unwrap();
        }
        tls.flush().await.unwrap();
        let len = tls.read(&mut buffer).await.unwrap();
        assert_ne!(len, 0, "closed without a word");
        channel.handle_input(clock(), &buffer[..len]).unwrap();
    }
}

/// Enrols a machine; the edge's refusal otherwise.
pub async fn enrol(
    edge: SocketAddr,
    key: &ProvisioningKey,
    machine: &Machine,
) -> Result<record::Identity, EnrolRefusal> {
    match soon("the enrolment", try_enrol(edge, key, machine, false)).await {
        Some(ConnectorEvent::Enrolled(enrolment)) => Ok(enrolment.identity),
        Some(ConnectorEvent::Refused { reason, proven }) => {
            // An edge that cannot look the key up cannot prove itself either.
            let may_be_both = reason == EnrolRefusal::TryLater;
            let is_proof = proven == (reason != EnrolRefusal::KeyUnknown);
            assert!(is_proof || may_be_both, "{reason:?}");
            Err(reason)
        }
        other => panic!("{other:?}"),
    }
}

/// Asks for a certificate and goes away before the answer.
pub async fn enrol_without_hearing(edge: SocketAddr, key: &ProvisioningKey, machine: &Machine) {
    soon("the proof", try_enrol(edge, key, machine, true)).await;
}

async fn try_enrol(
    edge: SocketAddr,
    key: &ProvisioningKey,
    machine: &Machine,
    hang_up: bool,
) -> Option<ConnectorEvent> {
    let mut tls = dial(edge, ALPN_ENROL, None, None).await.unwrap();
    let exporter = tls
        .get_ref()
        .1
        .export_keying_material([0; 32], EXPORTER_LABEL, None)
        .unwrap();
    let secrets = EnrolSecrets::derive(key);
    let (csr, fingerprint) = (machine.csr.clone(), machine.fingerprint);
    let mut enrolling = Enrolling::new(clock(), secrets, exporter, csr, fingerprint).unwrap();
    let mut buffer = [0; 4096];
    let mut proven = false;
    loop {
        while let Some(bytes) = enrolling.poll_transmit() {
            tls.write_all(&bytes).await.unwrap();
        }
        tls.flush().await.unwrap();
        match enrolling.poll_event() {
            Some(ConnectorEvent::EdgeProven) => {
                proven = true;
                continue;
            }
            Some(event) => return Some(event),
            None if proven && hang_up => return None,
            None => {}
        }
        let len = tls.read(&mut buffer).await.unwrap();
        assert_ne!(len, 0, "the edge closed without an answer");
        enrolling.handle_input(&buffer[..len]).unwrap();
    }
}

/// A connector that carries sessions until it is stopped.
pub struct TestConnector {
    stop: watch::Sender<bool>,
    pub events: mpsc::UnboundedReceiver<CloseCode>,
}

/// What a connector does with a session.
#[derive(Clone, Copy, Debug)]
pub enum Conduct {
    /// Connects it to the application at this address.
    Serve(SocketAddr),
    /// Refuses it.
    Refuse(SessionRefusal, &'static str),
    /// Attaches, sends this, and drops the connection without close_notify.
    Truncate(&'static [u8]),
    /// Says nothing.
    Ignore,
}

impl TestConnector {
    /// Connects and returns once the edge offers it sessions.
    pub async fn start(edge: &TestEdge, identity: Arc<Identity>, conduct: Conduct) -> Self {
        Self::start_carrying(edge, identity, conduct, None).await
    }

    /// The same, of a connector that says how many sessions it carries.
    pub async fn start_carrying(
        edge: &TestEdge,
        identity: Arc<Identity>,
        conduct: Conduct,
        capacity: Option<u32>,
    ) -> Self {
        let address = edge.address();
        let (mut tls, mut channel) = identity.connect_carrying(address, capacity).await;
        let (stop, mut stopped) = watch::channel(false);
        let (sender, events) = mpsc::unbounded_channel();
        let name = identity.name().to_owned();
        tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    event = next_event(&mut tls, &mut channel) => event,
                    _ = stopped.changed() => return,
                };
                let event = event.map(|event| identity.heed(&mut channel, event));
                match event {
                    Ok(Some(ControlEvent::SessionOffered { grant })) => {
                        let granted = check(&identity, &grant);
                        if let Conduct::Refuse(reason, detail) = conduct {
                            channel.refuse_session(granted, reason, detail).unwrap();
                        } else {
                            tokio::spawn(carry(Arc::clone(&identity), address, granted, conduct));
                        }
                    }
                    Ok(Some(ControlEvent::Closed { code })) => {
                        let _ = sender.send(code);
                        return;
                    }
                    Ok(None | Some(ControlEvent::Ratchet { .. } | ControlEvent::Trust { .. })) => {}
                    Ok(Some(
                        event @ (ControlEvent::PathProven
                        | ControlEvent::Succeed { .. }
                        | ControlEvent::Recognised { .. }
                        | ControlEvent::Welcomed { .. }),
                    )) => panic!("{event:?}"),
                    Err(_) => return,
                }
            }
        });
        until("the connection in the list", || edge.is_connected(&name)).await;
        Self { stop, events }
    }

    /// Vanishes.
    pub fn stop(self) {
        let _ = self.stop.send(true);
    }
}

fn check(identity: &Identity, bytes: &[u8]) -> [u8; 16] {
    let record::Identity {
        grant_key,
        connector_id,
        ..
    } = &identity.enrolment;
    let grant = grant::verify(bytes, grant_key, connector_id, now()).unwrap();
    assert_eq!((grant.host, grant.port), (HOST, PORT));
    grant.session
}

async fn carry(identity: Arc<Identity>, edge: SocketAddr, session: [u8; 16], conduct: Conduct) {
    let application = match conduct {
        Conduct::Ignore | Conduct::Refuse(..) => return,
        Conduct::Truncate(_) => None,
        Conduct::Serve(address) => Some(TcpStream::connect(address).await.unwrap()),
    };
    let DataStream {
        mut reading,
        mut writing,
    } = identity.attach(edge, session).await;
    if let Conduct::Truncate(bytes) = conduct {
        writing.write_all(bytes).await.unwrap();
        return;
    }
    let (mut from_app, mut to_app) = application.unwrap().into_split();
    let upward = async {
        while let Said::Bytes(bytes) = reading.next().await? {
            to_app.write_all(&bytes).await?;
        }
        to_app.shutdown().await
    };
    let downward = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match from_app.read(&mut buffer).await? {
                0 => return writing.close_notify().await,
                len => writing.write_all(&buffer[..len]).await?,
            }
        }
    };
    let _ = tokio::join!(upward, downward);
}
