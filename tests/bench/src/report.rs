//! The tables, for the terminal and for documents, and everything for programs.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::options::Options;
use crate::results::{
    BASE, CLIENTS, CORE, CPU, FLOWS, IDLE_ALIVE, IDLE_GROWTH, IDLE_KERNEL, IDLE_USER, PING_BULK,
    PING_IDLE, PeerResults, RATE, Results,
};
use crate::statistics::spread;
use crate::trouble::Trouble;

mod table;
mod targets;

use table::Table;

/// The documents with a table, relative to the checkout.
const DOCUMENTS: [&str; 2] = ["README.md", "docs/DATAPLANE.md"];
/// Around the tables in a document.
const BEGIN: &str = "<!-- begin: made by cargo bench-tunnel -->";
const END: &str = "<!-- end: made by cargo bench-tunnel -->";

/// All tables, in Markdown that is as readable on a terminal.
#[must_use]
pub fn text(results: &Results) -> String {
    let rejected = results.rejected();
    let rejected = rejected.map(|why| format!("**This run is rejected:** {why}."));
    let mut parts: Vec<String> = rejected.into_iter().collect();
    parts.extend([
        method(results),
        of_peers(results, "CPU-s/GiB, connector side", &bulk_columns()),
        of_peers(results, "new sessions and ping-pong", &session_columns()),
        of_peers(results, "memory, connector side", &memory_columns(results)),
        targets::table(results).to_string(),
    ]);
    parts.extend(remarks(results));
    parts.join("\n\n")
}

