//! Messages about who a machine is, and whom it trusts.

use core::fmt;

use ring::digest;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

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

/// A value that an edge hands out for each control session and a connector stores before it is used:
/// two machines with one identity present different values from their first session on. Secret.
#[derive(Clone, Copy, Default, Eq, Serialize, Deserialize, Zeroize)]
pub struct RatchetValue(pub [u8; 32]);

impl PartialEq for RatchetValue {
    /// In a time that does not depend on where the two differ.
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(other.0);
        let differing = pairs.fold(0, |bits, (one, other)| bits | (one ^ other));
        core::hint::black_box(differing) == 0
    }
}

impl fmt::Debug for RatchetValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RatchetValue(..)")
    }
}

/// Edge to connector, before the [`Welcome`](super::Welcome) or the `Close{Held}` that follows from it. Not sent for
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

/// Edge to connector, right behind the [`Welcome`](super::Welcome) and whenever it sees fit: the ratchet value to store.
/// No session is offered on a channel before one of its values was stored.
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

/// Edge to connector, right behind the [`Welcome`](super::Welcome) and at every change: the only trust anchors from
/// here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust<'a> {
    /// The CA certificate that issues now, DER.
    pub ca: &'a [u8],
    /// The other one while two overlap, DER: the next one, or the one before. Empty: there is one.
    pub other_ca: &'a [u8],
}

impl Trust<'_> {
    /// What [`TrustStored`] answers: SHA-256 over `SHA-256(ca) | SHA-256(other_ca)`.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(digest::digest(&digest::SHA256, self.ca).as_ref());
        context.update(digest::digest(&digest::SHA256, self.other_ca).as_ref());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        bytes
    }
}

/// Connector to edge: these trust anchors are on the disk and in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustStored {
    /// [`Trust::digest`] of them.
    pub digest: [u8; 32],
}
