//! Ratchet values: in order, one at a time, and before every session.

use connector_proto::control::{ConnectorEvent, EdgeEvent};
use connector_proto::error::Error;
use connector_proto::message::{
    CloseCode, Message, Ratchet, RatchetStored, RatchetValue, TrustStored,
};

use crate::pair::{Pair, SECOND, VALUE, assert_not_ready, assert_unexpected};

#[test]
fn no_session_is_offered_before_a_ratchet_value_of_this_channel_was_stored() {
    let mut pair = Pair::established();
    assert_not_ready(&pair.edge.open_session(b"grant"));
    pair.edge.ratchet(7, VALUE).unwrap();
    assert_eq!(pair.edge.unstored_ratchet(), Some(7));
    assert_not_ready(&pair.edge.open_session(b"grant"));
    pair.exchange();
    let ratchet = ConnectorEvent::Ratchet {
        step: 7,
        value: VALUE,
    };
    assert_eq!(pair.connector.poll_event(), Some(ratchet));
    // It is on its way to the disk: however long that takes, both ends stay, and no session comes.
    for _ in 0..20 {
        pair.pass(10 * SECOND);
        assert_not_ready(&pair.edge.open_session(b"grant"));
        assert!(!pair.edge.takes_sessions());
    }
    pair.connector.ratchet_stored(7).unwrap();
    pair.exchange();
    assert_eq!(
        pair.edge.poll_event(),
        Some(EdgeEvent::RatchetStored { step: 7 })
    );
    assert_eq!(pair.edge.unstored_ratchet(), None);
    pair.edge.open_session(b"grant").unwrap();
    pair.exchange();
    let grant = b"grant".to_vec();
    assert_eq!(
        pair.connector.poll_event(),
        Some(ConnectorEvent::SessionOffered { grant })
    );

    // A newer value on its way stops no session; a channel that closed takes none.
    pair.edge.ratchet(8, VALUE).unwrap();
    pair.edge.open_session(b"grant").unwrap();
    pair.edge.close(CloseCode::GoingAway);
    assert_not_ready(&pair.edge.open_session(b"grant"));
}

#[test]
fn ratchet_values_go_out_one_at_a_time_and_are_answered_by_their_step() {
    let mut pair = Pair::established();
    pair.edge.ratchet(1, VALUE).unwrap();
    assert_not_ready(&pair.edge.ratchet(2, VALUE));
    assert_not_ready(&pair.connector.ratchet_stored(1));
    pair.exchange();
    assert_not_ready(&pair.connector.ratchet_stored(2));
    pair.connector.ratchet_stored(1).unwrap();
    assert_not_ready(&pair.connector.ratchet_stored(1));
    pair.exchange();
    assert!(pair.edge.poll_event().is_some());
    pair.edge.ratchet(2, VALUE).unwrap();
    pair.exchange();
    pair.connector.ratchet_stored(2).unwrap();
    pair.exchange();
    assert_eq!(
        pair.edge.poll_event(),
        Some(EdgeEvent::RatchetStored { step: 2 })
    );
}

#[test]
fn an_edge_that_hands_out_ratchet_values_out_of_order_or_none_at_all_is_refused() {
    let ratchet = |step, value| Ratchet { step, value };
    // Twice without an answer between.
    let mut pair = Pair::established();
    pair.tell_connector(&ratchet(1, VALUE)).unwrap();
    assert_unexpected(&pair.tell_connector(&ratchet(2, VALUE)));

    // Back, and the same again.
    for step in [3, 2, 0] {
        let mut pair = Pair::established();
        pair.tell_connector(&ratchet(3, VALUE)).unwrap();
        pair.connector.ratchet_stored(3).unwrap();
        let result = pair.tell_connector(&ratchet(step, VALUE));
        assert_eq!(result, Err(Error::RatchetStep { step, last: 3 }));
        assert!(!pair.connector.is_established());
    }
    let mut pair = Pair::established();
    let first = pair.tell_connector(&ratchet(0, VALUE));
    assert_eq!(first, Err(Error::RatchetStep { step: 0, last: 0 }));

    // The largest step there is, and nothing after it.
    let mut pair = Pair::established();
    pair.tell_connector(&ratchet(u64::MAX, VALUE)).unwrap();
    pair.connector.ratchet_stored(u64::MAX).unwrap();

    // The value that stands for none.
    let mut pair = Pair::established();
    let zeros = pair.tell_connector(&ratchet(1, RatchetValue::default()));
    assert_eq!(zeros, Err(Error::InvalidMessage { id: Ratchet::ID }));

    // Before the welcome.
    let mut pair = Pair::greeted();
    assert_unexpected(&pair.tell_connector(&ratchet(1, VALUE)));
}

#[test]
fn a_connector_that_stored_what_it_was_not_given_is_refused() {
    let mut pair = Pair::established();
    assert_unexpected(&pair.tell_edge(&RatchetStored { step: 1 }));
    let mut pair = Pair::established();
    pair.edge.ratchet(1, VALUE).unwrap();
    assert_unexpected(&pair.tell_edge(&RatchetStored { step: 2 }));
    assert!(!pair.edge.takes_sessions());
    let mut pair = Pair::established();
    pair.edge.ratchet(1, VALUE).unwrap();
    pair.tell_edge(&RatchetStored { step: 1 }).unwrap();
    assert_unexpected(&pair.tell_edge(&RatchetStored { step: 1 }));
    let mut pair = Pair::established();
    assert_unexpected(&pair.tell_edge(&TrustStored { digest: [0; 32] }));
}
