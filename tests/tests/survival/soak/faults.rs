//! What goes wrong, in an order that comes from a seed.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use connector_proto::local::EngineSetting;

use super::Pace;
use super::ledger::Cuts;
use super::users::World;
use crate::ground::set_way_open;
use crate::relay::{Harm, Relay, Which};
use crate::site::Site;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    UserResets,
    ApplicationResets,
    ChannelReset,
    ChannelTruncated,
    PathStalls,
    UserStalls,
    PacketsLost,
    NetworkGone,
    ConnectorKilled,
    EdgeKilled,
    EngineSwitched,
}

use Fault::{
    ApplicationResets, ChannelReset, ChannelTruncated, ConnectorKilled, EdgeKilled, EngineSwitched,
    NetworkGone, PacketsLost, PathStalls, UserResets, UserStalls,
};

/// Each with what it may do to sessions and whether it may keep new ones out.
const FAULTS: [(Fault, &str, Cuts, bool); 11] = [
    (UserResets, "a user resets", Cuts::None, false),
    (
        ApplicationResets,
        "the application resets",
        Cuts::One,
        false,
    ),
    (
        ChannelReset,
        "a data channel is reset on its way",
        Cuts::One,
        false,
    ),
    (
        ChannelTruncated,
        "a data channel ends without TLS's end",
        Cuts::One,
        false,
    ),
    (
        PathStalls,
        "nothing is passed on between connector and edge",
        Cuts::None,
        true,
    ),
    (UserStalls, "a user takes nothing", Cuts::None, false),
    (
        PacketsLost,
        "a third of the packets is lost, in bursts",
        Cuts::None,
        true,
    ),
    (
        NetworkGone,
        "the network between connector and edge is gone",
        Cuts::None,
        true,
    ),
    (
        ConnectorKilled,
        "the connector is killed and started",
        Cuts::All,
        true,
    ),
    (
        EdgeKilled,
        "the edge is killed and started",
        Cuts::All,
        true,
    ),
    (EngineSwitched, "the engine is switched", Cuts::All, true),
];

/// Deals each fault once before any comes twice.
pub struct Deck {
    state: u64,
    left: Vec<usize>,
}

impl Deck {
    pub const fn new(seed: u64) -> Self {
        Self {
            state: seed,
            left: Vec::new(),
        }
    }

    fn deal(&mut self) -> (Fault, &'static str, Cuts, bool) {
        if self.left.is_empty() {
            self.left = (0..FAULTS.len()).collect();
        }
        // `SplitMix64`.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let at = usize::try_from(mixed >> 40).unwrap() % self.left.len();
        FAULTS[self.left.swap_remove(at)]
    }
}

/// Who brings the faults about.
pub struct Fate<'a> {
    pub site: &'a mut Site,
    pub relay: &'a Relay,
    pub world: &'a World,
    pub pace: Pace,
    pub engine: EngineSetting,
}

impl Fate<'_> {
    /// Has faults happen for as long as the pace says. The processes are left alone in the last third: what they
    /// leak shows then.
    pub fn run(&mut self, deck: &mut Deck) {
        let began = Instant::now();
        while began.elapsed() < self.pace.total {
            thread::sleep(self.pace.every);
            let (fault, name, cuts, refuses) = deck.deal();
            let restarts = matches!(fault, ConnectorKilled | EdgeKilled | EngineSwitched);
            if restarts && began.elapsed() > self.pace.total * 2 / 3 {
                continue;
            }
            eprintln!("{:>7.1} s: {name}", began.elapsed().as_secs_f32());
            let world = self.world;
            world
                .ledger
                .during(name, cuts, refuses, || self.bring(fault));
        }
    }

    fn bring(&mut self, fault: Fault) {
        let (world, pace) = (self.world, self.pace);
        match fault {
            UserResets => {
                world.is_reset_wanted.store(true, Ordering::SeqCst);
            }
            ApplicationResets => {
                // Between two sessions of bulk there is none, and nothing happens.
                world.application.reset(world.bulk.load(Ordering::SeqCst));
            }
            ChannelReset => drop(self.relay.harm(Which::Busiest, Harm::Reset)),
            ChannelTruncated => drop(self.relay.harm(Which::Busiest, Harm::Finish)),
            PathStalls => self.relay.stall(pace.stall),
            UserStalls => {
                world.is_stalled.store(true, Ordering::SeqCst);
                thread::sleep(pace.stall);
                world.is_stalled.store(false, Ordering::SeqCst);
            }
            PacketsLost => lose(pace.stall),
            NetworkGone => {
                set_way_open(false);
                thread::sleep(pace.gone);
                set_way_open(true);
            }
            ConnectorKilled => {
                self.site.connector.kill();
                self.start_connector();
            }
            EdgeKilled => {
                self.site.edge.restart().unwrap();
                // It knows of no connector, and the connector finds out.
                self.site.wait_for_a_session();
            }
            EngineSwitched => {
                self.engine = match self.engine {
                    EngineSetting::User => EngineSetting::Kernel,
                    _ => EngineSetting::User,
                };
                self.site.connector.stop();
                self.start_connector();
            }
        }
    }

    fn start_connector(&mut self) {
        self.site.connector.start(self.engine);
        self.site.connector.wait_until_connected();
        self.site.wait_for_a_session();
    }
}

/// For so long, of every 150 ms the packets of 50 are lost.
fn lose(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        set_way_open(false);
        thread::sleep(Duration::from_millis(50));
        set_way_open(true);
        thread::sleep(Duration::from_millis(100));
    }
}
