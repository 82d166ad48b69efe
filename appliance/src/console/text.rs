//! Foreign strings made printable, lines cut and wrapped, durations, amounts and dates.

/// Columns a line may take. One fewer than the narrowest terminal's 80, so that none wraps by itself.
pub const COLUMNS: usize = 79;

/// Width of the stamp that [`stamp`] makes, its trailing space included.
pub const STAMP_COLUMNS: usize = 12;

/// A string from outside as printable ASCII: every other character becomes its Rust escape.
#[must_use]
pub fn printable(foreign: &str) -> String {
    let mut safe = String::with_capacity(foreign.len());
    for character in foreign.chars() {
        if character == ' ' || character.is_ascii_graphic() {
            safe.push(character);
        } else {
            safe.extend(character.escape_default());
        }
    }
    safe
}

/// ASCII text cut to `columns`, with dots where something is missing.
#[must_use]
pub fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept = text.chars().take(columns.saturating_sub(DOTS.len()));
    kept.chain(DOTS.chars()).take(columns).collect()
}

/// The end of ASCII text that fits into `columns`, with dots where something is missing.
#[must_use]
pub fn cut_front(text: &str, columns: usize) -> String {
    let length = text.chars().count();
    if length <= columns {
        return text.to_owned();
    }
    let kept = columns.saturating_sub(DOTS.len());
    DOTS.chars()
        .chain(text.chars().skip(length - kept))
        .take(columns)
        .collect()
}

/// A text as lines of at most [`COLUMNS`], broken between words; lines after the first are indented.
///
/// Words longer than a line are broken anywhere. Never returns an empty vector.
#[must_use]
pub fn wrap(text: &str, indent: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut column = 0;
    let mut fresh = true;
    for word in text.split(' ') {
        let width = word.chars().count();
        if !fresh && column + 1 + width > COLUMNS {
            lines.push(" ".repeat(indent));
            column = indent;
            fresh = true;
        }
        let separator = if fresh { "" } else { " " };
        for character in separator.chars().chain(word.chars()) {
            if column == COLUMNS {
                lines.push(" ".repeat(indent));
                column = indent;
            }
            if let Some(line) = lines.last_mut() {
                line.push(character);
            }
            column += 1;
        }
        fresh = false;
    }
    lines
}

/// `[    12.34] `: when something happened, in seconds since the machine was started.
#[must_use]
pub fn stamp(at_boot_us: u64) -> String {
    format!(
        "[{:6}.{:02}] ",
        at_boot_us / 1_000_000,
        at_boot_us % 1_000_000 / 10_000
    )
}

/// A duration as `m:ss`, or `h:mm:ss` from an hour on.
#[must_use]
pub fn duration(us: u64) -> String {
    let seconds = us / 1_000_000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours == 0 {
        format!("{minutes}:{seconds:02}")
    } else {
        format!("{hours}:{minutes:02}:{seconds:02}")
    }
}

/// An amount of bytes with three digits or fewer, in decimal units.
#[must_use]
pub fn amount(bytes: u64) -> String {
    let mut value = bytes;
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB"].iter();
    let mut unit = units.next();
    while value >= 1000 {
        let Some(larger) = units.next() else { break };
        value /= 1000;
        unit = Some(larger);
    }
    format!("{value} {}", unit.unwrap_or(&"B"))
}

/// An amount of KiB in MiB, rounded.
#[must_use]
pub fn mebibytes(kib: u32) -> u32 {
    kib / 1024 + u32::from(kib % 1024 >= 512)
}

/// A signed offset in microseconds as seconds with three decimals.
#[must_use]
pub fn offset(us: i64) -> String {
    let sign = if us < 0 { '-' } else { '+' };
    let ms = us.unsigned_abs() / 1000;
    format!("{sign}{}.{:03} s", ms / 1000, ms % 1000)
}

/// A bound in microseconds, rounded up, in milliseconds, or in seconds from ten on.
#[must_use]
pub fn bound(us: u32) -> String {
    let ms = us.div_ceil(1000);
    if ms < 10_000 {
        format!("{ms} ms")
    } else {
        format!("{} s", ms.div_ceil(1000))
    }
}

/// A UNIX time as `2026-01-31 12:00:00 UTC`.
#[must_use]
pub fn date(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Days are counted from 1 March 0000, so that the leap day is the last of its year; a 400-year
    // era has 146,097 days and 1970-01-01 is day 719,468.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March on have 31, 30, 31, 30, 31 days, over and over: 153 days in five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// `1 session`, `2 sessions`, `no sessions`.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    match number {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

const DOTS: &str = "...";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escape_sequences_and_invisible_characters_are_spelt_out() {
        assert_eq!(printable("a\u{1b}[2Jb\u{7f}\u{200b}\u{e9} \r\n"), {
            r"a\u{1b}[2Jb\u{7f}\u{200b}\u{e9} \r\n"
        });
    }

    #[test]
    fn a_cut_text_says_that_it_was_cut() {
        assert_eq!(cut("connection refused", 18), "connection refused");
        assert_eq!(cut("connection refused", 10), "connect...");
        assert_eq!(cut_front("edge.example:443", 10), "...ple:443");
        assert_eq!(cut("connection", 2), "..");
        assert_eq!(cut_front("connection", 2), "..");
    }

    #[test]
    fn a_long_text_continues_under_its_beginning() {
        let lines = wrap(
            &format!("{}{}", stamp(3_020_000), "word ".repeat(20).trim_end()),
            12,
        );
        assert_eq!(
            lines,
            [
                "[     3.02] word word word word word word word word word word word word word",
                "            word word word word word word word",
            ]
        );
    }

    #[test]
    fn a_word_longer_than_a_line_is_broken() {
        let lines = wrap(&"x".repeat(100), 4);
        assert_eq!(lines, ["x".repeat(79), format!("    {}", "x".repeat(21))]);
    }

    #[test]
    fn durations_and_amounts_read_as_people_say_them() {
        let us = |seconds: u64| seconds * 1_000_000;
        assert_eq!(duration(us(12)), "0:12");
        assert_eq!(duration(us(3599)), "59:59");
        assert_eq!(duration(us(11_529)), "3:12:09");
        assert_eq!(
            [amount(0), amount(999), amount(1000)],
            ["0 B", "999 B", "1 kB"]
        );
        assert_eq!(
            [amount(14_999_999), amount(u64::MAX)],
            ["14 MB", "18446 PB"]
        );
        assert_eq!(
            [offset(312_900), offset(-7_200_104_000)],
            ["+0.312 s", "-7200.104 s"]
        );
        assert_eq!(
            [bound(3_100), bound(0), bound(12_000_001)],
            ["4 ms", "0 ms", "13 s"]
        );
        assert_eq!(
            [count(0, "use"), count(1, "use"), count(2, "use")],
            ["no uses", "1 use", "2 uses"]
        );
        assert_eq!(
            [mebibytes(108_820), mebibytes(511), mebibytes(u32::MAX)],
            [106, 0, 4_194_304]
        );
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_827_696), "2000-02-29 12:34:56 UTC");
        assert_eq!(date(1_767_225_599), "2025-12-31 23:59:59 UTC");
        assert_eq!(date(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_screen(foreign: String, indent in 0..20_usize) {
            for line in wrap(&printable(&foreign), indent) {
                prop_assert!(line.len() <= COLUMNS && line.bytes().all(|b| matches!(b, 0x20..=0x7e)));
            }
        }

        #[test]
        fn any_unix_time_has_a_date(unix_s: u64) {
            prop_assert!(date(unix_s).ends_with(" UTC"));
        }
    }
}
