//! How directions end and break.

use std::io::Write as _;
use std::net::Shutdown;

use super::line::*;
use crate::engine::{Broken, OneWay as _, Outward as _, Progress};
use crate::loopback;
use crate::record::Content;
use crate::session::reset_on_close;

#[test]
fn either_side_may_end_first_and_the_other_direction_goes_on() {
    for is_dialler_first in [true, false] {
        let (there, back) = both_directions();
        let (mut first, mut second) = match is_dialler_first {
            true => (there, back),
            false => (back, there),
        };
        first.0.user.write_all(b"last words").unwrap();
        first.0.user.shutdown(Shutdown::Write).unwrap();
        assert_eq!(end(&mut first), b"last words");
        for _ in 0..20 {
            second.0.user.write_all(b"still here").unwrap();
            second.0.turn(BUDGET).unwrap();
            assert_eq!(second.1.hear(10), b"still here");
        }
        second.0.user.shutdown(Shutdown::Write).unwrap();
        assert_eq!(end(&mut second), b"");
    }
}

#[test]
fn an_end_is_told_again_and_again_and_nothing_more_is_sent() {
    let (mut sending, mut receiving) = sending_and_receiving();
    sending.user.shutdown(Shutdown::Write).unwrap();
    while sending.turn(BUDGET).unwrap() != Progress::Ended {}
    let records = sending.outward.records();
    sending.outward.course().leave();
    assert_eq!(sending.turn(BUDGET).unwrap(), Progress::Ended);
    assert_eq!(sending.outward.records(), records);
    assert_eq!(receiving.run().unwrap(), Progress::Ended);
    assert_eq!(receiving.run().unwrap(), Progress::Ended);
}

#[test]
fn an_end_without_close_notify_is_a_truncation_wherever_it_comes() {
    let (mut whole, _) = peer_and_receiving();
    let record = whole.seal(Content::Data, b"not everything");
    for sent in [0, 3, 5, record.len() - 1, record.len()] {
        let (mut peer, mut receiving) = peer_and_receiving();
        let record = peer.seal(Content::Data, b"not everything");
        peer.socket.write_all(&record[..sent]).unwrap();
        drop(peer);
        let broken = receiving.run();
        assert!(
            matches!(broken, Err(Broken::Truncated)),
            "{sent}: {broken:?}"
        );
    }
}

#[test]
fn what_comes_after_close_notify_is_of_no_meaning() {
    let (mut peer, mut receiving) = peer_and_receiving();
    let data = peer.seal(Content::Data, b"all");
    let end = peer.seal(Content::Alert, &[1, 0]);
    peer.socket
        .write_all(&[&data[..], &end, b"rubbish"].concat())
        .unwrap();
    assert_eq!(receiving.run().unwrap(), Progress::Ended);
    let mut heard = Vec::new();
    while !take(&receiving.application, &mut heard) {}
    assert_eq!(heard, b"all");
}

#[test]
fn an_end_waits_until_everything_before_it_is_delivered() {
    let (mut peer, mut receiving) = peer_and_receiving();
    receiving.narrow();
    let bytes = noise(1 << 20);
    let expected = bytes.clone();
    let sender = std::thread::spawn(move || {
        for content in bytes.chunks(16_000) {
            peer.send(Content::Data, content);
        }
        peer.send(Content::Alert, &[1, 0]);
        peer
    });
    let mut heard = Vec::new();
    loop {
        let progress = receiving.turn(BUDGET).unwrap();
        if progress == Progress::Ended {
            assert_eq!(receiving.carried, 1 << 20);
            break;
        }
        take(&receiving.application, &mut heard);
    }
    while !take(&receiving.application, &mut heard) {}
    assert!(heard == expected);
    sender.join().unwrap();
}

#[test]
fn a_reset_of_either_socket_is_told_with_its_side() {
    let (mut sending, _receiving) = sending_and_receiving();
    reset_on_close(&sending.user);
    sending.user = loopback::sockets().0;
    let broken = until_broken(|| sending.turn(BUDGET));
    assert!(matches!(broken, Broken::Plain(_)), "{broken:?}");

    let (peer, mut receiving) = peer_and_receiving();
    reset_on_close(&peer.socket);
    drop(peer);
    let broken = until_broken(|| receiving.turn(BUDGET));
    assert!(matches!(broken, Broken::Channel(_)), "{broken:?}");

    let (mut peer, mut receiving) = peer_and_receiving();
    reset_on_close(&receiving.application);
    receiving.application = loopback::sockets().0;
    let broken = until_broken(|| {
        peer.send(Content::Data, b"anyone?");
        receiving.turn(BUDGET)
    });
    assert!(matches!(broken, Broken::Plain(_)), "{broken:?}");
}

#[test]
fn a_record_that_was_tampered_with_breaks_the_session_and_delivers_nothing_of_it() {
    let (mut peer, mut receiving) = peer_and_receiving();
    let mut record = peer.seal(Content::Data, b"pay 10");
    record[9] ^= 1;
    peer.socket.write_all(&record).unwrap();
    let broken = receiving.run();
    assert!(matches!(broken, Err(Broken::BadRecord(_))), "{broken:?}");
    assert_eq!(receiving.carried, 0);
    assert!(!receiving.inward.is_holding());
}

#[test]
fn plain_text_in_place_of_a_record_is_refused() {
    let (mut peer, mut receiving) = peer_and_receiving();
    peer.socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let broken = receiving.run();
    assert!(matches!(broken, Err(Broken::BadRecord(_))), "{broken:?}");
}

/// Takes turns until one fails.
fn until_broken(mut turn: impl FnMut() -> Result<Progress, Broken>) -> Broken {
    loop {
        if let Err(broken) = turn() {
            return broken;
        }
    }
}

/// Runs a direction to its end and returns what arrived.
fn end((sending, receiving): &mut (Sending, Receiving)) -> Vec<u8> {
    while sending.turn(BUDGET).unwrap() != Progress::Ended {}
    assert_eq!(receiving.run().unwrap(), Progress::Ended);
    let mut heard = Vec::new();
    while !take(&receiving.application, &mut heard) {}
    heard
}
