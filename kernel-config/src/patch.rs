//! What is changed in Debian's source before it is built: `patches/*.patch`, applied in the order of their numbers.
//!
//! Each begins with why it is needed and what its review looked at; a test holds that.

/// One patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Its file name in `patches/`.
    pub name: &'static str,
    /// The reason, then a unified diff with paths below `a/` and `b/`.
    pub text: &'static str,
}

impl Patch {
    /// Why it is there: everything before the diff.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        let (reason, _) = self.text.split_once("\n--- a/").unwrap_or_default();
        reason
    }
}

/// The patches, in the order in which they are applied.
pub const PATCHES: &[Patch] = &[
    Patch {
        name: "0001-vmgenid-show-generation-id.patch",
        text: include_str!("../patches/0001-vmgenid-show-generation-id.patch"),
    },
    Patch {
        name: "0002-vmgenid-tell-user-space.patch",
        text: include_str!("../patches/0002-vmgenid-tell-user-space.patch"),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_patch_says_why_it_is_there_and_changes_something() {
        for patch in PATCHES {
            let reason = patch.reason();
            assert!(reason.lines().count() > 3, "{}: {reason}", patch.name);
            assert!(patch.text.contains("\n@@ "), "{}", patch.name);
            assert!(patch.text.ends_with('\n'), "{}", patch.name);
        }
    }

    #[test]
    fn patches_are_applied_in_the_order_of_their_numbers() {
        assert!(PATCHES.is_sorted_by(|a, b| a.name < b.name));
    }
}
