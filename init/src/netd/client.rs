//! The DHCP client: the lease, and when it is lost. smoltcp's, with what a hostile server could do
//! with it held back.
//!
//! Pure: the caller hands in frames and the time ([`Client::handle_frame`], [`Client::handle_timeout`]
//! at [`Client::poll_timeout`]), and after each call drains [`Client::poll_transmit`] and
//! [`Client::poll_event`].

pub mod fuzz;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use connector_proto::local::{FromNetd, Lease, LeaseOrigin};
use connector_proto::time::Instant;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::dhcpv4::{Event, RetryConfig, Socket};
use smoltcp::wire::{DhcpOption, EthernetAddress, IpCidr, Ipv4Cidr};

use super::device::Wire;
use super::options::{self, Options};
use super::tame;
use crate::lease::{LEASE_S_MAX, LEASE_S_MIN, is_host};

/// Between two questions for a server: for the first seconds, for the first half minute, and then.
pub const DISCOVER_PACE: [(Duration, Duration); 3] = [
    (Duration::from_secs(4), Duration::from_secs(1)),
    (Duration::from_secs(30), Duration::from_secs(4)),
    (Duration::MAX, Duration::from_secs(16)),
];

/// For how long after a refusal nothing is heard: a server that offers and refuses in turn would
/// otherwise keep the client busy.
const REFUSAL_PAUSE: Duration = Duration::from_millis(500);

/// A DHCP client on one NIC.
pub struct Client {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    wire: Wire,
    events: VecDeque<FromNetd>,
    /// A question was sent since the last lease: answers to none are not heard.
    is_asked: bool,
    /// Nothing is heard before.
    deaf_until: Instant,
    /// What PID 1 was told; it uses the address until it is told otherwise.
    held_until: Option<Instant>,
    /// The link came back: the lease is held on to while the server is asked again.
    is_asking_again: bool,
    searching_since: Instant,
}

