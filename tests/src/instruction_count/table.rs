//! What was counted, as a table for people and as JSON for programs.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::{Cost, Direction, Means};

/// One means in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// What carried.
    pub means: Means,
    /// Where to.
    pub direction: Direction,
    /// At what price, source and sink included.
    pub cost: Cost,
}

/// All that was counted in one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// In the order in which it was counted.
    pub rows: Vec<Row>,
}

impl Table {
    /// What this costs, source and sink included.
    ///
    /// # Panics
    /// If it was not counted.
    pub fn cost(&self, means: Means, direction: Direction) -> Cost {
        let mut rows = self.rows.iter();
        rows.find(|row| row.means == means && row.direction == direction)
            .unwrap_or_else(|| panic!("{means:?} {direction:?} was not counted"))
            .cost
    }

    /// System calls for each MiB without those of source and sink.
    ///
    /// # Panics
    /// If this or [`Means::Nothing`] was not counted.
    pub fn own_calls(&self, means: Means, direction: Direction) -> f64 {
        self.cost(means, direction).calls - self.cost(Means::Nothing, direction).calls
    }

    /// A row for each means, in Markdown.
    ///
    /// # Panics
    /// As [`Self::own_calls`].
    pub fn markdown(&self) -> String {
        let mut text = String::from(HEAD);
        for means in self.means() {
            let [up, down] = [Direction::Up, Direction::Down].map(|to| self.cost(means, to));
            let [calls_up, calls_down] =
                [Direction::Up, Direction::Down].map(|to| self.own_calls(means, to));
            let _ = writeln!(
                text,
                "| {} | {:.2} / {:.2} | {:.2} / {:.2} | {:.2} / {:.2} | {calls_up:.1} / {calls_down:.1} |",
                title(means),
                up.copied,
                down.copied,
                up.instructions,
                down.instructions,
                up.zeroed,
                down.zeroed,
            );
        }
        text
    }

    /// The same as JSON: a list of objects.
    ///
    /// # Panics
    /// As [`Self::own_calls`].
    pub fn json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "means": format!("{:?}", row.means),
                "direction": format!("{:?}", row.direction),
                "copied_per_byte": row.cost.copied,
                "instructions_per_byte": row.cost.instructions,
                "zeroed_per_byte": row.cost.zeroed,
                "calls_per_mib": self.own_calls(row.means, row.direction),
            })
        };
        self.rows.iter().map(row).collect()
    }

    /// Writes `guest.md` and `guest.json` into this folder.
    ///
    /// # Errors
    /// Those of the file system.
    ///
    /// # Panics
    /// As [`Self::own_calls`].
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("guest.md"), self.markdown())?;
        fs::write(folder.join("guest.json"), format!("{:#}\n", self.json()))
    }

    /// What was counted, each once.
    fn means(&self) -> Vec<Means> {
        let mut means: Vec<Means> = self.rows.iter().map(|row| row.means).collect();
        means.dedup();
        means
    }
}

const HEAD: &str = "\
| up / down | bytes copied per byte | instructions per byte, without copies | bytes zeroed per byte | calls per MiB |
|---|---|---|---|---|
";

fn title(means: Means) -> &'static str {
    match means {
        Means::Nothing => "source and sink alone",
        Means::Stock => "stock rustls",
        Means::InPlace => "engine B: user space, in place",
        Means::Kernel => "engine A: kernel TLS with splice",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(means: Means, direction: Direction, calls: f64) -> Row {
        let cost = Cost {
            copied: 1.04,
            zeroed: 0.5,
            instructions: 3.0,
            calls,
        };
        Row {
            means,
            direction,
            cost,
        }
    }

    fn table() -> Table {
        Table {
            rows: vec![
                row(Means::Nothing, Direction::Up, 2.0),
                row(Means::Nothing, Direction::Down, 3.0),
                row(Means::Kernel, Direction::Up, 14.0),
                row(Means::Kernel, Direction::Down, 75.0),
            ],
        }
    }

    #[test]
    fn source_s_and_sink_s_calls_are_not_the_relay_s() {
        assert_eq!(table().own_calls(Means::Kernel, Direction::Up), 12.0);
        assert_eq!(table().own_calls(Means::Kernel, Direction::Down), 72.0);
    }

    #[test]
    fn a_means_is_one_row_with_both_directions() {
        let text = table().markdown();
        let rows: Vec<&str> = text.lines().skip(2).collect();
        let expected = [
            "| source and sink alone | 1.04 / 1.04 | 3.00 / 3.00 | 0.50 / 0.50 | 0.0 / 0.0 |",
            "| engine A: kernel TLS with splice | 1.04 / 1.04 | 3.00 / 3.00 | 0.50 / 0.50 | 12.0 / 72.0 |",
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn programs_find_each_means_and_direction_by_itself() {
        let rows = table().json();
        assert_eq!(rows[3]["means"], "Kernel");
        assert_eq!(rows[3]["direction"], "Down");
        assert_eq!(rows[3]["calls_per_mib"], 72.0);
    }
}
