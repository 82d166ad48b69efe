//! Bytes arrive as they were sent, however they were cut.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use splice_core::plane::Totals;

use crate::harness::{Planes, Random, expect_random, on_each_reactor, read_random, write_random};

#[test]
fn megabytes_in_random_writes_arrive_unchanged_both_ways_at_once() {
    on_each_reactor(|config| {
        let planes = Planes::new(config);
        for (seed, write_max) in [(1, 100), (2, 16 * 1024), (3, 1 << 20)] {
            let bytes = 200_000 + 60 * write_max as u64;
            planes.open().exchange(seed, bytes, bytes / 3, write_max);
        }
    });
}

#[test]
fn writes_of_one_byte_arrive_one_after_the_other() {
    on_each_reactor(|config| {
        Planes::new(config).open().exchange(4, 5000, 3000, 1);
    });
}

#[test]
fn an_echo_of_one_byte_needs_no_other_traffic() {
    on_each_reactor(|config| {
        let planes = Planes::new(config);
        let tunnel = planes.open();
        let (mut app, mut user) = (&tunnel.app, &tunnel.user);
        for byte in 0..=255 {
            let mut got = [0];
            user.write_all(&[byte]).unwrap();
            app.read_exact(&mut got).unwrap();
            app.write_all(&got).unwrap();
            user.read_exact(&mut got).unwrap();
            assert_eq!(got, [byte]);
        }
    });
}

#[test]
fn a_session_without_a_byte_ends_in_order() {
    on_each_reactor(|config| {
        Planes::new(config).open().exchange(5, 0, 0, 1);
    });
}

#[test]
fn either_side_may_end_first_and_the_other_goes_on() {
    on_each_reactor(|config| {
        let planes = Planes::new(config);
        for is_app_first in [true, false] {
            let tunnel = planes.open();
            let (first, last) = match is_app_first {
                true => (&tunnel.app, &tunnel.user),
                false => (&tunnel.user, &tunnel.app),
            };
            write_random(first, 6, 50_000, 1000);
            read_random(last, 6, 50_000);
            write_random(last, 7, 800_000, 30_000);
            read_random(first, 7, 800_000);
            match is_app_first {
                true => tunnel.ended_in_order(50_000, 800_000),
                false => tunnel.ended_in_order(800_000, 50_000),
            }
        }
    });
}

#[test]
fn a_half_closed_session_may_be_silent_far_longer_than_a_stall_may_last() {
    on_each_reactor(|mut config| {
        config.stall_max = Duration::from_millis(50);
        let planes = Planes::new(config);
        let tunnel = planes.open();
        write_random(&tunnel.user, 8, 10, 10);
        read_random(&tunnel.app, 8, 10);
        // Nothing is to be awaited here: the claim is that nothing happens.
        std::thread::sleep(20 * config.stall_max);
        assert!(tunnel.connector.has_ended().is_none() && tunnel.edge.has_ended().is_none());
        write_random(&tunnel.app, 9, 300_000, 5000);
        read_random(&tunnel.user, 9, 300_000);
        tunnel.ended_in_order(300_000, 10);
    });
}

#[test]
fn what_goes_first_comes_before_what_is_read() {
    on_each_reactor(|config| {
        let planes = Planes::new(config);
        let first = vec![7; 65536];
        let tunnel = planes.open_with(first.clone(), None);
        let mut app = &tunnel.app;
        app.write_all(b"after it").unwrap();
        app.shutdown(Shutdown::Write).unwrap();
        let (mut user, mut got) = (&tunnel.user, vec![]);
        user.read_to_end(&mut got).unwrap();
        assert!(got == [&first[..], b"after it"].concat());
    });
}

#[test]
fn no_more_than_the_limit_is_taken_from_an_application() {
    on_each_reactor(|config| {
        let planes = Planes::new(config);
        let tunnel = planes.open_with(Vec::new(), Some(100_000));
        write_random(&tunnel.app, 10, 500_000, 10_000);
        read_random(&tunnel.user, 10, 100_000);
        write_random(&tunnel.user, 11, 500_000, 10_000);
        read_random(&tunnel.app, 11, 500_000);
        assert!(tunnel.connector.end().broken.is_none());
    });
}

#[test]
fn totals_count_sessions_and_bytes() {
    on_each_reactor(|config| {
        let planes = Planes::new(config);
        let tunnels = [planes.open(), planes.open()];
        for tunnel in &tunnels {
            let (mut app, mut user) = (&tunnel.app, &tunnel.user);
            app.write_all(&[1; 1000]).unwrap();
            user.read_exact(&mut [0; 1000]).unwrap();
        }
        assert_eq!(planes.edge.totals().sessions, 2);
        for tunnel in &tunnels {
            write_random(&tunnel.user, 12, 500, 50);
            expect_random(&tunnel.app, &mut Random(12), 500);
            write_random(&tunnel.app, 0, 0, 1);
        }
        for tunnel in tunnels {
            tunnel.ended_in_order(1000, 500);
        }
        let totals = |sessions, outward, inward| Totals {
            sessions,
            outward,
            inward,
        };
        assert_eq!(planes.connector.totals(), totals(0, 2000, 1000));
        assert_eq!(planes.edge.totals(), totals(0, 1000, 2000));
    });
}
