//! Greetings of both ends in one process.

use super::*;
use crate::loopback::{Trust, sockets};

/// Lets both ends talk until neither has anything to say. What either takes at once is `piece` bytes.
fn settle(client: &mut Greeting, server: &mut Greeting, piece: usize) {
    while !client.to_send().is_empty() || !server.to_send().is_empty() {
        pass(client, server, piece);
        pass(server, client, piece);
    }
}

fn pass(from: &mut Greeting, to: &mut Greeting, piece: usize) {
    while !from.to_send().is_empty() {
        let len = from.to_send().len().min(to.wanted()).min(piece);
        let bytes = from.to_send()[..len].to_vec();
        to.handle_input(&bytes).unwrap();
        from.sent(len);
    }
}

fn greeted(piece: usize) -> (Greeting, Greeting) {
    let (mut client, mut server) = Trust::new(None).greetings();
    settle(&mut client, &mut server, piece);
    (client, server)
}

#[test]
fn the_handshake_succeeds_whatever_the_pieces_in_which_it_comes() {
    for piece in [1, 2, 5, 6, 700, usize::MAX] {
        let (client, server) = greeted(piece);
        assert!(!client.is_handshaking() && !server.is_handshaking());
        assert!(!client.is_resumed());
        assert_eq!(server.peer_certificates().map(<[_]>::len), Some(1));
    }
}

#[test]
fn messages_pass_both_ways_once_the_handshake_is_over() {
    let (mut client, mut server) = greeted(usize::MAX);
    server.write(b"ready").unwrap();
    client.write(b"attach").unwrap();
    settle(&mut client, &mut server, usize::MAX);
    assert_eq!(client.take_plaintext(), b"ready");
    assert_eq!(server.take_plaintext(), b"attach");
    assert_eq!(server.take_plaintext(), b"");
}

#[test]
fn nothing_is_written_during_the_handshake() {
    let (mut client, _) = Trust::new(None).greetings();
    assert!(matches!(
        client.write(b"early"),
        Err(GreetingError::Unfinished(_))
    ));
}

#[test]
fn after_the_handshake_the_end_that_accepts_wants_one_record_and_no_byte_more() {
    let (mut client, mut server) = greeted(usize::MAX);
    client.write(b"attach").unwrap();
    let record = client.to_send().len();
    client.write(b"the session's first bytes").unwrap();
    let sent = client.to_send().to_vec();
    let mut taken = 0;
    while server.take_plaintext().is_empty() {
        let wanted = server.wanted();
        server.handle_input(&sent[taken..taken + wanted]).unwrap();
        taken += wanted;
    }
    assert_eq!(taken, record);
}

#[test]
fn the_second_connection_is_resumed_and_still_knows_who_the_peer_is() {
    let trust = Trust::new(None);
    for is_resumed in [false, true] {
        let (mut client, mut server) = trust.greetings();
        settle(&mut client, &mut server, usize::MAX);
        assert_eq!(client.is_resumed(), is_resumed);
        assert_eq!(server.is_resumed(), is_resumed);
        assert_eq!(server.peer_certificates().map(<[_]>::len), Some(1));
    }
}

#[test]
fn a_greeting_with_something_left_is_no_channel() {
    let (mut client, server) = greeted(usize::MAX);
    client.write(b"not sent").unwrap();
    let (one, other) = sockets();
    assert!(client.into_channel(one).is_err());
    assert!(server.into_channel(other).is_ok());

    let (mut client, mut server) = greeted(usize::MAX);
    client.write(b"not taken").unwrap();
    settle(&mut client, &mut server, usize::MAX);
    let (one, other) = sockets();
    assert!(server.into_channel(other).is_err());
    assert!(client.into_channel(one).is_ok());

    let (client, _) = Trust::new(None).greetings();
    assert!(client.into_channel(sockets().0).is_err());
}

#[test]
fn keys_of_both_ends_belong_together_and_count_on() {
    let (dialled, accepted) = crate::loopback::pair();
    // The end that accepts has sent its tickets and a message.
    assert_eq!(accepted.outward.sequence, dialled.inward.sequence);
    assert!(accepted.outward.sequence >= 2);
    assert_eq!(dialled.outward.sequence, 0);
    assert_eq!(accepted.inward.sequence, 0);
}

#[test]
fn a_peer_that_does_not_stop_talking_is_stopped() {
    let (_, mut server) = Trust::new(None).greetings();
    // A handshake record whose length says that more is to come.
    let mut bytes = vec![22, 3, 1, 0x40, 0];
    bytes.resize(INPUT_MAX, 0);
    let _ = server.handle_input(&bytes);
    assert!(matches!(
        server.handle_input(&[0]),
        Err(GreetingError::TooMuch)
    ));
}

#[test]
fn a_peer_that_talks_nonsense_is_told_by_an_alert() {
    let (_, mut server) = Trust::new(None).greetings();
    let error = server.handle_input(b"GET / HTTP/1.1\r\n\r\n").unwrap_err();
    assert!(matches!(error, GreetingError::Tls(_)), "{error}");
    assert_eq!(server.to_send().first(), Some(&21), "an alert record");
}

#[test]
fn a_stranger_without_a_certificate_is_turned_away() {
    let (_, mut server) = Trust::new(None).greetings();
    let (mut client, _) = Trust::new(None).greetings();
    let hello = client.to_send().to_vec();
    server.handle_input(&hello).unwrap();
    // The client does not know who issued the other end's certificate, and says so.
    let answer = server.to_send().to_vec();
    assert!(client.handle_input(&answer).is_err());
}

proptest::proptest! {
    #[test]
    fn no_input_panics_and_something_is_always_wanted(data: Vec<u8>, flips: [u16; 2]) {
        let trust = Trust::new(None);
        let (_, mut server) = trust.greetings();
        assert!(server.wanted() > 0);
        let _ = server.handle_input(&data);
        assert!(server.wanted() > 0);
        // A real first flight with two bytes changed.
        let (client, mut server) = trust.greetings();
        let mut hello = client.to_send().to_vec();
        for flip in flips {
            let at = usize::from(flip) % hello.len();
            hello[at] ^= 0x55;
        }
        let _ = server.handle_input(&hello);
        assert!(server.wanted() > 0);
    }
}
