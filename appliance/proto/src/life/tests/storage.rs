//! What is on the disk, when, and what a disk that fails does to it.

use super::*;
use crate::message::RatchetValue;

#[test]
fn the_edge_hears_of_a_ratchet_value_once_it_is_on_the_disk() {
    let mut world = connected();
    world.hear_good(4);
    assert_eq!(world.wanted(), "Save");
    assert!(!world.life.takes_sessions());
    world.answer_disk(1);
    assert_eq!(world.wanted(), "RatchetStored");
    assert!(world.life.takes_sessions());
    assert_ne!(world.disk.ratchet, RatchetValue::default());
}

#[test]
fn a_ratchet_value_that_cannot_be_kept_is_shown_and_tried_again() {
    let mut world = connected();
    world.hear_good(4);
    for _ in 0..20 {
        world.answer_disk(0);
        let Phase::Connecting {
            last_error,
            next_boot_us,
            ..
        } = world.life.phase(world.now)
        else {
            panic!("{:?}", world.life.phase(world.now));
        };
        assert_eq!(last_error.as_str(), "nothing can be remembered: disk");
        assert!(next_boot_us >= world.now.as_micros());
        world.wanted();
        world.timeout();
        assert_eq!(world.wanted(), "Save");
    }
    world.answer_disk(1);
    assert_eq!(world.wanted(), "RatchetStored");
    assert!(world.life.is_connected());
}

#[test]
fn a_ratchet_value_of_a_connection_that_ended_is_never_answered() {
    let mut world = connected();
    world.hear_good(4);
    world.break_off();
    world.answer_disk(1);
    world.timeout();
    assert_eq!(world.wanted(), "Save Control");
}

#[test]
fn an_enrolment_that_cannot_be_kept_is_neither_used_nor_lost() {
    let mut world = World::new(0);
    world.set_conditions(true, true);
    world.type_key(1);
    world.answer_pair(true);
    world.answer_disk(1);
    world.hear_good(0);
    world.wanted();
    for _ in 0..20 {
        world.answer_disk(0);
        world.timeout();
        assert_eq!(world.wanted(), "Save");
        assert!(!world.life.is_enrolled());
    }
    world.answer_disk(1);
    assert_eq!(world.wanted(), "Control");
}

#[test]
fn a_disk_that_takes_no_renewal_leaves_the_certificate_in_use() {
    let mut world = connected();
    world.timeout();
    world.answer_pair(true);
    world.answer_disk(0);
    assert_eq!(world.wanted(), "NewKey Save");
    assert!(world.life.is_connected(), "it is good for hours");
    assert!(world.life.certificate_left(world.now).is_some());
    world.timeout();
    world.answer_disk(1);
    assert_eq!(world.wanted(), "Save", "what was amended meanwhile");
    world.timeout();
    assert_eq!(world.wanted(), "NewKey");
}

#[test]
fn trust_anchors_are_answered_once_they_are_on_the_disk_and_not_written_twice() {
    let mut world = connected();
    world.hear_good(5 + 8 * 2);
    assert_eq!(world.wanted(), "Save");
    world.answer_disk(1);
    assert_eq!(world.wanted(), "TrustStored");
    assert_eq!(world.disk.identity.as_ref().unwrap().ca, [2]);
    world.hear_good(5 + 8 * 2);
    assert_eq!(world.wanted(), "TrustStored");
}

#[test]
fn anchors_that_come_back_while_others_are_written_win() {
    let mut world = connected();
    world.hear_good(5 + 8 * 2);
    world.hear_good(5 + 8);
    world.answer_disk(1);
    world.answer_disk(1);
    assert_eq!(world.wanted(), "Save TrustStored Save TrustStored");
    assert_eq!(world.disk.identity.as_ref().unwrap().ca, [1]);
}

#[test]
fn what_is_only_remembered_blocks_nothing() {
    let mut world = connected();
    world
        .life
        .amend(world.now, |state| state.last_good_time = 7);
    world.drain();
    world.answer_disk(0);
    assert!(world.life.is_connected());
    world.break_off();
    for _ in 0..5 {
        world.timeout();
        world.answer_disk(0);
    }
    assert!(world.wanted().contains("Control"));
    world.timeout();
    world.answer_disk(1);
    assert_eq!(world.disk.last_good_time, 7);
}

#[test]
fn what_is_noted_goes_along_with_the_next_write() {
    let mut world = connected();
    world.life.note(|state| state.last_good_time = 7);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.wanted(), "");
    world.hear_good(4);
    world.answer_disk(1);
    assert_eq!(world.disk.last_good_time, 7);
}

#[test]
fn a_record_of_another_machine_is_left_alone_until_a_key_is_typed() {
    let mut world = World::new(1);
    world.set_conditions(true, true);
    world
        .life
        .amend(world.now, |state| state.last_good_time = 7);
    world.drain();
    assert_eq!(world.wanted(), "");
    assert_eq!(
        world.life.phase(world.now),
        need_key(NoIdentity::Unreadable)
    );
    world.type_key(1);
    world.answer_pair(true);
    assert_eq!(world.wanted(), "NewKey Save");
}

#[test]
fn a_factory_reset_erases_everything_and_starts_anew() {
    let mut world = connected();
    assert_eq!(
        world
            .life
            .handle_operator(world.now, &FromConsole::FactoryReset),
        Ok(())
    );
    world.drain();
    assert_eq!(world.wanted(), "Close(Normal) Erase");
    world.answer_disk(0);
    let phase = world.life.phase(world.now);
    assert!(
        matches!(phase, Phase::Connecting { .. }),
        "it says that it failed: {phase:?}"
    );
    world.timeout();
    assert_eq!(world.wanted(), "Erase");
    world.answer_disk(1);
    assert_eq!(world.life.phase(world.now), need_key(NoIdentity::Blank));
    assert!(!world.life.is_enrolled() && world.life.state().private_key.is_empty());
    world.type_key(1);
    assert_eq!(world.wanted(), "NewKey");
}

/// A write of the next key pair fails and reaches the disk all the same, after the next certificate was
/// kept in memory. Found by the property of random worlds, and made small.
#[test]
fn the_next_certificate_is_not_shown_while_the_disk_may_hold_another_key_pair() {
    fuzz_life(&[
        30, 5, 0, 4, 0, 12, 17, 9, 1, 14, 0, 1, 17, 0, 0, 9, 5, 12, 9, 9, 1, 14, 0, 9, 1, 14, 0, 9,
        4, 19, 0, 7,
    ]);
}
