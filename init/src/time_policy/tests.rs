//! Stories of a clock, each with its servers, its edge and its surroundings.

mod world;

use super::*;
use world::{FLOOR, SECOND, TRUE_US, World, alarm, clock_ok};

const HOUR: i64 = 3600 * SECOND;
const YEAR: i64 = 365 * 24 * HOUR;

#[test]
fn the_first_good_word_makes_the_clock_right_whoever_says_it() {
    for (offset_us, moved_us) in [
        (0, 0),
        (127_999, 0),
        (-127_999, 0),
        (128_000, 128_000),
        (-YEAR / 3, -YEAR / 3),
    ] {
        for by_edge in [false, true] {
            let mut world = World::with_offset(-offset_us);
            let outputs = if by_edge { world.edge() } else { world.ntp() };
            assert!(
                outputs.iter().any(|output| matches!(
                    output,
                    Output::ClockOk { moved_us: by, .. } if *by == moved_us
                )),
                "{offset_us} {outputs:?}"
            );
            assert!(world.policy.is_right());
            let left_us = if moved_us == 0 { -offset_us } else { 0 };
            assert_eq!(world.off_us(), left_us);
        }
    }
}

#[test]
fn a_clock_that_is_right_is_slewed_by_ntp_and_never_stepped() {
    let mut world = World::right();
    for off_us in [0, 500_000, -SECOND] {
        world.truth_us += off_us;
        let outputs = world.ntp();
        assert!(
            matches!(outputs.as_slice(), [Output::Slew { by_us, .. }] if *by_us == off_us),
            "{outputs:?}"
        );
        world.truth_us -= off_us;
    }
    let outputs = world.ntp_that_is(HOUR);
    assert_eq!(
        alarm(&outputs),
        "Clock held: NTP server 10.77.0.123 says that it is 1 h 0 min slow. Nothing else does: the service edge is asked."
    );
    assert!(outputs.contains(&Output::AskEdge));
    assert_eq!(world.off_us(), 0);
    // It goes on saying so, and the operator was told.
    assert_eq!(world.ntp_that_is(HOUR), []);
    assert_eq!(world.off_us(), 0);
}

#[test]
fn what_ntp_wants_is_done_once_the_edge_agrees_within_a_minute() {
    let mut world = World::right();
    // The machine stood still for an hour: both clocks of it did.
    world.truth_us += HOUR;
    assert!(world.ntp().contains(&Output::AskEdge));
    let outputs = world.edge_that_is(50 * SECOND);
    assert!(clock_ok(&outputs).is_some_and(|(source, moved_us)| {
        matches!(source, ClockSource::Ntp(_)) && moved_us == HOUR
    }));
    assert!(outputs.contains(&Output::Clear));
    assert_eq!(world.off_us(), 0);
}

#[test]
fn what_the_edge_was_asked_before_a_doubt_does_not_settle_it() {
    let mut world = World::right();
    let before = world.edge_sample(0, true);
    world.truth_us += HOUR;
    world.ntp();
    assert_eq!(world.hear(Input::Edge(&before)), []);
    world.edge();
    assert_eq!(world.off_us(), 0);
}

#[test]
fn where_ntp_and_the_edge_disagree_the_edge_decides_and_both_are_named() {
    let mut world = World::right();
    world.ntp_that_is(YEAR);
    let outputs = world.edge();
    assert_eq!(world.off_us(), 0);
    assert_eq!(
        alarm(&outputs),
        "NTP and the service edge disagree: NTP server 10.77.0.123 is 365 days later. The edge is believed: check NTP."
    );
    // Neither a word nor a question is lost on it any more, until it says something else.
    assert_eq!(world.ntp_that_is(YEAR), []);
    world.pass(SECOND);
    assert!(world.ntp_that_is(HOUR).contains(&Output::AskEdge));
    assert!(world.ntp().contains(&Output::Clear));
}

#[test]
fn servers_that_all_lie_from_the_start_are_followed_until_the_edge_has_spoken() {
    let mut world = World::with_offset(0);
    world.ntp_that_is(YEAR);
    assert_eq!(world.off_us(), YEAR);
    let outputs = world.edge_with(0, false);
    assert_eq!(world.off_us(), 0);
    assert!(outputs.contains(&Output::Resync));
    let held = world.ntp_that_is(YEAR);
    assert!(alarm(&held).starts_with("Clock held: "), "{held:?}");
    assert!(alarm(&world.edge()).starts_with("NTP and the service edge disagree: "));
    assert_eq!(world.off_us(), 0);
}

