//! Renewals, refusals, machines that are held, machines that are enrolled anew.

use super::*;
use crate::limits::{HELD_RETRY, RENEW_GRACE};
use crate::local::{KeyRefused, text};
use crate::message::{EnrolRefusal, RenewRefusal, Verdict};
use crate::time::UnixSeconds;

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_certificate_is_renewed_at_two_thirds_of_its_life_and_a_fleet_does_not_do_it_at_once() {
    let mut due = Vec::new();
    for seed in 0..200 {
        let opened = Opened {
            state: connected().life.state().clone(),
            why: None,
        };
        let start = Instant::from_micros(0);
        let life = Life::new(start, opened, None, seed);
        let at = life
            .renewal
            .due_at(|wall| Instant::from_micros(1_000_000 * wall.0));
        due.push(at.unwrap().as_micros() / 1_000_000 - connected().wall());
    }
    due.sort_unstable();
    let (first, last) = (due[0], due[due.len() - 1]);
    assert!((57_600..58_000).contains(&first), "{first}");
    assert!((66_000..=66_240).contains(&last), "{last}");
}

#[test]
fn a_renewal_takes_two_phases_and_nothing_is_used_before_it_is_stored() {
    let mut world = renewing();
    let before = world.disk.identity.clone();
    world.hear_good(0);
    assert_eq!(world.wanted(), "Save");
    world.answer_disk(1);
    assert_eq!(world.wanted(), "Control(next)");
    assert_eq!(
        world.disk.identity, before,
        "the edge has not used the new one yet"
    );
    world.hear_good(0);
    assert_eq!(world.wanted(), "Save");
    world.answer_disk(1);
    assert_ne!(world.disk.identity, before);
    assert!(world.disk.next.is_none() && world.life.certificate_left(world.now).is_none());
}

#[test]
fn a_renewal_that_fails_is_put_off_and_the_control_channel_comes_back() {
    let mut world = renewing();
    world.break_off();
    world.timeout();
    assert_eq!(world.wanted(), "Control");
    let left = world.life.certificate_left(world.now).unwrap();
    assert!(left > DAY / 5 && left < DAY / 2, "{left:?}");
    world.hear_good(0);
    world.hear_good(3);
    let before = world.now;
    world.timeout();
    assert_eq!(
        world.wanted(),
        "Close(Normal) Renew",
        "with the key pair there is"
    );
    let waited = world.now.since(before);
    assert!(waited > Duration::from_secs(600) && waited < Duration::from_secs(3_600));
}

#[test]
fn a_new_certificate_that_is_refused_gives_way_to_the_old_one_and_is_renewed_again() {
    let mut world = renewing();
    world.hear_good(0);
    world.answer_disk(1);
    assert_eq!(world.wanted(), "Save Control(next)");
    world.fail(Failure::CertificateRefused);
    world.timeout();
    assert_eq!(world.wanted(), "Control");
    world.hear_good(0);
    world.answer_disk(1);
    assert!(world.disk.next.is_none());
    world.hear_good(3);
    world.wanted();
    world.timeout();
    assert_eq!(world.wanted(), "NewKey");
}

#[test]
fn when_the_old_certificate_is_refused_too_the_new_one_is_tried_again() {
    let mut world = renewing();
    world.hear_good(0);
    world.answer_disk(1);
    world.wanted();
    for _ in 0..3 {
        world.close(CloseCode::NotAuthorised);
        world.timeout();
    }
    assert_eq!(world.wanted(), "Control Control(next) Control");
}

#[test]
fn a_certificate_that_expired_is_renewed_before_anything_else() {
    let mut world = off_for(3 * DAY);
    assert_eq!(world.wanted(), "NewKey");
    world.answer_pair(true);
    world.answer_disk(1);
    assert_eq!(world.wanted(), "Save Renew");
    world.break_off();
    world.timeout();
    assert_eq!(
        world.wanted(),
        "Renew",
        "no control channel without a certificate"
    );
    world.hear_good(0);
    world.answer_disk(1);
    assert_eq!(world.wanted(), "Save Control(next)");
}

