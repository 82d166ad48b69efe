//! The edge's CA certificates: at most two, so that one can take the place of the other while every
//! connector trusts both.
//!
//! ```text
//!          rotate            use-next              retire
//! active ---------> active ------------> active ---------> active
//!                   next                 retiring
//! ```

use connector_proto::message::Trust;
use connector_proto::time::UnixSeconds;
use ring::digest;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, Row, params};

use super::audit::Entry;
use super::{Store, sql_time};
use crate::Error;
use crate::text::{hex, names};

/// Where a root stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RootState {
    /// It issues.
    Active,
    /// It is to issue as soon as the connectors trust it.
    Next,
    /// It issued until lately; what it issued is still accepted.
    Retiring,
}

/// A CA of the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Where it stands.
    pub state: RootState,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// Unix seconds.
    pub created_at: i64,
}

impl Root {
    /// SHA-256 of the certificate: what [`crate::authority::Roots::issuer`] names.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        sha256(&self.certificate)
    }
}

impl Store {
    /// All roots, the active one first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn roots(&self) -> Result<Vec<Root>, Error> {
        roots(&self.lock())
    }

    /// The active connectors that are lost if the next root issues now, and those that are lost if
    /// the retiring root is dropped now; by name.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn awaited_by_roots(&self) -> Result<Vec<String>, Error> {
        let connection = self.lock();
        let roots = roots(&connection)?;
        if is_there(&roots, RootState::Next) {
            without_trust(&connection, &roots)
        } else if is_there(&roots, RootState::Retiring) {
            without_certificate(&connection, &roots)
        } else {
            Ok(Vec::new())
        }
    }

    /// The first root of an edge. `entry` is how it came about.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is one; [`Error::Store`].
    pub fn add_first_root(
        &self,
        certificate: &[u8],
        entry: Entry,
        now: UnixSeconds,
    ) -> Result<(), Error> {
        self.decide(now, |transaction| {
            if !roots(transaction)?.is_empty() {
                return refused("the edge has a root already".into());
            }
            insert(transaction, RootState::Active, certificate, now)?;
            Ok(((), entry.with("ca", hex(&sha256(certificate)))))
        })
    }

    /// A root that is to take the active one's place.
    ///
    /// # Errors
    /// [`Error::Refused`] if there are two already; [`Error::Store`].
    pub fn add_next_root(&self, certificate: &[u8], now: UnixSeconds) -> Result<(), Error> {
        self.decide(now, |transaction| {
            let remedy = match roots(transaction)?.get(1).map(|root| root.state) {
                None | Some(RootState::Active) => None,
                Some(RootState::Next) => Some("use the next one with `authority use-next`"),
                Some(RootState::Retiring) => Some("drop the old one with `authority retire`"),
            };
            if let Some(remedy) = remedy {
                return refused(format!("there are two roots already; first {remedy}"));
            }
            insert(transaction, RootState::Next, certificate, now)?;
            let entry = Entry::new("root_added").with("ca", hex(&sha256(certificate)));
            Ok(((), entry))
        })
    }

    /// Makes the next root issue; the connectors that are lost by it, which are none unless `force`.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is none, or if an active connector has not stored it and not
    /// `force`; [`Error::Store`].
    pub fn use_next_root(&self, force: bool, now: UnixSeconds) -> Result<Vec<String>, Error> {
        self.decide(now, |transaction| {
            let roots = roots(transaction)?;
            let Some(next) = roots.iter().find(|root| root.state == RootState::Next) else {
                return refused("there is no next root; make one with `authority rotate`".into());
            };
            let lost = without_trust(transaction, &roots)?;
            if !force && !lost.is_empty() {
                return refused(format!(
                    "{} have not stored the next root and would need a key again; wait until they \
                     connected, or use --force",
                    names(&lost)
                ));
            }
            let moves = "UPDATE roots SET state = ?2 WHERE state = ?1";
            transaction.execute(moves, ["active", "retiring"])?;
            transaction.execute(moves, ["next", "active"])?;
            let entry = Entry::new("root_in_use")
                .with("ca", hex(&next.hash()))
                .with("lost", lost.as_slice());
            Ok((lost, entry))
        })
    }

    /// Drops the root before; its certificate, and the connectors that are lost by it, which are
    /// none unless `force`.
    ///
    /// # Errors
    /// [`Error::Refused`] if there is none, or if an active connector has no certificate of the
    /// other root and not `force`; [`Error::Store`].
    pub fn retire_root(
        &self,
        force: bool,
        now: UnixSeconds,
    ) -> Result<(Vec<u8>, Vec<String>), Error> {
        self.decide(now, |transaction| {
            let roots = roots(transaction)?;
            let Some(old) = roots.iter().find(|root| root.state == RootState::Retiring) else {
                return refused("there is no root to drop; see `authority list`".into());
            };
            let lost = without_certificate(transaction, &roots)?;
            if !force && !lost.is_empty() {
                return refused(format!(
                    "{} have no certificate of the new root and would need a key again; wait until \
                     they renewed, or use --force",
                    names(&lost)
                ));
            }
            transaction.execute("DELETE FROM roots WHERE state = 'retiring'", [])?;
            let entry = Entry::new("root_retired")
                .with("ca", hex(&old.hash()))
                .with("lost", lost.as_slice());
            Ok(((old.certificate.clone(), lost), entry))
        })
    }
}

