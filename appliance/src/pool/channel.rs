//! One data channel, until it is a session's.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use connector_proto::data::{self, Warming};
use connector_proto::error::Error as ProtocolError;
use connector_proto::message::CloseCode;
use connector_proto::time::Instant;
use splice_core::channel::Channel;
use splice_core::greeting::{Greeting, GreetingError};
use splice_core::session::reset_on_close;

use super::Way;
use crate::interest::{Interest, Watch};
use crate::reach::{self, Reach, ReachError};
use crate::tls::TlsError;

/// A data channel being opened.
#[derive(Debug)]
pub struct Dialling {
    way: Way,
    began: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    Reaching(Reach),
    /// The handshake, and then the edge's word.
    Greeting {
        socket: TcpStream,
        greeting: Greeting,
        warming: Warming,
    },
}

/// Where it stands.
#[derive(Debug)]
pub enum Step {
    /// Not done yet.
    Pending(Dialling),
    /// The edge said that it is ready.
    Warm(WarmChannel),
    /// It does not come about.
    Failed(ChannelError),
}

/// Why there is no data channel.
#[derive(Debug)]
pub enum ChannelError {
    /// The edge closed the connection without a word.
    Closed,
    /// TLS, or what came through it.
    Greeting(GreetingError),
    /// The socket failed.
    Io(io::Error),
    /// The edge broke the protocol, was silent, or turned this connector away.
    Protocol(ProtocolError),
    /// There is no connection.
    Reach(ReachError),
}

impl ChannelError {
    /// Whether this process has as many descriptors open as it may.
    #[must_use]
    pub fn is_out_of_descriptors(&self) -> bool {
        matches!(self, Self::Reach(ReachError::Dial(error)) if error.is_out_of_descriptors())
    }
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the edge closed it without a word"),
            Self::Greeting(GreetingError::Tls(error)) => {
                write!(f, "{}", TlsError::Tls(error.clone()))
            }
            Self::Greeting(error) => write!(f, "{error}"),
            Self::Io(error) => write!(f, "the connection failed: {error}"),
            Self::Protocol(error) => write!(f, "{error}"),
            Self::Reach(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for ChannelError {}

impl Dialling {
    /// Starts to connect.
    pub fn start(now: Instant, way: &Way) -> Step {
        let step = reach::start_at(now, way.route.clone(), way.address);
        Self::after_reach(now, now, way.clone(), step)
    }

    /// Goes on as far as it can without waiting.
    pub fn turn(self, now: Instant) -> Step {
        let Self { way, began, state } = self;
        match state {
            State::Reaching(reach) => Self::after_reach(now, began, way, reach.turn(now)),
            State::Greeting {
                socket,
                greeting,
                warming,
            } => Self::greet(now, began, way, socket, greeting, warming),
        }
    }

    /// Since when it is dialled.
    #[must_use]
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// Adds what it waits for.
    pub fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        match &self.state {
            State::Reaching(reach) => {
                reach.watch(watch);
                watch.until(Some(reach.deadline()));
            }
            State::Greeting {
                socket,
                greeting,
                warming,
            } => {
                let has_to_send = !greeting.to_send().is_empty();
                watch.add(socket, Interest::new(true, has_to_send));
                watch.until(Some(warming.deadline()));
            }
        }
    }

    /// Ends it without another byte.
    pub fn abandon(self) {
        if let State::Greeting { socket, .. } = self.state {
            reset_on_close(&socket);
        }
    }

    fn after_reach(now: Instant, began: Instant, way: Way, step: reach::Step) -> Step {
        match step {
            reach::Step::Pending(reach) => Step::Pending(Self {
                way,
                began,
                state: State::Reaching(reach),
            }),
            reach::Step::Reached(reached) => {
                match Greeting::client(way.config.clone(), way.name.clone()) {
                    Ok(greeting) => {
                        let warming = Warming::new(now);
                        Self::greet(now, began, way, reached.socket, greeting, warming)
                    }
                    Err(error) => Step::Failed(ChannelError::Greeting(error)),
                }
            }
            reach::Step::Failed(error) => Step::Failed(ChannelError::Reach(error)),
        }
    }

    fn greet(
        now: Instant,
        began: Instant,
        way: Way,
        mut socket: TcpStream,
        mut greeting: Greeting,
        mut warming: Warming,
    ) -> Step {
        let result = exchange(&mut socket, &mut greeting, &mut warming);
        match result {
            Ok(true) => Step::Warm(WarmChannel { socket, greeting }),
            Ok(false) if now >= warming.deadline() => {
                let awaited = "Ready";
                Step::Failed(ChannelError::Protocol(ProtocolError::TimedOut { awaited }))
            }
            Ok(false) => Step::Pending(Self {
                way,
                began,
                state: State::Greeting {
                    socket,
                    greeting,
                    warming,
                },
            }),
            Err(error) => {
                // The edge is told why, as far as the socket takes it.
                let _ = send(&mut socket, &mut greeting);
                Step::Failed(error)
            }
        }
    }
}

/// Sends and receives until one of them has to wait; true once the channel is warm.
fn exchange(
    socket: &mut TcpStream,
    greeting: &mut Greeting,
    warming: &mut Warming,
) -> Result<bool, ChannelError> {
    let mut buffer = [0; 4096];
    loop {
        send(socket, greeting).map_err(ChannelError::Io)?;
        let wanted = greeting.wanted().min(buffer.len());
        let len = match socket.read(&mut buffer[..wanted]) {
            Ok(0) => return Err(ChannelError::Closed),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ChannelError::Io(error)),
        };
        let result = greeting.handle_input(&buffer[..len]);
        let said = greeting.take_plaintext();
        let is_warm = warming
            .handle_input(&said)
            .map_err(ChannelError::Protocol)?;
        result.map_err(ChannelError::Greeting)?;
        if greeting.is_closed() {
            return Err(ChannelError::Closed);
        }
        if is_warm {
            send(socket, greeting).map_err(ChannelError::Io)?;
            return Ok(true);
        }
    }
}

