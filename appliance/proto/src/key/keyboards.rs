//! A key typed on a keyboard of another layout than the machine believes is the same key.
//!
//! The codes are those of Linux's `input-event-codes.h`; the layouts are `us`, `fr` and `de` of
//! xkeyboard-config's `symbols`, letter rows AD, AC and AB, unshifted.

use alloc::string::String;

use super::{ALPHABET, KEY_LETTERS, ProvisioningKey};

/// First code of each row (`KEY_Q`, `KEY_A`, `KEY_Z`), and what its keys type.
type Layout = [(u16, &'static str); 3];

const QWERTY: Layout = [(16, "qwertyuiop"), (30, "asdfghjkl;"), (44, "zxcvbnm,")];
const AZERTY: Layout = [(16, "azertyuiop"), (30, "qsdfghjklm"), (44, "wxcvbn,;")];
const QWERTZ: Layout = [
    (16, "qwertzuiop"),
    (30, "asdfghjkl\u{f6}"),
    (44, "yxcvbnm,"),
];

#[test]
fn the_letters_of_a_key_have_the_same_codes_in_all_three_layouts() {
    for letter in ALPHABET.map(char::from) {
        let code = code_of(&QWERTY, letter);
        assert!(code.is_some(), "{letter}");
        for layout in [&AZERTY, &QWERTZ] {
            assert_eq!(code_of(layout, letter), code, "{letter}");
        }
    }
    // The six that move between the layouts are in no key.
    for moved in "aqwzym".chars() {
        let moves = [&AZERTY, &QWERTZ].map(|layout| code_of(layout, moved));
        assert_ne!(moves, [code_of(&QWERTY, moved); 2], "{moved}");
        assert!(!ALPHABET.map(char::from).contains(&moved));
    }
}

#[test]
fn a_key_typed_by_its_labels_is_the_same_key_whatever_the_machine_takes_the_layout_for() {
    let key = ProvisioningKey::from_random([0x5a; 14]);
    let text = key.to_text();
    for labels in [&QWERTY, &AZERTY, &QWERTZ] {
        for believed in [&QWERTY, &AZERTY, &QWERTZ] {
            let letters = text.chars().filter(|character| *character != '-');
            let typed: String = letters
                .map(|letter| letter_at(believed, code_of(labels, letter).unwrap()).unwrap())
                .collect();
            assert_eq!(typed.len(), KEY_LETTERS);
            assert_eq!(ProvisioningKey::parse(&typed).unwrap().data(), key.data());
        }
    }
}

fn code_of(layout: &Layout, letter: char) -> Option<u16> {
    layout.iter().find_map(|(first, row)| {
        let place = row.chars().position(|typed| typed == letter)?;
        Some(first + u16::try_from(place).ok()?)
    })
}

fn letter_at(layout: &Layout, code: u16) -> Option<char> {
    layout.iter().find_map(|(first, row)| {
        let place = code.checked_sub(*first)?;
        row.chars().nth(place.into())
    })
}
