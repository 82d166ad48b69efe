//! What a build tells while it runs, and a printer for people.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// News from [`super::ensure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// Something the reader must not miss; several lines.
    Notice(&'a str),
    /// `make` finished one more file.
    Objects {
        /// Files so far.
        done: u32,
        /// Files expected: exact if this configuration was built before, else an estimate. May be exceeded.
        total: u32,
        /// Since `make` started.
        elapsed: Duration,
    },
    /// The next step begins.
    Step(&'a str),
}

/// Prints progress to standard error: on a terminal one line that is redrawn, else a line now and then.
#[derive(Debug)]
pub struct Printer {
    is_terminal: bool,
    /// What the last printed `Objects` said; `None` before the first.
    last: Option<(Instant, u32)>,
    /// True while the cursor stands behind a line that may be redrawn.
    is_open: bool,
}

/// Without a terminal: the longest silence.
const QUIET_MAX: Duration = Duration::from_secs(15);
/// Without a terminal: the smallest step that is worth a line before [`QUIET_MAX`].
const STEP_PERCENT: u32 = 5;
/// On a terminal: the least time between two redraws.
const REDRAW_MIN: Duration = Duration::from_millis(100);

impl Printer {
    /// Looks whether standard error is a terminal.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "it looks at the process's standard error: not a plain value"
    )]
    pub fn new() -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
            last: None,
            is_open: false,
        }
    }

    /// Prints `progress` if it is worth it.
    pub fn show(&mut self, progress: Progress<'_>) {
        match progress {
            Progress::Notice(text) => self.line(text),
            Progress::Step(text) => self.line(&format!("kernel  {text}")),
            Progress::Objects {
                done,
                total,
                elapsed,
            } => {
                if self.is_due(Instant::now(), percent(done, total)) {
                    self.redraw(&objects(done, total, elapsed));
                }
            }
        }
    }

    /// Ends a line that is still open.
    pub fn finish(&mut self) {
        if std::mem::take(&mut self.is_open) {
            eprintln!();
        }
    }

    fn line(&mut self, text: &str) {
        self.finish();
        eprintln!("{text}");
    }

    fn redraw(&mut self, text: &str) {
        if self.is_terminal {
            // ESC [K clears what a longer line left behind.
            eprint!("\r{text}\x1b[K");
            let _ = std::io::stderr().flush();
            self.is_open = true;
        } else {
            eprintln!("{text}");
        }
    }

    fn is_due(&mut self, now: Instant, percent: u32) -> bool {
        let due = self.last.is_none_or(|(at, shown)| {
            let quiet = now.duration_since(at);
            match self.is_terminal {
                true => quiet >= REDRAW_MIN,
                false => quiet >= QUIET_MAX || percent >= shown + STEP_PERCENT,
            }
        });
        if due {
            self.last = Some((now, percent));
        }
        due
    }
}

/// `kernel  [ 43%] 1210/2800 objects, 4m12s`
fn objects(done: u32, total: u32, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    let total = total.max(done);
    format!(
        "kernel  [{:3}%] {done}/{total} objects, {}m{:02}s",
        percent(done, total),
        seconds / 60,
        seconds % 60
    )
}

/// Whole percent, at most 99 until everything is done.
fn percent(done: u32, total: u32) -> u32 {
    if done >= total {
        return 100;
    }
    let percent = u64::from(done) * 100 / u64::from(total);
    u32::try_from(percent).unwrap_or(99).min(99)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_and_how_long() {
        assert_eq!(
            objects(1210, 2800, Duration::from_secs(252)),
            "kernel  [ 43%] 1210/2800 objects, 4m12s"
        );
    }

    #[test]
    fn more_objects_than_expected_are_no_more_than_all() {
        assert_eq!(
            objects(11, 10, Duration::from_secs(1)),
            "kernel  [100%] 11/11 objects, 0m01s"
        );
    }

    #[test]
    fn without_a_terminal_a_line_comes_every_five_percent_or_fifteen_seconds() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut printer = Printer {
            is_terminal: false,
            last: None,
            is_open: false,
        };
        let due: Vec<bool> = [(0, 0), (1, 4), (2, 5), (3, 6), (17, 6), (18, 10), (19, 11)]
            .map(|(at, percent)| printer.is_due(after(at), percent))
            .into();
        assert_eq!(due, [true, false, true, false, true, false, true]);
    }
}
