//! Log lines to standard error, one line per record whatever a peer put into it.

use std::io::Write as _;

use connector_proto::time::UnixSeconds;
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
            let line = line(record, clock::unix_now());
            // As one piece: standard error is not buffered, so each piece is a system call, and another line may
            // get between two. A log that cannot be written has nobody to be told to.
            let _ = std::io::stderr().write_all(line.as_bytes());
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

fn line(record: &Record<'_>, now: UnixSeconds) -> String {
    let said = text::printable(&record.args().to_string());
    format!("{} {:5} {said}\n", text::iso8601(now), record.level())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_whatever_a_peer_put_into_it() {
        let said = format_args!("bad\nINFO good");
        let record = Record::builder().args(said).level(log::Level::Warn).build();
        let line = line(&record, UnixSeconds(0));
        assert_eq!(line, "1970-01-01T00:00:00Z WARN  bad\\nINFO good\n");
    }
}
