//! One step of a command: a child process with its name and how long it took.

use std::fmt;
use std::process::Command;
use std::time::Instant;

/// A step that did not succeed.
#[derive(Debug)]
pub struct Failed {
    /// What failed, and what to do about it if that is known.
    pub why: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed: {}", self.why)
    }
}

/// Runs a step between two lines that say what runs and how long it took.
pub fn run(name: &str, command: &mut Command) -> Result<(), Failed> {
    eprintln!("==> {name}");
    let start = Instant::now();
    let result = run_quietly(name, command);
    let seconds = start.elapsed().as_secs_f32();
    match &result {
        Ok(()) => eprintln!("    {name}: done in {seconds:.1} s"),
        Err(_) => eprintln!("    {name}: failed after {seconds:.1} s"),
    }
    result
}

/// Runs a step that speaks for itself.
pub fn run_quietly(name: &str, command: &mut Command) -> Result<(), Failed> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failed {
            why: format!("{name} ended with {status}"),
        }),
        Err(error) => {
            let program = command.get_program().to_string_lossy().into_owned();
            Err(Failed {
                why: format!("{name}: {program} cannot be started: {error}"),
            })
        }
    }
}
