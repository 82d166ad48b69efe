//! All fragments as one request to Kconfig.
//!
//! A symbol has one home: naming it in two fragments is an error even where the values agree, because the second
//! reason would be forgotten when the first is changed.

use crate::annotated::Error;
use crate::fragment::{Symbol, Value, parse};
use crate::{CMDLINE, FRAGMENTS};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The symbols of all fragments, each once.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// By name, so that the rendered text does not depend on the order of fragments.
    symbols: BTreeMap<String, Symbol>,
}

/// The product's request: every fragment of this crate, and the command line.
///
/// # Errors
/// As [`parse`] and [`Request::add`]; this crate's tests show that the compiled-in files have none.
pub fn request() -> Result<Request, Error> {
    let mut request = Request::default();
    for (fragment, text) in FRAGMENTS {
        request.add(parse(fragment, text)?)?;
    }
    request.add(vec![command_line()])?;
    Ok(request)
}

impl Request {
    /// Merges `symbols` in.
    ///
    /// # Errors
    /// [`Error::Conflict`], naming both places, when a symbol is there already.
    pub fn add(&mut self, symbols: Vec<Symbol>) -> Result<(), Error> {
        for symbol in symbols {
            if let Some(first) = self.symbols.get(&symbol.name) {
                return Err(Error::Conflict {
                    symbol: symbol.name.clone(),
                    first: place(first),
                    second: place(&symbol),
                });
            }
            self.symbols.insert(symbol.name.clone(), symbol);
        }
        Ok(())
    }

    /// The symbols in the order of their names.
    pub fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.values()
    }

    /// Finds a symbol; `name` with or without `CONFIG_`.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Symbol> {
        self.symbols
            .get(name)
            .or_else(|| self.symbols.get(&format!("CONFIG_{name}")))
    }

    /// The text for `KCONFIG_ALLCONFIG`: one `CONFIG_NAME=value` per line, sorted, without comments.
    ///
    /// The same request is always the same text, whatever is said in the reasons: it is part of the cache's key.
    #[must_use]
    pub fn allconfig(&self) -> String {
        let mut text = String::new();
        for symbol in self.symbols() {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{}={}", symbol.name, symbol.value);
        }
        text
    }
}

/// `CONFIG_CMDLINE`, whose value is written in a file of its own.
fn command_line() -> Symbol {
    Symbol {
        name: "CONFIG_CMDLINE".into(),
        value: Value::Text(CMDLINE.clone()),
        reason: "the parameters of cmdline.txt, where each has its own reason".into(),
        fragment: "cmdline.txt".into(),
        line: 1,
    }
}

fn place(symbol: &Symbol) -> String {
    format!(
        "`{}` in {} line {}",
        symbol.value, symbol.fragment, symbol.line
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(fragments: &[(&str, &str)]) -> Result<Request, Error> {
        let mut request = Request::default();
        for (name, text) in fragments {
            request.add(parse(name, text)?)?;
        }
        Ok(request)
    }

    #[test]
    fn the_rendered_request_is_sorted_and_has_no_comments() {
        let request = merged(&[
            ("a", "CONFIG_B=n  # why"),
            ("b", "CONFIG_A=y  # why\nCONFIG_C=3  # why"),
        ])
        .unwrap();
        assert_eq!(request.allconfig(), "CONFIG_A=y\nCONFIG_B=n\nCONFIG_C=3\n");
    }

    #[test]
    fn two_fragments_that_disagree_are_both_named() {
        let refused = merged(&[
            ("net.config", "CONFIG_A=y  # why"),
            ("tls.config", "\nCONFIG_A=n  # why"),
        ]);
        assert_eq!(
            refused.unwrap_err().to_string(),
            "CONFIG_A is set twice: `y` in net.config line 1 and `n` in tls.config line 2; keep one"
        );
    }

    #[test]
    fn a_symbol_has_one_home_even_where_values_agree() {
        assert!(merged(&[("a", "CONFIG_A=y  # why"), ("b", "CONFIG_A=y  # why")]).is_err());
        assert!(merged(&[("a", "CONFIG_A=y  # why\nCONFIG_A=y  # why")]).is_err());
    }

    #[test]
    fn a_symbol_is_found_with_and_without_its_prefix() {
        let request = merged(&[("a", "CONFIG_A=y  # why")]).unwrap();
        assert!(
            request.find("A").is_some()
                && request.find("CONFIG_A").is_some()
                && request.find("B").is_none()
        );
    }
}
