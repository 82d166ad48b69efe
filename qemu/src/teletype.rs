//! What a terminal shows that was sent lines, carriage returns and erasures.

/// A terminal without limits: lines are as long, and as many, as they come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Teletype {
    /// The lines, trailing blanks removed by [`Self::of`].
    pub lines: Vec<String>,
    /// Line and column of the cursor.
    pub cursor: (usize, usize),
}

impl Teletype {
    /// What is shown after `bytes`. Carriage return, line feed, backspace and `ESC [ K` (erase to
    /// the end of the line) are obeyed; other control characters and sequences are ignored.
    pub fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut paper = Paper::default();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '\u{1b}' => paper.escape(&mut characters),
                '\r' => paper.column = 0,
                '\n' => paper.row += 1,
                '\u{8}' => paper.column = paper.column.saturating_sub(1),
                control if control.is_control() => {}
                printable => paper.print(printable),
            }
        }
        let trimmed = |row: Vec<char>| row.iter().collect::<String>().trim_end().to_owned();
        Self {
            lines: paper.rows.into_iter().map(trimmed).collect(),
            cursor: (paper.row, paper.column),
        }
    }
}

#[derive(Debug, Default)]
struct Paper {
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Paper {
    fn print(&mut self, character: char) {
        let (row, column) = (self.row, self.column);
        if self.rows.len() <= row {
            self.rows.resize(row + 1, Vec::new());
        }
        let cells = &mut self.rows[row];
        if cells.len() <= column {
            cells.resize(column + 1, ' ');
        }
        cells[column] = character;
        self.column += 1;
    }

    /// Takes the rest of a control sequence (ECMA-48): parameters, and a final character.
    fn escape(&mut self, rest: &mut impl Iterator<Item = char>) {
        if rest.next() != Some('[') {
            return;
        }
        let is_final = |character: &char| ('\u{40}'..='\u{7e}').contains(character);
        let mut sequence = String::new();
        for character in rest {
            sequence.push(character);
            if is_final(&character) {
                break;
            }
        }
        if matches!(sequence.as_str(), "K" | "0K")
            && let Some(cells) = self.rows.get_mut(self.row)
        {
            cells.truncate(self.column);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_written_over_shows_its_last_state() {
        let shown = Teletype::of(b"one\x1b[K\r\nWaiting for 0:09\x1b[K\rReady\x1b[K\r\nKey: ");
        assert_eq!(shown.lines, ["one", "Ready", "Key:"]);
        assert_eq!(shown.cursor, (2, 5));
    }

    #[test]
    fn what_is_not_erased_stays() {
        assert_eq!(Teletype::of(b"abcdef\rxy").lines, ["xycdef"]);
        assert_eq!(Teletype::of(b"abc\x08\x08_").lines, ["a_c"]);
    }

    #[test]
    fn colours_and_bells_leave_no_trace() {
        let shown = Teletype::of(b"\x1b[0m\x1b[1;37mOut\x07gate\x1b(\xff");
        assert_eq!(shown.lines, ["Outgate\u{fffd}"]);
    }
}
