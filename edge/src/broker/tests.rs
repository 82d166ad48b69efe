//! The registry alone, without a connection.

use connector_proto::limits::SESSIONS_MAX;
use splice_core::loopback::pair;

use super::*;

#[test]
fn connectors_of_a_group_take_turns_and_suspects_are_passed_over() {
    let broker = Arc::new(Broker::default());
    let (one, _queues_1) = registered(&broker, 1, 7);
    let (_two, _queues_2) = registered(&broker, 2, 7);
    let (_other, _queues_3) = registered(&broker, 3, 8);
    let pick = |number| broker.place(7, id(number)).unwrap().tunnel.identity.id[0];
    let mut picked: Vec<_> = (0..4).map(pick).collect();
    assert_ne!(picked[0], picked[1]);
    picked.sort_unstable();
    assert_eq!(picked, [1, 1, 2, 2]);
    one.tunnel.set_suspect(true);
    assert!((0..4).all(|number| pick(number) == 2));
    assert_eq!(broker.place(9, id(0)).err(), Some(NoTunnel::Absent));
}

#[test]
fn a_newer_channel_replaces_the_older_and_outlives_its_end() {
    let broker = Arc::new(Broker::default());
    let (old, mut queues) = registered(&broker, 1, 7);
    let (new, _queues) = registered(&broker, 1, 7);
    assert!(matches!(
        queues.commands.try_recv(),
        Ok(Command::Close(CloseCode::Replaced))
    ));
    let current = broker.incumbent(&[1; 16]).unwrap();
    assert!(Arc::ptr_eq(&current, &new.tunnel));
    drop(old);
    assert!(broker.place(7, id(1)).is_ok());
    drop(new);
    assert!(broker.place(7, id(1)).is_err());
}

#[test]
fn a_session_is_given_one_first_channel_and_only_of_its_connector() {
    let broker = Arc::new(Broker::default());
    let (_registration, _queues) = registered(&broker, 1, 7);
    let mut expected = broker.place(7, id(5)).unwrap();
    let attach = |connector, session, channel| {
        let attach = Attach {
            session: id(session),
            channel,
        };
        let refused = broker.attach(&[connector; 16], &attach, pair().1, |_, _| ());
        refused.is_none()
    };
    assert_eq!(broker.opening(&[1; 16]), 1);
    assert!(!attach(2, 5, 0) && !attach(1, 6, 0) && !attach(1, 5, 1));
    assert!(attach(1, 5, 0));
    assert!(matches!(
        expected.outcome.try_recv(),
        Ok(Outcome::Attached(_))
    ));
    assert!(!attach(1, 5, 0));
    assert_eq!(broker.opening(&[1; 16]), 0);
    drop(expected);
    assert!(broker.carrying().is_empty());
}

#[test]
fn a_channel_for_a_user_who_has_gone_is_refused() {
    let broker = Arc::new(Broker::default());
    let (_registration, _queues) = registered(&broker, 1, 7);
    let Expected { slot, outcome, .. } = broker.place(7, id(5)).unwrap();
    drop(outcome);
    let (session, channel) = (id(5), 0);
    let attach = Attach { session, channel };
    let refused = broker.attach(&[1; 16], &attach, pair().1, |_, _| ());
    assert!(refused.is_some());
    drop(slot);
}

