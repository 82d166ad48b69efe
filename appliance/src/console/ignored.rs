//! What of a typed key did not count: a paste may carry what a chat program made of it.

use std::fmt;

use connector_proto::key::Harmless;

/// How many characters of each kind were ignored since the line was cleared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    spaces: u32,
    dashes: u32,
    quotes: u32,
    invisible: u32,
}

impl Ignored {
    /// Counts a character, if it is one that is in no key and does no harm.
    pub const fn count(&mut self, character: char) {
        let kind = match Harmless::of(character) {
            Some(Harmless::Space) => &mut self.spaces,
            Some(Harmless::Dash) => &mut self.dashes,
            Some(Harmless::Quote) => &mut self.quotes,
            Some(Harmless::Invisible) => &mut self.invisible,
            None => return,
        };
        *kind = kind.saturating_add(1);
    }

    /// How many characters that are.
    #[must_use]
    pub const fn total(self) -> u32 {
        let visible = self.spaces.saturating_add(self.dashes);
        let rest = self.quotes.saturating_add(self.invisible);
        visible.saturating_add(rest)
    }
}

/// `2 spaces, 1 quote`; empty if nothing was ignored.
impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (number, what) in [
            (self.spaces, "space"),
            (self.dashes, "dash"),
            (self.quotes, "quote"),
            (self.invisible, "invisible character"),
        ] {
            let plural = match (number, what) {
                (0, _) => continue,
                (1, _) => "",
                (_, "dash") => "es",
                _ => "s",
            };
            write!(f, "{separator}{number} {what}{plural}")?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_ignored_is_told_by_its_kind() {
        let mut ignored = Ignored::default();
        assert_eq!((ignored.total(), ignored.to_string().as_str()), (0, ""));
        for character in " \u{a0}-\u{2014}_\u{201c}'\u{200b}".chars() {
            ignored.count(character);
        }
        let text = "2 spaces, 3 dashes, 2 quotes, 1 invisible character";
        assert_eq!((ignored.total(), ignored.to_string().as_str()), (8, text));
    }
}