/// Sends what is to be sent, as far as the socket takes it.
fn send(socket: &mut TcpStream, greeting: &mut Greeting) -> io::Result<()> {
    while !greeting.to_send().is_empty() {
        match socket.write(greeting.to_send()) {
            Ok(len) => greeting.sent(len),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A data channel that waits for a session.
#[derive(Debug)]
pub struct WarmChannel {
    socket: TcpStream,
    greeting: Greeting,
}

impl WarmChannel {
    /// Gives it to a session, as its first channel (0) or its `number`th successor. The edge does not
    /// answer: the session's bytes may follow at once.
    ///
    /// # Errors
    /// If the channel is over. The edge has then not heard of the session on it, or not all of it.
    pub fn attach(mut self, session: [u8; 16], number: u32) -> Result<Channel, ChannelError> {
        self.greeting
            .write(&data::attach(session, number))
            .map_err(ChannelError::Greeting)?;
        send(&mut self.socket, &mut self.greeting).map_err(ChannelError::Io)?;
        // A few bytes into an empty buffer: what is left over is found by the hand-over.
        self.greeting
            .into_channel(self.socket)
            .map_err(ChannelError::Greeting)
    }

    /// Adds what it waits for: that it is over.
    pub fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        watch.add(&self.socket, Interest::new(true, false));
    }

    /// Whether nothing came on it, not even its end.
    pub(super) fn is_silent(&self) -> bool {
        let result = self.socket.peek(&mut [0]);
        result.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Ends it in order.
    pub(super) fn retire(mut self) {
        let farewell = self.greeting.write(&data::refused(CloseCode::Normal));
        if farewell.is_ok() {
            // Whether the edge hears it makes no difference.
            let _ = send(&mut self.socket, &mut self.greeting);
        }
    }

    /// Ends it without another byte.
    pub(super) fn abandon(self) {
        reset_on_close(&self.socket);
    }
}
