//! The lab's own tests, with a guest that is no machine: they need no QEMU and take seconds.
#![expect(
    clippy::unwrap_used,
    reason = "a panic is a test's report, in its helpers too"
)]

mod bench;

mod hostile;
mod ipv6;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use bench::{A_WHILE, Bench, MAC, SOON, WORDS, serve_echo};
use smoltcp::socket::tcp::State;
use tests::audit::Policy;
use tests::guest::Guest;
use tests::network::address::{
    APPLICATION, APPLICATION_NAME, EDGE, EDGE_NAME, GATEWAY, GUEST, RESOLVER,
};
use tests::network::http::{PAGE_MARKER, pattern_byte};
use tests::network::service::{Answerer, Echo};
use tests::network::{LeaseTerms, RouterTerms};

#[test]
fn a_guest_gets_a_lease_with_router_and_resolver() {
    let mut bench = Bench::new();
    let lease = bench.guest.take_lease(SOON).unwrap().unwrap();
    assert_eq!(
        (lease.address.address(), lease.router),
        (GUEST, Some(GATEWAY))
    );
    assert_eq!(lease.resolvers, [RESOLVER]);
}

#[test]
fn a_known_name_resolves_and_an_unknown_one_does_not_exist() {
    let mut bench = Bench::with_lease();
    assert_eq!(bench.resolve(EDGE_NAME), Some(Some(*EDGE.ip())));
    assert_eq!(
        bench.resolve(APPLICATION_NAME),
        Some(Some(*APPLICATION.ip()))
    );
    assert_eq!(bench.resolve("nobody.outgate.example"), Some(None));
    bench
        .network
        .set_name("Nobody.outgate.example.", Ipv4Addr::new(10, 77, 0, 99));
    assert_eq!(
        bench.resolve("nobody.outgate.example"),
        Some(Some(Ipv4Addr::new(10, 77, 0, 99)))
    );
}

#[test]
fn the_time_server_tells_the_time_or_lies_as_told() {
    let mut bench = Bench::with_lease();
    let honest = bench.ask_time().unwrap();
    bench.network.set_clock_offset_ms(-7_200_000);
    let lying = bench.ask_time().unwrap();
    assert!(
        (7199..=7201).contains(&(honest - lying)),
        "{honest} - {lying}"
    );
}

