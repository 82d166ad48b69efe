//! A data channel: one frame each way, then the raw bytes of a session.
//!
//! `Attach{session}` by the connector, `Attached{}` (or `Close`) by the edge. What follows the
//! edge's frame, even in the same read, belongs to the session and is left to the caller.

use alloc::vec::Vec;

use crate::error::Error;
use crate::frame::Deframer;
use crate::limits;
use crate::message::{Attach, Attached, Close, CloseCode, Message};
use crate::outbox::Outbox;
use crate::time::Instant;

/// The connector's side, from `Attach` to `Attached`.
#[derive(Debug)]
pub struct Attaching {
    deframer: Deframer,
    outbox: Outbox,
    deadline: Instant,
}

impl Attaching {
    /// Asks for the session.
    ///
    /// # Errors
    /// None in practice; [`Error::OutboxFull`] by type.
    pub fn new(now: Instant, session: [u8; 16]) -> Result<Self, Error> {
        let mut outbox = Outbox::default();
        outbox.push(&Attach { session })?;
        Ok(Self {
            deframer: Deframer::new(),
            outbox,
            deadline: now + limits::GREETING_MAX,
        })
    }

    /// Takes bytes of the edge; true once attached. What is left in `bytes` then is the session's.
    ///
    /// # Errors
    /// What the edge did wrong, or [`Error::PeerClosed`] if it does not know the session.
    pub fn handle_input(&mut self, bytes: &mut &[u8]) -> Result<bool, Error> {
        while let Some(frame) = self.deframer.next(bytes)? {
            match frame.id {
                Attached::ID => return Attached::decode(frame).map(|Attached {}| true),
                Close::ID => {
                    return Err(Error::PeerClosed {
                        code: Close::decode(frame)?.code,
                    });
                }
                _ if frame.is_ignorable() => {}
                id => {
                    return Err(Error::UnexpectedMessage {
                        id,
                        awaited: "Attached",
                    });
                }
            }
        }
        Ok(false)
    }

    /// The next bytes to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.outbox.pop()
    }

    /// When the edge must have answered.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// The edge's side, from the handshake to `Attached`.
#[derive(Debug)]
pub struct Accepting {
    deframer: Deframer,
    deadline: Instant,
}

impl Accepting {
    /// Awaits an `Attach`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            deframer: Deframer::new(),
            deadline: now + limits::GREETING_MAX,
        }
    }

    /// Takes bytes of the connector; the session it asks for once that is known. What is left in
    /// `bytes` then is the session's. Answer with [`attached`] or [`refused`].
    ///
    /// # Errors
    /// What the connector did wrong.
    pub fn handle_input(&mut self, bytes: &mut &[u8]) -> Result<Option<[u8; 16]>, Error> {
        while let Some(frame) = self.deframer.next(bytes)? {
            match frame.id {
                Attach::ID => return Attach::decode(frame).map(|attach| Some(attach.session)),
                Close::ID => {
                    return Err(Error::PeerClosed {
                        code: Close::decode(frame)?.code,
                    });
                }
                _ if frame.is_ignorable() => {}
                id => {
                    return Err(Error::UnexpectedMessage {
                        id,
                        awaited: "Attach",
                    });
                }
            }
        }
        Ok(None)
    }

    /// When the connector must have asked.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// Bytes of the edge's consent.
#[must_use]
pub fn attached() -> Vec<u8> {
    encoded(&Attached {})
}

/// Bytes of the edge's refusal; close after them.
#[must_use]
pub fn refused(code: CloseCode) -> Vec<u8> {
    encoded(&Close { code, detail: "" })
}

fn encoded<'a, M: Message<'a>>(message: &M) -> Vec<u8> {
    let mut outbox = Outbox::default();
    // Both messages are a few bytes long.
    let _ = outbox.push(message);
    outbox.pop().unwrap_or_default()
}
