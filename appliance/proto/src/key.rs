//! The provisioning key as a person types it.
//!
//! Seven groups of five letters of the ModHex alphabet, which sits at the same place on QWERTY,
//! QWERTZ and AZERTY keyboards. The first four letters of a group are data (16 bits), the fifth is
//! its check letter. 112 data bits are 4 bits of version and 108 bits of seed.
//!
//! The check is a weighted sum over GF(16) with five different non-zero weights, so a single wrong
//! letter and a swap of two neighbours always change it; the group's number is added, so a group
//! typed in another group's place is caught as well. A random group passes with chance 1 in 16, seven of
//! them with 1 in 16^7, about one in 268 million.

use alloc::string::String;
use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

mod harmless;
#[cfg(test)]
mod keyboards;

pub use harmless::Harmless;

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

    /// The key's text, groups joined by dashes. Wiped when dropped.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = empty_text();
        for (group, pair) in self.data.chunks_exact(2).enumerate() {
            if group > 0 {
                text.push('-');
            }
            let values = [pair[0] >> 4, pair[0] & 15, pair[1] >> 4, pair[1] & 15];
            for value in values {
                text.push(letter_of(value));
            }
            text.push(letter_of(check_value(group, values)));
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
    /// A space, dash, quote or invisible character, which never matters: see [`Harmless`].
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
        if Harmless::of(character).is_some() {
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

    /// The letters so far as a terminal shows them, with dashes between groups. A group that is complete
    /// was checked, and is stars; so is the one that is being typed, unless `shows_group`. Wiped when
    /// dropped.
    #[must_use]
    pub fn shown(&self, shows_group: bool) -> Zeroizing<String> {
        let mut text = empty_text();
        let complete = self.len - self.len % GROUP_LEN;
        for (place, value) in self.values[..self.len].iter().enumerate() {
            if place > 0 && place % GROUP_LEN == 0 {
                text.push('-');
            }
            let is_shown = shows_group && place >= complete;
            text.push(if is_shown { letter_of(*value) } else { '*' });
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

/// Room for a whole key's text: a string that grew would leave its start behind.
fn empty_text() -> Zeroizing<String> {
    Zeroizing::new(String::with_capacity(KEY_LETTERS + GROUPS - 1))
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
mod tests;
