//! The project's commands: `cargo demo`, `cargo verify`, `cargo image`, `cargo vm`, `cargo bench-tunnel`.
//!
//! Needs nothing but std, so that it can install what everything else needs before that is built.

#![expect(clippy::print_stdout, reason = "what a command prints is its product")]

use std::process::ExitCode;

mod bench;
mod build;
mod packages;
mod rebuild;
mod servers;
mod step;
mod tally;
mod verify;

use packages::Needs;
use step::Failed;

const USAGE: &str = "\
usage: cargo demo [-- --auto]    boots an appliance beside a demo application and shows how to reach it
       cargo verify [-- --long]  runs every check: format, lints, unit tests, VM tests
       cargo image [ARGS]        builds the kernel and the image into target/image/
       cargo image mint ...      makes one image for each connector, with its name and MAC address
       cargo image verify FILE   says what an artefact is, and checks it
       cargo image rebuild --check SHA256SUMS
                                 builds this checkout from nothing and compares it with a release
       cargo vm [-- ARGS]        boots the image with its console on this terminal
       cargo bench-tunnel [ARGS] measures Outgate beside its peers on this machine";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    // `cargo demo -- --auto`: the alias hands the separator on.
    let arguments: Vec<String> = arguments.filter(|argument| argument != "--").collect();
    let result = match command.as_str() {
        "bench-tunnel" => return bench::run(&arguments),
        "demo" => demo(&arguments),
        "image" => image(&arguments),
        "verify" => return verify::run(&arguments),
        "vm" => vm(&arguments),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("\n{failed}");
            ExitCode::FAILURE
        }
    }
}

fn demo(arguments: &[String]) -> Result<(), Failed> {
    packages::ensure(Needs::NoTests)?;
    build::image(&[])?;
    build::host(&["edge", "tests"])?;
    step::run_quietly(
        "demo",
        build::cargo(&["run", "--quiet", "-p", "tests", "--bin", "demo", "--"]).args(arguments),
    )
}

fn image(arguments: &[String]) -> Result<(), Failed> {
    match arguments.first().map(String::as_str) {
        Some("mint" | "verify") => build::on_images(arguments),
        Some("rebuild") => rebuild::run(&arguments[1..]),
        _ => {
            packages::ensure(Needs::NoTests)?;
            build::image(arguments)
        }
    }
}

fn vm(arguments: &[String]) -> Result<(), Failed> {
    packages::ensure(Needs::NoTests)?;
    build::image(&[])?;
    build::host(&["qemu"])?;
    step::run_quietly(
        "vm",
        build::cargo(&["run", "--quiet", "-p", "qemu", "--bin", "vm", "--"]).args(arguments),
    )
}
