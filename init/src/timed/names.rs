//! Looks up the names of NTP servers.
//!
//! Over UDP only: an answer that does not fit has more addresses than are asked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::{fmt, io};

use connector_proto::dns::UDP_MAX;
use connector_proto::resolve::{Query, Resolution, Transport};
use connector_proto::time::Instant;

/// Port of DNS servers.
const PORT: u16 = 53;
/// Datagrams read from one socket in one go, so that a flood does not keep the others waiting.
const DATAGRAMS_MAX: usize = 64;

/// The look-up of one name.
pub struct Lookup {
    name: String,
    resolution: Resolution,
    /// One connected socket for each question, by its token: the kernel drops what others send.
    sockets: Vec<(u32, UdpSocket)>,
}

impl Lookup {
    /// Starts to look `name` up; `None`, with a line in the log, if it cannot be.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn start(now: Instant, name: &str, resolvers: &[IpAddr]) -> io::Result<Option<Self>> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        Ok(match Resolution::new(now, name, resolvers, &[], seed) {
            Ok(resolution) => {
                let (name, sockets) = (name.to_owned(), Vec::new());
                let mut lookup = Self {
                    name,
                    resolution,
                    sockets,
                };
                lookup.send(now);
                Some(lookup)
            }
            Err(error) => {
                log::info!("{name}: {error}");
                None
            }
        })
    }

    /// Whose.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its sockets, to wait on.
    pub fn sockets(&self) -> impl Iterator<Item = &UdpSocket> {
        self.sockets.iter().map(|(_, socket)| socket)
    }

    /// When [`Self::turn`] is due even if nothing arrives.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.resolution.poll_timeout()
    }

    /// Reads what has arrived, asks again when it is time, and says what was found once it is over:
    /// the addresses, none if there are none now.
    pub fn turn(&mut self, now: Instant) -> Option<Vec<IpAddr>> {
        for (token, socket) in &self.sockets {
            // One byte more than may be: what is longer is seen to be.
            let mut buffer = [0; UDP_MAX + 1];
            for _ in 0..DATAGRAMS_MAX {
                match socket.recv(&mut buffer) {
                    Ok(len) => {
                        let bytes = buffer.get(..len).unwrap_or_default();
                        self.resolution.handle_datagram(now, *token, bytes);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        self.resolution
                            .handle_failure(now, *token, &error.to_string());
                        break;
                    }
                }
            }
        }
        self.resolution.handle_timeout(now);
        self.send(now);
        match self.resolution.outcome()? {
            Ok(addresses) => Some(addresses),
            Err(error) => {
                log::info!("{}: {error}", self.name);
                Some(Vec::new())
            }
        }
    }

    fn send(&mut self, now: Instant) {
        while let Some(query) = self.resolution.poll_transmit() {
            let token = query.token;
            if let Err(error) = self.carry(&query) {
                self.resolution
                    .handle_failure(now, token, &error.to_string());
            }
        }
    }

    fn carry(&mut self, query: &Query) -> io::Result<()> {
        if query.transport == Transport::Tcp {
            return Err(io::Error::other("not asked over TCP"));
        }
        let known = self.sockets.iter().find(|(token, _)| *token == query.token);
        if let Some((_, socket)) = known {
            socket.send(&query.bytes)?;
            return Ok(());
        }
        let socket = connected(SocketAddr::new(query.resolver, PORT))?;
        socket.send(&query.bytes)?;
        self.sockets.push((query.token, socket));
        Ok(())
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A socket that sends to and hears from `peer` alone, from a port of the kernel's choice.
///
/// # Errors
/// If there is no way to the peer, or the kernel is out of sockets.
pub fn connected(peer: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(peer)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
