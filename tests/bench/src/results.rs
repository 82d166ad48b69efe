//! What was measured: values of each peer by key, a value for each round.

use std::collections::BTreeMap;

use crate::load::bulk::Mix;
use crate::peers::{Kind, Peer, SPLICE};
use crate::statistics::{mean, median, spread};

/// The flows of bulk: name, flows, and the keys of what is measured.
pub const FLOWS: [(&str, Mix, &str, &str); 4] = [
    ("1 up", Mix::up(1), "cpu_s_per_gib_1_up", "gbit_s_1_up"),
    (
        "1 down",
        Mix::down(1),
        "cpu_s_per_gib_1_down",
        "gbit_s_1_down",
    ),
    ("8 up", Mix::up(8), "cpu_s_per_gib_8_up", "gbit_s_8_up"),
    (
        "8 down",
        Mix::down(8),
        "cpu_s_per_gib_8_down",
        "gbit_s_8_down",
    ),
];
/// Processor time of the connector side in seconds for each GiB; mean of the four flows.
pub const CPU: &str = "cpu_s_per_gib_mean";
/// Throughput in Gbit/s, mean of both directions, of one stream and of eight.
pub const RATE: [&str; 2] = ["gbit_s_1_mean", "gbit_s_8_mean"];
/// Part of a core that the connector side uses at 500 Mbit/s, mean of both directions.
pub const CORE: &str = "core_at_500_mbit_s";

/// Clients that open sessions, and the keys of what is measured of them.
pub const CLIENTS: [(usize, SessionKeys); 2] = [
    (
        1,
        SessionKeys {
            per_second: "sessions_per_s_1",
            p50_us: "session_p50_us_1",
            p99_us: "session_p99_us_1",
            cpu_us: "session_cpu_us_1",
        },
    ),
    (
        8,
        SessionKeys {
            per_second: "sessions_per_s_8",
            p50_us: "session_p50_us_8",
            p99_us: "session_p99_us_8",
            cpu_us: "session_cpu_us_8",
        },
    ),
];

/// Keys of new sessions.
#[derive(Debug, Clone, Copy)]
pub struct SessionKeys {
    /// Sessions a second.
    pub per_second: &'static str,
    /// From the dial to the byte that came back.
    pub p50_us: &'static str,
    /// The same of the slowest in a hundred.
    pub p99_us: &'static str,
    /// Processor time of the connector side for each.
    pub cpu_us: &'static str,
}

/// A byte there and back, nothing else under way: p50 and p99 in microseconds.
pub const PING_IDLE: [&str; 2] = ["ping_idle_p50_us", "ping_idle_p99_us"];
/// The same beside four flows of 125 Mbit/s.
pub const PING_BULK: [&str; 2] = ["ping_bulk_p50_us", "ping_bulk_p99_us"];

/// Resident memory of the connector side without sessions, in bytes.
pub const BASE: &str = "base_resident_bytes";
/// User memory for each idle session, in bytes, at the smaller count and at the larger one.
pub const IDLE_USER: [&str; 2] = ["idle_user_bytes_few", "idle_user_bytes_many"];
/// The kernel's objects for each session, the connector side's part, at the larger count.
pub const IDLE_KERNEL: &str = "idle_kernel_bytes_many";
/// Idle sessions that were held and answered with their own byte.
pub const IDLE_ALIVE: &str = "idle_alive";
/// By which part memory grew while they were held and when they answered.
pub const IDLE_GROWTH: &str = "idle_growth";

/// A run whose plain splice spreads by more than this is worth nothing.
pub const SPREAD_MAX: f64 = 0.30;

/// A whole run.
#[derive(Debug)]
pub struct Results {
    /// The machine.
    pub machine: String,
    /// Rounds.
    pub rounds: usize,
    /// Whether measurements were short.
    pub quick: bool,
    /// Idle sessions that were asked for: the smaller count and the larger one.
    pub idle_counts: [usize; 2],
    /// The peers, in the order of the tables.
    pub peers: Vec<PeerResults>,
}

/// What was measured of one peer.
#[derive(Debug)]
pub struct PeerResults {
    /// The peer.
    pub peer: Peer,
    /// Values by key, one for each round.
    pub samples: Samples,
    /// Why it has no values, or not all of them.
    pub trouble: Option<String>,
    /// How many idle sessions it held and why it took no more.
    pub idle_end: Option<String>,
}

