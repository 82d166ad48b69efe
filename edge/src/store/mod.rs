//! The edge's memory: one SQLite file.
//!
//! Every change is one `BEGIN IMMEDIATE` transaction that holds the decision and its audit row,
//! with `synchronous=FULL`: what was answered is on the disk. The administrator's commands use the
//! same file from another process while the edge runs.

pub mod applications;
pub mod audit;
mod backup;
pub mod certificates;
pub mod connectors;
pub mod detail;
pub mod enrolment;
mod fingerprint;
pub mod greeting;
pub mod groups;
mod held;
pub mod holder;
pub mod keys;
mod notes;
pub mod ratchet;
pub mod roots;
mod schema;
pub mod users;
mod writer;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connector_proto::limits::GREETING_MAX;
use connector_proto::time::UnixSeconds;
use ring::signature::Ed25519KeyPair;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::Error;
use audit::Entry;
use writer::{TURN_MAX, Writer};

/// An open store. One connection changes it, and callers take turns; another one looks, and waits for no
/// commit.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
    /// Sees what is committed. A store in memory has none.
    reader: Option<Mutex<Connection>>,
    audit_key: Ed25519KeyPair,
    writer: Writer,
}

impl Store {
    /// Opens the store at `path`, makes it if there is none, and brings it to this version's schema.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::DataDir`] if a newer edge has written it.
    pub fn open(path: &Path, audit_key: Ed25519KeyPair) -> Result<Self, Error> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_MAX)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        let mut store = Self::prepared(connection, audit_key)?;
        let reader = Connection::open(path)?;
        reader.pragma_update(None, "query_only", true)?;
        // Whatever it needs it has from here on, descriptors most of all.
        reader.query_row("SELECT count(*) FROM settings", [], |_| Ok(()))?;
        store.reader = Some(Mutex::new(reader));
        Ok(store)
    }

    /// A new store that is gone when it is dropped.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn in_memory(audit_key: Ed25519KeyPair) -> Result<Self, Error> {
        Self::prepared(Connection::open_in_memory()?, audit_key)
    }

    fn prepared(mut connection: Connection, audit_key: Ed25519KeyPair) -> Result<Self, Error> {
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "secure_delete", true)?;
        schema::migrate(&mut connection)?;
        Ok(Self {
            connection: Mutex::new(connection),
            reader: None,
            audit_key,
            writer: Writer::default(),
        })
    }

    /// A number that changes when another process has changed the store.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn foreign_changes(&self) -> Result<i64, Error> {
        Ok(self
            .lock()
            .pragma_query_value(None, "data_version", |row| row.get(0))?)
    }

    /// A value that [`Self::set_setting`] wrote.
    pub(crate) fn setting(&self, name: &str) -> Result<Option<String>, Error> {
        use rusqlite::OptionalExtension as _;
        let query = "SELECT value FROM settings WHERE name = ?1";
        Ok(self
            .lock()
            .query_row(query, [name], |row| row.get(0))
            .optional()?)
    }

    /// Keeps a value under a name.
    pub(crate) fn set_setting(&self, name: &str, value: &str) -> Result<(), Error> {
        let statement = "INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)";
        self.lock().execute(statement, [name, value])?;
        Ok(())
    }

    /// A decision and its audit row, both or neither.
    fn decide<T>(
        &self,
        now: UnixSeconds,
        work: impl FnOnce(&Transaction<'_>) -> Result<(T, Entry), Error>,
    ) -> Result<T, Error> {
        self.transact(|transaction| {
            let (decision, entry) = work(transaction)?;
            self.write_down(transaction, now, &entry)?;
            Ok(decision)
        })
    }

    /// Everything that `work` does, or nothing. What it decides it also writes down, with
    /// [`Self::write_down`].
    fn transact<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut connection = self.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Adds an audit row inside the transaction of its decision.
    fn write_down(
        &self,
        transaction: &Transaction<'_>,
        now: UnixSeconds,
        entry: &Entry,
    ) -> Result<(), Error> {
        audit::append(transaction, &self.audit_key, [(now, entry)].into_iter())
    }

    /// Looks something up, at once and on the thread that asks: no thread and no turn is taken for what
    /// takes some ten microseconds. A reader of a WAL waits for no writer, nor a writer for it.
    fn look<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        match &self.reader {
            Some(reader) => work(&reader.lock().unwrap_or_else(PoisonError::into_inner)),
            None => work(&self.lock()),
        }
    }

    /// A panic while the lock was held has rolled its transaction back, so the connection is good.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long one process waits for another's transaction, which take milliseconds. An enrolment
/// waits at most twice for its turn and for another process, and must hear of it before its own
/// patience ends ([`connector_proto::limits::GREETING_MAX`]).
const BUSY_MAX: Duration = Duration::from_secs(3);

const _: () = assert!(2 * (BUSY_MAX.as_secs() + TURN_MAX.as_secs()) < GREETING_MAX.as_secs());

/// SQLite's integers are signed.
fn sql_time(time: UnixSeconds) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

fn from_sql_time(time: i64) -> UnixSeconds {
    UnixSeconds(u64::try_from(time).unwrap_or(0))
}

#[cfg(test)]
mod failing;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A store in a directory of its own that goes away with it.
    pub(crate) struct Scratch {
        pub(crate) store: Store,
        dir: PathBuf,
    }

    impl Scratch {
        pub(crate) fn new() -> Self {
            let mut random = [0; 8];
            getrandom::fill(&mut random).unwrap();
            let dir = std::env::temp_dir().join(format!("edge-{}", crate::text::hex(&random)));
            std::fs::create_dir(&dir).unwrap();
            let store = Store::open(&dir.join("edge.sqlite"), audit_key()).unwrap();
            Self { store, dir }
        }

        /// The same file through another connection, as another process has it.
        pub(crate) fn again(&self) -> Store {
            Store::open(&self.dir.join("edge.sqlite"), audit_key()).unwrap()
        }

        pub(crate) fn path(&self) -> PathBuf {
            self.dir.join("edge.sqlite")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }

    pub(crate) const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

    pub(crate) fn audit_key() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[3; 32]).unwrap()
    }

    #[test]
    fn another_connections_change_is_noticed() {
        let scratch = Scratch::new();
        let before = scratch.store.foreign_changes().unwrap();
        scratch.store.add_group("own", NOW).unwrap();
        assert_eq!(scratch.store.foreign_changes().unwrap(), before);
        scratch.again().add_group("foreign", NOW).unwrap();
        assert_ne!(scratch.store.foreign_changes().unwrap(), before);
    }

    #[test]
    fn a_store_of_a_newer_edge_is_left_alone() {
        let scratch = Scratch::new();
        scratch
            .store
            .lock()
            .pragma_update(None, "user_version", 999)
            .unwrap();
        let error = Store::open(&scratch.path(), audit_key()).unwrap_err();
        assert!(error.to_string().contains("999"), "{error}");
    }
}
