//! One direction of a session from end to end, and a peer that says what it likes.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};

use crate::buffers::Buffers;
use crate::channel::{Channel, DirectionKeys, Rekey};
use crate::engine::in_place::{Inward, Outward};
use crate::engine::{Broken, Flow, Inward as _, Outward as _, Progress};
use crate::loopback;
use crate::record::{Content, HEADER, Keys, OVERHEAD};

/// Plain socket, [`Outward`], data channel: what the user writes is sealed and sent.
pub(super) struct Sending {
    pub(super) user: TcpStream,
    pub(super) plain: TcpStream,
    channel: TcpStream,
    pub(super) outward: Outward,
    pub(super) carried: u64,
    pub(super) buffers: Buffers,
}

/// Data channel, [`Inward`], plain socket: what is received is opened, and the application reads it.
pub(super) struct Receiving {
    pub(super) channel: TcpStream,
    plain: TcpStream,
    pub(super) application: TcpStream,
    pub(super) inward: Inward,
    rekey: Rekey,
    pub(super) carried: u64,
    pub(super) buffers: Buffers,
}

/// The peer's end, record by record.
pub(super) struct Peer {
    pub(super) socket: TcpStream,
    pub(super) sealing: Keys,
    pub(super) rekey: Rekey,
}

impl Sending {
    pub(super) fn new(channel: TcpStream, keys: DirectionKeys) -> Self {
        let (user, plain) = nonblocking();
        connector_sys::tcp_inq::enable(&plain).unwrap();
        Self {
            user,
            plain,
            channel,
            outward: Outward::new(keys).unwrap(),
            carried: 0,
            buffers: Buffers::default(),
        }
    }

    /// Has the channel's socket buffer little.
    pub(super) fn narrow(&self) {
        set_socket_send_buffer_size(&self.channel, NARROW).unwrap();
    }

    /// One turn with everything ready, as far as anyone knows.
    pub(super) fn turn(&mut self, mut budget: usize) -> Result<Progress, Broken> {
        let (mut readable, mut writable) = (true, true);
        let progress = self.outward.turn(&mut Flow {
            source: self.plain.as_fd(),
            sink: self.channel.as_fd(),
            readable: &mut readable,
            writable: &mut writable,
            budget: &mut budget,
            carried: &mut self.carried,
            buffers: &mut self.buffers,
        })?;
        assert_says_why(progress, readable, writable, budget);
        Ok(progress)
    }
}

impl Receiving {
    pub(super) fn new(channel: TcpStream, keys: DirectionKeys, rekey: Rekey) -> Self {
        let (application, plain) = nonblocking();
        Self {
            channel,
            plain,
            application,
            inward: Inward::new(keys).unwrap(),
            rekey,
            carried: 0,
            buffers: Buffers::default(),
        }
    }

    pub(super) fn turn(&mut self, mut budget: usize) -> Result<Progress, Broken> {
        let (mut readable, mut writable) = (true, true);
        let mut flow = Flow {
            source: self.channel.as_fd(),
            sink: self.plain.as_fd(),
            readable: &mut readable,
            writable: &mut writable,
            budget: &mut budget,
            carried: &mut self.carried,
            buffers: &mut self.buffers,
        };
        let progress = self.inward.turn(&mut flow, &mut self.rekey)?;
        assert_says_why(progress, readable, writable, budget);
        Ok(progress)
    }

    /// Has the sockets on the way to the application buffer little.
    pub(super) fn narrow(&self) {
        set_socket_recv_buffer_size(&self.channel, NARROW).unwrap();
        set_socket_send_buffer_size(&self.plain, NARROW).unwrap();
        set_socket_recv_buffer_size(&self.application, NARROW).unwrap();
    }

    /// Takes turns until this many bytes have arrived at the application.
    pub(super) fn hear(&mut self, length: usize) -> Vec<u8> {
        let mut heard = Vec::new();
        while heard.len() < length {
            self.turn(BUDGET).unwrap();
            take(&self.application, &mut heard);
        }
        heard
    }

