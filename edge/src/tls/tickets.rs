//! Tickets of data channels: what a connector shows to be spared a whole handshake (RFC 8446 section 4.6.1).
//!
//! A ticket is the session's secret and the connector's certificates, sealed with a key that only this
//! process has and has for ten minutes at most. It proves who was there before and nothing else: what that
//! connector may is decided anew at every connection.

use std::fmt;
use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::Error;
use rustls::crypto::GetRandomFailed;
use rustls::server::ProducesTickets;
use rustls::ticketer::TicketRotator;
use zeroize::Zeroizing;

/// Seconds for which a key makes tickets. It opens them for as long again, and no longer.
const ROTATION_S: u32 = 300;

/// Longest ticket that is looked at, in bytes: a secret and two certificates of
/// [`connector_proto::limits::DER_MAX`].
const TICKET_MAX: usize = 4096;

/// Makes and takes tickets that live for ten minutes at most.
pub(super) fn ticketer() -> Result<Arc<dyn ProducesTickets>, Error> {
    Ok(Arc::new(TicketRotator::new(ROTATION_S, sealer)?))
}

fn sealer() -> Result<Box<dyn ProducesTickets>, GetRandomFailed> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *key).map_err(|_| GetRandomFailed)?;
    Ok(Box::new(Sealer::new(&key)?))
}

/// Seals tickets with one key: nonce, then what is sealed and its tag.
///
/// The nonces are random. A key makes far fewer than 2^32 tickets in five minutes, which is what NIST SP
/// 800-38D section 8.3 allows.
struct Sealer(LessSafeKey);

impl Sealer {
    fn new(key: &[u8; 32]) -> Result<Self, GetRandomFailed> {
        // A key of this length is one.
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| GetRandomFailed)?;
        Ok(Self(LessSafeKey::new(key)))
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

impl ProducesTickets for Sealer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // The rotator's own answer is what clients are told.
        2 * ROTATION_S
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).ok()?;
        let mut ticket = [&nonce, plain].concat();
        let sealed = self.0.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::empty(),
            &mut ticket[NONCE_LEN..],
        );
        ticket.extend_from_slice(sealed.ok()?.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_MAX {
            return None;
        }
        let (nonce, sealed) = ticket.split_first_chunk()?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let len = self.0.open_in_place(nonce, Aad::empty(), &mut plain);
        let len = len.ok()?.len();
        plain.truncate(len);
        Some(plain)
    }
}

/// Body of the fuzz target `ticket`: no foreign bytes are a ticket, what was sealed is opened, and
/// one that was changed is not.
///
/// # Panics
/// If that does not hold.
pub fn fuzz_ticket(data: &[u8]) {
    // No randomness: a run can be repeated.
    let Ok(sealer) = Sealer::new(&[7; 32]) else {
        return;
    };
    assert_eq!(sealer.decrypt(data), None);
    let Some(mut ticket) = sealer.encrypt(data) else {
        return;
    };
    let opened = sealer.decrypt(&ticket);
    assert_eq!(opened.is_some(), ticket.len() <= TICKET_MAX);
    assert!(opened.is_none_or(|opened| opened == data));
    if let Some(&place) = data.first() {
        let place = usize::from(place) % ticket.len();
        ticket[place] ^= 1;
        assert_eq!(sealer.decrypt(&ticket), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_opened_by_the_edge_that_made_it_and_by_no_other() {
        let (one, other) = (ticketer().unwrap(), ticketer().unwrap());
        let ticket = one.encrypt(b"who it was").unwrap();
        assert_eq!(one.decrypt(&ticket).unwrap(), b"who it was");
        assert_eq!(other.decrypt(&ticket), None);
    }

    #[test]
    fn two_tickets_for_the_same_differ() {
        let sealer = sealer().unwrap();
        assert_ne!(sealer.encrypt(b"same"), sealer.encrypt(b"same"));
    }

    #[test]
    fn no_ticket_lives_longer_than_ten_minutes() {
        assert_eq!(ticketer().unwrap().lifetime(), 600);
    }

    #[test]
    fn whatever_is_no_ticket_of_ours_is_none() {
        for len in [0, 1, 11, 12, 27, 28, 29, 500, TICKET_MAX, TICKET_MAX + 1] {
            for byte in [0, 1, 0xff] {
                fuzz_ticket(&vec![byte; len]);
            }
        }
    }
}
