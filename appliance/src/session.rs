//! One session, from the grant to its last byte.
//!
//! `look the application up -> check the address -> dial it -> dial the edge -> attach -> pump`.
//! The user's connection is told that it stands only once the application's does, so a refusal
//! reaches the user as what it is.

mod target;

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;

use connector_proto::address::{self, Surroundings};
use connector_proto::data::OldAttaching;
use connector_proto::error::Error as ProtocolError;
use connector_proto::message::SessionRefusal;
use connector_proto::time::Instant;
use rustls::ClientConfig;

pub use target::{SessionId, Target};

use crate::dial::{self, Dial};
use crate::interest::Watch;
use crate::lookup::{self, Lookup, LookupError};
use crate::proxy::Proxy;
use crate::pump::{Broken, Carried, Pump, Turn, UserSpace};
use crate::reach::{self, Reach, ReachError, Route};
use crate::tls::{TlsError, TlsStream};

/// What a session needs to know of the machine and the edge when it starts.
#[derive(Clone, Debug)]
pub struct Context {
    /// DNS servers.
    pub resolvers: Vec<IpAddr>,
    /// The machine's own addresses.
    pub own: Vec<IpAddr>,
    /// Its gateways.
    pub gateways: Vec<IpAddr>,
    /// The proxy through which the edge is reached.
    pub proxy: Option<Proxy>,
    /// Whom the control channel's TCP reached: the edge, or the proxy.
    pub edge: SocketAddr,
    /// Every address of the edge and of the proxy that is known: no application is at one of them.
    pub edges: Vec<IpAddr>,
    /// The edge's name, for TLS and for the proxy.
    pub edge_host: String,
    /// The edge's port, for the proxy.
    pub edge_port: u16,
    /// TLS of data channels.
    pub config: Arc<ClientConfig>,
}

/// A session under way.
#[derive(Debug)]
pub struct Session {
    target: Target,
    context: Context,
    state: State,
}

#[derive(Debug)]
enum State {
    LookingUp(Lookup),
    DiallingApplication(Dial),
    ReachingEdge {
        application: TcpStream,
        reach: Reach,
    },
    Attaching {
        application: TcpStream,
        channel: TlsStream,
        attaching: Box<OldAttaching>,
    },
    Pumping(Box<dyn Pump>),
}

/// Where a session stands after a turn.
#[derive(Debug)]
pub enum Step {
    /// It goes on.
    Open(Session),
    /// It never came about: tell the edge.
    Refused {
        /// Which session.
        target: Target,
        /// Why.
        reason: SessionRefusal,
        /// In words.
        detail: String,
    },
    /// It came about and is over.
    Ended {
        /// Which session.
        target: Target,
        /// What it carried.
        carried: Carried,
        /// What broke it, if anything did.
        broken: Option<Broken>,
    },
}

/// What keeps a session from coming about.
type Refusal = (SessionRefusal, String);

impl Session {
    /// Starts a session that a grant allows.
    #[must_use]
    pub fn start(now: Instant, target: Target, context: Context) -> Step {
        let found = lookup::start(now, &target.host, &context.resolvers, &[]);
        let step = go_on_with_lookup(now, &target, &context, found);
        Self::after(target, context, step)
    }

    /// Goes on as far as it can without waiting.
    #[must_use]
    pub fn turn(self, now: Instant) -> Step {
        let Self {
            target,
            context,
            state,
        } = self;
        let session = target.session;
        let next = match state {
            State::Pumping(mut pump) => match pump.turn() {
                Turn::Open => Ok(State::Pumping(pump)),
                Turn::Finished => {
                    return Step::Ended {
                        target,
                        carried: pump.carried(),
                        broken: None,
                    };
                }
                Turn::Broken(broken) => {
                    return Step::Ended {
                        target,
                        carried: pump.carried(),
                        broken: Some(broken),
                    };
                }
            },
            State::LookingUp(lookup) => go_on_with_lookup(now, &target, &context, lookup.turn(now)),
            State::DiallingApplication(dial) => match dial.turn(now) {
                dial::Step::Pending(dial) => Ok(State::DiallingApplication(dial)),
                dial::Step::Connected(application, _) => {
                    reach_edge(now, application, target.session, &context)
                }
                dial::Step::Failed(error) => Err(application_refusal(&error)),
            },
            State::ReachingEdge { application, reach } => {
                go_on_reaching(now, application, session, &context, reach.turn(now))
            }
            State::Attaching {
                application,
                channel,
                attaching,
            } => go_on_attaching(now, application, channel, attaching),
        };
        Self::after(target, context, next)
    }

