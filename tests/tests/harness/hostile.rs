//! The network's faults: servers that lie, refuse and send rubbish, cables that swallow.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr};
use tests::guest::Guest;
use tests::network::address::{
    APPLICATION, EDGE, EDGE_NAME, GUEST, PROXY, RESOLVER, SECOND_RESOLVER, TIME_SERVERS,
};
use tests::network::connect_proxy::ConnectProxy;
use tests::network::datagram::Datagram;
use tests::network::link::Chance;
use tests::network::ntp::Manner;
use tests::network::resolver::OverTcp;
use tests::network::service::Answerer;
use tests::network::{LeaseTerms, Resolver, TimeServer, hostile_dhcp};
use tests::pcap::{Direction, Frame};

use crate::bench::{A_WHILE, Bench, SOON, query};

#[test]
fn four_time_servers_answer_each_in_its_own_manner() {
    let mut bench = Bench::with_lease();
    let manners = [
        TimeServer::HONEST,
        TimeServer::lying_by_ms(3_600_000),
        TimeServer::answering(Manner::Silent),
        TimeServer::answering(Manner::Kiss(*b"DENY")),
    ];
    for (address, server) in TIME_SERVERS.into_iter().zip(manners) {
        bench.network.set_time_server(address, server);
    }
    let mut ask = |index: usize, timeout| bench.ask_time_of(TIME_SERVERS[index].into(), timeout);
    let seconds =
        |packet: Vec<u8>| i64::from(u32::from_be_bytes(packet[40..44].try_into().unwrap()));
    let honest = seconds(ask(0, SOON).unwrap());
    let lie = seconds(ask(1, SOON).unwrap());
    assert!((3599..=3601).contains(&(lie - honest)), "{lie} - {honest}");
    assert_eq!(ask(2, A_WHILE), None);
    assert_eq!(ask(3, SOON).unwrap()[12..16], *b"DENY");
}

#[test]
fn rubbish_arrives_at_the_pace_that_was_ordered() {
    let mut bench = Bench::with_lease();
    let rubbish = Manner::Rubbish {
        packets: 200,
        gap: Duration::from_millis(1),
    };
    let server = IpAddr::from(TIME_SERVERS[0]);
    bench
        .network
        .set_time_server(server, TimeServer::answering(rubbish));
    bench.ask_time_of(server, SOON).unwrap();
    let capture = bench.network.capture().clone();
    let arrived = |_: &mut Guest| {
        let times: Vec<_> = capture
            .frames()
            .iter()
            .filter(|frame| is_time(frame))
            .map(|frame| frame.at)
            .collect();
        (times.len() == 200).then(|| times[199] - times[0])
    };
    let took = bench.guest.run_until(SOON, arrived).unwrap().unwrap();
    assert!(took >= Duration::from_millis(199), "{took:?}");
}

fn is_time(frame: &Frame) -> bool {
    let datagram = Datagram::parse(&frame.bytes);
    frame.direction == Direction::ToGuest
        && datagram.is_some_and(|datagram| datagram.from.port() == 123)
}

#[test]
fn forged_answers_come_before_the_honest_one_and_a_second_resolver_has_its_own_faults() {
    let mut bench = Bench::with_lease();
    let forged = Resolver {
        is_forged: true,
        ..Resolver::default()
    };
    bench.network.set_resolver(RESOLVER, forged);
    let answer = ask_name(&mut bench, RESOLVER).unwrap();
    assert_ne!(
        answer[..2],
        [0x12, 0x34],
        "the first is a guess of the identifier"
    );
    let honest = |frame: &Frame| {
        let datagram = Datagram::parse(&frame.bytes);
        datagram.is_some_and(|datagram| datagram.payload.ends_with(&EDGE.ip().octets()))
    };
    let capture = bench.network.capture().clone();
    let arrived = |_: &mut Guest| capture.frames().iter().any(honest).then_some(());
    assert!(bench.guest.run_until(SOON, arrived).unwrap().is_some());

    let silent = Resolver {
        is_silent: true,
        ..Resolver::default()
    };
    bench.network.set_resolver(SECOND_RESOLVER, silent);
    assert_eq!(ask_name_within(&mut bench, SECOND_RESOLVER, A_WHILE), None);
    bench
        .network
        .set_resolver(SECOND_RESOLVER, Resolver::default());
    assert!(ask_name(&mut bench, SECOND_RESOLVER).is_some());
}

