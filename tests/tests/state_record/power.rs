//! The power fails at any write: the record is the old one or the new one.

use std::panic;

use connector_proto::local::NoIdentity;
use connector_proto::record::{DEVICE_AT, DeviceSecret, State, parse_device};
use tests::block_device::{Cut, for_each_cut};
use tests::write_log::Operation;

use super::machine::{Hardware, MACHINE, Machine, USED, bytes_of, enrolled, life};

/// Sector sizes of the disks there are.
const SECTORS: [usize; 2] = [512, 4096];
const WITH_TPM: Hardware = Hardware {
    tpm: Some(1),
    ..MACHINE
};
const COPY: Hardware = Hardware {
    uuid: [4; 16],
    ..MACHINE
};

/// A machine saves one state after another, and this is what its disk did meanwhile.
struct Recorded {
    hardware: Hardware,
    before: Vec<u8>,
    operations: Vec<Operation>,
    /// The states it saved, behind the one that it began with.
    states: Vec<State>,
    /// After how many operations each save was acknowledged; that of the first state, at once.
    acknowledged: Vec<usize>,
}

impl Recorded {
    fn new(hardware: Hardware, before: &[u8], saved: &[State]) -> Self {
        let mut machine = Machine::start(hardware, before);
        let mut states = vec![machine.store.state().clone()];
        let mut acknowledged = vec![0];
        for state in saved {
            machine.store.save(state.clone()).unwrap();
            states.push(state.clone());
            acknowledged.push(machine.operations().len());
        }
        Self {
            hardware,
            before: before.to_vec(),
            operations: machine.operations(),
            states,
            acknowledged,
        }
    }

    /// Checks every cut; returns how many there were.
    fn check(&self, sector_bytes: usize) -> usize {
        let bytes: Vec<_> = self.states.iter().map(bytes_of).collect();
        let mut number = 0;
        for_each_cut(&self.before, &self.operations, sector_bytes, |cut| {
            number += 1;
            let last = self.last_acknowledged(cut);
            let next = (last + 1).min(bytes.len() - 1);
            let machine = Machine::start(self.hardware, cut.disk);
            let found = machine.remembers();
            assert!(
                found == bytes[last] || found == bytes[next] || self.may_lose(&found, next),
                "state {last} was acknowledged, and it is not there, nor the next: {cut:?}"
            );
            let is_enrolled = machine.store.state().identity.is_some();
            assert!(!is_enrolled || machine.why.is_none(), "{cut:?}");
            if number % 16 == 0 {
                self.check_that_it_goes_on(cut, next);
            }
        })
    }

    /// After a cut the machine saves again, and the power fails once more.
    fn check_that_it_goes_on(&self, cut: &Cut<'_>, next: usize) {
        let mut machine = Machine::start(self.hardware, cut.disk);
        let (old, new) = (machine.remembers(), bytes_of(&self.states[next]));
        machine.store.save(self.states[next].clone()).unwrap();
        let again = Machine::start(self.hardware, &machine.content());
        assert!(again.remembers() == new, "after {cut:?}");
        for_each_cut(cut.disk, &machine.operations(), 4096, |second| {
            let found = Machine::start(self.hardware, second.disk).remembers();
            assert!(
                found == old || found == new || self.may_lose(&found, next),
                "{cut:?}, then {second:?}"
            );
        });
    }

    /// A copy that is not enrolled writes over its own record, not over the original's: it may come out
    /// of that with nothing, and begins to enrol once more.
    fn may_lose(&self, found: &[u8], next: usize) -> bool {
        let is_copy = Machine::start(self.hardware, &self.before)
            .why
            .is_some_and(|why| why != NoIdentity::Blank);
        is_copy && found == bytes_of(&State::default()) && self.states[next].identity.is_none()
    }

    fn last_acknowledged(&self, cut: &Cut<'_>) -> usize {
        let is_before = |at: &usize| *at <= cut.flushed;
        self.acknowledged.partition_point(is_before) - 1
    }
}

#[test]
fn a_power_cut_at_any_write_of_a_life_leaves_the_old_record_or_the_new_one() {
    for hardware in [MACHINE, WITH_TPM] {
        let recorded = Recorded::new(hardware, &[0; USED], &life()[1..]);
        let cuts = SECTORS.map(|sector| recorded.check(sector));
        assert!(cuts[0] > 3_000, "only {cuts:?} cuts");
    }
}

#[test]
fn a_store_that_leaves_out_one_flush_between_two_records_is_caught() {
    let mut recorded = Recorded::new(MACHINE, &[0; USED], &life()[1..4]);
    // The one behind the enrolment's record.
    let flush = recorded.acknowledged[2] - 1;
    assert_eq!(recorded.operations.remove(flush), Operation::Flush);
    let caught = panic::catch_unwind(|| recorded.check(512)).err();
    let words = caught.and_then(|words| words.downcast::<String>().ok());
    assert!(words.is_some_and(|words| words.contains("it is not there, nor the next")));
}

