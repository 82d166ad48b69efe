//! Whether full-size packets reach the edge and come back.
//!
//! A path whose MTU is smaller than the network says, and that lets no ICMP pass, takes the greeting
//! and swallows the first large message. The connector therefore sends one right behind the welcome,
//! and the edge answers with one as large.

use super::{Channel, ConnectorEvent, ConnectorSide};
use crate::error::Error;
use crate::limits;
use crate::message::{Message, PathProbe, PathProbeReply};
use crate::time::Instant;

/// What this end knows of the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Path {
    /// Nothing: it did not ask.
    #[default]
    Unknown,
    /// It asked.
    Asked { nonce: u64, deadline: Instant },
    /// Full-size packets pass, both ways.
    Proven,
}

impl Path {
    /// When the answer must be there.
    pub(super) const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Asked { deadline, .. } => Some(deadline),
            Self::Unknown | Self::Proven => None,
        }
    }

    /// Whether the answer may still come.
    pub(super) fn handle_timeout(self, now: Instant) -> Result<(), Error> {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            let waited_s = limits::PATH_PROOF_MAX.as_secs();
            return Err(Error::PathUnproven { waited_s });
        }
        Ok(())
    }
}

impl Channel<ConnectorSide> {
    /// Whether full-size packets reach the edge and come back, and nobody has closed.
    #[must_use]
    pub fn is_path_proven(&self) -> bool {
        self.is_established() && self.side.path == Path::Proven
    }

    pub(super) fn ask_path(&mut self, now: Instant) -> Result<(), Error> {
        let nonce = self.ping_nonce;
        self.outbox.push(&PathProbe {
            nonce,
            padding: &[0; limits::PATH_PADDING_LEN],
        })?;
        let deadline = now + limits::PATH_PROOF_MAX;
        self.side.path = Path::Asked { nonce, deadline };
        Ok(())
    }

    pub(super) fn handle_path_reply(&mut self, reply: &PathProbeReply<'_>) -> Result<(), Error> {
        let id = PathProbeReply::ID;
        match self.side.path {
            Path::Asked { nonce, .. } if nonce != reply.nonce => Err(Error::NonceMismatch),
            Path::Asked { .. } if reply.padding.len() != limits::PATH_PADDING_LEN => {
                Err(Error::InvalidMessage { id })
            }
            Path::Asked { .. } => {
                self.side.path = Path::Proven;
                self.emit(ConnectorEvent::PathProven)
            }
            Path::Unknown | Path::Proven => Err(Error::UnexpectedMessage {
                id,
                awaited: "no second answer to a path probe",
            }),
        }
    }
}
