//! Log lines to standard error, one line per record whatever a peer put into it.

use std::io::Write as _;

use log::{LevelFilter, Log, Metadata, Record};

use crate::{clock, text};

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let ours = metadata.target().starts_with("edge");
        ours || metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = text::printable(&record.args().to_string());
            let time = text::iso8601(clock::unix_now());
            // A log that cannot be written has nobody to be told to.
            let _ = writeln!(std::io::stderr(), "{time} {:5} {line}", record.level());
        }
    }

    fn flush(&self) {}
}

/// Starts logging to standard error; a second call changes nothing.
pub(crate) fn start() {
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}
