//! Enrolment: the key proves both sides to each other, then a certificate is issued.
//!
//! ```text
//! connector                                 edge
//! EnrolHello{key_id}                 --->
//!                                    <---   EnrolProof{ca, time, mac}   or EnrolRefused{KeyUnknown}
//! EnrolRequest{csr, .., signature}   --->                               (only if mac holds)
//!                                    <---   EnrolAccepted{..}           or EnrolRefused{..}
//! ```
//! TLS runs underneath with a certificate that the connector has no pin for. Both proofs cover the
//! exporter of that TLS session, so neither can be answered or relayed from another one.

use alloc::vec::Vec;

use crate::derive::{EdgeProofKey, EnrolSecrets, Exporter, request_is_signed};
use crate::error::Error;
use crate::frame::{Deframer, Frame};
use crate::limits;
use crate::message::{
    Close, EnrolAccepted, EnrolHello, EnrolProof, EnrolRefusal, EnrolRefused, EnrolRequest,
    Fingerprint, Message,
};
use crate::outbox::Outbox;
use crate::record::Identity;
use crate::time::{Instant, UnixSeconds};

mod fuzz;

pub use fuzz::fuzz_enrol;

/// What an enrolment yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// Who the connector is from here on, and whom it trusts.
    pub identity: Identity,
    /// The edge's time, authenticated by its proof.
    pub time: UnixSeconds,
}

/// What became of an enrolment, on the connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectorEvent {
    /// The edge knows the key. The request goes out next.
    EdgeProven,
    /// Done.
    Enrolled(Enrolment),
    /// The edge refused. `proven` tells whether it had proved itself before.
    Refused {
        /// Why.
        reason: EnrolRefusal,
        /// Whether the answer is the edge's for certain.
        proven: bool,
    },
}

/// The connector's side.
#[derive(Debug)]
pub struct Connector {
    state: ConnectorState,
    deframer: Deframer,
    outbox: Outbox,
    event: Option<ConnectorEvent>,
    deadline: Instant,
}

#[derive(Debug)]
enum ConnectorState {
    ExpectProof(ExpectProof),
    ExpectReply(ExpectReply),
    Done,
}

#[derive(Debug)]
struct ExpectProof {
    secrets: EnrolSecrets,
    exporter: Exporter,
    csr: Vec<u8>,
    fingerprint: Fingerprint,
}

#[derive(Debug)]
struct ExpectReply {
    ca: Vec<u8>,
    time: UnixSeconds,
}

impl Connector {
    /// Starts an enrolment on a TLS session whose exporter is `exporter`.
    ///
    /// The private key of `csr` must be stored before this is called: a reply that is lost can then
    /// be asked for again without spending another use.
    ///
    /// # Errors
    /// None in practice; [`Error::OutboxFull`] by type.
    pub fn new(
        now: Instant,
        secrets: EnrolSecrets,
        exporter: Exporter,
        csr: Vec<u8>,
        fingerprint: Fingerprint,
    ) -> Result<Self, Error> {
        let mut outbox = Outbox::default();
        outbox.push(&EnrolHello { key_id: secrets.id })?;
        Ok(Self {
            state: ConnectorState::ExpectProof(ExpectProof {
                secrets,
                exporter,
                csr,
                fingerprint,
            }),
            deframer: Deframer::new(),
            outbox,
            event: None,
            deadline: now + limits::GREETING_MAX,
        })
    }

