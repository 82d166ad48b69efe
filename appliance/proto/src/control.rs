//! The control channel: greeting, liveness, sessions offered and refused.
//!
//! ```text
//! connector                         edge
//! Hello{version, fingerprint} --->
//!                             <---  Welcome{name, group, reconnect ..}
//! PathProbe{4 KiB}            --->
//!                             <---  PathProbeReply{4 KiB}, within 15 s
//!        Ping / Pong, both ways, every 15 s
//!                             <---  OpenSession{grant}
//! SessionRefused{..}          --->          or a data channel that attaches
//!        Close, either way
//! ```

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::time::Duration;

use crate::error::Error;
use crate::frame::{Deframer, Frame};
use crate::keepalive::{Beat, Keepalive};
use crate::limits;
use crate::message::{
    Close, CloseCode, Fingerprint, Hello, KNOWN, Message, OpenSession, PathProbe, PathProbeReply,
    Ping, Pong, RatchetValue, SessionRefusal, SessionRefused, Welcome,
};
use crate::outbox::Outbox;
use crate::time::Instant;

mod fuzz;
mod path;

use path::Path;

pub use fuzz::fuzz_control;

/// Grants that wait to be taken with `poll_event`. The driver drains after every input, so this is
/// reached only by one read full of small grants; what is over it ends the channel.
const EVENTS_MAX: usize = 256;

/// What happened on the connector's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectorEvent {
    /// The edge took the connector in.
    Welcomed {
        /// The connector's name at the edge now.
        name: String,
        /// Its group.
        group: String,
        /// Spread of the first reconnect delay.
        reconnect_spread: Duration,
        /// Cap of later ones.
        reconnect_cap: Duration,
    },
    /// Full-size packets reach the edge and come back.
    PathProven,
    /// A session is offered; the grant is not checked yet.
    SessionOffered {
        /// The signed grant.
        grant: Vec<u8>,
    },
    /// The edge closes the channel.
    Closed {
        /// Why.
        code: CloseCode,
    },
}

/// What happened on the edge's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeEvent {
    /// The connector introduced itself; answer with [`Channel::welcome`] or [`Channel::close`].
    Greeted {
        /// Its version.
        version: String,
        /// Its evidence.
        fingerprint: Fingerprint,
        /// The ratchet value it stored last.
        ratchet: RatchetValue,
    },
    /// The connector does not carry a session.
    SessionRefused {
        /// Which.
        session: [u8; 16],
        /// Why.
        reason: SessionRefusal,
        /// For a person; foreign text.
        detail: String,
    },
    /// The connector closes the channel.
    Closed {
        /// Why.
        code: CloseCode,
    },
}

/// One end of a control channel. `S` is [`ConnectorSide`] or [`EdgeSide`].
#[derive(Debug)]
pub struct Channel<S: Side> {
    side: PhantomData<S>,
    state: State,
    deframer: Deframer,
    outbox: Outbox,
    events: VecDeque<S::Event>,
    keepalive: Keepalive,
    greeting_deadline: Instant,
    path: Path,
    ping_nonce: u64,
    /// When the ping that is under way was sent.
    ping_sent: Option<Instant>,
    round_trip: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    ExpectGreeting,
    /// The edge has to answer `Greeted`.
    ExpectDecision,
    Established,
    Closed,
}

/// What differs between the two ends.
pub trait Side: Sized {
    /// What happens on this end.
    type Event: core::fmt::Debug;

    /// Takes a frame that is not common to both ends.
    ///
    /// # Errors
    /// What the peer did wrong.
    fn handle_frame(
        channel: &mut Channel<Self>,
        now: Instant,
        frame: Frame<'_>,
    ) -> Result<(), Error>;

    /// The event for a peer that closes.
    fn closed(code: CloseCode) -> Self::Event;
}

/// Marks the connector's end.
#[derive(Debug)]
pub struct ConnectorSide;

/// Marks the edge's end.
#[derive(Debug)]
pub struct EdgeSide;

impl Channel<ConnectorSide> {
    /// The connector's end: says hello.
    ///
    /// # Errors
    /// [`Error::OutboxFull`] if `version` is longer than a message may be.
    pub fn connector(
        now: Instant,
        seed: u64,
        version: &str,
        fingerprint: Fingerprint,
        ratchet: RatchetValue,
    ) -> Result<Self, Error> {
        let mut channel = Self::new(now, seed);
        channel.outbox.push(&Hello {
            version,
            fingerprint,
            ratchet,
        })?;
        Ok(channel)
    }

    /// Tells the edge that a session does not come about.
    ///
    /// # Errors
    /// [`Error::OutboxFull`] if the edge does not read.
    pub fn refuse_session(
        &mut self,
        session: [u8; 16],
        reason: SessionRefusal,
        detail: &str,
    ) -> Result<(), Error> {
        let detail = truncated(detail, limits::DETAIL_MAX);
        self.outbox.push(&SessionRefused {
            session,
            reason,
            detail,
        })
    }
}

