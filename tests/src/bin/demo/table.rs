//! The table of `--auto`. Pure.

use std::time::Duration;

/// One row: what was measured, the number, its unit and what more there is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    name: String,
    number: String,
    unit: String,
}

impl Row {
    /// How long something took, from one event to another.
    pub fn time(from: &str, to: &str, took: Duration) -> Self {
        Self {
            name: format!("{from} to {to}"),
            number: format!("{:.1}", took.as_secs_f64()),
            unit: "s".to_owned(),
        }
    }

    /// A size in bytes, as MiB with one decimal, rounded.
    pub fn size(name: &str, bytes: u64) -> Self {
        let tenths = (bytes.saturating_mul(10).saturating_add(1 << 19)) >> 20;
        Self {
            name: name.to_owned(),
            number: format!("{}.{}", tenths / 10, tenths % 10),
            unit: "MiB".to_owned(),
        }
    }

    /// An amount that somebody else measured: a number, a space and its unit.
    pub fn amount(name: &str, amount: &str, remark: &str) -> Self {
        let (number, unit) = amount.split_once(' ').unwrap_or((amount, ""));
        Self {
            name: name.to_owned(),
            number: number.to_owned(),
            unit: format!("{unit}{remark}"),
        }
    }
}

/// The rows as text, the numbers in one column.
pub fn render(rows: &[Row]) -> String {
    let lines = rows.iter().map(|Row { name, number, unit }| {
        format!("  {name:NAME_COLUMNS$}{number:>NUMBER_COLUMNS$} {unit}\n")
    });
    lines.collect()
}

/// The longest name and some air.
const NAME_COLUMNS: usize = 28;

/// Up to 999.9.
const NUMBER_COLUMNS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_under_each_other_with_their_units() {
        let rows = [
            Row::time("power-on", "init", Duration::from_millis(12_340)),
            Row::time("key", "Connected", Duration::from_millis(960)),
            Row::size("image size", 8_454_144),
            Row::amount("memory used", "18 MiB", " of 106 MiB"),
        ];
        assert_eq!(
            render(&rows),
            "  power-on to init             12.3 s\n  \
               key to Connected              1.0 s\n  \
               image size                    8.1 MiB\n  \
               memory used                    18 MiB of 106 MiB\n"
        );
    }

    #[test]
    fn sizes_are_rounded() {
        let size = |bytes| Row::size("", bytes).number;
        assert_eq!(size(0), "0.0");
        assert_eq!(size((1 << 20) - 1), "1.0");
        assert_eq!(size(3 << 19), "1.5");
        assert_eq!(size(u64::MAX), "1759218604441.5");
    }
}
