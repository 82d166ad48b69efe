//! Trust anchors, which may change while an answer is under way.

use connector_proto::control::{ConnectorEvent, EdgeEvent};
use connector_proto::error::Error;
use connector_proto::limits::DER_MAX;
use connector_proto::message::{Message, Trust, TrustStored};

use crate::pair::{Pair, assert_not_ready, assert_unexpected};

#[test]
fn trust_anchors_are_answered_with_their_digest_and_the_newest_counts() {
    let mut pair = Pair::established();
    pair.edge.trust(b"old", b"").unwrap();
    pair.edge.trust(b"old", b"new").unwrap();
    pair.exchange();
    for other_ca in [&b""[..], b"new"] {
        let (ca, other_ca) = (b"old".to_vec(), other_ca.to_vec());
        assert_eq!(
            pair.connector.poll_event(),
            Some(ConnectorEvent::Trust { ca, other_ca })
        );
    }
    let digest = |ca, other_ca| Trust { ca, other_ca }.digest();
    assert_not_ready(&pair.connector.trust_stored(digest(b"old", b"")));
    let newest = digest(b"old", b"new");
    pair.connector.trust_stored(newest).unwrap();
    assert_not_ready(&pair.connector.trust_stored(newest));
    pair.exchange();
    assert_eq!(
        pair.edge.poll_event(),
        Some(EdgeEvent::TrustStored { digest: newest })
    );
    // The first was passed over, and is not awaited any more.
    let passed_over = digest(b"old", b"");
    assert_unexpected(&pair.tell_edge(&TrustStored {
        digest: passed_over,
    }));
}

#[test]
fn an_answer_that_crossed_newer_trust_anchors_is_taken_for_the_older_ones() {
    let mut pair = Pair::established();
    pair.edge.trust(b"a", b"").unwrap();
    pair.exchange();
    let first = Trust {
        ca: b"a",
        other_ca: b"",
    };
    pair.connector.trust_stored(first.digest()).unwrap();
    pair.edge.trust(b"a", b"b").unwrap();
    pair.exchange();
    let digest = first.digest();
    assert_eq!(
        pair.edge.poll_event(),
        Some(EdgeEvent::TrustStored { digest })
    );
    let second = Trust {
        ca: b"a",
        other_ca: b"b",
    };
    pair.connector.trust_stored(second.digest()).unwrap();
    pair.exchange();
    assert!(pair.edge.poll_event().is_some());
}

#[test]
fn trust_anchors_are_answered_for_once() {
    let mut pair = Pair::established();
    pair.edge.trust(b"ca", b"").unwrap();
    let trust = Trust {
        ca: b"ca",
        other_ca: b"",
    };
    let digest = trust.digest();
    pair.tell_edge(&TrustStored { digest }).unwrap();
    assert_unexpected(&pair.tell_edge(&TrustStored { digest }));
}

#[test]
fn a_connector_that_never_answers_for_trust_anchors_is_sent_a_bounded_number() {
    let mut pair = Pair::established();
    for number in 0..4 {
        pair.edge.trust(&[number], b"").unwrap();
    }
    assert_not_ready(&pair.edge.trust(b"fifth", b""));
    assert!(pair.edge.is_established());
}

#[test]
fn trust_anchors_of_an_impossible_size_are_refused() {
    let long = [1; DER_MAX + 1];
    for (ca, other_ca) in [
        (&b""[..], &b""[..]),
        (b"", b"b"),
        (&long, b""),
        (b"a", &long),
    ] {
        let mut pair = Pair::established();
        let result = pair.tell_connector(&Trust { ca, other_ca });
        assert_eq!(result, Err(Error::InvalidMessage { id: Trust::ID }));
        assert_eq!(pair.connector.poll_event(), None);
    }
    let mut pair = Pair::established();
    let ca = &long[..DER_MAX];
    pair.edge.trust(ca, ca).unwrap();
    pair.exchange();
    assert!(pair.connector.poll_event().is_some(), "two of the largest");
}
