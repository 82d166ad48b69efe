//! A TCP connection to the edge: directly, or through an HTTP proxy that is asked for a tunnel.
//!
//! `look up -> dial`, of the edge's name, or `look up -> dial -> CONNECT`, of the proxy's: then the
//! edge's name is the proxy's to resolve. TLS is the same either way, so a proxy sees no more than a
//! router does.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};

use connector_proto::time::Instant;
use zeroize::Zeroizing;

use crate::dial::{self, Dial, DialError};
use crate::interest::{Interest, Watch};
use crate::lookup::{self, Lookup, LookupError};
use crate::proxy::connect::Connect;
use crate::proxy::{Proxy, ProxyError};

/// The edge, and the way there.
#[derive(Clone, Debug)]
pub struct Route {
    /// The edge's name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The proxy to go through.
    pub proxy: Option<Proxy>,
}

/// A connection being opened.
#[derive(Debug)]
pub struct Reach {
    route: Route,
    found: Vec<IpAddr>,
    state: State,
}

#[derive(Debug)]
enum State {
    LookingUp(Lookup),
    Dialling(Dial),
    AskingProxy {
        socket: TcpStream,
        address: SocketAddr,
        connect: Box<Connect>,
        unsent: Zeroizing<Vec<u8>>,
    },
}

/// A connection to the edge, in which nothing was said yet.
#[derive(Debug)]
pub struct Reached {
    /// The socket, non-blocking.
    pub socket: TcpStream,
    /// Whom TCP reached: the edge, or the proxy.
    pub address: SocketAddr,
    /// All addresses that were found for that name.
    pub found: Vec<IpAddr>,
}

/// Where it stands.
#[derive(Debug)]
pub enum Step {
    /// Not done yet.
    Pending(Reach),
    /// Done.
    Reached(Reached),
    /// Not to be done now.
    Failed(ReachError),
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReachError {
    /// TCP to the edge.
    Dial(DialError),
    /// The edge's name.
    Lookup(LookupError),
    /// The proxy, or something on the way to it.
    Proxy(ProxyError),
}

impl fmt::Display for ReachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => write!(f, "{error}"),
            Self::Lookup(error) => write!(f, "{error}"),
            Self::Proxy(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ReachError {}

/// Starts to connect. `remembered` are addresses of the edge, for when no resolver answers.
pub fn start(now: Instant, route: Route, resolvers: &[IpAddr], remembered: &[IpAddr]) -> Step {
    let step = match &route.proxy {
        Some(proxy) => lookup::start(now, &proxy.host, resolvers, &[]),
        None => lookup::start(now, &route.host, resolvers, remembered),
    };
    Reach::after(go_on_with_lookup(now, &route, step), route, Vec::new())
}

/// Starts to connect by way of `address`, which is the edge's, or the proxy's.
pub fn start_at(now: Instant, route: Route, address: SocketAddr) -> Step {
    let step = dial::start(now, &[address.ip()], address.port());
    let found = vec![address.ip()];
    Reach::after(go_on_with_dial(now, &route, step), route, found)
}

/// What a turn of a state came to.
enum Next {
    State(State),
    /// The name's addresses too.
    Found(Vec<IpAddr>, Box<Self>),
    Done(TcpStream, SocketAddr),
}

impl Reach {
    /// Goes on as far as it can without waiting.
    pub fn turn(self, now: Instant) -> Step {
        let Self {
            route,
            found,
            state,
        } = self;
        let next = match state {
            State::LookingUp(lookup) => go_on_with_lookup(now, &route, lookup.turn(now)),
            State::Dialling(dial) => go_on_with_dial(now, &route, dial.turn(now)),
            State::AskingProxy {
                socket,
                address,
                connect,
                unsent,
            } => go_on_asking(now, socket, address, connect, unsent),
        };
        Self::after(next, route, found)
    }

    fn after(next: Result<Next, ReachError>, route: Route, found: Vec<IpAddr>) -> Step {
        match next {
            Ok(Next::State(state)) => Step::Pending(Self {
                route,
                found,
                state,
            }),
            Ok(Next::Found(found, next)) => Self::after(Ok(*next), route, found),
            Ok(Next::Done(socket, address)) => Step::Reached(Reached {
                socket,
                address,
                found,
            }),
            Err(error) => Step::Failed(error),
        }
    }

    /// When [`Self::turn`] is due even if nothing happens.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        match &self.state {
            State::LookingUp(lookup) => lookup.deadline(),
            State::Dialling(dial) => dial.deadline(),
            State::AskingProxy { connect, .. } => connect.deadline(),
        }
    }

