//! What a command prints.

use std::io::{self, Write as _};

use connector_proto::time::UnixSeconds;
use serde_json::Value;

use crate::Error;
use crate::text::{iso8601, printable};

/// What a command has to say, as text and as JSON.
pub(super) type Answer = Result<(String, Value), Error>;

/// The result of a command.
#[derive(Debug)]
pub(super) enum Output {
    Json(Value),
    Text(String),
    /// Everything was said while it ran.
    Nothing,
}

impl Output {
    pub(super) fn print(&self) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        match self {
            Self::Json(value) => writeln!(stdout, "{value}"),
            Self::Text(text) => writeln!(stdout, "{text}"),
            Self::Nothing => Ok(()),
        }
    }
}

/// Columns as wide as their widest cell; the header is the first row.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let header: Vec<String> = header.iter().map(|&title| title.into()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(header)
        .chain(
            rows.into_iter()
                .map(|row| row.iter().map(|cell| printable(cell)).collect()),
        )
        .collect();
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// One line for each thing that is known: its name, and what it is.
pub(super) fn sheet(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| format!("{name:width$}  {}", printable(value));
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A time from the store.
pub(super) fn time(seconds: i64) -> String {
    iso8601(UnixSeconds(u64::try_from(seconds).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up_and_shows_no_control_characters() {
        let rows = vec![
            vec!["a\u{1b}".into(), "1".into()],
            vec!["b".into(), "22".into()],
        ];
        assert_eq!(
            table(&["name", "n"], rows),
            "name     n\na\\u{1b}  1\nb        22"
        );
    }
}
