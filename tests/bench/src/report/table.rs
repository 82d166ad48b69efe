//! A table of Markdown whose columns are aligned, so that it is a table on a terminal too.

use std::fmt;

/// Rows of cells; the first row is the head. The first column is text, the others are numbers.
#[derive(Debug)]
pub struct Table(Vec<Vec<String>>);

impl Table {
    /// A table with a head and nothing else.
    pub fn new(head: impl IntoIterator<Item = String>) -> Self {
        Self(vec![head.into_iter().collect()])
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..columns).map(width).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        for (number, row) in self.0.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            for (column, width) in widths.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                match column {
                    0 => write!(f, "| {cell:<width$} ")?,
                    _ => write!(f, "| {cell:>width$} ")?,
                }
            }
            write!(f, "|")?;
            if number == 0 {
                writeln!(f)?;
                for (column, width) in widths.iter().enumerate() {
                    let colon = if column == 0 { "-" } else { ":" };
                    write!(f, "|{}{colon}", "-".repeat(width + 1))?;
                }
                write!(f, "|")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_the_rule_is_markdown() {
        let mut table = Table::new(["what", "Gbit/s"].map(str::to_owned));
        table.row(["nginx".to_owned(), "5.9".to_owned()]);
        table.row(["plain".to_owned()]);
        let expected = "\
            | what  | Gbit/s |\n\
            |-------|-------:|\n\
            | nginx |    5.9 |\n\
            | plain |        |";
        assert_eq!(table.to_string(), expected);
    }
}
