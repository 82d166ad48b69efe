//! Renewal: another certificate for a connector, by the one before it.
//!
//! The one before stays good until the new one was used on a control channel.

use connector_proto::limits::RENEW_GRACE;
use connector_proto::message::{Fingerprint, RatchetValue, RenewRefusal};
use connector_proto::time::UnixSeconds;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::audit::Entry;
use super::greeting::{Judged, Presented};
use super::{Store, sql_time};
use crate::Error;
use crate::authorise::{Denied, Endpoint};
use crate::recognise::Incumbent;
use crate::text::hex;

/// What a connector asks for, and what it presents.
#[derive(Clone, Debug)]
pub struct RenewOrder<'a> {
    /// SHA-256 of the subject public key info of its verified certificate.
    pub spki: [u8; 32],
    /// The same of the signing request. Asking again with it is the same renewal.
    pub request_spki: [u8; 32],
    /// Its hardware.
    pub fingerprint: Fingerprint,
    /// The ratchet value it stored last.
    pub ratchet: RatchetValue,
    /// Where it dials from.
    pub address: &'a str,
    /// Which root issues the certificate: [`crate::authority::Roots::issuer`].
    pub issuer: [u8; 32],
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenewDecision {
    /// Renewed, now or by an earlier request of which the reply was lost.
    Renewed(Renewed),
    /// Refused.
    Refused(RenewRefusal),
}

/// A certificate that was issued by a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// The connector's id.
    pub id: [u8; 16],
    /// Its name.
    pub name: String,
    /// The certificate as `issue` made it.
    pub certificate: Vec<u8>,
    /// Counts the connector's certificates.
    pub generation: u32,
    /// Whether it was asked for before.
    pub repeated: bool,
}

impl Store {
    /// Decides on a renewal: the certificate is authorised, its machine recognised as on a control
    /// channel. `issue` makes the certificate of a connector id, valid until a time that the group
    /// decides; if it fails, nothing is changed.
    ///
    /// # Errors
    /// [`Error::Store`], or what `issue` says.
    pub fn renew(
        &self,
        order: &RenewOrder<'_>,
        now: UnixSeconds,
        issue: impl FnOnce(&[u8; 16], UnixSeconds) -> Result<Vec<u8>, Error>,
    ) -> Result<RenewDecision, Error> {
        let presented = Presented {
            spki: &order.spki,
            fingerprint: &order.fingerprint,
            ratchet: &order.ratchet,
            address: order.address,
        };
        // The connector leaves its control channel to renew: one that is still there is its own,
        // about to be noticed as gone. A copy gets no further with what it is given here, because
        // the control channel asks the incumbent.
        let incumbent = Incumbent::None;
        self.transact(|transaction| {
            let judged = self.judge(transaction, Endpoint::Renew, &presented, incumbent, now)?;
            let refused = |denied: Denied| Ok(RenewDecision::Refused(denied.renew_refusal()));
            let identity = match judged {
                Judged::Admitted { identity, .. } => identity,
                Judged::Held { verdict, .. } => return refused(Denied::Held(verdict)),
                Judged::Denied(denied) => return refused(denied),
                Judged::AskIncumbent => return Ok(RenewDecision::Refused(RenewRefusal::TryLater)),
            };
            let Some((generation, repeated)) = generation(transaction, &identity.id, order)? else {
                return Ok(RenewDecision::Refused(RenewRefusal::RequestInvalid));
            };
            let life = "SELECT certificate_life_s FROM groups WHERE id = ?1";
            let life: u64 = transaction.query_row(life, [identity.group_id], |row| row.get(0))?;
            let not_after = UnixSeconds(now.0.saturating_add(life));
            let certificate = issue(&identity.id, not_after)?;
            set_certificate(transaction, &identity.id, order, generation, now, not_after)?;
            forget(transaction, &identity.id, now)?;
            let renewed = Renewed {
                id: identity.id,
                name: identity.name,
                certificate,
                generation,
                repeated,
            };
            self.write_down(transaction, now, &entry(&renewed, order, not_after))?;
            Ok(RenewDecision::Renewed(renewed))
        })
    }
}

