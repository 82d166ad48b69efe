//! The connector's tunnels, driven without its loop.

use std::time::{Duration, Instant};

use appliance::interest::Watch;
use appliance::proxy::Proxy;
use appliance::reach::{self, Reach, ReachError, Reached, Route};
use appliance::tls::{self, Pinned};
use appliance::tunnel::{Event, Plan, Purpose, Tunnel, TunnelError};
use appliance::waiting::Waiting;
use appliance::{clock, identity};
use connector_proto::control::ConnectorEvent as ControlEvent;
use connector_proto::enrol::ConnectorEvent as EnrolEvent;
use connector_proto::record::State;
use splice_core::reactor::Kind;

use crate::edge::{EDGE_NAME, EDGE_PORT, TestEdge};
use crate::machine::FINGERPRINT;

/// How long a step may take on a busy machine.
const STEP_MAX: Duration = Duration::from_secs(30);
const TUNNEL: u64 = 0;

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
        wait(|watch| tunnel.watch(watch));
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

    fn pinned(&self) -> Pinned {
        Pinned::in_use(&self.state).unwrap().unwrap()
    }

    fn start_control(&self) -> Result<Control, TunnelError> {
        let purpose = Purpose::Control {
            version: "0.0.0".into(),
            seed: 1,
        };
        let plan = plan(&self.proxy, self.pinned().control, purpose);
        let mut control = Control {
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
            wait(|watch| control.tunnel.watch(watch));
        }
    }

    /// A control channel on which the edge offers sessions.
    pub fn control(&self) -> Control {
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
pub struct Control {
    pub tunnel: Tunnel,
    pub group: String,
}

impl Control {
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
            reach.watch(watch);
            watch.until(Some(reach.deadline()));
        });
        step = reach.turn(clock::now());
    }
}

/// Goes on until the other end says that it is far enough.
pub fn waited_for(route: Route, is_so: impl Fn() -> bool) -> Reach {
    let mut waiting = Waiting::open(Kind::Best).unwrap();
    let mut step = reach::start(clock::now(), route, &[], &[]);
    loop {
        let reach::Step::Pending(reach) = step else {
            panic!("{step:?}")
        };
        if is_so() {
            return reach;
        }
        waiting.set(TUNNEL, |watch| {
            reach.watch(watch);
            watch.until(Some(clock::now() + Duration::from_millis(10)));
        });
        waiting.wait().unwrap();
        waiting.release(TUNNEL);
        step = reach.turn(clock::now());
    }
}

/// Waits for what `add` adds.
fn wait<'a>(add: impl FnOnce(&mut Watch<'a>)) {
    let mut waiting = Waiting::open(Kind::Best).unwrap();
    waiting.set(TUNNEL, |watch| {
        add(watch);
        watch.until(Some(clock::now() + STEP_MAX));
    });
    let began = Instant::now();
    waiting.wait().unwrap();
    assert!(began.elapsed() < STEP_MAX, "nothing happens");
}
