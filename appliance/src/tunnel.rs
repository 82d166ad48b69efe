//! The connection to the edge: reach it, handshake, then enrol or hold the control channel.

mod drive;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use connector_proto::control::{Channel, ConnectorEvent as ControlEvent, ConnectorSide};
use connector_proto::derive::EnrolSecrets;
use connector_proto::edge_time::{Answer, Asking};
use connector_proto::enrol::{self, ConnectorEvent as EnrolEvent};
use connector_proto::error::Error as ProtocolError;
use connector_proto::key::ProvisioningKey;
use connector_proto::limits::GREETING_MAX;
use connector_proto::message::{CloseCode, Fingerprint, RatchetValue};
use connector_proto::time::Instant;
use rustls::ClientConfig;

use crate::clock;
use crate::dial::DialError;
use crate::interest::Watch;
use crate::lookup::LookupError;
use crate::proxy::{Proxy, ProxyError};
use crate::reach::{self, Reach, ReachError, Route};
use crate::tls::{TlsError, TlsStream};

/// What a connection to the edge is for, and what it needs.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// To enrol.
    Enrol {
        /// The key that was typed.
        key: ProvisioningKey,
        /// The signing request, DER; its private key is stored already.
        csr: Vec<u8>,
    },
    /// To ask for the time.
    Time {
        /// Random, for this question alone.
        nonce: [u8; 32],
    },
    /// To hold the control channel.
    Control {
        /// Version of the image.
        version: String,
        /// Spreads pings.
        seed: u64,
    },
}

/// Whom to connect to, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The edge's name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// DNS servers.
    pub resolvers: Vec<IpAddr>,
    /// Addresses at which the edge was reached before, for when no resolver answers.
    pub remembered: Vec<IpAddr>,
    /// The proxy to go through.
    pub proxy: Option<Proxy>,
    /// TLS of this purpose.
    pub config: Arc<ClientConfig>,
    /// What for.
    pub purpose: Purpose,
    /// The machine's evidence.
    pub fingerprint: Fingerprint,
    /// The ratchet value that is stored.
    pub ratchet: RatchetValue,
}

/// A connection to the edge.
#[derive(Debug)]
pub struct Tunnel {
    plan: Plan,
    address: Option<SocketAddr>,
    /// Addresses that were found for whom TCP goes to.
    found: Vec<IpAddr>,
    state: State,
}

#[derive(Debug)]
enum State {
    Reaching(Reach),
    Handshaking {
        stream: TlsStream,
        deadline: Instant,
    },
    Enrolling {
        stream: TlsStream,
        machine: Box<enrol::Connector>,
    },
    AskingTime {
        stream: TlsStream,
        asking: Box<Asking>,
    },
    Control {
        stream: TlsStream,
        channel: Box<Channel<ConnectorSide>>,
    },
}

/// What a turn yields.
#[derive(Debug)]
pub enum Event {
    /// Of an enrolment.
    Enrol(EnrolEvent),
    /// The edge's time.
    Time(Answer),
    /// Of a control channel.
    Control(ControlEvent),
}

/// Why there is no connection.
#[derive(Debug)]
pub enum TunnelError {
    /// The edge's name.
    Lookup(LookupError),
    /// TCP.
    Dial(DialError),
    /// Something in this machine, or a setting of its: a sentence.
    Machine(String),
    /// The proxy, or something on the way to it.
    Proxy(ProxyError),
    /// TLS or the socket.
    Tls(TlsError),
    /// The edge broke the protocol, could not prove itself, was silent, or said farewell.
    Protocol(ProtocolError),
    /// The edge closed the connection without a word.
    Closed,
}

impl std::fmt::Display for TunnelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lookup(error) => write!(f, "{error}"),
            Self::Dial(error) => write!(f, "{error}"),
            Self::Machine(sentence) => f.write_str(sentence),
            Self::Proxy(error) => write!(f, "{error}"),
            Self::Tls(error) => write!(f, "{error}"),
            Self::Protocol(error) => write!(f, "{error}"),
            Self::Closed => f.write_str("the edge closed the connection"),
        }
    }
}

impl std::error::Error for TunnelError {}

impl From<ReachError> for TunnelError {
    fn from(error: ReachError) -> Self {
        match error {
            ReachError::Dial(error) => Self::Dial(error),
            ReachError::Lookup(error) => Self::Lookup(error),
            ReachError::Proxy(error) => Self::Proxy(error),
        }
    }
}

impl Tunnel {
    /// Starts to connect.
    ///
    /// # Errors
    /// What fails at once.
    pub fn start(now: Instant, plan: Plan) -> Result<Self, TunnelError> {
        let route = Route {
            host: plan.host.clone(),
            port: plan.port,
            proxy: plan.proxy.clone(),
        };
        let step = reach::start(now, route, &plan.resolvers, &plan.remembered);
        Self::after(now, plan, step)
    }

    fn after(now: Instant, plan: Plan, step: reach::Step) -> Result<Self, TunnelError> {
        let (address, found, state) = match step {
            reach::Step::Pending(reach) => (None, Vec::new(), State::Reaching(reach)),
            reach::Step::Reached(reached) => {
                let config = plan.config.clone();
                let stream =
                    TlsStream::new(reached.socket, config, &plan.host).map_err(TunnelError::Tls)?;
                let deadline = now + GREETING_MAX;
                let state = State::Handshaking { stream, deadline };
                (Some(reached.address), reached.found, state)
            }
            reach::Step::Failed(error) => return Err(error.into()),
        };
        Ok(Self {
            plan,
            address,
            found,
            state,
        })
    }