    /// The step that a new state, or what kept it from coming about, means.
    fn after(target: Target, context: Context, result: Result<State, Refusal>) -> Step {
        match result {
            Ok(state) => Step::Open(Self {
                target,
                context,
                state,
            }),
            Err((reason, detail)) => Step::Refused {
                target,
                reason,
                detail,
            },
        }
    }

    /// Adds what it waits for.
    pub fn watch<'a>(&'a self, watch: &mut Watch<'a>, token: u64) {
        match &self.state {
            State::LookingUp(lookup) => lookup.watch(watch, token),
            State::DiallingApplication(dial) => dial.watch(watch, token),
            State::ReachingEdge { reach, .. } => reach.watch(watch, token),
            State::Attaching { channel, .. } => watch.add(token, channel, channel.interest(true)),
            State::Pumping(pump) => pump.watch(watch, token),
        }
        watch.until(self.deadline());
    }

    /// When [`Self::turn`] is due even if nothing happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::LookingUp(lookup) => Some(lookup.deadline()),
            State::DiallingApplication(dial) => Some(dial.deadline()),
            State::ReachingEdge { reach, .. } => Some(reach.deadline()),
            State::Attaching { attaching, .. } => Some(attaching.deadline()),
            State::Pumping(pump) => pump.has_work().then(Instant::default),
        }
    }

    /// Which session it is.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// Ends it without another byte on its data channel.
    pub fn abandon(self) {
        match self.state {
            State::LookingUp(_) | State::DiallingApplication(_) | State::ReachingEdge { .. } => {}
            State::Attaching { channel, .. } => channel.abandon(),
            State::Pumping(pump) => pump.reset(),
        }
    }

    /// What it has carried so far.
    #[must_use]
    pub fn carried(&self) -> Carried {
        match &self.state {
            State::Pumping(pump) => pump.carried(),
            State::LookingUp(_)
            | State::DiallingApplication(_)
            | State::ReachingEdge { .. }
            | State::Attaching { .. } => Carried::default(),
        }
    }
}

fn go_on_with_lookup(
    now: Instant,
    target: &Target,
    context: &Context,
    step: lookup::Step,
) -> Result<State, Refusal> {
    match step {
        lookup::Step::Pending(lookup) => Ok(State::LookingUp(lookup)),
        lookup::Step::Found(addresses) => dial_application(now, target, context, &addresses),
        lookup::Step::Failed(error) => Err(lookup_refusal(target, &error)),
    }
}

/// Dials those of the addresses that may be dialled; the checked address is the dialled one.
fn dial_application(
    now: Instant,
    target: &Target,
    context: &Context,
    addresses: &[IpAddr],
) -> Result<State, Refusal> {
    let surroundings = Surroundings {
        own: &context.own,
        gateways: &context.gateways,
        edges: &context.edges,
    };
    let mut allowed = Vec::new();
    let mut denied = None;
    for address in addresses {
        match address::check(*address, &surroundings) {
            Ok(()) => allowed.push(*address),
            Err(why) => denied = Some((*address, why)),
        }
    }
    if let (true, Some((address, why))) = (allowed.is_empty(), denied) {
        let detail = format!(
            "{} is {address}, which is never dialled: {why}",
            target.host
        );
        return Err((SessionRefusal::AddressDenied, detail));
    }
    match dial::start(now, &allowed, target.port) {
        dial::Step::Pending(dial) => Ok(State::DiallingApplication(dial)),
        dial::Step::Connected(application, _) => {
            reach_edge(now, application, target.session, context)
        }
        dial::Step::Failed(error) => Err(application_refusal(&error)),
    }
}

