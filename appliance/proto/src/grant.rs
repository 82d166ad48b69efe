//! Grants: the edge's signed permission for one session.
//!
//! `postcard(Grant) | Ed25519 signature (64 bytes)`. The signature covers
//! `"outgate grant v1" | postcard(Grant)` exactly as received; nothing is re-encoded. The signing
//! key is not the edge's TLS key and was pinned at enrolment.

use alloc::vec::Vec;
use core::fmt;

use ring::signature;
use serde::{Deserialize, Serialize};

use crate::limits::{GRANT_CLOCK_SKEW, GRANT_LIFE, GRANT_MAX, HOST_MAX};
use crate::time::UnixSeconds;

mod seen;

pub use seen::Seen;

const CONTEXT: &[u8] = b"outgate grant v1";
const SIGNATURE_LEN: usize = 64;

/// What a session may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant<'a> {
    /// The connector that may carry it.
    pub connector_id: [u8; 16],
    /// The session; also what the data channel attaches with. Fresh and random.
    pub session: [u8; 16],
    /// Host name or address of the application, at most [`HOST_MAX`] bytes.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// Until when the session may be opened.
    pub not_after: UnixSeconds,
}

/// Transport protocol of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
}

/// Why a grant is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantError {
    /// It is over the size limit, does not decode, or names an impossible host or port.
    Malformed,
    /// Its time is over, or it claims to hold for longer than any grant does.
    NotValidNow {
        /// Until when it holds.
        not_after: UnixSeconds,
        /// The connector's time.
        now: UnixSeconds,
    },
    /// It was taken before, or is older than every one that is remembered: see [`Seen`].
    Replayed,
    /// The signature is not the edge's.
    Signature,
    /// It is for another connector.
    WrongConnector,
}

impl fmt::Display for GrantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the grant does not decode"),
            Self::NotValidNow { not_after, now } => {
                write!(
                    f,
                    "the grant holds until {}, the connector's clock says {}",
                    not_after.0, now.0
                )
            }
            Self::Replayed => f.write_str("the grant was used before"),
            Self::Signature => f.write_str("the grant is not signed by the edge"),
            Self::WrongConnector => f.write_str("the grant is for another connector"),
        }
    }
}

impl core::error::Error for GrantError {}

/// Signs a grant.
///
/// # Errors
/// [`GrantError::Malformed`] if the host is empty or too long, or the port is zero.
pub fn sign(key: &signature::Ed25519KeyPair, grant: &Grant<'_>) -> Result<Vec<u8>, GrantError> {
    check_target(grant)?;
    let mut buffer = [0; GRANT_MAX + CONTEXT.len()];
    buffer[..CONTEXT.len()].copy_from_slice(CONTEXT);
    let body_len = postcard::to_slice(grant, &mut buffer[CONTEXT.len()..])
        .map_err(|_| GrantError::Malformed)?
        .len();
    let statement = &buffer[..CONTEXT.len() + body_len];
    let mut bytes = statement[CONTEXT.len()..].to_vec();
    bytes.extend_from_slice(key.sign(statement).as_ref());
    Ok(bytes)
}

/// Checks a grant as the connector must before it acts on it, but for a replay: [`Seen::accept`] does
/// both. The session it names is
/// returned with the error once the signature holds, so that the edge can be told.
///
/// # Errors
/// What is wrong with it.
pub fn verify<'a>(
    bytes: &'a [u8],
    key: &[u8; 32],
    connector_id: &[u8; 16],
    now: UnixSeconds,
) -> Result<Grant<'a>, (Option<[u8; 16]>, GrantError)> {
    let grant = signed_grant(bytes, key).map_err(|error| (None, error))?;
    let refuse = |error| Err((Some(grant.session), error));
    if grant.connector_id != *connector_id {
        return refuse(GrantError::WrongConnector);
    }
    let not_after = grant.not_after;
    let skew = GRANT_CLOCK_SKEW.as_secs();
    let over = now.0 > not_after.0.saturating_add(skew);
    let too_long = not_after.0 > now.0.saturating_add(GRANT_LIFE.as_secs() + skew);
    if over || too_long {
        return refuse(GrantError::NotValidNow { not_after, now });
    }
    Ok(grant)
}

fn signed_grant<'a>(bytes: &'a [u8], key: &[u8; 32]) -> Result<Grant<'a>, GrantError> {
    if bytes.len() > GRANT_MAX {
        return Err(GrantError::Malformed);
    }
    let (body, signature) = bytes
        .split_last_chunk::<SIGNATURE_LEN>()
        .ok_or(GrantError::Malformed)?;
    let mut statement = CONTEXT.to_vec();
    statement.extend_from_slice(body);
    signature::UnparsedPublicKey::new(&signature::ED25519, key)
        .verify(&statement, signature)
        .map_err(|_| GrantError::Signature)?;
    match postcard::take_from_bytes::<Grant<'a>>(body) {
        Ok((grant, [])) => check_target(&grant).map(|()| grant),
        Ok(_) | Err(_) => Err(GrantError::Malformed),
    }
}

fn check_target(grant: &Grant<'_>) -> Result<(), GrantError> {
    let host_fits = !grant.host.is_empty() && grant.host.len() <= HOST_MAX;
    if host_fits && grant.port != 0 {
        Ok(())
    } else {
        Err(GrantError::Malformed)
    }
}

/// Body of the fuzz target `grant`: any bytes, never a panic, never accepted.
pub fn fuzz_grant(data: &[u8]) {
    assert!(verify(data, &[3; 32], &[0; 16], UnixSeconds(1_700_000_000)).is_err());
}

#[cfg(test)]
mod tests;
