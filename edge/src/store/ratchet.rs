//! Ratchet values: which of them a connector may present, and which a copy has presented.
//!
//! The edge keeps SHA-256 of each value, so a stolen database lets nobody in, and compares by looking
//! the hash up. A value is *pending* from when it is handed out until it is known to be on the
//! connector's disk; then it is *current*. Either may be presented, because an answer can get lost.

use connector_proto::message::RatchetValue;
use connector_proto::time::UnixSeconds;
use ring::digest;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Store, sql_time};
use crate::Error;
use crate::recognise::RatchetStanding;

/// Values handed out that are remembered per connector, and as many that a copy presented. They
/// only tell an old state from none of the connector's.
const REMEMBERED: i64 = 64;

type Hash = [u8; 32];

/// Whether a step that was answered for is known now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is the current one.
    Current,
    /// Another value was handed out meanwhile: the channel that answers is not the newest.
    Overtaken,
}

impl Store {
    /// Hands out another value to a connector that is connected; its step.
    ///
    /// # Errors
    /// [`Error::Store`], also if there is no such connector.
    pub fn advance_ratchet(&self, id: &[u8; 16], value: &RatchetValue) -> Result<u64, Error> {
        self.transact(|transaction| hand_out(transaction, id, value))
    }

    /// The connector has the value of this step on its disk.
    ///
    /// # Errors
    /// [`Error::Store`]; the channel must then offer no session.
    pub fn ratchet_stored(&self, id: &[u8; 16], step: u64) -> Result<Stored, Error> {
        self.transact(|transaction| {
            let step = sql_step(step);
            let statement = "UPDATE connectors
                 SET current_step = pending_step, current_hash = pending_hash, pending_hash = NULL
                 WHERE id = ?1 AND pending_step = ?2 AND pending_hash IS NOT NULL";
            if transaction.execute(statement, params![id, step])? == 1 {
                return Ok(Stored::Current);
            }
            let query = "SELECT 1 FROM connectors
                 WHERE id = ?1 AND current_step = ?2 AND current_hash IS NOT NULL";
            let known = transaction.query_row(query, params![id, step], |_| Ok(()));
            Ok(match known.optional()? {
                Some(()) => Stored::Current,
                None => Stored::Overtaken,
            })
        })
    }

    /// The connector has the trust anchors of this digest on its disk and in force.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn trust_stored(&self, id: &[u8; 16], digest: &[u8; 32]) -> Result<(), Error> {
        let statement = "UPDATE connectors SET trust_digest = ?2
             WHERE id = ?1 AND trust_digest IS NOT ?2";
        self.lock().execute(statement, params![id, digest])?;
        Ok(())
    }
}

/// What a presented value is.
///
/// A value that the connector itself may hold is fresh even if a copy presented it too: the
/// connector is told of a newer one as soon as the copy shows up, and from when it has stored that,
/// the older one is the copy's alone.
pub(super) fn standing(
    connection: &Connection,
    id: &[u8; 16],
    value: &RatchetValue,
) -> Result<RatchetStanding, Error> {
    let hash = hash(value);
    let (current, pending): (Option<Hash>, Option<Hash>) = connection.query_row(
        "SELECT current_hash, pending_hash FROM connectors WHERE id = ?1",
        [id],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let fresh = pending == Some(hash)
        || current == Some(hash)
        || current.is_none() && *value == RatchetValue::default();
    if fresh {
        return Ok(RatchetStanding::Fresh);
    }
    let query = "SELECT 1 FROM quarantined WHERE connector_id = ?1 AND hash = ?2";
    let quarantined = connection.query_row(query, params![id, hash], |_| Ok(()));
    Ok(match quarantined.optional()? {
        Some(()) => RatchetStanding::Quarantined,
        None => RatchetStanding::Stale,
    })
}

/// Whether the value was once handed out to the connector: an old state of its, else a foreign one.
pub(super) fn was_handed_out(
    connection: &Connection,
    id: &[u8; 16],
    value: &RatchetValue,
) -> Result<bool, Error> {
    let query = "SELECT 1 FROM ratchets WHERE connector_id = ?1 AND hash = ?2";
    let found = connection.query_row(query, params![id, hash(value)], |_| Ok(()));
    Ok(*value == RatchetValue::default() || found.optional()?.is_some())
}

/// The connector presents this value, so it is on its disk.
pub(super) fn presented(
    connection: &Connection,
    id: &[u8; 16],
    value: &RatchetValue,
) -> Result<(), Error> {
    connection.execute(
        "UPDATE connectors
         SET current_step = pending_step, current_hash = pending_hash, pending_hash = NULL
         WHERE id = ?1 AND pending_hash = ?2",
        params![id, hash(value)],
    )?;
    Ok(())
}

/// Makes `value` the pending one; its step.
pub(super) fn hand_out(
    connection: &Connection,
    id: &[u8; 16],
    value: &RatchetValue,
) -> Result<u64, Error> {
    let hash = hash(value);
    let step: i64 = connection.query_row(
        "UPDATE connectors
         SET pending_step = max(current_step, pending_step) + 1, pending_hash = ?2
         WHERE id = ?1 RETURNING pending_step",
        params![id, hash],
        |row| row.get(0),
    )?;
    let insert = "INSERT INTO ratchets (connector_id, step, hash) VALUES (?1, ?2, ?3)";
    connection.execute(insert, params![id, step, hash])?;
    let forget = "DELETE FROM ratchets WHERE connector_id = ?1 AND step <= ?2";
    connection.execute(forget, params![id, step - REMEMBERED])?;
    Ok(u64::try_from(step).unwrap_or(0))
}

/// A copy presented this value.
pub(super) fn quarantine(
    connection: &Connection,
    id: &[u8; 16],
    value: &RatchetValue,
    now: UnixSeconds,
) -> Result<(), Error> {
    connection.execute(
        "INSERT OR REPLACE INTO quarantined (connector_id, hash, at) VALUES (?1, ?2, ?3)",
        params![id, hash(value), sql_time(now)],
    )?;
    connection.execute(
        "DELETE FROM quarantined WHERE connector_id = ?1 AND rowid NOT IN
         (SELECT rowid FROM quarantined WHERE connector_id = ?1 ORDER BY at DESC, rowid DESC LIMIT ?2)",
        params![id, REMEMBERED],
    )?;
    Ok(())
}

fn hash(value: &RatchetValue) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, &value.0).as_ref());
    hash
}

/// SQLite's integers are signed; no edge hands out so many.
pub(super) fn sql_step(step: u64) -> i64 {
    i64::try_from(step).unwrap_or(i64::MAX)
}
