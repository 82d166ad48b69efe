//! What Outgate must reach, as ratios of medians of the same run.

use serde_json::{Value, json};

use super::table::Table;
use crate::peers::{COPY, OUTGATE, SPLICE};
use crate::results::{
    BASE, CLIENTS, CORE, CPU, IDLE_ALIVE, IDLE_GROWTH, IDLE_USER, PING_BULK, RATE, Results,
};
use crate::statistics::to_f64;

/// A bound that Outgate is held to.
struct Target {
    what: &'static str,
    measured: fn(&Results) -> Option<f64>,
    /// `None`: there is only a limit to come near to.
    must: Option<Bound>,
    near: Option<Bound>,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}
use Bound::{AtLeast, AtMost};

const NGINX: &str = "nginx";
const RATHOLE: &str = "rathole";

const TARGETS: &[Target] = &[
    Target {
        what: "CPU-s/GiB: times nginx's",
        measured: |run| ratio(run, CPU, NGINX),
        must: Some(AtMost(0.45)),
        near: None,
    },
    Target {
        what: "CPU-s/GiB: times rathole's",
        measured: |run| ratio(run, CPU, RATHOLE),
        must: Some(AtMost(0.33)),
        near: None,
    },
    Target {
        what: "CPU-s/GiB: times plain read/write's",
        measured: |run| ratio(run, CPU, COPY),
        must: Some(AtMost(1.1)),
        near: Some(AtMost(0.9)),
    },
    Target {
        what: "Gbit/s, 1 stream: times the best TLS peer's",
        measured: |run| of_largest(run, RATE[0]),
        must: Some(AtLeast(1.8)),
        near: None,
    },
    Target {
        what: "Gbit/s, 8 streams: times the best TLS peer's",
        measured: |run| of_largest(run, RATE[1]),
        must: Some(AtLeast(1.8)),
        near: None,
    },
    Target {
        what: "Gbit/s, 1 stream: times plain read/write's",
        measured: |run| ratio(run, RATE[0], COPY),
        must: None,
        near: Some(AtLeast(0.6)),
    },
    Target {
        what: "core at 500 Mbit/s: times the best TLS peer's",
        measured: |run| of_smallest(run, CORE),
        must: Some(AtMost(0.55)),
        near: None,
    },
    Target {
        what: "core at 500 Mbit/s: times plain splice's",
        measured: |run| ratio(run, CORE, SPLICE),
        must: None,
        near: Some(AtMost(1.5)),
    },
    Target {
        what: "new session, CPU: times nginx's",
        measured: |run| ratio(run, CLIENTS[0].1.cpu_us, NGINX),
        must: Some(AtMost(0.5)),
        near: None,
    },
    Target {
        what: "new session, CPU us",
        measured: |run| run.median(OUTGATE, CLIENTS[0].1.cpu_us),
        must: None,
        near: Some(AtMost(150.0)),
    },
    Target {
        what: "new session, p50, 1 client: times plain read/write's",
        measured: |run| ratio(run, CLIENTS[0].1.p50_us, COPY),
        must: Some(AtMost(2.0)),
        near: None,
    },
    Target {
        what: "ping-pong p50 beside bulk: times the best TLS peer's",
        measured: |run| of_smallest(run, PING_BULK[0]),
        must: Some(AtMost(1.0)),
        near: None,
    },
    Target {
        what: "ping-pong p50 beside bulk: times plain splice's",
        measured: |run| ratio(run, PING_BULK[0], SPLICE),
        must: None,
        near: Some(AtMost(1.3)),
    },
    Target {
        what: "idle session, user memory, KiB, at the larger count",
        measured: |run| Some(run.median(OUTGATE, IDLE_USER[1])? / 1024.0),
        must: Some(AtMost(1.5)),
        near: Some(AtMost(0.5)),
    },
    Target {
        what: "base resident memory, MiB",
        measured: |run| Some(run.median(OUTGATE, BASE)? / 1_048_576.0),
        must: Some(AtMost(8.0)),
        near: Some(AtMost(5.0)),
    },
    Target {
        what: "idle sessions alive and correct: part of those asked for",
        measured: |run| {
            let asked = to_f64(run.idle_counts[1]);
            Some(run.median(OUTGATE, IDLE_ALIVE).unwrap_or(0.0) / asked)
        },
        must: Some(AtLeast(1.0)),
        near: None,
    },
    Target {
        what: "memory grown while they were held: part",
        measured: |run| run.median(OUTGATE, IDLE_GROWTH),
        must: Some(AtMost(0.05)),
        near: None,
    },
];

