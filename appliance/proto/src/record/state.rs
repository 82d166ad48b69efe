//! What a state record says, in each version of its payload.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::message::RatchetValue;

/// Addresses at which the edge was reached, the last one first. More than eight are those of an edge
/// that moves about, whose oldest addresses are worth nothing.
pub type EdgeAddresses = heapless::Vec<IpAddr, 8>;

/// What is remembered: the payload of a record. Wiped when dropped; `Debug` shows no secret.
#[derive(Clone, Default, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct State {
    /// The connector's private key, PKCS#8 DER. Present from before the first enrolment request.
    pub private_key: Vec<u8>,
    /// `host:port` of the edge.
    pub edge: String,
    /// What enrolment gave; empty until then.
    pub identity: Option<Identity>,
    /// The last time the clock was known to be right, seconds since 1970; a floor for the next boot.
    /// 0 if it never was.
    pub last_good_time: u64,
    /// Where the edge was reached, for when no resolver answers.
    #[zeroize(skip)]
    pub edge_addresses: EdgeAddresses,
    /// What the HTTP proxy is told about who asks.
    pub proxy_credentials: Option<ProxyCredentials>,
    /// A key pair, and later its certificate, that is to take the place of the one in use: a renewal, or
    /// the enrolment of a machine that has an identity already.
    pub next: Option<Next>,
    /// The newest ratchet value; zeros before the first.
    #[zeroize(skip)]
    pub ratchet: RatchetValue,
}

/// What is to take the place of the identity in use. Kept before it is asked for.
#[derive(Clone, Default, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Next {
    /// Its private key, PKCS#8 DER.
    pub private_key: Vec<u8>,
    /// Its certificate, DER, once the edge has issued it by a renewal; empty until then.
    pub certificate: Vec<u8>,
}

/// An enrolled connector's identity. Nothing in it is secret; the private key is beside it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Identity {
    /// The edge's CA certificate, DER: the only trust anchor, but for `other_ca`.
    pub ca: Vec<u8>,
    /// The edge's other CA certificate while two overlap, DER; empty otherwise.
    pub other_ca: Vec<u8>,
    /// The connector's certificate, DER.
    pub certificate: Vec<u8>,
    /// Its id at the edge.
    pub connector_id: [u8; 16],
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Ed25519 public key that signs grants.
    pub grant_key: [u8; 32],
}

/// User and password for an HTTP proxy (RFC 7617), as the operator typed them.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct ProxyCredentials {
    /// The user; without a colon.
    pub user: String,
    /// The password.
    pub password: String,
}

/// Decodes a payload; `None` if it is not exactly one state.
pub(super) fn decode(payload: &[u8]) -> Option<State> {
    whole(payload)
}

fn whole<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Option<T> {
    match postcard::take_from_bytes(payload) {
        Ok((state, [])) => Some(state),
        Ok(_) | Err(_) => None,
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self
            .identity
            .as_ref()
            .map(|identity| identity.name.as_str());
        f.debug_struct("State")
            .field("edge", &self.edge)
            .field("name", &name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Next(..)")
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ProxyCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyCredentials(..)")
    }
}