#[test]
fn successors_reach_the_plane_in_their_order_and_each_once() {
    let broker = Arc::new(Broker::default());
    let (_registration, _queues) = registered(&broker, 1, 7);
    let expected = broker.place(7, id(5)).unwrap();
    let (session, key) = (id(5), SessionKey(9));
    // Whether it was taken, and how many the data plane got.
    let attach = |channel| {
        let (attach, mut given) = (Attach { session, channel }, 0);
        let succeed = |at, _| {
            assert_eq!(at, key);
            given += 1;
        };
        let refused = broker.attach(&[1; 16], &attach, pair().1, succeed);
        (refused.is_none(), given)
    };
    assert_eq!(attach(1), (false, 0), "it has no first one");
    assert_eq!(attach(0), (true, 0));
    // Before the session is on the plane they are kept for it.
    assert_eq!(attach(7), (false, 0));
    assert_eq!(attach(2), (true, 0));
    assert_eq!(attach(2), (false, 0));
    assert_eq!(attach(1), (true, 0));
    let mut early = 0;
    expected.slot.set_carried(key, |_, _| early += 1);
    assert_eq!(early, 2);
    for wrong in [0, 1, 2, 9, u32::MAX] {
        assert_eq!(attach(wrong), (false, 0), "{wrong}");
    }
    assert_eq!(attach(4), (true, 0));
    assert_eq!(attach(3), (true, 2));
    assert_eq!(attach(5), (true, 1));
}

#[test]
fn a_successor_is_asked_for_until_it_is_there_also_on_a_newer_control_channel() {
    let broker = Arc::new(Broker::default());
    let (old, _queues) = registered(&broker, 1, 7);
    let expected = broker.place(7, id(5)).unwrap();
    let other = broker.place(7, id(6)).unwrap();
    let (session, connector) = (id(5), [1; 16]);
    let attach = |channel| {
        let attach = Attach { session, channel };
        broker
            .attach(&connector, &attach, pair().1, |_, _| ())
            .is_none()
    };
    assert!(attach(0));
    expected.slot.set_carried(SessionKey(9), |_, _| ());
    assert_eq!(broker.next_wanting(&connector), None);
    expected.slot.asker()(1);
    assert_eq!(broker.next_wanting(&connector), Some((session, 1)));
    assert_eq!(broker.next_wanting(&connector), None);
    drop(old);
    let (_new, _queues) = registered(&broker, 1, 7);
    assert_eq!(broker.next_wanting(&connector), Some((session, 1)));
    // The one after it is another one.
    assert!(attach(2));
    let (_newer, _queues) = registered(&broker, 1, 7);
    assert_eq!(broker.next_wanting(&connector), Some((session, 1)));
    assert!(attach(1));
    let (_newest, _queues) = registered(&broker, 1, 7);
    assert_eq!(broker.next_wanting(&connector), None);
    drop(other);
}

#[test]
fn who_waits_for_a_connector_that_goes_away_is_told() {
    let broker = Arc::new(Broker::default());
    let (registration, _queues) = registered(&broker, 1, 7);
    let mut expected = broker.place(7, id(5)).unwrap();
    drop(registration);
    assert!(matches!(expected.outcome.try_recv(), Ok(Outcome::Lost)));
    assert_eq!(broker.opening(&[1; 16]), 0);
}

#[test]
fn a_connector_that_is_full_is_not_picked_and_the_refusal_has_the_number() {
    let broker = Arc::new(Broker::default());
    let (registration, _queues) = registered(&broker, 1, 7);
    let mut places: Vec<_> = (0..SESSIONS_MAX)
        .map(|number| broker.place(7, id(number)).unwrap())
        .collect();
    let refused = |number| broker.place(7, id(number)).unwrap_err().to_string();
    assert_eq!(
        refused(SESSIONS_MAX),
        format!("connector connector-1 carries {SESSIONS_MAX} sessions, which is its limit")
    );
    registration.tunnel.set_capacity(10_000);
    for number in SESSIONS_MAX..10_000 {
        places.push(broker.place(7, id(number)).unwrap());
    }
    assert!(refused(10_000).contains("carries 10000 sessions"));
    places.pop();
    assert!(broker.place(7, id(10_000)).is_ok());
    let (other, _queues) = registered(&broker, 2, 7);
    other.tunnel.set_capacity(0);
    let _last = broker.place(7, id(10_000));
    assert!(refused(10_001).contains("all 2 connectors carry 10000 sessions"));
}

