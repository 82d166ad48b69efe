//! The edge's end of a control channel.

use alloc::string::String;
use core::time::Duration;

use super::{Channel, Side, State};
use crate::error::Error;
use crate::frame::Frame;
use crate::limits;
use crate::message::{
    Capacity, CloseCode, Fingerprint, Hello, Message, OpenSession, PathProbe, PathProbeReply,
    Ratchet, RatchetStored, RatchetValue, Recognised, SessionRefusal, SessionRefused, Succeed,
    Trust, TrustStored, Verdict, Welcome, truncated,
};
use crate::time::Instant;

/// Trust anchors that one connector has been sent and has not answered for: a fourth change of the
/// roots while a connector's disk fails is news for its next channel.
const TRUST_UNANSWERED_MAX: usize = 4;

/// What happened on the edge's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeEvent {
    /// The connector introduced itself; answer with [`Channel::recognise`] if it is not the machine it
    /// was, then with [`Channel::welcome`] or [`Channel::close`].
    Greeted {
        /// Its version.
        version: String,
        /// Its evidence.
        fingerprint: Fingerprint,
        /// The ratchet value it stored last.
        ratchet: RatchetValue,
    },
    /// The connector answered what [`Channel::ask_alive`] asked.
    Alive,
    /// The ratchet value of this step is on the connector's disk: sessions may be offered.
    RatchetStored {
        /// Which.
        step: u64,
    },
    /// Trust anchors are on the connector's disk and in force.
    TrustStored {
        /// Which: their [`Trust::digest`].
        digest: [u8; 32],
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
    /// The connector carries so many sessions at once and no more.
    Capacity {
        /// At most [`limits::CAPACITY_MAX`].
        sessions: u32,
    },
    /// The connector closes the channel.
    Closed {
        /// Why.
        code: CloseCode,
    },
}

/// What only the edge's end knows.
#[derive(Debug, Default)]
pub struct EdgeSide {
    /// Whether the connector was told that it is, or is not, admitted.
    admitted: Option<bool>,
    /// The step of the ratchet value that is yet to be answered.
    ratchet: Option<u64>,
    /// Whether a ratchet value of this channel is on the connector's disk.
    is_ratchet_stored: bool,
    /// Digests of the trust anchors that are yet to be answered, in the order in which they were sent.
    trust: heapless::Vec<[u8; 32], TRUST_UNANSWERED_MAX>,
    /// Somebody asked whether the connector is there.
    asked: Option<Asked>,
}

/// A question whether the connector is there.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    deadline: Instant,
}

impl Channel<EdgeSide> {
    /// The edge's end: awaits a hello.
    #[must_use]
    pub fn edge(now: Instant, seed: u64) -> Self {
        Self::new(now, seed)
    }

    /// Tells the connector what it is taken for, after [`EdgeEvent::Greeted`]: before
    /// [`Self::welcome`] if it is `admitted` all the same, else before [`Self::close`]. Without effect if
    /// it closed right behind its hello.
    ///
    /// # Errors
    /// [`Error::NotReady`] at any other time, and the second time.
    pub fn recognise(&mut self, verdict: Verdict, admitted: bool) -> Result<(), Error> {
        if self.state == State::Closed {
            return Ok(());
        }
        if self.state != State::ExpectDecision || self.side.admitted.is_some() {
            let awaited = "a hello that is not answered yet";
            return Err(Error::NotReady { awaited });
        }
        self.outbox.push(&Recognised { verdict, admitted })?;
        self.side.admitted = Some(admitted);
        Ok(())
    }

    /// Takes the connector in, after [`EdgeEvent::Greeted`]. Without effect if it closed right
    /// behind its hello: [`EdgeEvent::Closed`] is the next event then.
    ///
    /// # Errors
    /// [`Error::NotReady`] at any other time, and for a connector that was told that it is not admitted;
    /// [`Error::OutboxFull`] if the names are longer than a message may be.
    pub fn welcome(&mut self, welcome: &Welcome<'_>) -> Result<(), Error> {
        if self.state == State::Closed {
            return Ok(());
        }
        if self.state != State::ExpectDecision || self.side.admitted == Some(false) {
            let awaited = "the hello of a connector that is admitted";
            return Err(Error::NotReady { awaited });
        }
        self.outbox.push(welcome)?;
        self.state = State::Established;
        Ok(())
    }

    /// Hands out a ratchet value, right behind the welcome and whenever there is a reason to.
    /// [`EdgeEvent::RatchetStored`] follows once it is on the connector's disk, however long that takes.
    ///
    /// # Errors
    /// [`Error::NotReady`] unless the connector is welcomed and has stored every value before: look at
    /// [`Self::unstored_ratchet`] before a value is made. [`Error::OutboxFull`] if the connector does not read.
    pub fn ratchet(&mut self, step: u64, value: RatchetValue) -> Result<(), Error> {
        self.established()?;
        if self.side.ratchet.is_some() {
            let awaited = "the last ratchet value being stored";
            return Err(Error::NotReady { awaited });
        }
        self.outbox.push(&Ratchet { step, value })?;
        self.side.ratchet = Some(step);
        Ok(())
    }

    /// The step of the ratchet value that the connector has been sent and has not stored yet.
    #[must_use]
    pub const fn unstored_ratchet(&self) -> Option<u64> {
        self.side.ratchet
    }

    /// Whether sessions may be offered: the channel is up, and one of its ratchet values is on the
    /// connector's disk. A newer value on its way stops no session.
    #[must_use]
    pub fn takes_sessions(&self) -> bool {
        self.is_established() && self.side.is_ratchet_stored
    }

