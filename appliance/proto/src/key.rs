//! The provisioning key as a person types it.
//!
//! Seven groups of five letters of the ModHex alphabet, which sits at the same place on QWERTY,
//! QWERTZ and AZERTY keyboards. The first four letters of a group are data (16 bits), the fifth is
//! its check letter. 112 data bits are 4 bits of version and 108 bits of seed.
//!
//! The check is a weighted sum over GF(16) with five different non-zero weights, so a single wrong
//! letter and a swap of two neighbours always change it; the group's number is added, so a group
//! typed in another group's place is caught as well. A random group passes with chance 1 in 16.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Letters of one group, check letter included.
pub const GROUP_LEN: usize = 5;
/// Groups of a key.
pub const GROUPS: usize = 7;
/// Letters of a key, without separators.
pub const KEY_LETTERS: usize = GROUP_LEN * GROUPS;
/// Bytes of the 112 data bits.
pub const SEED_LEN: usize = 14;
/// The only version so far: its letter starts every key.
pub const VERSION: u8 = 1;

/// ModHex: the letter of each value 0 to 15.
const ALPHABET: [u8; 16] = *b"cbdefghijklnrtuv";
/// What each group adds to its check sum, so that no group passes in another one's place.
const NUMBERS: [u8; GROUPS] = [1, 2, 3, 4, 5, 6, 7];
/// Weights of a group's letters in its check sum; different and non-zero, see the module's text.
const WEIGHTS: [u8; GROUP_LEN] = [2, 3, 4, 5, 1];

/// A whole provisioning key: version and seed. Wiped when dropped, never printed by `Debug`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ProvisioningKey {
    data: [u8; SEED_LEN],
}

impl ProvisioningKey {
    /// Makes a key from 112 random bits, of which the first four are replaced by the version.
    #[must_use]
    pub fn from_random(mut random: [u8; SEED_LEN]) -> Self {
        random[0] = (VERSION << 4) | (random[0] & 0x0f);
        let key = Self { data: random };
        random.zeroize();
        key
    }

    /// Takes the 112 data bits of a key that was typed.
    ///
    /// # Errors
    /// [`KeyError::Version`] if they are of a version this build does not know.
    pub fn from_data(data: [u8; SEED_LEN]) -> Result<Self, KeyError> {
        match data[0] >> 4 {
            VERSION => Ok(Self { data }),
            version => Err(KeyError::Version { version }),
        }
    }

    /// The 112 data bits: the secret itself.
    #[must_use]
    pub const fn data(&self) -> &[u8; SEED_LEN] {
        &self.data
    }

    /// Reads a key as a person wrote it. Case, spaces, dashes, quotes and invisible characters do
    /// not matter.
    ///
    /// # Errors
    /// The first wrong group, a letter that is not of the alphabet, or the number of letters.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut input = KeyInput::new();
        for character in text.chars() {
            match input.push(character) {
                Pushed::Letter | Pushed::GroupRight { .. } | Pushed::Ignored => {}
                Pushed::GroupWrong { group } => return Err(KeyError::Group { group }),
                Pushed::Foreign { character } => return Err(KeyError::Letter { character }),
                Pushed::Full => {
                    return Err(KeyError::Length {
                        letters: KEY_LETTERS + 1,
                    });
                }
            }
        }
        input.key()
    }

    /// The key's text, groups joined by dashes.
    #[must_use]
    pub fn to_text(&self) -> heapless::String<{ KEY_LETTERS + GROUPS - 1 }> {
        let mut text = heapless::String::new();
        for (group, pair) in self.data.chunks_exact(2).enumerate() {
            if group > 0 {
                let _ = text.push('-');
            }
            let values = [pair[0] >> 4, pair[0] & 15, pair[1] >> 4, pair[1] & 15];
            for value in values {
                let _ = text.push(letter_of(value));
            }
            let _ = text.push(letter_of(check_value(group, values)));
        }
        text
    }
}

impl fmt::Debug for ProvisioningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProvisioningKey(..)")
    }
}

