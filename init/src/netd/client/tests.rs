//! The client against a network with one DHCP server, on a clock of its own.

use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress,
    EthernetFrame, EthernetProtocol, EthernetRepr, Ipv4Packet, UdpPacket,
};

use super::fuzz::{ACK, ADDRESS, MAC, NAK, OFFER, SERVER, SERVER_MAC, answer, fuzz_dhcp_client};
use super::*;
use std::net::Ipv4Addr;

const HOUR: u64 = 3600;

/// Router, MTU, NTP server, name, and a lease of an hour.
const HONEST: &[u8] = &[
    3, 4, 10, 0, 2, 2, 26, 2, 0x05, 0x78, 42, 4, 10, 0, 2, 9, 12, 4, b'm', b'-', b'0', b'1', 51, 4,
    0, 0, 0x0e, 0x10,
];

#[test]
fn a_lease_is_obtained_with_its_options() {
    let mut world = World::new();
    let lease = only_lease(&world.run(0));
    assert_eq!(lease.address, ADDRESS);
    assert_eq!(lease.prefix_len, 24);
    assert_eq!(lease.router, Some(SERVER));
    assert_eq!(lease.mtu, Some(1400));
    assert_eq!(lease.lease_s, 3600);
    assert_eq!(lease.hostname.as_deref(), Some("m-01"));
    assert_eq!(
        lease.ntp_servers.as_slice(),
        [std::net::IpAddr::from([10, 0, 2, 9])]
    );
    assert_eq!(lease.origin, LeaseOrigin::Dhcp { server: SERVER });
}

#[test]
fn the_host_name_is_told_to_the_server() {
    let mut world = World::new();
    world.run(0);
    assert_eq!(
        world.server.told_name.as_deref(),
        Some(b"mumbai".as_slice())
    );
}

#[test]
fn a_lease_is_renewed_by_unicast_at_half_its_time() {
    let mut world = World::new();
    world.run(0);
    assert_eq!(only_lease(&world.run(HOUR / 2 + 1)).address, ADDRESS);
    assert_eq!(world.server.unicast_requests, 1);
}

#[test]
fn a_lease_whose_server_is_gone_is_renewed_with_any_other() {
    let mut world = World::new();
    world.run(0);
    world.server.hears_broadcast_only = true;
    assert_eq!(world.run(HOUR * 7 / 8 - 1), []);
    assert_eq!(only_lease(&world.run(2)).address, ADDRESS);
}

#[test]
fn a_lease_that_nobody_renews_is_lost_at_its_end() {
    let mut world = World::new();
    world.run(0);
    world.server.is_silent = true;
    assert_eq!(world.run(HOUR - 1), []);
    assert_eq!(world.run(2), [FromNetd::Lost]);
}

#[test]
fn a_link_that_comes_back_keeps_the_lease_until_its_end() {
    let mut world = World::new();
    world.run(0);
    world.server.is_silent = true;
    world.client.handle_carrier_up(world.now);
    assert_eq!(world.run(HOUR - 1), []);
    assert_eq!(world.run(2), [FromNetd::Lost]);
    world.server.is_silent = false;
    only_lease(&world.run(17));
}

#[test]
fn a_link_that_comes_back_in_another_network_gets_another_address_at_once() {
    let mut world = World::new();
    world.run(0);
    world.server.address = Ipv4Addr::new(10, 0, 2, 77);
    world.client.handle_carrier_up(world.now);
    let lease = only_lease(&world.run(1));
    assert_eq!(lease.address, Ipv4Addr::new(10, 0, 2, 77));
}

#[test]
fn a_link_that_flaps_while_the_server_is_silent_never_loses_the_lease_early() {
    let mut world = World::new();
    world.run(0);
    world.server.is_silent = true;
    for _ in 0..50 {
        world.client.handle_carrier_up(world.now);
        assert_eq!(world.run(60), []);
    }
    assert_eq!(world.run(HOUR - 50 * 60 + 1), [FromNetd::Lost]);
}

#[test]
fn a_refused_renewal_loses_the_lease_at_once_and_searches_anew() {
    let mut world = World::new();
    world.run(0);
    world.server.refuses = true;
    assert_eq!(world.run(HOUR / 2 + 1), [FromNetd::Lost]);
    world.server.refuses = false;
    only_lease(&world.run(5));
}

