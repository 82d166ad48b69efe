//! Connector groups.

use std::time::Duration;

use connector_proto::time::UnixSeconds;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::audit::Entry;
use super::{Store, sql_time};
use crate::Error;
use crate::recognise::MovedNic;
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
    /// How long its connectors' certificates hold, in seconds.
    pub certificate_life_s: u32,
    /// What becomes of a machine of its with another MAC address, or of an earlier state on other
    /// hardware: `hold` or `accept`.
    pub moved_nic: String,
    /// Unix seconds.
    pub created_at: i64,
}

/// What is to change about a group; `None` stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change {
    /// How long certificates hold, [`CERTIFICATE_LIFE_MIN`] to [`CERTIFICATE_LIFE_MAX`].
    pub certificate_life: Option<Duration>,
    /// What becomes of moved machines.
    pub moved_nic: Option<MovedNic>,
}

/// Longest life of a connector's certificate (DESIGN: 24 h, at most 7 days).
pub const CERTIFICATE_LIFE_MAX: Duration = Duration::from_secs(7 * 86_400);

/// Shortest. A connector renews at two thirds, and each renewal costs it a second away from its edge.
pub const CERTIFICATE_LIFE_MIN: Duration = Duration::from_secs(60);

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
                    created_at, certificate_life_s, moved_nic
             FROM groups ORDER BY name",
        )?;
        let groups = statement.query_map([], |row| {
            Ok(Group {
                name: row.get(0)?,
                connectors: row.get(1)?,
                applications: row.get(2)?,
                created_at: row.get(3)?,
                certificate_life_s: row.get(4)?,
                moved_nic: row.get(5)?,
            })
        })?;
        Ok(groups.collect::<Result<_, _>>()?)
    }

    /// The group of this name.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub fn group(&self, name: &str) -> Result<Group, Error> {
        let found = self.groups()?.into_iter().find(|group| group.name == name);
        found.ok_or_else(|| not_found(name))
    }

    /// Changes what holds for a group's connectors: from their next certificate, and from the next
    /// machine that connects.
    ///
    /// # Errors
    /// [`Error::InvalidValue`], [`Error::NotFound`], [`Error::Store`].
    pub fn set_group(&self, name: &str, change: &Change, now: UnixSeconds) -> Result<(), Error> {
        let life = change.certificate_life.map(checked_life).transpose()?;
        self.decide(now, |transaction| {
            let id = group_id(transaction, name)?;
            let moved_nic = change.moved_nic.map(policy_name);
            transaction.execute(
                "UPDATE groups SET certificate_life_s = coalesce(?2, certificate_life_s),
                                   moved_nic = coalesce(?3, moved_nic)
                 WHERE id = ?1",
                params![id, life, moved_nic],
            )?;
            let entry = Entry::new("group_changed")
                .with("group", name)
                .with("certificate_life_s", life)
                .with("moved_nic", moved_nic);
            Ok(((), entry))
        })
    }
}

/// The row of the group called `name`.
pub(super) fn group_id(connection: &Connection, name: &str) -> Result<i64, Error> {
    let query = "SELECT id FROM groups WHERE name = ?1";
    connection
        .query_row(query, [name], |row| row.get(0))
        .optional()?
        .ok_or_else(|| not_found(name))
}

/// The word for a policy in store and listing.
pub(crate) const fn policy_name(policy: MovedNic) -> &'static str {
    match policy {
        MovedNic::Accept => "accept",
        MovedNic::Hold => "hold",
    }
}

fn not_found(name: &str) -> Error {
    Error::NotFound {
        what: "group",
        name: name.into(),
        remedy: "add it with `group add`, or see `group list`",
    }
}

fn checked_life(life: Duration) -> Result<u64, Error> {
    if (CERTIFICATE_LIFE_MIN..=CERTIFICATE_LIFE_MAX).contains(&life) {
        return Ok(life.as_secs());
    }
    let days = CERTIFICATE_LIFE_MAX.as_secs() / 86_400;
    Err(Error::InvalidValue {
        what: "certificate life",
        value: format!("{} s", life.as_secs()),
        allowed: format!("{} s to {days} d", CERTIFICATE_LIFE_MIN.as_secs()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{NOW, Scratch};

    #[test]
    fn a_change_leaves_alone_what_it_does_not_name() {
        let scratch = Scratch::new();
        scratch.store.add_group("hq", NOW).unwrap();
        let of = |group: Group| (group.certificate_life_s, group.moved_nic);
        let group = || of(scratch.store.group("hq").unwrap());
        assert_eq!(group(), (86_400, "hold".into()));
        let set = |certificate_life, moved_nic| {
            let change = Change {
                certificate_life,
                moved_nic,
            };
            scratch.store.set_group("hq", &change, NOW)
        };
        set(None, Some(MovedNic::Accept)).unwrap();
        assert_eq!(group(), (86_400, "accept".into()));
        set(Some(CERTIFICATE_LIFE_MAX), None).unwrap();
        assert_eq!(group(), (604_800, "accept".into()));
    }

    #[test]
    fn certificates_hold_for_a_minute_to_seven_days() {
        let scratch = Scratch::new();
        scratch.store.add_group("hq", NOW).unwrap();
        let set = |seconds| {
            let change = Change {
                certificate_life: Some(Duration::from_secs(seconds)),
                ..Change::default()
            };
            scratch.store.set_group("hq", &change, NOW)
        };
        for allowed in [60, 604_800] {
            set(allowed).unwrap();
        }
        for wrong in [0, 59, 604_801, u64::MAX] {
            let error = set(wrong).unwrap_err().to_string();
            assert!(error.contains("60 s to 7 d"), "{error}");
        }
    }
}
