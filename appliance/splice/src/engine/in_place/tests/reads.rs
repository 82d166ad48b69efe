//! How many calls a direction reads with, and that none of those it saves was needed.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::SendFlags;

use super::calls;
use super::line::*;
use crate::engine::Progress;
use crate::record::{CONTENT_MAX, Content};

#[test]
fn a_message_is_read_and_received_with_one_call_each() {
    let (mut sending, mut receiving) = sending_and_receiving();
    for length in [1, 100, CONTENT_MAX, CONTENT_MAX + 1, 40_000] {
        let bytes = noise(length);
        sending.user.write_all(&bytes).unwrap();
        await_bytes(&sending.plain, length);
        calls();
        assert_eq!(sending.turn(BUDGET).unwrap(), Progress::Waiting);
        assert_eq!(calls(), 1, "{length} bytes");
        let records = length.div_ceil(CONTENT_MAX);
        await_bytes(&receiving.channel, length + 22 * records);
        assert_eq!(receiving.turn(BUDGET).unwrap(), Progress::Waiting);
        assert_eq!(calls(), 1, "{length} bytes");
        assert!(receiving.hear(length) == bytes);
    }
}

#[test]
fn a_read_that_the_budget_cuts_short_has_not_emptied_the_socket() {
    let (mut sending, mut receiving) = sending_and_receiving();
    let bytes = noise(3 * CONTENT_MAX + 5);
    sending.user.write_all(&bytes).unwrap();
    await_bytes(&sending.plain, bytes.len());
    for _ in 0..3 {
        assert_eq!(sending.turn(CONTENT_MAX).unwrap(), Progress::Spent);
    }
    assert_eq!(sending.turn(CONTENT_MAX).unwrap(), Progress::Waiting);
    await_bytes(&receiving.channel, bytes.len() + 4 * 22);
    let mut turns = 0;
    while receiving.turn(CONTENT_MAX).unwrap() == Progress::Spent {
        turns += 1;
    }
    assert_eq!(receiving.carried, bytes.len() as u64);
    assert!((2..=3).contains(&turns), "{turns}");
}

#[test]
fn an_end_right_behind_the_bytes_is_found_in_the_same_turn() {
    let (mut sending, _receiving) = sending_and_receiving();
    sending.user.write_all(b"last words").unwrap();
    sending.user.shutdown(Shutdown::Write).unwrap();
    await_end(&sending.plain);
    calls();
    assert_eq!(sending.turn(BUDGET).unwrap(), Progress::Ended);
    assert_eq!((calls(), sending.carried), (2, 10));
}

#[test]
fn bytes_behind_urgent_data_are_read_in_the_same_turn() {
    let (mut sending, mut receiving) = sending_and_receiving();
    sending.user.write_all(b"before").unwrap();
    rustix::net::send(&sending.user, b"!", SendFlags::OOB).unwrap();
    sending.user.write_all(b"behind").unwrap();
    sending.user.shutdown(Shutdown::Write).unwrap();
    await_end(&sending.plain);
    assert_eq!(sending.turn(BUDGET).unwrap(), Progress::Ended);
    // The byte that is out of band is not the stream's.
    assert_eq!(receiving.hear(12), b"beforebehind");
}

#[test]
fn a_socket_that_does_not_tell_is_read_until_it_is_empty() {
    let (mut sending, mut receiving) = sending_and_receiving();
    let (mut user, plain) = crate::loopback::sockets();
    plain.set_nonblocking(true).unwrap();
    (sending.user, sending.plain) = (user.try_clone().unwrap(), plain);
    user.write_all(b"ping").unwrap();
    await_bytes(&sending.plain, 4);
    calls();
    assert_eq!(sending.turn(BUDGET).unwrap(), Progress::Waiting);
    assert_eq!((calls(), receiving.hear(4)), (2, b"ping".to_vec()));
}

#[test]
fn a_part_of_a_record_is_received_with_one_call() {
    let (mut peer, mut receiving) = peer_and_receiving();
    let record = peer.seal(Content::Data, b"in two pieces");
    let (head, tail) = record.split_at(9);
    for (piece, carried) in [(head, 0), (tail, 13)] {
        peer.socket.write_all(piece).unwrap();
        await_bytes(&receiving.channel, piece.len());
        calls();
        assert_eq!(receiving.turn(BUDGET).unwrap(), Progress::Waiting);
        assert_eq!((calls(), receiving.carried), (1, carried));
    }
}

fn await_bytes(socket: &TcpStream, count: usize) {
    let mut buffer = vec![0; count];
    while !matches!(socket.peek(&mut buffer), Ok(there) if there == count) {
        await_one(socket, PollFlags::IN);
    }
}

fn await_end(socket: &TcpStream) {
    await_one(socket, PollFlags::RDHUP);
}

fn await_one(socket: &TcpStream, what: PollFlags) {
    poll(&mut [PollFd::new(socket, what)], None).unwrap();
}