    /// Takes turns until the direction ends or breaks.
    pub(super) fn run(&mut self) -> Result<Progress, Broken> {
        loop {
            match self.turn(BUDGET)? {
                Progress::Waiting | Progress::Spent => {}
                end => return Ok(end),
            }
        }
    }
}

impl Peer {
    /// The other end of what comes in.
    pub(super) fn new(channel: Channel) -> Self {
        channel.socket.set_nonblocking(false).unwrap();
        Self {
            socket: channel.socket,
            sealing: Keys::new(&channel.outward).unwrap(),
            rekey: channel.rekey,
        }
    }

    pub(super) fn seal(&mut self, content: Content, bytes: &[u8]) -> Vec<u8> {
        let mut record = vec![0; bytes.len() + OVERHEAD];
        record[HEADER..HEADER + bytes.len()].copy_from_slice(bytes);
        self.sealing
            .seal(&mut record, bytes.len(), content)
            .unwrap();
        record
    }

    pub(super) fn send(&mut self, content: Content, bytes: &[u8]) {
        let record = self.seal(content, bytes);
        self.socket.write_all(&record).unwrap();
    }

    /// A KeyUpdate, and our next keys from then on.
    pub(super) fn update_keys(&mut self, is_requested: bool) {
        self.send(Content::Handshake, &[24, 0, 0, 1, u8::from(is_requested)]);
        self.sealing = Keys::new(&self.rekey.next_outward().unwrap()).unwrap();
    }
}

/// A peer, and the direction it sends to.
pub(super) fn peer_and_receiving() -> (Peer, Receiving) {
    let (dialled, accepted) = loopback::pair();
    let receiving = Receiving::new(accepted.socket, accepted.inward, accepted.rekey);
    (Peer::new(dialled), receiving)
}

/// One direction from end to end.
pub(super) fn sending_and_receiving() -> (Sending, Receiving) {
    both_directions().0
}

/// A channel's two directions, the first one from the end that dialled.
pub(super) fn both_directions() -> ((Sending, Receiving), (Sending, Receiving)) {
    let (dialled, accepted) = loopback::pair();
    let [dialled_too, accepted_too] =
        [&dialled, &accepted].map(|channel| channel.socket.try_clone().unwrap());
    (
        (
            Sending::new(dialled.socket, dialled.outward),
            Receiving::new(accepted.socket, accepted.inward, accepted.rekey),
        ),
        (
            Sending::new(accepted_too, accepted.outward),
            Receiving::new(dialled_too, dialled.inward, dialled.rekey),
        ),
    )
}

/// Writes what a socket takes now, and takes it from the front of `bytes`.
pub(super) fn give(mut socket: &TcpStream, bytes: &mut &[u8]) {
    match socket.write(bytes) {
        Ok(written) => *bytes = &bytes[written..],
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    }
}

/// Adds what a socket has now; true if it has ended.
pub(super) fn take(mut socket: &TcpStream, into: &mut Vec<u8>) -> bool {
    let mut buffer = vec![0; 1 << 16];
    match socket.read(&mut buffer) {
        Ok(read) => {
            into.extend_from_slice(&buffer[..read]);
            read == 0
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            false
        }
    }
}

/// Bytes of which no two neighbourhoods look alike.
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// What the plane gives a session in a turn.
pub(super) const BUDGET: usize = 256 * 1024;

/// Bytes that a socket is to buffer at most: less than a few records.
const NARROW: usize = 16 * 1024;

/// A direction that waits has to have seen what it waits for; one that has spent its budget has none left.
fn assert_says_why(progress: Progress, readable: bool, writable: bool, budget: usize) {
    match progress {
        Progress::Waiting => assert!(!readable || !writable, "waits for nothing"),
        Progress::Spent => assert_eq!(budget, 0),
        Progress::Ended | Progress::Continues => {}
    }
}

fn nonblocking() -> (TcpStream, TcpStream) {
    let (outer, inner) = loopback::sockets();
    outer.set_nonblocking(true).unwrap();
    inner.set_nonblocking(true).unwrap();
    (outer, inner)
}
