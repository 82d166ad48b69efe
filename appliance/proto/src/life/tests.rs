//! What the life machine does, told as stories, and what it never does.

use alloc::string::String;
use alloc::vec::Vec;
use core::mem::{discriminant, take};
use core::time::Duration;

use proptest::prelude::*;

use super::fuzz::{World, certificate};
use super::*;
use crate::keepalive::jitter;
use crate::local::{NoIdentity, Phase};
use crate::message::CloseCode;

mod identity;
mod storage;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_world_makes_it_break_a_promise(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzz_life(&data);
    }
}

#[test]
fn random_worlds_get_as_far_as_every_action_and_every_phase() {
    let mut phases = Vec::new();
    let mut actions = Vec::new();
    let mut seed = 1;
    for _ in 0..3_000 {
        let byte = |seed: &mut u64| {
            u8::try_from(jitter(seed, Duration::from_micros(255)).as_micros()).unwrap_or(0)
        };
        let mut world = World::new(byte(&mut seed));
        for _ in 0..200 {
            let (command, argument) = (byte(&mut seed), byte(&mut seed));
            world.step(command, argument);
            note(&mut phases, discriminant(&world.life.phase(world.now)));
            for action in take(&mut world.log) {
                let kind = match &action {
                    Action::Open(purpose) => Some(discriminant(purpose)),
                    _ => None,
                };
                note(&mut actions, (discriminant(&action), kind));
            }
        }
    }
    // Proxy credentials and a record that cannot be used are not the machine's to tell.
    assert_eq!(phases.len(), 6, "{phases:?}");
    assert_eq!(actions.len(), 9, "{actions:?}");
}

fn note<T: PartialEq>(seen: &mut Vec<T>, what: T) {
    if !seen.contains(&what) {
        seen.push(what);
    }
}

#[test]
fn a_key_that_is_typed_enrols_and_connects() {
    let mut world = World::new(0);
    assert_eq!(world.life.phase(world.now), need_key(NoIdentity::Blank));
    world.set_conditions(true, true);
    world.type_key(1);
    assert_eq!(world.life.phase(world.now), Phase::Enrolling);
    assert_eq!(world.wanted(), "NewKey");
    world.answer_pair(true);
    assert_eq!(world.wanted(), "Save");
    world.answer_disk(1);
    assert_eq!(world.wanted(), "Enrol");
    world.hear_good(0);
    assert_eq!(world.wanted(), "Save");
    assert!(!world.life.is_enrolled(), "not before it is on the disk");
    world.answer_disk(1);
    assert_eq!(world.wanted(), "Control");
    world.hear_good(0);
    world.hear_good(3);
    assert!(world.life.is_connected() && world.life.is_enrolled());
    assert!(matches!(
        world.life.phase(world.now),
        Phase::Connected { .. }
    ));
}

#[test]
fn an_enrolment_needs_no_clock_and_a_control_channel_does() {
    let mut world = World::new(0);
    world.set_conditions(true, false);
    world.type_key(1);
    world.answer_pair(true);
    world.answer_disk(1);
    world.hear_good(0);
    world.answer_disk(1);
    assert_eq!(world.wanted(), "NewKey Save Enrol Save");
    assert_eq!(world.life.poll_timeout(), None, "the time is awaited");
    world.set_conditions(true, true);
    assert_eq!(world.wanted(), "Control");
}

#[test]
fn a_reply_that_is_lost_is_asked_for_again_with_the_same_key_pair() {
    let mut world = World::new(0);
    world.set_conditions(true, true);
    world.type_key(1);
    world.answer_pair(true);
    world.answer_disk(1);
    let pair = world.life.requested_key().map(<[u8]>::to_vec);
    world.break_off();
    let Phase::Connecting {
        attempt,
        last_error,
        enrolling: true,
        ..
    } = world.life.phase(world.now)
    else {
        panic!("{:?}", world.life.phase(world.now))
    };
    assert_eq!((attempt, last_error.as_str()), (2, "broken"));
    world.timeout();
    assert_eq!(world.wanted(), "NewKey Save Enrol Enrol");
    assert_eq!(world.life.requested_key().map(<[u8]>::to_vec), pair);
}

