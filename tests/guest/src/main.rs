//! The only program of a machine: runs cases on the product's own kernel, and switches the machine off.
//!
//! The splice core's kernel engine needs kernel TLS, which the computer that runs the tests may lack. So
//! the lab boots the image's kernel with this program as `/init` and nothing else
//! (`tests/src/guest_program.rs`). What it says on the serial console are lines of its own:
//!
//! ```text
//! case NAME: ok
//! case NAME: FAILED: WHY
//! guest: the cases are over
//! ```
//!
//! - [`machine`]: PID 1. Sets the loopback up, runs each case as a process of its own, powers off.
//! - [`cases`]: the table of cases. One more is one line there and a function.
//! - [`sessions`]: the cases of the engines.
//! - [`carry`]: carries bytes while the lab counts instructions.
//!
//! `guest case NAME [ARGUMENT...]` runs a case where it is started, on any Linux.
#![expect(clippy::print_stdout, reason = "what it prints is its product")]

mod carry;
mod cases;
mod machine;
mod sessions;

use std::process::ExitCode;

use cases::{Case, Run};

/// The first argument of the process that is to run one case.
const CASE: &str = "case";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [CASE, name, arguments @ ..] => run(name, arguments),
        [] if rustix::process::getpid().is_init() => machine::run(),
        _ => {
            eprintln!("usage: guest case NAME [ARGUMENT...], with one of these names:");
            for case in cases::ALL {
                eprintln!("  {}", case.name);
            }
            ExitCode::from(2)
        }
    }
}

/// Runs a case in this process. Says why it failed; who started the process says that it did not.
fn run(name: &str, arguments: &[&str]) -> ExitCode {
    let Some(Case { run, .. }) = cases::ALL.iter().find(|case| case.name == name) else {
        println!("case {name}: FAILED: there is no such case");
        return ExitCode::FAILURE;
    };
    report_panics(name);
    let ended = match run {
        Run::Answers(run) => run(arguments),
        Run::Asserts(run) => {
            run();
            Ok(())
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("case {name}: FAILED: {}", why.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

/// A panic, on whatever thread, is a failure of the case, and its end.
#[expect(
    clippy::exit,
    reason = "the case has failed, whatever its other threads do"
)]
fn report_panics(name: &str) {
    let name = name.to_owned();
    std::panic::set_hook(Box::new(move |panic| {
        println!(
            "case {name}: FAILED: {}",
            panic.to_string().replace('\n', " ")
        );
        std::process::exit(1);
    }));
}