/// Why a text is not a provisioning key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// A group's check letter does not fit; counted from 0, shown from 1.
    Group {
        /// Which group.
        group: usize,
    },
    /// A key has [`KEY_LETTERS`] letters.
    Length {
        /// How many there were.
        letters: usize,
    },
    /// A character that no key contains.
    Letter {
        /// Which.
        character: char,
    },
    /// The key was made for a newer version.
    Version {
        /// The version it names.
        version: u8,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group { group } => {
                write!(
                    f,
                    "group {} of {GROUPS} has a wrong letter; type that group again",
                    group + 1
                )
            }
            Self::Length { letters } => {
                write!(
                    f,
                    "a key has {KEY_LETTERS} letters, this one {letters}; type all {GROUPS} groups"
                )
            }
            Self::Letter { character } => write!(
                f,
                "{character:?} is in no key; the letters are {}",
                core::str::from_utf8(&ALPHABET).unwrap_or_default()
            ),
            Self::Version { version } => write!(
                f,
                "the key is of version {version}, this connector knows version {VERSION}; use a newer image"
            ),
        }
    }
}

impl core::error::Error for KeyError {}

/// A key while it is typed: letters so far, each group checked when it is complete.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KeyInput {
    values: [u8; KEY_LETTERS],
    len: usize,
}

/// What a typed character did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// A letter in the middle of a group.
    Letter,
    /// The letter completed a group, and the group checks.
    GroupRight {
        /// Which group, from 0.
        group: usize,
    },
    /// The letter completed a group that does not check. It was kept: erase with
    /// [`KeyInput::erase_group`] or letter by letter.
    GroupWrong {
        /// Which group, from 0.
        group: usize,
    },
    /// A space, dash, quote or invisible character, which never matters.
    Ignored,
    /// A character that no key contains; it was not taken.
    Foreign {
        /// Which.
        character: char,
    },
    /// The key has all its letters; the letter was not taken.
    Full,
}

impl KeyInput {
    /// Nothing typed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            values: [0; KEY_LETTERS],
            len: 0,
        }
    }

    /// Takes one typed character.
    pub fn push(&mut self, character: char) -> Pushed {
        if is_ignored(character) {
            return Pushed::Ignored;
        }
        let Some(value) = value_of(character) else {
            return Pushed::Foreign { character };
        };
        let Some(place) = self.values.get_mut(self.len) else {
            return Pushed::Full;
        };
        *place = value;
        self.len += 1;
        if !self.len.is_multiple_of(GROUP_LEN) {
            return Pushed::Letter;
        }
        let group = self.len / GROUP_LEN - 1;
        if self.group_checks(group) {
            Pushed::GroupRight { group }
        } else {
            Pushed::GroupWrong { group }
        }
    }

    /// Takes the last letter back; false if there was none.
    pub fn backspace(&mut self) -> bool {
        let Some(last) = self.len.checked_sub(1) else {
            return false;
        };
        self.len = last;
        self.values[last] = 0;
        true
    }

    /// Takes the group that the last letter belongs to back.
    pub fn erase_group(&mut self) {
        let start = self.len.saturating_sub(1) / GROUP_LEN * GROUP_LEN;
        self.values[start..].zeroize();
        self.len = start;
    }

    /// Letters typed so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was typed yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a complete group `group` checks; false while it is not complete.
    #[must_use]
    pub fn group_checks(&self, group: usize) -> bool {
        let start = group * GROUP_LEN;
        if start + GROUP_LEN > self.len {
            return false;
        }
        let letters = &self.values[start..start + GROUP_LEN];
        letters[GROUP_LEN - 1]
            == check_value(group, [letters[0], letters[1], letters[2], letters[3]])
    }

    /// The letters so far with dashes between groups, as the console echoes them.
    #[must_use]
    pub fn text(&self) -> heapless::String<{ KEY_LETTERS + GROUPS - 1 }> {
        let mut text = heapless::String::new();
        for (place, value) in self.values[..self.len].iter().enumerate() {
            if place > 0 && place % GROUP_LEN == 0 {
                let _ = text.push('-');
            }
            let _ = text.push(letter_of(*value));
        }
        text
    }

    /// The key, when all groups are there and check.
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn key(&self) -> Result<ProvisioningKey, KeyError> {
        let complete = self.len / GROUP_LEN;
        if let Some(group) = (0..complete).find(|group| !self.group_checks(*group)) {
            return Err(KeyError::Group { group });
        }
        if self.len != KEY_LETTERS {
            return Err(KeyError::Length { letters: self.len });
        }
        let mut data = [0; SEED_LEN];
        for (pair, group) in data
            .chunks_exact_mut(2)
            .zip(self.values.chunks_exact(GROUP_LEN))
        {
            pair[0] = group[0] << 4 | group[1];
            pair[1] = group[2] << 4 | group[3];
        }
        let key = ProvisioningKey::from_data(data);
        data.zeroize();
        key
    }
}

