//! What an edge is started with, and its bounds.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use splice_core::plane;

/// Where an edge keeps its data and where it listens.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory that [`crate::authority::Authority::create`] made.
    pub data: DataDir,
    /// Where connectors dial in; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where users dial in; port 0 picks a free one.
    pub proxy: SocketAddr,
    /// How sessions are carried.
    pub plane: plane::Config,
}

/// A data directory and the places in it.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// The directory at `path`; nothing is read or made.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.0.join("edge.sqlite")
    }

    /// A key or certificate by its file name.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Held shared by every edge that serves this directory.
    pub(crate) fn serve_lock(&self) -> PathBuf {
        self.0.join("serve.lock")
    }
}

/// Connections that wait to be accepted, on each of the two ports: what Linux gives at most unless it is
/// told otherwise (`net.core.somaxconn`). Thousands of users may come at the same moment.
pub(crate) const BACKLOG: u32 = 4096;

/// From the first byte of a TLS handshake to its end. A slow line needs three round trips.
pub(crate) const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Connections that have not authenticated. Each holds about 20 KiB, so all of them 40 MiB; one
/// more ends the oldest, so that a flood of silent peers cannot shut a connector out.
pub(crate) const UNAUTHENTICATED_MAX: usize = 2048;

/// Connections of one connector that wait for its greeting's turn or have not named their session: a pool
/// of 256 warm channels, and some tries to come back. One more for each session that is being opened: all
/// its sessions may begin at once. An idle one costs the edge about 4 KB.
pub(crate) const WAITING_PER_CONNECTOR_MAX: usize = 256 + 16;

/// Bytes taken from a peer before it is authenticated.
pub(crate) const UNAUTHENTICATED_BYTES_MAX: usize = 16 * 1024;

/// How long a peer may leave the edge's bytes unread before it is given up.
pub(crate) const WRITE_MAX: Duration = Duration::from_secs(20);

/// How long a farewell is given to arrive before the socket is closed.
pub(crate) const LINGER_MAX: Duration = Duration::from_secs(1);

/// How long a greeting waits for another one of the same connector. It takes three operations of the
/// store and an answer of the incumbent, and leaves time for its own before the connector gives up.
pub(crate) const GREETING_TURN_MAX: Duration = Duration::from_secs(8);

/// Closes and questions that wait for one control channel's task.
pub(crate) const COMMANDS_MAX: usize = 64;

/// Grants that wait for one control channel's task. Whoever has one more waits for room.
pub(crate) const OFFERS_MAX: usize = 64;

/// Messages of one kind that a control channel is sent before it is looked at again what else is to do:
/// the largest take a quarter of its outgoing buffer.
pub(crate) const MESSAGES_PER_TURN: usize = 32;

/// How long a user waits for a connector that has come in and not yet stored its ratchet value: one
/// write to its disk and a round trip.
pub(crate) const READY_MAX: Duration = Duration::from_secs(2);

/// From the offer of a session to its data channel: a name look-up and a TCP connection with one
/// lost SYN each, and a TLS handshake.
pub(crate) const SESSION_OPEN_MAX: Duration = Duration::from_secs(15);

/// Users' connections at once, where there are descriptors for them: each session holds two, and about
/// 30 KB of the kernel's memory and the edge's.
pub(crate) const PROXY_CONNECTIONS_MAX: usize = 32_768;

/// Head of a user's request, in bytes.
pub(crate) const HEAD_MAX: usize = 16 * 1024;

/// Header fields of a user's request. Browsers send about twenty.
pub(crate) const HEADERS_MAX: usize = 64;

/// How long a user may take to send a request's head.
pub(crate) const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// How long a session may still drain when the edge stops.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(3);

/// How often the store is asked whether an administrator changed something, so that a revocation
/// closes a live tunnel within two seconds.
pub(crate) const STORE_POLL: Duration = Duration::from_secs(1);

/// How often `last_seen` of the connected connectors is written.
pub(crate) const SEEN_INTERVAL: Duration = Duration::from_secs(10);

/// A peer whose bytes are not acknowledged for this long is gone (TCP_USER_TIMEOUT).
pub(crate) const TCP_UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// An idle connection is probed this often (TCP keepalive).
pub(crate) const TCP_PROBE_INTERVAL: Duration = Duration::from_secs(30);
