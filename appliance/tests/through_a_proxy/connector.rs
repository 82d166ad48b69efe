//! The connector's tunnels and sessions, driven without its loop; and the whole connector in a thread.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use appliance::event_loop::{Exit, run};
use appliance::interest::Watch;
use appliance::local_channel::LocalChannel;
use appliance::proxy::Proxy;
use appliance::reach::{self, Reach, ReachError, Reached, Route};
use appliance::session::{Context, Session, Step, Target};
use appliance::tls::{self, Pinned};
use appliance::tunnel::{Event, Plan, Purpose, Tunnel, TunnelError};
use appliance::{clock, identity};
use connector_proto::control::ConnectorEvent as ControlEvent;
use connector_proto::enrol::ConnectorEvent as EnrolEvent;
use connector_proto::grant;
use connector_proto::key::ProvisioningKey;
use connector_proto::limits::LOCAL_MAX;
use connector_proto::local::{
    self, FromConnector, FromConsole, Lease, LeaseOrigin, Network, Phase, Servers,
    StartDescriptors, ToConnector,
};
use connector_proto::message::Fingerprint;
use connector_proto::record::{Identity, State};
use connector_sys::packet_channel::{self, Received};

use crate::edge::{EDGE_NAME, EDGE_PORT, TestEdge};
use crate::partition;

/// How long a step may take on a busy machine.
const STEP_MAX: Duration = Duration::from_secs(30);
const TUNNEL: u64 = 0;
const SESSION: u64 = 1;

/// An enrolled connector, and the proxy it goes through.
#[derive(Debug)]
pub struct Enrolled {
    state: State,
    proxy: Proxy,
}

/// Enrols by way of `proxy`.
pub fn enrol(edge: &TestEdge, proxy: &Proxy) -> Result<Enrolled, TunnelError> {
    let private_key = identity::new_private_key().unwrap();
    let purpose = Purpose::Enrol {
        key: edge.mint(),
        csr: identity::signing_request(&private_key).unwrap(),
    };
    let plan = plan(proxy, tls::enrolment().unwrap(), purpose);
    let mut tunnel = Tunnel::start(clock::now(), plan)?;
    let identity = loop {
        let mut events = Vec::new();
        let result = tunnel.turn(clock::now(), &mut events);
        let enrolled = events.into_iter().find_map(|event| match event {
            Event::Enrol(EnrolEvent::Enrolled(enrolment)) => Some(enrolment.identity),
            _ => None,
        });
        if let Some(identity) = enrolled {
            break identity;
        }
        tunnel = result?;
        wait(|watch| tunnel.watch(watch, TUNNEL));
    };
    let mut state = State::default();
    state.private_key = private_key;
    state.identity = Some(identity);
    Ok(Enrolled {
        state,
        proxy: proxy.clone(),
    })
}

/// As [`enrol`], where nothing is to go wrong.
pub fn enrolled(edge: &TestEdge, proxy: &Proxy) -> Enrolled {
    enrol(edge, proxy).unwrap_or_else(|error| panic!("{error}"))
}

impl Enrolled {
    pub fn through(mut self, proxy: &Proxy) -> Self {
        self.proxy = proxy.clone();
        self
    }

    fn identity(&self) -> &Identity {
        self.state.identity.as_ref().unwrap()
    }

    fn pinned(&self) -> Pinned {
        Pinned::in_use(&self.state).unwrap().unwrap()
    }

    fn start_control(&self) -> Result<Control<'_>, TunnelError> {
        let purpose = Purpose::Control {
            version: "0.0.0".into(),
            seed: 1,
        };
        let plan = plan(&self.proxy, self.pinned().control, purpose);
        let mut control = Control {
            connector: self,
            tunnel: Tunnel::start(clock::now(), plan)?,
            group: String::new(),
        };
        loop {
            let events;
            (control, events) = control.turn()?;
            for event in events {
                control.take(event);
            }
            // Answered behind the ratchet value: the edge offers sessions.
            let channel = control.tunnel.control();
            if channel.is_some_and(|channel| channel.round_trip().is_some()) {
                return Ok(control);
            }
            wait(|watch| control.tunnel.watch(watch, TUNNEL));
        }
    }

    /// A control channel on which the edge offers sessions.
    pub fn control(&self) -> Control<'_> {
        self.start_control()
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Why there is no control channel.
    pub fn refused(&self) -> TunnelError {
        match self.start_control() {
            Err(error) => error,
            Ok(_) => panic!("it was welcomed"),
        }
    }
}

