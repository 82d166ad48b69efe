//! A guest without a machine: smoltcp's client end on a cable, for tests of the lab itself.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::{dhcpv4, tcp, udp};
use smoltcp::time::Instant as WireInstant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr};

use crate::network::port::Port;
use crate::network::wire::Wire;

/// Bytes a socket buffers each way.
const BUFFER_BYTES: usize = 64 << 10;

/// The guest's link-local address. There is one guest with IPv6 at a time, so it is unique.
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x15);

/// A lease, as the guest understood it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address and its prefix.
    pub address: Ipv4Cidr,
    /// The router.
    pub router: Option<Ipv4Addr>,
    /// The resolvers.
    pub resolvers: Vec<Ipv4Addr>,
}

/// A TCP connection of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream(SocketHandle);

/// A network card, a stack, and no machine around them. All waits have a limit.
pub struct Guest {
    port: Port,
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    began: Instant,
    next_port: u16,
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest")
            .field("address", &self.interface.ipv4_addr())
            .finish_non_exhaustive()
    }
}

impl Guest {
    /// Plugs a guest with this hardware address into the network's socket. It speaks IPv4.
    ///
    /// # Errors
    /// Those of connecting.
    pub fn plug(network: &Path, mac: [u8; 6]) -> io::Result<Self> {
        Self::plug_with(network, mac, false)
    }

    /// Plugs a guest that speaks IPv6 and asks for a router at once; see [`Self::form_address`].
    ///
    /// # Errors
    /// Those of connecting.
    pub fn plug_with_ipv6(network: &Path, mac: [u8; 6]) -> io::Result<Self> {
        Self::plug_with(network, mac, true)
    }

    fn plug_with(network: &Path, mac: [u8; 6], ipv6: bool) -> io::Result<Self> {
        let port = Port::new(UnixStream::connect(network)?)?;
        let mut wire = Wire::default();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
        config.slaac = ipv6;
        let mut interface = Interface::new(config, &mut wire, WireInstant::ZERO);
        if ipv6 {
            interface.update_ip_addrs(|addresses| {
                // The first one: there is room.
                let _ = addresses.push(IpCidr::new(LINK_LOCAL.into(), 64));
            });
        }
        let sockets = SocketSet::new(Vec::new());
        Ok(Self {
            port,
            wire,
            interface,
            sockets,
            began: Instant::now(),
            next_port: 50_000,
        })
    }

    /// Asks for a lease and takes it; None when none comes in time.
    ///
    /// # Errors
    /// When the network ends.
    pub fn take_lease(&mut self, timeout: Duration) -> io::Result<Option<Lease>> {
        let handle = self.sockets.add(dhcpv4::Socket::new());
        let lease = self.run_until(timeout, |guest| {
            match guest.sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll() {
                Some(dhcpv4::Event::Configured(config)) => Some(Lease {
                    address: config.address,
                    router: config.router,
                    resolvers: config.dns_servers.iter().copied().collect(),
                }),
                Some(dhcpv4::Event::Deconfigured) | None => None,
            }
        })?;
        self.sockets.remove(handle);
        if let Some(lease) = &lease {
            self.interface.update_ip_addrs(|addresses| {
                addresses.clear();
                // Just emptied: there is room for one.
                let _ = addresses.push(IpCidr::Ipv4(lease.address));
            });
            if let Some(router) = lease.router {
                // The only route there is: the table has room.
                let _ = self.interface.routes_mut().add_default_ipv4_route(router);
            }
        }
        Ok(lease)
    }

    /// Forms an IPv6 address as a router advertises (RFC 4862); None when none does in time.
    ///
    /// # Errors
    /// When the network ends.
    pub fn form_address(&mut self, timeout: Duration) -> io::Result<Option<Ipv6Addr>> {
        self.run_until(timeout, |guest| {
            guest.interface.ip_addrs().iter().find_map(|address| {
                match IpAddr::from(address.address()) {
                    IpAddr::V6(address) if address != LINK_LOCAL => Some(address),
                    IpAddr::V6(_) | IpAddr::V4(_) => None,
                }
            })
        })
    }

