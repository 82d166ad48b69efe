//! One binary, several roles: PID 1, `netd`, `timed`, `installer`, `settings`, and the kernel's helper for an orderly end.
#![forbid(unsafe_code)]

use std::io::{self, Write as _};
use std::process::ExitCode;

use init::role::Role;
use init::{boot, installer, logger, netd, settings, timed};
use rustix::process::{Pid, Signal, kill_process};

fn main() -> ExitCode {
    let argv0 = std::env::args_os().next().unwrap_or_default();
    let outcome = match Role::of(std::process::id(), &argv0) {
        Role::Init => boot::boot(),
        Role::Netd => serve(netd::run),
        Role::Timed => serve(timed::run),
        Role::Installer => return install(),
        Role::Settings => serve(settings::reader::run),
        Role::PowerOff => ask_init(Signal::TERM),
        Role::Restart => ask_init(Signal::INT),
        Role::Unknown => Err(io::ErrorKind::Unsupported.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(service: fn() -> io::Result<()>) -> io::Result<()> {
    logger::start_in_service();
    service()
}

/// The reason of a failure is the one line that PID 1 repeats to the operator.
fn install() -> ExitCode {
    match installer::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a reader the exit status has to do.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// The kernel started this process because the machine is to end; PID 1 does it in order.
fn ask_init(signal: Signal) -> io::Result<()> {
    Ok(kill_process(Pid::INIT, signal)?)
}