/// Goes the way that the control channel went; the proxy resolves the edge's name anew.
fn reach_edge(
    now: Instant,
    application: TcpStream,
    session: [u8; 16],
    context: &Context,
) -> Result<State, Refusal> {
    let route = Route {
        host: context.edge_host.clone(),
        port: context.edge_port,
        proxy: context.proxy.clone(),
    };
    let step = reach::start_at(now, route, context.edge);
    go_on_reaching(now, application, session, context, step)
}

fn go_on_reaching(
    now: Instant,
    application: TcpStream,
    session: [u8; 16],
    context: &Context,
    step: reach::Step,
) -> Result<State, Refusal> {
    match step {
        reach::Step::Pending(reach) => Ok(State::ReachingEdge { application, reach }),
        reach::Step::Reached(reached) => attach(now, application, reached.socket, session, context),
        reach::Step::Failed(error) => Err(edge_refusal(&error)),
    }
}

fn attach(
    now: Instant,
    application: TcpStream,
    socket: TcpStream,
    session: [u8; 16],
    context: &Context,
) -> Result<State, Refusal> {
    let channel = TlsStream::new(socket, context.config.clone(), &context.edge_host)
        .map_err(|error| channel_refusal(&error))?;
    let attaching = OldAttaching::new(now, session).map_err(|error| protocol_refusal(&error))?;
    go_on_attaching(now, application, channel, Box::new(attaching))
}

fn go_on_attaching(
    now: Instant,
    application: TcpStream,
    mut channel: TlsStream,
    mut attaching: Box<OldAttaching>,
) -> Result<State, Refusal> {
    if now >= attaching.deadline() {
        return Err(protocol_refusal(&ProtocolError::TimedOut {
            awaited: "Attached",
        }));
    }
    while let Some(bytes) = attaching.poll_transmit() {
        // A few bytes into an empty buffer of 64 KiB.
        channel
            .write(&bytes)
            .map_err(|error| channel_refusal(&TlsError::Io(error)))?;
    }
    channel.turn().map_err(|error| channel_refusal(&error))?;
    let mut buffer = [0; 4096];
    let len = channel
        .read(&mut buffer)
        .map_err(|error| channel_refusal(&TlsError::Io(error)))?;
    let mut bytes = &buffer[..len];
    if attaching
        .handle_input(&mut bytes)
        .map_err(|error| protocol_refusal(&error))?
    {
        let mut pump = UserSpace::new(application, channel);
        pump.preload(bytes);
        return Ok(State::Pumping(Box::new(pump)));
    }
    if len == 0 && channel.end().is_some() {
        return Err((
            SessionRefusal::Unreachable,
            "data channel: the edge closed it".into(),
        ));
    }
    Ok(State::Attaching {
        application,
        channel,
        attaching,
    })
}

fn lookup_refusal(target: &Target, error: &LookupError) -> Refusal {
    (
        SessionRefusal::NameNotFound,
        format!("{}: {error}", target.host),
    )
}

fn application_refusal(error: &dial::DialError) -> Refusal {
    let reason = if error.errno == rustix::io::Errno::CONNREFUSED {
        SessionRefusal::ConnectionRefused
    } else {
        SessionRefusal::Unreachable
    };
    (reason, error.to_string())
}

fn edge_refusal(error: &ReachError) -> Refusal {
    (
        SessionRefusal::Unreachable,
        format!("data channel: {error}"),
    )
}

fn channel_refusal(error: &TlsError) -> Refusal {
    (
        SessionRefusal::Unreachable,
        format!("data channel: {error}"),
    )
}

fn protocol_refusal(error: &ProtocolError) -> Refusal {
    (
        SessionRefusal::Unreachable,
        format!("data channel: {error}"),
    )
}