#[test]
fn what_is_truncated_is_whole_or_huge_over_tcp() {
    let mut bench = Bench::with_lease();
    for (over_tcp, length) in [(OverTcp::Only, 2 + 38 + 16), (OverTcp::Huge, 2 + 0xffff)] {
        let resolver = Resolver {
            over_tcp,
            ..Resolver::default()
        };
        bench.network.set_resolver(RESOLVER, resolver);
        let truncated = ask_name(&mut bench, RESOLVER).unwrap();
        assert_eq!((truncated[2] & 2, truncated[7]), (2, 0));
        let to = SocketAddrV4::new(RESOLVER, 53);
        let stream = bench.guest.connect(to, SOON).unwrap().unwrap();
        let query = query(EDGE_NAME, 1);
        let framed = [
            &u16::try_from(query.len()).unwrap().to_be_bytes()[..],
            &query,
        ]
        .concat();
        let answer = bench.guest.converse(stream, &framed, true, SOON, |_| false);
        assert_eq!(answer.unwrap().unwrap().len(), length);
    }
}

fn ask_name(bench: &mut Bench, resolver: Ipv4Addr) -> Option<Vec<u8>> {
    ask_name_within(bench, resolver, SOON)
}

fn ask_name_within(bench: &mut Bench, resolver: Ipv4Addr, timeout: Duration) -> Option<Vec<u8>> {
    let to = SocketAddrV4::new(resolver, 53);
    bench.guest.ask(to, &query(EDGE_NAME, 1), timeout).unwrap()
}

#[test]
fn a_lease_carries_hostile_options_and_may_move_or_be_refused() {
    let mut bench = Bench::new();
    let mut options = hostile_dhcp::routes_to(*EDGE.ip());
    options.extend(hostile_dhcp::huge_options());
    let terms = LeaseTerms {
        options,
        ..LeaseTerms::default()
    };
    bench.network.set_lease_terms(terms.clone());
    let lease = bench.guest.take_lease(SOON).unwrap().unwrap();
    assert_eq!(lease.address.address(), GUEST);
    let frames = bench.network.capture().frames();
    let replies: Vec<_> = frames.iter().filter_map(reply_options).collect();
    assert_eq!(replies.len(), 2, "an offer and its acknowledgement");
    assert!(
        replies
            .iter()
            .all(|codes| [121, 249, 33, 224].iter().all(|code| codes.contains(code)))
    );

    let first_address = Ipv4Addr::new(10, 77, 0, 40);
    bench.network.set_lease_terms(LeaseTerms {
        first_address,
        ..terms.clone()
    });
    assert_eq!(
        bench
            .guest
            .take_lease(SOON)
            .unwrap()
            .unwrap()
            .address
            .address(),
        first_address
    );
    bench.network.set_lease_terms(LeaseTerms {
        is_refusing: true,
        ..terms
    });
    assert_eq!(bench.guest.take_lease(A_WHILE).unwrap(), None);
}

#[test]
fn damaged_copies_come_before_each_answer_and_a_lease_is_still_had() {
    let mut bench = Bench::new();
    bench.network.set_lease_terms(LeaseTerms {
        damaged_copies: 10,
        ..LeaseTerms::default()
    });
    bench.guest.take_lease(SOON).unwrap().unwrap();
    let frames = bench.network.capture().frames();
    let sent = frames
        .iter()
        .filter(|frame| frame.direction == Direction::ToGuest);
    let to_clients = sent.filter(|frame| {
        Datagram::parse(&frame.bytes).is_some_and(|datagram| datagram.to.port() == 68)
    });
    assert!(to_clients.count() >= 22);
}

