//! Ends that are not in order, and ends from outside.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::channel;
use std::time::Duration;

use splice_core::engine::Broken;
use splice_core::loopback::{pair, sockets};
use splice_core::plane::{Event, NewSession, Plane};

use crate::harness::{PATIENCE, Planes, carry, is_cancelled, on_each_reactor, read_reset, reset};

#[test]
fn a_reset_from_either_side_is_carried_as_a_reset() {
    on_each_reactor(|config| {
        let planes = Planes::new(config);
        for is_app in [true, false] {
            let tunnel = planes.open();
            let (mut app, mut user) = (&tunnel.app, &tunnel.user);
            app.write_all(b"x").unwrap();
            user.read_exact(&mut [0]).unwrap();
            let (connector, edge) = (tunnel.connector, tunnel.edge);
            match is_app {
                true => {
                    reset(tunnel.app);
                    read_reset(&tunnel.user);
                    assert!(matches!(connector.end().broken, Some(Broken::Plain(_))));
                    assert!(matches!(edge.end().broken, Some(Broken::Channel(_))));
                }
                false => {
                    reset(tunnel.user);
                    read_reset(&tunnel.app);
                    assert!(matches!(edge.end().broken, Some(Broken::Plain(_))));
                    assert!(matches!(connector.end().broken, Some(Broken::Channel(_))));
                }
            }
        }
    });
}

#[test]
fn a_reset_is_carried_although_the_other_side_takes_no_bytes() {
    on_each_reactor(|config| {
        let planes = Planes::new(config);
        let tunnel = planes.open();
        fill(&tunnel.app);
        reset(tunnel.app);
        assert!(matches!(
            tunnel.connector.end().broken,
            Some(Broken::Plain(_))
        ));
        read_reset(&tunnel.user);
    });
}

#[test]
fn a_reset_after_a_half_close_is_carried_as_a_reset() {
    on_each_reactor(|config| {
        let planes = Planes::new(config);
        let tunnel = planes.open();
        tunnel.app.shutdown(Shutdown::Write).unwrap();
        assert_eq!((&tunnel.user).read(&mut [0; 8]).unwrap(), 0);
        reset(tunnel.app);
        assert!(matches!(
            tunnel.connector.end().broken,
            Some(Broken::Plain(_))
        ));
        assert!(matches!(tunnel.edge.end().broken, Some(Broken::Channel(_))));
    });
}

#[test]
fn a_data_channel_without_its_end_is_truncated_and_never_an_end_of_file() {
    on_each_reactor(|config| {
        let plane = Plane::start(config).unwrap();
        for bytes in [&b""[..], b"\x17\x03\x03\x00", b"\x17\x03\x03\x00\x20abc"] {
            let (ours, theirs) = pair();
            let (app, dialled) = sockets();
            dialled.set_nonblocking(true).unwrap();
            let (_, end) = carry(&plane, dialled, ours);
            (&theirs.socket).write_all(bytes).unwrap();
            theirs.socket.shutdown(Shutdown::Write).unwrap();
            let Ok(Event::Ended(end)) = end.recv_timeout(PATIENCE) else {
                panic!("the session has to end");
            };
            assert!(matches!(end.broken, Some(Broken::Truncated)), "{end:?}");
            read_reset(&app);
        }
    });
}

#[test]
fn a_session_that_is_ended_from_outside_is_reset_on_both_sides() {
    on_each_reactor(|config| {
        let planes = Planes::new(config);
        let tunnel = planes.open();
        fill(&tunnel.app);
        planes.connector.end(tunnel.connector.key);
        assert!(is_cancelled(&tunnel.connector.end()));
        assert!(matches!(tunnel.edge.end().broken, Some(Broken::Channel(_))));
        read_reset(&tunnel.user);
        planes.connector.end(tunnel.connector.key);
        assert_eq!(planes.connector.totals().sessions, 0);
    });
}

#[test]
fn when_all_are_abandoned_no_byte_more_is_sent() {
    on_each_reactor(|config| {
        let planes = Planes::new(config);
        let tunnels: Vec<_> = (0..50).map(|_| planes.open()).collect();
        for tunnel in &tunnels {
            fill(&tunnel.app);
        }
        // Commands that are still waiting are abandoned, too.
        let late: Vec<_> = (0..50).map(|_| planes.open()).collect();
        planes.connector.abandon_all();
        assert_eq!(planes.connector.totals().sessions, 0);
        let sent = planes.connector.totals().outward;
        for tunnel in tunnels.iter().chain(&late) {
            let end = tunnel.connector.has_ended().expect("it has ended by then");
            assert!(is_cancelled(&end));
            read_reset(&tunnel.user);
        }
        assert_eq!(planes.connector.totals().outward, sent);
        planes.open().exchange(1, 1000, 1000, 100);
    });
}

#[test]
fn a_plane_that_is_dropped_resets_its_sessions_and_leaves_no_thread() {
    on_each_reactor(|config| {
        let planes = Planes::new(config);
        let tunnel = planes.open();
        fill(&tunnel.app);
        drop(planes.connector);
        assert!(is_cancelled(&tunnel.connector.has_ended().unwrap()));
        read_reset(&tunnel.app);
        read_reset(&tunnel.user);
    });
}

#[test]
fn a_plane_may_be_dropped_by_what_is_told_of_an_end() {
    on_each_reactor(|config| {
        let plane = Plane::start(config).unwrap();
        let (ours, theirs) = pair();
        let (app, dialled) = sockets();
        dialled.set_nonblocking(true).unwrap();
        let (done, waiting) = channel();
        let (give, given) = channel::<std::sync::Arc<Plane>>();
        let tell = move |_| {
            drop(given.recv().unwrap());
            done.send(()).unwrap();
        };
        plane.carry(NewSession {
            plain: dialled,
            channel: ours,
            first: Vec::new(),
            limit: None,
            tell: Box::new(tell),
        });
        give.send(plane).unwrap();
        drop((app, theirs));
        waiting.recv_timeout(PATIENCE).unwrap();
    });
}

/// Writes until nothing goes for a while, so that bytes are in every place on the way.
fn fill(mut socket: &TcpStream) {
    socket
        .set_write_timeout(Some(Duration::from_millis(30)))
        .unwrap();
    let buffer = vec![0; 1 << 20];
    while socket.write(&buffer).is_ok() {}
}
