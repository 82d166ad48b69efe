//! What can be wrong with what a peer sent.

use core::fmt;

/// A peer broke the protocol. The connection is closed with [`Error::close_code`]; nothing else is
/// affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A frame announced a length outside `2..=max`.
    FrameLength {
        /// What the frame announced: message id and body, in bytes.
        len: u32,
        /// The largest that is taken.
        max: usize,
    },
    /// The body of a message does not decode.
    InvalidMessage {
        /// The message's id.
        id: u16,
    },
    /// The peer answered a question that it was not asked on this connection.
    NonceMismatch,
    /// Not the peer's doing: this end may not send that yet. Nothing was sent.
    NotReady {
        /// What is awaited before.
        awaited: &'static str,
    },
    /// The peer does not read what it is sent, and the bound of the outgoing buffer is reached.
    OutboxFull {
        /// The bound in bytes.
        max: usize,
    },
    /// Small messages pass, a full-size one and its answer did not in time.
    PathUnproven {
        /// How long its answer was waited for, in seconds.
        waited_s: u64,
    },
    /// The peer closed the connection and said why.
    PeerClosed {
        /// The reason it gave.
        code: crate::message::CloseCode,
    },
    /// The peer's proof of the provisioning key does not hold.
    ProofInvalid,
    /// A ratchet value whose step does not follow those before it.
    RatchetStep {
        /// The step it came with.
        step: u64,
        /// The newest before; 0 before the first.
        last: u64,
    },
    /// The peer did not answer in time whether it is there, while another says that he is it.
    Silent {
        /// How long its answer was waited for, in seconds.
        waited_s: u64,
    },
    /// The body of a message is followed by bytes that do not belong to it.
    TrailingBytes {
        /// The message's id.
        id: u16,
        /// How many bytes are left over.
        extra: usize,
    },
    /// Nothing, or not the right thing, arrived in time.
    TimedOut {
        /// What was awaited.
        awaited: &'static str,
    },
    /// A known message at a moment when it means nothing.
    UnexpectedMessage {
        /// The message's id.
        id: u16,
        /// What was awaited instead.
        awaited: &'static str,
    },
    /// A message id that is neither known nor marked ignorable.
    UnknownMessage {
        /// The message's id.
        id: u16,
    },
}

impl Error {
    /// The code to tell the peer before closing.
    #[must_use]
    pub const fn close_code(&self) -> crate::message::CloseCode {
        use crate::message::CloseCode;
        match self {
            Self::FrameLength { .. } => CloseCode::FrameLength,
            Self::InvalidMessage { .. } | Self::TrailingBytes { .. } => CloseCode::InvalidMessage,
            Self::OutboxFull { .. } | Self::PathUnproven { .. } | Self::TimedOut { .. } => {
                CloseCode::TimedOut
            }
            Self::PeerClosed { .. } => CloseCode::Normal,
            Self::ProofInvalid => CloseCode::ProofInvalid,
            Self::NonceMismatch | Self::RatchetStep { .. } | Self::UnexpectedMessage { .. } => {
                CloseCode::UnexpectedMessage
            }
            Self::NotReady { .. } => CloseCode::InternalError,
            Self::Silent { .. } => CloseCode::Replaced,
            Self::UnknownMessage { .. } => CloseCode::UnknownMessage,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrameLength { len, max } => {
                write!(f, "frame announces {len} bytes, allowed are 2 to {max}")
            }
            Self::InvalidMessage { id } => write!(f, "message {id:#06x} does not decode"),
            Self::NonceMismatch => write!(f, "peer answered another question than this one"),
            Self::NotReady { awaited } => write!(f, "too early, awaited is {awaited}"),
            Self::OutboxFull { max } => {
                write!(
                    f,
                    "peer does not read: {max} bytes wait for it, which is the limit"
                )
            }
            Self::PathUnproven { waited_s } => write!(
                f,
                "full-size packets do not reach the edge and come back in {waited_s} s: lower the \
                 network's MTU (DHCP option 26), or let ICMP \"too big\" pass"
            ),
            Self::PeerClosed {
                code: crate::message::CloseCode::UnknownMessage,
            } => f.write_str(
                "peer closed the connection: it does not know a message of this version; the older \
                 side needs an update",
            ),
            Self::PeerClosed { code } => write!(f, "peer closed the connection: {code}"),
            Self::ProofInvalid => write!(f, "peer could not prove that it knows the key"),
            Self::RatchetStep { step, last } => {
                write!(f, "ratchet step {step} came after step {last}")
            }
            Self::Silent { waited_s } => write!(
                f,
                "peer did not answer in {waited_s} s, and another connection has its identity"
            ),
            Self::TrailingBytes { id, extra } => {
                write!(
                    f,
                    "message {id:#06x} is followed by {extra} bytes that are not its own"
                )
            }
            Self::TimedOut { awaited } => write!(f, "peer did not send {awaited} in time"),
            Self::UnexpectedMessage { id, awaited } => {
                write!(f, "message {id:#06x} came while waiting for {awaited}")
            }
            Self::UnknownMessage { id } => write!(f, "message {id:#06x} is not known"),
        }
    }
}

impl core::error::Error for Error {}
