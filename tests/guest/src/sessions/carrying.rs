//! Every byte arrives, in its order, whoever seals and opens it.

use std::io::Write as _;

use rustix::net::sockopt::set_socket_send_buffer_size;
use rustls::crypto::ring::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use splice_core::engine::Engine;
use splice_core::loopback::Trust;
use splice_core::record::{CONTENT_MAX, Content};

use super::line::{Engines, Line, read_exactly, read_to_end, write_and_end};
use super::peer::{kernel_side, kernel_side_by};
use super::{assert_same, bytes};

/// Kernel to kernel, both ways at once, with each suite.
pub fn every_suite() {
    for suite in [
        TLS13_AES_128_GCM_SHA256,
        TLS13_AES_256_GCM_SHA384,
        TLS13_CHACHA20_POLY1305_SHA256,
    ] {
        let trust = Trust::new(Some(&[suite]));
        let line = Line::new(&trust, Engines::KERNEL);
        line.exchange(&bytes(3_000_001), &bytes(2_000_003));
    }
}

/// All sixteen ways in which the four directions of a session can be carried.
pub fn every_mixture() {
    let trust = Trust::new(None);
    let engine = |way: u8, bit: u8| match way >> bit & 1 {
        0 => Engine::Kernel,
        _ => Engine::InPlace,
    };
    for way in 0..16 {
        let engines = Engines {
            edge: (engine(way, 0), engine(way, 1)),
            connector: (engine(way, 2), engine(way, 3)),
        };
        let line = Line::new(&trust, engines);
        line.exchange(&bytes(700_001), &bytes(500_009));
    }
}

/// Records of every kind of size, with records that are no data between any two of them.
pub fn record_sizes() {
    let (side, application, mut peer) = kernel_side();
    let side = side.spawn();
    let expected = bytes(4_000_000);
    let sender = std::thread::spawn({
        let expected = expected.clone();
        move || {
            let mut left = &expected[..];
            let mut size = 1;
            while !left.is_empty() {
                let (content, rest) = left.split_at(size.min(left.len()));
                peer.send(Content::Data, content);
                left = rest;
                // Every residue comes by: 7919 is a prime that does not divide 16384.
                size = (size + 7919) % CONTENT_MAX + 1;
                match size % 5 {
                    0 => peer.send(Content::Handshake, TICKET),
                    1 => peer.alert(USER_CANCELED),
                    2 => peer.send(Content::Data, b""),
                    _ => {}
                }
            }
            peer.alert(0);
            peer
        }
    });
    assert_same(&read_to_end(&application), &expected);
    drop(application);
    let mut peer = sender.join().unwrap();
    assert_eq!(peer.receive_all(), (Vec::new(), 0, 0));
    assert_eq!(side.join().unwrap().in_order(), (0, 4_000_000));
}

/// Bytes that are written one by one, and each waited for.
pub fn single_bytes() {
    let line = Line::new(&Trust::new(None), Engines::KERNEL);
    for byte in 0..=255 {
        (&line.application).write_all(&[byte]).unwrap();
        assert_eq!(read_exactly(&line.user, 1), [byte]);
        (&line.user).write_all(&[byte]).unwrap();
        assert_eq!(read_exactly(&line.application, 1), [byte]);
    }
    write_and_end(&line.user, b"");
    write_and_end(&line.application, b"");
    assert_eq!(line.connector.join().unwrap().in_order(), (256, 256));
    assert_eq!(line.edge.join().unwrap().in_order(), (256, 256));
}

/// Without pipes bytes are copied, and none is lost.
pub fn without_pipes() {
    with_pipes_left(0);
}

/// The last pipe is not kept by whoever waits for its sink.
pub fn one_pipe() {
    with_pipes_left(1);
}

fn with_pipes_left(count: usize) {
    let (side, application, mut peer) = kernel_side();
    // Sinks that take little at a time.
    for socket in [&side.plain, &side.channel] {
        set_socket_send_buffer_size(socket, 4096).unwrap();
    }
    let side = side.with_pipes_left(count).spawn();
    let (up, down) = (bytes(1_500_001), bytes(1_200_007));
    std::thread::scope(|scope| {
        scope.spawn(|| write_and_end(&application, &up));
        scope.spawn(|| assert_same(&read_to_end(&application), &down));
        let mut sender = peer.socket.try_clone().unwrap();
        let mut records = Vec::new();
        for content in down.chunks(9999) {
            records.extend(peer.record(Content::Data, content));
            records.extend(peer.record(Content::Handshake, TICKET));
        }
        records.extend(peer.record(Content::Alert, &[1, 0]));
        scope.spawn(move || sender.write_all(&records).unwrap());
        let (data, alert, _) = peer.receive_all();
        assert_same(&data, &up);
        assert_eq!(alert, 0);
    });
    assert_eq!(side.join().unwrap().in_order(), (1_500_001, 1_200_007));
}

/// What goes first, and where a limit lies; what comes beyond is read and dropped.
pub fn first_bytes_and_limit() {
    let (mut side, application, mut peer) = kernel_side();
    side.outward.preload(bytes(65_536));
    side.outward.course().limit(100_000);
    let side = side.spawn();
    let writer = std::thread::spawn(move || {
        write_and_end(&application, &bytes(900_000));
        application
    });
    peer.alert(0);
    let (data, alert, _) = peer.receive_all();
    let expected = [bytes(65_536), bytes(100_000)].concat();
    assert_same(&data, &expected);
    assert_eq!(alert, 0);
    let mut ended = side.join().unwrap();
    assert_eq!(ended.side.outward.course().limit_left(), Some(0));
    assert_eq!(ended.in_order(), (165_536, 0));
    assert!(read_to_end(&writer.join().unwrap()).is_empty());
}

/// The count of records under the present keys is the peer's.
pub fn record_count() {
    let trust = Trust::new(Some(&[TLS13_AES_128_GCM_SHA256]));
    let (side, application, mut peer) = kernel_side_by(&trust);
    let first = side.outward.records();
    let side = side.spawn();
    let writer = std::thread::spawn(move || {
        write_and_end(&application, &bytes(3_000_000));
        application
    });
    peer.alert(0);
    let (data, _, records) = peer.receive_all();
    assert_same(&data, &bytes(3_000_000));
    let ended = side.join().unwrap();
    // The alert is a record, too.
    assert_eq!(ended.side.outward.records() - first, records + 1);
    drop(writer.join().unwrap());
    // Nine of ten are as large as can be, where the source keeps up.
    assert!(records < 3_000_000 / 4096, "{records} records");
}

/// NewSessionTicket (RFC 8446 section 4.6.1) as far as its header; nobody looks further.
const TICKET: &[u8] = &[4, 0, 0, 3, 1, 2, 3];
/// RFC 8446 section 6.1: means nothing by itself.
const USER_CANCELED: u8 = 90;
