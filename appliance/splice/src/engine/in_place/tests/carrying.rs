//! Bytes.

use std::io::Write as _;

use proptest::prelude::*;

use super::line::*;
use crate::buffers::SLOTS;
use crate::engine::{Broken, OneWay as _, Outward as _, Progress};
use crate::loopback;
use crate::record::{CONTENT_MAX, Content, RECORDS_LIMIT};

#[test]
fn records_of_every_size_are_delivered() {
    let (mut peer, mut receiving) = peer_and_receiving();
    let bytes = noise(CONTENT_MAX);
    let small = 1..=260;
    let middle = (260..CONTENT_MAX - 40).step_by(97);
    let large = CONTENT_MAX - 40..=CONTENT_MAX;
    for size in small.chain(middle).chain(large) {
        peer.send(Content::Data, &bytes[..size]);
        assert!(receiving.hear(size) == bytes[..size], "{size}");
    }
}

#[test]
fn bytes_written_one_by_one_are_delivered_in_order() {
    let (mut sending, mut receiving) = sending_and_receiving();
    let bytes = noise(500);
    let mut heard = Vec::new();
    for byte in &bytes {
        sending.user.write_all(&[*byte]).unwrap();
        sending.turn(BUDGET).unwrap();
        heard.extend(receiving.hear(1));
    }
    assert_eq!(heard, bytes);
    assert_eq!(sending.outward.records(), receiving.inward.records());
}

#[test]
fn what_fills_many_slots_goes_out_in_full_records() {
    let (mut sending, mut receiving) = sending_and_receiving();
    let bytes = noise(5 * CONTENT_MAX + 1);
    let before = sending.outward.records();
    sending.user.set_nonblocking(false).unwrap();
    sending.user.write_all(&bytes).unwrap();
    sending.turn(BUDGET).unwrap();
    assert!(receiving.hear(bytes.len()) == bytes);
    assert_eq!(sending.outward.records() - before, 6);
    assert_eq!(sending.carried, bytes.len() as u64);
    assert_eq!(receiving.carried, bytes.len() as u64);
}

#[test]
fn a_sink_that_takes_little_at_a_time_loses_nothing_and_nobody_reads_ahead_of_it() {
    let (mut sending, mut receiving) = sending_and_receiving();
    sending.narrow();
    receiving.narrow();
    let bytes = noise(2 << 20);
    let (mut left, mut heard) = (&bytes[..], Vec::new());
    let (mut sending_held, mut receiving_held) = (false, false);
    for round in 0_u32.. {
        give(&sending.user, &mut left);
        sending.turn(BUDGET).unwrap();
        receiving.turn(BUDGET).unwrap();
        sending_held |= sending.outward.is_holding();
        receiving_held |= receiving.inward.is_holding();
        // For a while nobody reads.
        if round >= 200 {
            take(&receiving.application, &mut heard);
        }
        if heard.len() == bytes.len() {
            break;
        }
    }
    assert!(heard == bytes);
    assert!(sending_held && receiving_held);
    assert!(!sending.outward.is_holding() && !receiving.inward.is_holding());
    assert_eq!((sending.carried, receiving.carried), (2 << 20, 2 << 20));
}

#[test]
fn a_turn_stops_when_its_budget_is_spent() {
    let (mut sending, mut receiving) = sending_and_receiving();
    let mut all = &noise(SLOTS * CONTENT_MAX)[..];
    while sending.carried < 3 * CONTENT_MAX as u64 {
        give(&sending.user, &mut all);
        let before = sending.carried;
        sending.turn(CONTENT_MAX).unwrap();
        assert!(sending.carried - before <= CONTENT_MAX as u64);
    }
    while receiving.carried < 3 * CONTENT_MAX as u64 {
        let before = receiving.carried;
        receiving.turn(CONTENT_MAX).unwrap();
        assert!(receiving.carried - before <= 2 * CONTENT_MAX as u64);
    }
    assert_eq!(sending.turn(0).unwrap(), Progress::Spent);
    assert_eq!(receiving.turn(0).unwrap(), Progress::Spent);
}

#[test]
fn preloaded_bytes_go_before_those_that_are_read() {
    let (mut sending, mut receiving) = sending_and_receiving();
    let first = noise(60_000);
    sending.outward.preload(first.clone());
    assert!(sending.outward.is_holding());
    sending.user.write_all(b"then").unwrap();
    sending.turn(BUDGET).unwrap();
    assert!(receiving.hear(first.len() + 4) == [&first[..], b"then"].concat());
    assert_eq!(sending.carried, first.len() as u64 + 4);
}

