//! Pure: days, for people.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// A day of the Gregorian calendar, UTC. Prints as `2026-11-01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    year: u64,
    month: u64,
    day: u64,
}

impl Date {
    /// The day that is `seconds` after the beginning of 1970.
    #[must_use]
    pub const fn from_unix(seconds: u64) -> Self {
        // "days_to_civil" of Hinnant's calendar algorithms: years begin in March, so that the day
        // that comes and goes is their last.
        let days = seconds / 86_400 + 719_468;
        let era = days / DAYS_PER_ERA;
        let day_of_era = days % DAYS_PER_ERA;
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        Self {
            year: era * 400 + year_of_era + (month <= 2) as u64,
            month,
            day: day_of_year - (153 * month_from_march + 2) / 5 + 1,
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl FromStr for Date {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        let error = || DateError { text: text.into() };
        let number = |range: Range<usize>| {
            let part = text.get(range)?;
            let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| part.parse().ok()).flatten()
        };
        let date = match (number(0..4), number(5..7), number(8..10)) {
            (Some(year), Some(month @ 1..=12), Some(day @ 1..=31)) => Self { year, month, day },
            _ => return Err(error()),
        };
        // Also the length and the dashes.
        if date.to_string() == text {
            Ok(date)
        } else {
            Err(error())
        }
    }
}

/// A text that is no day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateError {
    text: String,
}

impl fmt::Display for DateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.text.chars().take(32).collect();
        write!(f, "{shown:?} must be a day like 2026-11-01")
    }
}

impl std::error::Error for DateError {}

/// 400 years.
const DAYS_PER_ERA: u64 = 146_097;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_the_day_that_date_1_prints() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (86_399, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_793_491_200, "2026-11-01"),
            (1_709_164_799, "2024-02-28"),
            (4_107_542_400, "2100-03-01"),
            (4_107_456_000, "2100-02-28"),
        ] {
            assert_eq!(Date::from_unix(seconds).to_string(), day);
            assert_eq!(day.parse(), Ok(Date::from_unix(seconds)));
        }
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in [
            "",
            "2026",
            "2026-13-01",
            "2026-00-01",
            "2026-01-32",
            "2026/01/01",
            "+026-01-01",
            "2026-01-011",
        ] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
    }
}
