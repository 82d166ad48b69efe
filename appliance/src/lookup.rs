//! Finds the addresses of a host: at once for an address, by asking all resolvers for a name.
//!
//! What is asked and what an answer is worth is decided in [`connector_proto::resolve`]; here are the
//! sockets. Each question has one of its own with a random port, connected to its resolver, so that
//! the kernel drops what others send.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use connector_proto::dns::UDP_MAX;
pub use connector_proto::resolve::ResolveError as LookupError;
use connector_proto::resolve::{Query, Resolution, Transport};
use connector_proto::time::Instant;

use crate::dial;
use crate::interest::{Interest, Watch};

/// Port of DNS servers.
const PORT: u16 = 53;
/// Messages read from one socket in one turn, so that a flood does not hold up the loop.
const READS_MAX: usize = 64;

/// A lookup under way.
#[derive(Debug)]
pub struct Lookup {
    host: String,
    resolution: Resolution,
    lines: Vec<Line>,
    /// [`PORT`]; tests run their servers on another one.
    port: u16,
}

/// A socket for one query.
#[derive(Debug)]
struct Line {
    token: u32,
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp {
        stream: TcpStream,
        /// What the socket has not taken yet.
        unsent: Vec<u8>,
    },
}

/// Where a lookup stands.
#[derive(Debug)]
pub enum Step {
    /// Not done yet.
    Pending(Lookup),
    /// The host's addresses, at least one, in the order in which to dial them.
    Found(Vec<IpAddr>),
    /// It has none now.
    Failed(LookupError),
}

/// Starts to look `host` up. `remembered` are addresses it had before; they are taken when DNS is out.
pub fn start(now: Instant, host: &str, resolvers: &[IpAddr], remembered: &[IpAddr]) -> Step {
    match host.parse() {
        Ok(address) => Step::Found(vec![address]),
        Err(_) => begin(now, host, resolvers, remembered, PORT),
    }
}

fn begin(now: Instant, host: &str, resolvers: &[IpAddr], remembered: &[IpAddr], port: u16) -> Step {
    let mut seed = [0; 32];
    if let Err(error) = getrandom::fill(&mut seed) {
        let resolver = resolvers.first().copied();
        return Step::Failed(LookupError::Unsent {
            resolver: resolver.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            why: error.to_string(),
        });
    }
    match Resolution::new(now, host, resolvers, remembered, seed) {
        Ok(resolution) => Lookup {
            host: host.into(),
            resolution,
            lines: Vec::new(),
            port,
        }
        .turn(now),
        Err(error) => Step::Failed(error),
    }
}

impl Lookup {
    /// Reads what has arrived and asks again when it is time.
    pub fn turn(mut self, now: Instant) -> Step {
        self.read(now);
        if self.resolution.poll_timeout().is_some_and(|due| now >= due) {
            self.resolution.handle_timeout(now);
        }
        while let Some(query) = self.resolution.poll_transmit() {
            let token = query.token;
            if let Err(error) = self.send(query) {
                self.fail(now, token, &error);
            }
        }
        let outcome = self.resolution.outcome();
        if outcome.is_some() {
            self.tell();
        }
        match outcome {
            None => Step::Pending(self),
            Some(Ok(addresses)) => Step::Found(addresses),
            Some(Err(error)) => Step::Failed(error),
        }
    }

    /// When [`Self::turn`] is due even if nothing arrives.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.resolution.poll_timeout().unwrap_or_default()
    }

    /// Adds the sockets to wait for.
    pub fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        for line in &self.lines {
            let write = matches!(&line.socket, Socket::Tcp { unsent, .. } if !unsent.is_empty());
            watch.add(&line.socket, Interest::new(!write, write));
        }
    }

    /// Says what an operator cannot see otherwise. At most two lines for each lookup.
    fn tell(&self) {
        let host = &self.host;
        if self.resolution.is_remembered() {
            log::info!("DNS gives no address of {host}: its last known ones are used");
        }
        let ignored = self.resolution.ignored();
        if ignored > 0 {
            log::warn!("{ignored} DNS answers for {host} were ignored: forged or damaged");
        }
    }

    /// Takes what has arrived, and lets go of sockets from which nothing is expected any more.
    fn read(&mut self, now: Instant) {
        for mut line in std::mem::take(&mut self.lines) {
            if let Err(error) = line.turn(now, &mut self.resolution) {
                self.fail(now, line.token, &error);
            } else if self.resolution.awaits(line.token) {
                self.lines.push(line);
            }
        }
    }

    /// Sends a query, out of the socket that it had before if there is one.
    fn send(&mut self, query: Query) -> io::Result<()> {
        let resolver = SocketAddr::new(query.resolver, self.port);
        let existing = self.lines.iter().find(|line| line.token == query.token);
        if let Some(Line {
            socket: Socket::Udp(socket),
            ..
        }) = existing
        {
            return socket.send(&query.bytes).map(drop);
        }
        let socket = Socket::open(resolver, query.transport, query.bytes)?;
        let token = query.token;
        self.lines.push(Line { token, socket });
        Ok(())
    }

    /// The next try of the exchange begins with a new socket.
    fn fail(&mut self, now: Instant, token: u32, error: &io::Error) {
        self.lines.retain(|line| line.token != token);
        let why = error.to_string();
        self.resolution.handle_failure(now, token, &why);
    }
}

impl Line {
    /// Carries what can be carried without waiting.
    fn turn(&mut self, now: Instant, resolution: &mut Resolution) -> io::Result<()> {
        let token = self.token;
        match &mut self.socket {
            Socket::Udp(socket) => {
                // One byte more than the limit, so that a longer datagram is seen as one.
                let mut buffer = [0; UDP_MAX + 1];
                for _ in 0..READS_MAX {
                    match socket.recv(&mut buffer) {
                        Ok(len) => resolution.handle_datagram(now, token, &buffer[..len]),
                        Err(error) => return done_for_now(error),
                    }
                }
                Ok(())
            }
            Socket::Tcp { stream, unsent } => {
                while !unsent.is_empty() {
                    match stream.write(unsent) {
                        Ok(len) => drop(unsent.drain(..len)),
                        Err(error) => return done_for_now(error),
                    }
                }
                let mut buffer = [0; 1024];
                for _ in 0..READS_MAX {
                    match stream.read(&mut buffer) {
                        Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                        Ok(len) => resolution.handle_stream(now, token, &buffer[..len]),
                        Err(error) => return done_for_now(error),
                    }
                    if !resolution.awaits(token) {
                        break;
                    }
                }
                Ok(())
            }
        }
    }
}

/// That a socket would have to wait is no error.
fn done_for_now(error: io::Error) -> io::Result<()> {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}

impl Socket {
    /// A socket that has sent `bytes`, or will as soon as it is connected.
    fn open(resolver: SocketAddr, transport: Transport, bytes: Vec<u8>) -> io::Result<Self> {
        match transport {
            Transport::Udp => {
                let any: IpAddr = match resolver {
                    SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let socket = UdpSocket::bind((any, 0))?;
                socket.set_nonblocking(true)?;
                socket.connect(resolver)?;
                socket.send(&bytes)?;
                Ok(Self::Udp(socket))
            }
            Transport::Tcp => Ok(Self::Tcp {
                stream: dial::open(resolver)?.into(),
                unsent: bytes,
            }),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Tcp { stream, .. } => stream.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests;
