//! Characters that never matter in a typed key: what keyboards, chat programs and word processors add.
//!
//! By properties of the Unicode Character Database, version 16.0 (`PropList.txt`,
//! `DerivedGeneralCategory.txt`, `DerivedCoreProperties.txt`).

/// What kind of harmless character it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harmless {
    /// White space of any width, line ends too.
    Space,
    /// A dash, hyphen or minus, or an underscore.
    Dash,
    /// A quotation mark, apostrophe, prime or accent, straight or not.
    Quote,
    /// What has no shape of its own: zero-width characters, marks of direction, soft hyphens.
    Invisible,
}

impl Harmless {
    /// The kind of `character`; `None` if it is a letter of a key, or foreign to all keys.
    #[must_use]
    pub const fn of(character: char) -> Option<Self> {
        match character {
            _ if character.is_whitespace() => Some(Self::Space),
            _ if is_dash(character) => Some(Self::Dash),
            _ if is_quote(character) => Some(Self::Quote),
            _ if is_invisible(character) => Some(Self::Invisible),
            _ => None,
        }
    }
}

/// Dash, which contains general category Pd, and the underscore and two that only look like dashes.
const fn is_dash(character: char) -> bool {
    matches!(
        character,
        '-' | '_' | '\u{2d7}' | '\u{58a}' | '\u{5be}' | '\u{1400}' | '\u{1806}' | '\u{2010}'
            ..='\u{2015}'
                | '\u{2043}'
                | '\u{2053}'
                | '\u{207b}'
                | '\u{208b}'
                | '\u{2212}'
                | '\u{2e17}'
                | '\u{2e1a}'
                | '\u{2e3a}'
                | '\u{2e3b}'
                | '\u{2e40}'
                | '\u{2e5d}'
                | '\u{301c}'
                | '\u{3030}'
                | '\u{30a0}'
                | '\u{fe31}'
                | '\u{fe32}'
                | '\u{fe58}'
                | '\u{fe63}'
                | '\u{ff0d}'
                | '\u{10d6e}'
                | '\u{10ead}'
    )
}

/// Quotation_Mark, the general categories Pi and Pf, the two accents of keyboards, and primes.
const fn is_quote(character: char) -> bool {
    matches!(
        character,
        '"' | '\'' | '`' | '\u{ab}' | '\u{b4}' | '\u{bb}' | '\u{2b9}'..='\u{2bd}' | '\u{2ee}'
            | '\u{2018}'..='\u{201f}' | '\u{2032}'..='\u{2037}' | '\u{2039}' | '\u{203a}' | '\u{2057}'
            | '\u{2e02}'..='\u{2e05}' | '\u{2e09}' | '\u{2e0a}' | '\u{2e0c}' | '\u{2e0d}'
            | '\u{2e1c}' | '\u{2e1d}' | '\u{2e20}' | '\u{2e21}' | '\u{2e42}'
            | '\u{300c}'..='\u{300f}' | '\u{301d}'..='\u{301f}' | '\u{fe41}'..='\u{fe44}'
            | '\u{ff02}' | '\u{ff07}' | '\u{ff62}' | '\u{ff63}'
    )
}

