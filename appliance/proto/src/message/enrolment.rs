//! Messages of an enrolment.

use serde::{Deserialize, Serialize};

use super::Fingerprint;
use crate::time::UnixSeconds;

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
