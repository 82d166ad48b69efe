//! The boot, top to bottom: what PID 1 does before its event loop.

use rustix::system::RebootCommand;

use crate::clock::RealMicros;
use crate::machine::Machine;
use crate::{build_info, logger, mounts, process, sysctl};

/// Boots the machine and runs it. Never returns.
///
/// # Panics
/// If the machine cannot work. The panic is shown, the kernel panics in turn because PID 1 ended,
/// and restarts the machine: a counted boot.
pub fn boot() -> ! {
    let mounted = mounts::mount_all();
    logger::start();
    if let Err(error) = mounted {
        panic!("{error}");
    }
    sysctl::apply_all();
    if let Err(error) = process::grant_descriptors() {
        log::warn!("the connector has few descriptors, and so few sessions: {error}");
    }
    // From here on Ctrl-Alt-Del is a signal to PID 1, and not the machine's instant restart.
    if let Err(error) = rustix::system::reboot(RebootCommand::CadOff) {
        log::warn!("Ctrl-Alt-Del restarts at once: {error}");
    }
    let build = build_info::read();
    log::info!("Outgate {}", build.version);
    let floor = RealMicros::from(build.epoch_s) * 1_000_000;
    let outcome = Machine::new(build, floor).and_then(Machine::run);
    panic!("PID 1 cannot go on: {outcome:?}");
}
