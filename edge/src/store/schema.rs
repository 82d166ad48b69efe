//! The tables, one step per version. A released step is never edited; a change is a new step.

use rusqlite::{Connection, TransactionBehavior};

use crate::Error;

/// Step `n` brings a store from version `n` to `n + 1` (`PRAGMA user_version`).
const STEPS: &[&str] = &[VERSION_1];

const VERSION_1: &str = "
CREATE TABLE settings (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE groups (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

-- What an edge keeps of a provisioning key: never its seed.
CREATE TABLE keys (
    id         BLOB PRIMARY KEY,
    public_key BLOB NOT NULL,
    proof_key  BLOB NOT NULL,
    group_id   INTEGER NOT NULL REFERENCES groups (id),
    label      TEXT,
    max_uses   INTEGER NOT NULL CHECK (max_uses > 0),
    uses       INTEGER NOT NULL DEFAULT 0 CHECK (uses BETWEEN 0 AND max_uses),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

-- enrol_spki is the SHA-256 of the public key of the request that enrolled the connector: asking
-- again with it is the same enrolment.
CREATE TABLE connectors (
    id           BLOB PRIMARY KEY,
    name         TEXT NOT NULL,
    group_id     INTEGER NOT NULL REFERENCES groups (id),
    key_id       BLOB NOT NULL REFERENCES keys (id),
    enrol_spki   BLOB NOT NULL,
    state        TEXT NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'disabled', 'revoked')),
    mac          TEXT NOT NULL,
    smbios_uuid  TEXT NOT NULL,
    version      TEXT,
    address      TEXT,
    created_at   INTEGER NOT NULL,
    connected_at INTEGER,
    last_seen    INTEGER,
    UNIQUE (group_id, name),
    UNIQUE (key_id, enrol_spki)
) STRICT;

-- Which public keys are whose. A verified leaf is looked up here and nowhere else.
CREATE TABLE certificates (
    spki         BLOB PRIMARY KEY,
    connector_id BLOB NOT NULL REFERENCES connectors (id),
    issued_at    INTEGER NOT NULL,
    not_after    INTEGER NOT NULL
) STRICT;

CREATE TABLE applications (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    group_id   INTEGER NOT NULL REFERENCES groups (id),
    host       TEXT NOT NULL,
    port_first INTEGER NOT NULL CHECK (port_first BETWEEN 1 AND 65535),
    port_last  INTEGER NOT NULL CHECK (port_last BETWEEN port_first AND 65535),
    protocol   TEXT NOT NULL CHECK (protocol IN ('tcp')),
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX applications_by_host ON applications (host);

CREATE TABLE users (
    id            INTEGER PRIMARY KEY,
    name          TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    -- 1: only the applications of user_applications; 0: all.
    limited       INTEGER NOT NULL CHECK (limited IN (0, 1)),
    created_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE user_applications (
    user_id        INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    application_id INTEGER NOT NULL REFERENCES applications (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, application_id)
) STRICT;

CREATE TABLE audit (
    seq       INTEGER PRIMARY KEY,
    text      TEXT NOT NULL,
    hash      BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;
";

/// Brings the store to this version's schema.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let Some(missing) = usize::try_from(version)
        .ok()
        .and_then(|done| STEPS.get(done..))
    else {
        let newest = STEPS.len();
        return Err(Error::DataDir {
            problem: format!(
                "the store has schema {version}, this edge knows up to {newest}; run a newer edge"
            ),
        });
    };
    for step in missing {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", STEPS.len())?;
    transaction.commit()?;
    Ok(())
}
