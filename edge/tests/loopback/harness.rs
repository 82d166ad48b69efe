//! What the stories are told with: an edge in a directory of its own, connectors, applications.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant as StdInstant};

use argon2::Params;
use connector_proto::control::{Channel, ConnectorEvent as ControlEvent, ConnectorSide};
use connector_proto::data::Attaching;
use connector_proto::derive::EnrolSecrets;
use connector_proto::enrol::{Connector as Enrolling, ConnectorEvent, Enrolment};
use connector_proto::grant;
use connector_proto::key::ProvisioningKey;
use connector_proto::message::{
    ALPN_CONTROL, ALPN_DATA, ALPN_ENROL, CloseCode, EXPORTER_LABEL, EnrolRefusal, Fingerprint,
    SessionRefusal,
};
use connector_proto::time::{Instant, UnixSeconds};
use edge::authority::Authority;
use edge::config::DataDir;
use edge::store::Store;
use edge::store::keys::KeyOrder;
use edge::store::users::NewUser;
use edge::{Config, Edge, Running, passwords};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub type Tls = TlsStream<TcpStream>;

/// The user every edge here has.
pub const USER: &str = "mona";
pub const PASSWORD: &str = "correct:horse";
/// The group every edge here has.
pub const GROUP: &str = "hq";
/// The application every edge here has; connectors find it where [`TestConnector::start`] says.
pub const HOST: &str = "intranet.corp.example";
pub const PORT: u16 = 80;

const EDGE_NAME: &str = "edge.example.org";
/// Longer than anything here takes; only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(15);

/// Awaits something that must come.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// Asks until the answer is yes.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let asking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(what, asking).await;
}

pub struct TestEdge {
    pub dir: PathBuf,
    pub running: Option<Running>,
}

impl TestEdge {
    pub async fn start() -> Self {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let name = format!("edge-loopback-{:016x}", u64::from_be_bytes(random));
        let dir = std::env::temp_dir().join(name);
        let store = Authority::create(&DataDir::new(&dir), &[EDGE_NAME.into()]).unwrap();
        furnish(&store);
        drop(store);
        let mut edge = Self { dir, running: None };
        edge.start_again(any_port()).await;
        edge
    }

    pub async fn start_again(&mut self, listen: SocketAddr) {
        let config = Config { data: DataDir::new(&self.dir), listen, proxy: any_port() };
        self.running = Some(Edge::start(config).await.unwrap());
    }

    pub async fn stop(&mut self) {
        self.running.take().unwrap().stop().await;
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        self.running().control_addr
    }

    pub fn store(&self) -> &Store {
        self.running().store()
    }

    pub fn mint(&self, max_uses: u32) -> ProvisioningKey {
        self.mint_until(max_uses, now().0 + 3600)
    }

    pub fn mint_until(&self, max_uses: u32, expires_at: u64) -> ProvisioningKey {
        let expires_at = UnixSeconds(expires_at);
        let order = KeyOrder { group: GROUP, max_uses, expires_at, label: None };
        self.store().mint_key(&order, now()).unwrap().key
    }

    /// Uses spent of all keys together.
    pub fn uses(&self) -> u32 {
        self.store().keys(now()).unwrap().iter().map(|key| key.uses).sum()
    }

    /// A machine that is enrolled.
    pub async fn enrolled(&self) -> Identity {
        let machine = Machine::new();
        let enrolment = enrol(self.address(), &self.mint(1), &machine).await.unwrap();
        Identity { machine, enrolment }
    }

    pub fn is_connected(&self, name: &str) -> bool {
        let connectors = self.store().connectors().unwrap();
        connectors.iter().any(|one| one.name == name && one.connected)
    }

