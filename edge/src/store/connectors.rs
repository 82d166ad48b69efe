//! Enrolled connectors: what an administrator does with them, and who was seen when.

use connector_proto::time::UnixSeconds;
use rusqlite::{Connection, Row, params};

use super::audit::Entry;
use super::keys::one_id_by_prefix;
use super::ratchet::sql_step;
use super::{Store, sql_time};
use crate::Error;
use crate::text::{checked_name, hex};

/// A connector as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Connector {
    /// Its id, hexadecimal.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// `active`, `disabled` or `revoked`.
    pub state: String,
    /// Whether its control channel is up. Only true while an edge serves the store.
    pub connected: bool,
    /// Since when, unix seconds.
    pub connected_at: Option<i64>,
    /// Unix seconds.
    pub last_seen: Option<i64>,
    /// The version it said it runs.
    pub version: Option<String>,
    /// The address it dialled from.
    pub address: Option<String>,
    /// MAC address of the machine that is taken for it.
    pub mac: String,
    /// SMBIOS UUID of that machine.
    pub smbios_uuid: String,
    /// Unix seconds.
    pub created_at: i64,
}

impl Store {
    /// All connectors by group and name.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn connectors(&self) -> Result<Vec<Connector>, Error> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "SELECT connectors.id, connectors.name, groups.name, state, connected_at, last_seen,
                    version, address, mac, smbios_uuid, connectors.created_at
             FROM connectors JOIN groups ON groups.id = group_id
             ORDER BY groups.name, connectors.name",
        )?;
        let connectors = statement.query_map([], connector_of)?;
        Ok(connectors.collect::<Result<_, _>>()?)
    }

    /// Revokes the connector of this name or id for good; its name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], [`Error::Store`].
    pub fn revoke_connector(&self, name_or_id: &str, now: UnixSeconds) -> Result<String, Error> {
        self.set_state(name_or_id, "revoked", "connector_revoked", now)
    }

    /// Keeps the connector of this name or id out until it is enabled; its name.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if it is revoked; [`Error::NotFound`], [`Error::Ambiguous`],
    /// [`Error::Store`].
    pub fn disable_connector(&self, name_or_id: &str, now: UnixSeconds) -> Result<String, Error> {
        self.set_state(name_or_id, "disabled", "connector_disabled", now)
    }

    /// Lets the connector of this name or id in again; its name.
    ///
    /// # Errors
    /// [`Error::InvalidValue`] if it is revoked; [`Error::NotFound`], [`Error::Ambiguous`],
    /// [`Error::Store`].
    pub fn enable_connector(&self, name_or_id: &str, now: UnixSeconds) -> Result<String, Error> {
        self.set_state(name_or_id, "active", "connector_enabled", now)
    }

    fn set_state(
        &self,
        name_or_id: &str,
        state: &str,
        event: &'static str,
        now: UnixSeconds,
    ) -> Result<String, Error> {
        self.decide(now, |transaction| {
            let (id, name) = find(transaction, name_or_id)?;
            let statement = "UPDATE connectors SET state = ?2
                 WHERE id = ?1 AND (state <> 'revoked' OR ?2 = 'revoked')";
            if transaction.execute(statement, params![id, state])? == 0 {
                return Err(Error::InvalidValue {
                    what: "connector",
                    value: name,
                    allowed: "one that is not revoked, which is for good".into(),
                });
            }
            let entry = Entry::new(event)
                .with("connector", hex(&id))
                .with("name", name.as_str());
            Ok((name, entry))
        })
    }

    /// Removes the connector of this name or id; its name. Its keys are remembered, so that it is
    /// told that it was deleted, and its past stays in the audit log.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], [`Error::Store`].
    pub fn delete_connector(&self, name_or_id: &str, now: UnixSeconds) -> Result<String, Error> {
        self.decide(now, |transaction| {
            let (id, name) = find(transaction, name_or_id)?;
            transaction.execute(
                "INSERT OR REPLACE INTO deleted_keys (spki, connector_id, deleted_at)
                 SELECT spki, connector_id, ?2 FROM certificates WHERE connector_id = ?1",
                params![id, sql_time(now)],
            )?;
            let certificates = "DELETE FROM certificates WHERE connector_id = ?1";
            transaction.execute(certificates, [&id])?;
            transaction.execute("DELETE FROM connectors WHERE id = ?1", [&id])?;
            let entry = Entry::new("connector_deleted")
                .with("connector", hex(&id))
                .with("name", name.as_str());
            Ok((name, entry))
        })
    }

    /// Gives the connector of this name or id another name.
    ///
    /// # Errors
    /// [`Error::InvalidValue`], [`Error::AlreadyExists`], [`Error::NotFound`],
    /// [`Error::Ambiguous`], [`Error::Store`].
    pub fn rename_connector(
        &self,
        name_or_id: &str,
        new_name: &str,
        now: UnixSeconds,
    ) -> Result<(), Error> {
        checked_name("connector", new_name)?;
        self.decide(now, |transaction| {
            let (id, name) = find(transaction, name_or_id)?;
            let statement = "UPDATE OR IGNORE connectors SET name = ?2 WHERE id = ?1";
            if transaction.execute(statement, params![id, new_name])? == 0 {
                return Err(Error::AlreadyExists {
                    what: "connector",
                    name: new_name.into(),
                });
            }
            let entry = Entry::new("connector_renamed")
                .with("connector", hex(&id))
                .with("from", name)
                .with("to", new_name);
            Ok(((), entry))
        })
    }

    /// The control channel that was handed the ratchet value of `step` last is down. Without effect if
    /// a newer one is up.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn set_disconnected(
        &self,
        id: &[u8; 16],
        step: u64,
        now: UnixSeconds,
    ) -> Result<(), Error> {
        let statement = "UPDATE connectors SET connected_at = NULL, last_seen = ?3
             WHERE id = ?1 AND max(current_step, pending_step) <= ?2";
        let step = sql_step(step);
        self.lock()
            .execute(statement, params![id, step, sql_time(now)])?;
        Ok(())
    }

    /// No connector is connected: an edge starts and is the only one on this store.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn set_all_disconnected(&self) -> Result<(), Error> {
        let statement = "UPDATE connectors SET connected_at = NULL WHERE connected_at IS NOT NULL";
        self.lock().execute(statement, [])?;
        Ok(())
    }

    /// These connectors answer.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn set_seen(&self, ids: &[[u8; 16]], now: UnixSeconds) -> Result<(), Error> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        {
            let statement = "UPDATE connectors SET last_seen = ?2 WHERE id = ?1";
            let mut statement = transaction.prepare(statement)?;
            for id in ids {
                statement.execute(params![id, sql_time(now)])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

pub(super) fn connector_of(row: &Row<'_>) -> rusqlite::Result<Connector> {
    let connected_at: Option<i64> = row.get(4)?;
    Ok(Connector {
        id: hex(&row.get::<_, Vec<u8>>(0)?),
        name: row.get(1)?,
        group: row.get(2)?,
        state: row.get(3)?,
        connected: connected_at.is_some(),
        connected_at,
        last_seen: row.get(5)?,
        version: row.get(6)?,
        address: row.get(7)?,
        mac: row.get(8)?,
        smbios_uuid: row.get(9)?,
        created_at: row.get(10)?,
    })
}

/// Id and name of the one connector with this exact name, else with an id that starts so.
pub(super) fn find(connection: &Connection, name_or_id: &str) -> Result<(Vec<u8>, String), Error> {
    let mut statement = connection.prepare("SELECT id FROM connectors WHERE name = ?1")?;
    let named = statement.query_map([name_or_id], |row| row.get::<_, Vec<u8>>(0))?;
    let mut named: Vec<_> = named.collect::<Result<_, _>>()?;
    let id = match named.len() {
        0 => one_id_by_prefix(
            connection,
            "connector",
            "SELECT id FROM connectors",
            name_or_id,
        )?,
        1 => named.remove(0),
        matches => {
            return Err(Error::Ambiguous {
                what: "connector",
                name: name_or_id.into(),
                matches,
            });
        }
    };
    let query = "SELECT name FROM connectors WHERE id = ?1";
    let name = connection.query_row(query, [&id], |row| row.get(0))?;
    Ok((id, name))
}
