//! Opens a TCP connection without blocking, trying a host's addresses one after the other.

use std::fmt;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use connector_proto::time::Instant;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, ipproto, socket_with, sockopt};

use crate::interest::{Interest, Watch};

/// How long one address may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(6);
/// How long unacknowledged data may wait before the kernel gives a connection up (`tcp(7)`), in
/// milliseconds. Longer than the keepalive of the control channel needs.
const USER_TIMEOUT_MS: u32 = 60_000;
/// Idle time before the kernel probes a peer that says nothing, below the shortest NAT timers.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// A connection being opened.
#[derive(Debug)]
pub struct Dial {
    socket: OwnedFd,
    address: SocketAddr,
    /// Addresses to try after this one, the next one last.
    others: Vec<IpAddr>,
    deadline: Instant,
}

/// Why no address of a host could be connected to: what the last one said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialError {
    /// The last address tried.
    pub address: SocketAddr,
    /// What it said.
    pub errno: Errno,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address;
        match self.errno {
            Errno::CONNREFUSED => write!(f, "{address} refuses the connection"),
            Errno::TIMEDOUT => write!(f, "{address} does not answer"),
            Errno::NETUNREACH | Errno::HOSTUNREACH => write!(f, "there is no route to {address}"),
            errno => write!(f, "{address}: {errno}"),
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

/// Starts to connect to the first of `addresses` that answers on `port`.
pub fn start(now: Instant, addresses: &[IpAddr], port: u16) -> Step {
    let mut others: Vec<IpAddr> = addresses.iter().rev().copied().collect();
    let Some(first) = others.pop() else {
        let address = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), port);
        return Step::Failed(DialError {
            address,
            errno: Errno::HOSTUNREACH,
        });
    };
    dial(now, SocketAddr::new(first, port), others)
}

fn dial(now: Instant, address: SocketAddr, others: Vec<IpAddr>) -> Step {
    match open(address) {
        Ok(socket) => Step::Pending(Dial {
            socket,
            address,
            others,
            deadline: now + ANSWER_MAX,
        }),
        Err(errno) => next(now, DialError { address, errno }, others),
    }
}

fn next(now: Instant, error: DialError, mut others: Vec<IpAddr>) -> Step {
    match others.pop() {
        Some(other) => dial(now, SocketAddr::new(other, error.address.port()), others),
        None => Step::Failed(error),
    }
}

fn open(address: SocketAddr) -> Result<OwnedFd, Errno> {
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
    sockopt::set_tcp_user_timeout(&socket, USER_TIMEOUT_MS)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

impl Dial {
    /// Looks whether the connection is there.
    pub fn turn(self, now: Instant) -> Step {
        let failed = match sockopt::socket_error(&self.socket) {
            Ok(Ok(())) => match rustix::net::getpeername(&self.socket) {
                Ok(_) => return Step::Connected(TcpStream::from(self.socket), self.address),
                Err(_) if now < self.deadline => return Step::Pending(self),
                Err(_) => Errno::TIMEDOUT,
            },
            Ok(Err(errno)) | Err(errno) => errno,
        };
        next(
            now,
            DialError {
                address: self.address,
                errno: failed,
            },
            self.others,
        )
    }

    /// When [`Self::turn`] is due even if nothing happens.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Adds the socket to wait for.
    pub fn watch<'a>(&'a self, watch: &mut Watch<'a>, token: u64) {
        watch.add(token, &self.socket, Interest::new(false, true));
    }
}
