//! The tables, one step per version. A released step is never edited; a change is a new step.

use rusqlite::{Connection, TransactionBehavior};

use crate::Error;

/// Step `n` brings a store from version `n` to `n + 1` (`PRAGMA user_version`).
const STEPS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3];

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

/// Who a machine is: hardware evidence, ratchet, generations of certificates, two roots.
const VERSION_2: &str = "
-- How long the certificates of a group's connectors hold, and what becomes of a machine whose MAC
-- address is another, or whose state is an old one on other hardware.
ALTER TABLE groups ADD COLUMN certificate_life_s INTEGER NOT NULL DEFAULT 86400
    CHECK (certificate_life_s BETWEEN 60 AND 604800);
ALTER TABLE groups ADD COLUMN moved_nic TEXT NOT NULL DEFAULT 'hold'
    CHECK (moved_nic IN ('hold', 'accept'));

-- mac, smbios_uuid, vm_generation and tpm are the machine that is taken for the connector; the
-- last two are hexadecimal, empty where there is none.
ALTER TABLE connectors ADD COLUMN vm_generation TEXT NOT NULL DEFAULT '';
ALTER TABLE connectors ADD COLUMN tpm TEXT NOT NULL DEFAULT '';
-- The ratchet value that is known to be stored, and the one that was handed out after it: step and
-- SHA-256. No current hash: the connector never stored one.
ALTER TABLE connectors ADD COLUMN current_step INTEGER NOT NULL DEFAULT 0;
ALTER TABLE connectors ADD COLUMN current_hash BLOB;
ALTER TABLE connectors ADD COLUMN pending_step INTEGER NOT NULL DEFAULT 0;
ALTER TABLE connectors ADD COLUMN pending_hash BLOB;
-- Digest of the trust anchors that the connector said it stored.
ALTER TABLE connectors ADD COLUMN trust_digest BLOB;

-- generation counts a connector's certificates from 1. used_at: its first control channel. superseded_at:
-- a newer one was used. issuer: SHA-256 of the CA certificate that issued it, null for those of the
-- edge's first.
ALTER TABLE certificates ADD COLUMN generation INTEGER NOT NULL DEFAULT 1;
ALTER TABLE certificates ADD COLUMN used_at INTEGER;
ALTER TABLE certificates ADD COLUMN superseded_at INTEGER;
ALTER TABLE certificates ADD COLUMN issuer BLOB;
CREATE INDEX certificates_by_connector ON certificates (connector_id, generation);

-- Public keys whose connector was deleted: their holders are told so, and nobody gets them again.
CREATE TABLE deleted_keys (
    spki         BLOB PRIMARY KEY,
    connector_id BLOB NOT NULL,
    deleted_at   INTEGER NOT NULL
) STRICT;

-- The newest ratchet values that were handed out, as SHA-256.
CREATE TABLE ratchets (
    connector_id BLOB NOT NULL REFERENCES connectors (id) ON DELETE CASCADE,
    step         INTEGER NOT NULL,
    hash         BLOB NOT NULL,
    PRIMARY KEY (connector_id, step)
) STRICT;

-- Ratchet values that a copy presented: whoever presents them is held.
CREATE TABLE quarantined (
    connector_id BLOB NOT NULL REFERENCES connectors (id) ON DELETE CASCADE,
    hash         BLOB NOT NULL,
    at           INTEGER NOT NULL,
    PRIMARY KEY (connector_id, hash)
) STRICT;

-- The machine that was held last, until an administrator confirms it. `spki` is its certificate's.
CREATE TABLE held (
    connector_id  BLOB PRIMARY KEY REFERENCES connectors (id) ON DELETE CASCADE,
    verdict       TEXT NOT NULL,
    spki          BLOB NOT NULL,
    mac           TEXT NOT NULL,
    smbios_uuid   TEXT NOT NULL,
    vm_generation TEXT NOT NULL,
    tpm           TEXT NOT NULL,
    address       TEXT NOT NULL,
    at            INTEGER NOT NULL,
    -- When the audit log was told last.
    noted_at      INTEGER NOT NULL
) STRICT;

-- The edge's CA certificates, DER; their keys are files.
CREATE TABLE roots (
    id          INTEGER PRIMARY KEY,
    state       TEXT NOT NULL UNIQUE CHECK (state IN ('next', 'active', 'retiring')),
    certificate BLOB NOT NULL UNIQUE,
    created_at  INTEGER NOT NULL
) STRICT;
";

/// Audit rows that are committed together are signed once. The tables are the same; an edge of before would
/// call such rows altered, so it leaves the store alone.
const VERSION_3: &str = "";

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_of_version_1_keeps_its_rows_and_its_connectors_start_without_a_ratchet() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection
            .pragma_update(None, "foreign_keys", true)
            .unwrap();
        connection.execute_batch(VERSION_1).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        connection.execute_batch(ROWS_OF_VERSION_1).unwrap();
        migrate(&mut connection).unwrap();

        let version: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(version, 3);
        let group: (String, i64, String) = connection
            .query_row(
                "SELECT name, certificate_life_s, moved_nic FROM groups",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .unwrap();
        assert_eq!(group, ("hq".into(), 86_400, "hold".into()));
        let connector: (String, String, i64, Option<Vec<u8>>, String) = connection
            .query_row(
                "SELECT name, state, current_step, current_hash, vm_generation FROM connectors",
                [],
                |row| {
                    Ok((
                        row.get(0)?,
                        row.get(1)?,
                        row.get(2)?,
                        row.get(3)?,
                        row.get(4)?,
                    ))
                },
            )
            .unwrap();
        assert_eq!(
            connector,
            ("plant".into(), "disabled".into(), 0, None, String::new())
        );
        let certificate: (i64, Option<i64>, i64) = connection
            .query_row(
                "SELECT generation, superseded_at, not_after FROM certificates",
                [],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
            )
            .unwrap();
        assert_eq!(certificate, (1, None, 900));
        // A second start changes nothing.
        migrate(&mut connection).unwrap();
    }

    #[test]
    fn certificates_of_a_group_hold_for_a_minute_at_least_and_a_week_at_most() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        connection.execute_batch(ROWS_OF_VERSION_1).unwrap();
        let set = |seconds: i64| {
            let statement = "UPDATE groups SET certificate_life_s = ?1";
            connection.execute(statement, [seconds])
        };
        for seconds in [60, 86_400, 604_800] {
            assert_eq!(set(seconds).unwrap(), 1);
        }
        for seconds in [0, 59, 604_801] {
            assert!(set(seconds).is_err(), "{seconds} s");
        }
    }

    const ROWS_OF_VERSION_1: &str = "
        INSERT INTO groups (name, created_at) VALUES ('hq', 1);
        INSERT INTO keys (id, public_key, proof_key, group_id, max_uses, created_at, expires_at)
            VALUES (x'01', x'02', x'03', 1, 1, 1, 2);
        INSERT INTO connectors (id, name, group_id, key_id, enrol_spki, state, mac, smbios_uuid, created_at)
            VALUES (x'0a', 'plant', 1, x'01', x'0b', 'disabled', '02:00:00:00:00:01', 'u', 1);
        INSERT INTO certificates (spki, connector_id, issued_at, not_after)
            VALUES (x'0b', x'0a', 1, 900);
    ";
}