    /// Adds what it waits for.
    pub fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        match &self.state {
            State::LookingUp(lookup) => lookup.watch(watch),
            State::Dialling(dial) => dial.watch(watch),
            State::AskingProxy { socket, unsent, .. } => {
                watch.add(socket, Interest::new(true, !unsent.is_empty()));
            }
        }
    }
}

fn go_on_with_lookup(now: Instant, route: &Route, step: lookup::Step) -> Result<Next, ReachError> {
    let port = route.proxy.as_ref().map_or(route.port, |proxy| proxy.port);
    match (step, &route.proxy) {
        (lookup::Step::Pending(lookup), _) => Ok(Next::State(State::LookingUp(lookup))),
        (lookup::Step::Found(addresses), _) => {
            let next = go_on_with_dial(now, route, dial::start(now, &addresses, port))?;
            Ok(Next::Found(addresses, Box::new(next)))
        }
        (lookup::Step::Failed(error), Some(_)) => Err(ReachError::Proxy(ProxyError::Lookup(error))),
        (lookup::Step::Failed(error), None) => Err(ReachError::Lookup(error)),
    }
}

fn go_on_with_dial(now: Instant, route: &Route, step: dial::Step) -> Result<Next, ReachError> {
    match (step, &route.proxy) {
        (dial::Step::Pending(dial), _) => Ok(Next::State(State::Dialling(dial))),
        (dial::Step::Connected(socket, address), None) => Ok(Next::Done(socket, address)),
        (dial::Step::Connected(socket, address), Some(proxy)) => {
            let mut connect = Connect::new(now, proxy, &route.host, route.port)
                .map_err(ReachError::Proxy)
                .map(Box::new)?;
            let unsent = connect.poll_transmit().unwrap_or_default();
            go_on_asking(now, socket, address, connect, unsent)
        }
        (dial::Step::Failed(error), Some(_)) => Err(ReachError::Proxy(ProxyError::Dial(error))),
        (dial::Step::Failed(error), None) => Err(ReachError::Dial(error)),
    }
}

fn go_on_asking(
    now: Instant,
    mut socket: TcpStream,
    address: SocketAddr,
    mut connect: Box<Connect>,
    mut unsent: Zeroizing<Vec<u8>>,
) -> Result<Next, ReachError> {
    send(&mut socket, &mut unsent).map_err(ReachError::Proxy)?;
    if receive(&mut socket, &mut connect).map_err(ReachError::Proxy)? {
        return Ok(Next::Done(socket, address));
    }
    connect.handle_timeout(now).map_err(ReachError::Proxy)?;
    Ok(Next::State(State::AskingProxy {
        socket,
        address,
        connect,
        unsent,
    }))
}

fn send(socket: &mut TcpStream, unsent: &mut Zeroizing<Vec<u8>>) -> Result<(), ProxyError> {
    while !unsent.is_empty() {
        match socket.write(unsent) {
            Ok(sent) => *unsent = Zeroizing::new(unsent[sent..].to_vec()),
            Err(error) if is_transient(&error) => break,
            Err(error) => return Err(ProxyError::Io(error.to_string())),
        }
    }
    Ok(())
}

/// Hands over what the proxy said; true once the tunnel stands. Bytes leave the socket only when the
/// answer's head takes them: what follows it waits in the socket for TLS.
fn receive(socket: &mut TcpStream, connect: &mut Connect) -> Result<bool, ProxyError> {
    let mut buffer = [0; 1024];
    loop {
        let len = match socket.peek(&mut buffer) {
            Ok(0) => return Err(ProxyError::Closed),
            Ok(len) => len,
            Err(error) if is_transient(&error) => return Ok(false),
            Err(error) => return Err(ProxyError::Io(error.to_string())),
        };
        let mut rest = &buffer[..len];
        let result = connect.handle_input(&mut rest);
        let taken = len - rest.len();
        socket
            .read_exact(&mut buffer[..taken])
            .map_err(|error| ProxyError::Io(error.to_string()))?;
        if result? {
            return Ok(true);
        }
    }
}

/// An interruption too: the socket is still ready, so the loop comes back at once.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
