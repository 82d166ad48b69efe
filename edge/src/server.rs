//! An edge that runs: what its parts share, how it starts and how it stops.

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use log::{info, warn};
use rustix::net::sockopt;
use splice_core::plane::{self, Plane};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::acceptor::Waiting;
use crate::authority::{Authority, open_store};
use crate::broker::Broker;
use crate::config::{
    BACKLOG, Config, DRAIN_MAX, DataDir, TCP_PROBE_INTERVAL, TCP_UNACKNOWLEDGED_MAX,
};
use crate::passwords::Passwords;
use crate::store::Store;
use crate::tls::Setup;
use crate::{Error, acceptor, clock, descriptors, housekeeping, ingress};

/// What every connection of an edge works with.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) data: DataDir,
    pub(crate) store: Arc<Store>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) tls: Setup,
    pub(crate) broker: Arc<Broker>,
    pub(crate) passwords: Passwords,
    pub(crate) plane: Arc<Plane>,
    /// The connections that serve nobody yet.
    pub(crate) waiting: Arc<Waiting>,
}

/// Held by every task that the edge awaits before it stops.
pub(crate) type Alive = mpsc::Sender<Infallible>;

/// Returns when the edge stops.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the edge was dropped without being stopped: the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Starts edges.
#[derive(Debug)]
pub struct Edge;

/// An edge that runs. Dropping it leaves its tasks to the runtime; [`Running::stop`] ends them.
#[derive(Debug)]
pub struct Running {
    /// Where connectors dial in.
    pub control_addr: SocketAddr,
    /// Where users dial in.
    pub proxy_addr: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    all_gone: mpsc::Receiver<Infallible>,
    /// Shared by all edges on one data directory; while nobody holds it, nobody is connected.
    _serving: File,
}

impl Edge {
    /// Opens the data directory and listens.
    ///
    /// # Errors
    /// [`Error::DataDir`] if there is no edge; [`Error::Io`] if an address is taken; what else is
    /// wrong with the directory.
    pub async fn start(config: Config) -> Result<Running, Error> {
        let Config {
            data,
            listen,
            proxy,
            plane,
        } = config;
        let opened = tokio::task::spawn_blocking(move || open(data, plane)).await;
        let panicked = |_| Error::DataDir {
            problem: "opening the data directory panicked".into(),
        };
        let (shared, serving) = opened.map_err(panicked)??;
        let shared = Arc::new(shared);
        let connectors = bind(listen)?;
        let users = bind(proxy)?;
        let address = |listener: &TcpListener| {
            listener
                .local_addr()
                .map_err(Error::io("reading the address listened on"))
        };
        let (control_addr, proxy_addr) = (address(&connectors)?, address(&users)?);

        let (stop, stopped) = watch::channel(false);
        let (alive, all_gone) = mpsc::channel(1);
        let (for_users, until) = (Arc::clone(&shared), stopped.clone());
        tokio::spawn(ingress::run(users, for_users, until, alive.clone()));
        tokio::spawn(housekeeping::run(Arc::clone(&shared), stopped.clone()));
        tokio::spawn(acceptor::run(
            connectors,
            Arc::clone(&shared),
            stopped,
            alive,
        ));
        info!(
            "serving connectors on {control_addr} and users on {proxy_addr}; sessions are carried by {}",
            plane.engine
        );
        Ok(Running {
            control_addr,
            proxy_addr,
            shared,
            stop,
            all_gone,
            _serving: serving,
        })
    }
}

impl Running {
    /// Tells connectors that the edge goes away, ends sessions, and returns when all is said or
    /// three seconds are over.
    pub async fn stop(mut self) {
        info!("stopping");
        self.stop.send_replace(true);
        self.shared.broker.stop();
        if timeout(DRAIN_MAX, self.all_gone.recv()).await.is_err() {
            warn!("connections were left after {} s", DRAIN_MAX.as_secs());
        }
    }

    /// The edge's store.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }
}

fn open(data: DataDir, plane: plane::Config) -> Result<(Shared, File), Error> {
    let store = Arc::new(open_store(&data)?);
    let authority = Arc::new(Authority::open(&data, &store)?);
    let leaf = authority.leaf(&data, &store, clock::unix_now())?;
    let tls = Setup::new(&authority.roots(), &leaf)?;
    let passwords = Passwords::new(Arc::clone(&store))?;
    let serving = lock(&data, &store)?;
    let broker = Arc::default();
    let plane = Plane::start(plane).map_err(Error::io("starting the data plane"))?;
    let waiting = Waiting::new(descriptors::strangers_max());
    Ok((
        Shared {
            data,
            store,
            authority,
            tls,
            broker,
            passwords,
            plane,
            waiting,
        },
        serving,
    ))
}

/// Notes that this directory is served. An edge that is alone on it knows that nobody is connected.
fn lock(data: &DataDir, store: &Store) -> Result<File, Error> {
    let file = lock_file(data)?;
    if file.try_lock().is_ok() {
        store.set_all_disconnected()?;
    }
    file.lock_shared()
        .map_err(Error::io("locking the data directory"))?;
    Ok(file)
}

/// Whether an edge serves this directory now.
pub(crate) fn is_served(data: &DataDir) -> Result<bool, Error> {
    Ok(lock_file(data)?.try_lock().is_err())
}

fn lock_file(data: &DataDir) -> Result<File, Error> {
    let path = data.serve_lock();
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    opened.map_err(Error::io(format!("opening {}", path.display())))
}

fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    let listening = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        socket.set_reuseaddr(true)?;
        watch_peers(&socket)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listening().map_err(Error::io(format!("listening on {address}")))
}

/// Lets the system notice a peer that is gone without a word, and send what is written at once. A connection
/// has all this from the socket that it is accepted on: asked for once, and not of each connection.
fn watch_peers(socket: &TcpSocket) -> io::Result<()> {
    let unacknowledged = u32::try_from(TCP_UNACKNOWLEDGED_MAX.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_tcp_user_timeout(socket, unacknowledged)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, TCP_PROBE_INTERVAL)?;
    sockopt::set_tcp_keepintvl(socket, TCP_PROBE_INTERVAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn every_connection_that_is_accepted_notices_a_peer_that_is_gone() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let listener = bind(any.parse().unwrap()).unwrap();
            let dialling = TcpStream::connect(listener.local_addr().unwrap());
            let (accepted, dialled) = tokio::join!(listener.accept(), dialling);
            let (accepted, _) = accepted.unwrap();
            dialled.unwrap();
            assert!(accepted.nodelay().unwrap());
            assert!(sockopt::socket_keepalive(&accepted).unwrap());
            assert_eq!(
                sockopt::tcp_keepidle(&accepted).unwrap(),
                TCP_PROBE_INTERVAL
            );
            assert_eq!(
                sockopt::tcp_keepintvl(&accepted).unwrap(),
                TCP_PROBE_INTERVAL
            );
            let unacknowledged = sockopt::tcp_user_timeout(&accepted).unwrap();
            assert_eq!(
                u128::from(unacknowledged),
                TCP_UNACKNOWLEDGED_MAX.as_millis()
            );
        }
    }
}