    /// Goes on as far as it can without waiting, and hands over what happened.
    ///
    /// # Errors
    /// Why the connection is over. What happened before that is in `events`.
    pub fn turn(self, now: Instant, events: &mut Vec<Event>) -> Result<Self, TunnelError> {
        let Self {
            plan,
            address,
            found,
            state,
        } = self;
        let state = match state {
            State::Reaching(reach) => return Self::after(now, plan, reach.turn(now)),
            State::Handshaking { stream, deadline } => {
                handshake(now, &plan, stream, deadline, events)?
            }
            State::Enrolling {
                mut stream,
                mut machine,
            } => {
                drive::enrolment(now, &mut stream, &mut machine, events)?;
                State::Enrolling { stream, machine }
            }
            State::AskingTime {
                mut stream,
                mut asking,
            } => {
                drive::question(now, &mut stream, &mut asking, events)?;
                State::AskingTime { stream, asking }
            }
            State::Control {
                mut stream,
                mut channel,
            } => {
                drive::control(now, &mut stream, &mut channel, events)?;
                State::Control { stream, channel }
            }
        };
        Ok(Self {
            plan,
            address,
            found,
            state,
        })
    }

    /// The control channel, once the handshake is done.
    pub fn control(&mut self) -> Option<&mut Channel<ConnectorSide>> {
        match &mut self.state {
            State::Control { channel, .. } => Some(channel),
            State::Reaching(_)
            | State::Handshaking { .. }
            | State::Enrolling { .. }
            | State::AskingTime { .. } => None,
        }
    }

    /// Whom TCP reached, once it did: the edge, or the proxy.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// This end's address, once the connection stands: while the machine has it no more, nothing
    /// comes back.
    #[must_use]
    pub fn local_address(&self) -> Option<IpAddr> {
        let stream = match &self.state {
            State::Reaching(_) => return None,
            State::Handshaking { stream, .. }
            | State::Enrolling { stream, .. }
            | State::AskingTime { stream, .. }
            | State::Control { stream, .. } => stream,
        };
        let local = stream.socket().local_addr();
        local.map(|address| address.ip()).ok()
    }

    /// Every address of the edge and of the proxy that is known: no application is at one of them.
    #[must_use]
    pub fn edges(&self) -> Vec<IpAddr> {
        let mut edges = self.found.clone();
        edges.extend(self.address.map(|address| address.ip()));
        edges.extend(&self.plan.remembered);
        edges.extend(self.plan.host.parse::<IpAddr>());
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    /// Whom this connects to.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Says farewell as far as the socket takes it.
    pub fn close(&mut self, code: CloseCode) {
        if let State::Control { stream, channel } = &mut self.state {
            channel.close(code);
            let sent = drive::send(stream, || channel.poll_transmit());
            stream.send_close_notify();
            if let Err(error) = sent.and_then(|()| stream.flush().map_err(TunnelError::Tls)) {
                log::debug!("farewell not sent: {error}");
            }
        }
    }

    /// Adds what it waits for.
    pub fn watch<'a>(&'a self, watch: &mut Watch<'a>, token: u64) {
        match &self.state {
            State::Reaching(reach) => reach.watch(watch, token),
            State::Handshaking { stream, .. }
            | State::Enrolling { stream, .. }
            | State::AskingTime { stream, .. }
            | State::Control { stream, .. } => watch.add(token, stream, stream.interest(true)),
        }
        watch.until(self.deadline());
    }

    /// When [`Self::turn`] is due even if nothing happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Reaching(reach) => Some(reach.deadline()),
            State::Handshaking { deadline, .. } => Some(*deadline),
            State::Enrolling { machine, .. } => machine.poll_timeout(),
            State::AskingTime { asking, .. } => Some(asking.deadline()),
            State::Control { channel, .. } => channel.poll_timeout(),
        }
    }
}

fn handshake(
    now: Instant,
    plan: &Plan,
    mut stream: TlsStream,
    deadline: Instant,
    events: &mut Vec<Event>,
) -> Result<State, TunnelError> {
    stream.turn().map_err(TunnelError::Tls)?;
    if stream.is_handshaking() {
        if now >= deadline {
            let error = ProtocolError::TimedOut {
                awaited: "the TLS handshake",
            };
            return Err(TunnelError::Protocol(error));
        }
        return Ok(State::Handshaking { stream, deadline });
    }
    match &plan.purpose {
        Purpose::Enrol { key, csr } => {
            let exporter = stream.exporter().map_err(TunnelError::Tls)?;
            let secrets = EnrolSecrets::derive(key);
            let machine =
                enrol::Connector::new(now, secrets, exporter, csr.clone(), plan.fingerprint)
                    .map_err(TunnelError::Protocol)?;
            let mut machine = Box::new(machine);
            drive::enrolment(now, &mut stream, &mut machine, events)?;
            Ok(State::Enrolling { stream, machine })
        }
        Purpose::Time { nonce } => {
            // Asked now, not when the connection began: the round trip is the answer's bound.
            let asking = Asking::new(clock::now(), *nonce).map_err(TunnelError::Protocol)?;
            let mut asking = Box::new(asking);
            drive::question(now, &mut stream, &mut asking, events)?;
            Ok(State::AskingTime { stream, asking })
        }
        Purpose::Control { version, seed } => {
            let channel = Channel::connector(now, *seed, version, plan.fingerprint, plan.ratchet)
                .map_err(TunnelError::Protocol)?;
            let mut channel = Box::new(channel);
            drive::control(now, &mut stream, &mut channel, events)?;
            Ok(State::Control { stream, channel })
        }
    }
}
