//! The virtual network: a thread that is everything a guest's network card can reach.
//!
//! ```text
//!  guest 10.77.0.15 ──┐           ┌── 10.77.0.1    router, DHCP server
//!                     ├─ switch ──┼── 10.77.0.53   resolver
//!  more guests ───────┘           ├── 10.77.0.123  time server
//!                                 ├── 10.77.0.80   the private application, port 80
//!                                 └── 203.0.113.10 the service edge, port 443: relayed to a
//!                                                  server on the host's loopback
//! ```
//!
//! More resolvers and time servers can be added, each with its own faults, and a proxy. With
//! [`Network::set_router`] the same hosts have IPv6 addresses too; see [`address`].
//!
//! Guests connect to a unix socket, as QEMU's `-netdev stream` does; no privileges are needed.
//! Nothing else exists: a packet to any other address is never answered, and one to another port
//! of a host that exists is refused.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use qemu::temp::TempDir;
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::OwnedFd;

use crate::pcap::Capture;

pub mod address;
pub mod service;

pub mod connect_proxy;
pub mod datagram;
pub mod dhcp;
pub mod dns;
pub mod hostile_dhcp;
pub mod http;
pub mod ntp;
pub mod resolver;
pub mod router;

pub mod link;
pub mod port;
pub mod segment;
pub mod vlan;
pub mod wire;

mod flow;
mod node;
mod servers;
mod settings;

pub use dhcp::LeaseTerms;
pub use ntp::TimeServer;
pub use resolver::Resolver;
pub use router::RouterTerms;
pub use settings::Faults;

use address::{EDGE, EDGE6, TIME_SERVER};
use http::RequestLog;
use node::Node;
use service::Answerer;
use settings::{Order, Settings, Shared};

