//! The epoch as people and scanners write it.

use crate::date::Date;

/// `seconds` since 1970 as RFC 3339 text in UTC.
pub(super) fn rfc3339(seconds: u32) -> String {
    let (date, second) = (Date::from_unix(seconds.into()), seconds % DAY);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{date}T{hour:02}:{minute:02}:{second:02}Z")
}

const DAY: u32 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_have_their_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (1_793_491_200, "2026-11-01T00:00:00Z"),
            (u32::MAX, "2106-02-07T06:28:15Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