#[test]
fn a_renewed_certificate_that_was_not_used_before_it_expired_is_what_renews() {
    let mut world = renewing();
    world.hear_good(0);
    world.answer_disk(1);
    let newest = world.disk.next.as_ref().unwrap().certificate.clone();
    let mut world = restarted(&world, 3 * DAY);
    world.answer_pair(true);
    world.answer_disk(1);
    assert_eq!(world.wanted(), "NewKey Save Renew");
    assert_eq!(world.disk.identity.as_ref().unwrap().certificate, newest);
}

#[test]
fn an_answer_of_long_ago_is_asked_for_again_with_another_key_pair() {
    let mut world = off_for(3 * DAY);
    world.answer_pair(true);
    world.answer_disk(1);
    let old = certificate(world.wall() - 2 * 86_400, 9, 86_400);
    world.wanted();
    world.hear(Event::Renewed { certificate: old });
    world.answer_disk(1);
    world.timeout();
    assert_eq!(world.wanted(), "Save NewKey");
}

#[test]
fn after_the_grace_a_key_is_needed_and_the_edge_has_the_last_word_all_the_same() {
    let mut world = off_for(RENEW_GRACE + 2 * DAY);
    let too_late = NoIdentity::TooLate { name: text("c1") };
    assert_eq!(world.life.phase(world.now), need_key(too_late.clone()));
    world.answer_pair(true);
    world.answer_disk(1);
    let first = world.now;
    world.break_off();
    world.timeout();
    assert!(
        world.now.since(first) >= HELD_RETRY * 3 / 4,
        "it does not hurry"
    );
    assert_eq!(world.wanted(), "NewKey Save Renew Renew");
    let expired_at = UnixSeconds(0);
    world.refuse(RenewRefusal::TooLate { expired_at });
    assert_eq!(world.life.phase(world.now), need_key(too_late));
    assert_eq!(world.life.poll_timeout(), None);
}

#[test]
fn each_refusal_has_its_phase() {
    let name = || text("c1");
    for (reason, expected) in [
        (
            RenewRefusal::Revoked,
            need_key(NoIdentity::Revoked { name: name() }),
        ),
        (
            RenewRefusal::Superseded,
            need_key(NoIdentity::Superseded { name: name() }),
        ),
        (
            RenewRefusal::Held(Verdict::RestoredBackup),
            held(Verdict::RestoredBackup),
        ),
    ] {
        let mut world = renewing();
        world.refuse(reason);
        assert_eq!(world.life.phase(world.now), expected, "{reason:?}");
    }
    for (code, expected) in [
        (
            CloseCode::Revoked,
            need_key(NoIdentity::Revoked { name: name() }),
        ),
        (CloseCode::Held, held(Verdict::Copy)),
    ] {
        let mut world = connected();
        world.close(code);
        assert_eq!(world.life.phase(world.now), expected, "{code:?}");
    }
    let mut world = connected();
    world.fail(Failure::Unusable);
    assert_eq!(world.life.phase(world.now), need_key(NoIdentity::Unusable));
}

#[test]
fn a_connector_that_is_disabled_asks_at_the_edges_slowest_pace() {
    let mut world = connected();
    for _ in 0..10 {
        let before = world.now;
        world.close(CloseCode::Disabled);
        world.timeout();
        let waited = world.now.since(before);
        assert!(waited >= CAP * 3 / 4 && waited <= CAP * 5 / 4, "{waited:?}");
    }
}

#[test]
fn an_edge_that_knows_the_certificate_no_more_is_asked_why_by_a_renewal() {
    let mut world = connected();
    world.close(CloseCode::NotAuthorised);
    world.timeout();
    world.answer_pair(true);
    world.answer_disk(1);
    assert_eq!(world.wanted(), "NewKey Save Renew");
    world.close(CloseCode::NotAuthorised);
    assert!(matches!(world.life.phase(world.now), Phase::NeedKey { .. }));
    world.timeout();
    assert_eq!(
        world.wanted(),
        "Control",
        "in case the edge remembers one day"
    );
}

