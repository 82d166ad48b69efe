//! What a machine is taken for that presents a connector's identity, and whether it is let in: one
//! pure function over the evidence.
//!
//! A private key says which identity is presented, not which machine presents it. Hardware says it
//! only as long as nobody forges it, so it is scored and never trusted alone; the ratchet tells two
//! machines with one disk apart from their first session on.

use connector_proto::message::{Fingerprint, Verdict};

/// What is known and what is presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The machine that is taken for the connector.
    pub known: Fingerprint,
    /// The machine that greets.
    pub presented: Fingerprint,
    /// What its ratchet value is.
    pub ratchet: RatchetStanding,
    /// Whether it greets with a certificate of before the connector's last renewal: an old state,
    /// whatever its ratchet value, and one whose key was given up.
    pub superseded: bool,
    /// Whether the connector is there already.
    pub incumbent: Incumbent,
    /// What the connector's group does about other hardware.
    pub policy: MovedNic,
}

/// What a presented ratchet value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RatchetStanding {
    /// The newest that is known to be stored, or the one handed out after it.
    Fresh,
    /// An older one, or none of the connector's at all.
    Stale,
    /// One that a copy presented before.
    Quarantined,
}

/// A live control channel of the same connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incumbent {
    /// There is none, or it did not answer.
    None,
    /// There is one that was not asked yet.
    Unknown,
    /// There is one, and it has just answered.
    Alive,
}

/// What a group does about a connector on other hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MovedNic {
    /// Takes it in.
    Accept,
    /// Holds it until an administrator confirms it.
    Hold,
}

/// What becomes of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// It is let in.
    Admit(Verdict),
    /// Ask the incumbent first, then ask again here.
    AskIncumbent,
    /// It is held until an administrator confirms it.
    Hold(Verdict),
}

/// Judges a machine.
#[must_use]
pub const fn recognise(evidence: &Evidence) -> Recognition {
    match evidence.incumbent {
        // It is held either way, so the incumbent need not be asked.
        _ if matches!(evidence.ratchet, RatchetStanding::Quarantined) => {
            return Recognition::Hold(Verdict::Copy);
        }
        Incumbent::Unknown => return Recognition::AskIncumbent,
        Incumbent::Alive => return Recognition::Hold(Verdict::Copy),
        Incumbent::None => {}
    }
    let fresh = matches!(evidence.ratchet, RatchetStanding::Fresh) && !evidence.superseded;
    let hardware = compare(&evidence.known, &evidence.presented);
    let accepts = matches!(evidence.policy, MovedNic::Accept);
    let (verdict, admitted) = match (hardware, fresh) {
        (Hardware::Same, true) => (Verdict::SameMachine, true),
        (Hardware::SameInAnotherLife, _) | (Hardware::Same, false) => (Verdict::Reverted, true),
        (Hardware::OtherNic, true) => (Verdict::MovedNic, accepts),
        (Hardware::Other, true) => (Verdict::Copy, false),
        (Hardware::OtherNic | Hardware::Other, false) => (Verdict::RestoredBackup, accepts),
    };
    if admitted && !evidence.superseded {
        Recognition::Admit(verdict)
    } else {
        Recognition::Hold(verdict)
    }
}

/// The word for a verdict in log, audit and store.
#[must_use]
pub const fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::SameMachine => "same_machine",
        Verdict::MovedNic => "moved_nic",
        Verdict::Reverted => "reverted",
        Verdict::Copy => "copy",
        Verdict::RestoredBackup => "restored_backup",
    }
}

/// How two fingerprints compare, by what differs most.
#[derive(Clone, Copy)]
enum Hardware {
    Same,
    /// The same but for the VM generation id.
    SameInAnotherLife,
    OtherNic,
    Other,
}

const fn compare(known: &Fingerprint, presented: &Fingerprint) -> Hardware {
    if !is_same_uuid(&known.smbios_uuid, &presented.smbios_uuid)
        || !is_same_or_absent(&known.tpm, &presented.tpm)
    {
        Hardware::Other
    } else if !is_equal(&known.mac, &presented.mac) {
        Hardware::OtherNic
    } else if !is_same_or_absent(&known.vm_generation, &presented.vm_generation) {
        Hardware::SameInAnotherLife
    } else {
        Hardware::Same
    }
}

/// Machines gain a TPM, and move to hypervisors without a generation id: what one side lacks
/// proves nothing.
const fn is_same_or_absent<const N: usize>(known: &[u8; N], presented: &[u8; N]) -> bool {
    is_equal(known, presented) || is_equal(known, &[0; N]) || is_equal(presented, &[0; N])
}

/// The first three fields of a UUID come in either byte order (SMBIOS 2.6 section 7.2.1 changed it),
/// and an update of the hypervisor may swap them.
const fn is_same_uuid(known: &[u8; 16], presented: &[u8; 16]) -> bool {
    is_equal(known, presented) || is_equal(&swapped(known), presented)
}

const fn swapped(uuid: &[u8; 16]) -> [u8; 16] {
    let mut swapped = *uuid;
    let order = [3, 2, 1, 0, 5, 4, 7, 6];
    let mut at = 0;
    while at < order.len() {
        swapped[at] = uuid[order[at]];
        at += 1;
    }
    swapped
}

const fn is_equal<const N: usize>(one: &[u8; N], other: &[u8; N]) -> bool {
    let mut at = 0;
    while at < N {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests;