/// What connectors are to trust. Without a root, which only a store without an edge has, nothing.
pub(crate) fn anchors(roots: &[Root]) -> Trust<'_> {
    let certificate = |at: usize| roots.get(at).map_or(&[][..], |root| &root.certificate);
    Trust {
        ca: certificate(0),
        other_ca: certificate(1),
    }
}

/// What a connector answers that trusts the roots there are.
pub(super) fn digest(connection: &Connection) -> Result<[u8; 32], Error> {
    Ok(anchors(&roots(connection)?).digest())
}

pub(super) fn roots(connection: &Connection) -> Result<Vec<Root>, Error> {
    let query = "SELECT state, certificate, created_at FROM roots ORDER BY state";
    let mut statement = connection.prepare(query)?;
    let root = |row: &Row<'_>| {
        Ok(Root {
            state: row.get(0)?,
            certificate: row.get(1)?,
            created_at: row.get(2)?,
        })
    };
    let roots = statement.query_map([], root)?;
    Ok(roots.collect::<Result<_, _>>()?)
}

fn insert(
    connection: &Connection,
    state: RootState,
    certificate: &[u8],
    now: UnixSeconds,
) -> Result<(), Error> {
    connection.execute(
        "INSERT INTO roots (state, certificate, created_at) VALUES (?1, ?2, ?3)",
        params![state.as_str(), certificate, sql_time(now)],
    )?;
    Ok(())
}

fn is_there(roots: &[Root], state: RootState) -> bool {
    roots.iter().any(|root| root.state == state)
}

/// Active connectors that have not said that they trust these roots.
fn without_trust(connection: &Connection, roots: &[Root]) -> Result<Vec<String>, Error> {
    let query = "SELECT name FROM connectors
         WHERE state = 'active' AND trust_digest IS NOT ?1 ORDER BY name";
    names_of(connection, query, &anchors(roots).digest())
}

/// Active connectors without a certificate of the root that issues.
fn without_certificate(connection: &Connection, roots: &[Root]) -> Result<Vec<String>, Error> {
    let query = "SELECT name FROM connectors
         WHERE state = 'active' AND NOT EXISTS (
             SELECT 1 FROM certificates
             WHERE connector_id = connectors.id AND superseded_at IS NULL AND issuer = ?1)
         ORDER BY name";
    let active = roots.iter().find(|root| root.state == RootState::Active);
    names_of(connection, query, &active.map_or([0; 32], Root::hash))
}

fn names_of(connection: &Connection, query: &str, value: &[u8; 32]) -> Result<Vec<String>, Error> {
    let mut statement = connection.prepare(query)?;
    let names = statement.query_map([value], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

fn refused<T>(problem: String) -> Result<T, Error> {
    Err(Error::Refused { problem })
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

impl RootState {
    /// As it is stored and listed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Next => "next",
            Self::Retiring => "retiring",
        }
    }
}

impl FromSql for RootState {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "active" => Ok(Self::Active),
            "next" => Ok(Self::Next),
            "retiring" => Ok(Self::Retiring),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

#[cfg(test)]
mod tests;
