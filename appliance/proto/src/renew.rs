//! Renewal: a certificate for a new key pair, asked for with the one before.
//!
//! ```text
//! connector                                    edge
//! RenewRequest{csr, fingerprint, ratchet} --->
//!                                         <---  RenewAccepted{certificate, generation}
//!                                               or RenewRefused{reason}, and the edge closes
//! ```
//! TLS has shown both who they are: the connector by the certificate that is to be renewed, expired or
//! not. The new private key is on the disk before it is asked for, so a reply that is lost is asked
//! for again with the same request and yields the same generation.

use alloc::vec::Vec;

use crate::error::Error;
use crate::frame::{Deframer, Frame};
use crate::limits;
use crate::message::{
    Close, Fingerprint, Message, RatchetValue, RenewAccepted, RenewRefusal, RenewRefused,
    RenewRequest, unexpected,
};
use crate::outbox::Outbox;
use crate::time::Instant;

mod fuzz;

pub use fuzz::fuzz_renew;

/// What became of a renewal, on the connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectorEvent {
    /// Done. The certificate is not looked into yet.
    Renewed {
        /// The new certificate, DER.
        certificate: Vec<u8>,
        /// Counts the connector's certificates.
        generation: u32,
    },
    /// The edge refused.
    Refused(RenewRefusal),
}

/// The connector's side, from `RenewRequest` to its answer.
#[derive(Debug)]
pub struct Connector {
    deframer: Deframer,
    outbox: Outbox,
    event: Option<ConnectorEvent>,
    /// `None` once everything is said.
    deadline: Option<Instant>,
}

impl Connector {
    /// Asks for a certificate. The private key of `csr` must be stored before this is called; `ratchet` is
    /// the newest value that is stored.
    ///
    /// # Errors
    /// [`Error::OutboxFull`] if `csr` is larger than a message may be.
    pub fn new(
        now: Instant,
        csr: &[u8],
        fingerprint: Fingerprint,
        ratchet: RatchetValue,
    ) -> Result<Self, Error> {
        let mut outbox = Outbox::default();
        outbox.push(&RenewRequest {
            csr,
            fingerprint,
            ratchet,
        })?;
        Ok(Self {
            deframer: Deframer::new(),
            outbox,
            event: None,
            deadline: Some(now + limits::GREETING_MAX),
        })
    }

    /// Takes bytes of the edge.
    ///
    /// # Errors
    /// What the edge did wrong, or [`Error::PeerClosed`]. A farewell is left in
    /// [`Self::poll_transmit`]; the connection is to be closed after it.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut deframer = core::mem::take(&mut self.deframer);
        let result = self.handle_frames(&mut deframer, bytes);
        self.deframer = deframer;
        result.inspect_err(|error| self.fail(error))
    }

    /// Ends the renewal if its time is over; a farewell is left in [`Self::poll_transmit`].
    ///
    /// # Errors
    /// [`Error::TimedOut`].
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let error = Error::TimedOut { awaited: AWAITED };
        self.fail(&error);
        Err(error)
    }

    /// The next bytes to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outbox.pop()
    }

    /// What happened.
    pub const fn poll_event(&mut self) -> Option<ConnectorEvent> {
        self.event.take()
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    fn fail(&mut self, error: &Error) {
        self.deadline = None;
        self.outbox.push_close(error);
    }

    fn handle_frames(&mut self, deframer: &mut Deframer, mut bytes: &[u8]) -> Result<(), Error> {
        while let Some(frame) = deframer.next(&mut bytes)? {
            self.handle_frame(frame)?;
        }
        Ok(())
    }

    fn handle_frame(&mut self, frame: Frame<'_>) -> Result<(), Error> {
        let event = match frame.id {
            Close::ID => return Err(closed(frame)),
            _ if self.deadline.is_none() => return Err(unexpected(frame, "no second answer")),
            RenewAccepted::ID => renewed(&RenewAccepted::decode(frame)?)?,
            RenewRefused::ID => ConnectorEvent::Refused(RenewRefused::decode(frame)?.reason),
            _ if frame.is_ignorable() => return Ok(()),
            _ => return Err(unexpected(frame, AWAITED)),
        };
        self.event = Some(event);
        self.deadline = None;
        Ok(())
    }
}

/// What the edge has to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeEvent {
    /// Answer with [`Edge::accept`] or [`Edge::refuse`].
    Request {
        /// The signing request, not checked yet, DER.
        csr: Vec<u8>,
        /// The machine's evidence.
        fingerprint: Fingerprint,
        /// The ratchet value it stored last.
        ratchet: RatchetValue,
    },
}

