//! The peers. To add one: a file like those below, and a line in [`PEERS`].
//!
//! `start` is given a [`Scene`]: addresses, an empty folder, a certificate, programs. It starts the user's end
//! and the application's end of a tunnel from [`scene::USERS`](crate::scene::USERS) to
//! [`scene::TARGET`](crate::scene::TARGET) and says which process is the connector side, which alone is measured. It
//! need not wait: a peer is ready when a byte comes back through it.

use crate::scene::{Running, Scene};
use crate::trouble::Trouble;

mod haproxy;
mod nginx;
mod outgate;
mod plain;
mod rathole;
mod ssh;
mod stunnel;

/// Something that is measured.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// Its name, in words of the command line and in the tables.
    pub name: &'static str,
    /// What it is, for the tables.
    pub what: &'static str,
    /// In which part of the comparison.
    pub kind: Kind,
    /// Starts it.
    pub start: fn(&Scene) -> Result<Running, Trouble>,
}

/// The parts of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Outgate.
    Ours,
    /// Another tunnel.
    Theirs,
    /// A relay without TLS.
    Yardstick,
}

/// All of them, in the order of the tables.
pub const PEERS: &[Peer] = &[
    Peer {
        name: "splice",
        what: "plain splice(2), no TLS",
        kind: Kind::Yardstick,
        start: plain::splice,
    },
    Peer {
        name: "copy",
        what: "plain read/write, no TLS",
        kind: Kind::Yardstick,
        start: plain::copy,
    },
    Peer {
        name: "outgate",
        what: "Outgate, in place",
        kind: Kind::Ours,
        start: outgate::in_place,
    },
    Peer {
        name: "outgate-kernel",
        what: "Outgate, kernel TLS",
        kind: Kind::Ours,
        start: outgate::kernel,
    },
    Peer {
        name: "ssh",
        what: "ssh -R, aes256-gcm",
        kind: Kind::Theirs,
        start: ssh::start,
    },
    Peer {
        name: "nginx",
        what: "nginx stream, TLS pair",
        kind: Kind::Theirs,
        start: nginx::start,
    },
    Peer {
        name: "haproxy",
        what: "HAProxy, TLS pair",
        kind: Kind::Theirs,
        start: haproxy::start,
    },
    Peer {
        name: "stunnel",
        what: "stunnel pair",
        kind: Kind::Theirs,
        start: stunnel::start,
    },
    Peer {
        name: "rathole",
        what: "rathole, TLS",
        kind: Kind::Theirs,
        start: rathole::start,
    },
];

/// The yardstick by whose spread a run is judged.
pub const SPLICE: &str = "splice";
/// The yardstick that copies through user space.
pub const COPY: &str = "copy";
/// Outgate with the engine in user space: it runs on any kernel, and the targets are its.
pub const OUTGATE: &str = "outgate";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_that_others_are_compared_with_are_there() {
        let kind_of = |name: &str| PEERS.iter().find(|peer| peer.name == name).unwrap().kind;
        assert_eq!(kind_of(SPLICE), Kind::Yardstick);
        assert_eq!(kind_of(COPY), Kind::Yardstick);
        assert_eq!(kind_of(OUTGATE), Kind::Ours);
        assert_eq!(kind_of("nginx"), Kind::Theirs);
        assert_eq!(kind_of("rathole"), Kind::Theirs);
    }
}
