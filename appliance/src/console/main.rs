//! The console process: unprivileged, no file but the descriptors that PID 1 sends it.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use appliance::console::run;
use signal_hook::consts::SIGTERM;
use signal_hook::low_level::pipe;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "console: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> std::io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    // A termination is an event of the loop, so that the terminals get their mode back.
    let (stop, stopped) = UnixStream::pair()?;
    pipe::register(SIGTERM, stopped)?;
    run::run(std::io::stdin().as_fd(), stop.as_fd())?;
    Ok(())
}
