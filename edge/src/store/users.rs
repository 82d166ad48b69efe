//! Users of the proxy.

use connector_proto::time::UnixSeconds;
use rusqlite::{OptionalExtension as _, params};

use super::audit::Entry;
use super::{Store, sql_time};
use crate::Error;
use crate::text::checked_name;

/// A user to add.
#[derive(Clone, Debug)]
pub struct NewUser<'a> {
    /// The name.
    pub name: &'a str,
    /// Argon2id in PHC form.
    pub password_hash: String,
    /// The only applications the user may reach; empty for all.
    pub applications: &'a [String],
}

/// A user as listed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct User {
    /// The name.
    pub name: String,
    /// The applications the user may reach; `None` for all.
    pub applications: Option<Vec<String>>,
    /// Unix seconds.
    pub created_at: i64,
}

impl Store {
    /// Adds a user.
    ///
    /// # Errors
    /// [`Error::InvalidValue`], [`Error::AlreadyExists`], [`Error::NotFound`] for an application,
    /// [`Error::Store`].
    pub fn add_user(&self, user: &NewUser<'_>, now: UnixSeconds) -> Result<(), Error> {
        checked_name("user", user.name)?;
        let limited = !user.applications.is_empty();
        self.decide(now, |transaction| {
            let added = transaction.execute(
                "INSERT OR IGNORE INTO users (name, password_hash, limited, created_at) VALUES (?1, ?2, ?3, ?4)",
                params![user.name, user.password_hash, limited, sql_time(now)],
            )?;
            if added == 0 {
                return Err(Error::AlreadyExists { what: "user", name: user.name.into() });
            }
            let id = transaction.last_insert_rowid();
            for application in user.applications {
                let granted = transaction.execute(
                    "INSERT OR IGNORE INTO user_applications SELECT ?1, id FROM applications WHERE name = ?2",
                    params![id, application],
                )?;
                if granted == 0 {
                    let (what, name) = ("application", application.clone());
                    return Err(Error::NotFound { what, name, remedy: "see `app list`" });
                }
            }
            let entry = Entry::new("user_added")
                .with("user", user.name)
                .with("applications", user.applications.to_vec());
            Ok(((), entry))
        })
    }

    /// All users by name.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn users(&self) -> Result<Vec<User>, Error> {
        let connection = self.lock();
        let mut applications = connection.prepare(
            "SELECT applications.name FROM user_applications
             JOIN applications ON applications.id = application_id
             WHERE user_id = ?1 ORDER BY applications.name",
        )?;
        let mut users =
            connection.prepare("SELECT id, name, limited, created_at FROM users ORDER BY name")?;
        let mut rows = users.query([])?;
        let mut list = Vec::new();
        while let Some(row) = rows.next()? {
            let (id, limited): (i64, bool) = (row.get(0)?, row.get(2)?);
            let names = applications.query_map([id], |row| row.get(0))?;
            let names: Vec<String> = names.collect::<Result<_, _>>()?;
            let applications = limited.then_some(names);
            list.push(User {
                name: row.get(1)?,
                applications,
                created_at: row.get(3)?,
            });
        }
        Ok(list)
    }

    /// Removes a user; sessions that are open go on.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub fn remove_user(&self, name: &str, now: UnixSeconds) -> Result<(), Error> {
        self.decide(now, |transaction| {
            if transaction.execute("DELETE FROM users WHERE name = ?1", [name])? == 0 {
                let remedy = "see `user list`";
                return Err(Error::NotFound {
                    what: "user",
                    name: name.into(),
                    remedy,
                });
            }
            Ok(((), Entry::new("user_removed").with("user", name)))
        })
    }

    /// The password hash of a user, if there is one of this name.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn password_hash(&self, name: &str) -> Result<Option<String>, Error> {
        self.look(|connection| {
            let query = "SELECT password_hash FROM users WHERE name = ?1";
            let mut statement = connection.prepare_cached(query)?;
            Ok(statement.query_row([name], |row| row.get(0)).optional()?)
        })
    }
}
