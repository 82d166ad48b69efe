//! Records that are not data, between those that are.

use std::io::{Read as _, Write as _};

use super::line::*;
use crate::channel::{ALERT_CONTINUES, ALERT_REFUSED};
use crate::engine::{Broken, Inward as _, OneWay as _, Outward as _, Progress};
use crate::loopback;
use crate::record::{self, Content, Keys};

#[test]
fn a_control_record_may_stand_between_any_two_data_records() {
    let (mut peer, mut receiving) = peer_and_receiving();
    let bytes = noise(40_000);
    let ticket = [&[4, 0, 0, 40][..], &[7; 40]].concat();
    for (number, content) in bytes.chunks(401).enumerate() {
        peer.send(Content::Data, content);
        match number % 4 {
            0 => peer.send(Content::Handshake, &ticket),
            1 => peer.update_keys(number % 8 == 1),
            2 => peer.send(Content::Alert, &[1, 90]),
            _ => peer.send(Content::Data, b""),
        }
    }
    assert!(receiving.hear(bytes.len()) == bytes);
}

#[test]
fn a_flood_of_records_without_data_is_cut_and_a_few_are_not() {
    type Say = fn(&mut Peer);
    let kinds: [(&str, Say); 3] = [
        ("KeyUpdates", |peer| peer.update_keys(true)),
        ("tickets", |peer| {
            peer.send(Content::Handshake, &[4, 0, 0, 0])
        }),
        ("empty records", |peer| peer.send(Content::Data, b"")),
    ];
    for (kind, say) in kinds {
        let (mut peer, mut receiving) = peer_and_receiving();
        for _ in 0..32 {
            say(&mut peer);
        }
        peer.send(Content::Data, b"a");
        assert_eq!(receiving.hear(1), b"a", "{kind}");
        for _ in 0..33 {
            say(&mut peer);
        }
        let broken = receiving.run();
        assert!(matches!(broken, Err(Broken::Flood)), "{kind}: {broken:?}");
    }
}

#[test]
fn a_key_update_that_asks_for_one_is_answered_before_the_next_data() {
    let (dialled, accepted) = loopback::pair();
    let mut rekey = accepted.rekey;
    let mut sending = Sending::new(accepted.socket, accepted.outward);
    let mut peer = dialled.socket;
    peer.set_nonblocking(false).unwrap();
    let mut opening = Keys::new(&dialled.inward).unwrap();

    sending.user.write_all(b"behind it").unwrap();
    sending.outward.update_keys(&mut rekey).unwrap();
    // Asked again before it was sent: one answer serves both.
    sending.outward.update_keys(&mut rekey).unwrap();
    assert!(sending.outward.is_holding());
    sending.turn(BUDGET).unwrap();
    assert_eq!(
        receive(&mut peer, &mut opening),
        (Content::Handshake, vec![24, 0, 0, 1, 0])
    );
    let mut peers_rekey = dialled.rekey;
    let mut opening = Keys::new(&peers_rekey.next_inward().unwrap()).unwrap();
    assert_eq!(
        receive(&mut peer, &mut opening),
        (Content::Data, b"behind it".to_vec())
    );
    assert_eq!(sending.outward.records(), 1);
}

#[test]
fn a_request_for_new_keys_is_told_once() {
    let (mut peer, mut receiving) = peer_and_receiving();
    peer.update_keys(false);
    peer.send(Content::Data, b"a");
    receiving.hear(1);
    assert!(!receiving.inward.takes_key_request());
    peer.update_keys(true);
    peer.send(Content::Data, b"b");
    receiving.hear(1);
    assert!(receiving.inward.takes_key_request());
    assert!(!receiving.inward.takes_key_request());
}

#[test]
fn alerts_are_told_for_what_they_are() {
    let told = |description| {
        let (mut peer, mut receiving) = peer_and_receiving();
        peer.send(Content::Alert, &[2, description]);
        receiving.run()
    };
    assert!(matches!(told(0), Ok(Progress::Ended)));
    assert!(matches!(told(ALERT_CONTINUES), Ok(Progress::Continues)));
    assert!(matches!(told(ALERT_REFUSED), Err(Broken::Refused)));
    assert!(matches!(told(80), Err(Broken::Alert(80))));
}

#[test]
fn a_continuation_leaves_the_application_s_connection_open() {
    let (mut peer, mut receiving) = peer_and_receiving();
    peer.send(Content::Data, b"part one");
    peer.send(Content::Alert, &[1, ALERT_CONTINUES]);
    assert_eq!(receiving.run().unwrap(), Progress::Continues);
    let mut heard = Vec::new();
    while heard.len() < 8 {
        assert!(!take(&receiving.application, &mut heard));
    }
    assert!(!take(&receiving.application, &mut heard));
    assert_eq!(heard, b"part one");
}

#[test]
fn other_handshake_messages_are_refused() {
    let (mut peer, mut receiving) = peer_and_receiving();
    peer.send(Content::Handshake, &[1, 0, 0, 0]);
    let broken = receiving.run();
    assert!(matches!(broken, Err(Broken::BadRecord(_))), "{broken:?}");
}

fn receive(socket: &mut std::net::TcpStream, keys: &mut Keys) -> (Content, Vec<u8>) {
    let mut bytes = vec![0; 5];
    socket.read_exact(&mut bytes).unwrap();
    bytes.resize(record::length(&bytes).unwrap().unwrap(), 0);
    socket.read_exact(&mut bytes[5..]).unwrap();
    let opened = keys.open(&mut bytes, 0).unwrap();
    bytes.truncate(opened.length);
    (opened.content, bytes)
}
