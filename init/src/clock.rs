//! The system clocks, and the decision what a measurement does to them.
//!
//! The only place of this crate that reads or sets a clock.

use std::io;
use std::time::Duration;

use connector_proto::time::Instant;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

/// Microseconds of `CLOCK_REALTIME` since 1970.
pub type RealMicros = i64;

/// An offset below which a clock that was never checked is right as it is.
pub const RIGHT_WITHIN: Duration = Duration::from_millis(128);
/// An offset up to which a clock that was checked is left alone.
pub const LEFT_ALONE_WITHIN: Duration = Duration::from_secs(1);
/// A checked clock that would go back further than this is an alarm, not a step.
pub const BACKWARDS_MAX: Duration = Duration::from_secs(86_400);

/// What a measurement does to the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: it is right.
    Keep,
    /// Set it to this time.
    Step {
        /// The new time.
        to: RealMicros,
    },
    /// Nothing: the time is before this image was built, so whoever tells it is wrong.
    BelowFloor,
    /// Nothing: a clock that was right does not go back by more than a day.
    TooFarBack,
}

/// Decides what a measurement does to a clock that reads `now` and is off by `offset_us`.
///
/// `floor` is the earliest time possible; `was_checked` says whether an earlier one was good.
#[must_use]
pub fn decide(now: RealMicros, floor: RealMicros, was_checked: bool, offset_us: i64) -> Decision {
    let to = now.saturating_add(offset_us);
    let offset = Duration::from_micros(offset_us.unsigned_abs());
    if to < floor {
        return Decision::BelowFloor;
    }
    if was_checked && offset_us < 0 && offset > BACKWARDS_MAX {
        return Decision::TooFarBack;
    }
    let tolerated = if was_checked {
        LEFT_ALONE_WITHIN
    } else {
        RIGHT_WITHIN
    };
    if offset < tolerated {
        Decision::Keep
    } else {
        Decision::Step { to }
    }
}

/// `CLOCK_BOOTTIME`: never goes back, counts while the machine is suspended.
#[must_use]
pub fn boot_now() -> Instant {
    let now = clock_gettime(ClockId::Boottime);
    Instant::from_micros(u64::try_from(micros(now)).unwrap_or(0))
}

/// `CLOCK_REALTIME`.
#[must_use]
pub fn real_now() -> RealMicros {
    micros(clock_gettime(ClockId::Realtime))
}

/// Sets `CLOCK_REALTIME`.
///
/// # Errors
/// If the caller may not.
pub fn set_real(to: RealMicros) -> io::Result<()> {
    let time = Timespec {
        tv_sec: to.div_euclid(MICROS_PER_SECOND),
        tv_nsec: to.rem_euclid(MICROS_PER_SECOND) * 1000,
    };
    Ok(clock_settime(ClockId::Realtime, time)?)
}

const fn micros(time: Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(MICROS_PER_SECOND)
        .saturating_add(time.tv_nsec / 1000)
}

const MICROS_PER_SECOND: i64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: RealMicros = 1_800_000_000_000_000;
    const FLOOR: RealMicros = 1_700_000_000_000_000;
    const SECOND: i64 = 1_000_000;
    const DAY: i64 = 86_400 * SECOND;

    #[test]
    fn the_first_good_sample_steps_and_later_ones_leave_small_offsets_alone() {
        let step = |by: i64| Decision::Step { to: NOW + by };
        for (was_checked, offset_us, expected) in [
            (false, 0, Decision::Keep),
            (false, 127_999, Decision::Keep),
            (false, -127_999, Decision::Keep),
            (false, 128_000, step(128_000)),
            (false, -2 * 3600 * SECOND, step(-2 * 3600 * SECOND)),
            (false, -30 * DAY, step(-30 * DAY)),
            (true, 999_999, Decision::Keep),
            (true, SECOND, step(SECOND)),
            (true, -SECOND, step(-SECOND)),
            (true, 30 * DAY, step(30 * DAY)),
            (true, -DAY - 1, Decision::TooFarBack),
        ] {
            assert_eq!(
                decide(NOW, FLOOR, was_checked, offset_us),
                expected,
                "{was_checked} {offset_us}"
            );
        }
    }

    #[test]
    fn nothing_moves_the_clock_below_the_floor() {
        for was_checked in [false, true] {
            let offset = FLOOR - NOW;
            assert_eq!(
                decide(NOW, FLOOR, was_checked, offset - 1),
                Decision::BelowFloor
            );
            assert_eq!(
                decide(NOW, FLOOR, was_checked, i64::MIN),
                Decision::BelowFloor
            );
        }
        assert_eq!(
            decide(NOW, FLOOR, false, FLOOR - NOW),
            Decision::Step { to: FLOOR }
        );
    }
}
