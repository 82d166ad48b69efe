//! The connector's end of a control channel.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::path::Path;
use super::{Channel, Side, State};
use crate::error::Error;
use crate::frame::Frame;
use crate::limits;
use crate::message::{
    Capacity, CloseCode, Fingerprint, Hello, Message, OpenSession, PathProbeReply, Ratchet,
    RatchetStored, RatchetValue, Recognised, SessionRefusal, SessionRefused, Succeed, Trust,
    TrustStored, Verdict, Welcome, truncated,
};
use crate::time::Instant;

/// What happened on the connector's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectorEvent {
    /// The edge does not take this machine for what it was before. `Welcomed` follows if `admitted`,
    /// else `Closed`.
    Recognised {
        /// What it takes it for.
        verdict: Verdict,
        /// Whether it takes it in all the same.
        admitted: bool,
    },
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
    /// The ratchet value to store: write it, flush it, read it back, and only then call
    /// [`Channel::ratchet_stored`].
    Ratchet {
        /// Counts the values; greater than every one before on this channel.
        step: u64,
        /// The value.
        value: RatchetValue,
    },
    /// The trust anchors from here on, not looked into yet: write them, and only then call
    /// [`Channel::trust_stored`]. Of those that come meanwhile only the last need be answered.
    Trust {
        /// The CA certificate that issues now, DER.
        ca: Vec<u8>,
        /// The other one, DER; empty if there is one only.
        other_ca: Vec<u8>,
    },
    /// A session is offered; the grant is not checked yet.
    SessionOffered {
        /// The signed grant.
        grant: Vec<u8>,
    },
    /// The edge wants a session to go on on a fresh data channel.
    Succeed {
        /// Which session.
        session: [u8; 16],
        /// The number of that channel; what the connector has attached already is there.
        channel: u32,
    },
    /// The edge closes the channel.
    Closed {
        /// Why.
        code: CloseCode,
    },
}

/// What only the connector's end knows.
#[derive(Debug, Default)]
pub struct ConnectorSide {
    pub(super) path: Path,
    /// Whether the edge admits the machine, once it said what it takes it for.
    admitted: Option<bool>,
    /// The step of the newest ratchet value; 0 before the first.
    ratchet: u64,
    /// Whether that value is yet to be answered.
    is_ratchet_unanswered: bool,
    /// Digest of the trust anchors that are yet to be answered.
    trust: Option<[u8; 32]>,
}

impl Channel<ConnectorSide> {
    /// The connector's end: says hello. `ratchet` is the newest value that is on the disk.
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

    /// Tells the edge that the value of [`ConnectorEvent::Ratchet`] is on the disk, flushed and read back.
    ///
    /// # Errors
    /// [`Error::NotReady`] unless `step` is the one that is yet to be answered on this channel;
    /// [`Error::OutboxFull`] if the edge does not read.
    pub fn ratchet_stored(&mut self, step: u64) -> Result<(), Error> {
        self.established()?;
        if !self.side.is_ratchet_unanswered || self.side.ratchet != step {
            let awaited = "a ratchet value of that step";
            return Err(Error::NotReady { awaited });
        }
        self.outbox.push(&RatchetStored { step })?;
        self.side.is_ratchet_unanswered = false;
        Ok(())
    }

    /// Tells the edge how many sessions this connector can carry, behind the welcome and at every change.
    ///
    /// # Errors
    /// [`Error::NotReady`] unless the channel is up; [`Error::OutboxFull`] if the edge does not read.
    pub fn announce_capacity(&mut self, sessions: u32) -> Result<(), Error> {
        self.established()?;
        self.outbox.push(&Capacity { sessions })
    }