/// The generation of the certificate that is asked for, and whether it was asked for before. `None`
/// if its key is another certificate's: a key belongs to one certificate for good.
fn generation(
    connection: &Connection,
    id: &[u8; 16],
    order: &RenewOrder<'_>,
) -> Result<Option<(u32, bool)>, Error> {
    let query = "SELECT generation FROM certificates
         WHERE spki = ?1 AND connector_id = ?2 AND superseded_at IS NULL AND spki <> ?3";
    let values = params![order.request_spki, id, order.spki];
    let earlier = connection.query_row(query, values, |row| row.get(0));
    if let Some(generation) = earlier.optional()? {
        return Ok(Some((generation, true)));
    }
    let taken = "SELECT 1 FROM certificates WHERE spki = ?1
         UNION ALL SELECT 1 FROM deleted_keys WHERE spki = ?1
         UNION ALL SELECT 1 FROM connectors WHERE enrol_spki = ?1";
    let taken = connection.query_row(taken, [order.request_spki], |_| Ok(()));
    if taken.optional()?.is_some() {
        return Ok(None);
    }
    let next = "SELECT 1 + max(generation) FROM certificates WHERE connector_id = ?1";
    Ok(Some((
        connection.query_row(next, [id], |row| row.get(0))?,
        false,
    )))
}

fn set_certificate(
    connection: &Connection,
    id: &[u8; 16],
    order: &RenewOrder<'_>,
    generation: u32,
    now: UnixSeconds,
    not_after: UnixSeconds,
) -> Result<(), Error> {
    connection.execute(
        "INSERT INTO certificates (spki, connector_id, issued_at, not_after, generation, issuer)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (spki) DO UPDATE SET issued_at = excluded.issued_at,
             not_after = excluded.not_after, issuer = excluded.issuer",
        params![
            order.request_spki,
            id,
            sql_time(now),
            sql_time(not_after),
            generation,
            order.issuer
        ],
    )?;
    Ok(())
}

/// Drops what nobody can use any more: superseded certificates that are over for longer than they
/// could be renewed, and of those that were never used all but the newest.
fn forget(connection: &Connection, id: &[u8; 16], now: UnixSeconds) -> Result<(), Error> {
    let long_ago = sql_time(now).saturating_sub_unsigned(RENEW_GRACE.as_secs());
    let over = "DELETE FROM certificates
         WHERE connector_id = ?1 AND superseded_at IS NOT NULL AND not_after < ?2";
    connection.execute(over, params![id, long_ago])?;
    let unused = "DELETE FROM certificates WHERE spki IN (
             SELECT spki FROM certificates
             WHERE connector_id = ?1 AND used_at IS NULL AND superseded_at IS NULL AND generation > 1
             ORDER BY generation DESC LIMIT -1 OFFSET ?2)";
    connection.execute(unused, params![id, UNUSED_MAX])?;
    Ok(())
}

/// Certificates of one connector that were issued and not used. A connector has one; a machine that
/// loses its memory between two requests, a few; more come from somebody who plays with its key.
const UNUSED_MAX: u32 = 16;

fn entry(renewed: &Renewed, order: &RenewOrder<'_>, not_after: UnixSeconds) -> Entry {
    let event = if renewed.repeated {
        "renewal_repeated"
    } else {
        "certificate_renewed"
    };
    Entry::new(event)
        .with("connector", hex(&renewed.id))
        .with("name", renewed.name.as_str())
        .with("generation", renewed.generation)
        .with("spki", hex(&order.request_spki))
        .with("not_after", not_after.0)
        .with("address", order.address)
}

/// The word for a refusal in the log.
pub(crate) const fn refusal_name(refusal: RenewRefusal) -> &'static str {
    match refusal {
        RenewRefusal::Disabled => "disabled",
        RenewRefusal::Held(_) => "held",
        RenewRefusal::RequestInvalid => "request_invalid",
        RenewRefusal::Revoked => "revoked",
        RenewRefusal::Superseded => "superseded",
        RenewRefusal::TooLate { .. } => "too_late",
        RenewRefusal::TryLater => "try_later",
    }
}

#[cfg(test)]
mod tests;