/// Writes JSON and Markdown, and the tables of the documents if that is wanted.
///
/// # Errors
/// Those of the files, and a document without a place for tables.
pub fn write(options: &Options, results: &Results) -> Result<(), Trouble> {
    let out = &options.places.out;
    fs::create_dir_all(out).map_err(Trouble::at(out.display()))?;
    let text = text(results);
    for (name, content) in [
        ("tunnel.md", format!("{text}\n")),
        ("tunnel.json", format!("{:#}\n", json(results))),
    ] {
        let path = out.join(name);
        fs::write(&path, content).map_err(Trouble::at(path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    if options.write && results.rejected().is_none() {
        write_documents(&options.places.checkout, &text)?;
    }
    Ok(())
}

fn write_documents(checkout: &Path, text: &str) -> Result<(), Trouble> {
    let mut written = 0;
    for document in DOCUMENTS {
        let path = checkout.join(document);
        let Ok(before) = fs::read_to_string(&path) else {
            continue;
        };
        if let Some(after) = replaced(&before, text) {
            fs::write(&path, after).map_err(Trouble::at(path.display()))?;
            eprintln!("wrote the tables of {document}");
            written += 1;
        }
    }
    match written {
        0 => Err(Trouble::Failed(format!(
            "none of {} has the lines {BEGIN} and {END}, between which the tables go",
            DOCUMENTS.join(", ")
        ))),
        _ => Ok(()),
    }
}

/// The document with another text between the two lines; `None` if it has not both.
fn replaced(document: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{text}\n{END}{after}"))
}

fn method(results: &Results) -> String {
    let short = if results.quick {
        ", short measurements"
    } else {
        ""
    };
    let spread = results.yardstick_spread().map_or_else(
        || "not measured".to_owned(),
        |spread| format!("{:.0} %", 100.0 * spread),
    );
    let rounds = match results.rounds {
        1 => "One round".to_owned(),
        rounds => format!("Medians of {rounds} interleaved rounds"),
    };
    format!(
        "{}. {rounds}{short}; plain splice spread by {spread}. *Up* is from the application to the user.",
        results.machine
    )
}

/// A column: its head, and what it says of a peer.
type Column = (String, Box<dyn Fn(&PeerResults) -> String>);

/// A median with so many decimals, in units of `unit`.
fn column(head: impl Into<String>, key: &'static str, unit: f64, decimals: usize) -> Column {
    let say = move |peer: &PeerResults| match peer.median(key) {
        Some(value) => format!("{:.decimals$}", value / unit),
        None => "-".to_owned(),
    };
    (head.into(), Box::new(say))
}

fn bulk_columns() -> Vec<Column> {
    let flows = FLOWS.map(|(name, _, cpu, _)| column(name, cpu, 1.0, 3));
    flows
        .into_iter()
        .chain([
            column("mean", CPU, 1.0, 3),
            column("Gbit/s, 1 stream", RATE[0], 1.0, 1),
            column("8 streams", RATE[1], 1.0, 1),
            column("% of a core at 500 Mbit/s", CORE, 0.01, 1),
        ])
        .collect()
}

fn session_columns() -> Vec<Column> {
    let [(_, one), (_, eight)] = CLIENTS;
    vec![
        column("1 client: /s", one.per_second, 1.0, 0),
        column("p50 ms", one.p50_us, 1e3, 2),
        column("p99 ms", one.p99_us, 1e3, 2),
        column("CPU us", one.cpu_us, 1.0, 0),
        column("8 clients: /s", eight.per_second, 1.0, 0),
        column("p50 ms", eight.p50_us, 1e3, 2),
        column("p99 ms", eight.p99_us, 1e3, 2),
        column("CPU us", eight.cpu_us, 1.0, 0),
        column("ping idle p50 us", PING_IDLE[0], 1.0, 0),
        column("p99", PING_IDLE[1], 1.0, 0),
        column("beside 500 Mbit/s p50 us", PING_BULK[0], 1.0, 0),
        column("p99", PING_BULK[1], 1.0, 0),
    ]
}

fn memory_columns(results: &Results) -> Vec<Column> {
    let [few, many] = results.idle_counts;
    vec![
        column("base MiB", BASE, 1_048_576.0, 1),
        column(
            format!("KiB a session, {few} idle"),
            IDLE_USER[0],
            1024.0,
            2,
        ),
        column(format!("{many} idle"), IDLE_USER[1], 1024.0, 2),
        column("kernel KiB a session", IDLE_KERNEL, 1024.0, 1),
        column("alive", IDLE_ALIVE, 1.0, 0),
        column("grown %", IDLE_GROWTH, 0.01, 1),
    ]
}

/// A row for each peer of which anything was measured.
fn of_peers(results: &Results, head: &str, columns: &[Column]) -> String {
    let heads = columns.iter().map(|(head, _)| head.clone());
    let mut table = Table::new([head.to_owned()].into_iter().chain(heads));
    for peer in &results.peers {
        if peer.samples.iter().next().is_some() {
            let cells = columns.iter().map(|(_, say)| say(peer));
            table.row([peer.peer.what.to_owned()].into_iter().chain(cells));
        }
    }
    table.to_string()
}

/// What a table has no column for: who was skipped, who failed, where idle sessions ended.
fn remarks(results: &Results) -> Option<String> {
    let of = |peer: &PeerResults| {
        let said = [&peer.trouble, &peer.idle_end].into_iter().flatten();
        let name = peer.peer.name;
        // The first line: what follows is a program's log.
        said.map(|said| format!("- {name}: {}", said.lines().next().unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    let lines: Vec<String> = results.peers.iter().flat_map(of).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Everything: medians, spreads and the values of each round.
fn json(results: &Results) -> Value {
    let peers = results.peers.iter().map(|peer| {
        let values = peer.samples.iter().map(|(key, rounds)| {
            let value = json!({
                "median": peer.median(key),
                "spread": spread(rounds),
                "rounds": rounds,
            });
            (key.to_owned(), value)
        });
        json!({
            "name": peer.peer.name,
            "what": peer.peer.what,
            "values": serde_json::Map::from_iter(values),
            "trouble": peer.trouble,
            "idle_end": peer.idle_end,
        })
    });
    json!({
        "machine": results.machine,
        "rounds": results.rounds,
        "quick": results.quick,
        "idle_counts": results.idle_counts,
        "yardstick_spread": results.yardstick_spread(),
        "rejected": results.rejected(),
        "peers": peers.collect::<Vec<_>>(),
        "targets": targets::json(results),
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::peers::{OUTGATE, PEERS, SPLICE};

    /// A run with these values.
    pub fn results(values: &[(&str, &'static str, &[f64])]) -> Results {
        let mut results = Results {
            machine: "2 cores".to_owned(),
            rounds: 3,
            quick: false,
            idle_counts: [1000, 9000],
            peers: PEERS.iter().copied().map(PeerResults::new).collect(),
        };
        for (name, key, rounds) in values {
            let mut peers = results.peers.iter_mut();
            let peer = peers.find(|peer| peer.peer.name == *name).unwrap();
            for value in *rounds {
                peer.samples.push(key, *value);
            }
        }
        results
    }

    #[test]
    fn the_tables_show_medians_and_name_who_is_missing() {
        let mut results = results(&[
            (SPLICE, CPU, &[0.12, 0.13, 0.11]),
            (OUTGATE, CPU, &[0.3431, 0.35, 0.33]),
            (OUTGATE, BASE, &[6.0 * 1_048_576.0]),
        ]);
        results.peers[4].trouble = Some("skipped: no ssh\nits log".to_owned());
        results.peers[2].idle_end = Some("ended at 400 idle sessions: no".to_owned());
        let text = text(&results);
        assert!(text.contains("plain splice spread by 17 %"), "{text}");
        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.starts_with("| Outgate, in place"))
            .map(|line| line.split('|').map(str::trim).collect())
            .collect();
        assert_eq!(rows[0][2..8], ["-", "-", "-", "-", "0.343", "-"]);
        assert_eq!(rows[2][2], "6.0");
        assert!(
            text.ends_with("- outgate: ended at 400 idle sessions: no\n- ssh: skipped: no ssh")
        );
    }

    #[test]
    fn json_has_every_round() {
        let results = results(&[(SPLICE, CPU, &[1.0, 2.0, 4.0])]);
        let value = json(&results);
        let cpu = &value["peers"][0]["values"][CPU];
        assert_eq!(cpu["median"], 2.0);
        assert_eq!(cpu["spread"], 1.5);
        assert_eq!(cpu["rounds"], json!([1.0, 2.0, 4.0]));
        assert!(value["rejected"].is_string());
    }

    #[test]
    fn only_what_is_between_the_lines_of_a_document_is_replaced() {
        let document = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let expected = format!("before\n{BEGIN}\nnew\n{END}\nafter\n");
        let once = replaced(&document, "new").unwrap();
        assert_eq!(once, expected);
        assert_eq!(replaced(&once, "new"), Some(expected));
        assert_eq!(replaced("nothing", "new"), None);
    }
}