#[test]
fn another_edge_has_other_addresses_and_the_key_pair_stays() {
    let mut world = World::new(0);
    world.set_conditions(true, true);
    world.type_key(1);
    world.answer_pair(true);
    world.answer_disk(1);
    world
        .life
        .note(|state| state.edge_addresses.push([192, 0, 2, 1].into()).unwrap());
    assert_eq!(world.life.edge_addresses().len(), 1);
    let pair = world.disk.private_key.clone();
    world.type_edge("other.test");
    assert!(
        world.life.edge_addresses().is_empty(),
        "those were another edge's"
    );
    world.answer_disk(1);
    assert_eq!(world.wanted(), "NewKey Save Enrol Close(Normal) Save Enrol");
    assert_eq!(
        (world.disk.edge.as_str(), &world.disk.private_key),
        ("other.test", &pair)
    );
    assert!(world.disk.edge_addresses.is_empty());
}

#[test]
fn a_short_stay_is_no_success_and_a_long_one_is() {
    let mut world = connected();
    for _ in 0..6 {
        world.close(CloseCode::Replaced);
        world.timeout();
        world.hear_good(0);
        world.hear_good(3);
    }
    world.close(CloseCode::Replaced);
    assert!(
        attempt(&world) > 6,
        "thrown out at once, it calls ever less often"
    );
    world.timeout();
    world.hear_good(0);
    world.hear_good(3);
    world.pass(Duration::from_secs(10));
    world.close(CloseCode::GoingAway);
    assert_eq!(attempt(&world), 2);
}

#[test]
fn an_edge_that_is_away_for_a_day_is_tried_all_the_time() {
    let mut world = connected();
    world.pass(Duration::from_secs(60));
    world.break_off();
    let until = world.now + Duration::from_secs(6 * 3_600);
    while world.now < until {
        let before = world.now;
        world.timeout();
        assert!(
            world.now.since(before) <= CAP,
            "{:?}",
            world.now.since(before)
        );
        world.break_off();
    }
    assert!(attempt(&world) > 700);
}

#[test]
fn a_new_network_is_tried_at_once_and_a_tunnel_that_stands_is_kept() {
    let mut world = connected();
    world.life.handle_network_changed(world.now, true);
    assert!(world.life.is_connected());
    world.life.handle_network_changed(world.now, false);
    world.drain();
    assert_eq!(world.wanted(), "Close Control", "its address is gone");
    for _ in 0..5 {
        world.break_off();
        world.timeout();
    }
    world.break_off();
    world.wanted();
    world.life.handle_network_changed(world.now, true);
    world.drain();
    assert_eq!((world.wanted().as_str(), attempt(&world)), ("Control", 1));
}

#[test]
fn a_machine_that_was_cloned_or_reverted_says_nothing_more_on_old_connections() {
    let mut world = connected();
    world.life.handle_generation_changed(world.now);
    world.drain();
    assert_eq!(world.wanted(), "Close Control");
}

/// Connected with the certificate of its enrolment, and asked for nothing.
fn connected() -> World {
    let mut world = World::new(3);
    world.set_conditions(true, true);
    world.hear_good(0);
    world.hear_good(3);
    assert_eq!(world.wanted(), "Control");
    assert!(world.life.is_connected());
    world
}

fn attempt(world: &World) -> u32 {
    match world.life.phase(world.now) {
        Phase::Connecting { attempt, .. } => attempt,
        other => panic!("{other:?}"),
    }
}

const fn need_key(why: NoIdentity) -> Phase {
    Phase::NeedKey { refused: None, why }
}

impl World {
    /// What the machine wanted since it was asked last, in words.
    fn wanted(&mut self) -> String {
        let words: Vec<String> = take(&mut self.log)
            .iter()
            .map(|action| match action {
                Action::NewKey => "NewKey".into(),
                Action::Save(_) => "Save".into(),
                Action::Erase => "Erase".into(),
                Action::Open(Purpose::Enrol { .. }) => "Enrol".into(),
                Action::Open(Purpose::Renew) => "Renew".into(),
                Action::Open(Purpose::Control { next: false }) => "Control".into(),
                Action::Open(Purpose::Control { next: true }) => "Control(next)".into(),
                Action::Close(None) => "Close".into(),
                Action::Close(Some(code)) => alloc::format!("Close({code:?})"),
                Action::RatchetStored { .. } => "RatchetStored".into(),
                Action::TrustStored { .. } => "TrustStored".into(),
            })
            .collect();
        words.join(" ")
    }

    fn break_off(&mut self) {
        self.fail(Failure::Transport);
    }

    fn fail(&mut self, why: Failure) {
        self.hear(Event::Failed {
            why,
            text: "broken".into(),
        });
    }

    fn close(&mut self, code: CloseCode) {
        self.hear(Event::Closed { code });
    }

    fn type_edge(&mut self, edge: &str) {
        let edge = FromConsole::Edge(crate::local::text(edge));
        assert_eq!(self.life.handle_operator(self.now, &edge), Ok(()));
        self.drain();
    }
}
