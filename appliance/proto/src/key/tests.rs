//! What wrong letters, wrong groups and the habits of programs do to a key.

use super::*;
use alloc::vec::Vec;
use proptest::prelude::*;

const KEY: [u8; SEED_LEN] = [
    0x1c, 0x2d, 0x3e, 0x4f, 0x50, 0x61, 0x72, 0x83, 0x94, 0xa5, 0xb6, 0xc7, 0xd8, 0xe9,
];
/// The key above, as `docs/PROTOCOL.md` prints it.
const TEXT: &str = "brdtc-eufvc-gchbi-idjeg-kflgf-nhrif-tjuke";

#[test]
fn the_documented_key_has_the_documented_text() {
    assert_eq!(
        ProvisioningKey::from_data(KEY).unwrap().to_text().as_str(),
        TEXT
    );
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
    assert_eq!(input.shown(true).as_str(), "*****");
    for character in TEXT[5..].chars() {
        input.push(character);
    }
    assert_eq!(input.key().unwrap().data(), &KEY);
    assert_eq!(input.push('c'), Pushed::Full);
}

#[test]
fn only_the_group_that_is_being_typed_can_be_read() {
    let mut input = KeyInput::new();
    let mut shown = Vec::new();
    for character in "brdtceu".chars() {
        input.push(character);
        shown.push([true, false].map(|shows_group| input.shown(shows_group)));
    }
    let shown = |letters: usize| shown[letters - 1].each_ref().map(|text| text.as_str());
    assert_eq!(shown(4), ["brdt", "****"]);
    assert_eq!(shown(5), ["*****", "*****"]);
    assert_eq!(shown(7), ["*****-eu", "*****-**"]);
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
