//! Messages: what a frame's body means. Encoding is postcard 1.x over the structs below.
//!
//! A struct here is frozen once released: an added field would break every older peer, so a change
//! is a new message with a new id. `tests/golden.rs` holds the bytes of each. The ids of [`RETIRED`] are
//! those of messages that a newer one replaced; they mean nothing and are never given again.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::frame::Frame;

mod control;
mod enrolment;
mod identity;
mod once;
mod renewal;

pub use control::{
    Capacity, Hello, OpenSession, PathProbe, PathProbeReply, Ping, Pong, SessionRefusal,
    SessionRefused, Succeed, Welcome,
};
pub use enrolment::{
    EnrolAccepted, EnrolHello, EnrolProof, EnrolRefusal, EnrolRefused, EnrolRequest,
};
pub use identity::{
    Fingerprint, Ratchet, RatchetStored, RatchetValue, Recognised, Trust, TrustStored, Verdict,
};
pub use once::{Attach, Ready, TimeReply, TimeRequest};
pub use renewal::{RenewAccepted, RenewRefusal, RenewRefused, RenewRequest};

/// ALPN of enrolment: no client certificate, the key proves both sides.
pub const ALPN_ENROL: &[u8] = b"outgate-enrol/1";
/// ALPN of the question for the edge's time: no client certificate, the edge's proves the answer.
pub const ALPN_TIME: &[u8] = b"outgate-time/1";
/// ALPN of the control channel: mutual TLS.
pub const ALPN_CONTROL: &[u8] = b"outgate-control/1";
/// ALPN of a data channel: mutual TLS.
pub const ALPN_DATA: &[u8] = b"outgate-data/1";
/// ALPN of a renewal: mutual TLS, and the edge judges the dates of the connector's certificate by
/// itself, so that one that expired while the machine was off can still be renewed.
pub const ALPN_RENEW: &[u8] = b"outgate-renew/1";

/// TLS exporter label of enrolment (RFC 8446 section 7.5); empty context, 32 bytes.
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-outgate-enrol-v1";

/// One message of the protocol.
pub trait Message<'a>: Serialize + Deserialize<'a> {
    /// Its id on the wire.
    const ID: u16;

    /// Reads the message out of a frame that carries its id.
    ///
    /// # Errors
    /// [`Error::InvalidMessage`] or [`Error::TrailingBytes`].
    fn decode(frame: Frame<'a>) -> Result<Self, Error> {
        debug_assert_eq!(frame.id, Self::ID, "the caller matches on the id first");
        let (message, rest) = postcard::take_from_bytes(frame.body)
            .map_err(|_| Error::InvalidMessage { id: frame.id })?;
        match rest.len() {
            0 => Ok(message),
            extra => Err(Error::TrailingBytes {
                id: frame.id,
                extra,
            }),
        }
    }
}

macro_rules! messages {
    ($($name:ident $(<$life:lifetime>)? = $id:literal),* $(,)?) => {
        $(impl<'a> Message<'a> for $name $(<$life>)? { const ID: u16 = $id; })*

        /// Decodes a frame's body as whatever its id says and drops it; `None` for an unknown id.
        /// This is the body of the fuzz target `message`.
        #[must_use]
        pub fn probe(frame: Frame<'_>) -> Option<Result<(), Error>> {
            match frame.id {
                $($id => Some($name::decode(frame).map(drop)),)*
                _ => None,
            }
        }

        /// Every known id with its name, in the order of the ids.
        pub const KNOWN: &[(u16, &str)] = &[$(($id, stringify!($name))),*];
    };
}

/// Ids that no message has any more: 0x0102, an EnrolRequest, and 0x0200, a Hello, both from before a
/// fingerprint named the VM generation and the TPM; 0x020f, a Succeed that did not say which channel it wanted;
/// 0x0300 and 0x0301, Attach and Attached, from before data channels were warm.
pub const RETIRED: [u16; 5] = [0x0102, 0x0200, 0x020f, 0x0300, 0x0301];

