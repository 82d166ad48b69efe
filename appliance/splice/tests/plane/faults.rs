//! Sides that do not take their bytes, and what others notice of them: nothing.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use splice_core::engine::Broken;
use splice_core::loopback::{pair, sockets};
use splice_core::plane::{Event, Plane};

use crate::harness::{
    PATIENCE, Planes, Random, carry, expect_random, on_each_reactor, read_reset, write_random,
};

#[test]
fn a_side_that_never_reads_is_reset_after_the_stall_and_others_go_on_at_full_pace() {
    on_each_reactor(|mut config| {
        config.stall_max = Duration::from_millis(1500);
        // One thread each: the stalled sessions and the others share it.
        config.threads = 1;
        let planes = Planes::new(config);
        let stalled: Vec<_> = (0..20).map(|_| planes.open()).collect();
        let start = Instant::now();
        std::thread::scope(|scope| {
            for tunnel in &stalled {
                let user = &tunnel.user;
                scope.spawn(|| write_until_reset(user));
            }
            let mut bytes = 0;
            while start.elapsed() < config.stall_max + Duration::from_millis(300) {
                planes.open().exchange(bytes, 1_000_000, 1_000_000, 50_000);
                bytes += 2_000_000;
            }
            // Random bytes are made one by one, in an unoptimised test: this is far from what the plane does.
            assert!(
                bytes >= 4_000_000,
                "only {bytes} bytes beside the stalled ones"
            );
        });
        for tunnel in stalled {
            let ends = [tunnel.connector.end(), tunnel.edge.end()];
            let is_stall = |broken: &Option<Broken>| matches!(broken, Some(Broken::Stalled(_)));
            assert!(ends.iter().any(|end| is_stall(&end.broken)), "{ends:?}");
            assert!(ends.iter().all(|end| end.broken.is_some()), "{ends:?}");
            read_reset(&tunnel.app);
        }
    });
}

#[test]
fn an_edge_that_never_reads_stalls_the_connector_alone() {
    on_each_reactor(|mut config| {
        config.stall_max = Duration::from_millis(300);
        let plane = Plane::start(config).unwrap();
        let (ours, _theirs) = pair();
        let (app, dialled) = sockets();
        dialled.set_nonblocking(true).unwrap();
        let (_, end) = carry(&plane, dialled, ours);
        write_until_reset(&app);
        let Ok(Event::Ended(end)) = end.recv_timeout(PATIENCE) else {
            panic!("the session has to end");
        };
        assert!(matches!(end.broken, Some(Broken::Stalled(_))), "{end:?}");
    });
}

#[test]
fn a_side_that_reads_slowly_and_steadily_is_not_stalled() {
    on_each_reactor(|mut config| {
        config.stall_max = Duration::from_millis(1200);
        let planes = Planes::new(config);
        let tunnel = planes.open();
        // More than all sockets on the way can buffer, over a longer time than a stall may last.
        let (portions, portion) = (24, 2 << 20);
        std::thread::scope(|scope| {
            scope.spawn(|| write_random(&tunnel.user, 3, portions * portion, 1 << 16));
            let mut content = Random(3);
            for _ in 0..portions {
                std::thread::sleep(config.stall_max / 12);
                expect_random(&tunnel.app, &mut content, portion);
            }
        });
        write_random(&tunnel.app, 0, 0, 1);
        tunnel.ended_in_order(0, portions * portion);
    });
}

/// Writes for as long as the other side lives.
fn write_until_reset(mut socket: &TcpStream) {
    let buffer = vec![0; 65536];
    while socket.write(&buffer).is_ok() {}
}