    /// Sends a datagram and returns the first answer; None when none comes in time.
    ///
    /// # Errors
    /// When the network ends, or the datagram is beyond what a socket takes.
    pub fn ask(
        &mut self,
        to: impl Into<SocketAddr>,
        question: &[u8],
        timeout: Duration,
    ) -> io::Result<Option<Vec<u8>>> {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 4096]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(self.free_port()).map_err(io::Error::other)?;
        socket
            .send_slice(question, to.into())
            .map_err(io::Error::other)?;
        let handle = self.sockets.add(socket);
        let answer = self.run_until(timeout, |guest| {
            let socket = guest.sockets.get_mut::<udp::Socket<'_>>(handle);
            socket.recv().ok().map(|(payload, _)| payload.to_vec())
        });
        self.sockets.remove(handle);
        answer
    }

    /// Opens a connection; None when it is refused, or not answered in time.
    ///
    /// # Errors
    /// When the network ends, or the address is none.
    pub fn connect(
        &mut self,
        to: impl Into<SocketAddr>,
        timeout: Duration,
    ) -> io::Result<Option<Stream>> {
        let stream = self.begin_connect(to)?;
        let open = self.run_until(timeout, |guest| match guest.state(stream) {
            tcp::State::SynSent => None,
            state => Some(state == tcp::State::Established || state == tcp::State::CloseWait),
        })?;
        if open == Some(true) {
            return Ok(Some(stream));
        }
        self.sockets.remove(stream.0);
        Ok(None)
    }

    /// Begins to open a connection, and does not wait.
    ///
    /// # Errors
    /// When the address is none.
    pub fn begin_connect(&mut self, to: impl Into<SocketAddr>) -> io::Result<Stream> {
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_BYTES]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.set_ack_delay(None);
        let port = self.free_port();
        socket
            .connect(self.interface.context(), to.into(), port)
            .map_err(io::Error::other)?;
        Ok(Stream(self.sockets.add(socket)))
    }

    /// Sends all of `bytes` and, with `finish`, closes this direction; then reads until the other
    /// side closes or `enough` says so. None when that takes too long.
    ///
    /// # Errors
    /// `ConnectionReset` when it is, or when the network ends.
    pub fn converse(
        &mut self,
        stream: Stream,
        bytes: &[u8],
        finish: bool,
        timeout: Duration,
        enough: impl Fn(&[u8]) -> bool,
    ) -> io::Result<Option<Vec<u8>>> {
        let (mut sent, mut received) = (0, Vec::new());
        self.run_until(timeout, |guest| {
            let socket = guest.sockets.get_mut::<tcp::Socket<'_>>(stream.0);
            sent += socket.send_slice(&bytes[sent..]).unwrap_or(0);
            if sent == bytes.len() && finish {
                socket.close();
            }
            while socket.can_recv() {
                let taken = socket.recv(|data| {
                    received.extend_from_slice(data);
                    (data.len(), ())
                });
                if taken.is_err() {
                    break;
                }
            }
            let ended = !socket.may_recv() && socket.state() != tcp::State::SynSent;
            if ended && socket.state() == tcp::State::Closed {
                // An orderly end passes through other states first.
                return Some(Err(io::ErrorKind::ConnectionReset.into()));
            }
            (ended || (sent == bytes.len() && enough(&received)))
                .then(|| Ok(std::mem::take(&mut received)))
        })?
        .transpose()
    }

    /// The state of a connection.
    pub fn state(&self, stream: Stream) -> tcp::State {
        self.sockets.get::<tcp::Socket<'_>>(stream.0).state()
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// When the network ends.
    pub fn send_frame(&mut self, frame: &[u8]) -> io::Result<()> {
        self.port.send(frame);
        self.port.flush()
    }

    /// Runs the stack until `done` yields something; None when the time is over.
    ///
    /// # Errors
    /// When the network ends.
    pub fn run_until<T>(
        &mut self,
        timeout: Duration,
        mut done: impl FnMut(&mut Self) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let deadline = Instant::now() + timeout;
        loop {
            self.poll_stack()?;
            let outcome = done(self);
            // What `done` queued or took goes out before anyone waits.
            self.poll_stack()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if outcome.is_some() || left.is_zero() {
                return Ok(outcome);
            }
            self.wait(left)?;
        }
    }

    fn poll_stack(&mut self) -> io::Result<()> {
        let now = self.now();
        self.interface.poll(now, &mut self.wire, &mut self.sockets);
        while let Some(frame) = self.wire.outgoing.pop_front() {
            self.port.send(&frame);
        }
        self.port.flush()
    }

    fn wait(&mut self, most: Duration) -> io::Result<()> {
        let now = self.now();
        let stack = self
            .interface
            .poll_delay(now, &self.sockets)
            .map(Duration::from);
        let timeout = stack.map_or(most, |delay| delay.min(most));
        let mut flags = PollFlags::IN;
        flags.set(PollFlags::OUT, self.port.wants_write());
        let readable = {
            let mut fds = [PollFd::from_borrowed_fd(self.port.as_fd(), flags)];
            let timeout = Timespec {
                tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(timeout.subsec_nanos()),
            };
            poll(&mut fds, Some(&timeout))?;
            !fds[0].revents().difference(PollFlags::OUT).is_empty()
        };
        if readable {
            let incoming = &mut self.wire.incoming;
            self.port.receive(|frame| incoming.push_back(frame))?;
        }
        Ok(())
    }

    fn free_port(&mut self) -> u16 {
        self.next_port += 1;
        self.next_port
    }

    fn now(&self) -> WireInstant {
        let micros = i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX);
        WireInstant::from_micros(micros)
    }
}
