//! The only place where the connector reads the system's clocks.

use connector_proto::time::{Instant, UnixSeconds};
use rustix::time::{ClockId, clock_gettime};

/// Time since boot, suspension included.
#[must_use]
pub fn now() -> Instant {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_nsec / 1_000).unwrap_or(0);
    Instant::from_micros(seconds.saturating_mul(1_000_000).saturating_add(micros))
}

/// Wall-clock time. Right once PID 1 has said so.
#[must_use]
pub fn unix() -> UnixSeconds {
    let time = clock_gettime(ClockId::Realtime);
    UnixSeconds(u64::try_from(time.tv_sec).unwrap_or(0))
}

/// The same in microseconds, as far as they fit.
#[must_use]
pub fn unix_us() -> i64 {
    let time = clock_gettime(ClockId::Realtime);
    time.tv_sec
        .saturating_mul(1_000_000)
        .saturating_add(time.tv_nsec / 1_000)
}
