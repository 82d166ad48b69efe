//! Connector groups.

use connector_proto::time::UnixSeconds;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::audit::Entry;
use super::{Store, sql_time};
use crate::Error;
use crate::text::checked_name;

/// A group as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Connectors enrolled into it, in any state.
    pub connectors: u32,
    /// Applications reachable through it.
    pub applications: u32,
    /// Unix seconds.
    pub created_at: i64,
}

impl Store {
    /// Adds a group.
    ///
    /// # Errors
    /// [`Error::InvalidValue`], [`Error::AlreadyExists`], [`Error::Store`].
    pub fn add_group(&self, name: &str, now: UnixSeconds) -> Result<(), Error> {
        checked_name("group", name)?;
        self.decide(now, |transaction| {
            let statement = "INSERT OR IGNORE INTO groups (name, created_at) VALUES (?1, ?2)";
            if transaction.execute(statement, params![name, sql_time(now)])? == 0 {
                return Err(Error::AlreadyExists {
                    what: "group",
                    name: name.into(),
                });
            }
            Ok(((), Entry::new("group_added").with("group", name)))
        })
    }

    /// All groups by name.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn groups(&self) -> Result<Vec<Group>, Error> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "SELECT name,
                    (SELECT count(*) FROM connectors WHERE group_id = groups.id),
                    (SELECT count(*) FROM applications WHERE group_id = groups.id),
                    created_at
             FROM groups ORDER BY name",
        )?;
        let groups = statement.query_map([], |row| {
            Ok(Group {
                name: row.get(0)?,
                connectors: row.get(1)?,
                applications: row.get(2)?,
                created_at: row.get(3)?,
            })
        })?;
        Ok(groups.collect::<Result<_, _>>()?)
    }
}

/// The row of the group called `name`.
pub(super) fn group_id(connection: &Connection, name: &str) -> Result<i64, Error> {
    let query = "SELECT id FROM groups WHERE name = ?1";
    connection
        .query_row(query, [name], |row| row.get(0))
        .optional()?
        .ok_or_else(|| {
            let remedy = "add it with `group add`, or see `group list`";
            Error::NotFound {
                what: "group",
                name: name.into(),
                remedy,
            }
        })
}
