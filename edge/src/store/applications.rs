//! Applications, and which of them a user may reach.

use std::ops::RangeInclusive;

use connector_proto::time::UnixSeconds;
use rusqlite::{Row, params};

use super::audit::Entry;
use super::groups::group_id;
use super::{Store, sql_time};
use crate::Error;
use crate::text::{checked_name, normal_host};

/// An application as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Application {
    /// Its name.
    pub name: String,
    /// The group whose connectors reach it.
    pub group: String,
    /// Host name or address, in the form hosts are compared in.
    pub host: String,
    /// First port.
    pub port_first: u16,
    /// Last port.
    pub port_last: u16,
    /// Always `tcp` so far.
    pub protocol: String,
}

/// An application a user asked for and may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The application's name.
    pub application: String,
    /// Row of its group.
    pub group_id: i64,
    /// Name of its group.
    pub group: String,
    /// Its host.
    pub host: String,
    /// The port asked for.
    pub port: u16,
}

/// Why a user does not reach a host and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No application has this host and port.
    NoApplication,
    /// There is one, but not for this user.
    NotForUser,
}

impl Store {
    /// Adds an application.
    ///
    /// # Errors
    /// [`Error::InvalidValue`], [`Error::AlreadyExists`], [`Error::NotFound`] for the group,
    /// [`Error::Store`].
    pub fn add_application(
        &self,
        name: &str,
        group: &str,
        host: &str,
        ports: &RangeInclusive<u16>,
        now: UnixSeconds,
    ) -> Result<(), Error> {
        checked_name("application", name)?;
        let host = normal_host(host)?;
        let (first, last) = (*ports.start(), *ports.end());
        if first == 0 || last < first {
            let value = format!("{first}-{last}");
            let allowed = "a port or a range of ports from 1 to 65535".into();
            return Err(Error::InvalidValue {
                what: "port",
                value,
                allowed,
            });
        }
        self.decide(now, |transaction| {
            let group_id = group_id(transaction, group)?;
            let added = transaction.execute(
                "INSERT OR IGNORE INTO applications (name, group_id, host, port_first, port_last, protocol, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, 'tcp', ?6)",
                params![name, group_id, host, first, last, sql_time(now)],
            )?;
            if added == 0 {
                return Err(Error::AlreadyExists { what: "application", name: name.into() });
            }
            let entry = Entry::new("application_added")
                .with("application", name)
                .with("group", group)
                .with("host", host)
                .with("ports", format!("{first}-{last}"));
            Ok(((), entry))
        })
    }

    /// All applications by name.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn applications(&self) -> Result<Vec<Application>, Error> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "SELECT applications.name, groups.name, host, port_first, port_last, protocol
             FROM applications JOIN groups ON groups.id = group_id ORDER BY applications.name",
        )?;
        let applications = statement.query_map([], |row| {
            Ok(Application {
                name: row.get(0)?,
                group: row.get(1)?,
                host: row.get(2)?,
                port_first: row.get(3)?,
                port_last: row.get(4)?,
                protocol: row.get(5)?,
            })
        })?;
        Ok(applications.collect::<Result<_, _>>()?)
    }

    /// Removes an application; sessions that are open go on.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub fn remove_application(&self, name: &str, now: UnixSeconds) -> Result<(), Error> {
        self.decide(now, |transaction| {
            if transaction.execute("DELETE FROM applications WHERE name = ?1", [name])? == 0 {
                let remedy = "see `app list`";
                return Err(Error::NotFound {
                    what: "application",
                    name: name.into(),
                    remedy,
                });
            }
            Ok((
                (),
                Entry::new("application_removed").with("application", name),
            ))
        })
    }

    /// Whether the user may reach this host and port now, and by which groups.
    ///
    /// This is the one place where users are authorised.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn authorise(
        &self,
        user: &str,
        host: &str,
        port: u16,
    ) -> Result<Result<Vec<Target>, Denied>, Error> {
        let Ok(host) = normal_host(host) else {
            return Ok(Err(Denied::NoApplication));
        };
        let found: Vec<(Target, bool)> = self.look(|connection| {
            let mut statement = connection.prepare_cached(TARGETS)?;
            let found = statement.query_map(params![host, port, user], |row| target_of(row, port));
            Ok(found?.collect::<Result<_, _>>()?)
        })?;
        if found.is_empty() {
            return Ok(Err(Denied::NoApplication));
        }
        let allowed: Vec<_> = found
            .into_iter()
            .filter_map(|(target, allowed)| allowed.then_some(target))
            .collect();
        Ok(if allowed.is_empty() {
            Err(Denied::NotForUser)
        } else {
            Ok(allowed)
        })
    }
}

