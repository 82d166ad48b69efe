//! Provisioning keys: minted here, shown once, kept only as what proves them.

use std::time::Duration;

use connector_proto::derive::{EdgeProofKey, EnrolSecrets};
use connector_proto::key::{ProvisioningKey, SEED_LEN};
use connector_proto::time::UnixSeconds;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use zeroize::Zeroizing;

use super::audit::Entry;
use super::groups::group_id;
use super::{Store, sql_time};
use crate::Error;
use crate::text::{checked_name, hex};

/// Longest life of a key. Whoever needs one later mints another.
pub const KEY_LIFE_MAX: Duration = Duration::from_secs(365 * 86_400);

/// Most uses of a key: the largest fleet one edge is measured with.
pub const KEY_USES_MAX: u32 = 10_000;

/// What a key is minted for.
#[derive(Clone, Debug)]
pub struct KeyOrder<'a> {
    /// The one group it enrols into.
    pub group: &'a str,
    /// How many connectors it enrols, `1..=KEY_USES_MAX`.
    pub max_uses: u32,
    /// Until when it can be used.
    pub expires_at: UnixSeconds,
    /// Names the connectors it enrols.
    pub label: Option<&'a str>,
}

/// A new key. Its text exists here and nowhere else.
#[derive(Debug)]
pub struct MintedKey {
    /// The text to type.
    pub key: ProvisioningKey,
    /// Its lookup id.
    pub id: [u8; 16],
}

/// A key as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Key {
    /// Lookup id, hexadecimal.
    pub id: String,
    /// Its group.
    pub group: String,
    /// Its label.
    pub label: Option<String>,
    /// Uses spent.
    pub uses: u32,
    /// Uses there are.
    pub max_uses: u32,
    /// `usable`, `spent`, `expired` or `revoked`.
    pub state: &'static str,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds.
    pub expires_at: i64,
}

/// What an edge proves itself with before it knows more of the connector than the key's id.
#[derive(Debug)]
pub struct KeyProof {
    /// Ed25519 public key that signs the request.
    pub public_key: [u8; 32],
    /// HMAC key of the edge's own proof.
    pub proof_key: EdgeProofKey,
}

impl Store {
    /// Mints a key.
    ///
    /// # Errors
    /// [`Error::InvalidValue`], [`Error::NotFound`] for the group, [`Error::Crypto`] without
    /// randomness, [`Error::Store`].
    pub fn mint_key(&self, order: &KeyOrder<'_>, now: UnixSeconds) -> Result<MintedKey, Error> {
        check_order(order)?;
        let mut seed = Zeroizing::new([0; SEED_LEN]);
        getrandom::fill(&mut *seed).map_err(Error::crypto("random bytes for a key"))?;
        let key = ProvisioningKey::from_random(*seed);
        let secrets = EnrolSecrets::derive(&key);
        self.decide(now, |transaction| {
            let group_id = group_id(transaction, order.group)?;
            transaction.execute(
                "INSERT INTO keys (id, public_key, proof_key, group_id, label, max_uses, created_at, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    secrets.id,
                    secrets.signer.public_key(),
                    secrets.edge_proof.as_bytes(),
                    group_id,
                    order.label,
                    order.max_uses,
                    sql_time(now),
                    sql_time(order.expires_at),
                ],
            )?;
            let entry = Entry::new("key_minted")
                .with("key", hex(&secrets.id))
                .with("group", order.group)
                .with("label", order.label)
                .with("max_uses", order.max_uses)
                .with("expires_at", order.expires_at.0);
            Ok(((), entry))
        })?;
        Ok(MintedKey {
            key,
            id: secrets.id,
        })
    }

    /// All keys, newest first.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn keys(&self, now: UnixSeconds) -> Result<Vec<Key>, Error> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "SELECT keys.id, groups.name, label, uses, max_uses, keys.created_at, expires_at, revoked_at
             FROM keys JOIN groups ON groups.id = group_id ORDER BY keys.created_at DESC, keys.rowid DESC",
        )?;
        let keys = statement.query_map([], |row| key_of(row, now))?;
        Ok(keys.collect::<Result<_, _>>()?)
    }

    /// Revokes the key whose id starts with `prefix`; its id. Revoking twice is no error.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], [`Error::Store`].
    pub fn revoke_key(&self, prefix: &str, now: UnixSeconds) -> Result<String, Error> {
        self.decide(now, |transaction| {
            let id = one_id_by_prefix(transaction, "key", "SELECT id FROM keys", prefix)?;
            let statement = "UPDATE keys SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1";
            transaction.execute(statement, params![id, sql_time(now)])?;
            Ok((hex(&id), Entry::new("key_revoked").with("key", hex(&id))))
        })
    }

    /// The proofs of the key with this lookup id, whether or not it can still be used.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn key_proof(&self, id: &[u8; 16]) -> Result<Option<KeyProof>, Error> {
        let query = "SELECT public_key, proof_key FROM keys WHERE id = ?1";
        let proof = |row: &Row<'_>| {
            let proof_key = EdgeProofKey::from_bytes(row.get(1)?);
            Ok(KeyProof {
                public_key: row.get(0)?,
                proof_key,
            })
        };
        Ok(self.lock().query_row(query, [id], proof).optional()?)
    }
}

