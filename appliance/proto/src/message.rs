//! Messages: what a frame's body means. Encoding is postcard 1.x over the structs below.
//!
//! A struct here is frozen once released: an added field would break every older peer, so a change
//! is a new message with a new id. `tests/golden.rs` holds the bytes of each.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::frame::Frame;
use crate::time::UnixSeconds;

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
    Attach = 0x0300,
    Attached = 0x0301,
    TimeRequest = 0x0400,
    TimeReply = 0x0401,
    RenewRequest<'a> = 0x0500,
    RenewAccepted<'a> = 0x0501,
    RenewRefused = 0x0502,
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

/// Connector to edge, first message of an enrolment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolHello {
    /// Lookup id derived from the key; tells nothing about the key itself.
    pub key_id: [u8; 16],
}

/// Edge to connector: proves that the edge holds the key's proof secret, over this very TLS session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolProof<'a> {
    /// The edge's CA certificate, DER. Pinned by the connector once the proof holds.
    pub ca: &'a [u8],
    /// The edge's time.
    pub time: UnixSeconds,
    /// HMAC-SHA256, see [`crate::derive::EdgeProofKey::proof`].
    pub mac: [u8; 32],
}

/// Connector to edge, only after the edge's proof held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRequest<'a> {
    /// PKCS#10 certificate signing request, DER.
    pub csr: &'a [u8],
    /// The machine's hardware evidence.
    pub fingerprint: Fingerprint,
    /// First half of the Ed25519 signature over `"outgate enrol v1" | exporter | SHA-256(csr)`.
    pub signature_r: [u8; 32],
    /// Second half of it.
    pub signature_s: [u8; 32],
}

/// Hardware evidence: reported and scored, never a key to anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// MAC address of the NIC in use.
    pub mac: [u8; 6],
    /// SMBIOS system UUID in the byte order of its text; zeros where there is none.
    pub smbios_uuid: [u8; 16],
    /// The hypervisor's VM generation id as the guest's memory holds it; zeros where there is none. It
    /// changes when the machine is cloned, restored or reverted to a snapshot.
    pub vm_generation: [u8; 16],
    /// SHA-256 of the public area of the TPM's storage root key; zeros where there is no TPM.
    pub tpm: [u8; 32],
}

/// Edge to connector: enrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolAccepted<'a> {
    /// The connector's certificate, DER, issued by the CA of [`EnrolProof`].
    pub certificate: &'a [u8],
    /// The connector's id at the edge; grants name it.
    pub connector_id: [u8; 16],
    /// The connector's name.
    pub name: &'a str,
    /// Its connector group.
    pub group: &'a str,
    /// Ed25519 public key that signs grants. Not the edge's TLS key.
    pub grant_key: [u8; 32],
}

/// Edge to connector: not enrolled, and no use of the key was spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRefused {
    /// Why.
    pub reason: EnrolRefusal,
}

/// Why an enrolment is refused. All but `KeyUnknown` come after the edge proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrolRefusal {
    /// The edge has no such key. It cannot prove itself either, so this is hearsay.
    KeyUnknown,
    /// All uses are spent.
    KeySpent {
        /// The key's maximum.
        max_uses: u32,
    },
    /// The key's time is over.
    KeyExpired {
        /// When it was over.
        at: UnixSeconds,
    },
    /// An administrator revoked the key.
    KeyRevoked,
    /// The request's signature or CSR is not valid.
    RequestInvalid,
    /// The edge cannot decide now (its store fails); trying again later is right.
    TryLater,
}

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

/// A value that an edge hands out for each control session and a connector stores before it is used:
/// two machines with one identity present different values from their first session on. Secret.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RatchetValue(pub [u8; 32]);

impl fmt::Debug for RatchetValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RatchetValue(..)")
    }
}

/// Edge to connector, before the [`Welcome`] or the `Close{Held}` that follows from it. Not sent for
/// the same machine as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recognised {
    /// What the edge takes the machine for.
    pub verdict: Verdict,
    /// Whether it is taken in all the same.
    pub admitted: bool,
}

/// What an edge takes a machine for that presents a connector's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// The machine it was before.
    SameMachine,
    /// The same machine with another MAC address.
    MovedNic,
    /// The same machine, gone back to an earlier state of its.
    Reverted,
    /// Another machine with the identity of one that is there, or with a state that was given up.
    Copy,
    /// An earlier state of the connector on other hardware.
    RestoredBackup,
}

/// Edge to connector, right behind the [`Welcome`] and whenever it sees fit: the ratchet value to store.
/// No session is offered until [`RatchetStored`] names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ratchet {
    /// Counts the values of this connector, from 1.
    pub step: u64,
    /// The value.
    pub value: RatchetValue,
}

/// Connector to edge: the value is on the disk, flushed and read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RatchetStored {
    /// The step of the [`Ratchet`].
    pub step: u64,
}

/// Edge to connector, right behind the [`Welcome`] and at every change: the only trust anchors from
/// here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust<'a> {
    /// The CA certificate that issues now, DER.
    pub ca: &'a [u8],
    /// The other one while two overlap, DER: the next one, or the one before. Empty: there is one.
    pub other_ca: &'a [u8],
}

/// Connector to edge: these trust anchors are on the disk and in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustStored {
    /// SHA-256 over `SHA-256(ca) | SHA-256(other_ca)` of the [`Trust`].
    pub digest: [u8; 32],
}

/// Connector to edge, first message of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewRequest<'a> {
    /// PKCS#10 certificate signing request for the new key pair, DER.
    pub csr: &'a [u8],
    /// The machine's hardware evidence now.
    pub fingerprint: Fingerprint,
    /// The newest ratchet value that is stored; zeros before the first.
    pub ratchet: RatchetValue,
}

/// Edge to connector: renewed. The certificate before stays valid until this one was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewAccepted<'a> {
    /// The new certificate, DER.
    pub certificate: &'a [u8],
    /// Counts the connector's certificates; 1 is enrolment's.
    pub generation: u32,
}

/// Edge to connector: not renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewRefused {
    /// Why.
    pub reason: RenewRefusal,
}

/// Why a renewal is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RenewRefusal {
    /// An administrator revoked or deleted the connector.
    Revoked,
    /// An administrator disabled the connector; trying again later is right.
    Disabled,
    /// The certificate expired longer ago than [`crate::limits::RENEW_GRACE`].
    TooLate {
        /// When it expired.
        expired_at: UnixSeconds,
    },
    /// A newer certificate of the connector was used already.
    Superseded,
    /// The machine is not taken for the one that was enrolled.
    Held(Verdict),
    /// The signing request is not valid, or its key is another certificate's.
    RequestInvalid,
    /// The edge cannot decide now (its store fails); trying again later is right.
    TryLater,
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

/// Connector to edge, first and only message of its on a data channel. Raw bytes follow the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// The session the grant named.
    pub session: [u8; 16],
}

/// Edge to connector: from the next byte on, the data channel is the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {}

/// Connector to edge, only message of its on a connection for the time: what time is it?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRequest {
    /// Random; comes back in the [`TimeReply`].
    pub nonce: [u8; 32],
}

/// The answer to a [`TimeRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeReply {
    /// The request's nonce.
    pub nonce: [u8; 32],
    /// The edge's time, read after the request came: microseconds since 1970 in UTC.
    pub time_us: u64,
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
            body: &[0; 15],
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
