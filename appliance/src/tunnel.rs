//! The connection to the edge: reach it, handshake, then enrol, renew or hold the control channel.

mod drive;
mod error;
mod plan;

use std::net::{IpAddr, SocketAddr};

use connector_proto::control::{Channel, ConnectorEvent as ControlEvent, ConnectorSide};
use connector_proto::derive::EnrolSecrets;
use connector_proto::edge_time::{Answer, Asking};
use connector_proto::enrol::{self, ConnectorEvent as EnrolEvent};
use connector_proto::error::Error as ProtocolError;
use connector_proto::limits::GREETING_MAX;
use connector_proto::message::CloseCode;
use connector_proto::renew::{self, ConnectorEvent as RenewEvent};
use connector_proto::time::Instant;
use zeroize::Zeroizing;

pub use error::TunnelError;
pub use plan::{Plan, Purpose};

use crate::clock;
use crate::interest::Watch;
use crate::reach::{self, Reach, Route};
use crate::tls::TlsStream;

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
    Renewing {
        stream: TlsStream,
        machine: Box<renew::Connector>,
    },
    Control {
        stream: TlsStream,
        channel: Box<Channel<ConnectorSide>>,
    },
}

/// What a turn yields.
#[derive(Debug)]
pub enum Event {
    /// TLS for an enrolment stands, with a peer whose certificate has this issuer. It may be anybody's.
    Issuer(String),
    /// Of an enrolment.
    Enrol(EnrolEvent),
    /// Of a renewal.
    Renew(RenewEvent),
    /// The edge's time.
    Time(Answer),
    /// Of a control channel.
    Control(ControlEvent),
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
            State::Renewing {
                mut stream,
                mut machine,
            } => {
                drive::renewal(now, &mut stream, &mut machine, events)?;
                State::Renewing { stream, machine }
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

    /// Sends what was said on the control channel, as far as the socket takes it.
    ///
    /// # Errors
    /// Why the connection is over.
    pub fn flush(&mut self) -> Result<(), TunnelError> {
        match &mut self.state {
            State::Control { stream, channel } => drive::send(stream, || channel.poll_transmit()),
            State::Reaching(_)
            | State::Handshaking { .. }
            | State::Enrolling { .. }
            | State::Renewing { .. }
            | State::AskingTime { .. } => Ok(()),
        }
    }

    /// The control channel, once the handshake is done.
    pub fn control(&mut self) -> Option<&mut Channel<ConnectorSide>> {
        match &mut self.state {
            State::Control { channel, .. } => Some(channel),
            State::Reaching(_)
            | State::Handshaking { .. }
            | State::Enrolling { .. }
            | State::Renewing { .. }
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
            | State::Renewing { stream, .. }
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

    /// Ends it without another byte, as if the machine had lost power.
    pub fn abandon(self) {
        match self.state {
            State::Reaching(_) => {}
            State::Handshaking { stream, .. }
            | State::Enrolling { stream, .. }
            | State::AskingTime { stream, .. }
            | State::Renewing { stream, .. }
            | State::Control { stream, .. } => stream.abandon(),
        }
    }

    /// Adds what it waits for.
    pub fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        match &self.state {
            State::Reaching(reach) => reach.watch(watch),
            State::Handshaking { stream, .. }
            | State::Enrolling { stream, .. }
            | State::AskingTime { stream, .. }
            | State::Renewing { stream, .. }
            | State::Control { stream, .. } => watch.add(stream, stream.interest(true)),
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
            State::Renewing { machine, .. } => machine.poll_timeout(),
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
            events.extend(stream.peer_issuer().map(Event::Issuer));
            let exporter = Zeroizing::new(stream.exporter().map_err(TunnelError::Tls)?);
            let secrets = EnrolSecrets::derive(key);
            let machine =
                enrol::Connector::new(now, secrets, *exporter, csr.clone(), plan.fingerprint)
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
        Purpose::Renew { csr } => {
            let machine = renew::Connector::new(now, csr, plan.fingerprint, plan.ratchet)
                .map_err(TunnelError::Protocol)?;
            let mut machine = Box::new(machine);
            drive::renewal(now, &mut stream, &mut machine, events)?;
            Ok(State::Renewing { stream, machine })
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
