//! Many sessions at once.

use std::io::{Read, Write};
use std::net::Shutdown;

use crate::harness::{Planes, on_each_reactor};

/// Each takes six descriptors of this process.
const SESSIONS: usize = 2000;

#[test]
fn thousands_of_sessions_live_and_end_at_once() {
    on_each_reactor(|config| {
        let planes = Planes::new(config);
        let tunnels: Vec<_> = (0..SESSIONS).map(|_| planes.open()).collect();
        for (number, tunnel) in (0_u64..).zip(&tunnels) {
            let (mut app, mut user) = (&tunnel.app, &tunnel.user);
            app.write_all(&number.to_be_bytes()).unwrap();
            user.write_all(&(!number).to_be_bytes()).unwrap();
        }
        for (number, tunnel) in (0_u64..).zip(&tunnels) {
            let (mut app, mut user) = (&tunnel.app, &tunnel.user);
            let mut got = [0; 8];
            user.read_exact(&mut got).unwrap();
            assert_eq!(u64::from_be_bytes(got), number);
            app.read_exact(&mut got).unwrap();
            assert_eq!(u64::from_be_bytes(got), !number);
        }
        assert_eq!(planes.edge.totals().sessions, SESSIONS as u64);
        for tunnel in &tunnels {
            tunnel.app.shutdown(Shutdown::Write).unwrap();
            tunnel.user.shutdown(Shutdown::Write).unwrap();
        }
        for tunnel in tunnels {
            tunnel.ended_in_order(8, 8);
        }
        assert_eq!(planes.edge.totals().sessions, 0);
    });
}

#[test]
fn sessions_are_spread_over_the_threads() {
    on_each_reactor(|config| {
        let planes = Planes::new(config);
        let tunnels: Vec<_> = (0..10).map(|_| planes.open()).collect();
        let on_first = tunnels
            .iter()
            .filter(|tunnel| tunnel.connector.key.0 % 256 == 0)
            .count();
        assert_eq!(on_first, 5);
    });
}