impl Default for KeyInput {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for KeyInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyInput({} letters)", self.len)
    }
}

/// Whether a character never matters: what keyboards, chat programs and word processors add.
fn is_ignored(character: char) -> bool {
    character.is_whitespace()
        || matches!(
            character,
            '-' | '_' | '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}'
            | '"' | '\'' | '`' | '\u{b4}' | '\u{ab}' | '\u{bb}' | '\u{2018}'..='\u{201f}' | '\u{2039}' | '\u{203a}'
            | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}'
        )
}

fn value_of(character: char) -> Option<u8> {
    let lower = u8::try_from(character.to_ascii_lowercase()).ok()?;
    let value = ALPHABET.iter().position(|letter| *letter == lower)?;
    u8::try_from(value).ok()
}

fn letter_of(value: u8) -> char {
    char::from(ALPHABET[usize::from(value & 15)])
}

/// The check letter's value that makes the group's weighted sum equal to the group's number plus one.
fn check_value(group: usize, data: [u8; GROUP_LEN - 1]) -> u8 {
    data.iter()
        .zip(WEIGHTS)
        .fold(NUMBERS[group % GROUPS], |sum, (value, weight)| {
            sum ^ multiply(*value, weight)
        })
}

/// Product in GF(16) modulo x^4 + x + 1.
const fn multiply(a: u8, b: u8) -> u8 {
    let mut product = 0;
    let mut shifted = a;
    let mut bit = 0;
    while bit < 4 {
        if b >> bit & 1 == 1 {
            product ^= shifted;
        }
        shifted <<= 1;
        if shifted & 16 != 0 {
            shifted ^= 0b1_0011;
        }
        bit += 1;
    }
    product
}

