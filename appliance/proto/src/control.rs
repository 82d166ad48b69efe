//! The control channel: greeting, trust anchors, ratchet, liveness, sessions offered and refused.
//!
//! ```text
//! connector                                  edge
//! Hello{version, fingerprint, ratchet} --->
//!                                      <---  Recognised{verdict, admitted}, unless all is as before;
//!                                            not admitted: Close{Held}, and that is all
//!                                      <---  Welcome{name, group, reconnect ..}
//! PathProbe{4 KiB}                     --->
//!                                      <---  PathProbeReply{4 KiB}, within 15 s
//!                                      <---  Trust{ca, other_ca}, at every change again
//! TrustStored{digest}                  --->  once they are on the disk
//!                                      <---  Ratchet{step, value}, again at any time
//! RatchetStored{step}                  --->  once it is on the disk
//!        Ping / Pong, both ways, every 15 s
//!                                      <---  OpenSession{grant}, once a ratchet value was stored
//! SessionRefused{..}                   --->          or a data channel that attaches
//!        Close, either way
//! ```
//!
//! What is common to both ends is here; [`ConnectorSide`] and [`EdgeSide`] hold what is not.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::error::Error;
use crate::frame::{Deframer, Frame};
use crate::keepalive::{Beat, Keepalive};
use crate::limits;
use crate::message::{Close, CloseCode, Message, Ping, Pong, unexpected};
use crate::outbox::Outbox;
use crate::time::Instant;

mod connector;
mod edge;
mod fuzz;
mod path;

pub use connector::{ConnectorEvent, ConnectorSide};
pub use edge::{EdgeEvent, EdgeSide};
pub use fuzz::fuzz_control;

/// Events that wait to be taken with `poll_event`. The driver drains after every input, so this is
/// reached only by one read full of small messages; what is over it ends the channel.
const EVENTS_MAX: usize = 256;

/// One end of a control channel. `S` is [`ConnectorSide`] or [`EdgeSide`].
///
/// What a driver asks for at the wrong moment is [`Error::NotReady`]: nothing was sent, and the channel
/// goes on. Every other error ends it.
#[derive(Debug)]
pub struct Channel<S: Side> {
    side: S,
    state: State,
    deframer: Deframer,
    outbox: Outbox,
    events: VecDeque<S::Event>,
    keepalive: Keepalive,
    greeting_deadline: Instant,
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
pub trait Side: core::fmt::Debug + Default {
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

    /// The peer answered the ping that was sent at `sent`.
    ///
    /// # Errors
    /// What the peer did wrong.
    fn answered(channel: &mut Channel<Self>, sent: Instant) -> Result<(), Error>;

    /// When something of this end alone is due, while the channel is established.
    fn deadline(&self) -> Option<Instant>;

    /// Whether what is due may still come.
    ///
    /// # Errors
    /// What did not come in time.
    fn handle_timeout(&self, now: Instant) -> Result<(), Error>;

    /// The event for a peer that closes.
    fn closed(code: CloseCode) -> Self::Event;
}

impl<S: Side> Channel<S> {
    fn new(now: Instant, seed: u64) -> Self {
        Self {
            side: S::default(),
            state: State::ExpectGreeting,
            deframer: Deframer::new(),
            outbox: Outbox::default(),
            events: VecDeque::new(),
            keepalive: Keepalive::new(now, seed),
            greeting_deadline: now + limits::GREETING_MAX,
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
                let side = self.side.handle_timeout(now);
                side.and_then(|()| self.beat(now))
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
                Some(self.side.deadline().map_or(beat, |side| side.min(beat)))
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
                    return S::answered(self, sent);
                }
                Ok(())
            }
            _ => S::handle_frame(self, now, frame),
        }
    }

    /// Whether the greeting is done, for what may only be sent after it.
    fn established(&self) -> Result<(), Error> {
        if self.state == State::Established {
            Ok(())
        } else {
            let awaited = "a welcomed connector that has not closed";
            Err(Error::NotReady { awaited })
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
        Err(unexpected(frame, awaited))
    }
}