/// Values by key.
#[derive(Debug, Default)]
pub struct Samples(BTreeMap<&'static str, Vec<f64>>);

impl Samples {
    /// Adds this round's value.
    pub fn push(&mut self, key: &'static str, value: f64) {
        self.0.entry(key).or_default().push(value);
    }

    /// The values of all rounds.
    #[must_use]
    pub fn of(&self, key: &str) -> &[f64] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// All keys with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &[f64])> {
        self.0.iter().map(|(key, values)| (*key, values.as_slice()))
    }

    /// Adds the mean of what this round measured under `keys`, if it measured all of it.
    pub fn push_mean(&mut self, key: &'static str, keys: &[&str], round: usize) {
        let values: Option<Vec<f64>> = keys
            .iter()
            .map(|key| self.of(key).get(round).copied())
            .collect();
        if let Some(mean) = values.as_deref().and_then(mean) {
            self.push(key, mean);
        }
    }
}

impl PeerResults {
    /// One of which nothing was measured yet.
    #[must_use]
    pub fn new(peer: Peer) -> Self {
        Self {
            peer,
            samples: Samples::default(),
            trouble: None,
            idle_end: None,
        }
    }

    /// The median over the rounds.
    #[must_use]
    pub fn median(&self, key: &str) -> Option<f64> {
        median(self.samples.of(key))
    }
}

impl Results {
    /// A peer by its name.
    #[must_use]
    pub fn peer(&self, name: &str) -> Option<&PeerResults> {
        self.peers.iter().find(|results| results.peer.name == name)
    }

    /// A median of a peer by its name.
    #[must_use]
    pub fn median(&self, name: &str, key: &str) -> Option<f64> {
        self.peer(name)?.median(key)
    }

    /// The medians of all other tunnels.
    pub fn theirs<'a>(&'a self, key: &'a str) -> impl Iterator<Item = f64> + 'a {
        let theirs = self
            .peers
            .iter()
            .filter(|results| results.peer.kind == Kind::Theirs);
        theirs.filter_map(move |results| results.median(key))
    }

    /// By how much plain splice spreads over the rounds: in processor time or in throughput, whichever is
    /// more.
    #[must_use]
    pub fn yardstick_spread(&self) -> Option<f64> {
        let splice = self.peer(SPLICE)?;
        let keys = [CPU, RATE[0], RATE[1]];
        let spreads = keys.iter().filter_map(|key| spread(splice.samples.of(key)));
        spreads.max_by(f64::total_cmp)
    }

    /// Why the run is worth nothing; `None`: it is not.
    #[must_use]
    pub fn rejected(&self) -> Option<String> {
        let spread = self.yardstick_spread()?;
        (spread > SPREAD_MAX).then(|| {
            format!(
                "plain splice spread by {:.0} % over the rounds, of at most {:.0} %: something else \
                 ran on this machine. Run it again when it is quiet",
                100.0 * spread,
                100.0 * SPREAD_MAX
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::results;

    #[test]
    fn a_run_is_rejected_by_the_spread_of_its_yardstick() {
        assert_eq!(
            results(&[(SPLICE, CPU, &[0.10, 0.11, 0.12])]).rejected(),
            None
        );
        assert_eq!(results(&[("copy", CPU, &[0.1, 0.9])]).rejected(), None);
        let noisy = [
            (SPLICE, CPU, &[0.12, 0.12, 0.12][..]),
            (SPLICE, RATE[1], &[20.0, 30.0, 40.0]),
        ];
        let why = results(&noisy).rejected().unwrap();
        assert!(
            why.contains("67 % over the rounds, of at most 30 %"),
            "{why}"
        );
    }

    #[test]
    fn a_mean_is_of_one_round_and_only_of_a_whole_one() {
        let mut samples = Samples::default();
        samples.push("a", 1.0);
        samples.push("b", 2.0);
        samples.push_mean("mean", &["a", "b"], 0);
        samples.push("a", 5.0);
        samples.push_mean("mean", &["a", "b"], 1);
        assert_eq!(samples.of("mean"), [1.5]);
    }
}