/// What was to be reached and what was.
pub fn table(results: &Results) -> Table {
    let heads = [
        "Outgate's targets",
        "measured",
        "must",
        "",
        "near the limit",
        "",
    ];
    let mut table = Table::new(heads.map(str::to_owned));
    for target in TARGETS {
        let value = measured(results, target);
        let verdict = |bound: Option<Bound>, words: [&str; 2]| match (bound, value) {
            (Some(bound), Some(value)) => words[usize::from(!bound.holds(value))].to_owned(),
            _ => String::new(),
        };
        table.row([
            target.what.to_owned(),
            value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}")),
            target
                .must
                .map_or_else(String::new, |bound| bound.to_string()),
            verdict(target.must, ["met", "MISSED"]),
            target
                .near
                .map_or_else(String::new, |bound| bound.to_string()),
            verdict(target.near, ["met", "not yet"]),
        ]);
    }
    table
}

/// The same for programs.
pub fn json(results: &Results) -> Value {
    let targets = TARGETS.iter().map(|target| {
        let value = measured(results, target);
        let met = |bound: Option<Bound>| Some(bound?.holds(value?));
        json!({
            "what": target.what,
            "measured": value,
            "must": target.must.map(|bound| bound.to_string()),
            "met": met(target.must),
            "near": target.near.map(|bound| bound.to_string()),
            "near_met": met(target.near),
        })
    });
    targets.collect()
}

/// Nothing, unless Outgate was measured.
fn measured(results: &Results, target: &Target) -> Option<f64> {
    results.median(OUTGATE, BASE)?;
    (target.measured)(results)
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            AtMost(bound) => value <= bound,
            AtLeast(bound) => value >= bound,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AtMost(bound) => write!(f, "<= {bound}"),
            AtLeast(bound) => write!(f, ">= {bound}"),
        }
    }
}

fn ratio(run: &Results, key: &str, other: &str) -> Option<f64> {
    Some(run.median(OUTGATE, key)? / run.median(other, key)?)
}

fn of_largest(run: &Results, key: &str) -> Option<f64> {
    Some(run.median(OUTGATE, key)? / run.theirs(key).max_by(f64::total_cmp)?)
}

fn of_smallest(run: &Results, key: &str) -> Option<f64> {
    Some(run.median(OUTGATE, key)? / run.theirs(key).min_by(f64::total_cmp)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::results;

    fn row(run: &Results, what: &str) -> Vec<String> {
        let table = table(run).to_string();
        let line = table.lines().find(|line| line.contains(what)).unwrap();
        line.split('|')
            .skip(2)
            .map(|cell| cell.trim().to_owned())
            .collect()
    }

    #[test]
    fn a_target_is_met_or_missed_by_the_medians_of_one_run() {
        let run = results(&[
            (OUTGATE, BASE, &[9.0 * 1_048_576.0]),
            (OUTGATE, CPU, &[0.3, 0.4, 0.35]),
            (NGINX, CPU, &[0.9]),
            (COPY, CPU, &[0.36]),
        ]);
        let cells = row(&run, "times nginx's");
        assert_eq!(cells[..3], ["0.39", "<= 0.45", "met"]);
        let cells = row(&run, "CPU-s/GiB: times plain read/write's");
        assert_eq!(cells[..5], ["0.97", "<= 1.1", "met", "<= 0.9", "not yet"]);
        assert_eq!(row(&run, "base resident")[..3], ["9.00", "<= 8", "MISSED"]);
        assert_eq!(row(&run, "rathole's")[..3], ["-", "<= 0.33", ""]);
        assert_eq!(
            row(&run, "alive and correct")[..3],
            ["0.00", ">= 1", "MISSED"]
        );
    }

    #[test]
    fn the_best_peer_is_the_best_of_the_other_tunnels() {
        let run = results(&[
            (OUTGATE, BASE, &[1.0]),
            (OUTGATE, RATE[0], &[10.0]),
            (OUTGATE, CORE, &[0.05]),
            (COPY, RATE[0], &[20.0]),
            (NGINX, RATE[0], &[4.0]),
            (RATHOLE, RATE[0], &[5.0]),
            (NGINX, CORE, &[0.2]),
            (RATHOLE, CORE, &[0.1]),
        ]);
        assert_eq!(of_largest(&run, RATE[0]), Some(2.0));
        assert_eq!(of_smallest(&run, CORE), Some(0.5));
    }

    #[test]
    fn without_outgate_nothing_is_met_and_nothing_missed() {
        let table = table(&results(&[(NGINX, CPU, &[0.9])])).to_string();
        assert!(
            !table.contains("met") && !table.contains("MISSED"),
            "{table}"
        );
    }
}
