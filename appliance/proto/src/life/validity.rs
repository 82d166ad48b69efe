//! From when until when a certificate says that it is good (RFC 5280 section 4.1.2.5).
//!
//! Read from a certificate that is known to be the edge's; all the same nothing in it is trusted: the
//! reader is bounded, has no recursion, and knows as much of DER (X.690) as the way to those dates needs.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::time::UnixSeconds;

/// The dates of a certificate. Both are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its first second.
    pub not_before: UnixSeconds,
    /// Its last second.
    pub not_after: UnixSeconds,
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
/// `[0]`, constructed: the version.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The dates of a certificate in DER; `None` if it is not one, or its dates do not exist.
#[must_use]
pub fn validity(certificate: &[u8]) -> Option<Validity> {
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (tbs, _) = expect(certificate, SEQUENCE)?;
    let rest = match element(tbs)? {
        (VERSION, _, rest) => rest,
        _ => tbs,
    };
    let (_serial, rest) = expect(rest, INTEGER)?;
    let (_signature, rest) = expect(rest, SEQUENCE)?;
    let (_issuer, rest) = expect(rest, SEQUENCE)?;
    let (dates, _) = expect(rest, SEQUENCE)?;
    let (not_before, rest) = time(dates)?;
    let (not_after, rest) = time(rest)?;
    let validity = Validity {
        not_before,
        not_after,
    };
    (rest.is_empty() && not_before <= not_after).then_some(validity)
}

/// The smallest certificate that has these dates, with `serial` in it to tell it from others: for
/// simulations, where nobody verifies signatures. Serial numbers longer than 32 bytes are cut.
#[must_use]
pub fn unsigned_certificate(dates: Validity, serial: &[u8]) -> Vec<u8> {
    let serial = serial.get(..32).unwrap_or(serial);
    let nothing = tagged(SEQUENCE, &[]);
    let dates = [dates.not_before, dates.not_after].map(|time| {
        let text = generalized_time(time);
        tagged(GENERALIZED_TIME, &[text.as_bytes()])
    });
    let tbs = tagged(
        SEQUENCE,
        &[
            &tagged(VERSION, &[&tagged(INTEGER, &[&[2]])]),
            &tagged(INTEGER, &[serial]),
            &nothing,
            &nothing,
            &tagged(SEQUENCE, &[&dates[0], &dates[1]]),
        ],
    );
    tagged(SEQUENCE, &[&tbs])
}

/// Body of the fuzz target `validity`: any bytes; never panics, and dates that are found are those
/// that a certificate made with them has.
///
/// # Panics
/// If they are not.
pub fn fuzz_validity(data: &[u8]) {
    if let Some(dates) = validity(data) {
        assert!(dates.not_before <= dates.not_after);
        assert_eq!(validity(&unsigned_certificate(dates, data)), Some(dates));
    }
}

/// The content of an element that must have this tag, and what follows it.
fn expect(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(input)?;
    (found == tag).then_some((content, rest))
}

/// Tag and content of the first element, and what follows it. Tags of more than one byte and lengths
/// of more than two do not occur in what fits into a message.
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&len, rest) = rest.split_first()?;
            (usize::from(len), rest)
        }
        0x82 => {
            let (len, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*len)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

/// A time in either of its two forms, always in UTC and with seconds (RFC 5280 section 4.1.2.5), and
/// what follows it.
fn time(input: &[u8]) -> Option<(UnixSeconds, &[u8])> {
    let (tag, content, rest) = element(input)?;
    let (year, content) = match tag {
        UTC_TIME => {
            let (year, content) = two_digits(content)?;
            (if year >= 50 { 1900 + year } else { 2000 + year }, content)
        }
        GENERALIZED_TIME => {
            let (century, content) = two_digits(content)?;
            let (year, content) = two_digits(content)?;
            (100 * century + year, content)
        }
        _ => return None,
    };
    let (month, content) = two_digits(content)?;
    let (day, content) = two_digits(content)?;
    let (hour, content) = two_digits(content)?;
    let (minute, content) = two_digits(content)?;
    let (second, content) = two_digits(content)?;
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day) && year >= 1970;
    if !is_date || hour > 23 || minute > 59 || second > 59 || content != b"Z" {
        return None;
    }
    let of_day = (hour * 60 + minute) * 60 + second;
    Some((UnixSeconds(days(year, month, day) * 86_400 + of_day), rest))
}