#[test]
fn the_private_page_comes_back() {
    let mut bench = Bench::with_lease();
    let answer = bench.request(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", false);
    assert!(answer.contains(PAGE_MARKER));
    assert_eq!(bench.network.application_requests(), ["GET / HTTP/1.1"]);
}

#[test]
fn a_large_answer_arrives_whole() {
    let mut bench = Bench::with_lease();
    let stream = bench.guest.connect(APPLICATION, SOON).unwrap().unwrap();
    let request = b"GET /bytes/2000000 HTTP/1.1\r\nConnection: close\r\n\r\n";
    let answer = bench
        .guest
        .converse(stream, request, false, SOON, |_| false)
        .unwrap()
        .unwrap();
    let body = &answer[answer.len() - 2_000_000..];
    assert!(
        body.iter()
            .zip(0..)
            .all(|(&byte, index)| byte == pattern_byte(index))
    );
}

#[test]
fn an_answer_still_comes_after_the_guest_closed_its_direction() {
    let mut bench = Bench::with_lease();
    let mut request = b"POST /count HTTP/1.1\r\n\r\n".to_vec();
    request.extend([b'x'; 100_000]);
    assert!(bench.request(&request, true).ends_with("\r\n\r\n100000\n"));
}

#[test]
fn a_connection_to_the_edges_address_reaches_a_server_on_the_host() {
    let mut bench = Bench::with_lease();
    let _edge = bench.start_edge();
    let stream = bench.guest.connect(EDGE, SOON).unwrap().unwrap();
    let words: Vec<u8> = (0..300_000).map(pattern_byte).collect();
    let echoed = bench
        .guest
        .converse(stream, &words, true, SOON, |_| false)
        .unwrap()
        .unwrap();
    assert_eq!(echoed, words);
}

#[test]
fn a_dead_edge_refuses_and_a_restarted_one_answers() {
    let mut bench = Bench::with_lease();
    let (address, end_edge) = bench.start_edge();
    let stream = bench.guest.connect(EDGE, SOON).unwrap().unwrap();
    bench.echo(stream).unwrap();
    end_edge();
    let refused = Instant::now();
    assert_eq!(bench.guest.connect(EDGE, SOON).unwrap(), None);
    assert!(refused.elapsed() < SOON, "a refusal is not a time-out");
    let _edge = serve_echo(TcpListener::bind(address).unwrap());
    let stream = bench.guest.connect(EDGE, SOON).unwrap().unwrap();
    bench.echo(stream).unwrap();
}

#[test]
fn cut_connections_are_reset_and_new_ones_work() {
    let mut bench = Bench::with_lease();
    let _edge = bench.start_edge();
    let stream = bench.guest.connect(EDGE, SOON).unwrap().unwrap();
    bench.echo(stream).unwrap();
    assert_eq!(bench.network.edge_connections(), 1);
    bench.network.cut_edge_connections();
    let closed = |guest: &mut Guest| (guest.state(stream) == State::Closed).then_some(());
    assert_eq!(bench.guest.run_until(SOON, closed).unwrap(), Some(()));
    let stream = bench.guest.connect(EDGE, SOON).unwrap().unwrap();
    bench.echo(stream).unwrap();
}

#[test]
fn silence_can_be_switched_on_and_off_for_each_server() {
    let mut bench = Bench::new();
    bench
        .network
        .with_faults(|faults| faults.dhcp_silent = true);
    assert_eq!(bench.guest.take_lease(A_WHILE).unwrap(), None);
    bench
        .network
        .with_faults(|faults| faults.dhcp_silent = false);
    bench.guest.take_lease(SOON).unwrap().unwrap();

    bench
        .network
        .with_faults(|faults| (faults.dns_silent, faults.ntp_silent) = (true, true));
    assert_eq!(bench.resolve_within(EDGE_NAME, A_WHILE), None);
    assert_eq!(bench.ask_time_within(A_WHILE), None);
    bench
        .network
        .with_faults(|faults| (faults.dns_silent, faults.ntp_silent) = (false, false));
    assert!(bench.resolve(EDGE_NAME).is_some());
    assert!(bench.ask_time().is_some());
}

#[test]
fn a_silent_edge_hangs_and_goes_on_where_it_was() {
    let mut bench = Bench::with_lease();
    let _edge = bench.start_edge();
    let stream = bench.guest.connect(EDGE, SOON).unwrap().unwrap();
    bench.echo(stream).unwrap();
    bench
        .network
        .with_faults(|faults| faults.edge_silent = true);
    assert_eq!(bench.guest.connect(EDGE, A_WHILE).unwrap(), None);
    assert_eq!(bench.echo_within(stream, A_WHILE).unwrap(), None);
    bench
        .network
        .with_faults(|faults| faults.edge_silent = false);
    // What was sent into the silence is sent again.
    let echoed = bench
        .guest
        .converse(stream, b"", false, SOON, |words| words.ends_with(WORDS));
    assert_eq!(echoed.unwrap().unwrap(), WORDS);
}

#[test]
fn a_partition_stops_everything_until_it_is_healed() {
    let mut bench = Bench::with_lease();
    bench
        .network
        .with_faults(|faults| faults.partitioned = true);
    assert_eq!(bench.resolve_within(EDGE_NAME, A_WHILE), None);
    bench
        .network
        .with_faults(|faults| faults.partitioned = false);
    assert!(bench.resolve(EDGE_NAME).is_some());
}

#[test]
fn latency_is_added_in_both_directions() {
    let mut bench = Bench::with_lease();
    bench.resolve(EDGE_NAME).unwrap();
    bench.network.set_latency(Duration::from_millis(40));
    let asked = Instant::now();
    bench.resolve(EDGE_NAME).unwrap();
    assert!(
        asked.elapsed() >= Duration::from_millis(80),
        "{:?}",
        asked.elapsed()
    );
}

#[test]
fn a_lossy_cable_still_carries_a_connection() {
    let mut bench = Bench::with_lease();
    let stream = bench.guest.connect(APPLICATION, SOON).unwrap().unwrap();
    bench.network.set_loss_per_mille(20);
    let request = b"GET /bytes/100000 HTTP/1.1\r\nConnection: close\r\n\r\n";
    let answer = bench
        .guest
        .converse(stream, request, false, 6 * SOON, |_| false);
    assert!(answer.unwrap().unwrap().len() > 100_000);
}

#[test]
fn a_hundred_connections_are_open_at_once() {
    let mut bench = Bench::with_lease();
    let echo = SocketAddrV4::new(Ipv4Addr::new(10, 77, 0, 81), 7);
    bench.network.serve(echo, Answerer::service(Echo::default));
    let streams: Vec<_> = (0..100)
        .map(|_| bench.guest.begin_connect(echo).unwrap())
        .collect();
    let all_open = |guest: &mut Guest| {
        streams
            .iter()
            .all(|&stream| guest.state(stream) == State::Established)
            .then_some(())
    };
    assert_eq!(bench.guest.run_until(SOON, all_open).unwrap(), Some(()));
    for stream in streams {
        bench.echo(stream).unwrap();
    }
}

#[test]
fn a_closed_port_is_refused_and_a_missing_host_is_silent() {
    let mut bench = Bench::with_lease();
    let closed = SocketAddrV4::new(*APPLICATION.ip(), 81);
    let asked = Instant::now();
    assert_eq!(bench.guest.connect(closed, SOON).unwrap(), None);
    assert!(asked.elapsed() < SOON);
    let missing = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 443);
    let stream = bench.guest.begin_connect(missing).unwrap();
    bench.guest.run_until(A_WHILE, |_| None::<()>).unwrap();
    assert_eq!(bench.guest.state(stream), State::SynSent);
}

