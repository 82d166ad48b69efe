//! Slewing the clock, and telling the kernel that it is right (`adjtimex`).
//!
//! Every call here says that the clock is synchronised. The kernel then writes it to the battery
//! clock every eleven minutes, until it was set by a step or the error bound, which it lets grow by
//! 500 ppm, passes 16 s.

#![expect(unsafe_code, reason = "rustix has no adjtimex")]

use std::io;
use std::time::Duration;

/// What the kernel's clock discipline is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// What to take out of the clock, little by little, in microseconds. The kernel takes at most
    /// [`OFFSET_MAX_US`] at a time: what is more has to be told again.
    pub offset_us: i64,
    /// How wrong the clock can be, in microseconds.
    pub bound_us: u32,
    /// How far measurements are apart. The longer, the slower the clock is slewed and the finer its
    /// frequency is learnt.
    pub interval: Duration,
}

/// What the kernel says about the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockState {
    /// The kernel holds the clock for right, and keeps the battery clock by it.
    pub is_synchronised: bool,
    /// How wrong it can be, in microseconds.
    pub bound_us: i64,
    /// What is still to be taken out of it, in microseconds.
    pub offset_us: i64,
    /// By how much it is made to run faster, in parts per billion.
    pub frequency_ppb: i64,
}

/// Largest offset that the kernel slews at a time, in microseconds (`MAXPHASE`).
pub const OFFSET_MAX_US: i64 = 500_000;

/// Slews the clock.
///
/// # Errors
/// If the caller lacks `CAP_SYS_TIME`.
pub fn adjust(adjustment: Adjustment) -> io::Result<ClockState> {
    let mut request = blank();
    request.modes = libc::ADJ_OFFSET
        | libc::ADJ_MAXERROR
        | libc::ADJ_ESTERROR
        | libc::ADJ_TIMECONST
        | libc::ADJ_STATUS
        | libc::ADJ_MICRO;
    request.offset = adjustment.offset_us.clamp(-OFFSET_MAX_US, OFFSET_MAX_US);
    request.maxerror = adjustment.bound_us.into();
    request.esterror = adjustment.bound_us.into();
    request.constant = time_constant(adjustment.interval);
    // Without STA_UNSYNC: the clock is right.
    request.status = libc::STA_PLL;
    call(&mut request)?;
    Ok(state(&request))
}

/// What the kernel says about the clock; changes nothing.
///
/// # Errors
/// None in practice.
pub fn read() -> io::Result<ClockState> {
    let mut request = blank();
    call(&mut request)?;
    Ok(state(&request))
}

/// The kernel's time constant for measurements so far apart: the power of two of the interval in
/// seconds, less 4, which the kernel adds in microsecond mode (RFC 5905 appendix A.5.5.6).
fn time_constant(interval: Duration) -> libc::c_long {
    let exponent = interval.as_secs().checked_ilog2().unwrap_or(0);
    libc::c_long::from(exponent.clamp(CONSTANT_MIN, CONSTANT_MAX) - CONSTANT_MIN)
}

fn state(answer: &libc::timex) -> ClockState {
    let unit = if answer.status & libc::STA_NANO == 0 {
        1
    } else {
        1000
    };
    ClockState {
        is_synchronised: answer.status & libc::STA_UNSYNC == 0,
        bound_us: answer.maxerror,
        offset_us: answer.offset / unit,
        // In units of 2^-16 ppm.
        frequency_ppb: answer.freq.saturating_mul(1000) >> 16,
    }
}

fn blank() -> libc::timex {
    // SAFETY: `timex` is a C struct of integers, for all of which zero is a value; it has no
    // constructor, because its padding is private.
    unsafe { std::mem::zeroed() }
}

fn call(request: &mut libc::timex) -> io::Result<()> {
    // SAFETY: `adjtimex` reads and writes one `timex` at the pointer, which is a live and exclusive
    // reference to one.
    let result = unsafe { libc::adjtimex(request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Exponents of the shortest and the longest interval that the kernel's discipline is made for.
const CONSTANT_MIN: u32 = 4;
const CONSTANT_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel about its clock")]
    fn anybody_may_read_the_clock_s_state() {
        let state = read().unwrap();
        assert!(state.bound_us >= 0, "{state:?}");
        // The kernel's own limit.
        assert!(state.frequency_ppb.abs() <= 500_000, "{state:?}");
    }

    #[test]
    fn what_the_kernel_says_is_in_our_units_whichever_it_counts_in() {
        let mut answer = blank();
        answer.offset = 7_000;
        answer.freq = -3 << 16; // 3 ppm slower
        answer.maxerror = 16;
        for (status, is_synchronised, offset_us) in [
            (0, true, 7_000),
            (libc::STA_UNSYNC, false, 7_000),
            (libc::STA_NANO, true, 7),
        ] {
            answer.status = status;
            let expected = ClockState {
                is_synchronised,
                bound_us: 16,
                offset_us,
                frequency_ppb: -3000,
            };
            assert_eq!(state(&answer), expected);
        }
    }

    #[test]
    fn the_time_constant_follows_the_interval() {
        for (seconds, expected) in [
            (0, 0),
            (1, 0),
            (16, 0),
            (64, 2),
            (127, 2),
            (128, 3),
            (1024, 6),
            (86_400, 6),
        ] {
            assert_eq!(
                time_constant(Duration::from_secs(seconds)),
                expected,
                "{seconds} s"
            );
        }
    }
}
