//! The edge's side of an enrolment.

use alloc::vec::Vec;

use crate::derive::{EdgeProofKey, Exporter, HeldExporter, request_is_signed};
use crate::error::Error;
use crate::frame::{Deframer, Frame};
use crate::limits;
use crate::message::{
    Close, EnrolAccepted, EnrolHello, EnrolProof, EnrolRefusal, EnrolRefused, EnrolRequest,
    Fingerprint, Message, unexpected,
};
use crate::outbox::Outbox;
use crate::time::{Instant, UnixSeconds};

/// What the edge has to decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeEvent {
    /// Look the key up and answer with [`Edge::key_found`] or [`Edge::refuse`].
    Lookup {
        /// The key's lookup id.
        key_id: [u8; 16],
    },
    /// The request is signed by the holder of the key. Spend a use and answer with
    /// [`Edge::accept`] or [`Edge::refuse`].
    Request {
        /// The signing request, DER; not parsed yet.
        csr: Vec<u8>,
        /// The machine's evidence.
        fingerprint: Fingerprint,
    },
}

/// The edge's side.
#[derive(Debug)]
pub struct Edge {
    state: EdgeState,
    exporter: HeldExporter,
    deframer: Deframer,
    outbox: Outbox,
    event: Option<EdgeEvent>,
    deadline: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EdgeState {
    ExpectHello,
    ExpectKey,
    ExpectRequest { public_key: [u8; 32] },
    ExpectDecision,
    Done,
}

impl Edge {
    /// Awaits an enrolment on a TLS session whose exporter is `exporter`.
    #[must_use]
    pub fn new(now: Instant, exporter: Exporter) -> Self {
        Self {
            state: EdgeState::ExpectHello,
            exporter: HeldExporter(exporter),
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
        if let Err(error) = &result {
            self.state = EdgeState::Done;
            self.event = None;
            self.outbox.push_close(error);
        }
        result
    }

    /// The key exists: proves the edge and awaits the request. Whether the key is still good is
    /// said only after the connector proved that it holds it.
    ///
    /// # Errors
    /// [`Error::OutboxFull`] if the CA certificate is larger than a message may be.
    pub fn key_found(
        &mut self,
        public_key: [u8; 32],
        proof_key: &EdgeProofKey,
        ca: &[u8],
        time: UnixSeconds,
    ) -> Result<(), Error> {
        debug_assert_eq!(
            self.state,
            EdgeState::ExpectKey,
            "answers EdgeEvent::Lookup"
        );
        let mac = proof_key.proof(&self.exporter.0, ca, time);
        self.outbox.push(&EnrolProof { ca, time, mac })?;
        self.state = EdgeState::ExpectRequest { public_key };
        Ok(())
    }

    /// Refuses, after either event. The connection ends once the answer is sent.
    pub fn refuse(&mut self, reason: EnrolRefusal) {
        let _ = self.outbox.push(&EnrolRefused { reason });
        self.state = EdgeState::Done;
    }

    /// Hands the certificate out. The connection ends once the answer is sent.
    ///
    /// # Errors
    /// [`Error::OutboxFull`] if the certificate is larger than a message may be.
    pub fn accept(&mut self, accepted: &EnrolAccepted<'_>) -> Result<(), Error> {
        debug_assert_eq!(
            self.state,
            EdgeState::ExpectDecision,
            "answers EdgeEvent::Request"
        );
        self.state = EdgeState::Done;
        self.outbox.push(accepted)
    }

    /// Whether everything is said: send what is left, then close.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == EdgeState::Done
    }

    /// Ends the enrolment if its time is over; a farewell is left in [`Self::poll_transmit`].
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
        self.state = EdgeState::Done;
        self.outbox.push_close(&error);
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

    fn handle_frames(&mut self, deframer: &mut Deframer, mut bytes: &[u8]) -> Result<(), Error> {
        while let Some(frame) = deframer.next(&mut bytes)? {
            self.handle_frame(frame)?;
        }
        Ok(())
    }

    fn handle_frame(&mut self, frame: Frame<'_>) -> Result<(), Error> {
        match (self.state, frame.id) {
            (_, Close::ID) => Err(Error::PeerClosed {
                code: Close::decode(frame)?.code,
            }),
            (EdgeState::ExpectHello, EnrolHello::ID) => {
                let key_id = EnrolHello::decode(frame)?.key_id;
                self.event = Some(EdgeEvent::Lookup { key_id });
                self.state = EdgeState::ExpectKey;
                Ok(())
            }
            (EdgeState::ExpectRequest { public_key }, EnrolRequest::ID) => {
                self.handle_request(&public_key, &EnrolRequest::decode(frame)?)
            }
            _ if frame.is_ignorable() => Ok(()),
            _ => Err(unexpected(frame, self.awaited())),
        }
    }

    fn handle_request(
        &mut self,
        public_key: &[u8; 32],
        request: &EnrolRequest<'_>,
    ) -> Result<(), Error> {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&request.signature_r);
        signature[32..].copy_from_slice(&request.signature_s);
        if !request_is_signed(public_key, &self.exporter.0, request.csr, &signature) {
            return Err(Error::ProofInvalid);
        }
        self.state = EdgeState::ExpectDecision;
        self.event = Some(EdgeEvent::Request {
            csr: request.csr.to_vec(),
            fingerprint: request.fingerprint,
        });
        Ok(())
    }

    const fn awaited(&self) -> &'static str {
        match self.state {
            EdgeState::ExpectHello => "EnrolHello",
            EdgeState::ExpectKey | EdgeState::ExpectDecision => "the edge's own decision",
            EdgeState::ExpectRequest { .. } => "EnrolRequest",
            EdgeState::Done => "the end of the connection",
        }
    }
}
