//! Against stock rustls: its own record layer at the other end, in memory, record boundaries at random.

use std::io::{Read as _, Write as _};

use proptest::prelude::*;
use rustls::crypto::ring::cipher_suite::{
    TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConnection};

use super::{CONTENT_MAX, Content, HEADER, Keys, OVERHEAD, length};
use crate::channel::{Channel, Rekey};
use crate::greeting::Greeting;
use crate::loopback::{self, NAME, Trust};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn rustls_reads_what_we_seal_and_we_open_what_it_seals(
        suite in 0..3_usize,
        do_we_dial in any::<bool>(),
        fragment in prop::option::of(32..16_389_usize),
        pieces in proptest::collection::vec((1..40_000_usize, any::<[u8; 2]>()), 1..8),
    ) {
        let mut ends = Ends::new(suite, do_we_dial, fragment);
        for (size, [seed, choice]) in pieces {
            let bytes: Vec<u8> = (0..size).map(|at| seed.wrapping_add(at.to_le_bytes()[0])).collect();
            match choice % 4 {
                0 => ends.they_change_keys(),
                1 => ends.we_change_keys(),
                _ => {}
            }
            ends.we_send(&bytes, 1 + usize::from(choice) * 64);
            ends.they_send(&bytes);
        }
    }
}

/// This end, with its record layer and what rustls left of the handshake; and a stock rustls.
struct Ends {
    sealing: Keys,
    opening: Keys,
    rekey: Rekey,
    stock: Connection,
}

impl Ends {
    fn new(suite: usize, do_we_dial: bool, fragment: Option<usize>) -> Self {
        let suites = [
            TLS13_AES_128_GCM_SHA256,
            TLS13_AES_256_GCM_SHA384,
            TLS13_CHACHA20_POLY1305_SHA256,
        ];
        let mut trust = Trust::new(Some(&suites[suite..=suite]));
        std::sync::Arc::make_mut(&mut trust.client).max_fragment_size = fragment;
        std::sync::Arc::make_mut(&mut trust.server).max_fragment_size = fragment;
        let (dialling, accepting) = trust.greetings();
        let (mut ours, mut stock) = if do_we_dial {
            let server = ServerConnection::new(trust.server).unwrap();
            (dialling, Connection::Server(server))
        } else {
            let name = ServerName::try_from(NAME).unwrap();
            let client = ClientConnection::new(trust.client, name).unwrap();
            (accepting, Connection::Client(client))
        };
        greet(&mut ours, &mut stock);
        let (socket, _) = loopback::sockets();
        let channel: Channel = ours.into_channel(socket).unwrap();
        Self {
            sealing: Keys::new(&channel.outward).unwrap(),
            opening: Keys::new(&channel.inward).unwrap(),
            rekey: channel.rekey,
            stock,
        }
    }

    /// In records of at most `largest` bytes.
    fn we_send(&mut self, bytes: &[u8], largest: usize) {
        let mut heard = Vec::new();
        for content in bytes.chunks(largest.min(CONTENT_MAX)) {
            self.pass(Content::Data, content);
            let mut plain = vec![0; content.len()];
            self.stock.reader().read_exact(&mut plain).unwrap();
            heard.append(&mut plain);
        }
        assert!(heard == bytes);
    }

    fn they_send(&mut self, bytes: &[u8]) {
        let mut heard = Vec::new();
        let mut left = bytes;
        while !left.is_empty() {
            let written = self.stock.writer().write(left).unwrap();
            left = &left[written..];
            for (content, mut bytes) in self.received() {
                assert_eq!(content, Content::Data);
                heard.append(&mut bytes);
            }
        }
        assert!(heard == bytes);
    }

    fn we_change_keys(&mut self) {
        self.pass(Content::Handshake, &[24, 0, 0, 1, 0]);
        self.sealing = Keys::new(&self.rekey.next_outward().unwrap()).unwrap();
    }

    fn they_change_keys(&mut self) {
        self.stock.refresh_traffic_keys().unwrap();
        let told = self.received();
        assert_eq!(told, [(Content::Handshake, vec![24, 0, 0, 1, 1])]);
        self.opening = Keys::new(&self.rekey.next_inward().unwrap()).unwrap();
        self.we_change_keys();
    }

    /// Seals a record and has rustls read it.
    fn pass(&mut self, content: Content, bytes: &[u8]) {
        let mut record = vec![0; bytes.len() + OVERHEAD];
        record[HEADER..HEADER + bytes.len()].copy_from_slice(bytes);
        self.sealing
            .seal(&mut record, bytes.len(), content)
            .unwrap();
        let mut unread = &record[..];
        while !unread.is_empty() {
            self.stock.read_tls(&mut unread).unwrap();
            self.stock.process_new_packets().unwrap();
        }
    }

    /// Opens everything that rustls has to send.
    fn received(&mut self) -> Vec<(Content, Vec<u8>)> {
        let mut sealed = Vec::new();
        while self.stock.wants_write() {
            self.stock.write_tls(&mut sealed).unwrap();
        }
        let mut records = Vec::new();
        while let Some(length) = length(&sealed).unwrap() {
            let mut record: Vec<u8> = sealed.drain(..length).collect();
            let opened = self.opening.open(&mut record, 0).unwrap();
            record.truncate(opened.length);
            records.push((opened.content, record));
        }
        assert!(sealed.is_empty());
        records
    }
}

/// Until both ends are done and nothing is on its way; the last word is that of the end that accepts.
fn greet(ours: &mut Greeting, stock: &mut Connection) {
    loop {
        let mut sent = ours.to_send();
        let length = sent.len();
        while !sent.is_empty() {
            stock.read_tls(&mut sent).unwrap();
            stock.process_new_packets().unwrap();
        }
        ours.sent(length);
        let mut answer = Vec::new();
        while stock.wants_write() {
            stock.write_tls(&mut answer).unwrap();
        }
        if length == 0 && answer.is_empty() {
            return;
        }
        let mut answer = &answer[..];
        while !answer.is_empty() {
            let (now, later) = answer.split_at(ours.wanted().min(answer.len()));
            ours.handle_input(now).unwrap();
            answer = later;
        }
    }
}
