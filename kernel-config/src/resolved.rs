//! What Kconfig made of the request.
//!
//! Kconfig drops a symbol silently when a dependency is missing or the name is gone, and switches one on when
//! another selects it. Either would ship a kernel that nobody asked for.

use crate::fragment::{Symbol, Value};
use crate::merge::Request;
use std::collections::BTreeMap;
use std::fmt;

/// A requested symbol that is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The request.
    pub wanted: Symbol,
    /// The value in the resolved configuration as written there; `None`: not set, or no such symbol.
    pub got: Option<String>,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Symbol {
            name,
            value,
            fragment,
            line,
            ..
        } = &self.wanted;
        let got = self.got.as_deref().unwrap_or("not set");
        write!(
            f,
            "{name}: wanted {value}, got {got} ({fragment} line {line})"
        )
    }
}

/// Lists each symbol of `requested` that did not survive in `resolved`, the text of a `.config`, by name.
///
/// Work is bounded by the two texts. Lines of `resolved` that set nothing are skipped.
#[must_use]
pub fn missing(requested: &Request, resolved: &str) -> Vec<Lost> {
    let set: BTreeMap<&str, &str> = resolved.lines().filter_map(setting).collect();
    requested
        .symbols()
        .filter_map(|wanted| {
            let got = set.get(wanted.name.as_str()).copied();
            (!survived(&wanted.value, got)).then(|| Lost {
                wanted: wanted.clone(),
                got: got.map(str::to_owned),
            })
        })
        .collect()
}

fn setting(line: &str) -> Option<(&str, &str)> {
    line.starts_with("CONFIG_").then(|| line.split_once('='))?
}

fn survived(wanted: &Value, got: Option<&str>) -> bool {
    match (wanted, got.map(Value::parse)) {
        (Value::No, None) => true,
        (wanted, Some(Some(got))) => *wanted == got,
        (_, None | Some(None)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fragment::parse;

    const RESOLVED: &str = "\
# Automatically generated file; DO NOT EDIT.
CONFIG_LOCALVERSION=\"-outgate\"
# CONFIG_MODULES is not set
CONFIG_NR_CPUS=8
CONFIG_SMP=y
CONFIG_KCMP=y
CONFIG_PHYSICAL_START=0x1000000
";

    fn lost(fragment: &str) -> Vec<String> {
        let mut request = Request::default();
        request.add(parse("f", fragment).unwrap()).unwrap();
        missing(&request, RESOLVED)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn symbols_that_survived_are_not_listed() {
        let none: [String; 0] = [];
        assert_eq!(
            lost("CONFIG_SMP=y # a\nCONFIG_MODULES=n # a\nCONFIG_LOCALVERSION=\"-outgate\" # a"),
            none
        );
        assert_eq!(lost("CONFIG_NOT_IN_THIS_KERNEL=n # a"), none);
    }

    #[test]
    fn each_symbol_that_did_not_survive_is_named_with_wanted_and_got() {
        assert_eq!(
            lost(
                "CONFIG_VMGENID=y # a\nCONFIG_MODULES=y # a\nCONFIG_NR_CPUS=64 # a\nCONFIG_KCMP=n # a"
            ),
            [
                "CONFIG_KCMP: wanted n, got y (f line 4)",
                "CONFIG_MODULES: wanted y, got not set (f line 2)",
                "CONFIG_NR_CPUS: wanted 64, got 8 (f line 3)",
                "CONFIG_VMGENID: wanted y, got not set (f line 1)",
            ]
        );
    }

    #[test]
    fn a_value_of_another_kind_did_not_survive() {
        assert_eq!(lost("CONFIG_PHYSICAL_START=1 # a").len(), 1);
    }
}
