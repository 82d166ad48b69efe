//! Whether the connector that is connected still is, when somebody else says that he is it.

use connector_proto::control::{ConnectorEvent, EdgeEvent};
use connector_proto::error::Error;
use connector_proto::limits::INCUMBENT_MAX;
use connector_proto::message::{CloseCode, Ping};
use connector_proto::time::Instant;

use crate::pair::{Pair, SECOND, START, VALUE, assert_not_ready};

#[test]
fn a_connector_that_is_there_answers_whoever_asks_for_it() {
    let mut pair = Pair::established();
    pair.pass(7 * SECOND);
    pair.edge.ask_alive(pair.now, INCUMBENT_MAX).unwrap();
    pair.pass(SECOND / 10);
    assert_eq!(pair.edge.poll_event(), Some(EdgeEvent::Alive));
    // Once answered, nothing is due because of it.
    pair.pass(INCUMBENT_MAX);
    assert_eq!(pair.edge.poll_event(), None);
    assert!(pair.edge.is_established());
}

#[test]
fn a_connector_that_is_silent_for_three_seconds_loses_its_place() {
    let mut pair = Pair::established();
    pair.pass(7 * SECOND);
    let asked = pair.now;
    pair.edge.ask_alive(asked, INCUMBENT_MAX).unwrap();
    // What it said before it was asked, and only arrives, is not the answer.
    pair.tell_edge(&Ping { nonce: 1 }).unwrap();
    assert_eq!(pair.edge.poll_event(), None);
    let mut error = None;
    while error.is_none() {
        let due = pair.edge.poll_timeout().unwrap();
        assert!(due <= asked + INCUMBENT_MAX);
        error = pair.edge.handle_timeout(due).err();
    }
    assert_eq!(error, Some(Error::Silent { waited_s: 3 }));
    pair.exchange();
    let code = CloseCode::Replaced;
    assert_eq!(
        pair.connector.poll_event(),
        Some(ConnectorEvent::Closed { code })
    );
}

#[test]
fn an_answer_to_a_ping_from_before_the_question_does_not_count() {
    let mut pair = Pair::established();
    let asked = loop {
        let due = pair.edge.poll_timeout().unwrap();
        pair.edge.handle_timeout(due).unwrap();
        if let Some(ping) = pair.edge.poll_transmit() {
            // The ping arrives, and its answer is under way when somebody asks.
            pair.now = due;
            pair.connector.handle_input(due, &ping).unwrap();
            break due + SECOND;
        }
    };
    pair.edge.ask_alive(asked, INCUMBENT_MAX).unwrap();
    let old_answer = pair.connector.poll_transmit().unwrap();
    pair.edge.handle_input(asked, &old_answer).unwrap();
    assert_eq!(pair.edge.poll_event(), None);
    pair.now = asked;
    pair.pass(SECOND);
    assert_eq!(pair.edge.poll_event(), Some(EdgeEvent::Alive));
}

#[test]
fn many_who_ask_share_one_question_and_cannot_keep_its_answer_from_counting() {
    let mut pair = Pair::established();
    // Answers take 200 ms, and somebody asks every 100 ms.
    let mut alive = 0;
    let mut answers: Vec<(Instant, Vec<u8>)> = Vec::new();
    for _ in 0..100 {
        pair.now = pair.now + SECOND / 10;
        pair.edge.ask_alive(pair.now, INCUMBENT_MAX).unwrap();
        pair.edge.handle_timeout(pair.now).unwrap();
        while let Some(ping) = pair.edge.poll_transmit() {
            pair.connector.handle_input(pair.now, &ping).unwrap();
        }
        while let Some(pong) = pair.connector.poll_transmit() {
            answers.push((pair.now + SECOND / 5, pong));
        }
        answers.retain(|(at, pong)| {
            if *at > pair.now {
                return true;
            }
            pair.edge.handle_input(pair.now, pong).unwrap();
            false
        });
        while pair.edge.poll_event() == Some(EdgeEvent::Alive) {
            alive += 1;
        }
    }
    assert!((30..=50).contains(&alive), "{alive} answers in 10 s");
}

#[test]
fn nobody_is_asked_for_before_the_welcome_or_after_the_end() {
    let mut pair = Pair::greeted();
    assert_not_ready(&pair.edge.ask_alive(START, INCUMBENT_MAX));
    let mut pair = Pair::established();
    pair.edge.close(CloseCode::GoingAway);
    assert_not_ready(&pair.edge.ask_alive(START, INCUMBENT_MAX));
    assert_not_ready(&pair.edge.ratchet(1, VALUE));
    assert_not_ready(&pair.edge.trust(b"ca", b""));
}
