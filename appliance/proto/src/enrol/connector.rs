//! The connector's side of an enrolment.

use alloc::vec::Vec;

use super::Enrolment;
use crate::derive::{EnrolSecrets, Exporter, HeldExporter};
use crate::error::Error;
use crate::frame::{Deframer, Frame};
use crate::limits;
use crate::message::{
    Close, EnrolAccepted, EnrolHello, EnrolProof, EnrolRefusal, EnrolRefused, EnrolRequest,
    Fingerprint, Message, truncated, unexpected,
};
use crate::outbox::Outbox;
use crate::record::Identity;
use crate::time::{Instant, UnixSeconds};

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
    exporter: HeldExporter,
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
                exporter: HeldExporter(exporter),
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
                if !key.holds(&state.exporter.0, proof.ca, proof.time, &proof.mac) {
                    return Err(Error::ProofInvalid);
                }
                let signature = state.secrets.signer.sign(&state.exporter.0, &state.csr);
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
                        name: truncated(accepted.name, limits::NAME_MAX).into(),
                        group: truncated(accepted.group, limits::NAME_MAX).into(),
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

fn halves(signature: &[u8; 64]) -> ([u8; 32], [u8; 32]) {
    let (mut r, mut s) = ([0; 32], [0; 32]);
    r.copy_from_slice(&signature[..32]);
    s.copy_from_slice(&signature[32..]);
    (r, s)
}
