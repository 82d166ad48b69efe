//! The audit log: what was decided, in a chain that shows alterations.
//!
//! A row's hash is `SHA-256(hash of the row before | text)`, 32 zero bytes before the first, and is
//! signed with the edge's audit key. The text is one JSON object and is stored as it was hashed, so
//! whatever is listed is covered. Whoever notes the last row's number and hash elsewhere also
//! notices rows cut off the end.

use connector_proto::time::UnixSeconds;
use ring::digest;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::{Map, Value};

use super::Store;
use crate::{Error, text};

/// What is written down of one decision.
#[derive(Clone, Debug)]
pub struct Entry {
    event: &'static str,
    fields: Map<String, Value>,
}

impl Entry {
    /// An entry of a kind, like `key_minted`.
    #[must_use]
    pub fn new(event: &'static str) -> Self {
        Self {
            event,
            fields: Map::new(),
        }
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.into(), value.into());
        self
    }
}

/// What a whole chain is checked to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// How many rows hold.
    pub rows: i64,
    /// Hash of the last row, hexadecimal.
    pub head: String,
}

impl Store {
    /// Writes down a decision that changes nothing in the store.
    ///
    /// # Errors
    /// [`Error::Store`]; the decision must then not be acted on.
    pub fn audit(&self, now: UnixSeconds, entry: Entry) -> Result<(), Error> {
        self.decide(now, |_| Ok(((), entry)))
    }

    /// The last `max` rows, oldest first, each as it was hashed.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub fn audit_rows(&self, max: u32) -> Result<Vec<Value>, Error> {
        let connection = self.lock();
        let query = "SELECT text FROM (SELECT seq, text FROM audit ORDER BY seq DESC LIMIT ?1) ORDER BY seq";
        let mut statement = connection.prepare(query)?;
        let texts = statement.query_map([max], |row| row.get::<_, String>(0))?;
        let parsed = texts.map(|text| Ok(serde_json::from_str(&text?).unwrap_or(Value::Null)));
        parsed.collect()
    }

    /// Checks the whole chain.
    ///
    /// # Errors
    /// [`Error::AuditBroken`] with the first row that is wrong; [`Error::Store`].
    pub fn verify_audit(&self) -> Result<Verified, Error> {
        let public = self.audit_key.public_key().as_ref().to_vec();
        let key = UnparsedPublicKey::new(&ED25519, public);
        let connection = self.lock();
        let query = "SELECT seq, text, hash, signature FROM audit ORDER BY seq";
        let mut statement = connection.prepare(query)?;
        let mut rows = statement.query([])?;
        let mut last = Link {
            seq: 0,
            hash: FIRST,
        };
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            let (text, hash): (String, Vec<u8>) = (row.get(1)?, row.get(2)?);
            let signature: Vec<u8> = row.get(3)?;
            let broken = |problem| Err(Error::AuditBroken { row: seq, problem });
            if seq != last.seq + 1 {
                return broken("a row before it is missing");
            }
            let expected = chained(&last.hash, &text);
            if hash != expected {
                return broken("its text or a row before it was altered");
            }
            if key.verify(&expected, &signature).is_err() {
                return broken("it was not written by this edge");
            }
            if !names_its_number(&text, seq) {
                return broken("its text names another number");
            }
            last = Link {
                seq,
                hash: expected,
            };
        }
        Ok(Verified {
            rows: last.seq,
            head: text::hex(&last.hash),
        })
    }
}

/// Adds a row at the end of the chain, inside the transaction of the decision.
pub(super) fn append(
    connection: &Connection,
    key: &Ed25519KeyPair,
    now: UnixSeconds,
    entry: &Entry,
) -> Result<(), Error> {
    let last = last_link(connection)?;
    let seq = last.seq + 1;
    let mut fields = entry.fields.clone();
    fields.insert("seq".into(), seq.into());
    fields.insert("at".into(), now.0.into());
    fields.insert("event".into(), entry.event.into());
    let text = Value::Object(fields).to_string();
    let hash = chained(&last.hash, &text);
    let signature = key.sign(&hash);
    let insert = "INSERT INTO audit (seq, text, hash, signature) VALUES (?1, ?2, ?3, ?4)";
    let mut statement = connection.prepare_cached(insert)?;
    statement.execute(params![seq, text, hash, signature.as_ref()])?;
    Ok(())
}

/// Where the chain ends.
struct Link {
    seq: i64,
    hash: [u8; 32],
}

/// What the first row is chained to.
const FIRST: [u8; 32] = [0; 32];

fn last_link(connection: &Connection) -> Result<Link, Error> {
    let query = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";
    let mut statement = connection.prepare_cached(query)?;
    let last = statement.query_row([], |row| {
        Ok(Link {
            seq: row.get(0)?,
            hash: row.get(1)?,
        })
    });
    let last = last.optional()?;
    Ok(last.unwrap_or(Link {
        seq: 0,
        hash: FIRST,
    }))
}

fn chained(previous: &[u8; 32], text: &str) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(previous);
    context.update(text.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn names_its_number(text: &str, seq: i64) -> bool {
    let value: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    value.get("seq").and_then(Value::as_i64) == Some(seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{NOW, Scratch};

    #[test]
    fn an_untouched_chain_verifies() {
        let scratch = written();
        let verified = scratch.store.verify_audit().unwrap();
        assert_eq!(verified.rows, 5);
        assert_eq!(scratch.store.audit_rows(2).unwrap()[1]["number"], 4);
    }

    #[test]
    fn an_empty_chain_verifies() {
        assert_eq!(Scratch::new().store.verify_audit().unwrap().rows, 0);
    }

    #[test]
    fn every_kind_of_alteration_names_its_row() {
        for (statement, row) in [
            (
                "UPDATE audit SET text = replace(text, '2', '7') WHERE seq = 3",
                3,
            ),
            ("UPDATE audit SET hash = zeroblob(32) WHERE seq = 2", 2),
            ("UPDATE audit SET signature = zeroblob(64) WHERE seq = 4", 4),
            ("DELETE FROM audit WHERE seq = 2", 3),
            ("DELETE FROM audit WHERE seq = 1", 2),
        ] {
            let scratch = written();
            assert_eq!(scratch.store.lock().execute(statement, []).unwrap(), 1);
            match scratch.store.verify_audit() {
                Err(Error::AuditBroken { row: found, .. }) => assert_eq!(found, row, "{statement}"),
                other => panic!("{statement}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_chain_rewritten_without_the_key_does_not_verify() {
        let scratch = written();
        let forger = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
        scratch
            .store
            .lock()
            .execute("DELETE FROM audit", [])
            .unwrap();
        append(&scratch.store.lock(), &forger, NOW, &Entry::new("forged")).unwrap();
        let error = scratch.store.verify_audit().unwrap_err();
        assert!(
            error.to_string().contains("not written by this edge"),
            "{error}"
        );
    }

    #[test]
    fn two_connections_write_one_chain() {
        let scratch = Scratch::new();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let store = scratch.again();
                scope.spawn(move || {
                    for number in 0..10 {
                        let entry = Entry::new("test")
                            .with("writer", writer)
                            .with("number", number);
                        store.audit(NOW, entry).unwrap();
                    }
                });
            }
        });
        assert_eq!(scratch.store.verify_audit().unwrap().rows, 40);
    }

    fn written() -> Scratch {
        let scratch = Scratch::new();
        for number in 0..5 {
            scratch
                .store
                .audit(NOW, Entry::new("test").with("number", number))
                .unwrap();
        }
        scratch
    }
}
