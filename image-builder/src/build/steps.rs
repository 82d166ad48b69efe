//! What a person sees of a build.

use std::time::Instant;

use crate::layout::MIB;

/// A line on standard error for each finished step, with the time since the start.
#[derive(Debug)]
pub struct Steps {
    started: Instant,
    is_quiet: bool,
}

impl Steps {
    /// The clock starts.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "it reads the clock: not a plain value"
    )]
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            is_quiet: false,
        }
    }

    /// Tells nothing.
    #[must_use]
    pub fn quiet() -> Self {
        Self {
            is_quiet: true,
            ..Self::new()
        }
    }

    /// `what` is done.
    pub fn done(&mut self, what: &str) {
        if !self.is_quiet {
            eprintln!(
                "image   {:6.1} s  {what}",
                self.started.elapsed().as_secs_f64()
            );
        }
    }
}

/// `bytes` in words.
#[must_use]
pub fn mib(bytes: usize) -> String {
    // Tenths, rounded: enough for people, and without floating point.
    let tenths = (bytes as u64 * 10 + MIB / 2) / MIB;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