    /// Takes bytes of the edge.
    ///
    /// # Errors
    /// What the edge did wrong, [`Error::ProofInvalid`] if it could not prove itself. A farewell is
    /// left in [`Self::poll_transmit`]; the connection is to be closed after it.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut deframer = core::mem::take(&mut self.deframer);
        let result = self.handle_frames(&mut deframer, bytes);
        self.deframer = deframer;
        if let Err(error) = &result {
            self.state = ConnectorState::Done;
            self.outbox.push_close(error);
        }
        result
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
        self.state = ConnectorState::Done;
        self.outbox.push_close(&error);
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
        match self.state {
            ConnectorState::Done => None,
            ConnectorState::ExpectProof(_) | ConnectorState::ExpectReply(_) => Some(self.deadline),
        }
    }

    fn handle_frames(&mut self, deframer: &mut Deframer, mut bytes: &[u8]) -> Result<(), Error> {
        while let Some(frame) = deframer.next(&mut bytes)? {
            self.handle_frame(frame)?;
        }
        Ok(())
    }

    fn handle_frame(&mut self, frame: Frame<'_>) -> Result<(), Error> {
        if frame.id == Close::ID {
            return Err(Error::PeerClosed {
                code: Close::decode(frame)?.code,
            });
        }
        match core::mem::replace(&mut self.state, ConnectorState::Done) {
            ConnectorState::ExpectProof(state) => self.expect_proof(state, frame),
            ConnectorState::ExpectReply(state) => self.expect_reply(state, frame),
            ConnectorState::Done => Err(unexpected(frame, "the end of the connection")),
        }
    }

    fn expect_proof(&mut self, state: ExpectProof, frame: Frame<'_>) -> Result<(), Error> {
        match frame.id {
            EnrolProof::ID => {
                let proof = EnrolProof::decode(frame)?;
                let key = &state.secrets.edge_proof;
                if !key.holds(&state.exporter, proof.ca, proof.time, &proof.mac) {
                    return Err(Error::ProofInvalid);
                }
                let signature = state.secrets.signer.sign(&state.exporter, &state.csr);
                let (r, s) = halves(&signature);
                self.outbox.push(&EnrolRequest {
                    csr: &state.csr,
                    fingerprint: state.fingerprint,
                    signature_r: r,
                    signature_s: s,
                })?;
                let (ca, time) = (proof.ca.to_vec(), proof.time);
                self.state = ConnectorState::ExpectReply(ExpectReply { ca, time });
                self.event = Some(ConnectorEvent::EdgeProven);
                Ok(())
            }
            EnrolRefused::ID => {
                let reason = EnrolRefused::decode(frame)?.reason;
                self.event = Some(ConnectorEvent::Refused {
                    reason,
                    proven: false,
                });
                Ok(())
            }
            _ if frame.is_ignorable() => {
                self.state = ConnectorState::ExpectProof(state);
                Ok(())
            }
            _ => Err(unexpected(frame, "EnrolProof")),
        }
    }

    fn expect_reply(&mut self, state: ExpectReply, frame: Frame<'_>) -> Result<(), Error> {
        match frame.id {
            EnrolAccepted::ID => {
                let accepted = EnrolAccepted::decode(frame)?;
                self.event = Some(ConnectorEvent::Enrolled(Enrolment {
                    identity: Identity {
                        ca: state.ca,
                        other_ca: Vec::new(),
                        certificate: accepted.certificate.to_vec(),
                        connector_id: accepted.connector_id,
                        name: accepted.name.into(),
                        group: accepted.group.into(),
                        grant_key: accepted.grant_key,
                    },
                    time: state.time,
                }));
                Ok(())
            }
            EnrolRefused::ID => {
                let reason = EnrolRefused::decode(frame)?.reason;
                self.event = Some(ConnectorEvent::Refused {
                    reason,
                    proven: true,
                });
                Ok(())
            }
            _ if frame.is_ignorable() => {
                self.state = ConnectorState::ExpectReply(state);
                Ok(())
            }
            _ => Err(unexpected(frame, "EnrolAccepted")),
        }
    }

    const fn awaited(&self) -> &'static str {
        match self.state {
            ConnectorState::ExpectProof(_) => "EnrolProof",
            ConnectorState::ExpectReply(_) => "EnrolAccepted",
            ConnectorState::Done => "nothing",
        }
    }
}

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
    exporter: Exporter,
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
            exporter,
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
        let mac = proof_key.proof(&self.exporter, ca, time);
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
        if !request_is_signed(public_key, &self.exporter, request.csr, &signature) {
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

fn unexpected(frame: Frame<'_>, awaited: &'static str) -> Error {
    if crate::message::KNOWN.iter().any(|(id, _)| *id == frame.id) {
        Error::UnexpectedMessage {
            id: frame.id,
            awaited,
        }
    } else {
        Error::UnknownMessage { id: frame.id }
    }
}

fn halves(signature: &[u8; 64]) -> ([u8; 32], [u8; 32]) {
    let (mut r, mut s) = ([0; 32], [0; 32]);
    r.copy_from_slice(&signature[..32]);
    s.copy_from_slice(&signature[32..]);
    (r, s)
}