#[test]
fn a_connector_that_has_stored_no_ratchet_value_is_offered_no_session() {
    let broker = Arc::new(Broker::default());
    let (registration, _queues) = broker.register(identity(1, 7), [1; 32]);
    assert!(broker.place(7, id(1)).is_err());
    registration.set_ready();
    assert!(broker.place(7, id(1)).is_ok());
}

#[tokio::test]
async fn ten_thousand_offers_at_once_wait_for_each_other_and_delay_no_command() {
    const OFFERS: usize = 10_000;
    let broker = Arc::new(Broker::default());
    let (registration, mut queues) = registered(&broker, 1, 7);
    let tunnel = Arc::clone(&registration.tunnel);
    tunnel.set_capacity(10_000);
    let mut users = tokio::task::JoinSet::new();
    for number in 0..OFFERS {
        let broker = Arc::clone(&broker);
        users.spawn(async move {
            let expected = broker.place(7, id(number)).unwrap();
            let room = expected.tunnel.room().await.unwrap();
            room.send(number.to_be_bytes().to_vec());
            expected
        });
    }
    // All of them have come, and no more than fit are in the queue.
    while broker.opening(&[1; 16]) < OFFERS {
        tokio::task::yield_now().await;
    }
    assert!(tunnel.command(Command::Trust));
    assert!(matches!(queues.commands.try_recv(), Ok(Command::Trust)));
    let mut offered = Vec::new();
    while offered.len() < OFFERS {
        queues.offers.recv_many(&mut offered, 32).await;
    }
    offered.sort_unstable();
    offered.dedup();
    assert_eq!(
        (offered.len(), users.join_all().await.len()),
        (OFFERS, OFFERS)
    );
}

#[tokio::test]
async fn who_waits_to_offer_a_session_hears_that_the_channel_is_gone() {
    let broker = Arc::new(Broker::default());
    let (registration, queues) = registered(&broker, 1, 7);
    let tunnel = Arc::clone(&registration.tunnel);
    while let Ok(Some(room)) = timeout(std::time::Duration::ZERO, tunnel.room()).await {
        room.send(Vec::new());
    }
    let (room, ()) = tokio::join!(tunnel.room(), async { drop(queues) });
    assert!(room.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_user_waits_for_a_connector_that_stores_its_value_and_not_for_one_that_never_does() {
    let broker = Arc::new(Broker::default());
    let place = async |groups: &[i64]| broker.place_of(groups, id(1)).await;
    assert!(place(&[7]).await.is_err(), "nobody is there");
    let (registration, _queues) = broker.register(identity(1, 7), [1; 32]);
    let began = tokio::time::Instant::now();
    assert!(place(&[8]).await.is_err(), "it is of another group");
    assert!(began.elapsed().is_zero());
    assert!(place(&[8, 7]).await.is_err());
    assert_eq!(began.elapsed(), READY_MAX);
    let (picked, ()) = tokio::join!(place(&[8, 7]), async { registration.set_ready() });
    assert_eq!(picked.unwrap().0, 1);
    assert_eq!(began.elapsed(), READY_MAX, "it is picked at once");
}

#[tokio::test(start_paused = true)]
async fn a_user_does_not_wait_for_a_connector_that_goes_away() {
    let broker = Arc::new(Broker::default());
    let (registration, _queues) = broker.register(identity(1, 7), [1; 32]);
    let began = tokio::time::Instant::now();
    let place = broker.place_of(&[7], id(1));
    let (picked, ()) = tokio::join!(place, async { drop(registration) });
    assert!(picked.is_err() && began.elapsed().is_zero());
}

/// A control channel that is offered sessions.
fn registered(broker: &Arc<Broker>, id: u8, group_id: i64) -> (Registration, Queues) {
    let (registration, queues) = broker.register(identity(id, group_id), [id; 32]);
    registration.set_ready();
    (registration, queues)
}

fn id(number: usize) -> SessionId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    id
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