fn two_digits(input: &[u8]) -> Option<(u64, &[u8])> {
    let (digits, rest) = input.split_first_chunk::<2>()?;
    let [tens, ones] = digits.map(|digit| char::from(digit).to_digit(10).map(u64::from));
    Some((10 * tens? + ones?, rest))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counting years from March so that the
/// leap day is the last.
const fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    // Months from March on have 31, 30, 31, 30, 31, 31, 30, .. days.
    let of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + leap_days + of_year - DAYS_TO_1970
}

/// A time as `20261121190626Z`; years after 9999 are that year.
fn generalized_time(time: UnixSeconds) -> String {
    let seconds = time.0.min(LAST_SECOND);
    let (mut days_left, of_day) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970 + days_left / 366;
    while days(year + 1, 1, 1) <= days_left {
        year += 1;
    }
    let mut month = 12;
    while days(year, month, 1) > days_left {
        month -= 1;
    }
    days_left -= days(year, month, 1);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let day = days_left + 1;
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z")
}

/// An element of at most 255 bytes.
fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let len = u8::try_from(content.len()).unwrap_or(u8::MAX);
    [&[tag, 0x81, len], content.as_slice()].concat()
}

/// 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_1970: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_of_both_forms_are_the_seconds_that_the_calendar_says() {
        for (text, seconds) in [
            ("700101000000Z", 0),
            ("000229235959Z", 951_868_799),
            ("261121190626Z", 1_795_287_986),
            ("491231235959Z", 2_524_607_999),
            ("20500101000000Z", 2_524_608_000),
            ("24000301000000Z", 13_574_649_600),
        ] {
            let certificate = certificate(text, text);
            let expected = UnixSeconds(seconds);
            let found = validity(&certificate).map(|it| (it.not_before, it.not_after));
            assert_eq!(found, Some((expected, expected)), "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_is_one_after_the_day_before() {
        let mut expected = days(1970, 1, 1);
        assert_eq!(expected, 0);
        for year in 1970..2370 {
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let february = if is_leap { 29 } else { 28 };
            let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            for (month, len) in (1..).zip(months) {
                for day in 1..=len {
                    assert_eq!(days(year, month, day), expected, "{year}-{month}-{day}");
                    expected += 1;
                }
            }
        }
    }

    #[test]
    fn what_is_no_date_is_no_validity() {
        for text in [
            "261121190626",
            "261121190626+0100",
            "2611211906Z",
            "261321190626Z",
            "261100190626Z",
            "261121240000Z",
            "26112119062xZ",
            "19691231235959Z",
        ] {
            assert_eq!(validity(&certificate(text, text)), None, "{text}");
        }
        let backwards = certificate("261121190626Z", "261121190625Z");
        assert_eq!(validity(&backwards), None);
    }

    #[test]
    fn a_certificate_that_is_cut_anywhere_before_its_dates_end_has_none() {
        let whole = certificate("261121190626Z", "271121190626Z");
        assert!(validity(&whole).is_some());
        for len in 0..whole.len() {
            assert_eq!(validity(&whole[..len]), None, "{len}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(data: Vec<u8>) {
            fuzz_validity(&data);
        }

        #[test]
        fn a_certificate_made_with_dates_has_them(from in 0..=LAST_SECOND, len in 0..=LAST_SECOND) {
            let dates = Validity {
                not_before: UnixSeconds(from),
                not_after: UnixSeconds((from + len).min(LAST_SECOND)),
            };
            prop_assert_eq!(validity(&unsigned_certificate(dates, &[7; 16])), Some(dates));
        }

        #[test]
        fn no_altered_byte_panics(at in 0usize..64, byte: u8) {
            let mut certificate = certificate("261121190626Z", "271121190626Z");
            let at = at % certificate.len();
            certificate[at] = byte;
            fuzz_validity(&certificate);
        }
    }

    /// As much of a certificate as its dates need.
    fn certificate(not_before: &str, not_after: &str) -> Vec<u8> {
        let version = tagged(VERSION, &[&tagged(INTEGER, &[&[2]])]);
        let serial = tagged(INTEGER, &[&[1; 16]]);
        let empty = tagged(SEQUENCE, &[]);
        let dates = tagged(SEQUENCE, &[&date(not_before), &date(not_after)]);
        let tbs = tagged(SEQUENCE, &[&version, &serial, &empty, &empty, &dates]);
        tagged(SEQUENCE, &[&tbs])
    }

    fn date(text: &str) -> Vec<u8> {
        let is_short = text.trim_end_matches('Z').len() <= 12;
        let tag = if is_short { UTC_TIME } else { GENERALIZED_TIME };
        tagged(tag, &[text.as_bytes()])
    }
}