/// A running virtual network. It ends when this is dropped.
#[derive(Debug)]
pub struct Network {
    folder: TempDir,
    shared: Arc<Mutex<Shared>>,
    wake: Arc<OwnedFd>,
    capture: Capture,
    requests: RequestLog,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Network {
    /// Starts a network whose frames are captured into the file `pcap`. The same `seed` loses the
    /// same frames.
    ///
    /// # Errors
    /// Those of creating a socket, the capture file or a thread.
    pub fn start(pcap: &Path, seed: u64) -> io::Result<Self> {
        let folder = TempDir::new("outgate-network")?;
        let listener = UnixListener::bind(folder.path().join(SOCKET))?;
        listener.set_nonblocking(true)?;
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let capture = Capture::create(pcap)?;
        let requests = RequestLog::default();
        let shared = Arc::new(Mutex::new(Shared {
            settings: Settings::new(&requests),
            orders: Vec::new(),
            edge_connections: 0,
            ended: false,
        }));
        let node = Node::new(
            listener,
            Arc::clone(&wake),
            Arc::clone(&shared),
            capture.clone(),
            seed,
        );
        let thread = thread::Builder::new()
            .name("virtual network".to_owned())
            .spawn(|| node.run())?;
        Ok(Self {
            folder,
            shared,
            wake,
            capture,
            requests,
            thread: Some(thread),
        })
    }

    /// The unix socket that guests connect to.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }

    /// Every frame.
    pub fn capture(&self) -> &Capture {
        &self.capture
    }

    /// The request lines that the private application received.
    pub fn application_requests(&self) -> Vec<String> {
        self.requests.lines()
    }

    /// Sets who is silent.
    pub fn set_faults(&self, faults: Faults) {
        self.change(|shared| shared.settings.faults = faults);
    }

    /// Changes who is silent.
    pub fn with_faults(&self, change: impl FnOnce(&mut Faults)) {
        self.change(|shared| change(&mut shared.settings.faults));
    }

    /// Where on the host the service edge listens.
    pub fn set_edge(&self, address: SocketAddr) {
        self.serve(EDGE, Answerer::Host(address));
        self.serve(EDGE6, Answerer::Host(address));
    }

    /// Resets all connections to the edge; new ones are possible.
    pub fn cut_edge_connections(&self) {
        self.cut_connections(EDGE);
        self.cut_connections(EDGE6);
    }

    /// Resets all connections to an address; new ones are possible.
    pub fn cut_connections(&self, address: impl Into<SocketAddr>) {
        let order = Order::Cut(address.into());
        self.change(|shared| shared.orders.push(order));
    }

    /// How many connections to the edge are open.
    pub fn edge_connections(&self) -> usize {
        self.lock().edge_connections
    }

    /// Lets `answerer` answer at an address and port, which may be a new host.
    pub fn serve(&self, address: impl Into<SocketAddr>, answerer: Answerer) {
        let address = address.into();
        self.change(|shared| {
            shared.settings.answerers.insert(address, answerer);
        });
    }

    /// Tells the resolvers a name's only address. Existing ones are replaced.
    pub fn set_name(&self, name: &str, address: impl Into<IpAddr>) {
        self.set_addresses(name, &[address.into()]);
    }

    /// Tells the resolvers a name's addresses. Existing ones are replaced.
    pub fn set_addresses(&self, name: &str, addresses: &[IpAddr]) {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.change(|shared| {
            shared.settings.names.insert(name, addresses.to_vec());
        });
    }

    /// Makes the resolvers answer each question for a name with the next of these addresses, and with the
    /// last one from then on.
    pub fn set_addresses_in_turn(&self, name: &str, addresses: &[Ipv4Addr]) {
        let turns: Vec<IpAddr> = addresses.iter().copied().map(IpAddr::from).collect();
        self.change(|shared| {
            shared.settings.turns.insert(name.to_owned(), turns);
            // It has none of the other family.
            shared.settings.names.insert(name.to_owned(), Vec::new());
        });
    }

    /// Makes the resolvers deny a name.
    pub fn remove_name(&self, name: &str) {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.change(|shared| {
            shared.settings.names.remove(&name);
        });
    }

    /// Sets how the resolver at an address behaves, which may be a new one.
    pub fn set_resolver(&self, address: impl Into<IpAddr>, resolver: Resolver) {
        let address = address.into();
        self.change(|shared| {
            shared.settings.resolvers.insert(address, resolver);
        });
    }

    /// Sets how the time server at an address behaves, which may be a new one.
    pub fn set_time_server(&self, address: impl Into<IpAddr>, server: TimeServer) {
        let address = address.into();
        self.change(|shared| {
            shared.settings.time_servers.insert(address, server);
        });
    }

    /// What the first time server adds to the host's clock, in milliseconds.
    pub fn set_clock_offset_ms(&self, offset_ms: i64) {
        self.set_time_server(TIME_SERVER, TimeServer::lying_by_ms(offset_ms));
    }

    /// Sets what the IPv6 router advertises, and advertises it; without a router the network has no
    /// IPv6.
    pub fn set_router(&self, terms: Option<RouterTerms>) {
        self.change(|shared| {
            shared.settings.router = terms;
            shared.orders.push(Order::Advertise);
        });
    }

    /// Has all frames of guests carry the tag of this VLAN; those without it go nowhere.
    pub fn set_vlan(&self, vlan: Option<u16>) {
        self.change(|shared| shared.settings.vlan = vlan);
    }

    /// Sends frames as they are to the guests they are addressed to, so far apart.
    pub fn send(&self, frames: Vec<Vec<u8>>, gap: Duration) {
        self.change(|shared| shared.orders.push(Order::Send { frames, gap }));
    }

    /// What new and renewed leases say.
    pub fn set_lease_terms(&self, terms: LeaseTerms) {
        self.change(|shared| shared.settings.lease_terms = terms);
    }

    /// How long a frame takes, one way.
    pub fn set_latency(&self, latency: Duration) {
        self.change(|shared| shared.settings.latency = latency);
    }

    /// How many frames in a thousand are lost, each way.
    pub fn set_loss_per_mille(&self, per_mille: u16) {
        self.change(|shared| shared.settings.loss_per_mille = per_mille);
    }

    fn change(&self, change: impl FnOnce(&mut Shared)) {
        change(&mut self.lock());
        // Fails only when the counter is at its end: then the thread wakes anyway.
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.change(|shared| shared.ended = true);
        let outcome = self.thread.take().map(JoinHandle::join);
        if let Some(Ok(Err(error))) = outcome
            && !thread::panicking()
        {
            panic!("the virtual network failed: {error}");
        }
    }
}

/// The socket's name in the network's folder.
const SOCKET: &str = "cable";
