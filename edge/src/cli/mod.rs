//! The administrator's command line.

mod admin;
mod authority;
mod commands;
mod connector;
mod group;
mod output;
mod serve;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use splice_core::plane;

use crate::authority::{Authority, open_store};
use crate::backup::back_up;
use crate::config::{Config, DataDir};
use crate::text::printable;
use crate::{Error, clock};
use commands::{Cli, Command};
use output::Output;

/// Runs the command line of this process.
///
/// Exit codes: 0 done, 1 failed, 2 not understood.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(output) => match output.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            let sentence = printable(&error.to_string());
            // Without standard error there is nobody to tell but the exit code.
            let _ = writeln!(std::io::stderr(), "edge: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<Output, Error> {
    let data = DataDir::new(cli.data);
    let (text, value) = match cli.command {
        Command::Init { names } => {
            Authority::create(&data, &names)?;
            let path = data.path().display().to_string();
            (
                format!("made an edge in {path}"),
                serde_json::json!({ "data": path, "names": names }),
            )
        }
        Command::Serve {
            listen,
            proxy,
            engine,
        } => {
            let config = Config {
                data,
                listen,
                proxy,
                plane: plane::Config::default(),
            };
            return serve::run(config, engine);
        }
        Command::Group(command) => group::run(&data, command)?,
        Command::Key(command) => admin::key(&data, command)?,
        Command::App(command) => admin::app(&data, command)?,
        Command::User(command) => admin::user(&data, command)?,
        Command::Connector(command) => connector::run(&data, command)?,
        Command::Authority(command) => authority::run(&data, command)?,
        Command::Backup { to } => {
            back_up(&data, &open_store(&data)?, &to, clock::unix_now())?;
            let path = to.display().to_string();
            (
                format!("copied to {path}"),
                serde_json::json!({ "backup": path }),
            )
        }
        Command::Audit(command) => admin::audit(&data, &command)?,
    };
    Ok(if cli.json {
        Output::Json(value)
    } else {
        Output::Text(text)
    })
}
