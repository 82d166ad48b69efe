//! The system clocks: read, set, watched. The only place of this crate that does.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use connector_proto::time::Instant;
use rustix::io::Errno;
use rustix::time::{
    ClockId, DynamicClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec,
    clock_gettime, clock_gettime_dynamic, clock_settime, timerfd_create, timerfd_settime,
};

use crate::time_policy::Reading;

/// Microseconds of `CLOCK_REALTIME` since 1970.
pub type RealMicros = i64;

/// `CLOCK_BOOTTIME`: never goes back, counts while the machine is suspended.
#[must_use]
pub fn boot_now() -> Instant {
    instant(micros(clock_gettime(ClockId::Boottime)))
}

/// `CLOCK_REALTIME`.
#[must_use]
pub fn real_now() -> RealMicros {
    micros(clock_gettime(ClockId::Realtime))
}

/// Both, as of one moment: of a few readings the one that was interrupted the least.
#[must_use]
pub fn read() -> Reading {
    let once = || {
        let before = micros(clock_gettime(ClockId::Boottime));
        let real_us = real_now();
        let took_us = micros(clock_gettime(ClockId::Boottime)) - before;
        let now = instant(before + took_us / 2);
        (took_us, Reading { now, real_us })
    };
    let mut best = once();
    for _ in 1..READINGS {
        let next = once();
        if next.0 < best.0 {
            best = next;
        }
    }
    best.1
}

/// For how long the machine has been suspended since it was started, in microseconds.
#[must_use]
pub fn suspended_us() -> i64 {
    let monotonic_us = micros(clock_gettime(ClockId::Monotonic));
    micros(clock_gettime(ClockId::Boottime)) - monotonic_us
}

/// The clock of a device (`/dev/ptp0`), in microseconds since 1970 by the device's account.
///
/// # Errors
/// If it is no clock, or does not answer.
pub fn of_device(device: BorrowedFd<'_>) -> io::Result<RealMicros> {
    let time = clock_gettime_dynamic(DynamicClockId::Dynamic(device))?;
    Ok(micros(time))
}

/// Sets `CLOCK_REALTIME` to `CLOCK_BOOTTIME` plus `epoch_us`.
///
/// # Errors
/// If the caller may not, or the time is before 1970.
pub fn set_epoch(epoch_us: i64) -> io::Result<()> {
    let boot_us = micros(clock_gettime(ClockId::Boottime));
    let to = boot_us.saturating_add(epoch_us);
    let time = Timespec {
        tv_sec: to.div_euclid(MICROS_PER_SECOND),
        tv_nsec: to.rem_euclid(MICROS_PER_SECOND) * 1000,
    };
    Ok(clock_settime(ClockId::Realtime, time)?)
}

/// Becomes readable when somebody sets `CLOCK_REALTIME`, and when the machine resumes.
#[derive(Debug)]
pub struct ClockWatch {
    timer: OwnedFd,
}

impl ClockWatch {
    /// Begins to watch.
    ///
    /// # Errors
    /// If the kernel is out of descriptors or memory.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        let watch = Self { timer };
        watch.rearm()?;
        Ok(watch)
    }

    /// Watches on, after it became readable.
    ///
    /// # Errors
    /// None in practice.
    pub fn rearm(&self) -> io::Result<()> {
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        let never = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::MAX,
                tv_nsec: 0,
            },
        };
        match timerfd_settime(&self.timer, flags, &never) {
            // It says once more that the clock was set, and is armed all the same.
            Ok(_) | Err(Errno::CANCELED) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for ClockWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

const fn micros(time: Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(MICROS_PER_SECOND)
        .saturating_add(time.tv_nsec / 1000)
}

fn instant(micros: i64) -> Instant {
    Instant::from_micros(u64::try_from(micros).unwrap_or(0))
}

const MICROS_PER_SECOND: i64 = 1_000_000;
/// Readings of both clocks of which the best is taken.
const READINGS: usize = 3;

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    #[test]
    fn two_readings_are_of_one_epoch() {
        let (first, second) = (read(), read());
        assert!(second.now >= first.now);
        let apart_us = second.epoch_us() - first.epoch_us();
        // Unless somebody sets the clock of the computer that runs this.
        assert!(apart_us.abs() < 100_000, "{apart_us}");
        assert!(suspended_us() > -1000);
    }

    #[test]
    fn a_watch_is_silent_while_nobody_sets_the_clock() {
        let watch = ClockWatch::new().unwrap();
        watch.rearm().unwrap();
        let mut fds = [PollFd::new(&watch, PollFlags::IN)];
        let ready = poll(&mut fds, Some(&Timespec::default())).unwrap();
        assert_eq!(ready, 0);
    }

    #[test]
    fn what_is_no_clock_says_so() {
        let file = std::fs::File::open("/dev/null").unwrap();
        of_device(file.as_fd()).unwrap_err();
    }
}
