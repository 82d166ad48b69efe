//! A fleet in virtual time: the connector's life machine, both ends of the protocol and the edge's real
//! store, with links that lose, machines that crash, are copied and go back in time, disks that
//! fail, and administrators who change their minds.
//!
//! Everything random comes from a seed: `OUTGATE_SEED=7 cargo test -p tests --test simulation` lives
//! that one world again. `OUTGATE_LONG=1` lives ten thousand.
#![expect(
    clippy::unwrap_in_result,
    clippy::unwrap_used,
    reason = "a panic is a test's report, in its helpers too"
)]

mod chance;
mod disk;
mod edge;
mod herd;
mod machine;
mod summary;
mod world;

use std::time::Duration;

use connector_proto::time::Instant;
use sha2::{Digest as _, Sha256};

use summary::Summary;
use world::World;

const HOUR: Duration = Duration::from_secs(3_600);

/// Worlds that every run lives, and those of a long one.
const SEEDS: u64 = 200;
const SEEDS_LONG: u64 = 10_000;

#[test]
fn fleets_that_everything_happens_to_keep_every_promise() {
    let seeds = match std::env::var("OUTGATE_SEED") {
        Ok(seed) => vec![seed.parse().expect("OUTGATE_SEED is a number")],
        Err(_) if std::env::var_os("OUTGATE_LONG").is_some() => (0..SEEDS_LONG).collect(),
        Err(_) => (0..SEEDS).collect::<Vec<u64>>(),
    };
    let mut total = Summary::default();
    for seed in seeds {
        let _told = TellSeed(seed);
        total.add(&live(seed));
    }
    println!("{total}");
}

#[test]
fn a_seed_lives_the_same_day_again() {
    let once = |seed| Summary::default().with(&live(seed)).to_string();
    assert_eq!(once(3), once(3));
    assert_ne!(once(3), once(4));
}

#[test]
fn ten_thousand_connectors_come_back_without_a_stampede() {
    for seconds in [2, 600] {
        let report = herd::outage(Duration::from_secs(seconds), 1);
        println!("{report}");
        assert!(report.peak <= 2_000, "{report}");
        assert!(report.recovered <= Duration::from_secs(75), "{report}");
    }
}

/// A day of a world: 23 hours in which everything happens, and then as long as it takes to come to
/// rest, people's visits every five minutes included, but two hours at most.
fn live(seed: u64) -> World {
    let mut world = World::new(seed);
    world.run_until(Instant::default() + 23 * HOUR);
    world.calm_down();
    let calm = world.now;
    while world.now < calm + HOUR || !world.is_at_rest() && world.now < calm + 2 * HOUR {
        world.run_until(world.now + Duration::from_secs(10));
    }
    world.check_uses();
    world.check_connected();
    world
}

/// Says which world it was, if it ends in a panic.
struct TellSeed(u64);

impl Drop for TellSeed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "again: OUTGATE_SEED={} cargo test -p tests --test simulation",
                self.0
            );
        }
    }
}

fn sha256(bytes: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
