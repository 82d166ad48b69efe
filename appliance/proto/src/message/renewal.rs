//! Messages of a renewal.

use serde::{Deserialize, Serialize};

use super::{Fingerprint, RatchetValue, Verdict};
use crate::time::UnixSeconds;

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
