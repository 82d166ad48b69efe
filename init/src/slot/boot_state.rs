//! The block that boot loader and PID 1 share: which slot is good, which one is tried, how often.
//!
//! The boot loader counts `left` down before it starts a trial; PID 1 writes everything else. All of
//! the block's text is kept within its first sector, which a disk writes whole or not at all.

use std::io;

use disk_format::grubenv::{BLOCK_BYTES, GrubEnv};
use disk_format::slot::{BOOT_STATE_BLOCK_OFFSET_BYTES, BOOT_STATE_BYTES_MAX, SlotName, boot_key};

use super::device::{BlockDevice, write_durably};

/// How often an armed slot is tried.
pub const TRIES: u8 = 3;
/// Seconds of a trial boot until it must have been promoted, unless the block says otherwise.
pub const DEADLINE_S: u16 = 600;
/// The shortest deadline that is heeded: a machine takes some seconds to connect.
pub const DEADLINE_S_MIN: u16 = 10;
/// The longest deadline that is heeded.
pub const DEADLINE_S_MAX: u16 = 3600;

/// What the block says. Every value is one that the boot loader would act on in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootState {
    /// The slot that is booted unless there is a trial.
    pub good: SlotName,
    /// The slot that is tried while `left` is not zero.
    pub trial: Option<SlotName>,
    /// How often it is still tried, 0 to [`TRIES`].
    pub left: u8,
    /// Seconds of a trial boot until it must have been promoted.
    pub deadline_s: Option<u16>,
    /// What a minted image says, and keys of other versions, as they stand in the block.
    pub(super) others: Vec<(String, String)>,
}

/// In which state the block was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// As it was written.
    Whole,
    /// Some lines are no `key=value`; they are left out, as the boot loader does.
    Damaged,
    /// There is no block: the boot loader assumes slot a and no trial.
    Destroyed,
}

impl BootState {
    /// What the boot loader assumes when there is no block.
    #[must_use]
    pub const fn assumed() -> Self {
        Self {
            good: SlotName::A,
            trial: None,
            left: 0,
            deadline_s: None,
            others: Vec::new(),
        }
    }

    /// Reads a block as the boot loader does, whatever is in it.
    #[must_use]
    pub fn parse(block: &[u8]) -> (Self, Condition) {
        if let Ok(env) = GrubEnv::parse(block) {
            return (Self::of(&env), Condition::Whole);
        }
        GrubEnv::salvage(block).map_or((Self::assumed(), Condition::Destroyed), |env| {
            (Self::of(&env), Condition::Damaged)
        })
    }

    /// The block, the boot loader's keys first and at most [`BOOT_STATE_BYTES_MAX`] bytes in use.
    /// Keys of other versions that find no room are dropped; those of this version always do.
    #[must_use]
    pub fn emit(&self) -> [u8; BLOCK_BYTES] {
        let mut env = GrubEnv::new();
        let trial = self.trial.map_or("", SlotName::letter);
        put(&mut env, boot_key::GOOD, self.good.letter());
        put(&mut env, boot_key::TRIAL, trial);
        put(&mut env, boot_key::LEFT, &self.left.to_string());
        if let Some(deadline_s) = self.deadline_s {
            put(&mut env, boot_key::DEADLINE_S, &deadline_s.to_string());
        }
        for (key, value) in &self.others {
            put(&mut env, key, value);
        }
        env.emit()
    }

    /// Reads the block from the boot-state partition.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn read(device: &mut impl BlockDevice) -> io::Result<(Self, Condition)> {
        let mut block = [0; BLOCK_BYTES];
        device.read_at(BOOT_STATE_BLOCK_OFFSET_BYTES, &mut block)?;
        Ok(Self::parse(&block))
    }

    /// Writes the block to the boot-state partition and reads it back.
    ///
    /// # Errors
    /// If the disk fails, is read-only, or does not keep what is written to it.
    pub fn write(&self, device: &mut impl BlockDevice) -> io::Result<()> {
        write_durably(device, BOOT_STATE_BLOCK_OFFSET_BYTES, &self.emit())
    }

    /// The value of a key that is not the boot loader's, [`boot_key::NAME`] for one.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let mut others = self.others.iter();
        others.find_map(|(name, value)| (name == key).then_some(value.as_str()))
    }

    fn of(env: &GrubEnv) -> Self {
        let slot = |key| env.get(key).and_then(SlotName::of);
        let left = match env.get(boot_key::LEFT) {
            Some("3") => 3,
            Some("2") => 2,
            Some("1") => 1,
            _ => 0,
        };
        let deadline_s = env
            .get(boot_key::DEADLINE_S)
            .and_then(|text| text.parse().ok());
        let is_other = |key: &&str| {
            ![
                boot_key::GOOD,
                boot_key::TRIAL,
                boot_key::LEFT,
                boot_key::DEADLINE_S,
            ]
            .contains(key)
        };
        Self {
            good: slot(boot_key::GOOD).unwrap_or(SlotName::A),
            trial: slot(boot_key::TRIAL),
            left,
            deadline_s: deadline_s
                .filter(|seconds| (DEADLINE_S_MIN..=DEADLINE_S_MAX).contains(seconds)),
            others: env
                .iter()
                .filter(|(key, _)| is_other(key))
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
        }
    }
}