    /// Tells the edge that the anchors of [`ConnectorEvent::Trust`] are on the disk and in force;
    /// `digest` is their [`Trust::digest`].
    ///
    /// # Errors
    /// [`Error::NotReady`] unless `digest` is that of the newest ones, yet to be answered on this
    /// channel; [`Error::OutboxFull`] if the edge does not read.
    pub fn trust_stored(&mut self, digest: [u8; 32]) -> Result<(), Error> {
        self.established()?;
        if self.side.trust != Some(digest) {
            let awaited = "trust anchors with that digest";
            return Err(Error::NotReady { awaited });
        }
        self.outbox.push(&TrustStored { digest })?;
        self.side.trust = None;
        Ok(())
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

    fn handle_recognised(&mut self, recognised: Recognised) -> Result<(), Error> {
        let Recognised { verdict, admitted } = recognised;
        self.side.admitted = Some(admitted);
        self.emit(ConnectorEvent::Recognised { verdict, admitted })
    }

    fn handle_welcome(&mut self, now: Instant, welcome: &Welcome<'_>) -> Result<(), Error> {
        self.state = State::Established;
        self.ask_path(now)?;
        self.emit(ConnectorEvent::Welcomed {
            name: truncated(welcome.name, limits::NAME_MAX).into(),
            group: truncated(welcome.group, limits::NAME_MAX).into(),
            reconnect_spread: Duration::from_millis(welcome.reconnect_spread_ms.into()),
            reconnect_cap: Duration::from_millis(welcome.reconnect_cap_ms.into()),
        })
    }

    fn handle_ratchet(&mut self, ratchet: Ratchet) -> Result<(), Error> {
        let Ratchet { step, value } = ratchet;
        let id = Ratchet::ID;
        if self.side.is_ratchet_unanswered {
            let awaited = "no ratchet value before the last one was stored";
            return Err(Error::UnexpectedMessage { id, awaited });
        }
        let last = self.side.ratchet;
        if step <= last {
            return Err(Error::RatchetStep { step, last });
        }
        if value == RatchetValue::default() {
            return Err(Error::InvalidMessage { id });
        }
        self.side.ratchet = step;
        self.side.is_ratchet_unanswered = true;
        self.emit(ConnectorEvent::Ratchet { step, value })
    }

    fn handle_trust(&mut self, trust: &Trust<'_>) -> Result<(), Error> {
        let Trust { ca, other_ca } = *trust;
        if ca.is_empty() || ca.len().max(other_ca.len()) > limits::DER_MAX {
            return Err(Error::InvalidMessage { id: Trust::ID });
        }
        self.side.trust = Some(trust.digest());
        let (ca, other_ca) = (ca.to_vec(), other_ca.to_vec());
        self.emit(ConnectorEvent::Trust { ca, other_ca })
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
            (State::ExpectGreeting, Recognised::ID) if channel.side.admitted.is_none() => {
                channel.handle_recognised(Recognised::decode(frame)?)
            }
            (State::ExpectGreeting, Welcome::ID) if channel.side.admitted != Some(false) => {
                channel.handle_welcome(now, &Welcome::decode(frame)?)
            }
            (State::Established, PathProbeReply::ID) => {
                channel.handle_path_reply(&PathProbeReply::decode(frame)?)
            }
            (State::Established, Ratchet::ID) => channel.handle_ratchet(Ratchet::decode(frame)?),
            (State::Established, Trust::ID) => channel.handle_trust(&Trust::decode(frame)?),
            (State::Established, OpenSession::ID) => {
                let grant = OpenSession::decode(frame)?.grant.to_vec();
                channel.emit(ConnectorEvent::SessionOffered { grant })
            }
            (State::Established, Succeed::ID) => {
                let Succeed {
                    session,
                    channel: number,
                } = Succeed::decode(frame)?;
                channel.emit(ConnectorEvent::Succeed {
                    session,
                    channel: number,
                })
            }
            _ => channel.stray(frame),
        }
    }

    fn answered(_channel: &mut Channel<Self>, _sent: Instant) -> Result<(), Error> {
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        self.path.deadline()
    }

    fn handle_timeout(&self, now: Instant) -> Result<(), Error> {
        self.path.handle_timeout(now)
    }

    fn closed(code: CloseCode) -> ConnectorEvent {
        ConnectorEvent::Closed { code }
    }
}
