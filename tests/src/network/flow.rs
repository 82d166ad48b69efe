//! TCP connections that guests open, terminated here and joined to whoever answers.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};

use super::port::is_transient;
use super::service::{Answerer, Connection, Transmit};

/// Connections at the same time. Beyond it, new ones are refused.
const FLOWS_MAX: usize = 2048;

/// Bytes buffered per connection and direction, and so the TCP window.
const WINDOW_BYTES: usize = 64 << 10;

/// How long a server on the host may take to accept. Its kernel does that at once.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);

/// A connection's two ends: the guest's, and the one it dialled.
pub type FlowKey = (SocketAddr, SocketAddr);

/// All connections.
#[derive(Debug, Default)]
pub struct Flows {
    flows: HashMap<FlowKey, Flow>,
}

#[derive(Debug)]
struct Flow {
    handle: SocketHandle,
    peer: Peer,
    /// The guest's last byte was passed on, and the end told.
    guest_ended: bool,
    /// The peer's last byte was taken, and our direction closed.
    peer_ended: bool,
}

#[derive(Debug)]
enum Peer {
    Host(TcpStream),
    Service(Box<dyn Connection>),
}

impl Flows {
    /// Gets ready for a connection that a guest is about to open: `answerer` is asked first, and
    /// when it does not answer nothing listens, so that the guest is refused.
    pub fn arm(&mut self, sockets: &mut SocketSet<'static>, key: FlowKey, answerer: &Answerer) {
        if let Some(flow) = self.flows.get(&key) {
            let state = sockets.get::<Socket<'_>>(flow.handle).state();
            if !matches!(state, State::TimeWait | State::Closed) {
                // The request came twice.
                return;
            }
            self.remove(sockets, &key);
        }
        let Some(peer) = (self.flows.len() < FLOWS_MAX)
            .then(|| Peer::dial(answerer))
            .flatten()
        else {
            return;
        };
        let buffer = || SocketBuffer::new(vec![0; WINDOW_BYTES]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        if socket.listen(key.1).is_ok() {
            let handle = sockets.add(socket);
            let flow = Flow {
                handle,
                peer,
                guest_ended: false,
                peer_ended: false,
            };
            self.flows.insert(key, flow);
        }
    }

    /// Forgets what [`Self::arm`] made if the guest's request did not open it.
    pub fn disarm(&mut self, sockets: &mut SocketSet<'static>, key: &FlowKey) {
        let listens = |flow: &Flow| sockets.get::<Socket<'_>>(flow.handle).is_listening();
        if self.flows.get(key).is_some_and(listens) {
            self.remove(sockets, key);
        }
    }

    /// Moves bytes both ways for all connections, and forgets those that are over.
    pub fn pump(&mut self, sockets: &mut SocketSet<'static>) {
        let mut over = Vec::new();
        for (key, flow) in &mut self.flows {
            let socket = sockets.get_mut::<Socket<'_>>(flow.handle);
            if flow.is_over(socket) {
                over.push(*key);
            } else if flow.pump(socket).is_err() {
                // The peer is gone without an end: so is the connection for the guest.
                socket.abort();
            }
        }
        for key in over {
            self.remove(sockets, &key);
        }
    }

    /// Resets the connections to `address` for the guest, and ends them for the peer.
    pub fn cut(&mut self, sockets: &mut SocketSet<'static>, address: SocketAddr) {
        for (_, flow) in self.flows.iter_mut().filter(|(key, _)| key.1 == address) {
            sockets.get_mut::<Socket<'_>>(flow.handle).abort();
            if let Peer::Host(stream) = &flow.peer {
                // An error means that it is closed already.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// The descriptors to wait for, and for what.
    pub fn interests<'a>(
        &'a self,
        sockets: &'a SocketSet<'static>,
    ) -> impl Iterator<Item = (BorrowedFd<'a>, PollFlags)> {
        self.flows.values().filter_map(|flow| {
            let Peer::Host(stream) = &flow.peer else {
                return None;
            };
            let socket = sockets.get::<Socket<'_>>(flow.handle);
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, socket.can_send() && !flow.peer_ended);
            flags.set(PollFlags::OUT, socket.can_recv());
            (!flags.is_empty()).then(|| (stream.as_fd(), flags))
        })
    }

    /// How many connections to `address` are open.
    pub fn open_to(&self, sockets: &SocketSet<'static>, address: SocketAddr) -> usize {
        self.flows
            .iter()
            .filter(|(key, flow)| {
                let state = sockets.get::<Socket<'_>>(flow.handle).state();
                key.1 == address && matches!(state, State::Established | State::CloseWait)
            })
            .count()
    }

    fn remove(&mut self, sockets: &mut SocketSet<'static>, key: &FlowKey) {
        if let Some(flow) = self.flows.remove(key) {
            sockets.remove(flow.handle);
        }
    }
}

impl Flow {
    /// Closed, and the reset, if one was due, has been sent.
    fn is_over(&self, socket: &Socket<'_>) -> bool {
        socket.state() == State::Closed && socket.remote_endpoint().is_none()
    }

    fn pump(&mut self, socket: &mut Socket<'_>) -> io::Result<()> {
        if matches!(
            socket.state(),
            State::Listen | State::SynReceived | State::Closed
        ) {
            return Ok(());
        }
        self.pump_from_guest(socket)?;
        self.pump_to_guest(socket)
    }

    fn pump_from_guest(&mut self, socket: &mut Socket<'_>) -> io::Result<()> {
        while socket.can_recv() && self.peer.wants_input() {
            let sent = socket.recv(|bytes| match self.peer.send(bytes) {
                Ok(count) => (count, Ok(count)),
                Err(error) => (0, Err(error)),
            });
            match sent {
                Ok(Ok(0)) | Err(_) => break,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
            }
        }
        if !socket.may_recv() && !self.guest_ended {
            self.guest_ended = true;
            self.peer.finish();
        }
        Ok(())
    }

    fn pump_to_guest(&mut self, socket: &mut Socket<'_>) -> io::Result<()> {
        while socket.can_send() && !self.peer_ended {
            let received = socket.send(|buffer| match self.peer.receive(buffer) {
                Ok(Transmit::Bytes(count)) => (count, Ok(Transmit::Bytes(count))),
                other => (0, other),
            });
            match received {
                Ok(Ok(Transmit::Bytes(_))) => {}
                Ok(Ok(Transmit::Pending)) | Err(_) => break,
                Ok(Ok(Transmit::End)) => {
                    self.peer_ended = true;
                    socket.close();
                }
                Ok(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Peer {
    fn dial(answerer: &Answerer) -> Option<Self> {
        match answerer {
            Answerer::Host(address) => dial_host(*address).ok().map(Self::Host),
            Answerer::Service(make) => Some(Self::Service(make())),
        }
    }

    fn wants_input(&self) -> bool {
        match self {
            Self::Host(_) => true,
            Self::Service(connection) => connection.wants_input(),
        }
    }

    /// Takes bytes from the guest; zero when it cannot for now.
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Host(stream) => match stream.write(bytes) {
                Err(error) if is_transient(&error) => Ok(0),
                other => other,
            },
            Self::Service(connection) => {
                connection.receive(bytes);
                Ok(bytes.len())
            }
        }
    }

    /// The guest has closed its direction.
    fn finish(&mut self) {
        match self {
            // An error means that the host's side is closed, which reading reports.
            Self::Host(stream) => drop(stream.shutdown(Shutdown::Write)),
            Self::Service(connection) => connection.finish(),
        }
    }

    /// Bytes for the guest.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Transmit> {
        match self {
            Self::Host(stream) => match stream.read(buffer) {
                Ok(0) => Ok(Transmit::End),
                Ok(count) => Ok(Transmit::Bytes(count)),
                Err(error) if is_transient(&error) => Ok(Transmit::Pending),
                Err(error) => Err(error),
            },
            Self::Service(connection) => Ok(connection.transmit(buffer)),
        }
    }
}

fn dial_host(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, CONNECT_TIME_MAX)?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