/// Sets a key if there is room for it in the first sector.
fn put(env: &mut GrubEnv, key: &str, value: &str) {
    let mut longer = env.clone();
    if longer.set(key, value).is_ok() && longer.used_bytes() <= BOOT_STATE_BYTES_MAX {
        *env = longer;
    }
}

/// Fuzz body: any block is read without a panic, the text of what is written stays within one
/// sector, and it reads back as the same for the boot loader.
///
/// # Panics
/// If one of these does not hold.
pub fn fuzz_boot_state(data: &[u8]) {
    let (state, _) = BootState::parse(data);
    let block = state.emit();
    assert!(
        block[BOOT_STATE_BYTES_MAX..]
            .iter()
            .all(|byte| *byte == b'#')
    );
    let (read, condition) = BootState::parse(&block);
    assert_eq!(condition, Condition::Whole);
    let boot = |state: &BootState| (state.good, state.trial, state.left, state.deadline_s);
    assert_eq!(boot(&read), boot(&state));
    assert!(read.others.iter().all(|other| state.others.contains(other)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use disk_format::grubenv::SIGNATURE;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_block_is_read_with_a_panic_or_written_past_its_sector(
            text in "(good=[abc]?\n|trial=[abc]?\n|left=[0-4]\n|deadline_s=[0-9]{0,5}\n|[a-e=#\\\\\u{1}]{0,90}\n?){0,16}",
        ) {
            let mut block = SIGNATURE.to_vec();
            block.extend(text.as_bytes());
            block.resize(block.len().max(BLOCK_BYTES), b'#');
            fuzz_boot_state(&block);
        }
    }

    #[test]
    fn a_minted_block_keeps_its_keys_when_a_slot_is_armed() {
        let mut state = of(&[
            ("good", "a"),
            ("trial", ""),
            ("left", "0"),
            ("name", "mumbai-01"),
        ]);
        state.trial = Some(SlotName::B);
        state.left = TRIES;
        let (read, condition) = BootState::parse(&state.emit());
        assert_eq!((&read, condition), (&state, Condition::Whole));
        assert_eq!(read.get("name"), Some("mumbai-01"));
        assert!(read.emit()[SIGNATURE.len()..].starts_with(b"good=a\ntrial=b\nleft=3\nname="));
    }

    #[test]
    fn nonsense_is_read_as_the_boot_loader_reads_it() {
        for (key, value) in [
            ("good", "z; halt"),
            ("left", "4"),
            ("left", "03"),
            ("trial", "c"),
        ] {
            let state = of(&[(key, value)]);
            assert_eq!(state, BootState::assumed(), "{key}={value}");
        }
        for deadline in ["9", "3601", "ten", "-1", "70000"] {
            assert_eq!(
                of(&[("deadline_s", deadline)]).deadline_s,
                None,
                "{deadline}"
            );
        }
        assert_eq!(of(&[("deadline_s", "10")]).deadline_s, Some(10));
    }

    #[test]
    fn a_damaged_line_does_not_cost_the_boot_loaders_keys() {
        let state = of(&[
            ("good", "b"),
            ("trial", ""),
            ("left", "0"),
            ("name", "mumbai-01"),
        ]);
        let mut block = state.emit();
        block[SIGNATURE.len() + 23] = 0xff;
        let (read, condition) = BootState::parse(&block);
        assert_eq!((read.good, condition), (SlotName::B, Condition::Damaged));
        block[0] = 0;
        assert_eq!(
            BootState::parse(&block),
            (BootState::assumed(), Condition::Destroyed)
        );
        assert_eq!(BootState::parse(&[]).1, Condition::Destroyed);
    }

    #[test]
    fn what_does_not_fit_into_the_sector_is_dropped_and_never_a_boot_key() {
        let long = "v".repeat(480);
        let state = of(&[("later", &long), ("name", "mumbai-01"), ("good", "b")]);
        let (read, _) = BootState::parse(&state.emit());
        assert_eq!((read.good, read.get("later")), (SlotName::B, None));
        assert_eq!(read.get("name"), Some("mumbai-01"));
    }

    fn of(variables: &[(&str, &str)]) -> BootState {
        let mut env = GrubEnv::new();
        for (key, value) in variables {
            env.set(key, value).unwrap();
        }
        fuzz_boot_state(&env.emit());
        BootState::parse(&env.emit()).0
    }
}
