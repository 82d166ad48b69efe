//! Everything at once for a long time, with a fault every few seconds, and every byte checked.

use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use connector_proto::local::EngineSetting;
use rustix::process::Pid;
use tests::folders;
use tests::skip::is_long;

mod faults;
mod ledger;
mod users;

use faults::{Deck, Fate};
use users::World;

use crate::application::Application;
use crate::ground::on_own_ground;
use crate::process::{descriptors, memory};
use crate::relay::Relay;
use crate::site::{Answer, Door, Site, Terms};
use crate::until;

/// How long it takes, and how long what goes wrong lasts.
#[derive(Clone, Copy)]
struct Pace {
    total: Duration,
    /// Between two faults.
    every: Duration,
    /// How long a stall lasts.
    stall: Duration,
    /// How long the network is gone.
    gone: Duration,
    /// How long a session lasts that lasts.
    span: Duration,
}

const LONG: Pace = Pace {
    total: Duration::from_secs(30 * 60),
    every: Duration::from_secs(20),
    stall: Duration::from_secs(5),
    gone: Duration::from_secs(3),
    span: Duration::from_secs(25),
};

const SHORT: Pace = Pace {
    total: Duration::from_secs(20),
    every: Duration::from_secs(1),
    stall: Duration::from_millis(1_000),
    gone: Duration::from_millis(1_000),
    span: Duration::from_secs(3),
};

/// Where faults begin; `OUTGATE_SEED` is another one.
const SEED: u64 = 1;
/// Connections of a connector that carries nothing: its control channel and the warm ones.
const AT_REST: usize = 1 + 8;
/// Sessions that are opened at once before memory is looked at.
const RUSH: u64 = 100;
/// Memory by which a connector may have grown: what it uses up to its busiest moment, and keeps.
const GROWTH_MAX: u64 = 8 << 20;
/// The same of the edge, which keeps two buffers of 19 MiB for hashing passwords once it has hashed two at a time.
const EDGE_GROWTH_MAX: u64 = ((2 * 20) << 20) + GROWTH_MAX;

/// What the two processes use at rest.
struct Rest {
    connector: Use,
    edge: Use,
}

struct Use {
    /// But for the sockets of data and control channels.
    descriptors: usize,
    memory: u64,
}

impl Rest {
    fn of(site: &Site, relay: &Relay) -> Self {
        let used = |pid: Pid| Use {
            descriptors: descriptors(pid) - relay.count(),
            memory: memory(pid),
        };
        Self {
            connector: used(site.connector.pid()),
            edge: used(site.edge_pid()),
        }
    }
}

#[test]
fn every_byte_arrives_whatever_goes_wrong_and_what_was_used_is_given_back() {
    on_own_ground(soak);
}

fn soak() {
    let pace = if is_long() { LONG } else { SHORT };
    let seed = std::env::var("OUTGATE_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    let application = Application::start();
    let relay = Relay::start();
    let terms = Terms {
        is_relayed: true,
        ..Terms::default()
    };
    let mut site = Site::start(terms);
    rush(&site);
    until("the warm channels", || relay.count() == AT_REST);
    let before = Rest::of(&site, &relay);
    let world = World::new(site.door(), application, pace.span);
    let began = Instant::now();
    let lives = world.begin();
    let mut fate = Fate {
        site: &mut site,
        relay: &relay,
        world: &world,
        pace,
        engine: EngineSetting::User,
    };
    fate.run(&mut Deck::new(seed));
    world.is_over.store(true, Ordering::SeqCst);
    for life in lives {
        life.join().unwrap();
    }
    let lasted = began.elapsed();
    site.connector.wait_for(|status| status.sessions == 0);
    if is_long() {
        // Warm channels that were dialled for a rush are retired by and by.
        until("the end of what is too many", || relay.count() <= AT_REST);
    }
    let after = settled(&site, &relay, &before);
    let rests = [before, after];
    let summary = summary(&world, &rests, lasted, seed);
    eprintln!("{summary}");
    let place = folders::target().join("bench");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("soak.md"), &summary).unwrap();
    assert_memory_is_back(&rests);
    let mut unexplained = world.ledger.unexplained();
    unexplained.extend(world.application.wrong());
    assert!(
        unexplained.is_empty(),
        "seed {seed}: {unexplained:#?}\n{}",
        site.connector.last_words()
    );
}

/// Many sessions at once, after which a process has what it keeps.
fn rush(site: &Site) {
    let door = site.door();
    // The first one's password is hashed, and remembered for the others.
    drop(door.enter().unwrap());
    let users: Vec<_> = (0..RUSH).map(|_| door.knock().unwrap()).collect();
    for mut user in users {
        assert!(matches!(Door::answer(&mut user).unwrap(), Answer::Open));
    }
    site.connector
        .wait_for(|status| status.sessions == 0 && status.sessions_total == RUSH + 1);
}

/// What is used once nothing is on its way any more.
fn settled(site: &Site, relay: &Relay, before: &Rest) -> Rest {
    let is_back = || {
        let now = Rest::of(site, relay);
        now.connector.descriptors <= before.connector.descriptors
            && now.edge.descriptors <= before.edge.descriptors
    };
    until("the descriptors back where they were", is_back);
    Rest::of(site, relay)
}

fn assert_memory_is_back([before, after]: &[Rest; 2]) {
    for (name, before, after, growth_max) in [
        ("connector", &before.connector, &after.connector, GROWTH_MAX),
        ("edge", &before.edge, &after.edge, EDGE_GROWTH_MAX),
    ] {
        let (before, after) = (before.memory, after.memory);
        assert!(
            after < before + growth_max,
            "{name}: {after} bytes, {before} before"
        );
    }
}

fn summary(world: &World, [before, after]: &[Rest; 2], lasted: Duration, seed: u64) -> String {
    let mut text = format!(
        "| soak of {} s, seed {seed} | |\n|---|---|\n{}",
        lasted.as_secs(),
        world.ledger
    );
    for (name, before, after) in [
        ("connector", &before.connector, &after.connector),
        ("edge", &before.edge, &after.edge),
    ] {
        let _ = writeln!(
            text,
            "| {name}: descriptors beside its channels, before and after | {} and {} |",
            before.descriptors, after.descriptors
        );
        let _ = writeln!(
            text,
            "| {name}: memory of its own, before and after | {} and {} KiB |",
            before.memory >> 10,
            after.memory >> 10
        );
    }
    text
}
