//! Carries the bytes of one session between application and data channel.
//!
//! [`Pump`] is the interface of every engine. [`UserSpace`] is the plain one: rustls in this
//! process. The splice core's engines (kernel TLS with `splice(2)`, and in-place sealing) stand
//! behind the same interface.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use rustix::net::sockopt;

use crate::interest::{Interest, Watch};
use crate::tls::{End, TlsError, TlsStream};

/// Bytes moved in one turn before other sessions get theirs.
const TURN_BUDGET: usize = 256 * 1024;
/// Bytes read from the application at once: four full TLS records.
const CHUNK: usize = 64 * 1024;

/// Bytes carried so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// From the application to the user.
    pub up: u64,
    /// From the user to the application.
    pub down: u64,
}

/// Where a session stands after a turn.
#[derive(Debug)]
pub enum Turn {
    /// It goes on.
    Open,
    /// Both directions ended cleanly and everything is delivered.
    Finished,
    /// It broke; the other side was reset, so that nobody takes a part for the whole.
    Broken(Broken),
}

/// What broke a session.
#[derive(Debug)]
pub enum Broken {
    /// The application's connection failed.
    Application(io::Error),
    /// The data channel failed.
    Channel(TlsError),
    /// The data channel ended without close_notify.
    Truncated,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Application(error) => write!(f, "application: {error}"),
            Self::Channel(error) => write!(f, "data channel: {error}"),
            Self::Truncated => f.write_str("data channel ended without close_notify"),
        }
    }
}

/// An engine that carries one session.
pub trait Pump: fmt::Debug {
    /// Adds what it waits for.
    fn watch<'a>(&'a self, watch: &mut Watch<'a>, token: u64);

    /// Whether a turn has something to do that no descriptor will tell of.
    fn has_work(&self) -> bool;

    /// Moves what can be moved without blocking, up to a budget.
    fn turn(&mut self) -> Turn;

    /// Bytes carried so far.
    fn carried(&self) -> Carried;

    /// Makes the closing of both connections a reset: no byte follows, and neither side sees a clean
    /// end.
    fn reset(&self);
}

/// The engine in this process: read, encrypt, write, and back.
#[derive(Debug)]
pub struct UserSpace {
    application: TcpStream,
    channel: TlsStream,
    /// Bytes of the application that TLS had no room for.
    up: Pending,
    /// Decrypted bytes that the application had no room for.
    down: Pending,
    up_ended: bool,
    down_ended: bool,
    carried: Carried,
}

impl UserSpace {
    /// Joins an application's connection and an attached data channel; both non-blocking.
    #[must_use]
    pub fn new(application: TcpStream, channel: TlsStream) -> Self {
        Self {
            application,
            channel,
            up: Pending::default(),
            down: Pending::default(),
            up_ended: false,
            down_ended: false,
            carried: Carried::default(),
        }
    }

    /// Bytes of the session that came in the same read as the edge's `Attached`.
    pub fn preload(&mut self, bytes: &[u8]) {
        self.down.bytes.extend_from_slice(bytes);
    }

    fn run(&mut self) -> Result<bool, Broken> {
        let mut budget = TURN_BUDGET;
        loop {
            self.channel.turn().map_err(Broken::Channel)?;
            let moved = self.move_up()? + self.move_down()?;
            self.channel.flush().map_err(Broken::Channel)?;
            budget = budget.saturating_sub(moved);
            if moved == 0 || budget == 0 {
                break;
            }
        }
        Ok(self.up_ended && self.down_ended && self.channel.is_flushed())
    }

    /// Application to user. Reads only when TLS has sent what it had: the peer's pace is ours.
    fn move_up(&mut self) -> Result<usize, Broken> {
        if self.up_ended || !self.channel.is_flushed() {
            return Ok(0);
        }
        if self.up.is_empty() {
            let buffer = self.up.room();
            match self.application.read(buffer) {
                Ok(0) => {
                    self.up_ended = true;
                    self.channel.send_close_notify();
                    return Ok(0);
                }
                Ok(len) => self.up.filled(len),
                Err(error) if would_wait(&error) => {
                    self.up.release();
                    return Ok(0);
                }
                Err(error) => return Err(Broken::Application(error)),
            }
        }
        let len = self
            .channel
            .write(self.up.rest())
            .map_err(Broken::Application)?;
        self.up.taken(len);
        self.carried.up += len as u64;
        Ok(len)
    }

    /// User to application.
    fn move_down(&mut self) -> Result<usize, Broken> {
        if self.down_ended {
            return Ok(0);
        }
        if self.down.is_empty() {
            let len = self
                .channel
                .read(self.down.room())
                .map_err(Broken::Application)?;
            if len == 0 {
                self.down.release();
                return self.end_down();
            }
            self.down.filled(len);
        }
        match self.application.write(self.down.rest()) {
            Ok(len) => {
                self.down.taken(len);
                self.carried.down += len as u64;
                Ok(len)
            }
            Err(error) if would_wait(&error) => Ok(0),
            Err(error) => Err(Broken::Application(error)),
        }
    }

    fn end_down(&mut self) -> Result<usize, Broken> {
        match self.channel.end() {
            None => {}
            Some(End::Truncated) => return Err(Broken::Truncated),
            Some(End::CloseNotify) => {
                self.down_ended = true;
                match self.application.shutdown(Shutdown::Write) {
                    Ok(()) => {}
                    // The application has gone already; its own direction tells how.
                    Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                    Err(error) => return Err(Broken::Application(error)),
                }
            }
        }
        Ok(0)
    }
}

impl Pump for UserSpace {
    fn watch<'a>(&'a self, watch: &mut Watch<'a>, token: u64) {
        let read = !self.up_ended && self.up.is_empty() && self.channel.is_flushed();
        watch.add(
            token,
            &self.application,
            Interest::new(read, !self.down.is_empty()),
        );
        watch.add(
            token,
            &self.channel,
            self.channel.interest(self.down.is_empty()),
        );
    }

    fn has_work(&self) -> bool {
        !self.down_ended && self.down.is_empty() && self.channel.has_input()
    }

    fn turn(&mut self) -> Turn {
        match self.run() {
            Ok(false) => Turn::Open,
            Ok(true) => Turn::Finished,
            Err(broken) => {
                self.reset();
                Turn::Broken(broken)
            }
        }
    }

    fn carried(&self) -> Carried {
        self.carried
    }

    fn reset(&self) {
        for socket in [&self.application, self.channel.socket()] {
            if let Err(error) = sockopt::set_socket_linger(socket, Some(Duration::ZERO)) {
                log::debug!("a broken session is closed without reset: {error}");
            }
        }
    }
}

/// Bytes on their way, held only while there are any: an idle session owns no buffer.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    start: usize,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// An empty buffer's room; call [`Self::filled`] or [`Self::release`] next.
    fn room(&mut self) -> &mut [u8] {
        self.start = 0;
        self.bytes.resize(CHUNK, 0);
        &mut self.bytes
    }

    fn filled(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    fn taken(&mut self, len: usize) {
        self.start += len;
        if self.is_empty() {
            self.start = 0;
            self.bytes.clear();
        }
    }

    fn release(&mut self) {
        *self = Self::default();
    }
}

fn would_wait(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
