//! Messages of a control channel.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::{Fingerprint, RatchetValue};

/// Connector to edge, first message of a control channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// The appliance's version, for the administrator's eyes.
    pub version: &'a str,
    /// The machine's hardware evidence now.
    pub fingerprint: Fingerprint,
    /// The newest ratchet value that is stored; zeros before the first.
    pub ratchet: RatchetValue,
}

/// Edge to connector: the control channel is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome<'a> {
    /// The connector's name at the edge now.
    pub name: &'a str,
    /// Its group.
    pub group: &'a str,
    /// Spread of the first reconnect delay, in milliseconds.
    pub reconnect_spread_ms: u32,
    /// Cap of all later reconnect delays, in milliseconds.
    pub reconnect_cap_ms: u32,
}

/// Either side: are you there?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Comes back in the [`Pong`].
    pub nonce: u64,
}

/// The answer to a [`Ping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The ping's nonce.
    pub nonce: u64,
}

/// Edge to connector: a user wants to reach an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSession<'a> {
    /// A signed grant, see [`crate::grant`].
    pub grant: &'a [u8],
}

/// Connector to edge: the session does not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRefused<'a> {
    /// The session the grant named.
    pub session: [u8; 16],
    /// Why.
    pub reason: SessionRefusal,
    /// For a person; at most [`crate::limits::DETAIL_MAX`] bytes.
    pub detail: &'a str,
}

/// Why a connector refuses a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionRefusal {
    /// The grant's signature, connector or expiry is not right.
    GrantInvalid,
    /// The host resolves to an address that is never dialled.
    AddressDenied,
    /// The host does not resolve.
    NameNotFound,
    /// Nothing listens there.
    ConnectionRefused,
    /// No route, or the host did not answer in time.
    Unreachable,
    /// The connector carries as many sessions as it can.
    TooManySessions,
}

impl fmt::Display for SessionRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GrantInvalid => "the connector does not accept the grant",
            Self::AddressDenied => "the application's address is one that is never dialled",
            Self::NameNotFound => "the application's name does not resolve at the connector",
            Self::ConnectionRefused => "the application refuses the connection",
            Self::Unreachable => "the application does not answer",
            Self::TooManySessions => "the connector carries as many sessions as it can",
        })
    }
}

/// Connector to edge, right behind the [`Welcome`]: do full-size packets reach you?
///
/// Not ignorable: an edge that does not know it says so, which is not the same as silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathProbe<'a> {
    /// Random enough to tell the answer from one to another probe; comes back.
    pub nonce: u64,
    /// [`crate::limits::PATH_PADDING_LEN`] bytes that mean nothing.
    pub padding: &'a [u8],
}

/// The answer to a [`PathProbe`]: do full-size packets come back?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathProbeReply<'a> {
    /// The probe's nonce.
    pub nonce: u64,
    /// As many bytes as the probe's padding had.
    pub padding: &'a [u8],
}

/// Connector to edge, behind the [`Welcome`] and whenever it changes: how many sessions it can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Sessions at once; what descriptors, ports and memory of the machine allow.
    pub sessions: u32,
}

/// Edge to connector: the keys of this session's newest data channel near their limit; attach the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Succeed {
    /// Which session.
    pub session: [u8; 16],
    /// The number of the channel that is wanted, as [`super::Attach`] has it. A connector that has attached
    /// it meanwhile has nothing to do.
    pub channel: u32,
}