impl Client {
    /// A client that begins to search at the first [`Self::handle_timeout`]. `seed` makes its
    /// transaction ids; `hostname` is told to the server (option 12).
    #[must_use]
    pub fn new(mac: [u8; 6], seed: u64, hostname: Option<&str>, now: Instant) -> Self {
        let mut config = Config::new(EthernetAddress(mac).into());
        config.random_seed = seed;
        let mut wire = Wire::default();
        let interface = Interface::new(config, &mut wire, smol(now));
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket(hostname));
        Self {
            interface,
            sockets,
            handle,
            wire,
            events: VecDeque::new(),
            is_asked: false,
            deaf_until: now,
            held_until: None,
            is_asking_again: false,
            searching_since: now,
        }
    }

    /// The link came up, perhaps in another network: asks again. The lease holds meanwhile.
    pub fn handle_carrier_up(&mut self, now: Instant) {
        self.is_asking_again = self.held_until.is_some();
        self.searching_since = now;
        self.interface
            .update_ip_addrs(|addresses| addresses.clear());
        self.sockets.get_mut::<Socket<'_>>(self.handle).reset();
        self.handle_timeout(now);
    }

    /// Takes a frame that the packet socket's filter passed.
    pub fn handle_frame(&mut self, now: Instant, mut frame: Vec<u8>) {
        let mut options = Options::default();
        if let Some(place) = tame::find_message(&frame) {
            if !self.is_asked || now < self.deaf_until {
                return;
            }
            tame::clamp_times(&mut frame, place.clone());
            options = options::read(frame.get(place).unwrap_or_default());
        }
        if options.is_refusal {
            self.deaf_until = now + REFUSAL_PAUSE;
        }
        self.wire.incoming = Some(frame);
        self.interface
            .poll_ingress_single(smol(now), &mut self.wire, &mut self.sockets);
        self.wire.incoming = None;
        self.note_change(now, &options);
        self.handle_timeout(now);
    }

    /// Sends what is due, and ends a lease whose time is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.set_pace(now);
        let sent_before = self.wire.outgoing.len();
        self.interface
            .poll_egress(smol(now), &mut self.wire, &mut self.sockets);
        let mut sent = self.wire.outgoing.iter().skip(sent_before);
        self.is_asked |= sent.any(|frame| frame.get(12..14) == Some(&ETHERTYPE_IPV4));
        self.note_change(now, &Options::default());
        if self.is_asking_again && self.held_until.is_some_and(|until| until <= now) {
            self.lose(now);
        }
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.wire.outgoing.pop_front()
    }

    /// The next thing PID 1 is to be told.
    pub fn poll_event(&mut self) -> Option<FromNetd> {
        self.events.pop_front()
    }

    /// When to call [`Self::handle_timeout`] again, even if nothing comes in.
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let delay = self.interface.poll_delay(smol(now), &self.sockets);
        let at = delay.map(|delay| now + Duration::from(delay));
        let held_until = self.held_until.filter(|_| self.is_asking_again);
        at.into_iter().chain(held_until).min()
    }

    /// Notes what the socket made of the frame that has these options.
    fn note_change(&mut self, now: Instant, options: &Options) {
        let lease = match self.sockets.get_mut::<Socket<'_>>(self.handle).poll() {
            None => return,
            Some(Event::Configured(config)) => Lease {
                address: config.address.address(),
                prefix_len: config.address.prefix_len(),
                router: options.router,
                resolvers: config.dns_servers.iter().copied().map(Into::into).collect(),
                ntp_servers: options.ntp_servers.clone(),
                mtu: options.mtu,
                lease_s: options.lease_s.clamp(LEASE_S_MIN, LEASE_S_MAX),
                hostname: options.hostname.clone(),
                origin: LeaseOrigin::Dhcp {
                    server: config.server.identifier,
                },
            },
            Some(Event::Deconfigured) if self.held_until.is_none() || self.is_asking_again => {
                return;
            }
            Some(Event::Deconfigured) => return self.lose(now),
        };
        self.use_address(&lease);
        self.held_until = Some(now + Duration::from_secs(u64::from(lease.lease_s)));
        self.is_asking_again = false;
        self.is_asked = false;
        self.events.push_back(FromNetd::Lease(lease));
    }

    fn lose(&mut self, now: Instant) {
        self.held_until = None;
        self.is_asking_again = false;
        self.searching_since = now;
        self.interface
            .update_ip_addrs(|addresses| addresses.clear());
        self.events.push_back(FromNetd::Lost);
    }

    /// The client needs its address and gateway for one thing: to renew with a server by unicast.
    fn use_address(&mut self, lease: &Lease) {
        let address = IpCidr::Ipv4(Ipv4Cidr::new(lease.address, lease.prefix_len));
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            // There is room for more than one address, and the list is empty.
            let _ = addresses.push(address);
        });
        let routes = self.interface.routes_mut();
        routes.remove_default_ipv4_route();
        if let Some(router) = lease.router
            && is_host(router)
            && routes.add_default_ipv4_route(router).is_err()
        {
            log::warn!("no room for the route to {router}; renewals will be broadcast");
        }
    }

    fn set_pace(&mut self, now: Instant) {
        let searched_for = now.since(self.searching_since);
        let pace = DISCOVER_PACE
            .iter()
            .find(|(until, _)| searched_for < *until);
        let mut retry = RetryConfig::default();
        retry.discover_timeout = pace.map_or(DISCOVER_PACE[2].1, |(_, pace)| *pace).into();
        retry.initial_request_timeout = smoltcp::time::Duration::from_secs(2);
        self.sockets
            .get_mut::<Socket<'_>>(self.handle)
            .set_retry_config(retry);
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("held_until", &self.held_until)
            .finish_non_exhaustive()
    }
}

fn socket(hostname: Option<&str>) -> Socket<'static> {
    let mut socket = Socket::new();
    socket.set_parameter_request_list(options::REQUESTED);
    // Without a buffer a renewal that changes nothing would be no event. The options are read from
    // the frame itself, so it need not hold anything.
    socket.set_receive_packet_buffer(&mut []);
    if let Some(hostname) = hostname {
        // The socket borrows it for ever: some 100 bytes for each NIC that is found.
        let data = Box::leak(hostname.as_bytes().to_vec().into_boxed_slice());
        let kind = options::HOST_NAME;
        socket.set_outgoing_options(Box::leak(Box::new([DhcpOption { kind, data }])));
    }
    socket
}

fn smol(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// IPv4 in an Ethernet header: of the client's frames, those that are not ARP.
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
