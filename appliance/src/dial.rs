//! Opens a TCP connection without blocking: the first of a host's addresses that answers
//! (RFC 8305 section 5, "happy eyeballs").
//!
//! Addresses are tried in their order, [`ATTEMPT_DELAY`] apart, the next one at once when one fails.
//! So a path that leads nowhere, IPv6 without a route for instance, costs a quarter of a second and
//! not a time-out.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use connector_proto::time::Instant;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with, sockopt};

use crate::interest::{Interest, Watch};

/// How long one address may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(6);
/// How long an attempt has before the next one begins beside it (RFC 8305 section 8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Attempts under way at a time: each holds a descriptor, and a socket at a host that may be busy.
const ATTEMPTS_MAX: usize = 4;
/// How long unacknowledged data may wait before the kernel gives a connection up (`tcp(7)`), in
/// milliseconds. Longer than the keepalive of the control channel needs.
const USER_TIMEOUT_MS: u32 = 60_000;
/// Idle time before the kernel probes a peer that says nothing, below the shortest NAT timers.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// Time between the probes that follow; [`USER_TIMEOUT_MS`] after the first one the peer is given up.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// A connection being opened.
#[derive(Debug)]
pub struct Dial {
    port: u16,
    /// Attempts under way, the oldest first.
    attempts: Vec<Attempt>,
    /// Addresses not tried yet, the next one last.
    waiting: Vec<IpAddr>,
    /// When the next of them is tried, unless an attempt fails before.
    next_at: Instant,
    /// What the addresses said that were tried in vain.
    failures: Vec<(SocketAddr, Errno)>,
}

#[derive(Debug)]
struct Attempt {
    socket: OwnedFd,
    address: SocketAddr,
    deadline: Instant,
}

/// Why no address of a host could be connected to: the most telling of what they said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialError {
    /// An address that was tried.
    pub address: SocketAddr,
    /// What it said.
    pub errno: Errno,
    /// How many other addresses were tried, all in vain.
    pub others: usize,
}

impl DialError {
    /// Whether this process, or the machine, has as many descriptors open as it may.
    #[must_use]
    pub fn is_out_of_descriptors(&self) -> bool {
        matches!(self.errno, Errno::MFILE | Errno::NFILE)
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, port) = (self.address, self.address.port());
        match self.errno {
            Errno::CONNREFUSED => write!(
                f,
                "{address} refuses the connection: nothing listens there, or a firewall rejects it"
            ),
            Errno::TIMEDOUT => write!(f, "{address} does not answer: let TCP {port} out to it"),
            Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ADDRNOTAVAIL => {
                write!(f, "there is no route to {address}: check the gateway")
            }
            Errno::MFILE | Errno::NFILE => {
                write!(
                    f,
                    "{address}: too many connections are open here, try again"
                )
            }
            errno => write!(f, "{address}: {errno}"),
        }?;
        match self.others {
            0 => Ok(()),
            1 => f.write_str(" (another address failed, too)"),
            others => write!(f, " ({others} other addresses failed, too)"),
        }
    }
}

impl std::error::Error for DialError {}

/// Where a dial stands.
#[derive(Debug)]
pub enum Step {
    /// Not done yet.
    Pending(Dial),
    /// Connected: non-blocking, no delay, keepalive on.
    Connected(TcpStream, SocketAddr),
    /// Not connected.
    Failed(DialError),
}

/// Starts to connect to the first of `addresses` that answers on `port`; never connected at once.
/// Each address has six seconds, and four are tried at a time.
pub fn start(now: Instant, addresses: &[IpAddr], port: u16) -> Step {
    let dial = Dial {
        port,
        attempts: Vec::new(),
        waiting: addresses.iter().rev().copied().collect(),
        next_at: now,
        failures: Vec::new(),
    };
    dial.go_on(now)
}

impl Dial {
    /// Looks whether a connection is there.
    pub fn turn(mut self, now: Instant) -> Step {
        for attempt in std::mem::take(&mut self.attempts) {
            match attempt.state(now) {
                Ok(true) => return Step::Connected(attempt.socket.into(), attempt.address),
                Ok(false) => self.attempts.push(attempt),
                Err(errno) => self.fail(now, attempt.address, errno),
            }
        }
        self.go_on(now)
    }

    /// When [`Self::turn`] is due even if nothing happens.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let next = self.has_next().then_some(self.next_at);
        let ends = self.attempts.iter().map(|attempt| attempt.deadline);
        ends.chain(next).min().unwrap_or_default()
    }

    /// Adds the sockets to wait for.
    pub fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        for attempt in &self.attempts {
            watch.add(&attempt.socket, Interest::new(false, true));
        }
    }

    /// Begins the attempts that are due.
    fn go_on(mut self, now: Instant) -> Step {
        while now >= self.next_at && self.has_next() {
            if let Some(address) = self.waiting.pop() {
                self.attempt(now, SocketAddr::new(address, self.port));
            }
        }
        if self.attempts.is_empty() {
            Step::Failed(self.error())
        } else {
            Step::Pending(self)
        }
    }

    fn has_next(&self) -> bool {
        !self.waiting.is_empty() && self.attempts.len() < ATTEMPTS_MAX
    }

    fn attempt(&mut self, now: Instant, address: SocketAddr) {
        self.next_at = now + ATTEMPT_DELAY;
        match open(address) {
            Ok(socket) => self.attempts.push(Attempt {
                socket,
                address,
                deadline: now + ANSWER_MAX,
            }),
            Err(errno) => self.fail(now, address, errno),
        }
    }

    /// The next attempt need not wait for one that failed.
    fn fail(&mut self, now: Instant, address: SocketAddr, errno: Errno) {
        self.next_at = now;
        self.failures.push((address, errno));
    }

    /// The most telling failure: of a host that answered, then of one that could be asked.
    fn error(&self) -> DialError {
        let rank = |(_, errno): &&(SocketAddr, Errno)| match *errno {
            Errno::CONNREFUSED => 0,
            Errno::TIMEDOUT => 1,
            Errno::NETUNREACH | Errno::HOSTUNREACH | Errno::ADDRNOTAVAIL => 3,
            _ => 2,
        };
        // Without any address there is no route to one.
        let nowhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), self.port);
        let telling = self.failures.iter().min_by_key(rank);
        let (address, errno) = telling.copied().unwrap_or((nowhere, Errno::HOSTUNREACH));
        DialError {
            address,
            errno,
            others: self.failures.len().saturating_sub(1),
        }
    }
}

impl Attempt {
    /// Whether it is connected.
    fn state(&self, now: Instant) -> Result<bool, Errno> {
        if rustix::net::getpeername(&self.socket).is_ok() {
            return Ok(true);
        }
        sockopt::socket_error(&self.socket)??;
        if now < self.deadline {
            Ok(false)
        } else {
            Err(Errno::TIMEDOUT)
        }
    }
}

/// A non-blocking TCP socket that begins to connect.
pub(crate) fn open(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    sockopt::set_tcp_keepidle(&socket, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(&socket, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_user_timeout(&socket, USER_TIMEOUT_MS)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests;
