//! What a control channel says about identity: who the machine is taken for, trust anchors, ratchet
//! values, and whether the connector that is there still is.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on says where")]

mod incumbent;
mod pair;
mod ratchet;
mod recognition;
mod trust;

use std::time::Duration;

use connector_proto::control::{ConnectorEvent, EdgeEvent};
use connector_proto::limits::INCUMBENT_MAX;
use connector_proto::message::Trust;
use proptest::prelude::*;

use crate::pair::{Pair, VALUE};

proptest! {
    /// Whatever drivers do in whatever order, the two ends agree: what an honest pair says to each
    /// other is never an error, and no session is offered before a value was stored.
    #[test]
    fn honest_ends_never_refuse_each_other_in_any_order_of_acts(
        acts in proptest::collection::vec((0u8..8, 1u64..2_000), 0..80)
    ) {
        let mut pair = Pair::established();
        let (mut step, mut stored, mut asked) = (0, 0, Vec::new());
        for (act, millis) in acts {
            match act {
                0 if pair.edge.ratchet(step + 1, VALUE).is_ok() => step += 1,
                1 => {
                    for step in asked.drain(..) {
                        pair.connector.ratchet_stored(step).unwrap();
                    }
                }
                2 => { let _ = pair.edge.trust(&millis.to_be_bytes(), b""); }
                3 => { let _ = pair.edge.ask_alive(pair.now, INCUMBENT_MAX); }
                4 => prop_assert_eq!(pair.edge.open_session(b"grant").is_ok(), stored > 0),
                5 => pair.exchange(),
                _ => pair.pass(Duration::from_millis(millis)),
            }
            while let Some(event) = pair.connector.poll_event() {
                match event {
                    ConnectorEvent::Ratchet { step, .. } => asked.push(step),
                    ConnectorEvent::Trust { ca, other_ca } => {
                        let trust = Trust { ca: &ca, other_ca: &other_ca };
                        // Superseded ones need no answer.
                        let _ = pair.connector.trust_stored(trust.digest());
                    }
                    _ => {}
                }
            }
            while let Some(event) = pair.edge.poll_event() {
                if let EdgeEvent::RatchetStored { step: now } = event {
                    prop_assert!(stored < now && now <= step);
                    stored = now;
                }
            }
            prop_assert!(pair.edge.is_established() && pair.connector.is_established());
        }
    }
}
