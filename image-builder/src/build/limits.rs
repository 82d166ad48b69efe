//! How large an image may be: promises to those who store and copy it, kept by the build itself.

use crate::Error;
use crate::build::{OVA, QCOW2, RAW, mib};
use crate::layout::MIB;
use crate::output::Artefact;

/// An artefact, what people call it, and its limit in MiB.
const LIMITS: &[(&str, &str, u64)] = &[
    (OVA, "OVA", 16),
    (QCOW2, "qcow2", 20),
    (RAW, "virtual disk", 256),
];

/// Refuses artefacts that are larger than promised.
pub(super) fn check(artefacts: &[Artefact]) -> Result<(), Error> {
    for (artefact, what, max_mib) in of(artefacts) {
        let bytes = artefact.content.len() as u64;
        let max = max_mib * MIB;
        if bytes > max {
            return Err(Error::TooLarge { what, bytes, max });
        }
    }
    Ok(())
}

/// The sizes and their limits.
pub(super) fn in_words(artefacts: &[Artefact]) -> String {
    let sizes: Vec<String> = of(artefacts)
        .map(|(artefact, what, max_mib)| {
            let size = mib(artefact.content.len());
            format!("{what} {size} of at most {max_mib}")
        })
        .collect();
    sizes.join(", ")
}

fn of(artefacts: &[Artefact]) -> impl Iterator<Item = (&Artefact, &'static str, u64)> {
    LIMITS.iter().filter_map(|&(name, what, max_mib)| {
        let artefact = artefacts.iter().find(|artefact| artefact.name == name)?;
        Some((artefact, what, max_mib))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artefact_may_be_as_large_as_its_limit_and_no_larger() {
        let ova = |bytes| {
            [Artefact {
                name: OVA.into(),
                content: vec![0; bytes],
            }]
        };
        assert!(check(&ova(16 << 20)).is_ok());
        let said = check(&ova((16 << 20) + 1)).unwrap_err().to_string();
        for part in ["OVA", "16777217", "16777216", "smaller"] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(in_words(&ova(3 << 20)), "OVA 3.0 MiB of at most 16");
    }
}
