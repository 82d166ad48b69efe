//! Enrolment: the key proves both sides to each other, then a certificate is issued.
//!
//! ```text
//! connector                                 edge
//! EnrolHello{key_id}                 --->
//!                                    <---   EnrolProof{ca, time, mac}   or EnrolRefused{KeyUnknown}
//! EnrolRequest{csr, .., signature}   --->                               (only if mac holds)
//!                                    <---   EnrolAccepted{..}           or EnrolRefused{..}
//! ```
//! TLS runs underneath with a certificate that the connector has no pin for. Both proofs cover the
//! exporter of that TLS session, so neither can be answered or relayed from another one.

use crate::record::Identity;
use crate::time::UnixSeconds;

mod connector;
mod edge;
mod fuzz;

pub use connector::{Connector, ConnectorEvent};
pub use edge::{Edge, EdgeEvent};
pub use fuzz::fuzz_enrol;

/// What an enrolment yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// Who the connector is from here on, and whom it trusts.
    pub identity: Identity,
    /// The edge's time, authenticated by its proof.
    pub time: UnixSeconds,
}
