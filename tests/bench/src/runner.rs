//! The rounds: every peer in turn is started, measured and ended, each round in another order.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::load::bulk::{Bulk, Mix};
use crate::load::door::Door;
use crate::load::flow::Flows;
use crate::load::idle::Idle;
use crate::load::{application, ping, sessions};
use crate::measure::{Cpu, Memory, kernel_objects, machine, sockets};
use crate::options::Options;
use crate::peers::{PEERS, Peer};
use crate::results::{
    BASE, CLIENTS, CORE, CPU, FLOWS, IDLE_ALIVE, IDLE_GROWTH, IDLE_KERNEL, IDLE_USER, PING_BULK,
    PING_IDLE, PeerResults, RATE, Results, Samples,
};
use crate::scene::{Running, Scene, TARGET};
use crate::statistics::{mean, percentile, to_f64};
use crate::trouble::Trouble;

/// How long a peer may take until a byte comes back through it.
const READY_MAX: Duration = Duration::from_secs(20);
/// 500 Mbit/s in bytes a second.
const HALF_GIGABIT: u64 = 500_000_000 / 8;
const GIB: f64 = 1_073_741_824.0;

/// How long each measurement takes.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Before a flow is measured.
    warm_up: Duration,
    /// Of each flow, each number of clients, and each ping-pong.
    window: Duration,
    /// For which idle sessions are left alone.
    hold: Duration,
    idle_counts: [usize; 2],
}

const FULL: Plan = Plan {
    warm_up: Duration::from_millis(300),
    window: Duration::from_secs(2),
    hold: Duration::from_secs(5),
    idle_counts: [1000, 9000],
};
const QUICK: Plan = Plan {
    warm_up: Duration::from_millis(100),
    window: Duration::from_millis(300),
    hold: Duration::from_millis(500),
    idle_counts: [100, 1000],
};

/// Runs everything. What a peer cannot do is in its results.
///
/// # Errors
/// If the application cannot be started.
pub fn run(options: &Options, scene: &Scene) -> Result<Results, Trouble> {
    let plan = if options.quick { QUICK } else { FULL };
    let flows = Arc::new(Flows::default());
    application::start(TARGET, Arc::clone(&flows)).map_err(Trouble::at("the application"))?;
    let wanted = PEERS.iter().filter(|peer| options.wants(peer.name));
    let mut results = Results {
        machine: machine(),
        rounds: options.rounds,
        quick: options.quick,
        idle_counts: plan.idle_counts,
        peers: wanted.copied().map(PeerResults::new).collect(),
    };
    let count = results.peers.len();
    for round in 0..options.rounds {
        for at in 0..count {
            let peer = &mut results.peers[(at + round) % count];
            let name = peer.peer.name;
            let start = Instant::now();
            eprint!("round {} of {}: {name} ", round + 1, options.rounds);
            let said = match measure(peer, scene, &flows, plan, round) {
                Ok(()) => format!("took {:.0} s", start.elapsed().as_secs_f32()),
                Err(Trouble::Missing(why)) => give_up(peer, format!("skipped: {why}")),
                Err(Trouble::Failed(why)) => give_up(peer, format!("failed: {why}")),
            };
            eprintln!("{said}");
        }
    }
    Ok(results)
}

fn give_up(peer: &mut PeerResults, why: String) -> String {
    peer.trouble.get_or_insert(why).clone()
}

fn measure(
    results: &mut PeerResults,
    scene: &Scene,
    flows: &Flows,
    plan: Plan,
    round: usize,
) -> Result<(), Trouble> {
    let mut running = start(results.peer, scene)?;
    let mut bench = Bench {
        pids: running.connector(),
        door: running.door.clone(),
        flows,
        plan,
        samples: &mut results.samples,
    };
    let measured = bench.all(round, &mut results.idle_end);
    measured.map_err(|trouble| match running.casualty() {
        None => trouble,
        Some(casualty) => Trouble::Failed(format!("{trouble}; a program ended with {casualty}")),
    })
}

