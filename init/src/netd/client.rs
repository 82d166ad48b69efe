//! The DHCP client over any smoltcp device: the lease, and when it is lost.

use std::time::Duration;

use connector_proto::local::{FromNetd, Lease, LeaseOrigin};
use connector_proto::time::Instant;
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, SocketHandle, SocketSet};
use smoltcp::phy::Device;
use smoltcp::socket::dhcpv4::{Event, RetryConfig, Socket};
use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Cidr};

use super::options;
use crate::lease::{LEASE_S_MAX, is_host};

/// Between two questions for a server: for the first seconds, for the first half minute, and then.
pub const DISCOVER_PACE: [(Duration, Duration); 3] = [
    (Duration::from_secs(4), Duration::from_secs(1)),
    (Duration::from_secs(30), Duration::from_secs(4)),
    (Duration::MAX, Duration::from_secs(16)),
];

/// Frames read in one go, so that a flood does not keep the client from its timers.
const FRAMES_MAX: usize = 64;

/// Largest DHCP message that is kept for its options.
const MESSAGE_MAX: usize = 1500;

/// A DHCP client on one NIC.
pub struct Client {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// What PID 1 was told; it uses the address until it is told otherwise.
    held_until: Option<Instant>,
    /// The link came back: the lease is held on to while the server is asked again.
    is_asking_again: bool,
    searching_since: Instant,
}

impl Client {
    /// A client that begins to search at once. `seed` makes its transaction ids.
    pub fn new(mac: [u8; 6], seed: u64, now: Instant, device: &mut impl Device) -> Self {
        let mut config = Config::new(EthernetAddress(mac).into());
        config.random_seed = seed;
        let interface = Interface::new(config, device, smol(now));
        let mut socket = Socket::new();
        socket.set_parameter_request_list(options::REQUESTED);
        // One message for the life of the process: the socket wants to borrow its buffer for ever.
        socket.set_receive_packet_buffer(Box::leak(vec![0; MESSAGE_MAX].into_boxed_slice()));
        socket.set_max_lease_duration(Some(smoltcp::time::Duration::from_secs(u64::from(
            LEASE_S_MAX,
        ))));
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(socket);
        Self {
            interface,
            sockets,
            handle,
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
    }

    /// Reads and writes what there is, and says what changed.
    pub fn poll(&mut self, now: Instant, device: &mut impl Device) -> Vec<FromNetd> {
        let mut changes = Vec::new();
        self.set_pace(now);
        // One frame at a time: the lease's options are those of the last message.
        for _ in 0..FRAMES_MAX {
            let result = self
                .interface
                .poll_ingress_single(smol(now), device, &mut self.sockets);
            changes.extend(self.poll_socket(now));
            if matches!(result, PollIngressSingleResult::None) {
                break;
            }
        }
        self.interface
            .poll_egress(smol(now), device, &mut self.sockets);
        changes.extend(self.poll_socket(now));
        if self.is_asking_again && self.held_until.is_some_and(|until| until <= now) {
            changes.push(self.lose(now));
        }
        changes
    }

    /// When to call [`Self::poll`] again, even if nothing comes in.
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let delay = self.interface.poll_delay(smol(now), &self.sockets);
        let at = delay.map(|delay| now + Duration::from(delay));
        let held_until = self.held_until.filter(|_| self.is_asking_again);
        at.into_iter().chain(held_until).min()
    }

