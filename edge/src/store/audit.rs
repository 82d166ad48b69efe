//! The audit log: what was decided, in a chain that shows alterations.
//!
//! A row's hash is `SHA-256(hash of the row before | text)`, 32 zero bytes before the first. The text is one
//! JSON object and is stored as it was hashed, so whatever is listed is covered. Whoever notes the last row's
//! number and hash elsewhere also notices rows cut off the end.
//!
//! A row's hash is signed with the edge's audit key. Of rows that are committed together the last one's is, and
//! its text says with `signs` how many they are: a signature covers the rows that it was made for and no other
//! one, so a row that somebody else puts into the chain is covered by none.

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

    fn text(&self, seq: i64, at: UnixSeconds, signs: Option<usize>) -> String {
        let mut fields = self.fields.clone();
        fields.insert("seq".into(), seq.into());
        fields.insert("at".into(), at.0.into());
        fields.insert("event".into(), self.event.into());
        if let Some(signs) = signs.filter(|signs| *signs > 1) {
            fields.insert("signs".into(), signs.into());
        }
        Value::Object(fields).to_string()
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
        // The row behind the last one that is covered by a signature.
        let mut uncovered = 1;
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
            let said = Said::of(&text);
            if said.seq != Some(seq) {
                return broken("its text names another number");
            }
            if !signature.is_empty() {
                if key.verify(&expected, &signature).is_err() {
                    return broken("it was not written by this edge");
                }
                if said.signs != seq + 1 - uncovered {
                    return not_covered(uncovered);
                }
                uncovered = seq + 1;
            }
            last = Link {
                seq,
                hash: expected,
            };
        }
        if uncovered <= last.seq {
            return not_covered(uncovered);
        }
        Ok(Verified {
            rows: last.seq,
            head: text::hex(&last.hash),
        })
    }
}

const fn not_covered(row: i64) -> Result<Verified, Error> {
    let problem = "it is not covered by a signature of this edge";
    Err(Error::AuditBroken { row, problem })
}

/// Adds rows at the end of the chain, inside the transaction of their decisions, and signs the last one.
pub(super) fn append<'a>(
    connection: &Connection,
    key: &Ed25519KeyPair,
    lines: impl ExactSizeIterator<Item = (UnixSeconds, &'a Entry)>,
) -> Result<(), Error> {
    let insert = "INSERT INTO audit (seq, text, hash, signature) VALUES (?1, ?2, ?3, ?4)";
    let mut statement = connection.prepare_cached(insert)?;
    let mut last = last_link(connection)?;
    let count = lines.len();
    for (number, (at, entry)) in lines.enumerate() {
        let signs = (number + 1 == count).then_some(count);
        let seq = last.seq + 1;
        let text = entry.text(seq, at, signs);
        let hash = chained(&last.hash, &text);
        let signature = signs.map(|_| key.sign(&hash));
        let signature = signature.as_ref().map_or(&[][..], |signed| signed.as_ref());
        statement.execute(params![seq, text, hash, signature])?;
        last = Link { seq, hash };
    }
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

/// What a row says of itself.
struct Said {
    seq: Option<i64>,
    /// How many rows its signature covers, if it has one.
    signs: i64,
}

impl Said {
    fn of(text: &str) -> Self {
        let value: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        let number = |name| value.get(name).and_then(Value::as_i64);
        Self {
            seq: number("seq"),
            signs: number("signs").unwrap_or(1),
        }
    }
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
        forge(&scratch, &forger, &[Entry::new("forged")]);
        let error = scratch.store.verify_audit().unwrap_err();
        assert!(
            error.to_string().contains("not written by this edge"),
            "{error}"
        );
    }

    #[test]
    fn rows_that_were_committed_together_are_signed_once_and_every_alteration_names_its_row() {
        for (statement, row) in [
            ("SELECT 1", None),
            (
                "UPDATE audit SET text = replace(text, '\"number\":1', '\"number\":7')",
                Some(2),
            ),
            ("UPDATE audit SET signature = x'' WHERE seq = 4", Some(2)),
            ("UPDATE audit SET signature = x'' WHERE seq = 5", Some(5)),
            (
                "UPDATE audit SET signature = zeroblob(64) WHERE seq = 2",
                Some(2),
            ),
            ("DELETE FROM audit WHERE seq >= 4", Some(2)),
        ] {
            let scratch = Scratch::new();
            write(&scratch, 0..1);
            write(&scratch, 1..4);
            write(&scratch, 4..5);
            scratch.store.lock().execute_batch(statement).unwrap();
            let found = match scratch.store.verify_audit() {
                Ok(verified) => {
                    assert_eq!(verified.rows, 5);
                    None
                }
                Err(Error::AuditBroken { row, .. }) => Some(row),
                Err(other) => panic!("{statement}: {other}"),
            };
            assert_eq!(found, row, "{statement}");
        }
    }

    #[test]
    fn a_row_that_somebody_else_put_into_the_chain_is_not_covered_by_the_next_signature() {
        let scratch = written();
        let forger = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
        forge(&scratch, &forger, &[Entry::new("forged")]);
        let strip = "UPDATE audit SET signature = x'' WHERE seq = 6";
        scratch.store.lock().execute(strip, []).unwrap();
        write(&scratch, 6..9);
        match scratch.store.verify_audit() {
            Err(Error::AuditBroken { row, problem }) => {
                assert_eq!(
                    (row, problem),
                    (6, "it is not covered by a signature of this edge")
                );
            }
            other => panic!("{other:?}"),
        }
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

    /// Writes rows that are committed together.
    fn write(scratch: &Scratch, numbers: std::ops::Range<i32>) {
        let entry = |number| Entry::new("test").with("number", number);
        let entries: Vec<_> = numbers.map(entry).collect();
        let lines = entries.iter().map(|entry| (NOW, entry));
        let key = &scratch.store.audit_key;
        append(&scratch.store.lock(), key, lines).unwrap();
    }

    fn forge(scratch: &Scratch, forger: &Ed25519KeyPair, entries: &[Entry]) {
        let lines = entries.iter().map(|entry| (NOW, entry));
        append(&scratch.store.lock(), forger, lines).unwrap();
    }
}
