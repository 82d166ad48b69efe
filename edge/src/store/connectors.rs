//! Enrolled connectors: whose certificate is whose, and who was seen when.

use connector_proto::time::UnixSeconds;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::audit::Entry;
use super::keys::one_id_by_prefix;
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
    /// MAC address at enrolment.
    pub mac: String,
    /// SMBIOS UUID at enrolment.
    pub smbios_uuid: String,
    /// Unix seconds.
    pub created_at: i64,
}

/// Who a verified certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The connector's id.
    pub id: [u8; 16],
    /// Its name.
    pub name: String,
    /// Row of its group.
    pub group_id: i64,
    /// Name of its group.
    pub group: String,
    /// Whether it is allowed anything at all.
    pub active: bool,
}

impl Store {
    /// The connector whose public key hashes to `spki`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn identity(&self, spki: &[u8; 32]) -> Result<Option<Identity>, Error> {
        self.find_identity("certificates.spki = ?1", spki)
    }

    /// The connector with this id.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn identity_by_id(&self, id: &[u8; 16]) -> Result<Option<Identity>, Error> {
        self.find_identity("connectors.id = ?1", id)
    }

    fn find_identity(&self, condition: &str, value: &[u8]) -> Result<Option<Identity>, Error> {
        let query = format!(
            "SELECT connectors.id, connectors.name, group_id, groups.name, state = 'active'
             FROM certificates
             JOIN connectors ON connectors.id = connector_id
             JOIN groups ON groups.id = group_id
             WHERE {condition} LIMIT 1"
        );
        let identity = |row: &Row<'_>| {
            Ok(Identity {
                id: row.get(0)?,
                name: row.get(1)?,
                group_id: row.get(2)?,
                group: row.get(3)?,
                active: row.get(4)?,
            })
        };
        Ok(self
            .lock()
            .query_row(&query, [value], identity)
            .optional()?)
    }

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

    /// How many connectors are enrolled and active.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn active_connectors(&self) -> Result<u32, Error> {
        let query = "SELECT count(*) FROM connectors WHERE state = 'active'";
        Ok(self.lock().query_row(query, [], |row| row.get(0))?)
    }

    /// Revokes the connector of this name or id for good; its name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], [`Error::Store`].
    pub fn revoke_connector(&self, name_or_id: &str, now: UnixSeconds) -> Result<String, Error> {
        self.decide(now, |transaction| {
            let (id, name) = find(transaction, name_or_id)?;
            transaction.execute(
                "UPDATE connectors SET state = 'revoked' WHERE id = ?1",
                [&id],
            )?;
            let entry = Entry::new("connector_revoked")
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

    /// The connector's control channel is up.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn set_connected(
        &self,
        id: &[u8; 16],
        version: &str,
        address: &str,
        now: UnixSeconds,
    ) -> Result<(), Error> {
        self.lock().execute(
            "UPDATE connectors SET connected_at = ?2, last_seen = ?2, version = ?3, address = ?4
             WHERE id = ?1",
            params![id, sql_time(now), version, address],
        )?;
        Ok(())
    }

    /// The connector's control channel is down.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn set_disconnected(&self, id: &[u8; 16], now: UnixSeconds) -> Result<(), Error> {
        let statement = "UPDATE connectors SET connected_at = NULL, last_seen = ?2 WHERE id = ?1";
        self.lock().execute(statement, params![id, sql_time(now)])?;
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

fn connector_of(row: &Row<'_>) -> rusqlite::Result<Connector> {
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
fn find(connection: &Connection, name_or_id: &str) -> Result<(Vec<u8>, String), Error> {
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