    fn poll_socket(&mut self, now: Instant) -> Option<FromNetd> {
        let lease = match self.sockets.get_mut::<Socket<'_>>(self.handle).poll()? {
            Event::Configured(config) => {
                let options = config
                    .packet
                    .as_ref()
                    .map(options::read)
                    .unwrap_or_default();
                Lease {
                    address: config.address.address(),
                    prefix_len: config.address.prefix_len(),
                    router: config.router,
                    resolvers: config.dns_servers.iter().copied().map(Into::into).collect(),
                    ntp_servers: options.ntp_servers,
                    mtu: options.mtu,
                    lease_s: options.lease_s.min(LEASE_S_MAX),
                    hostname: None,
                    origin: LeaseOrigin::Dhcp {
                        server: config.server.identifier,
                    },
                }
            }
            Event::Deconfigured if self.held_until.is_none() || self.is_asking_again => {
                return None;
            }
            Event::Deconfigured => return Some(self.lose(now)),
        };
        self.use_address(&lease);
        self.held_until = Some(now + Duration::from_secs(u64::from(lease.lease_s)));
        self.is_asking_again = false;
        Some(FromNetd::Lease(lease))
    }

    fn lose(&mut self, now: Instant) -> FromNetd {
        self.held_until = None;
        self.is_asking_again = false;
        self.searching_since = now;
        self.interface
            .update_ip_addrs(|addresses| addresses.clear());
        FromNetd::Lost
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

fn smol(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::net::Ipv4Addr;

    use smoltcp::phy::{ChecksumCapabilities, DeviceCapabilities, Medium, RxToken, TxToken};
    use smoltcp::wire::{
        ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr,
        EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket,
        UdpRepr,
    };

    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
    const HOUR: u64 = 3600;

    #[test]
    fn a_lease_is_obtained_with_its_options() {
        let mut world = World::new();
        let changes = world.run(0);
        let [FromNetd::Lease(lease)] = changes.as_slice() else {
            panic!("{changes:?}")
        };
        assert_eq!(lease.address, ADDRESS);
        assert_eq!(lease.prefix_len, 24);
        assert_eq!(lease.router, Some(SERVER));
        assert_eq!(lease.mtu, Some(1400));
        assert_eq!(lease.lease_s, 3600);
        assert_eq!(
            lease.ntp_servers.as_slice(),
            [std::net::IpAddr::from([10, 0, 2, 9])]
        );
        assert_eq!(lease.origin, LeaseOrigin::Dhcp { server: SERVER });
    }

    #[test]
    fn a_lease_is_renewed_by_unicast_at_half_its_time() {
        let mut world = World::new();
        world.run(0);
        let renewed = world.run(HOUR / 2 + 1);
        assert!(
            matches!(renewed.as_slice(), [FromNetd::Lease(_)]),
            "{renewed:?}"
        );
        assert_eq!(world.device.unicast_requests, 1);
    }

    #[test]
    fn a_lease_that_nobody_renews_is_lost_at_its_end() {
        let mut world = World::new();
        world.run(0);
        world.device.is_silent = true;
        assert_eq!(world.run(HOUR - 1), []);
        assert_eq!(world.run(2), [FromNetd::Lost]);
    }

    #[test]
    fn a_link_that_comes_back_keeps_the_lease_until_its_end() {
        let mut world = World::new();
        world.run(0);
        world.device.is_silent = true;
        world.client.handle_carrier_up(world.now);
        assert_eq!(world.run(HOUR - 1), []);
        assert_eq!(world.run(2), [FromNetd::Lost]);
        world.device.is_silent = false;
        assert!(matches!(world.run(17).as_slice(), [FromNetd::Lease(_)]));
    }

    #[test]
    fn a_refused_renewal_loses_the_lease_at_once_and_searches_anew() {
        let mut world = World::new();
        world.run(0);
        world.device.refuses = true;
        assert_eq!(world.run(HOUR / 2 + 1), [FromNetd::Lost]);
    }

    #[test]
    fn the_search_goes_on_for_ever_at_a_bounded_pace() {
        let mut world = World::new();
        world.device.is_silent = true;
        assert_eq!(world.run(24 * HOUR), []);
        let asked = world.device.discovers;
        assert!((5_000..6_000).contains(&asked), "{asked}");
    }

    #[test]
    fn garbage_from_the_network_is_harmless() {
        let mut world = World::new();
        let mut state = 3_u32;
        for len in 0..600 {
            let mut frame = vec![0; len];
            for byte in &mut frame {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *byte = state.to_be_bytes()[0];
            }
            world.device.to_client.push_back(frame);
        }
        while !world.device.to_client.is_empty() {
            world.client.poll(world.now, &mut world.device);
        }
    }

    /// A client, its clock, and a network with one DHCP server.
    struct World {
        client: Client,
        device: Network,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            let mut device = Network::default();
            let now = Instant::from_micros(1_000_000);
            let client = Client::new(MAC, 1, now, &mut device);
            Self {
                client,
                device,
                now,
            }
        }

        /// Runs for so many seconds and returns what changed.
        fn run(&mut self, seconds: u64) -> Vec<FromNetd> {
            let end = self.now + Duration::from_secs(seconds);
            let mut changes = Vec::new();
            loop {
                changes.extend(self.client.poll(self.now, &mut self.device));
                if !self.device.to_client.is_empty() {
                    continue;
                }
                match self.client.poll_timeout(self.now) {
                    Some(at) if at <= end => {
                        self.now = at.max(self.now + Duration::from_millis(1));
                    }
                    _ => break,
                }
            }
            self.now = end;
            changes
        }
    }

    #[derive(Default)]
    struct Network {
        to_client: VecDeque<Vec<u8>>,
        is_silent: bool,
        refuses: bool,
        discovers: u32,
        unicast_requests: u32,
    }

    impl Network {
        /// What the server does with a frame of the client.
        fn take(&mut self, bytes: &[u8]) {
            let frame = EthernetFrame::new_checked(bytes).unwrap();
            match frame.ethertype() {
                EthernetProtocol::Arp => self.answer_arp(frame.payload()),
                EthernetProtocol::Ipv4 => self.answer_dhcp(frame.payload()),
                other => panic!("the client sent {other}"),
            }
        }

        fn answer_arp(&mut self, payload: &[u8]) {
            let packet = ArpPacket::new_checked(payload).unwrap();
            let ArpRepr::EthernetIpv4 {
                operation,
                source_protocol_addr,
                ..
            } = ArpRepr::parse(&packet).unwrap()
            else {
                panic!("not ARP for IPv4")
            };
            assert_eq!(operation, ArpOperation::Request);
            let reply = ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Reply,
                source_hardware_addr: EthernetAddress([2, 0, 0, 0, 0, 2]),
                source_protocol_addr: SERVER,
                target_hardware_addr: EthernetAddress(MAC),
                target_protocol_addr: source_protocol_addr,
            };
            let mut bytes = vec![0; 14 + reply.buffer_len()];
            let mut frame = EthernetFrame::new_unchecked(&mut bytes);
            ethernet(EthernetProtocol::Arp).emit(&mut frame);
            reply.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
            self.to_client.push_back(bytes);
        }

        fn answer_dhcp(&mut self, payload: &[u8]) {
            let ip = Ipv4Packet::new_checked(payload).unwrap();
            let is_unicast = ip.dst_addr() == SERVER;
            let udp = UdpPacket::new_checked(ip.payload()).unwrap();
            let packet = DhcpPacket::new_checked(udp.payload()).unwrap();
            let request = DhcpRepr::parse(&packet).unwrap();
            if request.message_type == DhcpMessageType::Discover {
                self.discovers += 1;
            } else if is_unicast {
                self.unicast_requests += 1;
            }
            if self.is_silent {
                return;
            }
            let message_type = match request.message_type {
                DhcpMessageType::Discover if self.refuses => return,
                DhcpMessageType::Discover => DhcpMessageType::Offer,
                _ if self.refuses => DhcpMessageType::Nak,
                _ => DhcpMessageType::Ack,
            };
            self.to_client.push_back(dhcp_frame(&DhcpRepr {
                message_type,
                your_ip: ADDRESS,
                server_ip: SERVER,
                server_identifier: Some(SERVER),
                router: Some(SERVER),
                subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
                lease_duration: Some(3600),
                parameter_request_list: None,
                max_size: None,
                client_identifier: None,
                requested_ip: None,
                additional_options: &[
                    DhcpOption {
                        kind: 26,
                        data: &[0x05, 0x78],
                    },
                    DhcpOption {
                        kind: 42,
                        data: &[10, 0, 2, 9],
                    },
                ],
                ..request
            }));
        }
    }

    fn dhcp_frame(repr: &DhcpRepr<'_>) -> Vec<u8> {
        let udp = UdpRepr {
            src_port: 67,
            dst_port: 68,
        };
        let ip = Ipv4Repr {
            src_addr: SERVER,
            dst_addr: Ipv4Addr::BROADCAST,
            next_header: IpProtocol::Udp,
            payload_len: 8 + repr.buffer_len(),
            hop_limit: 64,
        };
        let mut bytes = vec![0; 14 + ip.buffer_len() + ip.payload_len];
        let mut frame = EthernetFrame::new_unchecked(&mut bytes);
        ethernet(EthernetProtocol::Ipv4).emit(&mut frame);
        let mut packet = Ipv4Packet::new_unchecked(frame.payload_mut());
        ip.emit(&mut packet, &ChecksumCapabilities::default());
        udp.emit(
            &mut UdpPacket::new_unchecked(packet.payload_mut()),
            &SERVER.into(),
            &Ipv4Addr::BROADCAST.into(),
            repr.buffer_len(),
            |payload| repr.emit(&mut DhcpPacket::new_unchecked(payload)).unwrap(),
            &ChecksumCapabilities::default(),
        );
        bytes
    }

    fn ethernet(ethertype: EthernetProtocol) -> EthernetRepr {
        EthernetRepr {
            src_addr: EthernetAddress([2, 0, 0, 0, 0, 2]),
            dst_addr: EthernetAddress(MAC),
            ethertype,
        }
    }

    impl Device for Network {
        type RxToken<'a> = Frame;
        type TxToken<'a> = Wire<'a>;

        fn receive(&mut self, _now: smoltcp::time::Instant) -> Option<(Frame, Wire<'_>)> {
            let frame = self.to_client.pop_front()?;
            Some((Frame(frame), Wire(self)))
        }

        fn transmit(&mut self, _now: smoltcp::time::Instant) -> Option<Wire<'_>> {
            Some(Wire(self))
        }

        fn capabilities(&self) -> DeviceCapabilities {
            let mut capabilities = DeviceCapabilities::default();
            capabilities.medium = Medium::Ethernet;
            capabilities.max_transmission_unit = 1514;
            capabilities
        }
    }

    struct Frame(Vec<u8>);

    impl RxToken for Frame {
        fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
            f(&self.0)
        }
    }

    struct Wire<'a>(&'a mut Network);

    impl TxToken for Wire<'_> {
        fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
            let mut frame = vec![0; len];
            let result = f(&mut frame);
            self.0.take(&frame);
            result
        }
    }
}