/// What has this host and port, and whether the user may reach it.
const TARGETS: &str = "SELECT applications.name, group_id, groups.name, host, EXISTS (
         SELECT 1 FROM users WHERE users.name = ?3 AND (limited = 0 OR EXISTS (
             SELECT 1 FROM user_applications
             WHERE user_id = users.id AND application_id = applications.id)))
     FROM applications JOIN groups ON groups.id = group_id
     WHERE host = ?1 AND ?2 BETWEEN port_first AND port_last
     ORDER BY applications.id";

fn target_of(row: &Row<'_>, port: u16) -> rusqlite::Result<(Target, bool)> {
    let target = Target {
        application: row.get(0)?,
        group_id: row.get(1)?,
        group: row.get(2)?,
        host: row.get(3)?,
        port,
    };
    Ok((target, row.get(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{NOW, Scratch};
    use crate::store::users::NewUser;

    #[test]
    fn only_the_exact_host_and_ports_of_an_application_are_reached() {
        let scratch = with_applications();
        let may = |host, port| scratch.store.authorise("mona", host, port).unwrap();
        assert!(may("intranet.corp.example", 80).is_ok());
        assert!(may("INTRANET.corp.example.", 80).is_ok());
        for (host, port) in [
            ("intranet.corp.example", 81),
            ("corp.example", 80),
            ("x.intranet.corp.example", 80),
            ("intranet.corp.example%", 80),
            ("", 80),
        ] {
            assert_eq!(may(host, port), Err(Denied::NoApplication), "{host}:{port}");
        }
        assert!(may("10.0.0.9", 8000).is_ok() && may("10.0.0.9", 8010).is_ok());
        assert!(may("10.0.0.9", 7999).is_err() && may("10.0.0.9", 8011).is_err());
    }

    #[test]
    fn a_limited_user_reaches_nothing_else_even_after_the_application_is_gone() {
        let scratch = with_applications();
        let may = |host, port| scratch.store.authorise("leo", host, port).unwrap();
        assert!(may("intranet.corp.example", 80).is_ok());
        assert_eq!(may("10.0.0.9", 8000), Err(Denied::NotForUser));
        scratch.store.remove_application("intranet", NOW).unwrap();
        assert_eq!(may("10.0.0.9", 8000), Err(Denied::NotForUser));
    }

    #[test]
    fn an_unknown_user_reaches_nothing() {
        let scratch = with_applications();
        let denied = scratch
            .store
            .authorise("nobody", "intranet.corp.example", 80)
            .unwrap();
        assert_eq!(denied, Err(Denied::NotForUser));
    }

    fn with_applications() -> Scratch {
        let scratch = Scratch::new();
        let store = &scratch.store;
        store.add_group("hq", NOW).unwrap();
        store
            .add_application("intranet", "hq", "Intranet.corp.example", &(80..=80), NOW)
            .unwrap();
        store
            .add_application("range", "hq", "10.0.0.9", &(8000..=8010), NOW)
            .unwrap();
        let user = |name, applications| {
            let hash = "unused".to_owned();
            store
                .add_user(
                    &NewUser {
                        name,
                        password_hash: hash,
                        applications,
                    },
                    NOW,
                )
                .unwrap();
        };
        user("mona", &[]);
        user("leo", &["intranet".to_owned()]);
        scratch
    }
}