/// Body of the fuzz target `key`: any text gives a key or a reason, and a key's text gives it back.
pub fn fuzz_key(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    if let Ok(key) = ProvisioningKey::parse(text) {
        let again = ProvisioningKey::parse(&key.to_text()).map(|key| *key.data());
        assert_eq!(again, Ok(*key.data()), "a key's own text must parse to it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    const KEY: [u8; SEED_LEN] = [
        0x1c, 0x2d, 0x3e, 0x4f, 0x50, 0x61, 0x72, 0x83, 0x94, 0xa5, 0xb6, 0xc7, 0xd8, 0xe9,
    ];
    /// The key above, as `docs/PROTOCOL.md` prints it.
    const TEXT: &str = "brdtc-eufvc-gchbi-idjeg-kflgf-nhrif-tjuke";

    #[test]
    fn the_documented_key_has_the_documented_text() {
        assert_eq!(ProvisioningKey::from_data(KEY).unwrap().to_text(), TEXT);
        assert_eq!(ProvisioningKey::parse(TEXT).unwrap().data(), &KEY);
    }

    #[test]
    fn every_single_wrong_letter_is_caught_in_its_group() {
        for_each_group(|group, letters| {
            for place in 0..GROUP_LEN {
                for wrong in (0..16).filter(|value| *value != letters[place]) {
                    let mut altered = letters;
                    altered[place] = wrong;
                    assert!(!checks(group, altered), "{group} {letters:?} {altered:?}");
                }
            }
        });
    }

    #[test]
    fn every_swap_of_neighbours_is_caught_in_its_group() {
        for_each_group(|group, letters| {
            for place in 0..GROUP_LEN - 1 {
                let mut altered = letters;
                altered.swap(place, place + 1);
                assert!(
                    altered == letters || !checks(group, altered),
                    "{group} {letters:?}"
                );
            }
        });
    }

    #[test]
    fn a_group_in_another_groups_place_is_caught() {
        for_each_group(|group, letters| {
            for other in (0..GROUPS).filter(|other| *other != group) {
                assert!(!checks(other, letters));
            }
        });
    }

    #[test]
    fn one_random_group_in_sixteen_passes() {
        let mut passed = 0;
        for bits in 0..=u16::MAX {
            let data = nibbles(bits);
            passed += (0..16)
                .filter(|check| checks(3, [data[0], data[1], data[2], data[3], *check]))
                .count();
        }
        assert_eq!(passed * 16, (1 << 20));
    }

    #[test]
    fn what_chat_programs_add_does_not_matter() {
        let dressed: String = TEXT
            .to_uppercase()
            .replace('-', " \u{2014}\u{a0}\u{200b}")
            .chars()
            .rev()
            .collect::<String>();
        let dressed: String = dressed.chars().rev().collect();
        let quoted = alloc::format!("\u{201c}{dressed}\u{201d}\r\n");
        assert_eq!(ProvisioningKey::parse(&quoted).unwrap().data(), &KEY);
    }

    #[test]
    fn the_first_wrong_group_is_named() {
        let wrong = TEXT.replacen("gchbi", "gchbc", 1);
        assert_eq!(
            ProvisioningKey::parse(&wrong).unwrap_err(),
            KeyError::Group { group: 2 }
        );
    }

    #[test]
    fn a_wrong_group_can_be_typed_again() {
        let mut input = KeyInput::new();
        for character in "brdtc-eufvb".chars() {
            input.push(character);
        }
        input.erase_group();
        assert_eq!(input.text(), "brdtc");
        for character in TEXT[5..].chars() {
            input.push(character);
        }
        assert_eq!(input.key().unwrap().data(), &KEY);
        assert_eq!(input.push('c'), Pushed::Full);
    }

    #[test]
    fn a_short_key_is_refused_with_its_length() {
        assert_eq!(
            ProvisioningKey::parse(&TEXT[..11]).unwrap_err(),
            KeyError::Length { letters: 10 }
        );
    }

    #[test]
    fn a_key_of_another_version_is_refused_with_the_version() {
        let mut data = KEY;
        data[0] = 0x70;
        assert_eq!(
            ProvisioningKey::from_data(data).unwrap_err(),
            KeyError::Version { version: 7 }
        );
    }

    #[test]
    fn debug_output_has_no_letter_of_the_key() {
        let key = ProvisioningKey::parse(TEXT).unwrap();
        assert_eq!(alloc::format!("{key:?}"), "ProvisioningKey(..)");
    }

    proptest! {
        #[test]
        fn any_text_is_a_key_or_has_a_reason(data: Vec<u8>) {
            fuzz_key(&data);
        }

        #[test]
        fn every_key_survives_its_text(random: [u8; SEED_LEN]) {
            let key = ProvisioningKey::from_random(random);
            let again = ProvisioningKey::parse(&key.to_text()).unwrap();
            prop_assert_eq!(again.data(), key.data());
        }
    }

    fn for_each_group(mut claim: impl FnMut(usize, [u8; GROUP_LEN])) {
        for group in 0..GROUPS {
            for bits in 0..=u16::MAX {
                let data = nibbles(bits);
                claim(
                    group,
                    [data[0], data[1], data[2], data[3], check_value(group, data)],
                );
            }
        }
    }

    fn checks(group: usize, letters: [u8; GROUP_LEN]) -> bool {
        check_value(group, [letters[0], letters[1], letters[2], letters[3]]) == letters[4]
    }

    fn nibbles(bits: u16) -> [u8; 4] {
        let [high, low] = bits.to_be_bytes();
        [high >> 4, high & 15, low >> 4, low & 15]
    }
}
