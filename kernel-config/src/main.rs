//! `kernel-config`: looks into the kernel configuration.
//!
//! ```text
//! kernel-config merge                prints the request for KCONFIG_ALLCONFIG
//! kernel-config check <.config>      lists each symbol that did not survive; fails if there is one
//! kernel-config explain CONFIG_X     says what is asked for, where, and why
//! ```
#![forbid(unsafe_code)]

use kernel_config::{Request, missing, request};
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(problem) => {
            eprintln!("kernel-config: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<String, String> {
    let request = request().map_err(|error| error.to_string())?;
    match words {
        ["merge"] => Ok(request.allconfig()),
        ["check", path] => check(&request, path),
        ["explain", name] => explain(&request, name),
        _ => Err("usage: kernel-config merge | check <resolved .config> | explain CONFIG_X".into()),
    }
}

fn check(request: &Request, path: &str) -> Result<String, String> {
    let resolved = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    let lost = missing(request, &resolved);
    if lost.is_empty() {
        return Ok(format!(
            "all {} requested symbols survived\n",
            request.symbols().count()
        ));
    }
    let lines: Vec<String> = lost.iter().map(ToString::to_string).collect();
    Err(format!(
        "{} requested symbols did not survive:\n{}",
        lost.len(),
        lines.join("\n")
    ))
}

fn explain(request: &Request, name: &str) -> Result<String, String> {
    match request.find(name) {
        Some(symbol) => Ok(format!(
            "{}={}\n{}, line {}\n{}\n",
            symbol.name, symbol.value, symbol.fragment, symbol.line, symbol.reason
        )),
        None => Err(format!(
            "no fragment names {name}: it is off unless a requested symbol selects it"
        )),
    }
}
