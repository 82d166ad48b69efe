//! One resolution, its clock, and what its resolvers answer.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use super::super::{Query, Resolution, ResolveError};
use super::HOST;
use crate::time::Instant;

pub(super) struct World {
    pub(super) resolution: Resolution,
    pub(super) now: Instant,
    /// Every query so far.
    sent: Vec<Query>,
}

/// The resolver whose exchanges are `2 * index` (AAAA) and `2 * index + 1` (A).
pub(super) fn resolver(index: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, 53 + index).into()
}

impl World {
    pub(super) fn new(resolvers: u8, remembered: &[&str]) -> Self {
        let now = Instant::from_micros(5_000_000);
        let resolvers: Vec<IpAddr> = (0..resolvers).map(resolver).collect();
        let remembered: Vec<IpAddr> = remembered
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let seed = core::array::from_fn(|index| u8::try_from(index).unwrap() * 7);
        Self {
            resolution: Resolution::new(now, HOST, &resolvers, &remembered, seed).unwrap(),
            now,
            sent: Vec::new(),
        }
    }

    /// The queries since the last call.
    pub(super) fn queries(&mut self) -> Vec<Query> {
        let new: Vec<Query> = core::iter::from_fn(|| self.resolution.poll_transmit()).collect();
        self.sent.extend(new.clone());
        new
    }

    /// The query of an exchange.
    pub(super) fn query(&mut self, token: u32) -> Query {
        self.queries();
        let mut sent = self.sent.iter();
        sent.find(|query| query.token == token).unwrap().clone()
    }

    pub(super) fn answer(&mut self, token: u32, addresses: &[&str]) {
        let bytes = reply(&self.query(token).bytes, 0, addresses);
        self.resolution.handle_datagram(self.now, token, &bytes);
    }

    pub(super) fn answer_code(&mut self, token: u32, code: u8) {
        let bytes = reply(&self.query(token).bytes, code, &[]);
        self.resolution.handle_datagram(self.now, token, &bytes);
    }

    /// Answers that there is more, and returns the query that follows.
    pub(super) fn truncate(&mut self, token: u32) -> Query {
        let mut bytes = reply(&self.query(token).bytes, 0, &["192.0.2.66"]);
        bytes[2] |= 2;
        self.resolution.handle_datagram(self.now, token, &bytes);
        self.queries().pop().unwrap()
    }

    /// Lets time pass, and timers with it.
    pub(super) fn wait_ms(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while let Some(due) = self.resolution.poll_timeout().filter(|due| *due <= until) {
            self.now = due;
            self.resolution.handle_timeout(due);
        }
        self.now = until;
    }

    /// Lets time pass until there is an outcome.
    pub(super) fn run_out(&mut self) {
        while let Some(due) = self.resolution.poll_timeout() {
            self.now = due;
            self.resolution.handle_timeout(due);
        }
    }

    pub(super) fn elapsed_ms(&self) -> u128 {
        self.now.since(Instant::from_micros(5_000_000)).as_millis()
    }

    pub(super) fn outcome(&self) -> Option<Result<Vec<IpAddr>, ResolveError>> {
        self.resolution.outcome()
    }

    pub(super) fn found(&self) -> Vec<String> {
        let found = self.outcome().unwrap().unwrap();
        found.iter().map(ToString::to_string).collect()
    }
}

/// An answer to the question in `query` with these addresses, whatever it asks for.
pub(super) fn reply(query: &[u8], code: u8, addresses: &[&str]) -> Vec<u8> {
    let mut bytes = query.to_vec();
    bytes[2] |= 0x80;
    bytes[3] |= code;
    bytes[7] = u8::try_from(addresses.len()).unwrap();
    for address in addresses {
        bytes.extend(b"\xc0\x0c\x00");
        match address.parse().unwrap() {
            IpAddr::V4(v4) => {
                bytes.extend(b"\x01\x00\x01\x00\x00\x00\x3c\x00\x04");
                bytes.extend(v4.octets());
            }
            IpAddr::V6(v6) => {
                bytes.extend(b"\x1c\x00\x01\x00\x00\x00\x3c\x00\x10");
                bytes.extend(v6.octets());
            }
        }
    }
    bytes
}