messages! {
    Close<'a> = 0x0001,
    EnrolHello = 0x0100,
    EnrolProof<'a> = 0x0101,
    EnrolAccepted<'a> = 0x0103,
    EnrolRefused = 0x0104,
    EnrolRequest<'a> = 0x0105,
    Welcome<'a> = 0x0201,
    Ping = 0x0202,
    Pong = 0x0203,
    OpenSession<'a> = 0x0204,
    SessionRefused<'a> = 0x0205,
    PathProbe<'a> = 0x0206,
    PathProbeReply<'a> = 0x0207,
    Hello<'a> = 0x0208,
    Recognised = 0x0209,
    Ratchet = 0x020a,
    RatchetStored = 0x020b,
    Trust<'a> = 0x020c,
    TrustStored = 0x020d,
    Capacity = 0x020e,
    Succeed = 0x0210,
    Ready = 0x0302,
    Attach = 0x0303,
    TimeRequest = 0x0400,
    TimeReply = 0x0401,
    RenewRequest<'a> = 0x0500,
    RenewAccepted<'a> = 0x0501,
    RenewRefused = 0x0502,
}

/// The longest start of `text` that has at most `max` bytes and ends between two characters.
pub(crate) fn truncated(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What is wrong with a frame that nothing awaits and nobody may skip.
pub(crate) fn unexpected(frame: Frame<'_>, awaited: &'static str) -> Error {
    let id = frame.id;
    if KNOWN.iter().any(|(known, _)| *known == id) {
        Error::UnexpectedMessage { id, awaited }
    } else {
        Error::UnknownMessage { id }
    }
}

/// Either side, any connection: the sender closes, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Close<'a> {
    /// The kind of reason.
    pub code: CloseCode,
    /// For a person; at most [`crate::limits::DETAIL_MAX`] bytes. Never shown unescaped.
    pub detail: &'a str,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloseCode {
    /// Nothing is wrong.
    Normal,
    /// The sender stops or restarts; reconnecting is right.
    GoingAway,
    /// A frame's length is outside the limits.
    FrameLength,
    /// A message does not decode.
    InvalidMessage,
    /// A message came at the wrong moment.
    UnexpectedMessage,
    /// A message id is neither known nor ignorable.
    UnknownMessage,
    /// The other side was silent or did not read for too long.
    TimedOut,
    /// The proof of the provisioning key does not hold.
    ProofInvalid,
    /// The certificate's holder is not, or no longer, allowed.
    NotAuthorised,
    /// Another connection of the same connector took this one's place.
    Replaced,
    /// A data channel named a session that nobody waits for.
    UnknownSession,
    /// A fault of the sender's own.
    InternalError,
    /// An administrator disabled the connector; trying again later is right.
    Disabled,
    /// An administrator revoked the connector for good.
    Revoked,
    /// The machine is not taken for the one that was enrolled; [`Recognised`] said why.
    Held,
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "done",
            Self::GoingAway => "stopping or restarting",
            Self::FrameLength => "frame length outside the limits",
            Self::InvalidMessage => "message does not decode",
            Self::UnexpectedMessage => "message at the wrong moment",
            Self::UnknownMessage => "unknown message",
            Self::TimedOut => "no answer in time",
            Self::ProofInvalid => "proof of the provisioning key does not hold",
            Self::NotAuthorised => "not authorised",
            Self::Replaced => "replaced by a newer connection of the same connector",
            Self::UnknownSession => "unknown session",
            Self::InternalError => "internal error",
            Self::Disabled => "disabled by an administrator",
            Self::Revoked => "revoked by an administrator",
            Self::Held => "held until an administrator confirms this machine",
        })
    }
}

/// Body of the fuzz target `message`: any id, any body; never panics.
pub fn fuzz_message(data: &[u8]) {
    let Some((id, body)) = data.split_first_chunk::<2>() else {
        return;
    };
    // Most ids of two random bytes are unknown: also try the body as every known message.
    let _ = probe(Frame {
        id: u16::from_be_bytes(*id),
        body,
    });
    for (id, _) in KNOWN {
        let _ = probe(Frame { id: *id, body });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn ids_are_unique_and_in_order() {
        assert!(KNOWN.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn a_byte_too_many_is_an_error_that_counts_it() {
        let body = [7, 0];
        assert_eq!(
            Ping::decode(Frame {
                id: Ping::ID,
                body: &body
            }),
            Err(Error::TrailingBytes {
                id: Ping::ID,
                extra: 1
            })
        );
    }

    #[test]
    fn a_byte_too_few_is_an_error() {
        let frame = Frame {
            id: Attach::ID,
            body: &[0; 16],
        };
        assert_eq!(
            Attach::decode(frame),
            Err(Error::InvalidMessage { id: Attach::ID })
        );
    }

    proptest! {
        #[test]
        fn no_body_of_any_message_panics(data: Vec<u8>) {
            fuzz_message(&data);
        }
    }
}
