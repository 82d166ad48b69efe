//! The connection to the edge: resolve, dial, handshake, then enrol or hold the control channel.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use connector_proto::control::{Channel, ConnectorEvent as ControlEvent, ConnectorSide};
use connector_proto::derive::EnrolSecrets;
use connector_proto::edge_time::{Answer, Asking};
use connector_proto::enrol::{self, ConnectorEvent as EnrolEvent};
use connector_proto::error::Error as ProtocolError;
use connector_proto::key::ProvisioningKey;
use connector_proto::limits::GREETING_MAX;
use connector_proto::message::{CloseCode, Fingerprint};
use connector_proto::time::Instant;
use rustls::ClientConfig;

use crate::clock;
use crate::dial::{self, Dial, DialError};
use crate::interest::Watch;
use crate::lookup::{self, Lookup, LookupError};
use crate::proxy::Proxy;
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
}

/// A connection to the edge.
#[derive(Debug)]
pub struct Tunnel {
    plan: Plan,
    address: Option<SocketAddr>,
    state: State,
}

#[derive(Debug)]
enum State {
    LookingUp(Lookup),
    Dialling(Dial),
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
            Self::Tls(error) => write!(f, "{error}"),
            Self::Protocol(error) => write!(f, "{error}"),
            Self::Closed => f.write_str("the edge closed the connection"),
        }
    }
}

impl std::error::Error for TunnelError {}

impl Tunnel {
    /// Starts to connect.
    ///
    /// # Errors
    /// What fails at once.
    pub fn start(now: Instant, plan: Plan) -> Result<Self, TunnelError> {
        let state = match lookup::start(now, &plan.host, &plan.resolvers, &plan.remembered) {
            lookup::Step::Pending(lookup) => State::LookingUp(lookup),
            lookup::Step::Found(addresses) => dial(now, &plan, &addresses)?,
            lookup::Step::Failed(error) => return Err(TunnelError::Lookup(error)),
        };
        Ok(Self {
            plan,
            address: None,
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
            mut address,
            state,
        } = self;
        let state = match state {
            State::LookingUp(lookup) => match lookup.turn(now) {
                lookup::Step::Pending(lookup) => State::LookingUp(lookup),
                lookup::Step::Found(addresses) => dial(now, &plan, &addresses)?,
                lookup::Step::Failed(error) => return Err(TunnelError::Lookup(error)),
            },
            State::Dialling(dial) => match dial.turn(now) {
                dial::Step::Pending(dial) => State::Dialling(dial),
                dial::Step::Failed(error) => return Err(TunnelError::Dial(error)),
                dial::Step::Connected(socket, reached) => {
                    address = Some(reached);
                    let stream = TlsStream::new(socket, plan.config.clone(), &plan.host)
                        .map_err(TunnelError::Tls)?;
                    handshake(now, &plan, stream, now + GREETING_MAX, events)?
                }
            },
            State::Handshaking { stream, deadline } => {
                handshake(now, &plan, stream, deadline, events)?
            }
            State::Enrolling {
                mut stream,
                mut machine,
            } => {
                drive_enrolment(now, &mut stream, &mut machine, events)?;
                State::Enrolling { stream, machine }
            }
            State::AskingTime {
                mut stream,
                mut asking,
            } => {
                drive_question(now, &mut stream, &mut asking, events)?;
                State::AskingTime { stream, asking }
            }
            State::Control {
                mut stream,
                mut channel,
            } => {
                drive_control(now, &mut stream, &mut channel, events)?;
                State::Control { stream, channel }
            }
        };
        Ok(Self {
            plan,
            address,
            state,
        })
    }

    /// The control channel, once the handshake is done.
    pub fn control(&mut self) -> Option<&mut Channel<ConnectorSide>> {
        match &mut self.state {
            State::Control { channel, .. } => Some(channel),
            State::LookingUp(_)
            | State::Dialling(_)
            | State::Handshaking { .. }
            | State::Enrolling { .. }
            | State::AskingTime { .. } => None,
        }
    }

    /// The edge's address, once TCP is there.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
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
            let sent = send(stream, || channel.poll_transmit());
            stream.send_close_notify();
            if let Err(error) = sent.and_then(|()| stream.flush().map_err(TunnelError::Tls)) {
                log::debug!("farewell not sent: {error}");
            }
        }
    }

    /// Adds what it waits for.
    pub fn watch<'a>(&'a self, watch: &mut Watch<'a>, token: u64) {
        match &self.state {
            State::LookingUp(lookup) => lookup.watch(watch, token),
            State::Dialling(dial) => dial.watch(watch, token),
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
            State::LookingUp(lookup) => Some(lookup.deadline()),
            State::Dialling(dial) => Some(dial.deadline()),
            State::Handshaking { deadline, .. } => Some(*deadline),
            State::Enrolling { machine, .. } => machine.poll_timeout(),
            State::AskingTime { asking, .. } => Some(asking.deadline()),
            State::Control { channel, .. } => channel.poll_timeout(),
        }
    }
}