impl Channel<EdgeSide> {
    /// The edge's end: awaits a hello.
    #[must_use]
    pub fn edge(now: Instant, seed: u64) -> Self {
        Self::new(now, seed)
    }

    /// Takes the connector in, after [`EdgeEvent::Greeted`]. Without effect if it closed right
    /// behind its hello: [`EdgeEvent::Closed`] is the next event then.
    ///
    /// # Errors
    /// [`Error::OutboxFull`] if the names are longer than a message may be.
    pub fn welcome(&mut self, welcome: &Welcome<'_>) -> Result<(), Error> {
        if self.state == State::Closed {
            return Ok(());
        }
        debug_assert_eq!(
            self.state,
            State::ExpectDecision,
            "answers EdgeEvent::Greeted"
        );
        self.outbox.push(welcome)?;
        self.state = State::Established;
        Ok(())
    }

    /// Offers a session.
    ///
    /// # Errors
    /// [`Error::OutboxFull`] if the connector does not read.
    pub fn open_session(&mut self, grant: &[u8]) -> Result<(), Error> {
        self.outbox.push(&OpenSession { grant })
    }
}

impl<S: Side> Channel<S> {
    fn new(now: Instant, seed: u64) -> Self {
        Self {
            side: PhantomData,
            state: State::ExpectGreeting,
            deframer: Deframer::new(),
            outbox: Outbox::default(),
            events: VecDeque::new(),
            keepalive: Keepalive::new(now, seed),
            greeting_deadline: now + limits::GREETING_MAX,
            path: Path::Unknown,
            ping_nonce: seed,
            ping_sent: None,
            round_trip: None,
        }
    }

    /// Takes bytes of the peer.
    ///
    /// # Errors
    /// What the peer did wrong. A farewell is left in [`Self::poll_transmit`]; close after it.
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Error> {
        self.keepalive.heard();
        let mut deframer = core::mem::take(&mut self.deframer);
        let result = self.handle_frames(now, &mut deframer, bytes);
        self.deframer = deframer;
        result.inspect_err(|error| self.fail(error))
    }

    /// Does what is due at `now`.
    ///
    /// # Errors
    /// [`Error::TimedOut`] if the peer is dead or has not greeted in time, [`Error::PathUnproven`] if
    /// full-size packets did not come back.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        let result = match self.state {
            State::Closed => Ok(()),
            State::ExpectGreeting | State::ExpectDecision => {
                if now < self.greeting_deadline {
                    Ok(())
                } else {
                    Err(Error::TimedOut {
                        awaited: "the greeting",
                    })
                }
            }
            State::Established => {
                let path = self.path.handle_timeout(now);
                path.and_then(|()| self.beat(now))
            }
        };
        result.inspect_err(|error| self.fail(error))
    }

    /// The next bytes to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outbox.pop()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<S::Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::ExpectGreeting | State::ExpectDecision => Some(self.greeting_deadline),
            State::Established => {
                let beat = self.keepalive.poll_timeout();
                Some(self.path.deadline().map_or(beat, |path| path.min(beat)))
            }
        }
    }

    /// Says farewell; nothing is awaited after it.
    pub fn close(&mut self, code: CloseCode) {
        if self.state != State::Closed {
            let _ = self.outbox.push(&Close { code, detail: "" });
            self.state = State::Closed;
        }
    }

    /// Asks for a ping at once, after a resume, a carrier or an address change, and for its
    /// answer within [`limits::PROBE_MAX`].
    ///
    /// Without effect before the greeting is done: that has a deadline of its own.
    pub fn probe(&mut self, now: Instant) {
        if self.state == State::Established {
            self.keepalive.probe(now);
        }
    }

    /// Whether the greeting is done and nobody has closed.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.state == State::Established
    }

    /// Whether a ping went unanswered.
    #[must_use]
    pub const fn is_suspect(&self) -> bool {
        self.keepalive.is_suspect()
    }

    /// The last measured round trip.
    #[must_use]
    pub const fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    fn beat(&mut self, now: Instant) -> Result<(), Error> {
        match self.keepalive.handle_timeout(now) {
            Beat::Wait => Ok(()),
            Beat::Ping => {
                self.ping_nonce = self.ping_nonce.wrapping_add(1);
                self.ping_sent = Some(now);
                self.outbox.push(&Ping {
                    nonce: self.ping_nonce,
                })
            }
            Beat::Dead => Err(Error::TimedOut {
                awaited: "an answer to its pings",
            }),
        }
    }

    fn fail(&mut self, error: &Error) {
        if self.state != State::Closed {
            self.outbox.push_close(error);
            self.state = State::Closed;
        }
    }

    fn handle_frames(
        &mut self,
        now: Instant,
        deframer: &mut Deframer,
        mut bytes: &[u8],
    ) -> Result<(), Error> {
        while let Some(frame) = deframer.next(&mut bytes)? {
            if self.state == State::Closed {
                return Ok(());
            }
            self.handle_frame(now, frame)?;
        }
        Ok(())
    }

    fn handle_frame(&mut self, now: Instant, frame: Frame<'_>) -> Result<(), Error> {
        match frame.id {
            Close::ID => {
                let code = Close::decode(frame)?.code;
                self.state = State::Closed;
                self.emit(S::closed(code))
            }
            Ping::ID if self.state == State::Established => {
                let nonce = Ping::decode(frame)?.nonce;
                self.outbox.push(&Pong { nonce })
            }
            Pong::ID if self.state == State::Established => {
                let nonce = Pong::decode(frame)?.nonce;
                if nonce == self.ping_nonce
                    && let Some(sent) = self.ping_sent.take()
                {
                    self.round_trip = Some(now.since(sent));
                    self.keepalive.answered(sent);
                }
                Ok(())
            }
            _ => S::handle_frame(self, now, frame),
        }
    }

    fn emit(&mut self, event: S::Event) -> Result<(), Error> {
        if self.events.len() >= EVENTS_MAX {
            return Err(Error::OutboxFull { max: EVENTS_MAX });
        }
        self.events.push_back(event);
        Ok(())
    }

    /// A frame that this end does not take in this state.
    fn stray(&self, frame: Frame<'_>) -> Result<(), Error> {
        if frame.is_ignorable() {
            return Ok(());
        }
        let awaited = match self.state {
            State::ExpectGreeting => "the greeting",
            State::ExpectDecision => "nothing before the welcome",
            State::Established | State::Closed => "a message of this side's peer",
        };
        if KNOWN.iter().any(|(id, _)| *id == frame.id) {
            Err(Error::UnexpectedMessage {
                id: frame.id,
                awaited,
            })
        } else {
            Err(Error::UnknownMessage { id: frame.id })
        }
    }
}

