//! One fragment: a topic's symbols with their values and reasons.

use crate::annotated::{Error, entries};
use std::fmt;

/// A requested value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `n`: must not be in the kernel, whatever selects it.
    No,
    /// A decimal number.
    Number(u64),
    /// A string, without its quotes. Holds neither quotes nor backslashes.
    Text(String),
    /// `y`: must be in the kernel.
    Yes,
}

/// One symbol of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Name with `CONFIG_`.
    pub name: String,
    /// What is asked for.
    pub value: Value,
    /// Why.
    pub reason: String,
    /// Where: the fragment's file name.
    pub fragment: String,
    /// Where: line number, counted from 1.
    pub line: usize,
}

impl fmt::Display for Value {
    /// As in a `.config` file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("n"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Yes => f.write_str("y"),
        }
    }
}

/// Parses the fragment `text`; `fragment` is its file name.
///
/// # Errors
/// [`Error::NoReason`], and [`Error::Malformed`] for anything that is not `CONFIG_NAME=value` with value `y`, `n`, a
/// decimal number or a quoted string. `m` is malformed: there are no modules.
pub fn parse(fragment: &str, text: &str) -> Result<Vec<Symbol>, Error> {
    let symbol = |entry: crate::annotated::Entry<'_>| {
        let (name, value) = assignment(entry.text).ok_or_else(|| Error::Malformed {
            file: fragment.into(),
            line: entry.line,
            text: entry.text.into(),
            expected: "CONFIG_NAME= and y, n, a decimal number or a quoted string",
        })?;
        Ok(Symbol {
            name: name.into(),
            value,
            reason: entry.reason,
            fragment: fragment.into(),
            line: entry.line,
        })
    };
    entries(fragment, text)?.into_iter().map(symbol).collect()
}

/// Splits `CONFIG_NAME=value`.
fn assignment(text: &str) -> Option<(&str, Value)> {
    let (name, value) = text.split_once('=')?;
    let bare = name.strip_prefix("CONFIG_")?;
    let well_formed =
        !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    well_formed.then_some(())?;
    Some((name, Value::parse(value)?))
}

impl Value {
    /// Reads a value as a fragment or a `.config` writes it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "y" => Some(Self::Yes),
            "n" => Some(Self::No),
            _ => quoted(text)
                .map(Self::Text)
                .or_else(|| text.parse().ok().map(Self::Number)),
        }
    }
}

fn quoted(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains(['"', '\\'])).then(|| inner.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_kinds_of_value_are_read_and_written_alike() {
        for (written, value) in [
            ("y", Value::Yes),
            ("n", Value::No),
            ("64", Value::Number(64)),
            ("\"/sbin/init\"", Value::Text("/sbin/init".into())),
        ] {
            let symbol = &parse("f", &format!("CONFIG_A={written}  # why")).unwrap()[0];
            assert_eq!((symbol.name.as_str(), &symbol.value), ("CONFIG_A", &value));
            assert_eq!(symbol.value.to_string(), written);
        }
    }

    #[test]
    fn a_symbol_knows_its_fragment_line_and_reason() {
        let symbol = &parse("cpu.config", "\nCONFIG_SMP=y  # two CPUs").unwrap()[0];
        assert_eq!(
            (
                symbol.fragment.as_str(),
                symbol.line,
                symbol.reason.as_str()
            ),
            ("cpu.config", 2, "two CPUs")
        );
    }

    #[test]
    fn modules_and_other_malformed_lines_are_refused() {
        for line in [
            "CONFIG_A=m",
            "CONFIG_A",
            "A=y",
            "CONFIG_=y",
            "CONFIG_A B=y",
            "CONFIG_A=\"x",
            "CONFIG_A=-1",
        ] {
            let refused = parse("f", &format!("# why\n{line}\n")).unwrap_err();
            assert!(
                matches!(refused, Error::Malformed { line: 2, .. }),
                "{line}: {refused}"
            );
        }
    }

    #[test]
    fn the_spelling_of_kconfig_for_unset_is_a_comment_and_sets_nothing() {
        assert_eq!(parse("f", "# CONFIG_A is not set\n").unwrap(), []);
    }
}