#[test]
fn a_power_cut_while_a_secret_is_sealed_by_a_new_tpm_leaves_the_identity() {
    let before = Machine::enrolled(MACHINE, "mumbai-01", 2).content();
    let Ok(DeviceSecret::Plain(secret)) = &parse_device(&before[DEVICE_AT..]) else {
        panic!("without a TPM the secret is plain");
    };
    let saved = [3, 4].map(|write| enrolled("mumbai-01", write));
    let recorded = Recorded::new(WITH_TPM, &before, &saved);
    assert!(recorded.check(512) > 1_000);
    let mut after = before.clone();
    for operation in &recorded.operations[..recorded.acknowledged[1]] {
        tests::write_log::apply(&mut after, operation);
    }
    let is_there = |disk: &[u8]| disk.windows(32).any(|window| window == secret);
    assert!(is_there(&before) && !is_there(&after));
    assert_eq!(Machine::start(MACHINE, &after).name(), "");
}

#[test]
fn a_power_cut_while_a_copy_enrols_leaves_the_originals_identity_until_there_is_a_new_one() {
    for (original, copy) in [(MACHINE, COPY), (WITH_TPM, MACHINE)] {
        let before = Machine::enrolled(original, "mumbai-01", 2).content();
        let key = life()[1].clone();
        let saved = [key.clone(), key, enrolled("mumbai-02", 1)];
        let recorded = Recorded::new(copy, &before, &saved);
        recorded.check(512);
        let enrols_at = recorded.acknowledged[2];
        for_each_cut(&before, &recorded.operations, 512, |cut| {
            let machine = Machine::start(original, cut.disk);
            if cut.flushed < enrols_at {
                assert_eq!(machine.name(), "mumbai-01", "{cut:?}");
            }
            // One with the same UUID and a TPM is the machine that gained one.
            let is_new = machine.name() == "mumbai-02";
            assert!(!is_new || original.uuid == copy.uuid, "{cut:?}");
        });
    }
}

#[test]
fn a_power_cut_in_a_factory_reset_leaves_the_old_record_or_nothing() {
    for hardware in [MACHINE, WITH_TPM] {
        let before = Machine::enrolled(hardware, "mumbai-01", 2).content();
        let mut machine = Machine::start(hardware, &before);
        machine.store.erase().unwrap();
        assert!(machine.content().iter().all(|byte| *byte == 0));
        let old = Machine::start(hardware, &before).remembers();
        let empty = bytes_of(&State::default());
        let (mut olds, mut empties) = (0, 0);
        for_each_cut(&before, &machine.operations(), 512, |cut| {
            let after = Machine::start(hardware, cut.disk);
            match after.remembers() {
                found if found == old => olds += 1,
                found if found == empty => empties += 1,
                _ => panic!("neither the old record nor none: {cut:?}"),
            }
            // Once the secret is gone, nothing is there any more.
            assert!(cut.flushed == 0 || after.name().is_empty(), "{cut:?}");
        });
        assert!(olds > 100 && empties > 100, "{olds} {empties}");
    }
}

#[test]
fn a_disk_that_fails_at_any_operation_keeps_what_was_acknowledged_and_goes_on_when_it_is_well() {
    let before = Machine::enrolled(MACHINE, "mumbai-01", 2).content();
    for hardware in [MACHINE, WITH_TPM] {
        for operations in 0.. {
            let mut machine = Machine::start(hardware, &before);
            machine.fail_after(operations);
            let (old, new) = (machine.remembers(), enrolled("mumbai-01", 3));
            let saved = machine.store.save(new.clone());
            let wanted = if saved.is_ok() { bytes_of(&new) } else { old };
            assert!(
                machine.remembers() == wanted,
                "what is in force, {operations}"
            );
            machine.fail_after(usize::MAX / 2);
            machine.store.save(new.clone()).unwrap();
            let again = Machine::start(hardware, &machine.content());
            assert!(again.remembers() == bytes_of(&new), "{operations}");
            if saved.is_ok() && operations > 20 {
                break;
            }
        }
    }
}

#[test]
fn a_first_boot_that_was_cut_asks_for_a_key_and_nothing_else() {
    let recorded = Recorded::new(MACHINE, &[0; USED], &life()[1..2]);
    let mut whys = Vec::new();
    for_each_cut(&recorded.before, &recorded.operations, 512, |cut| {
        let machine = Machine::start(MACHINE, cut.disk);
        if machine.store.state().private_key.is_empty() && !whys.contains(&machine.why) {
            whys.push(machine.why);
        }
    });
    assert_eq!(
        whys,
        [Some(NoIdentity::Blank), Some(NoIdentity::Unreadable)]
    );
}
