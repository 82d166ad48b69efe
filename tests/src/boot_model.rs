//! What `image-builder/grub/grub.cfg` does with a disk, written down a second time.
//!
//! Pure. It follows GRUB 2.06: `grub-core/lib/envblk.c` and `commands/loadenv.c` for the block (a name
//! reaches to the next `=`, even over line ends; of two lines with one name the last counts), and the
//! script for the choice. Tests compare it with machines that really boot.

use disk_format::SECTOR_BYTES;
use disk_format::grubenv::SIGNATURE;
use disk_format::slot::{SlotHeader, SlotName};
use sha2::{Digest as _, Sha256};

/// Boots after which a trial that always fails is over, at the most: three tries, and the good slot.
pub const BOOTS_MAX: usize = 4;

/// What a boot came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The slot whose kernel was started; `None` when neither could be loaded.
    pub slot: Option<SlotName>,
    /// Whether it was a trial, counted before.
    pub is_trial: bool,
    /// The block as the boot left it.
    pub block: Vec<u8>,
}

/// One boot: `block` is the environment block, `loads` says whether GRUB can load a slot, and
/// `saves` whether it can write the block (its filesystem is whole).
pub fn boot(block: &[u8], loads: impl Fn(SlotName) -> bool, saves: bool) -> Boot {
    let value = |name: &str, default: &str| {
        let set = variables(block).into_iter().rev();
        let value = set.into_iter().find(|(set, _)| set == name.as_bytes());
        value.map_or_else(|| default.as_bytes().to_vec(), |(_, value)| value)
    };
    let (good, trial) = (value("good", "a"), value("trial", ""));
    let counted = match value("left", "0").as_slice() {
        b"3" => Some(b'2'),
        b"2" => Some(b'1'),
        b"1" => Some(b'0'),
        _ => None,
    };
    let mut block = block.to_vec();
    if let (Some(left), Some(trial), true) = (counted, slot(&trial), saves) {
        save_left(&mut block, left);
        if loads(trial) {
            return Boot {
                slot: Some(trial),
                is_trial: true,
                block,
            };
        }
    }
    let good = slot(&good).unwrap_or(SlotName::A);
    Boot {
        slot: [good, good.other()].into_iter().find(|slot| loads(*slot)),
        is_trial: false,
        block,
    }
}

/// The slot in which the machine comes to rest when every trial fails, and how many boots that took;
/// `None` when there is none within [`BOOTS_MAX`].
pub fn rests_in(
    block: &[u8],
    loads: impl Fn(SlotName) -> bool,
    saves: bool,
) -> Option<(SlotName, usize)> {
    let mut block = block.to_vec();
    for boots in 1..=BOOTS_MAX {
        let boot = boot(&block, &loads, saves);
        if !boot.is_trial {
            return boot.slot.map(|slot| (slot, boots));
        }
        block = boot.block;
    }
    None
}

/// The counter of a block; 0 when GRUB would take none from it.
pub fn left(block: &[u8]) -> u8 {
    let set = variables(block);
    match set.iter().rev().find(|(name, _)| name == b"left") {
        Some((_, value)) if value.len() == 1 && value[0].is_ascii_digit() => value[0] - b'0',
        _ => 0,
    }
}

/// Whether GRUB finds a kernel and an initramfs in these bytes of a slot.
pub fn loads(slot: &[u8]) -> bool {
    header(slot).is_some_and(|header| {
        let kernel = usize::try_from(header.kernel.start * SECTOR_BYTES).unwrap_or(usize::MAX);
        // The Linux boot protocol: 0xaa55 at 0x1fe, "HdrS" at 0x202.
        let field = |at: usize| slot.get(kernel.checked_add(at)?..);
        field(0x1fe).is_some_and(|bytes| bytes.starts_with(&[0x55, 0xaa]))
            && field(0x202).is_some_and(|bytes| bytes.starts_with(b"HdrS"))
    })
}

/// Whether these bytes of a slot are a whole system.
pub fn is_whole(slot: &[u8]) -> bool {
    header(slot).is_some_and(|header| {
        let used = usize::try_from(header.used_bytes()).unwrap_or(usize::MAX);
        let content = slot.get(disk_format::slot::HEADER_BYTES..used);
        content.is_some_and(|bytes| Sha256::digest(bytes)[..] == header.content_sha256)
    })
}

fn header(slot: &[u8]) -> Option<SlotHeader> {
    SlotHeader::parse(slot, slot.len() as u64 / SECTOR_BYTES).ok()
}

fn slot(letter: &[u8]) -> Option<SlotName> {
    SlotName::of(std::str::from_utf8(letter).ok()?)
}