#[test]
fn a_server_that_offers_and_refuses_in_turn_is_asked_at_a_bounded_pace() {
    let mut world = World::new();
    world.server.offers = Some(HONEST.to_vec());
    world.server.refuses = true;
    assert_eq!(world.run(HOUR), []);
    let asked = world.server.discovers;
    assert!((200..600).contains(&asked), "{asked}");
}

#[test]
fn the_search_goes_on_for_ever_at_a_bounded_pace() {
    let mut world = World::new();
    world.server.is_silent = true;
    assert_eq!(world.run(24 * HOUR), []);
    let asked = world.server.discovers;
    assert!((5_000..6_000).contains(&asked), "{asked}");
}

#[test]
fn a_lease_of_a_second_is_held_for_a_minute_and_renewed_at_half_of_it() {
    for lease in [[0, 0, 0, 0], [0, 0, 0, 1]] {
        let mut world = World::new();
        let mut options = vec![58, 4, 0, 0, 0, 0, 59, 4, 0, 0, 0, 1, 51, 4];
        options.extend(lease);
        world.server.options = options;
        assert_eq!(only_lease(&world.run(0)).lease_s, 60);
        let renewals = world.run(600).len();
        assert!((19..=20).contains(&renewals), "{renewals}");
    }
}

#[test]
fn a_lease_for_ever_is_renewed_within_a_day() {
    let mut world = World::new();
    world.server.options = vec![51, 4, 255, 255, 255, 255];
    assert_eq!(only_lease(&world.run(0)).lease_s, 86_400);
    assert_eq!(world.run(12 * HOUR + 1).len(), 1);
}

#[test]
fn options_that_would_add_routes_change_nothing() {
    let mut world = World::new();
    let honest = only_lease(&world.run(0));
    let mut world = World::new();
    // 0.0.0.0/1 and 192.0.2.0/24 by 10.0.2.66, in the three ways there are.
    for kind in [33, 121, 249] {
        let routes = [1, 0, 10, 0, 2, 66, 24, 192, 0, 2, 10, 0, 2, 66];
        world.server.options.extend([kind, 14]);
        world.server.options.extend(routes);
    }
    assert_eq!(only_lease(&world.run(0)), honest);
}

#[test]
fn options_that_fill_the_message_change_nothing() {
    let mut world = World::new();
    for kind in [12, 6, 42, 3, 224] {
        world.server.options.extend([kind, 230]);
        world.server.options.extend([b'-'; 230]);
    }
    let lease = only_lease(&world.run(0));
    assert_eq!(lease.address, ADDRESS);
    assert_eq!(lease.hostname, None);
}

#[test]
fn an_answer_to_no_question_is_not_heard() {
    let mut world = World::new();
    world.client.handle_timeout(world.now);
    let question = world.client.poll_transmit().unwrap();
    let discover = answer(&question, OFFER, HONEST).unwrap();
    world.client.handle_frame(world.now, discover);
    let question = world.client.poll_transmit().unwrap();
    for (kind, events) in [(ACK, 1), (ACK, 0), (NAK, 0)] {
        let frame = answer(&question, kind, HONEST).unwrap();
        world.client.handle_frame(world.now, frame);
        let told = std::iter::from_fn(|| world.client.poll_event()).count();
        assert_eq!(told, events, "{kind}");
    }
}

#[test]
fn ten_thousand_random_frames_are_no_lease_and_no_panic() {
    let mut world = World::new();
    world.server.is_silent = true;
    let mut random = Random(3);
    for round in 0..10_000 {
        let mut frame = vec![0; round % 1514];
        frame.fill_with(|| random.byte());
        if let Some(headers) = frame.get_mut(..42) {
            // Every other frame gets as far as the client's port.
            if round % 2 == 0 {
                let mut message = vec![0; 300];
                message.fill_with(|| random.byte());
                headers.copy_from_slice(&fuzz::frame(&message)[..42]);
            }
        }
        world.client.handle_frame(world.now, frame);
        assert_eq!(world.client.poll_event(), None);
    }
    world.server.is_silent = false;
    only_lease(&world.run(17));
}

#[test]
fn random_options_of_real_answers_are_harmless() {
    let mut random = Random(5);
    for round in 0..3_000 {
        let mut options = vec![0; round % 400];
        options.fill_with(|| random.byte() & if round % 3 == 0 { 0xff } else { 0x3f });
        fuzz_dhcp_client(&options);
    }
}