/// Default_Ignorable_Code_Point.
const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{KeyInput, Pushed};

    /// General category Pd.
    const DASH_PUNCTUATION: &[(u32, u32)] = &[
        (0x2d, 0x2d),
        (0x58a, 0x58a),
        (0x5be, 0x5be),
        (0x1400, 0x1400),
        (0x1806, 0x1806),
        (0x2010, 0x2015),
        (0x2e17, 0x2e17),
        (0x2e1a, 0x2e1a),
        (0x2e3a, 0x2e3b),
        (0x2e40, 0x2e40),
        (0x2e5d, 0x2e5d),
        (0x301c, 0x301c),
        (0x3030, 0x3030),
        (0x30a0, 0x30a0),
        (0xfe31, 0xfe32),
        (0xfe58, 0xfe58),
        (0xfe63, 0xfe63),
        (0xff0d, 0xff0d),
        (0x10d6e, 0x10d6e),
        (0x10ead, 0x10ead),
    ];
    /// The rest of Dash (minus signs, a swung dash), and what only looks like one.
    const OTHER_DASHES: &[(u32, u32)] = &[
        (0x5f, 0x5f),
        (0x2d7, 0x2d7),
        (0x2043, 0x2043),
        (0x2053, 0x2053),
        (0x207b, 0x207b),
        (0x208b, 0x208b),
        (0x2212, 0x2212),
    ];
    /// General category Pi.
    const INITIAL_QUOTES: &[(u32, u32)] = &[
        (0xab, 0xab),
        (0x2018, 0x2018),
        (0x201b, 0x201c),
        (0x201f, 0x201f),
        (0x2039, 0x2039),
        (0x2e02, 0x2e02),
        (0x2e04, 0x2e04),
        (0x2e09, 0x2e09),
        (0x2e0c, 0x2e0c),
        (0x2e1c, 0x2e1c),
        (0x2e20, 0x2e20),
    ];
    /// General category Pf.
    const FINAL_QUOTES: &[(u32, u32)] = &[
        (0xbb, 0xbb),
        (0x2019, 0x2019),
        (0x201d, 0x201d),
        (0x203a, 0x203a),
        (0x2e03, 0x2e03),
        (0x2e05, 0x2e05),
        (0x2e0a, 0x2e0a),
        (0x2e0d, 0x2e0d),
        (0x2e1d, 0x2e1d),
        (0x2e21, 0x2e21),
    ];
    /// Straight and low quotation marks, those of East Asia, primes and accents.
    const OTHER_QUOTES: &[(u32, u32)] = &[
        (0x22, 0x22),
        (0x27, 0x27),
        (0x60, 0x60),
        (0xb4, 0xb4),
        (0x201a, 0x201a),
        (0x201e, 0x201e),
        (0x2032, 0x2037),
        (0x2057, 0x2057),
        (0x2e42, 0x2e42),
        (0x300c, 0x300f),
        (0x301d, 0x301f),
        (0xfe41, 0xfe44),
        (0xff02, 0xff02),
        (0xff07, 0xff07),
        (0xff62, 0xff63),
    ];
    /// White_Space: all of it, the no-break spaces (U+00A0, U+202F) too.
    const SPACES: &[(u32, u32)] = &[
        (0x09, 0x0d),
        (0x20, 0x20),
        (0x85, 0x85),
        (0xa0, 0xa0),
        (0x1680, 0x1680),
        (0x2000, 0x200a),
        (0x2028, 0x2029),
        (0x202f, 0x202f),
        (0x205f, 0x205f),
        (0x3000, 0x3000),
    ];
    /// Soft hyphen, joiners and zero-width spaces, every Bidi_Control, word joiner to the invisible
    /// operators, variation selectors, byte order mark, tags.
    const INVISIBLE: &[(u32, u32)] = &[
        (0xad, 0xad),
        (0x34f, 0x34f),
        (0x61c, 0x61c),
        (0x180e, 0x180e),
        (0x200b, 0x200f),
        (0x202a, 0x202e),
        (0x2060, 0x2064),
        (0x2066, 0x2069),
        (0xfe00, 0xfe0f),
        (0xfeff, 0xfeff),
        (0xe0020, 0xe007f),
    ];

    #[test]
    fn every_dash_quote_space_and_invisible_character_of_unicode_is_told_by_its_kind() {
        for (ranges, kind) in [
            (DASH_PUNCTUATION, Harmless::Dash),
            (OTHER_DASHES, Harmless::Dash),
            (INITIAL_QUOTES, Harmless::Quote),
            (FINAL_QUOTES, Harmless::Quote),
            (OTHER_QUOTES, Harmless::Quote),
            (SPACES, Harmless::Space),
            (INVISIBLE, Harmless::Invisible),
        ] {
            let codes = ranges.iter().flat_map(|(first, last)| *first..=*last);
            for character in codes.map(|code| char::from_u32(code).unwrap()) {
                assert_eq!(Harmless::of(character), Some(kind), "{character:?}");
                assert_eq!(KeyInput::new().push(character), Pushed::Ignored);
            }
        }
    }

    #[test]
    fn of_ascii_nothing_but_spaces_dashes_and_quotes_is_harmless() {
        let harmless = |character: &char| Harmless::of(*character).is_some();
        let ascii = (0..0x80).filter_map(char::from_u32);
        let found: alloc::string::String = ascii.filter(harmless).collect();
        assert_eq!(found, "\t\n\u{b}\u{c}\r \"'-_`");
    }

    #[test]
    fn no_letter_or_digit_of_any_script_is_harmless() {
        let all = (0..=u32::from(char::MAX)).filter_map(char::from_u32);
        let harmless = all.filter(|character| Harmless::of(*character).is_some());
        // Letters by their property, shown as nothing (Hangul fillers) or as primes.
        let letters = harmless.filter(|character| character.is_alphanumeric());
        let letters: alloc::vec::Vec<char> = letters.collect();
        let expected = "\u{2b9}\u{2ba}\u{2bb}\u{2bc}\u{2bd}\u{2ee}\u{115f}\u{1160}\u{3164}\u{ffa0}";
        assert_eq!(letters, expected.chars().collect::<alloc::vec::Vec<_>>());
    }
}