    pub fn audit_events(&self) -> Vec<String> {
        let rows = self.store().audit_rows(1000).unwrap();
        rows.iter().map(|row| row["event"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for TestEdge {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn furnish(store: &Store) {
    store.add_group(GROUP, now()).unwrap();
    store.add_application("intranet", GROUP, HOST, &(PORT..=PORT), now()).unwrap();
    let cheap = Params::new(Params::MIN_M_COST, 1, 1, None).unwrap();
    let password_hash = passwords::hash(PASSWORD, cheap).unwrap();
    let user = NewUser { name: USER, password_hash, applications: &[] };
    store.add_user(&user, now()).unwrap();
}

/// A machine's key, made before it enrols.
pub struct Machine {
    pub key: KeyPair,
    pub csr: Vec<u8>,
}

impl Machine {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        // Names that would be dangerous if the edge took them over.
        let mut params = CertificateParams::new(vec![EDGE_NAME.to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        let csr = params.serialize_request(&key).unwrap().der().to_vec();
        Self { key, csr }
    }
}

/// A machine with its certificate.
pub struct Identity {
    pub machine: Machine,
    pub enrolment: Enrolment,
}

impl Identity {
    pub fn name(&self) -> &str {
        &self.enrolment.name
    }

    /// A mutually authenticated connection that trusts the pinned CA only.
    pub async fn dial(&self, edge: SocketAddr, alpn: &[u8]) -> io::Result<Tls> {
        let certificate = self.enrolment.certificate.clone();
        let key = self.machine.key.serialized_der().to_vec();
        dial(edge, alpn, Some(&self.enrolment.ca), Some((certificate, key))).await
    }

    /// A control channel up to the answer to the greeting.
    pub async fn greet(&self, edge: SocketAddr) -> (Tls, Channel<ConnectorSide>, ControlEvent) {
        let mut tls = self.dial(edge, ALPN_CONTROL).await.unwrap();
        let mut channel = Channel::connector(clock(), 7, "test 1.0", FINGERPRINT).unwrap();
        let event = soon("the welcome", next_event(&mut tls, &mut channel)).await.unwrap();
        (tls, channel, event)
    }
}

pub const FINGERPRINT: Fingerprint = Fingerprint { mac: [2, 0, 0, 0, 0, 1], smbios_uuid: [1; 16] };

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
        channel.handle_input(clock(), &buffer[..len]).map_err(io::Error::other)?;
    }
}

/// Enrols a machine; the edge's refusal otherwise.
pub async fn enrol(
    edge: SocketAddr,
    key: &ProvisioningKey,
    machine: &Machine,
) -> Result<Enrolment, EnrolRefusal> {
    match soon("the enrolment", try_enrol(edge, key, machine, false)).await {
        Some(ConnectorEvent::Enrolled(enrolment)) => Ok(enrolment),
        Some(ConnectorEvent::Refused { reason, proven }) => {
            assert_eq!(proven, reason != EnrolRefusal::KeyUnknown, "{reason:?}");
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
    let exporter =
        tls.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None).unwrap();
    let secrets = EnrolSecrets::derive(key);
    let mut enrolling =
        Enrolling::new(clock(), secrets, exporter, machine.csr.clone(), FINGERPRINT).unwrap();
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
    /// Connects and returns once the edge has taken it in.
    pub async fn start(edge: &TestEdge, identity: Arc<Identity>, conduct: Conduct) -> Self {
        let address = edge.address();
        let (mut tls, mut channel, event) = identity.greet(address).await;
        assert!(matches!(event, ControlEvent::Welcomed { .. }), "{event:?}");
        let (stop, mut stopped) = watch::channel(false);
        let (sender, events) = mpsc::unbounded_channel();
        let name = identity.name().to_owned();
        tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    event = next_event(&mut tls, &mut channel) => event,
                    _ = stopped.changed() => return,
                };
                match event {
                    Ok(ControlEvent::SessionOffered { grant }) => {
                        let granted = check(&identity, &grant);
                        if let Conduct::Refuse(reason, detail) = conduct {
                            channel.refuse_session(granted, reason, detail).unwrap();
                        } else {
                            tokio::spawn(carry(Arc::clone(&identity), address, granted, conduct));
                        }
                    }
                    Ok(ControlEvent::Closed { code }) => {
                        let _ = sender.send(code);
                        return;
                    }
                    Ok(event) => panic!("{event:?}"),
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
    let Enrolment { grant_key, connector_id, .. } = &identity.enrolment;
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
    let (mut tls, early) = attach(&identity, edge, session).await.unwrap();
    if let Conduct::Truncate(bytes) = conduct {
        tls.write_all(bytes).await.unwrap();
        tls.flush().await.unwrap();
        return;
    }
    let (mut from_edge, mut to_edge) = tokio::io::split(tls);
    let (mut from_app, mut to_app) = application.unwrap().into_split();
    let upward = async {
        to_app.write_all(&early).await?;
        tokio::io::copy(&mut from_edge, &mut to_app).await?;
        to_app.shutdown().await
    };
    let downward = async {
        tokio::io::copy(&mut from_app, &mut to_edge).await?;
        to_edge.shutdown().await
    };
    let _ = tokio::join!(upward, downward);
}

/// A data channel for a session, and bytes that came with the consent.
pub async fn attach(
    identity: &Identity,
    edge: SocketAddr,
    session: [u8; 16],
) -> Result<(Tls, Vec<u8>), connector_proto::error::Error> {
    let mut tls = identity.dial(edge, ALPN_DATA).await.unwrap();
    let mut attaching = Attaching::new(clock(), session).unwrap();
    while let Some(bytes) = attaching.poll_transmit() {
        tls.write_all(&bytes).await.unwrap();
    }
    tls.flush().await.unwrap();
    let mut buffer = [0; 4096];
    loop {
        let len = soon("the consent", tls.read(&mut buffer)).await.unwrap();
        assert_ne!(len, 0, "closed without a word");
        let mut bytes = &buffer[..len];
        if attaching.handle_input(&mut bytes)? {
            let early = bytes.to_vec();
            return Ok((tls, early));
        }
    }
}

/// A TLS 1.3 connection. `ca`: the only issuer trusted; without it any certificate is taken.
pub async fn dial(
    edge: SocketAddr,
    alpn: &[u8],
    ca: Option<&[u8]>,
    certificate: Option<(Vec<u8>, Vec<u8>)>,
) -> io::Result<Tls> {
    let builder = ClientConfig::builder_with_provider(default_provider().into())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap();
    let builder = match ca {
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(ca.to_vec())).unwrap();
            builder.with_root_certificates(roots)
        }
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate)),
    };
    let mut config = match certificate {
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
            builder.with_client_auth_cert(vec![certificate.into()], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = if alpn.is_empty() { vec![] } else { vec![alpn.to_vec()] };
    let tcp = TcpStream::connect(edge).await?;
    let name = ServerName::try_from(EDGE_NAME).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await
}

#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.3 only")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// An application that sends back what it gets and ends when the user ends.
pub async fn echo_application() -> SocketAddr {
    application(|mut stream| async move {
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    })
    .await
}

/// An application that reads up to the user's end and then answers with what it read, so it works
/// only if the user's end travels while the other direction stays open.
pub async fn half_close_application() -> SocketAddr {
    application(|mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(format!("{} bytes: ", all.len()).as_bytes()).await.unwrap();
        stream.write_all(&all).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await
}

/// A web server with one page that shows the request it got.
pub async fn web_application() -> SocketAddr {
    application(|mut stream| async move {
        let mut request = Vec::new();
        let mut part = [0; 1024];
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let len = stream.read(&mut part).await.unwrap();
            assert_ne!(len, 0);
            request.extend_from_slice(&part[..len]);
        }
        let body = format!("private page\n{}", String::from_utf8(request).unwrap());
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    })
    .await
}

pub async fn application<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// `CONNECT` with the right credentials; the status line's code, and the stream after the head.
pub async fn proxy_connect(edge: &TestEdge, target: &str) -> (u16, TcpStream) {
    let mut user = TcpStream::connect(edge.running().proxy_addr).await.unwrap();
    let head = format!("CONNECT {target} HTTP/1.1\r\n{}\r\n\r\n", authorization(USER, PASSWORD));
    user.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(soon("the proxy's answer", user.read_u8()).await.unwrap());
    }
    (status(&answer), user)
}

/// Sends bytes to the proxy and returns all it says until it ends.
pub async fn ask_proxy(edge: &TestEdge, request: &str) -> (u16, String) {
    let mut user = TcpStream::connect(edge.running().proxy_addr).await.unwrap();
    user.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    soon("the proxy's answer", user.read_to_end(&mut answer)).await.unwrap();
    (status(&answer), String::from_utf8(answer).unwrap())
}

fn status(answer: &[u8]) -> u16 {
    let text = std::str::from_utf8(answer).unwrap();
    text.split(' ').nth(1).unwrap_or_else(|| panic!("{text:?}")).parse().unwrap()
}

pub fn authorization(user: &str, password: &str) -> String {
    let text = format!("{user}:{password}");
    let mut buffer = [0; 256];
    let encoded = argon2::password_hash::Encoding::B64.encode(text.as_bytes(), &mut buffer);
    let encoded = encoded.unwrap();
    let padding = "=".repeat((4 - encoded.len() % 4) % 4);
    format!("Proxy-Authorization: Basic {encoded}{padding}")
}

pub fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub fn now() -> UnixSeconds {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    UnixSeconds(since.as_secs())
}

pub fn clock() -> Instant {
    static START: OnceLock<StdInstant> = OnceLock::new();
    let elapsed = START.get_or_init(StdInstant::now).elapsed();
    Instant::from_micros(u64::try_from(elapsed.as_micros()).unwrap())
}
