//! All that is known of one connector.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::connectors::{Connector, connector_of, find};
use super::{Store, roots};
use crate::Error;
use crate::text::hex;

/// All that is known of a connector.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Detail {
    /// As it is listed.
    #[serde(flatten)]
    pub connector: Connector,
    /// VM generation id of its machine, hexadecimal; empty where there is none.
    pub vm_generation: String,
    /// SHA-256 of its TPM's storage root key, hexadecimal; empty where there is none.
    pub tpm: String,
    /// Whether it said that it stored the edge's roots.
    pub trusts_roots: bool,
    /// The machine that was held last.
    pub held: Option<Held>,
    /// Its certificates, newest first.
    pub certificates: Vec<Certificate>,
}

/// A machine that presented the connector's identity and was not taken for it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Held {
    /// What it was taken for.
    pub verdict: String,
    /// Its MAC address.
    pub mac: String,
    /// Its SMBIOS UUID.
    pub smbios_uuid: String,
    /// Its VM generation id, hexadecimal; empty where there is none.
    pub vm_generation: String,
    /// SHA-256 of its TPM's storage root key, hexadecimal; empty where there is none.
    pub tpm: String,
    /// The address it dialled from.
    pub address: String,
    /// When it was held last, unix seconds.
    pub at: i64,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Certificate {
    /// Counts the connector's certificates from 1.
    pub generation: u32,
    /// SHA-256 of its public key, hexadecimal.
    pub spki: String,
    /// SHA-256 of the CA certificate that issued it, hexadecimal; none for the edge's first CA
    /// before it had a second.
    pub issuer: Option<String>,
    /// Unix seconds.
    pub issued_at: i64,
    /// Unix seconds.
    pub not_after: i64,
    /// Its first control channel, unix seconds.
    pub used_at: Option<i64>,
    /// When a newer one was used, unix seconds.
    pub superseded_at: Option<i64>,
}

impl Store {
    /// All about the connector of this name or id.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], [`Error::Store`].
    pub fn connector_detail(&self, name_or_id: &str) -> Result<Detail, Error> {
        let connection = self.lock();
        let (id, _) = find(&connection, name_or_id)?;
        let digest = roots::digest(&connection)?;
        let query =
            "SELECT connectors.id, connectors.name, groups.name, state, connected_at, last_seen,
                 version, address, mac, smbios_uuid, connectors.created_at,
                 vm_generation, tpm, trust_digest IS ?2
             FROM connectors JOIN groups ON groups.id = group_id WHERE connectors.id = ?1";
        let detail = connection.query_row(query, params![id, digest], |row| {
            Ok(Detail {
                connector: connector_of(row)?,
                vm_generation: row.get(11)?,
                tpm: row.get(12)?,
                trusts_roots: row.get(13)?,
                held: None,
                certificates: Vec::new(),
            })
        })?;
        Ok(Detail {
            held: held(&connection, &id)?,
            certificates: certificates(&connection, &id)?,
            ..detail
        })
    }
}

fn held(connection: &Connection, id: &[u8]) -> Result<Option<Held>, Error> {
    let query = "SELECT verdict, mac, smbios_uuid, vm_generation, tpm, address, at
         FROM held WHERE connector_id = ?1";
    let held = |row: &Row<'_>| {
        Ok(Held {
            verdict: row.get(0)?,
            mac: row.get(1)?,
            smbios_uuid: row.get(2)?,
            vm_generation: row.get(3)?,
            tpm: row.get(4)?,
            address: row.get(5)?,
            at: row.get(6)?,
        })
    };
    Ok(connection.query_row(query, [id], held).optional()?)
}

fn certificates(connection: &Connection, id: &[u8]) -> Result<Vec<Certificate>, Error> {
    let query = "SELECT generation, spki, issuer, issued_at, not_after, used_at, superseded_at
         FROM certificates WHERE connector_id = ?1 ORDER BY generation DESC, issued_at DESC";
    let mut statement = connection.prepare(query)?;
    let certificates = statement.query_map([id], |row| {
        Ok(Certificate {
            generation: row.get(0)?,
            spki: hex(&row.get::<_, Vec<u8>>(1)?),
            issuer: row.get::<_, Option<Vec<u8>>>(2)?.map(|hash| hex(&hash)),
            issued_at: row.get(3)?,
            not_after: row.get(4)?,
            used_at: row.get(5)?,
            superseded_at: row.get(6)?,
        })
    })?;
    Ok(certificates.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use connector_proto::message::Fingerprint;
    use connector_proto::time::UnixSeconds;

    use super::*;
    use crate::authorise::ConnectorState;
    use crate::store::enrolment::{Decision, Enrolled, Request};
    use crate::store::keys::KeyOrder;
    use crate::store::tests::{NOW, Scratch};

    #[test]
    fn disabling_is_undone_and_revoking_is_not() {
        let (scratch, enrolled) = with_connector();
        let store = &scratch.store;
        let state = || {
            store
                .connector_detail(&enrolled.name)
                .unwrap()
                .connector
                .state
        };
        store.disable_connector(&enrolled.name, NOW).unwrap();
        assert_eq!(state(), "disabled");
        store
            .enable_connector(&hex(&enrolled.id)[..6], NOW)
            .unwrap();
        assert_eq!(state(), "active");
        store.revoke_connector(&enrolled.name, NOW).unwrap();
        for changed in [
            store.disable_connector(&enrolled.name, NOW),
            store.enable_connector(&enrolled.name, NOW),
        ] {
            let error = changed.unwrap_err().to_string();
            assert!(error.contains("for good"), "{error}");
        }
        assert_eq!(state(), "revoked");
    }

    #[test]
    fn a_deleted_connector_is_gone_but_for_its_audit_rows_and_its_key() {
        let (scratch, enrolled) = with_connector();
        let store = &scratch.store;
        store.delete_connector(&enrolled.name, NOW).unwrap();
        assert!(store.connectors().unwrap().is_empty());
        let standing = store.holder(&[1; 32]).unwrap().standing;
        assert_eq!(standing.connector, ConnectorState::Deleted);
        let kept = "SELECT count(*) FROM deleted_keys WHERE spki = ?1 AND connector_id = ?2";
        let values = params![[1_u8; 32], enrolled.id];
        let kept: u32 = store
            .lock()
            .query_row(kept, values, |row| row.get(0))
            .unwrap();
        assert_eq!(kept, 1);
        let rows = store.audit_rows(100).unwrap();
        let about = |row: &&serde_json::Value| row["connector"] == hex(&enrolled.id);
        assert_eq!(rows.iter().filter(about).count(), 2, "{rows:?}");
        store.verify_audit().unwrap();
    }

    /// One connector, with a certificate whose key hashes to ones.
    fn with_connector() -> (Scratch, Enrolled) {
        let scratch = Scratch::new();
        scratch.store.add_group("hq", NOW).unwrap();
        let order = KeyOrder {
            group: "hq",
            max_uses: 1,
            expires_at: UnixSeconds(NOW.0 + 3600),
            label: None,
        };
        let request = Request {
            key_id: scratch.store.mint_key(&order, NOW).unwrap().id,
            spki: [1; 32],
            fingerprint: Fingerprint::default(),
            issuer: [7; 32],
        };
        let issue = |id: &[u8; 16], _| Ok(id.to_vec());
        match scratch.store.enrol(&request, NOW, issue).unwrap() {
            Decision::Enrolled(enrolled) => (scratch, enrolled),
            Decision::Refused(refusal) => panic!("{refusal:?}"),
        }
    }
}
