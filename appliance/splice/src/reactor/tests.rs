//! What both reactors promise, tested on both.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};

use super::*;

const SOON: Duration = Duration::from_secs(10);
const NONE: Option<Duration> = Some(Duration::ZERO);

/// Runs a claim on each reactor that this host allows; epoll is always one.
fn on_each(claim: impl Fn(&mut dyn Reactor)) {
    claim(&mut *open(Kind::Epoll).unwrap());
    if let Ok(mut ring) = open(Kind::Ring) {
        claim(&mut *ring);
    }
}

#[test]
fn the_state_at_the_beginning_is_told() {
    on_each(|reactor| {
        let (mut peer, ours) = pair();
        peer.write_all(b"x").unwrap();
        reactor.watch(ours.as_fd(), 7, Interest::Edges).unwrap();
        let ready = wait_for(reactor, |ready| ready.readable);
        assert!(ready.writable && ready.token == 7 && !ready.ended && !ready.failed);
    });
}

#[test]
fn edges_are_told_as_long_as_it_is_watched() {
    on_each(|reactor| {
        let (mut peer, mut ours) = pair();
        reactor.watch(ours.as_fd(), 7, Interest::Edges).unwrap();
        assert!(wait_for(reactor, |ready| ready.writable).token == 7);
        for turn in 0..1000 {
            peer.write_all(&[1; 3]).unwrap();
            assert_eq!(wait_for(reactor, |ready| ready.readable).token, 7);
            if turn % 2 == 0 {
                assert_eq!(
                    ours.read(&mut [0; 64]).unwrap(),
                    3 * (1 + usize::from(turn > 0))
                );
            }
        }
    });
}

#[test]
fn an_edge_is_told_once_and_not_again_for_the_same_state() {
    on_each(|reactor| {
        let (mut peer, ours) = pair();
        reactor.watch(ours.as_fd(), 7, Interest::Edges).unwrap();
        peer.write_all(b"x").unwrap();
        wait_for(reactor, |ready| ready.readable);
        drain(reactor);
        assert_eq!(wait(reactor, Some(Duration::from_millis(20))), []);
    });
}

#[test]
fn room_after_a_full_buffer_is_an_edge() {
    on_each(|reactor| {
        let (mut peer, mut ours) = pair();
        reactor.watch(ours.as_fd(), 7, Interest::Edges).unwrap();
        drain(reactor);
        while ours.write(&[0; 65536]).is_ok() {}
        drain(reactor);
        peer.set_nonblocking(false).unwrap();
        let mut buffer = vec![0; 1 << 20];
        let mut told = false;
        while !told {
            assert!(peer.read(&mut buffer).unwrap() > 0);
            told = wait(reactor, NONE).iter().any(|ready| ready.writable);
        }
        assert!(ours.write(b"x").is_ok());
    });
}

#[test]
fn once_means_once_and_at_once() {
    on_each(|reactor| {
        let (mut peer, ours) = pair();
        peer.write_all(b"x").unwrap();
        for token in 1..4 {
            let watched = reactor.watch(ours.as_fd(), token, READ).unwrap();
            assert_eq!(wait_for(reactor, |ready| ready.readable).token, token);
            peer.write_all(b"y").unwrap();
            assert_eq!(wait(reactor, NONE), [], "told twice");
            reactor.forget(watched);
        }
    });
}

#[test]
fn once_tells_only_what_was_asked_for() {
    on_each(|reactor| {
        let (mut peer, ours) = pair();
        reactor.watch(ours.as_fd(), 7, READ).unwrap();
        assert_eq!(wait(reactor, NONE), [], "it can be written only");
        peer.write_all(b"x").unwrap();
        let ready = wait_for(reactor, |ready| ready.readable);
        assert!(!ready.writable);
        let write = Interest::Once {
            read: false,
            write: true,
        };
        reactor.watch(ours.as_fd(), 8, write).unwrap();
        assert!(!wait_for(reactor, |ready| ready.writable).readable);
    });
}

#[test]
fn nothing_is_told_after_forgetting() {
    on_each(|reactor| {
        let (mut peer, ours) = pair();
        for interest in [Interest::Edges, READ] {
            let watched = reactor.watch(ours.as_fd(), 7, interest).unwrap();
            drain(reactor);
            reactor.forget(watched);
            reactor.forget(watched);
            peer.write_all(b"x").unwrap();
            assert_eq!(wait(reactor, Some(Duration::from_millis(20))), []);
        }
    });
}

#[test]
fn nothing_is_told_after_forgetting_even_if_it_was_ready_before() {
    on_each(|reactor| {
        let (mut peer, ours) = pair();
        let (mut other_peer, other) = pair();
        let watched = reactor.watch(ours.as_fd(), 7, Interest::Edges).unwrap();
        reactor.watch(other.as_fd(), 8, READ).unwrap();
        drain(reactor);
        peer.write_all(b"x").unwrap();
        other_peer.write_all(b"x").unwrap();
        reactor.forget(watched);
        assert_eq!(wait_for(reactor, |_| true).token, 8);
        assert_eq!(wait(reactor, NONE), []);
    });
}

