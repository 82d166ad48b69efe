//! Who the machine is taken for.

use connector_proto::control::{Channel, ConnectorEvent};
use connector_proto::error::Error;
use connector_proto::limits::GREETING_MAX;
use connector_proto::message::{CloseCode, Recognised, Verdict};

use crate::pair::{Pair, SECOND, START, WELCOME, assert_not_ready, assert_unexpected};

#[test]
fn a_machine_that_is_taken_in_all_the_same_learns_its_verdict_before_the_welcome() {
    let mut pair = Pair::greeted();
    pair.edge.recognise(Verdict::Reverted, true).unwrap();
    pair.edge.welcome(&WELCOME).unwrap();
    pair.exchange();
    let verdict = Verdict::Reverted;
    let admitted = true;
    assert_eq!(
        pair.connector.poll_event(),
        Some(ConnectorEvent::Recognised { verdict, admitted })
    );
    let welcomed = pair.connector.poll_event();
    assert!(matches!(welcomed, Some(ConnectorEvent::Welcomed { .. })));
    assert!(pair.connector.is_established());
}

#[test]
fn a_machine_that_is_held_learns_why_and_is_not_welcomed() {
    let mut pair = Pair::greeted();
    pair.edge.recognise(Verdict::Copy, false).unwrap();
    assert_not_ready(&pair.edge.welcome(&WELCOME));
    pair.edge.close(CloseCode::Held);
    pair.exchange();
    let verdict = Verdict::Copy;
    let admitted = false;
    assert_eq!(
        pair.connector.poll_event(),
        Some(ConnectorEvent::Recognised { verdict, admitted })
    );
    let code = CloseCode::Held;
    assert_eq!(
        pair.connector.poll_event(),
        Some(ConnectorEvent::Closed { code })
    );
    assert_eq!(pair.connector.poll_timeout(), None);

    // An edge that welcomes it after all breaks the protocol.
    let mut pair = Pair::greeted();
    let admitted = false;
    pair.tell_connector(&Recognised { verdict, admitted })
        .unwrap();
    assert_unexpected(&pair.tell_connector(&WELCOME));
    assert!(!pair.connector.is_established());
}

#[test]
fn a_verdict_is_said_once_and_only_between_hello_and_welcome() {
    let recognised = Recognised {
        verdict: Verdict::MovedNic,
        admitted: true,
    };
    let mut pair = Pair::greeted();
    pair.tell_connector(&recognised).unwrap();
    assert_unexpected(&pair.tell_connector(&recognised));
    let mut pair = Pair::established();
    assert_unexpected(&pair.tell_connector(&recognised));
    let mut pair = Pair::established();
    assert_not_ready(&pair.edge.recognise(Verdict::MovedNic, true));
    assert!(pair.edge.is_established(), "nothing was sent");
    let mut edge = Channel::edge(START, 2);
    assert_not_ready(&edge.recognise(Verdict::MovedNic, true));
    assert_not_ready(&edge.welcome(&WELCOME));
    let mut pair = Pair::greeted();
    pair.edge.recognise(Verdict::MovedNic, true).unwrap();
    assert_not_ready(&pair.edge.recognise(Verdict::Copy, false));
}

#[test]
fn a_verdict_gives_the_greeting_no_more_time() {
    let mut pair = Pair::greeted();
    let recognised = Recognised {
        verdict: Verdict::MovedNic,
        admitted: true,
    };
    pair.now = START + GREETING_MAX - SECOND;
    pair.tell_connector(&recognised).unwrap();
    let late = pair.connector.handle_timeout(START + GREETING_MAX);
    assert!(matches!(late, Err(Error::TimedOut { .. })));
}
