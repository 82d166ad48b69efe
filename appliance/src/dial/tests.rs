use std::net::{Ipv6Addr, TcpListener};

use splice_core::reactor::Kind;

use super::*;
use crate::clock;
use crate::waiting::Waiting;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

#[test]
fn the_first_address_that_answers_is_connected_to() {
    for address in [V4, V6] {
        let server = TcpListener::bind((address, 0)).unwrap();
        let port = server.local_addr().unwrap().port();
        let (stream, reached) = finish(&[address], port).unwrap();
        assert_eq!(reached, SocketAddr::new(address, port));
        assert_eq!(stream.peer_addr().unwrap(), reached);
        assert!(stream.nodelay().unwrap());
    }
}

#[test]
fn a_black_hole_costs_a_quarter_of_a_second() {
    let hole = BlackHole::open();
    let other = IpAddr::from([127, 0, 0, 9]);
    let server = TcpListener::bind((other, hole.port)).unwrap();
    let begun = clock::now();
    let (_, reached) = finish(&[V4, other], hole.port).unwrap();
    let elapsed = clock::now().since(begun);
    assert_eq!(reached.ip(), other);
    assert!(
        elapsed >= ATTEMPT_DELAY && elapsed < ATTEMPT_DELAY * 8,
        "{elapsed:?}"
    );
    drop(server);
}

#[test]
fn an_address_that_refuses_costs_nothing() {
    let server = TcpListener::bind((V4, 0)).unwrap();
    let port = server.local_addr().unwrap().port();
    let refusing = (2..12).map(|last| IpAddr::from([127, 0, 0, last]));
    let addresses: Vec<IpAddr> = refusing.chain([V4]).collect();
    let begun = clock::now();
    let (_, reached) = finish(&addresses, port).unwrap();
    assert_eq!(reached.ip(), V4);
    // Waiting for each of them would take ten delays.
    assert!(clock::now().since(begun) < ATTEMPT_DELAY * 8);
}

#[test]
fn no_more_than_four_attempts_are_under_way() {
    let hole = BlackHole::open();
    let mut now = Instant::from_micros(1);
    let begun = now;
    let Step::Pending(mut dial) = start(now, &[V4; 6], hole.port) else {
        panic!("not pending");
    };
    let mut at = Vec::new();
    while dial.attempts.len() < ATTEMPTS_MAX {
        now = dial.deadline();
        at.push(now.since(begun).as_millis());
        let Step::Pending(next) = dial.turn(now) else {
            panic!("not pending");
        };
        dial = next;
    }
    assert_eq!(at, [250, 500, 750]);
    // The fifth waits for the first to give up, at six seconds.
    assert_eq!(dial.deadline().since(begun), ANSWER_MAX);
    let Step::Pending(dial) = dial.turn(begun + ANSWER_MAX) else {
        panic!("not pending");
    };
    assert_eq!((dial.attempts.len(), dial.waiting.len()), (ATTEMPTS_MAX, 1));
}

#[test]
fn the_last_time_out_ends_it_and_the_error_counts_the_others() {
    let hole = BlackHole::open();
    let mut now = Instant::from_micros(1);
    let begun = now;
    let mut step = start(now, &[V4; 2], hole.port);
    while let Step::Pending(dial) = step {
        now = dial.deadline();
        step = dial.turn(now);
    }
    let Step::Failed(error) = step else {
        panic!("{step:?}");
    };
    assert_eq!((error.errno, error.others), (Errno::TIMEDOUT, 1));
    assert_eq!(now.since(begun), ANSWER_MAX + ATTEMPT_DELAY);
}

#[test]
fn the_most_telling_failure_is_told() {
    let listener = TcpListener::bind((V4, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    // Multicast cannot be connected to: there is no route for TCP.
    let unreachable = IpAddr::from([224, 0, 0, 1]);
    let error = finish(&[unreachable, V4], port).unwrap_err();
    assert_eq!((error.errno, error.others), (Errno::CONNREFUSED, 1));
    assert_eq!(error.address.ip(), V4);
}

#[test]
fn without_addresses_there_is_no_route() {
    let step = start(clock::now(), &[], 443);
    assert!(
        matches!(&step, Step::Failed(error) if error.errno == Errno::HOSTUNREACH),
        "{step:?}"
    );
}

#[test]
fn every_sentence_fits_the_console() {
    let address = "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
        .parse()
        .unwrap();
    for errno in [
        Errno::CONNREFUSED,
        Errno::TIMEDOUT,
        Errno::HOSTUNREACH,
        Errno::MFILE,
        Errno::ACCESS,
    ] {
        let text = DialError {
            address,
            errno,
            others: 15,
        }
        .to_string();
        assert!(text.len() < 160, "{} bytes: {text}", text.len());
    }
}

/// Waits as the event loop does.
fn wait_for(dial: &Dial) {
    let mut waiting = Waiting::open(Kind::Best).unwrap();
    waiting.set(1, |watch| {
        dial.watch(watch);
        watch.until(Some(dial.deadline()));
    });
    waiting.wait().unwrap();
}

fn finish(addresses: &[IpAddr], port: u16) -> Result<(TcpStream, SocketAddr), DialError> {
    let mut step = start(clock::now(), addresses, port);
    loop {
        let dial = match step {
            Step::Pending(dial) => dial,
            Step::Connected(stream, address) => return Ok((stream, address)),
            Step::Failed(error) => return Err(error),
        };
        wait_for(&dial);
        step = dial.turn(clock::now());
    }
}

/// A listener whose queue is full: the kernel drops what knocks, and no word comes back.
struct BlackHole {
    port: u16,
    _listener: OwnedFd,
    _queue: Vec<OwnedFd>,
}

impl BlackHole {
    fn open() -> Self {
        let listener = socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        rustix::net::bind(&listener, &SocketAddr::new(V4, 0)).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let address = rustix::net::getsockname(&listener).unwrap();
        let address = SocketAddr::try_from(address).unwrap();
        // One connection fits into a queue of length zero; more attempts than that stay in it.
        let queue = (0..3).map(|_| open(address).unwrap()).collect();
        Self {
            port: address.port(),
            _listener: listener,
            _queue: queue,
        }
    }
}
