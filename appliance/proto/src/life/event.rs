//! What the life machine is told.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::enrol::Enrolment;
use crate::local::NoIdentity;
use crate::message::{CloseCode, EnrolRefusal, RatchetValue, RenewRefusal, Verdict};
use crate::record::State;
use crate::time::UnixSeconds;

/// What the state record held when it was opened.
#[derive(Debug)]
pub struct Opened {
    /// The state; empty if it could not be read.
    pub state: State,
    /// Why there is no identity to use, although there may be one. `None`: `state` says it all.
    pub why: Option<NoIdentity>,
}

/// What the machine's surroundings allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// There is a network, and nothing on it that a person has to deal with first.
    pub can_dial: bool,
    /// The wall-clock time now, but only while the clock is known to be right. Without it the dates
    /// of certificates mean nothing, and an enrolled connector opens no connection.
    pub wall: Option<UnixSeconds>,
}

/// What happened on the connection that was opened last. Ignored if none is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Enrolment: done. The certificate is for the key pair that the request was made with: the caller
    /// has checked it. Ends the connection.
    Enrolled(Enrolment),
    /// Enrolment: refused. Ends the connection.
    EnrolRefused {
        /// Why.
        reason: EnrolRefusal,
    },
    /// Enrolment: the edge could not prove that it knows the key. Ends the connection.
    EdgeNotProven,
    /// Enrolment: what the edge sent was not the protocol. Ends the connection.
    NotTheProtocol,
    /// Renewal: done. The certificate is for the key pair that the request was made with: the caller
    /// has checked it. Ends the connection.
    Renewed {
        /// The new certificate, DER.
        certificate: Vec<u8>,
    },
    /// Renewal: refused. Ends the connection.
    RenewRefused {
        /// Why.
        reason: RenewRefusal,
    },
    /// Control: the edge does not take the machine for what it was before.
    Recognised {
        /// What it takes it for.
        verdict: Verdict,
        /// Whether it takes it in all the same.
        admitted: bool,
    },
    /// Control: the edge took the connector in.
    Welcomed {
        /// The connector's name at the edge now.
        name: String,
        /// Its group.
        group: String,
        /// Spread of the first reconnect delay.
        spread: Duration,
        /// Cap of later ones.
        cap: Duration,
    },
    /// Control: the ratchet value to store.
    Ratchet {
        /// Counts the values.
        step: u64,
        /// The value.
        value: RatchetValue,
    },
    /// Control: the trust anchors from here on. The caller has checked that they are certificates.
    Trust {
        /// The CA certificate that issues now, DER.
        ca: Vec<u8>,
        /// The other one, DER; empty if there is one only.
        other_ca: Vec<u8>,
    },
    /// Control: full-size packets reach the edge and come back.
    PathProven,
    /// The edge closed and said why. Ends the connection.
    Closed {
        /// Why.
        code: CloseCode,
    },
    /// It could not be opened, or broke off. Ends the connection.
    Failed {
        /// What kind of failure, as far as it changes what comes next.
        why: Failure,
        /// What failed, for a person.
        text: String,
    },
}

impl Event {
    /// Whether the connection is over with it: the life machine counts on it that the caller ends it.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        match self {
            Self::Recognised { .. }
            | Self::Welcomed { .. }
            | Self::Ratchet { .. }
            | Self::Trust { .. }
            | Self::PathProven => false,
            Self::Enrolled(_)
            | Self::EnrolRefused { .. }
            | Self::EdgeNotProven
            | Self::NotTheProtocol
            | Self::Renewed { .. }
            | Self::RenewRefused { .. }
            | Self::Closed { .. }
            | Self::Failed { .. } => true,
        }
    }
}

/// The kinds of failure that lead to different next steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The network, a proxy, a fault of the edge: anything that may be gone at the next attempt.
    Transport,
    /// The edge's TLS alert says that it does not take this machine's certificate.
    CertificateRefused,
    /// What answers is not the edge that is trusted.
    EdgeNotVerified,
    /// The dates of the edge's certificate do not hold by this machine's clock.
    Dates,
    /// The certificate and the private key that were to be used do not belong together.
    Unusable,
}

/// What the operator typed is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declined {
    /// The connector is enrolled and in good standing: a key, or another edge, is for one that is not.
    AlreadyEnrolled,
    /// The bits are no provisioning key of a version that this connector knows.
    NotAKey,
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyEnrolled => {
                "this connector is enrolled already; erase its identity first (factory reset)"
            }
            Self::NotAKey => {
                "that is no provisioning key of a version that this connector knows; make one with this release's edge"
            }
        })
    }
}

impl core::error::Error for Declined {}
