//! The hardware watchdog: restarts the machine when the event loop stands still.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::Duration;

use connector_proto::time::Instant;

/// Between two feedings. The shortest default time-out of the drivers in the kernel is 30 s.
pub const FEED_INTERVAL: Duration = Duration::from_secs(5);

/// An armed watchdog. It is never disarmed: a shutdown that hangs ends by it.
#[derive(Debug)]
pub struct Watchdog {
    device: File,
    feed_at: Instant,
}

impl Watchdog {
    /// Arms the machine's watchdog, if it has one.
    #[must_use]
    pub fn arm(now: Instant) -> Option<Self> {
        let device = OpenOptions::new().write(true).open("/dev/watchdog0").ok()?;
        log::info!("the hardware watchdog is armed");
        Some(Self {
            device,
            feed_at: now,
        })
    }

    /// When to feed it.
    #[must_use]
    pub const fn poll_timeout(&self) -> Instant {
        self.feed_at
    }

    /// Feeds it if it is time to. Called from the event loop only, so that a loop that stands still
    /// feeds nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.feed_at > now {
            return;
        }
        self.feed_at = now + FEED_INTERVAL;
        if let Err(error) = self.device.write_all(&[0]) {
            log::warn!("cannot feed the watchdog: {error}");
        }
    }
}