/// A control channel.
#[derive(Debug)]
pub struct Control<'a> {
    connector: &'a Enrolled,
    pub tunnel: Tunnel,
    pub group: String,
}

impl Control<'_> {
    fn turn(self) -> Result<(Self, Vec<Event>), TunnelError> {
        let mut events = Vec::new();
        let tunnel = self.tunnel.turn(clock::now(), &mut events)?;
        Ok((Self { tunnel, ..self }, events))
    }

    /// Stores the ratchet value, and asks whether the edge has heard so.
    fn take(&mut self, event: Event) {
        let channel = self.tunnel.control();
        match (event, channel) {
            (Event::Control(ControlEvent::Welcomed { group, .. }), _) => self.group = group,
            (Event::Control(ControlEvent::Ratchet { step, .. }), Some(channel)) => {
                channel.ratchet_stored(step).unwrap();
                channel.probe(clock::now());
            }
            _ => {}
        }
    }

    /// Takes the session that the edge offers, and carries it to its end.
    pub fn carry_one_session(mut self) {
        let mut session = None;
        let began = Instant::now();
        loop {
            assert!(began.elapsed() < STEP_MAX, "no session came to its end");
            let events;
            (self, events) = self.turn().unwrap_or_else(|error| panic!("{error}"));
            for event in events {
                if let Event::Control(ControlEvent::SessionOffered { grant }) = event {
                    session = Some(self.start(&grant));
                }
            }
            session = match session.map(|session| session.turn(clock::now())) {
                None => None,
                Some(Step::Open(session)) => Some(session),
                Some(Step::Ended { broken: None, .. }) => return,
                Some(other) => panic!("{other:?}"),
            };
            wait(|watch| {
                self.tunnel.watch(watch, TUNNEL);
                if let Some(session) = &session {
                    session.watch(watch, SESSION);
                }
            });
        }
    }

    fn start(&self, bytes: &[u8]) -> Session {
        let identity = self.connector.identity();
        let granted = grant::verify(
            bytes,
            &identity.grant_key,
            &identity.connector_id,
            clock::unix(),
        )
        .unwrap();
        let target = Target {
            session: granted.session,
            host: granted.host.to_owned(),
            port: granted.port,
        };
        let context = Context {
            resolvers: Vec::new(),
            own: Vec::new(),
            gateways: Vec::new(),
            proxy: Some(self.connector.proxy.clone()),
            edge: self.tunnel.address().unwrap(),
            edges: self.tunnel.edges(),
            edge_host: EDGE_NAME.into(),
            edge_port: EDGE_PORT,
            config: self.connector.pinned().data,
        };
        match Session::start(clock::now(), target, context) {
            Step::Open(session) => session,
            other => panic!("{other:?}"),
        }
    }
}

fn plan(proxy: &Proxy, config: std::sync::Arc<rustls::ClientConfig>, purpose: Purpose) -> Plan {
    Plan {
        host: EDGE_NAME.into(),
        port: EDGE_PORT,
        resolvers: Vec::new(),
        remembered: Vec::new(),
        proxy: Some(proxy.clone()),
        config,
        purpose,
        ratchet: connector_proto::message::RatchetValue::default(),
        fingerprint: FINGERPRINT,
    }
}

const FINGERPRINT: Fingerprint = Fingerprint {
    mac: [2; 6],
    smbios_uuid: [3; 16],
    vm_generation: [0; 16],
    tpm: [0; 32],
};

/// The way to the edge by `proxy`.
pub fn route(proxy: &Proxy) -> Route {
    Route {
        host: EDGE_NAME.into(),
        port: EDGE_PORT,
        proxy: Some(proxy.clone()),
    }
}

/// Connects, and says nothing yet.
pub fn reach(route: Route) -> Result<Reached, ReachError> {
    outcome(reach::start(clock::now(), route, &[], &[]))
}

/// Goes on until it is decided.
pub fn outcome(mut step: reach::Step) -> Result<Reached, ReachError> {
    loop {
        let reach = match step {
            reach::Step::Pending(reach) => reach,
            reach::Step::Reached(reached) => return Ok(reached),
            reach::Step::Failed(error) => return Err(error),
        };
        wait(|watch| {
            reach.watch(watch, TUNNEL);
            watch.until(Some(reach.deadline()));
        });
        step = reach.turn(clock::now());
    }
}