/// The codes of the options of a server's message.
fn reply_options(frame: &Frame) -> Option<Vec<u8>> {
    let datagram = Datagram::parse(&frame.bytes).filter(|datagram| datagram.to.port() == 68)?;
    let packet = DhcpPacket::new_checked(&datagram.payload[..]).ok()?;
    let kind = DhcpRepr::parse(&packet).ok()?.message_type;
    assert!(
        matches!(kind, DhcpMessageType::Offer | DhcpMessageType::Ack),
        "{kind:?}"
    );
    Some(packet.options().map(|option| option.kind).collect())
}

#[test]
fn ordered_frames_reach_the_guest() {
    let mut bench = Bench::with_lease();
    let mut chance = Chance::new(1);
    let frames: Vec<_> = (0..1000)
        .map(|_| hostile_dhcp::random_frame(&mut chance))
        .collect();
    let last = frames[999].clone();
    let before = bench.network.capture().count();
    bench.network.send(frames, Duration::from_micros(100));
    let capture = bench.network.capture().clone();
    let is_last = |_: &mut Guest| {
        let fresh = capture.frames().split_off(before);
        (fresh.len() >= 1000 && fresh.iter().any(|frame| frame.bytes == last)).then_some(())
    };
    assert!(bench.guest.run_until(SOON, is_last).unwrap().is_some());
}

#[test]
fn long_frames_to_and_from_the_edge_vanish_and_those_to_others_do_not() {
    let mut bench = Bench::with_lease();
    let _edge = bench.start_edge();
    bench
        .network
        .with_faults(|faults| faults.edge_frame_bytes_max = Some(1000));
    let stream = bench.guest.connect(EDGE, SOON).unwrap().unwrap();
    bench.echo(stream).unwrap();
    let long = vec![b'x'; 1400];
    let whole = |words: &[u8]| words.len() >= 1400;
    let echoed = bench.guest.converse(stream, &long, false, A_WHILE, whole);
    assert_eq!(echoed.unwrap(), None);
    let request = b"GET /bytes/3000 HTTP/1.1\r\nConnection: close\r\n\r\n";
    let stream = bench.guest.connect(APPLICATION, SOON).unwrap().unwrap();
    let page = bench
        .guest
        .converse(stream, request, false, SOON, |_| false);
    assert!(page.unwrap().unwrap().len() > 3000);
    // What was sent into the hole is sent again.
    bench
        .network
        .with_faults(|faults| faults.edge_frame_bytes_max = None);
    let stream = bench.guest.connect(EDGE, SOON).unwrap().unwrap();
    let echoed = bench.guest.converse(stream, &long, false, SOON, whole);
    assert_eq!(echoed.unwrap().unwrap(), long);
}

#[test]
fn in_a_vlan_only_tagged_frames_pass() {
    let mut bench = Bench::new();
    bench.network.set_vlan(Some(7));
    assert_eq!(bench.guest.take_lease(A_WHILE).unwrap(), None);
    let frames = bench.network.capture().frames();
    assert!(
        frames
            .iter()
            .all(|frame| frame.direction == Direction::FromGuest)
    );
    bench.network.set_vlan(None);
    assert!(bench.guest.take_lease(SOON).unwrap().is_some());
}

#[test]
fn a_guest_reaches_the_edge_through_the_proxy_and_by_the_edges_name() {
    let mut bench = Bench::with_lease();
    let (edge, _end) = bench.start_edge();
    let routes = [("edge.outgate.example:443", edge)];
    let proxy = ConnectProxy::start(&routes, None).unwrap();
    bench.network.serve(PROXY, Answerer::Host(proxy.address()));
    let stream = bench.guest.connect(PROXY, SOON).unwrap().unwrap();
    let request =
        b"CONNECT edge.outgate.example:443 HTTP/1.1\r\nHost: edge.outgate.example:443\r\n\r\n";
    let head = bench.guest.converse(stream, request, false, SOON, |words| {
        words.ends_with(b"\r\n\r\n")
    });
    assert!(head.unwrap().unwrap().starts_with(b"HTTP/1.1 200"));
    bench.echo(stream).unwrap();
    assert_eq!(
        proxy.requests(),
        ["200 CONNECT edge.outgate.example:443 HTTP/1.1"]
    );
}
