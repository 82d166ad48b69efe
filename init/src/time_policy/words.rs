//! The sentences about the clock: what is the matter, and what the operator can do.

use std::fmt;
use std::net::IpAddr;

use connector_proto::local::ClockSource;

use crate::clock::RealMicros;

/// Something about the clock that the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// NTP and the edge are further apart than they may be.
    Disagree {
        /// Whose claim was held.
        ntp: ClockSource,
        /// By how much NTP's time is later, in microseconds.
        apart_us: i64,
    },
    /// NTP wants a step of a clock that is right.
    Held {
        /// The server.
        source: ClockSource,
        /// What it would add to the clock, in microseconds.
        off_us: i64,
    },
    /// The clock was off by whole or half hours.
    LocalTime {
        /// What was added to it, in microseconds.
        moved_us: i64,
    },
    /// Nobody but the edge can be asked.
    NoServer,
    /// Somebody set a clock that was right.
    PutBack {
        /// By how much, in microseconds.
        jump_us: i64,
    },
    /// Somebody claims a time that cannot be.
    Refused {
        /// Who.
        source: ClockSource,
        /// It is before this; else it is too late.
        floor_us: Option<RealMicros>,
    },
    /// No majority of the NTP servers agrees.
    Split {
        /// The two that are the furthest apart.
        servers: [IpAddr; 2],
        /// By how much, in microseconds.
        apart_us: i64,
    },
}

impl Alarm {
    /// Whether the operator who was told `self` need not be told `other`: the same about the same.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Held { off_us: a, .. }, Self::Held { off_us: b, .. }) => {
                (*a > 0) == (*b > 0) && Amount(*a).to_string() == Amount(*b).to_string()
            }
            (Self::Disagree { apart_us: a, .. }, Self::Disagree { apart_us: b, .. }) => {
                Amount(*a).to_string() == Amount(*b).to_string()
            }
            (Self::Refused { source: a, .. }, Self::Refused { source: b, .. }) => a == b,
            (Self::Split { .. }, Self::Split { .. }) => true,
            _ => self == other,
        }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disagree { ntp, apart_us } => write!(
                f,
                "NTP and the service edge disagree: {} is {} {}. The edge is believed: check NTP.",
                Who(ntp),
                Amount(*apart_us),
                if *apart_us > 0 { "later" } else { "earlier" },
            ),
            Self::Held { source, off_us } => write!(
                f,
                "Clock held: {} says that it is {} {}. Nothing else does: the service edge is asked.",
                Who(source),
                Amount(*off_us),
                if *off_us > 0 { "slow" } else { "fast" },
            ),
            Self::LocalTime { moved_us } => write!(
                f,
                "The clock was {} {}: the host's clock looks like local time. Set the VM's battery \
                 clock to UTC.",
                Amount(*moved_us),
                if *moved_us > 0 { "slow" } else { "fast" },
            ),
            Self::NoServer => f.write_str(
                "The network names no NTP server (DHCP option 42): the service edge is asked for \
                 the time.",
            ),
            Self::PutBack { jump_us } => write!(
                f,
                "Clock put back: something on this machine or its host had set it {} {}. It is \
                 checked again.",
                Amount(*jump_us),
                if *jump_us > 0 { "ahead" } else { "back" },
            ),
            Self::Refused {
                source,
                floor_us: Some(floor_us),
            } => write!(
                f,
                "{} claims a time before {}, which is past: check its clock.",
                Who(source),
                Day(*floor_us)
            ),
            Self::Refused {
                source,
                floor_us: None,
            } => write!(
                f,
                "{} claims a time after 2160: check its clock.",
                Who(source)
            ),
            Self::Split {
                servers: [a, b],
                apart_us,
            } => write!(
                f,
                "NTP servers {a} and {b} differ by {}: check them. The service edge is asked.",
                Amount(*apart_us)
            ),
        }
    }
}

/// Whether an offset is what a host's clock in local time makes: half hours, as time zones are, from
/// one hour to fourteen, within what a battery clock is wrong by itself.
#[must_use]
pub fn looks_like_local_time(offset_us: i64) -> bool {
    let offset = offset_us.unsigned_abs();
    let past = offset % HALF_HOUR_US;
    let away = past.min(HALF_HOUR_US - past);
    let half_hours = (offset + HALF_HOUR_US / 2) / HALF_HOUR_US;
    (2..=28).contains(&half_hours) && away <= BATTERY_CLOCK_US
}

