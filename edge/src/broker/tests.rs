//! The registry alone, without a connection.

use super::*;
use crate::config::READY_MAX;

#[test]
fn connectors_of_a_group_take_turns_and_suspects_are_passed_over() {
    let broker = Arc::new(Broker::default());
    let (one, _commands_1) = registered(&broker, 1, 7);
    let (_two, _commands_2) = registered(&broker, 2, 7);
    let (_other, _commands_3) = registered(&broker, 3, 8);
    let mut picked: Vec<_> = (0..4)
        .map(|_| broker.pick(7).unwrap().identity.id[0])
        .collect();
    assert_ne!(picked[0], picked[1]);
    picked.sort_unstable();
    assert_eq!(picked, [1, 1, 2, 2]);
    one.tunnel.set_suspect(true);
    assert!((0..4).all(|_| broker.pick(7).unwrap().identity.id[0] == 2));
    assert!(broker.pick(9).is_none());
}

#[test]
fn a_newer_channel_replaces_the_older_and_outlives_its_end() {
    let broker = Arc::new(Broker::default());
    let (old, mut commands) = registered(&broker, 1, 7);
    let (new, _commands) = registered(&broker, 1, 7);
    assert!(matches!(
        commands.try_recv(),
        Ok(Command::Close(CloseCode::Replaced))
    ));
    let current = broker.incumbent(&[1; 16]).unwrap();
    assert!(Arc::ptr_eq(&current, &new.tunnel));
    drop(old);
    assert!(broker.pick(7).is_some());
    drop(new);
    assert!(broker.pick(7).is_none());
}

#[test]
fn a_session_is_claimed_once_and_only_by_its_connector() {
    let broker = Arc::new(Broker::default());
    let expected = broker.expect([5; 16], [1; 16]);
    assert!(broker.claim(&[5; 16], &[2; 16]).is_none());
    assert!(broker.claim(&[6; 16], &[1; 16]).is_none());
    assert!(broker.claim(&[5; 16], &[1; 16]).is_some());
    assert!(broker.claim(&[5; 16], &[1; 16]).is_none());
    drop(expected);
    assert!(broker.carrying().is_empty());
}

#[test]
fn who_waits_for_a_connector_that_goes_away_is_told() {
    let broker = Arc::new(Broker::default());
    let (registration, _commands) = registered(&broker, 1, 7);
    let mut expected = broker.expect([5; 16], [1; 16]);
    drop(registration);
    assert!(matches!(expected.outcome.try_recv(), Ok(Outcome::Lost)));
}

#[test]
fn a_connector_that_is_full_is_not_picked() {
    let broker = Arc::new(Broker::default());
    let (_registration, _commands) = registered(&broker, 1, 7);
    let sessions: Vec<_> = (0..SESSIONS_MAX)
        .map(|number| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            broker.expect(id, [1; 16])
        })
        .collect();
    assert!(broker.pick(7).is_none());
    drop(sessions);
    assert!(broker.pick(7).is_some());
}

#[test]
fn a_connector_that_has_stored_no_ratchet_value_is_offered_no_session() {
    let broker = Arc::new(Broker::default());
    let (registration, _commands) = broker.register(identity(1, 7), [1; 32]);
    assert!(broker.pick(7).is_none());
    registration.set_ready();
    assert!(broker.pick(7).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_user_waits_for_a_connector_that_stores_its_value_and_not_for_one_that_never_does() {
    let broker = Arc::new(Broker::default());
    assert!(broker.pick_of(&[7]).await.is_none(), "nobody is there");
    let (registration, _commands) = broker.register(identity(1, 7), [1; 32]);
    let began = tokio::time::Instant::now();
    assert!(
        broker.pick_of(&[8]).await.is_none(),
        "it is of another group"
    );
    assert!(began.elapsed().is_zero());
    assert!(broker.pick_of(&[8, 7]).await.is_none());
    assert_eq!(began.elapsed(), READY_MAX);
    let (picked, ()) = tokio::join!(broker.pick_of(&[8, 7]), async { registration.set_ready() });
    assert_eq!(picked.unwrap().0, 1);
    assert_eq!(began.elapsed(), READY_MAX, "it is picked at once");
}

#[tokio::test(start_paused = true)]
async fn a_user_does_not_wait_for_a_connector_that_goes_away() {
    let broker = Arc::new(Broker::default());
    let (registration, _commands) = broker.register(identity(1, 7), [1; 32]);
    let began = tokio::time::Instant::now();
    let (picked, ()) = tokio::join!(broker.pick_of(&[7]), async { drop(registration) });
    assert!(picked.is_none() && began.elapsed().is_zero());
}

/// A control channel that is offered sessions.
fn registered(
    broker: &Arc<Broker>,
    id: u8,
    group_id: i64,
) -> (Registration, mpsc::Receiver<Command>) {
    let (registration, commands) = broker.register(identity(id, group_id), [id; 32]);
    registration.set_ready();
    (registration, commands)
}

fn identity(id: u8, group_id: i64) -> Identity {
    let (name, group) = (format!("connector-{id}"), "hq".to_owned());
    Identity {
        id: [id; 16],
        name,
        group_id,
        group,
    }
}
