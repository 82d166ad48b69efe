//! `cargo bench-tunnel`: Outgate beside its peers, on this machine, in one run.
//!
//! 1. [`namespace`]: a network of our own; this program starts itself again in it.
//! 2. [`peers`]: what is measured, one short file each, set up in a [`scene`]. [`relay`] is this program as a
//!    yardstick: a relay without TLS.
//! 3. [`load`]: users and the application.
//! 4. [`runner`]: the rounds. [`measure`] reads what the connector side has used, [`statistics`] sums up.
//! 5. [`results`] and [`report`]: the tables, the targets, the verdict on the run itself.

#![expect(clippy::print_stdout, reason = "what a command prints is its product")]

use std::process::ExitCode;

mod load;
mod measure;
mod namespace;
mod options;
mod peers;
mod program;
mod relay;
mod report;
mod results;
mod runner;
mod scene;
mod statistics;
mod trouble;

use options::{Options, USAGE};
use scene::Scene;
use trouble::Trouble;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [relay, words @ ..] = &words[..]
        && relay == "relay"
    {
        let Err(trouble) = relay::run(words) else {
            return ExitCode::SUCCESS;
        };
        eprintln!("{trouble}");
        return ExitCode::FAILURE;
    }
    let options = match Options::parse(words.iter().cloned()) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let result = match options {
        Options { check: true, .. } => Ok(ExitCode::SUCCESS),
        Options { inside: true, .. } => measure_all(&options),
        _ => Err(namespace::enter(&words)),
    };
    result.unwrap_or_else(|trouble| {
        eprintln!("failed: {trouble}");
        ExitCode::FAILURE
    })
}

fn measure_all(options: &Options) -> Result<ExitCode, Trouble> {
    let folder = namespace::furnish()?;
    let scene = Scene::new(folder, options.places.clone());
    let results = runner::run(options, &scene)?;
    println!("{}", report::text(&results));
    report::write(options, &results)?;
    match results.rejected() {
        None => Ok(ExitCode::SUCCESS),
        Some(why) => {
            eprintln!("\nThis run is rejected: {why}");
            Ok(ExitCode::from(REJECTED))
        }
    }
}

/// Exit code of a run that is worth nothing.
const REJECTED: u8 = 3;
