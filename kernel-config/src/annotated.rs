//! Entries with reasons: the form that fragments and command line share.
//!
//! ```text
//! ## A heading, for the eye only
//! # A comment directly above an entry belongs to that one entry.
//! entry  # and so does a comment behind it
//! ```
//! An entry's reason is the comment above it and the one behind it; at least one must be there. A blank line or a
//! heading ends a comment, so no entry takes its reason from something further up.

use std::fmt;

/// One entry of an annotated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The line's text without its comment.
    pub text: &'a str,
    /// Why it is there: one line, never empty.
    pub reason: String,
    /// Line number, counted from 1.
    pub line: usize,
}

/// What is wrong with one of this crate's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Two fragments, or two lines of one, set the same symbol.
    Conflict {
        /// The symbol, with `CONFIG_`.
        symbol: String,
        /// The assignment that came first: value and place.
        first: String,
        /// The assignment that came second: value and place.
        second: String,
    },
    /// An entry that is not of its file's form.
    Malformed {
        /// File name.
        file: String,
        /// Line number, counted from 1.
        line: usize,
        /// The entry as written.
        text: String,
        /// What was expected.
        expected: &'static str,
    },
    /// An entry that does not say why it is there.
    NoReason {
        /// File name.
        file: String,
        /// Line number, counted from 1.
        line: usize,
        /// The entry as written.
        text: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict {
                symbol,
                first,
                second,
            } => {
                write!(f, "{symbol} is set twice: {first} and {second}; keep one")
            }
            Self::Malformed {
                file,
                line,
                text,
                expected,
            } => {
                write!(f, "{file}, line {line}: `{text}`: expected {expected}")
            }
            Self::NoReason { file, line, text } => {
                write!(
                    f,
                    "{file}, line {line}: `{text}` has no reason; write one behind it (`  # why`) or directly above it"
                )
            }
        }
    }
}

impl std::error::Error for Error {}

/// Reads the entries of `text`; `file` is its name in errors.
///
/// # Errors
/// [`Error::NoReason`] for the first entry without a reason.
pub fn entries<'a>(file: &str, text: &'a str) -> Result<Vec<Entry<'a>>, Error> {
    let mut found = Vec::new();
    let mut above = String::new();
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim();
        if line.is_empty() || line.starts_with("##") {
            above.clear();
        } else if let Some(comment) = line.strip_prefix('#') {
            append(&mut above, comment);
        } else {
            let (text, behind) = split_comment(line);
            let mut reason = std::mem::take(&mut above);
            append(&mut reason, behind);
            let entry = Entry {
                text,
                reason,
                line: index + 1,
            };
            if !entry.reason.contains(char::is_alphabetic) {
                return Err(Error::NoReason {
                    file: file.into(),
                    line: entry.line,
                    text: text.into(),
                });
            }
            found.push(entry);
        }
    }
    Ok(found)
}

/// Splits `line` at the first `#` that is outside double quotes.
fn split_comment(line: &str) -> (&str, &str) {
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '#' if !quoted => return (line[..at].trim_end(), &line[at + 1..]),
            _ => {}
        }
    }
    (line, "")
}

fn append(reason: &mut String, comment: &str) {
    let comment = comment.trim();
    if !reason.is_empty() && !comment.is_empty() {
        reason.push(' ');
    }
    reason.push_str(comment);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_may_stand_behind_above_or_both() {
        let read = entries("f", "a  # one\n# two\nb\n# three\n# four\nc # five\n").unwrap();
        let reasons: Vec<_> = read.iter().map(|entry| entry.reason.as_str()).collect();
        assert_eq!(reasons, ["one", "two", "three four five"]);
    }

    #[test]
    fn an_entry_without_a_reason_is_refused_with_file_and_line() {
        let refused = entries("f.config", "a  # why\nb\n").unwrap_err();
        assert_eq!(
            refused,
            Error::NoReason {
                file: "f.config".into(),
                line: 2,
                text: "b".into()
            }
        );
        assert!(refused.to_string().contains("f.config, line 2"));
    }

    #[test]
    fn a_comment_gives_its_reason_to_one_entry_only() {
        assert!(entries("f", "# why\na\nb\n").is_err());
    }

    #[test]
    fn a_blank_line_and_a_heading_end_a_comment() {
        assert!(entries("f", "# why\n\na\n").is_err());
        assert!(entries("f", "# why\n## heading\na\n").is_err());
    }

    #[test]
    fn punctuation_is_not_a_reason() {
        assert!(entries("f", "a  # --\n").is_err());
    }

    #[test]
    fn a_hash_inside_quotes_is_part_of_the_entry() {
        assert_eq!(
            entries("f", "a=\"#1\"  # why\n").unwrap()[0].text,
            "a=\"#1\""
        );
    }
}
