//! What the handle tells the network's thread.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use super::address::{APPLICATION, APPLICATION_NAME, EDGE, EDGE_NAME};
use super::dhcp::LeaseTerms;
use super::http::{RequestLog, WebServer};
use super::service::Answerer;

/// Who is silent. Silence is what a firewall that drops looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// The DHCP server does not answer.
    pub dhcp_silent: bool,
    /// The resolver does not answer.
    pub dns_silent: bool,
    /// The time server does not answer.
    pub ntp_silent: bool,
    /// Nothing passes between guests and the edge's address; open connections hang.
    pub edge_silent: bool,
    /// Nothing passes at all, in either direction.
    pub partitioned: bool,
}

/// How the network behaves.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) faults: Faults,
    /// One way.
    pub(crate) latency: Duration,
    /// Frames in a thousand that are lost, each way.
    pub(crate) loss_per_mille: u16,
    /// What the time server adds to the host's clock.
    pub(crate) clock_offset_ms: i64,
    pub(crate) lease_terms: LeaseTerms,
    /// Lower case, without a dot at the end.
    pub(crate) names: BTreeMap<String, Ipv4Addr>,
    pub(crate) answerers: BTreeMap<SocketAddrV4, Answerer>,
}

impl Settings {
    /// An honest network with the private application, and an edge that refuses connections until
    /// someone says where it is.
    pub(crate) fn new(log: &RequestLog) -> Self {
        let log = log.clone();
        let web = Answerer::service(move || WebServer::new(log.clone()));
        Self {
            faults: Faults::default(),
            latency: Duration::ZERO,
            loss_per_mille: 0,
            clock_offset_ms: 0,
            lease_terms: LeaseTerms::default(),
            names: [
                (APPLICATION_NAME, *APPLICATION.ip()),
                (EDGE_NAME, *EDGE.ip()),
            ]
            .map(|(name, address)| (name.to_owned(), address))
            .into(),
            answerers: [(APPLICATION, web), (EDGE, Answerer::Host(NOBODY.into()))].into(),
        }
    }
}

/// The discard port of the host itself, where nobody listens.
const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);

/// Shared by handle and thread.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    /// Addresses whose connections are to be reset.
    pub(crate) cuts: Vec<SocketAddrV4>,
    /// Open connections to the edge, as of the thread's last round.
    pub(crate) edge_connections: usize,
    pub(crate) ended: bool,
}
