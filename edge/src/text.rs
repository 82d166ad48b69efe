//! Small conversions between values and their text.

use std::time::Duration;

use connector_proto::limits::{HOST_MAX, NAME_MAX};
use connector_proto::time::UnixSeconds;

use crate::Error;

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// `2026-11-21T02:32:25Z`.
pub(crate) fn iso8601(time: UnixSeconds) -> String {
    let (days, seconds) = (time.0 / 86_400, time.0 % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day counted from 1970-01-01, by 400-year eras that start in March.
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + (month <= 2) as u64;
    (year, month, day)
}

/// `90s`, `30m`, `24h` or `7d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let problem =
        || format!("{text:?} is not a duration; write a number and s, m, h or d, like 24h");
    let (number, unit) = text
        .split_at_checked(text.len().wrapping_sub(1))
        .ok_or_else(problem)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(problem()),
    };
    let number: u64 = number.parse().map_err(|_| problem())?;
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(problem)
}

/// The text with everything that could steer a terminal made visible.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, character| {
            if character.is_control() || is_direction_mark(character) {
                out.extend(character.escape_default());
            } else {
                out.push(character);
            }
            out
        })
}

/// Characters that turn the reading direction around and so can disguise a text.
const fn is_direction_mark(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The first names of a list, and how many more there are.
pub(crate) fn names(all: &[String]) -> String {
    let shown = all.iter().take(NAMES_SHOWN).map(|name| printable(name));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMES_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Names in one sentence: as many as fit on a screen beside the rest.
const NAMES_SHOWN: usize = 10;

/// A name an administrator gives: letters, digits, dot, dash and underscore.
///
/// # Errors
/// [`Error::InvalidValue`].
pub(crate) fn checked_name(what: &'static str, name: &str) -> Result<(), Error> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(fits) {
        return Ok(());
    }
    let allowed = format!("1 to {NAME_MAX} letters, digits, dots, dashes and underscores");
    Err(Error::InvalidValue {
        what,
        value: name.into(),
        allowed,
    })
}

/// A host in the one form in which hosts are compared: lower case, no brackets, no final dot.
///
/// # Errors
/// [`Error::InvalidValue`].
pub(crate) fn normal_host(host: &str) -> Result<String, Error> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    if !bare.is_empty() && bare.len() <= HOST_MAX && bare.bytes().all(fits) {
        return Ok(bare.to_ascii_lowercase());
    }
    let allowed = format!("a host name or address of 1 to {HOST_MAX} letters");
    Err(Error::InvalidValue {
        what: "host",
        value: printable(host),
        allowed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(iso8601(UnixSeconds(0)), "1970-01-01T00:00:00Z");
        assert_eq!(iso8601(UnixSeconds(951_782_399)), "2000-02-28T23:59:59Z");
        assert_eq!(iso8601(UnixSeconds(951_782_400)), "2000-02-29T00:00:00Z");
        assert_eq!(iso8601(UnixSeconds(1_700_000_000)), "2023-11-14T22:13:20Z");
        assert_eq!(iso8601(UnixSeconds(4_102_444_800)), "2100-01-01T00:00:00Z");
    }

    #[test]
    fn durations_have_a_number_and_a_unit() {
        assert_eq!(parse_duration("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for wrong in [
            "",
            "h",
            "24",
            "-1h",
            "1w",
            "24 h",
            "1\u{e9}",
            "99999999999999999999d",
        ] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn nothing_foreign_steers_a_terminal() {
        assert_eq!(
            printable("a\u{1b}[2Jb\r\n\u{202e}"),
            "a\\u{1b}[2Jb\\r\\n\\u{202e}"
        );
        assert_eq!(printable("Grüße"), "Grüße");
    }

    #[test]
    fn one_host_has_one_form() {
        assert_eq!(
            normal_host("Intranet.Corp.Example.").unwrap(),
            "intranet.corp.example"
        );
        assert_eq!(normal_host("[2001:DB8::1]").unwrap(), "2001:db8::1");
        for wrong in ["", ".", "a b", "a/b", "a@b", "a\nb", "é"] {
            assert!(normal_host(wrong).is_err(), "{wrong:?}");
        }
    }
}