/// The edge's side, from the handshake to its answer.
#[derive(Debug)]
pub struct Edge {
    state: EdgeState,
    deframer: Deframer,
    outbox: Outbox,
    event: Option<EdgeEvent>,
    deadline: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EdgeState {
    ExpectRequest,
    ExpectDecision,
    Done,
}

impl Edge {
    /// Awaits a renewal.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            state: EdgeState::ExpectRequest,
            deframer: Deframer::new(),
            outbox: Outbox::default(),
            event: None,
            deadline: now + limits::GREETING_MAX,
        }
    }

    /// Takes bytes of the connector.
    ///
    /// # Errors
    /// What the connector did wrong. A farewell is left in [`Self::poll_transmit`], and nothing is
    /// left to decide.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut deframer = core::mem::take(&mut self.deframer);
        let result = self.handle_frames(&mut deframer, bytes);
        self.deframer = deframer;
        result.inspect_err(|error| self.fail(error))
    }

    /// Hands the certificate out. The connection ends once the answer is sent. Without effect if the
    /// connector closed or its time is over meanwhile.
    ///
    /// # Errors
    /// [`Error::NotReady`] before [`EdgeEvent::Request`]; [`Error::OutboxFull`] if the certificate is larger
    /// than a message may be.
    pub fn accept(&mut self, accepted: &RenewAccepted<'_>) -> Result<(), Error> {
        match self.state {
            EdgeState::ExpectRequest => Err(Error::NotReady {
                awaited: "RenewRequest",
            }),
            EdgeState::ExpectDecision => {
                self.outbox.push(accepted)?;
                self.state = EdgeState::Done;
                Ok(())
            }
            EdgeState::Done => Ok(()),
        }
    }

    /// Refuses. The connection ends once the answer is sent.
    pub fn refuse(&mut self, reason: RenewRefusal) {
        if !self.is_done() {
            let _ = self.outbox.push(&RenewRefused { reason });
            self.state = EdgeState::Done;
        }
    }

    /// Whether everything is said: send what is left, then close.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == EdgeState::Done
    }

    /// Ends the renewal if its time is over; a farewell is left in [`Self::poll_transmit`].
    ///
    /// # Errors
    /// [`Error::TimedOut`].
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let error = Error::TimedOut {
            awaited: self.awaited(),
        };
        self.fail(&error);
        Err(error)
    }

    /// The next bytes to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outbox.pop()
    }

    /// What has to be decided.
    pub const fn poll_event(&mut self) -> Option<EdgeEvent> {
        self.event.take()
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.is_done()).then_some(self.deadline)
    }

    fn fail(&mut self, error: &Error) {
        self.state = EdgeState::Done;
        self.event = None;
        self.outbox.push_close(error);
    }

    fn handle_frames(&mut self, deframer: &mut Deframer, mut bytes: &[u8]) -> Result<(), Error> {
        while let Some(frame) = deframer.next(&mut bytes)? {
            self.handle_frame(frame)?;
        }
        Ok(())
    }

    fn handle_frame(&mut self, frame: Frame<'_>) -> Result<(), Error> {
        match (self.state, frame.id) {
            (_, Close::ID) => Err(closed(frame)),
            (EdgeState::ExpectRequest, RenewRequest::ID) => {
                let request = RenewRequest::decode(frame)?;
                self.state = EdgeState::ExpectDecision;
                self.event = Some(EdgeEvent::Request {
                    csr: request.csr.to_vec(),
                    fingerprint: request.fingerprint,
                    ratchet: request.ratchet,
                });
                Ok(())
            }
            _ if frame.is_ignorable() => Ok(()),
            _ => Err(unexpected(frame, self.awaited())),
        }
    }

    const fn awaited(&self) -> &'static str {
        match self.state {
            EdgeState::ExpectRequest => "RenewRequest",
            EdgeState::ExpectDecision => "the edge's own decision",
            EdgeState::Done => "the end of the connection",
        }
    }
}

/// What the connector waits for.
const AWAITED: &str = "RenewAccepted";

fn renewed(accepted: &RenewAccepted<'_>) -> Result<ConnectorEvent, Error> {
    if accepted.certificate.is_empty() || accepted.certificate.len() > limits::DER_MAX {
        return Err(Error::InvalidMessage {
            id: RenewAccepted::ID,
        });
    }
    Ok(ConnectorEvent::Renewed {
        certificate: accepted.certificate.to_vec(),
        generation: accepted.generation,
    })
}

fn closed(frame: Frame<'_>) -> Error {
    match Close::decode(frame) {
        Ok(Close { code, .. }) => Error::PeerClosed { code },
        Err(error) => error,
    }
}
