//! `cargo demo`: an appliance beside a private web server, a service edge and a user.
//!
//! In reading order: [`stage`]: what is there before the machine is switched on. [`interactive`]: a
//! person types the key. [`auto`]: the demo does, and measures. [`curl`]: the user. [`shown`],
//! [`table`]: pure, what is printed. [`failure`]: what went wrong.

use std::io::Write as _;
use std::process::ExitCode;

mod auto;
mod curl;
mod failure;
mod interactive;
mod shown;
mod stage;
mod table;

use failure::Failure;
use stage::Stage;

const USAGE: &str = "\
usage: cargo demo             boots the appliance with its console on this terminal, beside a service
                              edge and a private web server, and says how to fetch its page
       cargo demo -- --auto   types the key itself, fetches the page, prints how long each step took;
                              exits 0 if the page came
environment: OUTGATE_IMAGE  the image to boot            [target/image/outgate.qcow2]
             OUTGATE_EDGE   the service edge to run      [edge, beside this program]
             OUTGATE_ACCEL  kvm or tcg                   [kvm if it works here]
";

/// Who types the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Auto,
    Interactive,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let mode = match arguments.as_slice() {
        [] => Mode::Interactive,
        [only] if only == "--auto" => Mode::Auto,
        [only] if only == "--help" || only == "-h" => {
            say(USAGE);
            return ExitCode::SUCCESS;
        }
        _ => {
            complain(&format!("demo: not understood: {arguments:?}\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    match run(mode) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&format!("\n{failure}\n"));
            ExitCode::FAILURE
        }
    }
}

fn run(mode: Mode) -> Result<(), Failure> {
    let mut stage = Stage::set()?;
    match mode {
        Mode::Auto => auto::run(&mut stage),
        Mode::Interactive => interactive::run(&mut stage),
    }
}

/// Prints what the person came for. When standard output is closed, nobody listens.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// Prints what went wrong.
fn complain(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}