#[test]
fn nobody_moves_the_clock_below_the_floor_and_whoever_would_is_named() {
    let mut world = World::with_offset(0);
    world
        .policy
        .handle(world.reading(), Input::Floor(TRUE_US - HOUR));
    let ntp = world.ntp_that_is(-2 * HOUR);
    assert_eq!(
        alarm(&ntp),
        "NTP server 10.77.0.123 claims a time before 2027-01-15, which is past: check its clock."
    );
    assert!(ntp.contains(&Output::AskEdge));
    let edge = world.edge_with(-2 * HOUR, false);
    assert_eq!(
        alarm(&edge),
        "Service edge edge.example.org claims a time before 2027-01-15, which is past: check its clock."
    );
    assert!(!world.policy.is_right());
    assert!(!world.edge_with(-2 * HOUR, false).contains(&Output::Clear));
    // Right, it still does not.
    world.ntp();
    world.ntp_that_is(-2 * HOUR);
    assert_eq!(world.off_us(), 0);
    world.edge_with(-2 * HOUR, false);
    assert_eq!(world.off_us(), 0);
}

#[test]
fn the_edge_s_word_with_dates_that_held_is_a_floor_for_one_without() {
    let mut world = World::right();
    world.edge();
    assert_eq!(world.policy.floor(), world.truth() - 120 * SECOND);
    world.edge_with(-HOUR, false);
    assert_eq!(world.off_us(), 0);
}

#[test]
fn a_floor_that_is_found_later_takes_a_clock_back_that_was_set_below_it() {
    let mut world = World::with_offset(0);
    world.ntp_that_is(-YEAR / 2);
    let outputs = world.hear(Input::Floor(TRUE_US));
    assert!(outputs.contains(&Output::AskEdge));
    assert_eq!(world.reading().real_us, TRUE_US - 120 * SECOND);
    assert!(clock_ok(&world.ntp()).is_some());
    assert_eq!(world.off_us(), 0);
}

#[test]
fn a_clock_below_the_floor_is_raised_before_anybody_is_asked() {
    let mut world = World::with_offset(-50 * YEAR);
    assert_eq!(world.reading().real_us, FLOOR);
    assert!(clock_ok(&world.ntp()).is_some());
    assert_eq!(world.off_us(), 0);
}

#[test]
fn a_right_clock_that_somebody_sets_is_put_back_at_once_and_checked() {
    for jump_us in [YEAR, -YEAR, 2 * SECOND] {
        let mut world = World::right();
        world.real_us += jump_us;
        let outputs = world.hear(Input::Tick);
        assert_eq!(world.off_us(), 0);
        assert!(
            alarm(&outputs).starts_with("Clock put back: "),
            "{outputs:?}"
        );
        assert!(outputs.contains(&Output::Resync) && outputs.contains(&Output::AskEdge));
        assert!(world.ntp().contains(&Output::Clear));
    }
}

#[test]
fn what_was_measured_before_the_clock_was_set_is_asked_again() {
    let mut world = World::right();
    let (ntp, edge) = (world.sample(0), world.edge_sample(0, true));
    world.pass(SECOND);
    world.real_us += YEAR;
    world.hear(Input::Tick);
    assert_eq!(world.hear(Input::Ntp(&ntp)), [Output::Resync]);
    let outputs = world.hear(Input::Edge(&edge));
    assert!(outputs.is_empty(), "{outputs:?}");
    // The edge was asked a moment before: it is again, a moment later.
    world.pass(3 * SECOND);
    assert!(world.hear(Input::Tick).contains(&Output::AskEdge));
}

#[test]
fn without_ntp_the_edge_is_asked_after_ten_seconds_or_at_once() {
    let mut world = World::with_offset(0);
    world.hear(Input::Network { has_ntp: true });
    assert_eq!(world.wait_for(&Output::AskEdge), 10 * SECOND);
    let mut world = World::with_offset(0);
    world.hear(Input::Network { has_ntp: false });
    assert_eq!(world.wait_for(&Output::AskEdge), SECOND);
    // A router without, then a DHCP server with.
    let mut world = World::with_offset(0);
    world.hear(Input::Network { has_ntp: false });
    world.hear(Input::Network { has_ntp: true });
    assert_eq!(world.wait_for(&Output::AskEdge), 10 * SECOND);
}

