//! A data channel, before it carries a session.
//!
//! ```text
//! connector                              edge
//!        the handshake
//!                                  <---  Ready{}, once it knows who that is: the channel is *warm*
//!        both wait, and nobody sends
//! Attach{session, channel}         --->
//!        the session's bytes, both ways, at once
//! ```
//! The edge answers an `Attach` by nothing but the session's bytes, or by the TLS alert access_denied: a
//! message could be taken for them. `Close` comes in place of `Ready` alone.

use alloc::vec::Vec;

use crate::error::Error;
use crate::frame::Deframer;
use crate::limits;
use crate::message::{Attach, Close, CloseCode, Message, Ready, unexpected};
use crate::outbox::Outbox;
use crate::time::Instant;

/// The connector's side, from the handshake to `Ready`.
#[derive(Debug)]
pub struct Warming {
    deframer: Deframer,
    deadline: Instant,
}

impl Warming {
    /// Awaits `Ready`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            deframer: Deframer::new(),
            deadline: now + limits::GREETING_MAX,
        }
    }

    /// Takes bytes of the edge; true once the channel is warm.
    ///
    /// # Errors
    /// What the edge did wrong, or [`Error::PeerClosed`] if it turns this connector away.
    pub fn handle_input(&mut self, mut bytes: &[u8]) -> Result<bool, Error> {
        while let Some(frame) = self.deframer.next(&mut bytes)? {
            match frame.id {
                Ready::ID => {
                    let Ready {} = Ready::decode(frame)?;
                    return match bytes.len() {
                        0 => Ok(true),
                        // Nothing may come before the session's bytes, and there is no session.
                        extra => Err(Error::TrailingBytes {
                            id: Ready::ID,
                            extra,
                        }),
                    };
                }
                Close::ID => {
                    return Err(Error::PeerClosed {
                        code: Close::decode(frame)?.code,
                    });
                }
                _ if frame.is_ignorable() => {}
                _ => return Err(unexpected(frame, "Ready")),
            }
        }
        Ok(false)
    }

    /// When the edge must have said it.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// The edge's side, from `Ready` to `Attach`.
#[derive(Debug)]
pub struct Warm {
    deframer: Deframer,
    deadline: Instant,
}

impl Warm {
    /// Awaits an `Attach`, as long as a channel may be kept warm ([`limits::WARM_MAX`]).
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            deframer: Deframer::new(),
            deadline: now + limits::WARM_MAX,
        }
    }

    /// Takes bytes of the connector, one TLS record's at most; what it asks for once that is known. The
    /// session's bytes are of later records.
    ///
    /// # Errors
    /// What the connector did wrong; [`Error::PeerClosed`] if it has no more use for the channel.
    pub fn handle_input(&mut self, mut bytes: &[u8]) -> Result<Option<Attach>, Error> {
        while let Some(frame) = self.deframer.next(&mut bytes)? {
            match frame.id {
                Attach::ID => {
                    let attach = Attach::decode(frame)?;
                    return match bytes.len() {
                        0 => Ok(Some(attach)),
                        extra => Err(Error::TrailingBytes {
                            id: Attach::ID,
                            extra,
                        }),
                    };
                }
                Close::ID => {
                    return Err(Error::PeerClosed {
                        code: Close::decode(frame)?.code,
                    });
                }
                _ if frame.is_ignorable() => {}
                _ => return Err(unexpected(frame, "Attach")),
            }
        }
        Ok(None)
    }

    /// When the connector must have used or closed it.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }
}

/// Bytes of the edge's word that the channel is warm.
#[must_use]
pub fn ready() -> Vec<u8> {
    encoded(&Ready {})
}

/// Bytes with which the connector gives a warm channel to a session; see [`Attach`].
#[must_use]
pub fn attach(session: [u8; 16], channel: u32) -> Vec<u8> {
    encoded(&Attach { session, channel })
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
