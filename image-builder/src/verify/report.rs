//! What a person is told about a file.

use std::fmt;

/// Lines for a person, some of them checks that hold or do not.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report(Vec<(Mark, String)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Good,
    None,
    Wrong,
}

impl Report {
    /// A fact.
    pub fn say(&mut self, text: &str) {
        self.push(Mark::None, text);
    }

    /// A check that holds.
    pub fn good(&mut self, text: &str) {
        self.push(Mark::Good, text);
    }

    /// A check that does not hold.
    pub fn wrong(&mut self, text: &str) {
        self.push(Mark::Wrong, text);
    }

    /// A check.
    pub fn check(&mut self, holds: bool, text: &str) {
        self.push(if holds { Mark::Good } else { Mark::Wrong }, text);
    }

    /// The value of something that must succeed; when it does not, the error is a line.
    pub fn need<T, E: fmt::Display>(&mut self, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(&error.to_string());
                None
            }
        }
    }

    /// True when no check failed.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.0.iter().all(|(mark, _)| *mark != Mark::Wrong)
    }

    /// Texts quote what was in the file: nothing in them may act on a terminal.
    fn push(&mut self, mark: Mark, text: &str) {
        let shown = |character: char| {
            let plain = (!character.is_control()).then_some(character);
            plain.unwrap_or(char::REPLACEMENT_CHARACTER)
        };
        let text = text.chars().map(shown).take(LINE_CHARS_MAX).collect();
        self.0.push((mark, text));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(mark, text)| {
            let mark = match mark {
                Mark::Good => "ok",
                Mark::None => "",
                Mark::Wrong => "WRONG",
            };
            writeln!(f, "  {mark:5} {text}")
        })
    }
}

/// Enough for a sentence with two digests.
const LINE_CHARS_MAX: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_line_is_enough() {
        let mut report = Report::default();
        report.say("a disk");
        report.good("the table");
        assert!(report.holds());
        report.check(false, "the slot");
        assert!(!report.holds());
        assert_eq!(
            report.to_string(),
            "        a disk\n  ok    the table\n  WRONG the slot\n"
        );
    }

    #[test]
    fn nothing_foreign_acts_on_the_terminal() {
        let mut report = Report::default();
        report.say("a\u{1b}[2Jb\r\n\u{9b}c");
        let said = report.to_string();
        assert_eq!(said.matches(char::is_control).count(), 1, "{said:?}");
    }
}
