//! One direction of a session: the interface of both engines.
//!
//! - [`in_place`], engine B: in this process, records sealed and opened where they lie.
//! - [`kernel`], engine A: the kernel's TLS and `splice(2)`; no byte comes into this process.
//!
//! The engines are chosen for each direction by itself ([`outward`], [`inward`]): where the kernel takes
//! the keys of one direction and not those of the other, the other one is carried in this process, and
//! no byte is lost, because nothing has been moved before the choice is made.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::os::fd::BorrowedFd;

use crate::buffers::Buffers;
use crate::channel::{DirectionKeys, Rekey};

mod course;
pub mod in_place;
pub mod kernel;

pub use course::Course;

/// Which engine carries a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A: kernel TLS and `splice(2)`.
    Kernel,
    /// B: this process, in place.
    InPlace,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel TLS with splice",
            Self::InPlace => "user space, in place",
        })
    }
}

/// What one turn of one direction works on. Both descriptors are non-blocking sockets, and readiness is
/// edge-triggered: a flag is true until a call says otherwise, and whoever gets `EAGAIN`, or learns by other
/// means that it would come next, sets it to false.
#[derive(Debug)]
pub struct Flow<'a> {
    /// Where bytes come from: the plain socket outward, the data channel inward.
    pub source: BorrowedFd<'a>,
    /// Where they go.
    pub sink: BorrowedFd<'a>,
    /// The source may have something.
    pub readable: &'a mut bool,
    /// The sink may take something.
    pub writable: &'a mut bool,
    /// Payload bytes that this session may still move before others get their turn.
    pub budget: &'a mut usize,
    /// Plain bytes that were delivered to the sink's socket; the turn adds to it.
    pub carried: &'a mut u64,
    /// Memory and pipes that no idle session holds.
    pub buffers: &'a mut Buffers,
}

/// Where a direction stands after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It waits for the source or for the sink, whose flag is false.
    Waiting,
    /// The budget is spent; there may be more to do at once.
    Spent,
    /// Its end is reached and delivered: close_notify sent outward, `SHUT_WR` done inward.
    Ended,
    /// The channel's part is over and everything of it is delivered; the direction goes on with the
    /// channel's successor. Outward after [`Course::leave`], inward when the peer said so.
    Continues,
}

/// What breaks a session. The other side is then reset, so that nobody takes a part for the whole.
#[derive(Debug)]
pub enum Broken {
    /// The plain socket failed.
    Plain(io::Error),
    /// The data channel's socket failed.
    Channel(io::Error),
    /// A record does not open, or is none.
    BadRecord(&'static str),
    /// The peer ended the channel with this alert (RFC 8446 section 6).
    Alert(u8),
    /// The edge did not take the `Attach`: nobody waits for its session ([`crate::channel::ALERT_REFUSED`]).
    Refused,
    /// The data channel ended without close_notify.
    Truncated,
    /// Too many KeyUpdates or other records without data.
    Flood,
    /// The keys have reached their limit and no successor came.
    KeysSpent,
    /// A side did not take its bytes for this many seconds.
    Stalled(u64),
    /// The peer's keys changed, and this kernel cannot change them with it.
    CannotRekey,
    /// Whoever owns the session ended it.
    Cancelled,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(error) => write!(f, "the plain connection failed: {error}"),
            Self::Channel(error) => write!(f, "the data channel failed: {error}"),
            Self::BadRecord(what) => write!(f, "the data channel is not readable: {what}"),
            Self::Alert(description) => {
                write!(
                    f,
                    "the peer ended the data channel with alert {description}"
                )
            }
            Self::Refused => f.write_str("nobody waits for this session any more"),
            Self::Truncated => {
                f.write_str("the data channel ended without close_notify: truncated")
            }
            Self::Flood => f.write_str("the peer sends records without data, too many in a row"),
            Self::KeysSpent => {
                f.write_str("the data channel's keys are spent and no other channel took its place")
            }
            Self::Stalled(seconds) => {
                write!(f, "one side took none of its bytes for {seconds} s")
            }
            Self::CannotRekey => {
                f.write_str("the peer changed its keys, which this kernel's TLS cannot follow")
            }
            Self::Cancelled => f.write_str("ended from outside"),
        }
    }
}

