//! A session's sockets and what is known of their readiness.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, socket_error};

use crate::buffers::Buffers;
use crate::channel::{Channel, DirectionKeys, Rekey};
use crate::engine::{Broken, Flow, Progress};
use crate::reactor::{Interest, Reactor, Ready, Watched};

/// One socket of a session.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) socket: TcpStream,
    watched: Option<Watched>,
    readable: bool,
    pub(super) writable: bool,
    /// The peer sends no more; sticky, because no edge will tell it again.
    ended: bool,
    failed: bool,
    is_reset_by_default: bool,
}

impl Side {
    pub(super) const fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            watched: None,
            readable: false,
            writable: false,
            ended: false,
            failed: false,
            is_reset_by_default: false,
        }
    }

    /// The socket without TLS. Its peer cannot tell a part from the whole, so if this process is killed the
    /// system is to reset it, and not to end it in order.
    pub(super) fn plain(socket: TcpStream) -> Self {
        reset_on_close(&socket);
        Self {
            is_reset_by_default: true,
            ..Self::new(socket)
        }
    }

    pub(super) fn watch(&mut self, reactor: &mut dyn Reactor, token: u64) -> Result<(), Errno> {
        let watched = reactor.watch(self.socket.as_fd(), token, Interest::Edges)?;
        self.watched = Some(watched);
        Ok(())
    }

    pub(super) const fn mark(&mut self, ready: &Ready) {
        self.readable |= ready.readable;
        self.writable |= ready.writable;
        self.ended |= ready.ended;
        self.failed |= ready.failed;
    }

    /// The error that is pending, if the reactor told of one: a socket that is waited for in one direction
    /// only would not show it by a call.
    pub(super) fn error(&mut self) -> Option<io::Error> {
        if !std::mem::take(&mut self.failed) {
            return None;
        }
        match socket_error(&self.socket) {
            Ok(Ok(())) => None,
            Ok(Err(error)) | Err(error) => Some(error.into()),
        }
    }

    /// Closes it: in order, or by RST.
    pub(super) fn close(self, reactor: &mut dyn Reactor, is_reset: bool) {
        if let Some(watched) = self.watched {
            reactor.forget(watched);
        }
        if is_reset != self.is_reset_by_default {
            // This fails on nothing that is a socket.
            let _ = set_socket_linger(&self.socket, is_reset.then_some(Duration::ZERO));
        }
    }
}

/// Has the socket's close throw away what was not sent, and send RST; also the close of a process that is
/// killed.
pub fn reset_on_close(socket: &impl AsFd) {
    // This fails on nothing that is a socket, and then the close is an ordinary one.
    let _ = set_socket_linger(socket, Some(Duration::ZERO));
}

/// A data channel of a session: its present one, or one that comes after it.
#[derive(Debug)]
pub(super) struct Link {
    /// 0 for the first, one more for each successor.
    pub(super) number: u32,
    pub(super) side: Side,
    /// Keys of the directions that have not come here yet.
    pub(super) outward: Option<Box<DirectionKeys>>,
    pub(super) inward: Option<Box<DirectionKeys>>,
    pub(super) rekey: Rekey,
}

impl Link {
    pub(super) fn new(number: u32, channel: Channel) -> Self {
        Self {
            number,
            side: Side::new(channel.socket),
            outward: Some(Box::new(channel.outward)),
            inward: Some(Box::new(channel.inward)),
            rekey: channel.rekey,
        }
    }
}

/// What the turns of a session's directions share.
pub(super) struct Means<'a> {
    pub(super) budget: &'a mut usize,
    pub(super) carried: &'a mut u64,
    pub(super) buffers: &'a mut Buffers,
}

/// Runs one direction's turn, and once more where the source has ended: a read that gets less than it asked
/// for has emptied the socket and may count as `EAGAIN`, except that the end of file behind those bytes has
/// been told of already and will not be told of again.
pub(super) fn turn(
    source: &mut Side,
    sink: &mut Side,
    means: &mut Means<'_>,
    mut turn: impl FnMut(&mut Flow<'_>) -> Result<Progress, Broken>,
) -> Result<Progress, Broken> {
    let mut is_first = true;
    loop {
        source.readable |= source.ended;
        let before = *means.carried;
        let progress = turn(&mut Flow {
            source: source.socket.as_fd(),
            sink: sink.socket.as_fd(),
            readable: &mut source.readable,
            writable: &mut sink.writable,
            budget: means.budget,
            carried: means.carried,
            buffers: means.buffers,
        })?;
        let is_at_end = source.ended && !source.readable && sink.writable;
        let is_worth_it = is_first || *means.carried != before;
        if progress != Progress::Waiting || !is_at_end || !is_worth_it {
            return Ok(progress);
        }
        is_first = false;
    }
}