/// The one row whose id starts with the hexadecimal `prefix`. `query` selects ids.
pub(super) fn one_id_by_prefix(
    connection: &Connection,
    what: &'static str,
    query: &str,
    prefix: &str,
) -> Result<Vec<u8>, Error> {
    let wanted = prefix.to_ascii_lowercase();
    let mut statement = connection.prepare(query)?;
    let ids = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
    let mut found = Vec::new();
    for id in ids {
        let id = id?;
        if !wanted.is_empty() && hex(&id).starts_with(&wanted) {
            found.push(id);
        }
    }
    match found.len() {
        0 => Err(Error::NotFound {
            what,
            name: prefix.into(),
            remedy: "see the list for the ids",
        }),
        1 => Ok(found.remove(0)),
        matches => Err(Error::Ambiguous {
            what,
            name: prefix.into(),
            matches,
        }),
    }
}

fn check_order(order: &KeyOrder<'_>) -> Result<(), Error> {
    if let Some(label) = order.label {
        checked_name("label", label)?;
    }
    if !(1..=KEY_USES_MAX).contains(&order.max_uses) {
        let allowed = format!("1 to {KEY_USES_MAX}");
        let value = order.max_uses.to_string();
        return Err(Error::InvalidValue {
            what: "number of uses",
            value,
            allowed,
        });
    }
    Ok(())
}

fn key_of(row: &Row<'_>, now: UnixSeconds) -> rusqlite::Result<Key> {
    let (uses, max_uses): (u32, u32) = (row.get(3)?, row.get(4)?);
    let (expires_at, revoked_at): (i64, Option<i64>) = (row.get(6)?, row.get(7)?);
    let state = if revoked_at.is_some() {
        "revoked"
    } else if expires_at <= sql_time(now) {
        "expired"
    } else if uses >= max_uses {
        "spent"
    } else {
        "usable"
    };
    Ok(Key {
        id: hex(&row.get::<_, Vec<u8>>(0)?),
        group: row.get(1)?,
        label: row.get(2)?,
        uses,
        max_uses,
        state,
        created_at: row.get(5)?,
        expires_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{NOW, Scratch};

    #[test]
    fn the_seed_of_a_key_is_nowhere_in_the_database() {
        let scratch = Scratch::new();
        scratch.store.add_group("hq", NOW).unwrap();
        let minted = scratch.store.mint_key(&order(), NOW).unwrap();
        let text = minted.key.to_text();
        let mut haystack = Vec::new();
        for suffix in ["", "-wal"] {
            let mut path = scratch.path().into_os_string();
            path.push(suffix);
            haystack.extend(std::fs::read(path).unwrap());
        }
        let holds = |needle: &[u8]| haystack.windows(needle.len()).any(|part| part == needle);
        assert!(holds(&minted.id), "the search itself works");
        assert!(!holds(minted.key.data()));
        assert!(!holds(&minted.key.data()[1..9]));
        assert!(!holds(hex(minted.key.data()).as_bytes()));
        assert!(!holds(text.as_bytes()));
        assert!(!holds(text.replace('-', "").as_bytes()));
    }

    #[test]
    fn a_key_is_found_by_the_start_of_its_id_if_only_one_has_it() {
        let scratch = Scratch::new();
        scratch.store.add_group("hq", NOW).unwrap();
        let id = hex(&scratch.store.mint_key(&order(), NOW).unwrap().id);
        assert_eq!(
            scratch
                .store
                .revoke_key(&id[..6].to_uppercase(), NOW)
                .unwrap(),
            id
        );
        assert!(matches!(
            scratch.store.revoke_key("", NOW),
            Err(Error::NotFound { .. })
        ));
        for _ in 0..16 {
            scratch.store.mint_key(&order(), NOW).unwrap();
        }
        let first = |letter: char| scratch.store.revoke_key(&letter.to_string(), NOW);
        let ambiguous = |result| matches!(result, Err(Error::Ambiguous { matches: 2.., .. }));
        assert!("0123456789abcdef".chars().map(first).any(ambiguous));
    }

    #[test]
    fn a_key_needs_a_group_that_exists_and_a_sane_number_of_uses() {
        let scratch = Scratch::new();
        let error = scratch.store.mint_key(&order(), NOW).unwrap_err();
        assert!(error.to_string().contains("group add"), "{error}");
        for max_uses in [0, KEY_USES_MAX + 1] {
            let order = KeyOrder {
                max_uses,
                ..order()
            };
            assert!(matches!(
                scratch.store.mint_key(&order, NOW),
                Err(Error::InvalidValue { .. })
            ));
        }
    }

    fn order() -> KeyOrder<'static> {
        let expires_at = UnixSeconds(NOW.0 + 3600);
        KeyOrder {
            group: "hq",
            max_uses: 1,
            expires_at,
            label: None,
        }
    }
}
