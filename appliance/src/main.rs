//! The connector process: unprivileged, started by PID 1 once the clock is right, or only the
//! edge can say what the time is.

use std::process::ExitCode;

use appliance::event_loop::{Exit, run};
use appliance::local_channel::LocalChannel;
use appliance::logger;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use splice_core::plane;

fn main() -> ExitCode {
    logger::start();
    if let Err(error) = rustix::thread::set_no_new_privs(true) {
        log::error!("no_new_privs cannot be set: {error}");
        return ExitCode::FAILURE;
    }
    raise_descriptor_limit();
    let channel = match LocalChannel::from_stdin() {
        Ok(channel) => channel,
        Err(error) => {
            log::error!("standard input is not a local channel: {error}");
            return ExitCode::FAILURE;
        }
    };
    match run(&channel, plane::Config::default()) {
        Exit::Stopped => ExitCode::SUCCESS,
        Exit::Failed(why) => {
            log::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Takes all the descriptors that PID 1 grants. A session holds two of them, and more while it begins: one
/// for each question to a resolver, or for each address that is tried.
fn raise_descriptor_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::warn!("the limit of open descriptors stays as it is: {error}");
    }
}