impl std::error::Error for Broken {}

/// What the engines of both directions have in common.
pub trait OneWay: fmt::Debug + Send {
    /// Whether bytes are held that the sink has not taken: such a session is stalled, not idle.
    fn is_holding(&self) -> bool;

    /// Records under the present keys; inward as far as they are counted.
    fn records(&self) -> u64;

    /// Which engine this is.
    fn engine(&self) -> Engine;
}

/// From the plain socket into the data channel.
pub trait Outward: OneWay {
    /// Moves what can be moved without blocking. After the plain socket's end of file and the last byte
    /// before it, sends close_notify and says [`Progress::Ended`]; the socket is left open for the other
    /// direction and for the channel's successor.
    ///
    /// # Errors
    /// What broke the session.
    fn turn(&mut self, flow: &mut Flow<'_>) -> Result<Progress, Broken>;

    /// Takes bytes that go out before anything that is read; at most 64 KiB, before the first turn.
    fn preload(&mut self, bytes: Vec<u8>);

    /// How far it is to go.
    fn course(&mut self) -> &mut Course;

    /// Has the next turn send a KeyUpdate and go on under our next keys, because the peer asked for that
    /// ([`Inward::takes_key_request`]). While an earlier KeyUpdate waits for the sink, it answers this one,
    /// too; after the direction's end there is nothing to answer.
    ///
    /// # Errors
    /// [`Broken::CannotRekey`].
    fn update_keys(&mut self, rekey: &mut Rekey) -> Result<(), Broken> {
        let _ = rekey;
        Err(Broken::CannotRekey)
    }
}

/// From the data channel to the plain socket.
pub trait Inward: OneWay {
    /// Moves what can be moved without blocking. Handles records that are not data: close_notify becomes
    /// `SHUT_WR` of the plain socket once everything is delivered; [`crate::channel::ALERT_CONTINUES`]
    /// becomes [`Progress::Continues`]; a KeyUpdate changes the keys by `rekey`; tickets are dropped.
    /// End of file without either is [`Broken::Truncated`].
    ///
    /// # Errors
    /// What broke the session.
    fn turn(&mut self, flow: &mut Flow<'_>, rekey: &mut Rekey) -> Result<Progress, Broken>;

    /// Whether the peer has asked since the last call that our keys change with its own (RFC 8446 section
    /// 4.6.3): then [`Outward::update_keys`] is due, and a turn outward.
    fn takes_key_request(&mut self) -> bool {
        false
    }
}

/// Makes the outward direction of a channel. The kernel's engine where it is wanted and the kernel takes
/// the keys, else the one in this process.
///
/// # Errors
/// [`Broken::BadRecord`] for a suite that is none of ours.
pub fn outward(
    socket: &TcpStream,
    keys: DirectionKeys,
    wanted: Engine,
) -> Result<Box<dyn Outward>, Broken> {
    if wanted == Engine::Kernel
        && let Some(outward) = kernel::Outward::install(socket, &keys)
    {
        return Ok(Box::new(outward));
    }
    Ok(Box::new(in_place::Outward::new(keys)?))
}

/// Makes the inward direction of a channel; see [`outward`].
///
/// # Errors
/// See [`outward`].
pub fn inward(
    socket: &TcpStream,
    keys: DirectionKeys,
    wanted: Engine,
) -> Result<Box<dyn Inward>, Broken> {
    if wanted == Engine::Kernel
        && let Some(inward) = kernel::Inward::install(socket, &keys)
    {
        return Ok(Box::new(inward));
    }
    Ok(Box::new(in_place::Inward::new(keys)?))
}
