//! An end that makes its records by hand.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use splice_core::channel::{Channel, Rekey};
use splice_core::engine::Engine;
use splice_core::loopback::{self, Trust};
use splice_core::record::{self, CONTENT_MAX, Content, HEADER, Keys, OVERHEAD};

use super::STEP_MAX;
use super::line::sockets;
use super::side::Side;

/// See the module.
#[derive(Debug)]
pub struct Peer {
    pub socket: TcpStream,
    outward: Keys,
    inward: Keys,
    rekey: Rekey,
}

impl Peer {
    /// This end of a channel.
    pub fn new(channel: Channel) -> Self {
        let socket = channel.socket;
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(STEP_MAX)).unwrap();
        socket.set_write_timeout(Some(STEP_MAX)).unwrap();
        Self {
            socket,
            outward: Keys::new(&channel.outward).unwrap(),
            inward: Keys::new(&channel.inward).unwrap(),
            rekey: channel.rekey,
        }
    }

    /// Seals one record.
    pub fn record(&mut self, content: Content, bytes: &[u8]) -> Vec<u8> {
        let mut record = vec![0; bytes.len() + OVERHEAD];
        record[HEADER..HEADER + bytes.len()].copy_from_slice(bytes);
        let sealed = self.outward.seal(&mut record, bytes.len(), content);
        assert_eq!(sealed.unwrap(), record.len());
        record
    }

    /// Sends one record.
    pub fn send(&mut self, content: Content, bytes: &[u8]) {
        let record = self.record(content, bytes);
        self.socket.write_all(&record).unwrap();
    }

    /// Sends data in full records.
    pub fn send_data(&mut self, bytes: &[u8]) {
        for content in bytes.chunks(CONTENT_MAX) {
            self.send(Content::Data, content);
        }
    }

    /// Sends an alert of level warning.
    pub fn alert(&mut self, description: u8) {
        self.send(Content::Alert, &[1, description]);
    }

    /// Changes the keys that what follows is sealed with, and says so.
    pub fn update_keys(&mut self) {
        self.send(Content::Handshake, &[24, 0, 0, 1, 0]);
        self.outward = Keys::new(&self.rekey.next_outward().unwrap()).unwrap();
    }

    /// The next record; `None` at the end of the connection.
    pub fn receive(&mut self) -> Option<(Content, Vec<u8>)> {
        let mut record = vec![0; HEADER];
        match self.socket.read_exact(&mut record) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
            other => other.unwrap(),
        }
        let length = record::length(&record).unwrap().unwrap();
        record.resize(length, 0);
        self.socket.read_exact(&mut record[HEADER..]).unwrap();
        let opened = self.inward.open(&mut record, 0).unwrap();
        record.truncate(opened.length);
        Some((opened.content, record))
    }

    /// All data up to an alert, the alert's description, and how many records of data that were.
    pub fn receive_all(&mut self) -> (Vec<u8>, u8, u64) {
        let mut data = Vec::new();
        let mut records = 0;
        loop {
            match self.receive() {
                Some((Content::Data, bytes)) => data.extend(bytes),
                Some((Content::Alert, alert)) => return (data, alert[1], records),
                other => panic!("after {records} records: {other:?}"),
            }
            records += 1;
        }
    }
}

/// An end whose directions both are the kernel's, the application beside it, and the peer it talks to.
pub fn kernel_side() -> (Side, TcpStream, Peer) {
    let (near, far) = loopback::pair();
    kernel_side_of(near, far)
}

/// The same with this suite alone.
pub fn kernel_side_by(trust: &Trust) -> (Side, TcpStream, Peer) {
    let (near, far) = trust.channels();
    kernel_side_of(near, far)
}

fn kernel_side_of(near: Channel, far: Channel) -> (Side, TcpStream, Peer) {
    let (application, plain) = sockets();
    let side = Side::new(plain, near, (Engine::Kernel, Engine::Kernel));
    (side, application, Peer::new(far))
}