#[test]
fn an_edge_that_does_not_answer_is_asked_again_ever_more_rarely_and_for_ever() {
    let mut world = World::with_offset(0);
    world.hear(Input::Network { has_ntp: true });
    let waits: Vec<_> = (0..10)
        .map(|_| world.wait_for(&Output::AskEdge) / SECOND)
        .collect();
    assert_eq!(waits, [10, 15, 30, 60, 120, 240, 480, 960, 960, 960]);
}

#[test]
fn a_clock_without_anybody_s_word_has_the_edge_asked_every_hour() {
    let mut world = World::right();
    assert_eq!(world.wait_for(&Output::AskEdge), HOUR);
    let outputs = world.edge_that_is(SECOND / 2);
    assert!(
        matches!(outputs.as_slice(), [Output::Slew { by_us: 500_000, .. }]),
        "{outputs:?}"
    );
    assert_eq!(world.wait_for(&Output::AskEdge), HOUR);
    world.edge_that_is(5 * SECOND);
    assert_eq!(world.off_us(), 5 * SECOND);
}

#[test]
fn an_edge_a_few_seconds_off_does_not_move_a_clock_that_goes_by_ntp() {
    let mut world = World::right();
    world.ntp();
    assert_eq!(world.edge_that_is(SECOND / 2), []);
    assert_eq!(world.edge_that_is(50 * SECOND), [Output::Resync]);
    assert_eq!(world.off_us(), 0);
}

#[test]
fn servers_without_a_majority_move_nothing_and_the_edge_is_asked() {
    for mut world in [World::with_offset(HOUR), World::right()] {
        let off_us = world.off_us();
        let samples = [world.sample(0), world.sample(YEAR)];
        let outputs = world.hear(Input::Split(&samples));
        assert!(alarm(&outputs).starts_with("NTP servers "), "{outputs:?}");
        assert!(outputs.contains(&Output::AskEdge));
        assert_eq!(world.off_us(), off_us);
        world.edge();
        assert_eq!(world.off_us(), 0);
    }
}

#[test]
fn a_hypervisor_s_clock_raises_a_provisional_one_and_never_makes_it_right() {
    let mut world = World::with_offset(-HOUR);
    world.hear(Input::Hint(TRUE_US));
    assert_eq!(world.off_us(), 0);
    assert!(!world.policy.is_right());
    for hint in [FLOOR - 1, TRUE_US - YEAR, CEILING_US, i64::MIN, i64::MAX] {
        assert_eq!(world.hear(Input::Hint(hint)), []);
    }
    world.ntp();
    assert_eq!(world.hear(Input::Hint(TRUE_US + YEAR)), []);
}

#[test]
fn a_resume_has_everybody_asked_and_moves_nothing() {
    let mut world = World::right();
    assert_eq!(
        world.hear(Input::Resumed),
        [Output::Resync, Output::AskEdge]
    );
    assert_eq!(world.off_us(), 0);
}

#[test]
fn a_battery_clock_in_local_time_is_named_as_the_likely_cause() {
    let mut world = World::with_offset(2 * HOUR + SECOND);
    assert_eq!(
        alarm(&world.ntp()),
        "The clock was 2 h 0 min fast: the host's clock looks like local time. Set the VM's battery clock to UTC."
    );
    // The floor hides what the battery clock said.
    let mut world = World::with_offset(-50 * YEAR);
    world.truth_us = FLOOR + 2 * HOUR;
    assert!(
        !world
            .ntp()
            .iter()
            .any(|output| matches!(output, Output::Alarm(_)))
    );
}

#[test]
fn numbers_at_the_ends_of_their_types_do_no_harm() {
    for offset_us in [i64::MIN, -1, 0, 1, i64::MAX] {
        for at_boot_us in [0, u64::MAX] {
            let mut world = World::right();
            let ntp = Sample {
                offset_us,
                bound_us: u32::MAX,
                at_boot_us,
                ..world.sample(0)
            };
            let edge = EdgeSample {
                offset_us,
                bound_us: u32::MAX,
                at_boot_us,
                ..world.edge_sample(0, true)
            };
            world.hear(Input::Ntp(&ntp));
            world.hear(Input::Edge(&edge));
            world.hear(Input::Split(&[ntp, world.sample(0)]));
            world.hear(Input::Floor(offset_us));
            assert!(world.reading().real_us >= FLOOR);
        }
    }
}