/// An amount of time without its sign, in microseconds, as a person says it: two units at most.
struct Amount(i64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.0.unsigned_abs();
        let s = us / 1_000_000;
        match s {
            0..60 => write!(f, "{s}.{} s", us % 1_000_000 / 100_000),
            60..3600 => write!(f, "{} min {} s", s / 60, s % 60),
            3600..172_800 => write!(f, "{} h {} min", (s + 30) / 3600, (s + 30) % 3600 / 60),
            _ => write!(f, "{} days", s / 86_400),
        }
    }
}

/// A source in words, cut to what leaves room for the rest of the sentence.
struct Who<'a>(&'a ClockSource);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ClockSource::Ntp(server) => write!(f, "NTP server {server}"),
            ClockSource::Edge(edge) => write!(f, "Service edge {edge:.50}"),
        }
    }
}

/// A time as `2026-01-31`.
struct Day(RealMicros);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.0.div_euclid(86_400_000_000);
        let (year, month, day) = date_of(days);
        write!(f, "{year}-{month:02}-{day:02}")
    }
}

/// Year, month and day of a day since 1970-01-01, by the Gregorian calendar (Howard Hinnant's
/// `civil_from_days`: years begin in March, so that the odd day is the last of one).
const fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (year + era * 400 + carry, month, day)
}

const HALF_HOUR_US: u64 = 1_800_000_000;
/// What a battery clock that was set is off by when it is read.
const BATTERY_CLOCK_US: u64 = 15_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sentence_fits_and_reads_as_agreed() {
        let long: IpAddr = "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap();
        let ntp = ClockSource::Ntp(long);
        let edge = ClockSource::Edge("e".repeat(200).parse().unwrap());
        let far = -400 * 86_400_000_000;
        let alarms = [
            (
                Alarm::Disagree {
                    ntp: ntp.clone(),
                    apart_us: far,
                },
                "NTP and the service edge disagree: NTP server ",
            ),
            (
                Alarm::Held {
                    source: ntp.clone(),
                    off_us: far,
                },
                "Clock held: NTP server ",
            ),
            (
                Alarm::LocalTime {
                    moved_us: -19_800_000_000,
                },
                "The clock was 5 h 30 min fast: ",
            ),
            (Alarm::NoServer, "The network names no NTP server"),
            (Alarm::PutBack { jump_us: far }, "Clock put back: "),
            (
                Alarm::Refused {
                    source: ntp,
                    floor_us: Some(1_795_276_799_000_000),
                },
                "NTP server 2001:db8:1111:2222:3333:4444:5555:6666 claims a time before 2026-11-21,",
            ),
            (
                Alarm::Refused {
                    source: edge.clone(),
                    floor_us: Some(0),
                },
                "Service edge eeeee",
            ),
            (
                Alarm::Refused {
                    source: edge,
                    floor_us: None,
                },
                "Service edge eeeee",
            ),
            (
                Alarm::Split {
                    servers: [long; 2],
                    apart_us: far,
                },
                "NTP servers 2001:",
            ),
        ];
        for (alarm, begins) in alarms {
            let sentence = alarm.to_string();
            assert!(sentence.starts_with(begins), "{sentence}");
            assert!(sentence.ends_with('.'), "{sentence}");
            assert!(sentence.len() <= 160, "{}: {sentence}", sentence.len());
        }
    }

    #[test]
    fn amounts_are_said_in_two_units_at_most() {
        for (us, said) in [
            (0, "0.0 s"),
            (-1_290_000, "1.2 s"),
            (61_000_000, "1 min 1 s"),
            (-7_200_400_000, "2 h 0 min"),
            (7_199_600_000, "2 h 0 min"),
            (365 * 86_400_000_000, "365 days"),
            (i64::MIN, "106751991 days"),
        ] {
            assert_eq!(Amount(us).to_string(), said);
        }
    }

    #[test]
    fn time_zones_are_known_and_other_offsets_are_not() {
        let minutes = |minutes: i64| minutes * 60_000_000;
        for (offset_us, is_local) in [
            (minutes(60), true),
            (minutes(-330), true),
            (minutes(120) + 14_000_000, true),
            (minutes(14 * 60), true),
            (minutes(120) + 16_000_000, false),
            (minutes(30), false),
            (minutes(15 * 60), false),
            (0, false),
            (i64::MIN, false),
            (i64::MAX, false),
        ] {
            assert_eq!(looks_like_local_time(offset_us), is_local, "{offset_us}");
        }
    }

    #[test]
    fn days_have_their_dates() {
        for (seconds, date) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_772_323_199, "2026-02-28"),
            (2_147_483_648, "2038-01-19"),
            (4_107_542_400, "2100-03-01"),
            (-1, "1969-12-31"),
        ] {
            assert_eq!(Day(seconds * 1_000_000).to_string(), date);
        }
    }
}