/// Goes on until the other end says that it is far enough.
pub fn waited_for(route: Route, is_so: impl Fn() -> bool) -> Reach {
    let mut step = reach::start(clock::now(), route, &[], &[]);
    loop {
        let reach::Step::Pending(reach) = step else {
            panic!("{step:?}")
        };
        if is_so() {
            return reach;
        }
        let mut watch = Watch::default();
        reach.watch(&mut watch, TUNNEL);
        watch.until(Some(clock::now() + Duration::from_millis(10)));
        watch.wait(clock::now()).unwrap();
        step = reach.turn(clock::now());
    }
}

/// Waits for what `add` adds.
fn wait<'a>(add: impl FnOnce(&mut Watch<'a>)) {
    let mut watch = Watch::default();
    add(&mut watch);
    watch.until(Some(clock::now() + STEP_MAX));
    let began = Instant::now();
    watch.wait(clock::now()).unwrap();
    assert!(began.elapsed() < STEP_MAX, "nothing happens");
}

/// The connector's loop in a thread, and PID 1's end of its channel.
pub struct Machine {
    channel: OwnedFd,
    connector: JoinHandle<Exit>,
}

impl Machine {
    /// Starts one that is not enrolled, with nothing but a proxy to reach the edge by.
    pub fn start(proxy: SocketAddr) -> Self {
        let (channel, theirs) = packet_channel::pair().unwrap();
        let connector = thread::spawn(move || run(&LocalChannel::from_socket(theirs)));
        let machine = Self { channel, connector };
        let start = ToConnector::Start {
            descriptors: StartDescriptors {
                state: true,
                tpm: false,
            },
            edge: Some(EDGE_NAME.parse().unwrap()),
            fingerprint: FINGERPRINT,
            version: "0.0.0".parse().unwrap(),
        };
        machine.send(&start, Some(&partition::blank().into()));
        machine.send(&ToConnector::Clock { is_right: true }, None);
        let network = Network {
            ipv4: Some(lease()),
            proxy: Some(proxy.to_string().parse().unwrap()),
            ..Network::default()
        };
        let network = Some(network);
        machine.send(&ToConnector::Network { network }, None);
        machine
    }

    pub fn type_key(&self, key: &ProvisioningKey) {
        self.typed(FromConsole::Key(*key.data()));
    }

    pub fn type_credentials(&self, user: &str, password: &str) {
        self.typed(FromConsole::ProxyCredentials {
            user: user.try_into().unwrap(),
            password: password.try_into().unwrap(),
        });
    }

    pub fn wait_for(&self, wanted: impl Fn(&Phase) -> bool) {
        let deadline = Instant::now() + STEP_MAX;
        let mut last = None;
        let mut buffer = [0; LOCAL_MAX];
        while Instant::now() < deadline {
            match packet_channel::recv(&self.channel, &mut buffer).unwrap() {
                Received::Packet { len, .. } => match local::decode(&buffer[..len]).unwrap() {
                    FromConnector::Status(status) if wanted(&status.phase) => return,
                    other => last = Some(other),
                },
                Received::Empty => wait_readable(&self.channel),
                other => panic!("{other:?}"),
            }
        }
        panic!("the last message was {last:?}");
    }

    pub fn stop(self) {
        self.send(&ToConnector::Stop, None);
        assert!(matches!(self.connector.join().unwrap(), Exit::Stopped));
    }

    fn typed(&self, typed: FromConsole) {
        self.send(&ToConnector::Operator(typed), None);
    }

    fn send(&self, message: &ToConnector, descriptor: Option<&OwnedFd>) {
        let mut buffer = [0; LOCAL_MAX];
        let packet = local::encode(message, &mut buffer).unwrap();
        let descriptors: Vec<_> = descriptor.iter().map(|fd| fd.as_fd()).collect();
        packet_channel::send(&self.channel, packet, &descriptors).unwrap();
    }
}

fn lease() -> Lease {
    Lease {
        address: Ipv4Addr::LOCALHOST,
        prefix_len: 8,
        router: None,
        resolvers: Servers::new(),
        ntp_servers: Servers::new(),
        mtu: None,
        hostname: None,
        lease_s: 3_600,
        origin: LeaseOrigin::Static,
    }
}

fn wait_readable(descriptor: &OwnedFd) {
    let interest = appliance::interest::Interest::new(true, false);
    let mut watch = Watch::default();
    watch.add(TUNNEL, descriptor, interest);
    watch.until(Some(clock::now() + STEP_MAX));
    watch.wait(clock::now()).unwrap();
}