#[test]
fn a_forgotten_descriptor_can_be_watched_again_at_once() {
    on_each(|reactor| {
        let (mut peer, ours) = pair();
        peer.write_all(b"x").unwrap();
        for token in 0..100 {
            let watched = reactor.watch(ours.as_fd(), token, Interest::Edges).unwrap();
            if token % 3 == 0 {
                assert_eq!(wait_for(reactor, |ready| ready.readable).token, token);
            }
            reactor.forget(watched);
        }
        reactor.watch(ours.as_fd(), 500, Interest::Edges).unwrap();
        assert_eq!(wait_for(reactor, |ready| ready.readable).token, 500);
    });
}

#[test]
fn the_end_of_a_peer_is_told_as_an_end_and_not_as_a_failure() {
    on_each(|reactor| {
        let (peer, ours) = pair();
        reactor.watch(ours.as_fd(), 7, Interest::Edges).unwrap();
        drain(reactor);
        peer.shutdown(Shutdown::Write).unwrap();
        let ready = wait_for(reactor, |ready| ready.ended);
        assert!(ready.readable && !ready.failed);
    });
}

#[test]
fn a_reset_is_told_as_a_failure_whatever_was_asked_for() {
    on_each(|reactor| {
        for interest in [
            Interest::Edges,
            READ,
            Interest::Once {
                read: false,
                write: false,
            },
        ] {
            let (peer, ours) = pair();
            reactor.watch(ours.as_fd(), 7, interest).unwrap();
            drain(reactor);
            rustix::net::sockopt::set_socket_linger(&peer, NONE).unwrap();
            drop(peer);
            let ready = wait_for(reactor, |ready| ready.failed);
            assert!(ready.readable && ready.writable && ready.ended);
        }
    });
}

#[test]
fn a_forgotten_and_closed_socket_sends_its_fin_with_the_next_wait() {
    on_each(|reactor| {
        let (mut peer, ours) = pair();
        let watched = reactor.watch(ours.as_fd(), 7, Interest::Edges).unwrap();
        drain(reactor);
        reactor.forget(watched);
        drop(ours);
        wait(reactor, NONE);
        peer.set_nonblocking(false).unwrap();
        peer.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    });
}

#[test]
fn a_wait_ends_at_its_timeout_and_not_before() {
    on_each(|reactor| {
        let (_peer, ours) = pair();
        reactor.watch(ours.as_fd(), 7, READ).unwrap();
        for timeout in [Duration::from_micros(300), Duration::from_millis(30)] {
            let start = Instant::now();
            assert_eq!(wait(reactor, Some(timeout)), []);
            let took = start.elapsed();
            assert!(took >= timeout && took < timeout + SOON, "{took:?}");
        }
    });
}

#[test]
fn another_thread_wakes_it_by_an_eventfd_that_nobody_reads() {
    on_each(|reactor| {
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        reactor.watch(wake.as_fd(), 7, Interest::Edges).unwrap();
        drain(reactor);
        for _ in 0..100 {
            std::thread::scope(|scope| {
                scope.spawn(|| rustix::io::write(&wake, &1u64.to_ne_bytes()).unwrap());
                assert!(wait_for(reactor, |ready| ready.readable).token == 7);
            });
        }
    });
}

#[test]
fn thousands_are_told_each_and_forgotten_each() {
    on_each(|reactor| {
        let pipes: Vec<(OwnedFd, OwnedFd)> =
            (0..4000).map(|_| rustix::pipe::pipe().unwrap()).collect();
        for round in 0..2 {
            let watched: Vec<Watched> = (0..)
                .zip(&pipes)
                .map(|(token, (read, _))| {
                    reactor.watch(read.as_fd(), token, Interest::Edges).unwrap()
                })
                .collect();
            for (_, write) in &pipes {
                rustix::io::write(write, b"x").unwrap();
            }
            let (mut told, mut ready) = (vec![false; pipes.len()], vec![]);
            while told.contains(&false) {
                reactor.wait(Some(SOON), &mut ready).unwrap();
                for one in ready.drain(..) {
                    told[usize::try_from(one.token).unwrap()] = true;
                }
            }
            for one in watched {
                reactor.forget(one);
            }
            assert_eq!(wait(reactor, NONE), [], "round {round}");
        }
    });
}

#[test]
fn the_best_reactor_can_always_be_had() {
    let mut reactor = open(Kind::Best).unwrap();
    let has_ring = open(Kind::Ring).is_ok();
    assert_eq!(reactor.name(), if has_ring { "io_uring" } else { "epoll" });
    assert_eq!(wait(&mut *reactor, NONE), []);
}

const READ: Interest = Interest::Once {
    read: true,
    write: false,
};

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    peer.set_nodelay(true).unwrap();
    peer.set_nonblocking(true).unwrap();
    ours.set_nonblocking(true).unwrap();
    (peer, ours)
}

fn wait(reactor: &mut dyn Reactor, timeout: Option<Duration>) -> Vec<Ready> {
    let mut ready = vec![];
    reactor.wait(timeout, &mut ready).unwrap();
    ready
}

/// Waits up to the first that `is_it` accepts.
fn wait_for(reactor: &mut dyn Reactor, is_it: impl Fn(&Ready) -> bool) -> Ready {
    let start = Instant::now();
    while start.elapsed() < SOON {
        if let Some(ready) = wait(reactor, Some(SOON)).into_iter().find(&is_it) {
            return ready;
        }
    }
    panic!("{} does not tell of it", reactor.name());
}

/// Takes everything that is to be told at this moment.
fn drain(reactor: &mut dyn Reactor) {
    while !wait(reactor, NONE).is_empty() {}
}