#[test]
fn a_lease_says_what_it_is_told_to_say() {
    let mut bench = Bench::new();
    let other = Ipv4Addr::new(10, 77, 0, 54);
    bench.network.set_lease_terms(LeaseTerms {
        resolvers: vec![other],
        ..LeaseTerms::default()
    });
    assert_eq!(
        bench.guest.take_lease(SOON).unwrap().unwrap().resolvers,
        [other]
    );
}

#[test]
fn two_guests_have_two_addresses() {
    let mut bench = Bench::with_lease();
    let mut other = Guest::plug(&bench.network.socket(), [2, 0, 0, 0, 0, 0x77]).unwrap();
    let lease = other.take_lease(SOON).unwrap().unwrap();
    assert_eq!(lease.address.address(), Ipv4Addr::new(10, 77, 0, 16));
    assert!(bench.resolve(EDGE_NAME).is_some());
}

#[test]
fn the_audit_passes_a_good_guest_and_catches_a_bad_one() {
    let mut bench = Bench::with_lease();
    bench.resolve(EDGE_NAME).unwrap();
    bench.ask_time().unwrap();
    bench.request(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", false);
    let violations = |bench: &Bench, applications: &[SocketAddrV4]| -> Vec<String> {
        let frames = bench.network.capture().frames();
        Policy::lab(applications)
            .violations(&frames)
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    assert_eq!(violations(&bench, &[APPLICATION]), [""; 0]);
    assert!(violations(&bench, &[])[0].contains("TCP SYN to 10.77.0.80:80"));

    let mut broken = vec![0x33, 0x33, 0, 0, 0, 2];
    broken.extend(MAC);
    broken.extend([0x86, 0xdd]);
    broken.resize(62, 0);
    bench.guest.send_frame(&broken).unwrap();
    let is_ipv6 = |frame: &tests::pcap::Frame| frame.bytes.get(12..14) == Some(&[0x86, 0xdd]);
    assert!(bench.network.capture().wait_for(SOON, is_ipv6));
    assert!(violations(&bench, &[APPLICATION])[0].contains("IPv6"));
}

#[test]
fn the_capture_opens_in_tshark() {
    let mut bench = Bench::with_lease();
    bench.network.set_router(Some(RouterTerms::default()));
    bench.resolve(EDGE_NAME).unwrap();
    bench.network.capture().flush().unwrap();
    let output = match Command::new("tshark").arg("-r").arg(&bench.pcap).output() {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            tests::skip!("tshark is not installed (Debian package tshark)")
        }
        Err(error) => panic!("{error}"),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("DHCP ACK") && text.contains(EDGE_NAME),
        "{text}"
    );
    assert!(text.contains("Router Advertisement"), "{text}");
    assert!(!text.contains("Malformed"), "{text}");
}
