//! Sessions that outlive their data channels: the record limit is a few records here.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::time::Duration;

use splice_core::engine::Broken;
use splice_core::loopback::{pair, sockets};
use splice_core::plane::{Config, Event, Plane, RECORDS_MIN};

use crate::harness::{
    PATIENCE, Planes, Random, carry, expect_random, on_each_reactor, read_random, write_random,
};

const fn few_records(config: Config, records_max: u64) -> Config {
    Config {
        records_max,
        ..config
    }
}

#[test]
fn random_traffic_both_ways_goes_over_many_channels_without_a_lost_or_doubled_byte() {
    on_each_reactor(|config| {
        for records_max in [RECORDS_MIN, 11, 40] {
            let planes = Planes::new(few_records(config, records_max));
            let tunnels: Vec<_> = (0..4).map(|_| planes.open()).collect();
            std::thread::scope(|scope| {
                for (seed, tunnel) in (0..).zip(tunnels) {
                    scope.spawn(move || tunnel.exchange(seed, 600_000, 900_000, 20_000));
                }
            });
            // 55 full records or more, in one direction alone, and a turn sends no more than 16 over the limit.
            let successors = planes.successors.load(Ordering::Relaxed);
            assert!(
                successors >= 4 * 55 / (2 * records_max + 16),
                "{successors}"
            );
        }
    });
}

#[test]
fn one_end_alone_may_have_the_lower_limit() {
    on_each_reactor(|config| {
        let (low, high) = (
            few_records(config, RECORDS_MIN),
            few_records(config, 1 << 40),
        );
        for (connector, edge) in [(low, high), (high, low)] {
            let planes = Planes::of(connector, edge);
            planes.open().exchange(1, 2_000_000, 1_000_000, 30_000);
        }
    });
}

#[test]
fn a_direction_that_has_ended_stays_ended_over_successors() {
    on_each_reactor(|config| {
        let planes = Planes::new(few_records(config, RECORDS_MIN));
        let tunnel = planes.open();
        write_random(&tunnel.app, 1, 100, 10);
        read_random(&tunnel.user, 1, 100);
        std::thread::scope(|scope| {
            scope.spawn(|| write_random(&tunnel.user, 2, 1_500_000, 9000));
            read_random(&tunnel.app, 2, 1_500_000);
        });
        tunnel.ended_in_order(100, 1_500_000);
    });
}

#[test]
fn an_idle_direction_moves_with_the_other_and_still_works() {
    on_each_reactor(|config| {
        let planes = Planes::new(few_records(config, RECORDS_MIN));
        let tunnel = planes.open();
        let mut content = Random(3);
        let mut writer = &tunnel.user;
        for round in 0..30_u64 {
            let mut bytes = vec![0; 3000];
            Random(round).fill(&mut bytes);
            writer.write_all(&bytes).unwrap();
            expect_random(&tunnel.app, &mut Random(round), 3000);
            if round % 10 == 9 {
                let mut bytes = [0; 10];
                content.fill(&mut bytes);
                (&tunnel.app).write_all(&bytes).unwrap();
                content = Random(3);
                expect_random(&tunnel.user, &mut content, 10);
                content = Random(3);
            }
        }
        tunnel.user.shutdown(Shutdown::Write).unwrap();
        tunnel.app.shutdown(Shutdown::Write).unwrap();
        tunnel.ended_in_order(30, 90_000);
    });
}

#[test]
fn the_limit_of_bytes_goes_on_with_the_successor() {
    on_each_reactor(|config| {
        let planes = Planes::new(few_records(config, RECORDS_MIN));
        let tunnel = planes.open_with(vec![], Some(300_000));
        std::thread::scope(|scope| {
            scope.spawn(|| write_random(&tunnel.app, 4, 700_000, 10_000));
            read_random(&tunnel.user, 4, 300_000);
        });
    });
}

#[test]
fn a_successor_is_asked_for_once_and_without_one_nothing_more_is_sent() {
    on_each_reactor(|config| {
        let plane = Plane::start(few_records(config, RECORDS_MIN)).unwrap();
        let (ours, theirs) = pair();
        let (app, dialled) = sockets();
        dialled.set_nonblocking(true).unwrap();
        let (_, events) = carry(&plane, dialled, ours);
        app.set_nonblocking(true).unwrap();
        let buffer = vec![0; 65536];
        while (&app).write(&buffer).is_ok() {}
        let first = events.recv_timeout(PATIENCE).unwrap();
        assert!(
            matches!(first, Event::WantsSuccessor { channel: 1 }),
            "{first:?}"
        );
        // What may be sent up to the wait is one turn and little more; far less than what was written.
        theirs.socket.set_nonblocking(false).unwrap();
        let timeout = Some(Duration::from_millis(300));
        theirs.socket.set_read_timeout(timeout).unwrap();
        let (mut sent, mut buffer) = (0, vec![0; 65536]);
        while let Ok(len) = (&theirs.socket).read(&mut buffer) {
            assert_ne!(len, 0);
            sent += len;
        }
        assert!(sent < 1 << 20, "{sent} bytes");
        assert!(events.try_recv().is_err(), "asked again");
        drop(theirs);
        let Ok(Event::Ended(end)) = events.recv_timeout(PATIENCE) else {
            panic!("the session has to end");
        };
        assert!(matches!(
            end.broken,
            Some(Broken::Channel(_) | Broken::Truncated)
        ));
    });
}

#[test]
fn more_successors_than_may_wait_end_the_session() {
    on_each_reactor(|config| {
        let plane = Plane::start(config).unwrap();
        let (ours, theirs) = pair();
        let (_app, dialled) = sockets();
        dialled.set_nonblocking(true).unwrap();
        let (key, events) = carry(&plane, dialled, ours);
        let mut peers = vec![theirs];
        for _ in 0..splice_core::session::LINKS_MAX {
            let (ours, theirs) = pair();
            plane.succeed(key, ours);
            peers.push(theirs);
        }
        let Ok(Event::Ended(end)) = events.recv_timeout(PATIENCE) else {
            panic!("the session has to end");
        };
        assert!(matches!(end.broken, Some(Broken::Flood)), "{end:?}");
    });
}