/// `grub_envblk_iterate`.
fn variables(block: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let Some(mut rest) = block.strip_prefix(SIGNATURE) else {
        return found;
    };
    while let Some(first) = rest.first() {
        if *first != b'#' {
            let Some(equals) = position(rest, b'=') else {
                break;
            };
            let name = rest[..equals].to_vec();
            let Some((value, length)) = unescaped(&rest[equals + 1..]) else {
                break;
            };
            found.push((name, value));
            rest = &rest[equals + 1 + length..];
        }
        let Some(end) = position(rest, b'\n') else {
            break;
        };
        rest = &rest[end + 1..];
    }
    found
}

/// The value up to the line's end without its backslashes, and its length with them.
fn unescaped(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut value, mut at) = (Vec::new(), 0);
    loop {
        match *text.get(at)? {
            b'\n' => return Some((value, at)),
            b'\\' => {
                value.push(*text.get(at + 1)?);
                at += 2;
            }
            byte => {
                value.push(byte);
                at += 1;
            }
        }
    }
}

/// `grub_envblk_set` for a value of one character in place of another.
fn save_left(block: &mut [u8], left: u8) {
    let mut at = SIGNATURE.len();
    while at < block.len() {
        if block[at..].starts_with(b"left=") {
            block[at + b"left=".len()] = left;
            return;
        }
        let Some(end) = position(&block[at..], b'\n') else {
            return;
        };
        at += end + 1;
    }
}

fn position(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.iter().position(|byte| *byte == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use disk_format::grubenv::GrubEnv;

    #[test]
    fn a_trial_is_counted_three_times_and_then_the_good_slot_boots() {
        let mut block = block(&[("good", "a"), ("trial", "b"), ("left", "3")]);
        for left_after in [2, 1, 0] {
            let boot = boot(&block, |_| true, true);
            assert_eq!((boot.slot, boot.is_trial), (Some(SlotName::B), true));
            assert_eq!(left(&boot.block), left_after);
            block = boot.block;
        }
        let last = boot(&block, |_| true, true);
        assert_eq!((last.slot, last.is_trial), (Some(SlotName::A), false));
    }

    #[test]
    fn a_trial_that_cannot_be_counted_is_skipped() {
        let block = block(&[("good", "a"), ("trial", "b"), ("left", "3")]);
        assert_eq!(boot(&block, |_| true, false).slot, Some(SlotName::A));
    }

    #[test]
    fn a_name_without_its_equals_sign_swallows_the_next_line() {
        let mut block = block(&[("good", "b"), ("trial", "b"), ("left", "1")]);
        block[SIGNATURE.len() + 4] = b'}';
        let boot = boot(&block, |_| true, true);
        assert_eq!((boot.slot, boot.is_trial), (Some(SlotName::A), false));
    }

    #[test]
    fn no_single_bit_of_the_block_keeps_a_machine_from_coming_to_rest_in_a_slot_that_loads() {
        let states = [
            [("good", "a"), ("trial", ""), ("left", "0")],
            [("good", "b"), ("trial", ""), ("left", "0")],
            [("good", "a"), ("trial", "b"), ("left", "3")],
            [("good", "b"), ("trial", "a"), ("left", "1")],
            [("good", "a"), ("trial", "b"), ("left", "0")],
        ];
        for state in states {
            let whole = block(&state);
            for bit in 0..whole.len() * 8 {
                let mut flipped = whole.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                for only in [None, Some(SlotName::A), Some(SlotName::B)] {
                    let loads = |slot| only.is_none_or(|only| slot == only);
                    let rest = rests_in(&flipped, loads, true);
                    let (slot, _) = rest.unwrap_or_else(|| panic!("bit {bit} of {state:?}"));
                    assert!(loads(slot), "bit {bit} of {state:?}");
                }
                // The strict reader refuses it or reads the same as the model does.
                if let Ok(env) = GrubEnv::parse(&flipped) {
                    let good = env
                        .get("good")
                        .and_then(SlotName::of)
                        .unwrap_or(SlotName::A);
                    let boot = boot(&flipped, |_| true, false);
                    assert_eq!(boot.slot, Some(good), "bit {bit} of {state:?}");
                }
            }
        }
    }

    #[test]
    fn no_single_bit_gives_a_spent_trial_more_than_three_tries() {
        let whole = block(&[("good", "a"), ("trial", "b"), ("left", "0")]);
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (_, boots) = rests_in(&flipped, |_| true, true).unwrap();
            assert!(boots <= BOOTS_MAX, "bit {bit}");
        }
    }

    fn block(variables: &[(&str, &str)]) -> Vec<u8> {
        let mut env = GrubEnv::new();
        for (name, value) in variables {
            env.set(name, value).unwrap();
        }
        env.emit().to_vec()
    }
}
