//! The only place that reads the system's clocks.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use connector_proto::time::{Instant, UnixMicros, UnixSeconds};

/// Wall-clock time; the epoch if the clock stands before it.
pub(crate) fn unix_now() -> UnixSeconds {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixSeconds(since.as_secs())
}

/// The same to the microsecond.
pub(crate) fn unix_now_us() -> UnixMicros {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMicros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Monotonic time as the protocol machines take it, counted from the first call.
pub(crate) fn now() -> Instant {
    let micros = u64::try_from(start().elapsed().as_micros()).unwrap_or(u64::MAX);
    Instant::from_micros(micros)
}

/// When a machine's instant comes, for tokio's timers.
pub(crate) fn deadline(at: Instant) -> tokio::time::Instant {
    start() + Duration::from_micros(at.as_micros())
}

fn start() -> tokio::time::Instant {
    static START: OnceLock<tokio::time::Instant> = OnceLock::new();
    *START.get_or_init(tokio::time::Instant::now)
}