/// A client, its clock, and a network with one DHCP server.
struct World {
    client: Client,
    server: Server,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let now = Instant::from_micros(1_000_000);
        Self {
            client: Client::new(MAC, 1, Some("mumbai"), now),
            server: Server::default(),
            now,
        }
    }

    /// Runs for so many seconds and returns what changed.
    fn run(&mut self, seconds: u64) -> Vec<FromNetd> {
        let end = self.now + Duration::from_secs(seconds);
        loop {
            self.client.handle_timeout(self.now);
            while let Some(sent) = self.client.poll_transmit() {
                if let Some(answer) = self.server.take(&sent) {
                    self.client.handle_frame(self.now, answer);
                }
            }
            match self.client.poll_timeout(self.now) {
                Some(at) if at <= end => {
                    self.now = at.max(self.now + Duration::from_millis(1));
                }
                _ => break,
            }
        }
        self.now = end;
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }
}

struct Server {
    address: Ipv4Addr,
    options: Vec<u8>,
    /// The options of offers, which it makes although it refuses.
    offers: Option<Vec<u8>>,
    is_silent: bool,
    refuses: bool,
    hears_broadcast_only: bool,
    told_name: Option<Vec<u8>>,
    discovers: u32,
    unicast_requests: u32,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            address: ADDRESS,
            options: HONEST.to_vec(),
            offers: None,
            is_silent: false,
            refuses: false,
            hears_broadcast_only: false,
            told_name: None,
            discovers: 0,
            unicast_requests: 0,
        }
    }
}

impl Server {
    /// What the server answers to a frame of the client.
    fn take(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let frame = EthernetFrame::new_checked(bytes).unwrap();
        match frame.ethertype() {
            EthernetProtocol::Arp => Some(arp_reply(frame.payload())),
            EthernetProtocol::Ipv4 => self.take_dhcp(bytes, frame.payload()),
            other => panic!("the client sent {other}"),
        }
    }

    fn take_dhcp(&mut self, bytes: &[u8], payload: &[u8]) -> Option<Vec<u8>> {
        let ip = Ipv4Packet::new_checked(payload).unwrap();
        let is_unicast = ip.dst_addr() == SERVER;
        let udp = UdpPacket::new_checked(ip.payload()).unwrap();
        let packet = DhcpPacket::new_checked(udp.payload()).unwrap();
        let is_discover =
            DhcpRepr::parse(&packet).unwrap().message_type == DhcpMessageType::Discover;
        let name = packet.options().find(|option| option.kind == 12);
        self.told_name = name.map(|option| option.data.to_vec());
        self.discovers += u32::from(is_discover);
        self.unicast_requests += u32::from(is_unicast);
        if self.is_silent || (is_unicast && self.hears_broadcast_only) {
            return None;
        }
        let options = self.offers.as_ref().unwrap_or(&self.options);
        let mut answer = match (is_discover, self.refuses) {
            (true, true) => answer(bytes, OFFER, self.offers.as_ref()?)?,
            (true, false) => answer(bytes, OFFER, options)?,
            (false, true) => answer(bytes, NAK, &[])?,
            (false, false) => answer(bytes, ACK, options)?,
        };
        // yiaddr; the sum is not checked.
        answer[42 + 16..42 + 20].copy_from_slice(&self.address.octets());
        Some(answer)
    }
}

fn arp_reply(payload: &[u8]) -> Vec<u8> {
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
        source_hardware_addr: EthernetAddress(SERVER_MAC),
        source_protocol_addr: SERVER,
        target_hardware_addr: EthernetAddress(MAC),
        target_protocol_addr: source_protocol_addr,
    };
    let mut bytes = vec![0; 14 + reply.buffer_len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    let ethernet = EthernetRepr {
        src_addr: EthernetAddress(SERVER_MAC),
        dst_addr: EthernetAddress(MAC),
        ethertype: EthernetProtocol::Arp,
    };
    ethernet.emit(&mut frame);
    reply.emit(&mut ArpPacket::new_unchecked(frame.payload_mut()));
    bytes
}

fn only_lease(changes: &[FromNetd]) -> Lease {
    let [FromNetd::Lease(lease)] = changes else {
        panic!("{changes:?}")
    };
    lease.clone()
}

/// A linear congruential generator: the same bytes in every run.
struct Random(u32);

impl Random {
    const fn byte(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0.to_be_bytes()[0]
    }
}
