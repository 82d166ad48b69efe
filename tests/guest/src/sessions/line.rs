//! A whole session: a user, the edge's end, the connector's end, an application.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread::JoinHandle;

use splice_core::engine::Engine;
use splice_core::loopback::{self, Trust};

use super::side::{Ended, Side};
use super::{STEP_MAX, assert_same};

/// See the module. The two ends run on threads.
#[derive(Debug)]
pub struct Line {
    pub user: TcpStream,
    pub application: TcpStream,
    pub edge: JoinHandle<Ended>,
    pub connector: JoinHandle<Ended>,
}

/// The engine of each direction of each end.
#[derive(Clone, Copy, Debug)]
pub struct Engines {
    /// Outward and inward, at the edge.
    pub edge: (Engine, Engine),
    /// Outward and inward, at the connector.
    pub connector: (Engine, Engine),
}

impl Engines {
    /// The kernel's everywhere.
    pub const KERNEL: Self = Self {
        edge: (Engine::Kernel, Engine::Kernel),
        connector: (Engine::Kernel, Engine::Kernel),
    };
}

impl Line {
    /// A session that has begun.
    pub fn new(trust: &Trust, engines: Engines) -> Self {
        let (connector, edge) = trust.channels();
        let (user, user_far) = sockets();
        let (application, application_far) = sockets();
        Self {
            user,
            application,
            edge: Side::new(user_far, edge, engines.edge).spawn(),
            connector: Side::new(application_far, connector, engines.connector).spawn(),
        }
    }

    /// Sends these bytes each way at once, ends both directions, and compares.
    pub fn exchange(self, up: &[u8], down: &[u8]) {
        let Self {
            user,
            application,
            edge,
            connector,
        } = self;
        std::thread::scope(|scope| {
            scope.spawn(|| write_and_end(&application, up));
            scope.spawn(|| write_and_end(&user, down));
            scope.spawn(|| assert_same(&read_to_end(&application), down));
            assert_same(&read_to_end(&user), up);
        });
        let (up, down) = (up.len() as u64, down.len() as u64);
        assert_eq!(connector.join().unwrap().in_order(), (up, down));
        assert_eq!(edge.join().unwrap().in_order(), (down, up));
    }
}

/// Two connected sockets that block, but not for ever.
pub fn sockets() -> (TcpStream, TcpStream) {
    let pair = loopback::sockets();
    for socket in [&pair.0, &pair.1] {
        socket.set_read_timeout(Some(STEP_MAX)).unwrap();
        socket.set_write_timeout(Some(STEP_MAX)).unwrap();
    }
    pair
}

/// Writes all of it, and ends this direction.
pub fn write_and_end(mut socket: &TcpStream, bytes: &[u8]) {
    socket.write_all(bytes).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
}

/// Everything up to the end.
pub fn read_to_end(mut socket: &TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    socket.read_to_end(&mut read).unwrap();
    read
}

/// So many bytes.
pub fn read_exactly(mut socket: &TcpStream, len: usize) -> Vec<u8> {
    let mut read = vec![0; len];
    socket.read_exact(&mut read).unwrap();
    read
}