#[test]
fn a_machine_that_is_held_keeps_its_pace_and_comes_back_once_confirmed() {
    let mut world = connected();
    for _ in 0..20 {
        world.hear(Event::Recognised {
            verdict: Verdict::MovedNic,
            admitted: false,
        });
        world.close(CloseCode::Held);
        assert_eq!(world.life.phase(world.now), held(Verdict::MovedNic));
        world.wanted();
        world.life.handle_network_changed(world.now, true);
        world.drain();
        assert_eq!(world.wanted(), "", "no new network makes it hurry");
        let before = world.now;
        world.timeout();
        let waited = world.now.since(before);
        assert!(
            waited >= HELD_RETRY * 3 / 4 && waited <= HELD_RETRY * 5 / 4,
            "{waited:?}"
        );
    }
    world.hear_good(0);
    world.hear_good(3);
    assert!(world.life.is_connected());
}

#[test]
fn a_key_enrols_a_held_machine_as_a_new_connector_and_the_identity_stays_until_then() {
    let mut world = connected();
    world.close(CloseCode::Held);
    let before = world.disk.identity.clone();
    world.wanted();
    world.type_key(1);
    world.answer_pair(true);
    world.answer_disk(1);
    assert_eq!(world.wanted(), "NewKey Save Enrol");
    world.hear(Event::EnrolRefused {
        reason: EnrolRefusal::KeyRevoked,
    });
    let refused = Some(KeyRefused::ByEdge(EnrolRefusal::KeyRevoked));
    let phase = world.life.phase(world.now);
    assert!(
        matches!(phase, Phase::Held { refused: why, .. } if why == refused),
        "{phase:?}"
    );
    assert_eq!(
        (world.wanted().as_str(), &world.disk.identity),
        ("", &before),
        "no hurry"
    );
    world.type_key(2);
    assert_eq!(world.wanted(), "Enrol", "with the key pair of before");
    let pair = world.life.requested_key().map(<[u8]>::to_vec);
    world.hear_good(0);
    assert_eq!(world.disk.identity, before);
    world.answer_disk(1);
    assert_ne!(world.disk.identity, before);
    assert_eq!(Some(&world.disk.private_key), pair.as_ref());
    assert_eq!(world.wanted(), "Save Control");
}

#[test]
fn a_key_is_declined_by_a_connector_in_good_standing() {
    let mut world = connected();
    let key = FromConsole::Key([0x11; crate::key::SEED_LEN]);
    assert_eq!(
        world.life.handle_operator(world.now, &key),
        Err(Declined::AlreadyEnrolled)
    );
    assert!(world.life.is_connected());
}

#[test]
fn a_request_that_is_not_valid_is_made_again_once_with_another_key_pair() {
    let mut world = connected();
    world.close(CloseCode::Revoked);
    world.type_key(1);
    world.answer_pair(true);
    world.answer_disk(1);
    world.break_off();
    world.type_key(1);
    world.wanted();
    let invalid = EnrolRefusal::RequestInvalid;
    world.hear(Event::EnrolRefused { reason: invalid });
    world.timeout();
    world.answer_pair(true);
    world.answer_disk(1);
    assert_eq!(world.wanted(), "NewKey Save Enrol");
    world.hear(Event::EnrolRefused { reason: invalid });
    let phase = world.life.phase(world.now);
    let refused = Some(KeyRefused::ByEdge(invalid));
    assert!(
        matches!(phase, Phase::NeedKey { refused: why, .. } if why == refused),
        "{phase:?}"
    );
}

/// At the moment at which its renewal is asked for.
fn renewing() -> World {
    let mut world = connected();
    world.timeout();
    assert_eq!(
        world.wanted(),
        "NewKey",
        "the control channel stands meanwhile"
    );
    assert!(world.life.is_connected());
    world.answer_pair(true);
    world.answer_disk(1);
    assert_eq!(world.wanted(), "Save Close(Normal) Renew");
    world
}

/// Switched on again after so long a time.
fn off_for(time: Duration) -> World {
    restarted(&connected(), time)
}

fn restarted(before: &World, time: Duration) -> World {
    let mut world = World::new(3);
    world.disk = before.disk.clone();
    let opened = Opened {
        state: before.disk.clone(),
        why: None,
    };
    world.now = before.now + time;
    world.life = Life::new(world.now, opened, None, 1);
    world.set_conditions(true, true);
    world
}

fn held(verdict: Verdict) -> Phase {
    Phase::Held {
        verdict,
        name: text("c1"),
        refused: None,
    }
}

impl World {
    fn refuse(&mut self, reason: RenewRefusal) {
        self.hear(Event::RenewRefused { reason });
    }
}
