//! One control channel of the hostile edge.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use appliance::clock;
use connector_proto::control::{Channel, EdgeEvent, EdgeSide};
use connector_proto::frame::Deframer;
use connector_proto::message::{
    Close, CloseCode, Fingerprint, Message as _, PathProbe, Ping, RatchetValue, Welcome,
};

use crate::edge::Tls;
use crate::machine::wait_readable_for;

/// A control channel, driven step by step.
pub struct Control {
    pub tls: Tls,
    pub channel: Channel<EdgeSide>,
    /// What the connector said of itself.
    pub greeted: Option<EdgeEvent>,
}

impl Control {
    /// Reads, and hands what was read to the channel, until the test is content with the id of a
    /// message.
    pub fn read_until(&mut self, mut is_content: impl FnMut(&mut Self, u16) -> bool) {
        let mut deframer = Deframer::new();
        let mut buffer = [0; 8192];
        loop {
            let len = self.tls.read(&mut buffer).unwrap();
            assert_ne!(len, 0, "the connector closed");
            let now = clock::now();
            self.channel.handle_input(now, &buffer[..len]).unwrap();
            let mut bytes = &buffer[..len];
            while let Some(frame) = deframer.next(&mut bytes).unwrap() {
                let id = frame.id;
                if is_content(self, id) {
                    return;
                }
            }
        }
    }

    /// Takes the connector in.
    pub fn welcome(&mut self) {
        // No delay between attempts: the test waits for them.
        let welcome = Welcome {
            name: "mumbai-01",
            group: "Mumbai",
            reconnect_spread_ms: 0,
            reconnect_cap_ms: 0,
        };
        self.channel.welcome(&welcome).unwrap();
        self.send();
    }

    pub fn answer_path_probe(&mut self) {
        self.read_until(|control, read| {
            control.send();
            read == PathProbe::ID
        });
    }

    /// The evidence and the ratchet value of the connector's hello.
    pub fn greeting(&self) -> (Fingerprint, RatchetValue) {
        let Some(EdgeEvent::Greeted {
            fingerprint,
            ratchet,
            ..
        }) = &self.greeted
        else {
            panic!("it did not say hello")
        };
        (*fingerprint, *ratchet)
    }

    /// The certificate that the connector shows.
    pub fn certificate(&self) -> Vec<u8> {
        self.tls.conn.peer_certificates().unwrap()[0].to_vec()
    }

    /// How many sessions the connector says it can carry.
    pub fn read_capacity(&mut self) -> u32 {
        loop {
            match self.channel.poll_event() {
                Some(EdgeEvent::Capacity { sessions }) => return sessions,
                Some(_) => {}
                None => self.read_until(|_, _| true),
            }
        }
    }

    /// Waits for a ping; its answer waits to be sent.
    pub fn read_ping(&mut self) {
        self.read_until(|_, id| id == Ping::ID);
    }

    /// Answers what the connector has said so far: the pings by which it knows that the edge lives.
    pub fn answer_pings(&mut self) {
        while wait_readable_for(&self.tls.sock, Duration::ZERO) {
            self.read_until(|_, _| true);
        }
        self.send();
    }

    /// Sends what the channel has to say.
    pub fn send(&mut self) {
        while let Some(bytes) = self.channel.poll_transmit() {
            self.tls.write_all(&bytes).unwrap();
        }
    }

    /// Closes with a reason of the test's own.
    pub fn close(mut self, code: CloseCode) {
        self.channel.close(code);
        self.send();
        // Nothing of what it said is left unread, which would reset the connection.
        let _ = self.tls.read_to_end(&mut Vec::new());
    }
}

/// Reads to the end and returns the code of the connector's farewell.
pub fn farewell(tls: &mut Tls) -> Option<CloseCode> {
    let mut bytes = Vec::new();
    // The connector may end without close_notify: it has broken off.
    let _ = tls.read_to_end(&mut bytes);
    let mut deframer = Deframer::new();
    let mut input = bytes.as_slice();
    let mut code = None;
    while let Some(frame) = deframer.next(&mut input).unwrap() {
        if frame.id == Close::ID {
            code = Some(Close::decode(frame).unwrap().code);
        }
    }
    code
}