    /// Tells the connector the trust anchors, right behind the welcome and at every change, whether it
    /// answered for the ones before or not. [`EdgeEvent::TrustStored`] names those it has stored.
    ///
    /// # Errors
    /// [`Error::NotReady`] unless the connector is welcomed, and when it has answered for none of the
    /// last four; [`Error::OutboxFull`] if the connector does not read.
    pub fn trust(&mut self, ca: &[u8], other_ca: &[u8]) -> Result<(), Error> {
        self.established()?;
        if self.side.trust.is_full() {
            let awaited = "the trust anchors before being stored";
            return Err(Error::NotReady { awaited });
        }
        let trust = Trust { ca, other_ca };
        self.outbox.push(&trust)?;
        // There is room, by the check above.
        let _ = self.side.trust.push(trust.digest());
        Ok(())
    }

    /// Offers a session.
    ///
    /// # Errors
    /// [`Error::NotReady`] unless [`Self::takes_sessions`]: choose another tunnel. [`Error::OutboxFull`]
    /// if the connector does not read.
    pub fn open_session(&mut self, grant: &[u8]) -> Result<(), Error> {
        if !self.takes_sessions() {
            let awaited = "a ratchet value of this channel being stored";
            return Err(Error::NotReady { awaited });
        }
        self.outbox.push(&OpenSession { grant })
    }

    /// Has the connector attach the data channel of this number to a session whose keys near their limit.
    ///
    /// # Errors
    /// [`Error::NotReady`] unless the connector is welcomed; [`Error::OutboxFull`] if it does not read.
    pub fn ask_successor(&mut self, session: [u8; 16], channel: u32) -> Result<(), Error> {
        self.established()?;
        self.outbox.push(&Succeed { session, channel })
    }

    /// Asks the connector whether it is there, because somebody else says that he is it.
    /// [`EdgeEvent::Alive`] says that it answered this very question; without it in `within`, at most
    /// [`limits::PROBE_MAX`], the channel ends with [`Error::Silent`], and the connector, should it hear
    /// that, is told that it was replaced. Who asks meanwhile shares the answer that is awaited.
    ///
    /// # Errors
    /// [`Error::NotReady`] unless the connector is welcomed and nobody has closed.
    pub fn ask_alive(&mut self, now: Instant, within: Duration) -> Result<(), Error> {
        self.established()?;
        if self.side.asked.is_none() {
            let deadline = now + within;
            self.side.asked = Some(Asked { at: now, deadline });
            self.keepalive.probe(now);
        }
        Ok(())
    }

    fn handle_hello(&mut self, hello: &Hello<'_>) -> Result<(), Error> {
        self.state = State::ExpectDecision;
        self.emit(EdgeEvent::Greeted {
            version: truncated(hello.version, limits::NAME_MAX).into(),
            fingerprint: hello.fingerprint,
            ratchet: hello.ratchet,
        })
    }

    fn handle_ratchet_stored(&mut self, step: u64) -> Result<(), Error> {
        if self.side.ratchet != Some(step) {
            return Err(Error::UnexpectedMessage {
                id: RatchetStored::ID,
                awaited: "the step of the ratchet value that was sent",
            });
        }
        self.side.ratchet = None;
        self.side.is_ratchet_stored = true;
        self.emit(EdgeEvent::RatchetStored { step })
    }

    /// Who stored newer anchors need not answer for older ones.
    fn handle_trust_stored(&mut self, digest: [u8; 32]) -> Result<(), Error> {
        let Some(place) = self.side.trust.iter().position(|sent| *sent == digest) else {
            return Err(Error::UnexpectedMessage {
                id: TrustStored::ID,
                awaited: "the digest of trust anchors that were sent",
            });
        };
        self.side.trust = self.side.trust.iter().skip(place + 1).copied().collect();
        self.emit(EdgeEvent::TrustStored { digest })
    }

    fn handle_session_refused(&mut self, refused: &SessionRefused<'_>) -> Result<(), Error> {
        self.emit(EdgeEvent::SessionRefused {
            session: refused.session,
            reason: refused.reason,
            detail: truncated(refused.detail, limits::DETAIL_MAX).into(),
        })
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
            (State::ExpectGreeting, Hello::ID) => channel.handle_hello(&Hello::decode(frame)?),
            (State::Established, PathProbe::ID) => {
                let PathProbe { nonce, padding } = PathProbe::decode(frame)?;
                channel.outbox.push(&PathProbeReply { nonce, padding })
            }
            (State::Established, RatchetStored::ID) => {
                channel.handle_ratchet_stored(RatchetStored::decode(frame)?.step)
            }
            (State::Established, TrustStored::ID) => {
                channel.handle_trust_stored(TrustStored::decode(frame)?.digest)
            }
            (State::Established, SessionRefused::ID) => {
                channel.handle_session_refused(&SessionRefused::decode(frame)?)
            }
            (State::Established, Capacity::ID) => {
                let sessions = Capacity::decode(frame)?.sessions.min(limits::CAPACITY_MAX);
                channel.emit(EdgeEvent::Capacity { sessions })
            }
            _ => channel.stray(frame),
        }
    }

    fn answered(channel: &mut Channel<Self>, sent: Instant) -> Result<(), Error> {
        if channel.side.asked.is_none_or(|asked| sent < asked.at) {
            return Ok(());
        }
        channel.side.asked = None;
        channel.emit(EdgeEvent::Alive)
    }

    fn deadline(&self) -> Option<Instant> {
        self.asked.map(|asked| asked.deadline)
    }

    fn handle_timeout(&self, now: Instant) -> Result<(), Error> {
        match self.asked {
            Some(Asked { at, deadline }) if deadline <= now => {
                let waited_s = deadline.since(at).as_secs();
                Err(Error::Silent { waited_s })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn closed(code: CloseCode) -> EdgeEvent {
        EdgeEvent::Closed { code }
    }
}