impl Side for ConnectorSide {
    type Event = ConnectorEvent;

    fn handle_frame(
        channel: &mut Channel<Self>,
        now: Instant,
        frame: Frame<'_>,
    ) -> Result<(), Error> {
        match (channel.state, frame.id) {
            (State::ExpectGreeting, Welcome::ID) => {
                let welcome = Welcome::decode(frame)?;
                channel.state = State::Established;
                channel.ask_path(now)?;
                channel.emit(ConnectorEvent::Welcomed {
                    name: truncated(welcome.name, limits::NAME_MAX).into(),
                    group: truncated(welcome.group, limits::NAME_MAX).into(),
                    reconnect_spread: Duration::from_millis(welcome.reconnect_spread_ms.into()),
                    reconnect_cap: Duration::from_millis(welcome.reconnect_cap_ms.into()),
                })
            }
            (State::Established, OpenSession::ID) => {
                let grant = OpenSession::decode(frame)?.grant.to_vec();
                channel.emit(ConnectorEvent::SessionOffered { grant })
            }
            (State::Established, PathProbeReply::ID) => {
                channel.handle_path_reply(&PathProbeReply::decode(frame)?)
            }
            _ => channel.stray(frame),
        }
    }

    fn closed(code: CloseCode) -> ConnectorEvent {
        ConnectorEvent::Closed { code }
    }
}

impl Side for EdgeSide {
    type Event = EdgeEvent;

    fn handle_frame(
        channel: &mut Channel<Self>,
        _now: Instant,
        frame: Frame<'_>,
    ) -> Result<(), Error> {
        match (channel.state, frame.id) {
            (State::ExpectGreeting, Hello::ID) => {
                let hello = Hello::decode(frame)?;
                channel.state = State::ExpectDecision;
                channel.emit(EdgeEvent::Greeted {
                    version: truncated(hello.version, limits::NAME_MAX).into(),
                    fingerprint: hello.fingerprint,
                    ratchet: hello.ratchet,
                })
            }
            (State::Established, SessionRefused::ID) => {
                let refused = SessionRefused::decode(frame)?;
                channel.emit(EdgeEvent::SessionRefused {
                    session: refused.session,
                    reason: refused.reason,
                    detail: truncated(refused.detail, limits::DETAIL_MAX).into(),
                })
            }
            (State::Established, PathProbe::ID) => {
                let PathProbe { nonce, padding } = PathProbe::decode(frame)?;
                channel.outbox.push(&PathProbeReply { nonce, padding })
            }
            _ => channel.stray(frame),
        }
    }

    fn closed(code: CloseCode) -> EdgeEvent {
        EdgeEvent::Closed { code }
    }
}

/// The longest start of `text` that has at most `max` bytes and ends between two characters.
fn truncated(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
