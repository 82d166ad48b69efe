//! Machines that are held, and administrators who confirm them.

use connector_proto::message::Verdict;
use connector_proto::time::UnixSeconds;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::audit::Entry;
use super::connectors::find;
use super::fingerprint::Columns;
use super::{Store, sql_time};
use crate::Error;
use crate::recognise::verdict_name;
use crate::text::hex;

/// A machine that is held asks again every four minutes; the audit log hears of it when something
/// about it changes, and once a day.
const NOTED_EVERY_S: i64 = 86_400;

/// A machine that is held.
pub(super) struct Held<'a> {
    /// SHA-256 of the subject public key info of its certificate.
    pub(super) spki: &'a [u8; 32],
    /// What it is taken for.
    pub(super) verdict: Verdict,
    /// Its hardware.
    pub(super) columns: &'a Columns,
    /// Where it dials from.
    pub(super) address: &'a str,
}

impl Store {
    /// Takes the machine that was held last for the connector of this name or id; the connector's name.
    ///
    /// What copies presented is forgotten, and the machine's certificate is the newest again. While
    /// another machine of the connector is connected it stays held: switch that off first.
    ///
    /// # Errors
    /// [`Error::NotFound`], also if none is held; [`Error::Ambiguous`], [`Error::Store`].
    pub fn confirm_connector(&self, name_or_id: &str, now: UnixSeconds) -> Result<String, Error> {
        self.decide(now, |transaction| {
            let (id, name) = find(transaction, name_or_id)?;
            let held = held(transaction, &id)?.ok_or_else(|| Error::NotFound {
                what: "held machine of connector",
                name: name.clone(),
                remedy: "the audit log shows which machines were held",
            })?;
            set_known(transaction, &id, &held.columns)?;
            transaction.execute(
                "UPDATE certificates SET superseded_at = NULL, used_at = NULL, generation =
                     1 + (SELECT max(generation) FROM certificates WHERE connector_id = ?1)
                 WHERE connector_id = ?1 AND spki = ?2 AND superseded_at IS NOT NULL",
                params![id, held.spki],
            )?;
            transaction.execute("DELETE FROM quarantined WHERE connector_id = ?1", [&id])?;
            transaction.execute("DELETE FROM held WHERE connector_id = ?1", [&id])?;
            let entry = Entry::new("connector_confirmed")
                .with("connector", hex(&id))
                .with("name", name.as_str())
                .with("verdict", held.verdict);
            Ok((name, held.columns.describe(entry)))
        })
    }
}

/// Keeps the machine for whoever is to confirm it; whether the audit log is to hear of it.
pub(super) fn note(
    connection: &Connection,
    id: &[u8; 16],
    held: &Held<'_>,
    now: UnixSeconds,
) -> Result<bool, Error> {
    let (now, verdict, columns) = (sql_time(now), verdict_name(held.verdict), held.columns);
    let query = "SELECT noted_at FROM held WHERE connector_id = ?1 AND verdict = ?2 AND mac = ?3
         AND smbios_uuid = ?4 AND vm_generation = ?5 AND tpm = ?6";
    let same = params![
        id,
        verdict,
        columns.mac,
        columns.smbios_uuid,
        columns.vm_generation,
        columns.tpm
    ];
    let noted_at = connection.query_row(query, same, |row| row.get::<_, i64>(0));
    let noted_at = noted_at.optional()?.filter(|at| now - at < NOTED_EVERY_S);
    connection.execute(
        "INSERT OR REPLACE INTO held (connector_id, verdict, spki, mac, smbios_uuid, vm_generation,
             tpm, address, at, noted_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            id,
            verdict,
            held.spki,
            columns.mac,
            columns.smbios_uuid,
            columns.vm_generation,
            columns.tpm,
            held.address,
            now,
            noted_at.unwrap_or(now),
        ],
    )?;
    Ok(noted_at.is_none())
}

/// Takes this hardware for the connector's from here on.
pub(super) fn set_known(
    connection: &Connection,
    id: &[u8],
    columns: &Columns,
) -> Result<(), Error> {
    connection.execute(
        "UPDATE connectors SET mac = ?2, smbios_uuid = ?3, vm_generation = ?4, tpm = ?5 WHERE id = ?1",
        params![
            id,
            columns.mac,
            columns.smbios_uuid,
            columns.vm_generation,
            columns.tpm
        ],
    )?;
    Ok(())
}

/// The row of the machine that was held last.
struct Row {
    verdict: String,
    spki: [u8; 32],
    columns: Columns,
}

fn held(connection: &Connection, id: &[u8]) -> Result<Option<Row>, Error> {
    let query = "SELECT verdict, spki, mac, smbios_uuid, vm_generation, tpm
         FROM held WHERE connector_id = ?1";
    let held = connection.query_row(query, [id], |row| {
        Ok(Row {
            verdict: row.get(0)?,
            spki: row.get(1)?,
            columns: Columns::of_row(row, 2)?,
        })
    });
    Ok(held.optional()?)
}