fn dial(now: Instant, plan: &Plan, addresses: &[IpAddr]) -> Result<State, TunnelError> {
    match dial::start(now, addresses, plan.port) {
        dial::Step::Pending(dial) => Ok(State::Dialling(dial)),
        dial::Step::Failed(error) => Err(TunnelError::Dial(error)),
        dial::Step::Connected(..) => Err(TunnelError::Closed),
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
            drive_enrolment(now, &mut stream, &mut machine, events)?;
            Ok(State::Enrolling { stream, machine })
        }
        Purpose::Time { nonce } => {
            // Asked now, not when the connection began: the round trip is the answer's bound.
            let asking = Asking::new(clock::now(), *nonce).map_err(TunnelError::Protocol)?;
            let mut asking = Box::new(asking);
            drive_question(now, &mut stream, &mut asking, events)?;
            Ok(State::AskingTime { stream, asking })
        }
        Purpose::Control { version, seed } => {
            let channel = Channel::connector(now, *seed, version, plan.fingerprint)
                .map_err(TunnelError::Protocol)?;
            let mut channel = Box::new(channel);
            drive_control(now, &mut stream, &mut channel, events)?;
            Ok(State::Control { stream, channel })
        }
    }
}

fn drive_enrolment(
    now: Instant,
    stream: &mut TlsStream,
    machine: &mut enrol::Connector,
    events: &mut Vec<Event>,
) -> Result<(), TunnelError> {
    send(stream, || machine.poll_transmit())?;
    let received = receive(stream, |bytes| {
        let result = machine.handle_input(bytes);
        // One read may hold the proof and the reply; each event is taken before the next frame.
        while let Some(event) = machine.poll_event() {
            events.push(Event::Enrol(event));
        }
        result
    });
    send(stream, || machine.poll_transmit())?;
    received?;
    machine.handle_timeout(now).map_err(TunnelError::Protocol)
}

fn drive_question(
    now: Instant,
    stream: &mut TlsStream,
    asking: &mut Asking,
    events: &mut Vec<Event>,
) -> Result<(), TunnelError> {
    send(stream, || asking.poll_transmit())?;
    receive(stream, |bytes| {
        let answer = asking.handle_input(clock::now(), bytes)?;
        events.extend(answer.map(Event::Time));
        Ok(())
    })?;
    if now >= asking.deadline() {
        let awaited = "TimeReply";
        return Err(TunnelError::Protocol(ProtocolError::TimedOut { awaited }));
    }
    Ok(())
}

fn drive_control(
    now: Instant,
    stream: &mut TlsStream,
    channel: &mut Channel<ConnectorSide>,
    events: &mut Vec<Event>,
) -> Result<(), TunnelError> {
    send(stream, || channel.poll_transmit())?;
    let received = receive(stream, |bytes| {
        let result = channel.handle_input(now, bytes);
        while let Some(event) = channel.poll_event() {
            events.push(Event::Control(event));
        }
        result
    });
    let result = received.and_then(|()| channel.handle_timeout(now).map_err(TunnelError::Protocol));
    send(stream, || channel.poll_transmit())?;
    result
}

/// Sends what a machine wants sent. What TLS has no room for breaks the connection: control
/// messages are small, and an edge that leaves 64 KiB of them unread is not there any more.
fn send(
    stream: &mut TlsStream,
    mut next: impl FnMut() -> Option<Vec<u8>>,
) -> Result<(), TunnelError> {
    while let Some(bytes) = next() {
        let taken = stream
            .write(&bytes)
            .map_err(|error| TunnelError::Tls(TlsError::Io(error)))?;
        if taken < bytes.len() {
            let max = connector_proto::limits::OUTBOX_MAX;
            return Err(TunnelError::Protocol(ProtocolError::OutboxFull { max }));
        }
    }
    stream.flush().map_err(TunnelError::Tls)
}

/// Hands over what the edge sent, until a look at the socket yields nothing more.
fn receive(
    stream: &mut TlsStream,
    mut take: impl FnMut(&[u8]) -> Result<(), ProtocolError>,
) -> Result<(), TunnelError> {
    let mut buffer = [0; 4096];
    loop {
        stream.turn().map_err(TunnelError::Tls)?;
        let len = stream
            .read(&mut buffer)
            .map_err(|error| TunnelError::Tls(TlsError::Io(error)))?;
        if len == 0 {
            break;
        }
        take(&buffer[..len]).map_err(TunnelError::Protocol)?;
    }
    if stream.end().is_some() {
        Err(TunnelError::Closed)
    } else {
        Ok(())
    }
}
