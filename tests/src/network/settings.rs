//! What the handle tells the network's thread.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use super::address::{
    APPLICATION, APPLICATION_NAME, APPLICATION6, EDGE, EDGE_NAME, EDGE6, RESOLVER, RESOLVER6,
    TIME_SERVER,
};
use super::dhcp::LeaseTerms;
use super::dns::{self, Names};
use super::http::{RequestLog, WebServer};
use super::ntp::TimeServer;
use super::resolver::{DnsOverTcp, Resolver};
use super::router::RouterTerms;
use super::service::Answerer;

/// Who is silent. Silence is what a firewall that drops looks like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// The DHCP server does not answer.
    pub dhcp_silent: bool,
    /// No resolver answers.
    pub dns_silent: bool,
    /// No time server answers.
    pub ntp_silent: bool,
    /// Nothing passes between guests and the edge's addresses; open connections hang.
    pub edge_silent: bool,
    /// Nothing passes at all, in either direction.
    pub partitioned: bool,
    /// Frames between guests and the edge that are longer than this vanish, as behind a router that
    /// neither splits packets nor says that they are too long.
    pub edge_frame_bytes_max: Option<usize>,
}

/// How the network behaves.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) faults: Faults,
    /// One way.
    pub(crate) latency: Duration,
    /// Frames in a thousand that are lost, each way.
    pub(crate) loss_per_mille: u16,
    /// All frames of guests carry the tag of this VLAN.
    pub(crate) vlan: Option<u16>,
    pub(crate) lease_terms: LeaseTerms,
    /// What the IPv6 router advertises, if there is one.
    pub(crate) router: Option<RouterTerms>,
    pub(crate) names: Names,
    /// Names whose IPv4 addresses are others at each question, over UDP; the last ones stay.
    pub(crate) turns: BTreeMap<String, Vec<IpAddr>>,
    pub(crate) resolvers: BTreeMap<IpAddr, Resolver>,
    pub(crate) time_servers: BTreeMap<IpAddr, TimeServer>,
    pub(crate) answerers: BTreeMap<SocketAddr, Answerer>,
}

impl Settings {
    /// An honest network with the private application, and an edge that refuses connections until
    /// someone says where it is. The names have IPv4 addresses only.
    pub(crate) fn new(log: &RequestLog) -> Self {
        let log = log.clone();
        let web = Answerer::service(move || WebServer::new(log.clone()));
        let nobody = Answerer::Host(NOBODY.into());
        Self {
            faults: Faults::default(),
            latency: Duration::ZERO,
            loss_per_mille: 0,
            vlan: None,
            lease_terms: LeaseTerms::default(),
            router: None,
            names: [
                (APPLICATION_NAME, *APPLICATION.ip()),
                (EDGE_NAME, *EDGE.ip()),
            ]
            .map(|(name, address)| (name.to_owned(), vec![address.into()]))
            .into(),
            turns: BTreeMap::new(),
            resolvers: [RESOLVER.into(), RESOLVER6.into()]
                .map(|address| (address, Resolver::default()))
                .into(),
            time_servers: [(TIME_SERVER.into(), TimeServer::HONEST)].into(),
            answerers: [
                (APPLICATION.into(), web.clone()),
                (APPLICATION6.into(), web),
                (EDGE.into(), nobody.clone()),
                (EDGE6.into(), nobody),
            ]
            .into(),
        }
    }

    /// Who answers TCP at an address and port.
    pub(crate) fn answerer(&self, to: SocketAddr) -> Option<Answerer> {
        self.answerers.get(&to).cloned().or_else(|| {
            let resolver = *self.resolvers.get(&to.ip())?;
            if to.port() != dns::PORT || self.faults.dns_silent || resolver.is_silent {
                return None;
            }
            let names = self.names.clone();
            Some(Answerer::service(move || {
                DnsOverTcp::new(resolver, names.clone())
            }))
        })
    }

    /// Whether a host with this address exists.
    pub(crate) fn has_host(&self, address: IpAddr) -> bool {
        self.answerers.keys().any(|known| known.ip() == address)
            || self.resolvers.contains_key(&address)
            || self.time_servers.contains_key(&address)
    }

    /// Whether a frame to or from this host vanishes.
    pub(crate) fn swallows(&self, host: IpAddr, frame_bytes: usize) -> bool {
        let max = self.faults.edge_frame_bytes_max;
        is_edge(host) && (self.faults.edge_silent || max.is_some_and(|most| frame_bytes > most))
    }
}

/// Whether this is one of the edge's addresses.
pub(crate) fn is_edge(host: IpAddr) -> bool {
    host == *EDGE.ip() || host == *EDGE6.ip()
}

/// The discard port of the host itself, where nobody listens.
const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);

/// Something the thread does once.
#[derive(Debug)]
pub(crate) enum Order {
    /// Reset the connections to this address.
    Cut(SocketAddr),
    /// Advertise the router.
    Advertise,
    /// Send these frames to the guests they are addressed to, so far apart.
    Send { frames: Vec<Vec<u8>>, gap: Duration },
}

/// Shared by handle and thread.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) orders: Vec<Order>,
    /// Open connections to the edge, as of the thread's last round.
    pub(crate) edge_connections: usize,
    pub(crate) ended: bool,
}