/// Starts a peer and waits until a byte comes back through it. Other people's programs have no other
/// sign of being ready.
fn start(peer: Peer, scene: &Scene) -> Result<Running, Trouble> {
    let mut running = (peer.start)(scene)?;
    let end = Instant::now() + READY_MAX;
    loop {
        let Err(error) = sessions::open(&running.door) else {
            return Ok(running);
        };
        if let Some(casualty) = running.casualty() {
            return Err(Trouble::Failed(format!("a program ended with {casualty}")));
        }
        if Instant::now() > end {
            let why = format!("no byte comes back within {READY_MAX:?}: {error}");
            return Err(Trouble::Failed(why));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// One peer that runs, and what is measured of it.
struct Bench<'a> {
    door: Door,
    pids: Vec<u32>,
    flows: &'a Flows,
    plan: Plan,
    samples: &'a mut Samples,
}

/// What a window of bulk came to.
struct Window {
    seconds: f64,
    bytes: f64,
    cpu_seconds: f64,
}

impl Bench<'_> {
    fn all(&mut self, round: usize, idle_end: &mut Option<String>) -> Result<(), Trouble> {
        self.samples
            .push(BASE, to_f64(Memory::of(&self.pids).resident));
        self.bulk(round)?;
        self.half_gigabit()?;
        self.sessions()?;
        self.pings()?;
        if round == 0 {
            *idle_end = self.idle();
        }
        Ok(())
    }

    fn bulk(&mut self, round: usize) -> Result<(), Trouble> {
        for (name, mix, cpu, rate) in FLOWS {
            let window = self.window(mix, None).map_err(Trouble::at(name))?;
            self.samples
                .push(cpu, window.cpu_seconds / (window.bytes / GIB));
            self.samples
                .push(rate, window.bytes * 8.0 / 1e9 / window.seconds);
        }
        let [one_up, one_down, eight_up, eight_down] = FLOWS.map(|(.., rate)| rate);
        self.samples
            .push_mean(CPU, &FLOWS.map(|(_, _, cpu, _)| cpu), round);
        self.samples.push_mean(RATE[0], &[one_up, one_down], round);
        self.samples
            .push_mean(RATE[1], &[eight_up, eight_down], round);
        Ok(())
    }

    fn half_gigabit(&mut self) -> Result<(), Trouble> {
        let mut cores = Vec::new();
        for mix in [Mix::up(1), Mix::down(1)] {
            let window = self
                .window(mix, Some(HALF_GIGABIT))
                .map_err(Trouble::at("500 Mbit/s"))?;
            // Of what went through, in case that was less.
            let share = window.bytes / window.seconds / to_f64(HALF_GIGABIT);
            cores.push(window.cpu_seconds / window.seconds / share);
        }
        if let Some(core) = mean(&cores) {
            self.samples.push(CORE, core);
        }
        Ok(())
    }

    fn window(&self, mix: Mix, rate: Option<u64>) -> Result<Window, Trouble> {
        let bulk = Bulk::start(&self.door, self.flows, mix, rate)?;
        thread::sleep(self.plan.warm_up);
        let (start, bytes, cpu) = (Instant::now(), bulk.received(), Cpu::of(&self.pids));
        thread::sleep(self.plan.window);
        let window = Window {
            cpu_seconds: Cpu::of(&self.pids).seconds_since(cpu),
            bytes: to_f64(bulk.received() - bytes),
            seconds: start.elapsed().as_secs_f64(),
        };
        bulk.finish()?;
        Ok(window)
    }

    fn sessions(&mut self) -> Result<(), Trouble> {
        for (clients, keys) in CLIENTS {
            let cpu = Cpu::of(&self.pids);
            let result = sessions::run(&self.door, clients, self.plan.window);
            let what = format!("sessions of {clients} clients");
            let (latencies, seconds) = result.map_err(Trouble::at(what))?;
            let used = Cpu::of(&self.pids).seconds_since(cpu);
            let count = to_f64(latencies.len());
            self.samples.push(keys.per_second, count / seconds);
            self.samples.push(keys.cpu_us, used * 1e6 / count);
            self.push_percentiles([keys.p50_us, keys.p99_us], &latencies);
        }
        Ok(())
    }

    fn pings(&mut self) -> Result<(), Trouble> {
        let ping = |bench: &Self| ping::run(&bench.door, bench.plan.window);
        let idle = ping(self).map_err(Trouble::at("ping-pong"))?;
        self.push_percentiles(PING_IDLE, &idle);
        let mix = Mix { up: 2, down: 2 };
        let bulk = Bulk::start(&self.door, self.flows, mix, Some(HALF_GIGABIT / 4))?;
        thread::sleep(self.plan.warm_up);
        let beside = ping(self).map_err(Trouble::at("ping-pong beside bulk"))?;
        bulk.finish()
            .map_err(Trouble::at("bulk beside ping-pong"))?;
        self.push_percentiles(PING_BULK, &beside);
        Ok(())
    }

    fn push_percentiles(&mut self, keys: [&'static str; 2], values: &[f64]) {
        for (key, share) in keys.into_iter().zip([0.50, 0.99]) {
            if let Some(value) = percentile(values, share) {
                self.samples.push(key, value);
            }
        }
    }

    /// Opens idle sessions, lets them be, and has each of them answer. Returns where that ended, if it
    /// was not at the count that was asked for.
    fn idle(&mut self) -> Option<String> {
        let before = Held::now(&self.pids);
        let mut idle = Idle::default();
        for (count, key) in self.plan.idle_counts.into_iter().zip(IDLE_USER) {
            let grown = idle.grow_to(count, &self.door);
            thread::sleep(self.plan.warm_up);
            let held = Held::now(&self.pids);
            let sessions = to_f64(idle.count());
            self.samples.push(key, held.user_since(&before) / sessions);
            if let Err((held, why)) = grown {
                return Some(format!("ended at {held} idle sessions: {why}"));
            }
        }
        let full = Held::now(&self.pids);
        let sessions = to_f64(idle.count());
        self.samples
            .push(IDLE_KERNEL, full.kernel_since(&before) / sessions);
        thread::sleep(self.plan.hold);
        let alive = match idle.check() {
            Ok(alive) => alive,
            Err(why) => return Some(why),
        };
        self.samples.push(IDLE_ALIVE, to_f64(alive));
        let growth = Held::now(&self.pids).user_since(&full) / full.user;
        self.samples.push(IDLE_GROWTH, growth);
        None
    }
}

/// What is held at one moment.
struct Held {
    /// User memory of the connector side, bytes.
    user: f64,
    /// Its sockets.
    sockets: f64,
    /// TCP sockets of the namespace.
    all_sockets: f64,
    /// Objects of the kernel, bytes.
    kernel: f64,
}

impl Held {
    fn now(pids: &[u32]) -> Self {
        Self {
            user: to_f64(Memory::of(pids).proportional),
            sockets: to_f64(sockets(pids)),
            all_sockets: tcp_sockets(),
            kernel: to_f64(kernel_objects()),
        }
    }

    fn user_since(&self, earlier: &Self) -> f64 {
        self.user - earlier.user
    }

    /// The connector side's part of what the kernel's objects grew by, by its part of the sockets.
    fn kernel_since(&self, earlier: &Self) -> f64 {
        let part = (self.sockets - earlier.sockets) / (self.all_sockets - earlier.all_sockets);
        (self.kernel - earlier.kernel) * part
    }
}

/// `TCP: inuse N ...` of the network that this process is in.
fn tcp_sockets() -> f64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("TCP: inuse "));
    let count = line.and_then(|line| line.split(' ').next()?.parse::<u64>().ok());
    to_f64(count.unwrap_or(0))
}
