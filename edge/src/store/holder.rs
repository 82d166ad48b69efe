//! Whose certificate is whose, and what it is worth.

use connector_proto::time::UnixSeconds;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{Store, from_sql_time};
use crate::Error;
use crate::authorise::{ConnectorState, Standing};

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
}

/// The holder of a certificate, and everything that decides what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Who; nobody if the connector is unknown or deleted.
    pub identity: Option<Identity>,
    /// What [`crate::authorise::authorise`] looks at.
    pub standing: Standing,
}

impl Store {
    /// The holder of the certificate whose public key hashes to `spki`.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn holder(&self, spki: &[u8; 32]) -> Result<Holder, Error> {
        self.look(|connection| holder(connection, spki))
    }

    /// What the newest certificate of a connector is worth.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn standing_of(&self, id: &[u8; 16]) -> Result<Standing, Error> {
        let query = "SELECT spki FROM certificates WHERE connector_id = ?1
             ORDER BY superseded_at IS NOT NULL, generation DESC LIMIT 1";
        let connection = self.lock();
        let newest = connection.query_row(query, [id], |row| row.get::<_, [u8; 32]>(0));
        match newest.optional()? {
            Some(spki) => Ok(holder(&connection, &spki)?.standing),
            None => Ok(nobody(ConnectorState::Unknown)),
        }
    }
}

/// The holder of the certificate whose public key hashes to `spki`.
pub(super) fn holder(connection: &Connection, spki: &[u8; 32]) -> Result<Holder, Error> {
    let query = "SELECT connectors.id, connectors.name, group_id, groups.name, state, not_after,
             superseded_at IS NOT NULL
         FROM certificates
         JOIN connectors ON connectors.id = connector_id
         JOIN groups ON groups.id = group_id
         WHERE certificates.spki = ?1";
    let mut statement = connection.prepare_cached(query)?;
    if let Some(holder) = statement.query_row([spki], holder_of).optional()? {
        return Ok(holder);
    }
    let query = "SELECT 1 FROM deleted_keys WHERE spki = ?1";
    let deleted = connection.query_row(query, [spki], |_| Ok(()));
    let connector = match deleted.optional()? {
        Some(()) => ConnectorState::Deleted,
        None => ConnectorState::Unknown,
    };
    Ok(Holder {
        identity: None,
        standing: nobody(connector),
    })
}

fn holder_of(row: &Row<'_>) -> rusqlite::Result<Holder> {
    let identity = Identity {
        id: row.get(0)?,
        name: row.get(1)?,
        group_id: row.get(2)?,
        group: row.get(3)?,
    };
    let connector = match row.get::<_, String>(4)?.as_str() {
        "active" => ConnectorState::Active,
        "disabled" => ConnectorState::Disabled,
        // The table allows one more; what is not allowed to work is not.
        _ => ConnectorState::Revoked,
    };
    let standing = Standing {
        connector,
        held: None,
        not_after: from_sql_time(row.get(5)?),
        superseded: row.get(6)?,
    };
    Ok(Holder {
        identity: Some(identity),
        standing,
    })
}

const fn nobody(connector: ConnectorState) -> Standing {
    Standing {
        connector,
        held: None,
        superseded: false,
        not_after: UnixSeconds(0),
    }
}
