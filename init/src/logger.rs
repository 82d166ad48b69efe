//! Where PID 1's own log goes: the kernel's log, and from there to the terminals only while no
//! console process owns them.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::log_ring::LogRing;

/// The kernel's log facility "system daemons", which sets these lines apart from the kernel's own.
const FACILITY_DAEMON: u8 = 3 << 3;
/// Priority above which the kernel shows a line on the terminals (`loglevel=4` in its command line).
const PRIORITY_ERROR: u8 = 3;
const PRIORITY_WARNING: u8 = 4;
const PRIORITY_INFO: u8 = 6;
const PRIORITY_DEBUG: u8 = 7;

static LOGGER: OnceLock<KernelLog> = OnceLock::new();
static CONSOLE_OWNS_TERMINALS: AtomicBool = AtomicBool::new(false);

struct KernelLog {
    device: Option<File>,
    ring: Mutex<LogRing>,
}

/// Sends the log of this process to the kernel's, and makes a panic visible there.
pub fn start() {
    let device = OpenOptions::new().write(true).open("/dev/kmsg").ok();
    let logger = LOGGER.get_or_init(|| KernelLog {
        device,
        ring: Mutex::default(),
    });
    if log::set_logger(logger).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    std::panic::set_hook(Box::new(|panic| {
        // The process aborts next, and the kernel panics and restarts the machine.
        if let Some(logger) = LOGGER.get() {
            logger.write(FACILITY_DAEMON + PRIORITY_ERROR, &format!("PID 1: {panic}"));
        }
    }));
}

/// From now on the console process owns the terminals: nothing of PID 1 is shown beside it.
pub fn leave_terminals() {
    CONSOLE_OWNS_TERMINALS.store(true, Ordering::Relaxed);
}

/// Puts a service's line into the kernel's log, below what the kernel shows.
pub fn service_line(service: &str, line: &str) {
    if let Some(logger) = LOGGER.get() {
        logger.write(
            FACILITY_DAEMON + PRIORITY_INFO,
            &format!("{service}: {line}"),
        );
    }
}

impl KernelLog {
    fn write(&self, priority: u8, line: &str) {
        if let Some(mut device) = self.device.as_ref() {
            // One write is one record. The kernel may drop it; the ring keeps it.
            let _ = device.write_all(format!("<{priority}>{line}\n").as_bytes());
        }
    }
}

impl Log for KernelLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let priority = match record.level() {
            Level::Error if !CONSOLE_OWNS_TERMINALS.load(Ordering::Relaxed) => PRIORITY_ERROR,
            Level::Error | Level::Warn => PRIORITY_WARNING,
            Level::Info => PRIORITY_INFO,
            Level::Debug | Level::Trace => PRIORITY_DEBUG,
        };
        let line = format!("init: {}", record.args());
        self.write(FACILITY_DAEMON + priority, &line);
        self.ring
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_line(line);
    }

    fn flush(&self) {}
}

/// The log of a service: lines on its standard error, which PID 1 reads.
#[derive(Debug)]
struct StderrLog;

static STDERR_LOG: StderrLog = StderrLog;

/// Sends the log of this process to its standard error.
pub fn start_in_service() {
    if log::set_logger(&STDERR_LOG).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

impl Log for StderrLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // smoltcp describes every packet at these levels.
        !metadata.target().starts_with("smoltcp")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str();
            // Standard error has no buffer: a line in pieces would be a write for each piece.
            let line = format!("{level} {}\n", record.args());
            // Without PID 1 there is nobody to complain to.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}