#[test]
fn bytes_beyond_the_limit_are_dropped_and_the_end_behind_them_is_the_end() {
    let (mut sending, mut receiving) = sending_and_receiving();
    sending.outward.course().limit(5);
    sending.user.write_all(b"abc").unwrap();
    sending.turn(BUDGET).unwrap();
    assert_eq!(sending.outward.course().limit_left(), Some(2));
    sending.user.write_all(b"defgh").unwrap();
    sending.turn(BUDGET).unwrap();
    sending.user.write_all(b"ijk").unwrap();
    sending.turn(BUDGET).unwrap();
    assert_eq!(sending.outward.course().limit_left(), Some(0));
    assert_eq!(sending.carried, 5);
    sending.user.shutdown(std::net::Shutdown::Write).unwrap();
    while sending.turn(BUDGET).unwrap() != Progress::Ended {}
    assert_eq!(receiving.run().unwrap(), Progress::Ended);
    let mut heard = Vec::new();
    while !take(&receiving.application, &mut heard) {}
    assert_eq!(heard, b"abcde");
}

#[test]
fn an_idle_direction_holds_no_memory() {
    let (mut sending, mut receiving) = sending_and_receiving();
    sending.user.write_all(b"ping").unwrap();
    sending.turn(BUDGET).unwrap();
    assert_eq!(receiving.hear(4), b"ping");
    let held = format!("{:?} {:?}", sending.outward, receiving.inward);
    assert!(
        held.contains("unsent: None") && held.contains("rest: None"),
        "{held}"
    );
    assert!(!held.contains("expanded"), "{held}");
    assert!(size_of_val(&sending.outward) <= 192);
    assert!(size_of_val(&receiving.inward) <= 160);
}

#[test]
fn keys_are_never_used_beyond_their_limit() {
    let (dialled, _accepted) = loopback::pair();
    let mut keys = dialled.outward;
    keys.sequence = RECORDS_LIMIT - 1;
    let mut sending = Sending::new(dialled.socket, keys);
    sending.user.write_all(b"last").unwrap();
    sending.turn(BUDGET).unwrap();
    sending.user.write_all(b"one more").unwrap();
    let broken = sending.turn(BUDGET);
    assert!(matches!(broken, Err(Broken::KeysSpent)), "{broken:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn random_pieces_and_turns_lose_and_reorder_nothing(
        pieces in proptest::collection::vec((1_usize..90_000, 1_usize..300_000, any::<u8>()), 1..30),
    ) {
        let (mut sending, mut receiving) = sending_and_receiving();
        let bytes = noise(pieces.iter().map(|(length, ..)| length).sum());
        let (mut rest, mut heard) = (&bytes[..], Vec::new());
        for (length, budget, who) in pieces {
            let (mut piece, others) = rest.split_at(length);
            rest = others;
            while !piece.is_empty() {
                give(&sending.user, &mut piece);
                if who & 1 == 0 || !piece.is_empty() {
                    sending.turn(budget).unwrap();
                }
                if who & 2 == 0 || !piece.is_empty() {
                    receiving.turn(budget).unwrap();
                }
                if who & 4 == 0 || !piece.is_empty() {
                    take(&receiving.application, &mut heard);
                }
            }
        }
        sending.outward.course().leave();
        let (mut left, mut delivered) = (None, None);
        while (left, delivered) != (Some(Progress::Continues), Some(Progress::Continues)) {
            left = Some(sending.turn(BUDGET).unwrap());
            delivered = Some(receiving.turn(BUDGET).unwrap());
            take(&receiving.application, &mut heard);
        }
        // What the user had written when it left is with the plain socket, for the successor.
        prop_assert!(heard.len() as u64 <= sending.carried);
        while heard.len() as u64 != sending.carried {
            take(&receiving.application, &mut heard);
        }
        prop_assert!(heard == bytes[..heard.len()]);
    }
}

#[test]
fn leaving_sends_what_is_held_then_the_alert_and_reads_no_further() {
    let (mut sending, mut receiving) = sending_and_receiving();
    sending.outward.preload(b"held".to_vec());
    sending.user.write_all(b"for the successor").unwrap();
    sending.outward.course().leave();
    assert!(sending.outward.is_holding());
    assert_eq!(sending.turn(BUDGET).unwrap(), Progress::Continues);
    assert_eq!(sending.turn(BUDGET).unwrap(), Progress::Continues);
    assert_eq!(receiving.run().unwrap(), Progress::Continues);
    let mut heard = Vec::new();
    while heard.len() < 4 {
        take(&receiving.application, &mut heard);
    }
    assert_eq!(heard, b"held");
    // The application's connection is still open.
    assert!(!take(&receiving.application, &mut heard));
}
