//! Enrolment: spending a use of a key, in the one transaction that also makes the connector.

use connector_proto::limits::NAME_MAX;
use connector_proto::message::{EnrolRefusal, Fingerprint};
use connector_proto::time::UnixSeconds;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::audit::Entry;
use super::fingerprint::Columns;
use super::{Store, from_sql_time, sql_time};
use crate::Error;
use crate::text::hex;

/// A request that was proved to come from the holder of the key.
#[derive(Clone, Debug)]
pub struct Request {
    /// The key's lookup id.
    pub key_id: [u8; 16],
    /// SHA-256 of the subject public key info of the CSR. Asking again with it is the same
    /// enrolment.
    pub spki: [u8; 32],
    /// The machine's evidence.
    pub fingerprint: Fingerprint,
    /// Which root issues the certificate: [`crate::authority::Roots::issuer`].
    pub issuer: [u8; 32],
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Enrolled, now or by an earlier request of which the reply was lost.
    Enrolled(Enrolled),
    /// Refused; no use was spent.
    Refused(EnrolRefusal),
}

/// A connector that is enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// Its id.
    pub id: [u8; 16],
    /// Its name.
    pub name: String,
    /// Its group's name.
    pub group: String,
    /// Its certificate as `issue` made it.
    pub certificate: Vec<u8>,
    /// Whether it was enrolled before.
    pub repeated: bool,
}

impl Store {
    /// Decides on a request. `issue` makes the certificate of a connector id, valid until a time that
    /// the group decides; if it fails, nothing is spent.
    ///
    /// # Errors
    /// [`Error::Store`], or what `issue` says.
    pub fn enrol(
        &self,
        request: &Request,
        now: UnixSeconds,
        issue: impl FnOnce(&[u8; 16], UnixSeconds) -> Result<Vec<u8>, Error>,
    ) -> Result<Decision, Error> {
        self.decide(now, |connection| {
            let decision = decide(connection, request, now, issue)?;
            let entry = entry(&decision, request);
            Ok((decision, entry))
        })
    }
}

fn decide(
    connection: &Connection,
    request: &Request,
    now: UnixSeconds,
    issue: impl FnOnce(&[u8; 16], UnixSeconds) -> Result<Vec<u8>, Error>,
) -> Result<Decision, Error> {
    let target = match find_or_spend(connection, request, now)? {
        Ok(target) => target,
        Err(refusal) => return Ok(Decision::Refused(refusal)),
    };
    let not_after = UnixSeconds(now.0.saturating_add(target.certificate_life_s));
    let certificate = issue(&target.id, not_after)?;
    connection.execute(
        "INSERT INTO certificates (spki, connector_id, issued_at, not_after, issuer)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (spki) DO UPDATE SET issued_at = excluded.issued_at,
             not_after = excluded.not_after, issuer = excluded.issuer",
        params![
            request.spki,
            target.id,
            sql_time(now),
            sql_time(not_after),
            request.issuer
        ],
    )?;
    let Target {
        id,
        name,
        group,
        repeated,
        ..
    } = target;
    Ok(Decision::Enrolled(Enrolled {
        id,
        name,
        group,
        certificate,
        repeated,
    }))
}

/// The connector a request is about.
struct Target {
    id: [u8; 16],
    name: String,
    group: String,
    certificate_life_s: u64,
    repeated: bool,
}

fn find_or_spend(
    connection: &Connection,
    request: &Request,
    now: UnixSeconds,
) -> Result<Result<Target, EnrolRefusal>, Error> {
    if let Some((target, may_repeat)) = earlier(connection, request)? {
        return Ok(if may_repeat {
            Ok(target)
        } else {
            Err(EnrolRefusal::KeyRevoked)
        });
    }
    // A public key belongs to one connector for good: a machine that enrols anew makes a new one.
    let taken = "SELECT 1 FROM certificates WHERE spki = ?1
         UNION ALL SELECT 1 FROM deleted_keys WHERE spki = ?1";
    if connection
        .query_row(taken, [request.spki], |_| Ok(()))
        .optional()?
        .is_some()
    {
        return Ok(Err(EnrolRefusal::RequestInvalid));
    }
    let spent = connection.execute(
        "UPDATE keys SET uses = uses + 1
         WHERE id = ?1 AND uses < max_uses AND revoked_at IS NULL AND expires_at > ?2",
        params![request.key_id, sql_time(now)],
    )?;
    if spent == 1 {
        add_connector(connection, request, now).map(Ok)
    } else {
        refusal(connection, request, now).map(Err)
    }
}

/// The connector that this very request made before, and whether it may have its certificate again:
/// a key that is spent or over by now does not matter, a revoked key or connector does.
fn earlier(connection: &Connection, request: &Request) -> Result<Option<(Target, bool)>, Error> {
    let query = "SELECT connectors.id, connectors.name, groups.name, certificate_life_s,
             state = 'active' AND revoked_at IS NULL
         FROM connectors
         JOIN groups ON groups.id = connectors.group_id
         JOIN keys ON keys.id = key_id
         WHERE key_id = ?1 AND enrol_spki = ?2";
    let found = connection.query_row(query, params![request.key_id, request.spki], |row| {
        let target = Target {
            id: row.get(0)?,
            name: row.get(1)?,
            group: row.get(2)?,
            certificate_life_s: row.get(3)?,
            repeated: true,
        };
        Ok((target, row.get(4)?))
    });
    Ok(found.optional()?)
}

fn add_connector(
    connection: &Connection,
    request: &Request,
    now: UnixSeconds,
) -> Result<Target, Error> {
    let query = "SELECT group_id, groups.name, label, certificate_life_s FROM keys
         JOIN groups ON groups.id = group_id WHERE keys.id = ?1";
    let (group_id, group, label, certificate_life_s): (i64, String, Option<String>, u64) =
        connection.query_row(query, [request.key_id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
    let columns = Columns::new(&request.fingerprint);
    let id: [u8; 16] = random()?;
    let name = free_name(connection, group_id, label.as_deref(), &id)?;
    connection.execute(
        "INSERT INTO connectors (id, name, group_id, key_id, enrol_spki, mac, smbios_uuid,
             vm_generation, tpm, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
            id,
            name,
            group_id,
            request.key_id,
            request.spki,
            columns.mac,
            columns.smbios_uuid,
            columns.vm_generation,
            columns.tpm,
            sql_time(now),
        ],
    )?;
    Ok(Target {
        id,
        name,
        group,
        certificate_life_s,
        repeated: false,
    })
}

/// Why no use could be spent; what an administrator did is told before what time did.
fn refusal(
    connection: &Connection,
    request: &Request,
    now: UnixSeconds,
) -> Result<EnrolRefusal, Error> {
    let query = "SELECT revoked_at IS NOT NULL, expires_at, max_uses FROM keys WHERE id = ?1";
    let key: Option<(bool, i64, u32)> = connection
        .query_row(query, [request.key_id], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    Ok(match key {
        None => EnrolRefusal::KeyUnknown,
        Some((true, ..)) => EnrolRefusal::KeyRevoked,
        Some((false, expires_at, _)) if expires_at <= sql_time(now) => EnrolRefusal::KeyExpired {
            at: from_sql_time(expires_at),
        },
        Some((false, _, max_uses)) => EnrolRefusal::KeySpent { max_uses },
    })
}

/// The key's label, else `connector-` and four letters of the id; numbered when that is taken.
fn free_name(
    connection: &Connection,
    group_id: i64,
    label: Option<&str>,
    id: &[u8; 16],
) -> Result<String, Error> {
    let base = label.map_or_else(|| format!("connector-{}", hex(&id[..2])), str::to_owned);
    let taken = "SELECT 1 FROM connectors WHERE group_id = ?1 AND name = ?2";
    for number in 1_u32.. {
        let suffix = if number == 1 {
            String::new()
        } else {
            format!("-{number}")
        };
        let start = &base[..base.len().min(NAME_MAX - suffix.len())];
        let name = format!("{start}{suffix}");
        if connection
            .query_row(taken, params![group_id, name], |_| Ok(()))
            .optional()?
            .is_none()
        {
            return Ok(name);
        }
    }
    // Four billion connectors of one name do not fit into the database.
    Ok(hex(id))
}

fn entry(decision: &Decision, request: &Request) -> Entry {
    let key = hex(&request.key_id);
    match decision {
        Decision::Enrolled(enrolled) => {
            let event = if enrolled.repeated {
                "enrolment_repeated"
            } else {
                "connector_enrolled"
            };
            Entry::new(event)
                .with("key", key)
                .with("connector", hex(&enrolled.id))
                .with("name", enrolled.name.as_str())
                .with("group", enrolled.group.as_str())
                .with("spki", hex(&request.spki))
                .with("mac", Columns::new(&request.fingerprint).mac)
        }
        Decision::Refused(refusal) => Entry::new("enrolment_refused")
            .with("key", key)
            .with("reason", refusal_name(*refusal))
            .with("mac", Columns::new(&request.fingerprint).mac),
    }
}

/// The word for a refusal in log and audit.
pub(crate) const fn refusal_name(refusal: EnrolRefusal) -> &'static str {
    match refusal {
        EnrolRefusal::KeyUnknown => "key_unknown",
        EnrolRefusal::KeySpent { .. } => "key_spent",
        EnrolRefusal::KeyExpired { .. } => "key_expired",
        EnrolRefusal::KeyRevoked => "key_revoked",
        EnrolRefusal::RequestInvalid => "request_invalid",
        EnrolRefusal::TryLater => "try_later",
    }
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Error::crypto("random bytes for an id"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::keys::KeyOrder;
    use crate::store::tests::{NOW, Scratch};

    #[test]
    fn the_audit_log_names_why_an_enrolment_was_refused() {
        let scratch = with_group();
        let key_id = mint(&scratch, 1, None);
        let enrol = |number| {
            let request = request(key_id, number);
            scratch
                .store
                .enrol(&request, NOW, |_, _| Ok(vec![1]))
                .unwrap();
            let rows = scratch.store.audit_rows(1).unwrap();
            rows[0]["reason"].as_str().map(str::to_owned)
        };
        assert_eq!(enrol(1), None);
        assert_eq!(enrol(2).as_deref(), Some("key_spent"));
    }

    #[test]
    fn a_hundred_parallel_enrolments_of_a_ten_use_key_give_exactly_ten() {
        let scratch = with_group();
        let key_id = mint(&scratch, 10, None);
        let enrolled = std::thread::scope(|scope| {
            let runners: Vec<_> = (0..4_u8)
                .map(|process| {
                    let store = scratch.again();
                    scope.spawn(move || {
                        std::thread::scope(|inner| {
                            let tries: Vec<_> = (0..25_u8)
                                .map(|number| {
                                    let store = &store;
                                    let request = request(key_id, process * 25 + number);
                                    inner.spawn(move || is_enrolled(&enrol(store, &request)))
                                })
                                .collect();
                            tries
                                .into_iter()
                                .filter_map(|try_| try_.join().ok())
                                .filter(|done| *done)
                                .count()
                        })
                    })
                })
                .collect();
            runners
                .into_iter()
                .map(|runner| runner.join().unwrap())
                .sum::<usize>()
        });
        assert_eq!(enrolled, 10);
        assert_eq!(scratch.store.keys(NOW).unwrap()[0].uses, 10);
        assert_eq!(scratch.store.connectors().unwrap().len(), 10);
        let decisions = scratch.store.audit_rows(1000).unwrap();
        let count = |event| decisions.iter().filter(|row| row["event"] == event).count();
        assert_eq!(
            (count("connector_enrolled"), count("enrolment_refused")),
            (10, 90)
        );
        scratch.store.verify_audit().unwrap();
    }

    #[test]
    fn the_same_request_again_is_the_same_connector_and_costs_nothing() {
        let scratch = with_group();
        let key_id = mint(&scratch, 1, Some("plant"));
        let request = request(key_id, 1);
        let first = connector_of(enrol(&scratch.store, &request));
        assert_eq!((first.name.as_str(), first.repeated), ("plant", false));
        let late = UnixSeconds(NOW.0 + 1_000_000);
        let again = connector_of(scratch.store.enrol(&request, late, issue).unwrap());
        assert_eq!((again.id, again.repeated), (first.id, true));
        assert_eq!(scratch.store.keys(NOW).unwrap()[0].uses, 1);
        assert_eq!(scratch.store.connectors().unwrap().len(), 1);
    }

    #[test]
    fn a_revoked_connector_or_key_gets_no_certificate_again() {
        let scratch = with_group();
        let key_id = mint(&scratch, 2, None);
        let first = connector_of(enrol(&scratch.store, &request(key_id, 1)));
        enrol(&scratch.store, &request(key_id, 2));
        scratch
            .store
            .revoke_connector(&hex(&first.id), NOW)
            .unwrap();
        let refused = Decision::Refused(EnrolRefusal::KeyRevoked);
        assert_eq!(enrol(&scratch.store, &request(key_id, 1)), refused);
        assert!(is_enrolled(&enrol(&scratch.store, &request(key_id, 2))));
        scratch.store.revoke_key(&hex(&key_id), NOW).unwrap();
        assert_eq!(enrol(&scratch.store, &request(key_id, 2)), refused);
    }

    #[test]
    fn each_refusal_has_its_reason_and_spends_nothing() {
        let scratch = with_group();
        let spent = mint(&scratch, 1, None);
        enrol(&scratch.store, &request(spent, 1));
        let revoked = mint(&scratch, 1, None);
        scratch.store.revoke_key(&hex(&revoked), NOW).unwrap();
        let expired = mint(&scratch, 1, None);
        let after = UnixSeconds(NOW.0 + 3600);
        let refused = |key_id, number, now| match scratch
            .store
            .enrol(&request(key_id, number), now, issue)
            .unwrap()
        {
            Decision::Refused(refusal) => refusal,
            Decision::Enrolled(_) => panic!("enrolled"),
        };
        assert_eq!(
            refused(spent, 2, NOW),
            EnrolRefusal::KeySpent { max_uses: 1 }
        );
        assert_eq!(refused(revoked, 3, NOW), EnrolRefusal::KeyRevoked);
        assert_eq!(
            refused(expired, 4, after),
            EnrolRefusal::KeyExpired { at: after }
        );
        assert_eq!(refused([9; 16], 5, NOW), EnrolRefusal::KeyUnknown);
        assert_eq!(
            refused(expired, 1, NOW),
            EnrolRefusal::RequestInvalid,
            "another key's CSR"
        );
        let uses: u32 = scratch
            .store
            .keys(NOW)
            .unwrap()
            .iter()
            .map(|key| key.uses)
            .sum();
        assert_eq!(uses, 1);
    }

    #[test]
    fn a_certificate_that_cannot_be_made_spends_nothing() {
        let scratch = with_group();
        let key_id = mint(&scratch, 1, None);
        let fails = |_: &_, _| {
            Err(Error::DataDir {
                problem: "no key".into(),
            })
        };
        assert!(
            scratch
                .store
                .enrol(&request(key_id, 1), NOW, fails)
                .is_err()
        );
        assert_eq!(scratch.store.keys(NOW).unwrap()[0].uses, 0);
        assert!(scratch.store.connectors().unwrap().is_empty());
    }

    #[test]
    fn connectors_of_one_label_are_numbered() {
        let scratch = with_group();
        let label = "a".repeat(NAME_MAX);
        let key_id = mint(&scratch, 3, Some(&label));
        let names: Vec<_> = (0..3)
            .map(|number| connector_of(enrol(&scratch.store, &request(key_id, number))).name)
            .collect();
        assert_eq!(names[0], label);
        assert!(
            names[1].ends_with("a-2") && names[2].ends_with("a-3"),
            "{names:?}"
        );
        assert!(names.iter().all(|name| name.len() == NAME_MAX));
    }

    fn with_group() -> Scratch {
        let scratch = Scratch::new();
        scratch.store.add_group("hq", NOW).unwrap();
        scratch
    }

    fn mint(scratch: &Scratch, max_uses: u32, label: Option<&str>) -> [u8; 16] {
        let expires_at = UnixSeconds(NOW.0 + 3600);
        let order = KeyOrder {
            group: "hq",
            max_uses,
            expires_at,
            label,
        };
        scratch.store.mint_key(&order, NOW).unwrap().id
    }

    fn request(key_id: [u8; 16], number: u8) -> Request {
        let fingerprint = Fingerprint {
            mac: [2, 0, 0, 0, 0, number],
            smbios_uuid: [number; 16],
            vm_generation: [0; 16],
            tpm: [0; 32],
        };
        Request {
            key_id,
            spki: [number; 32],
            fingerprint,
            issuer: [0xca; 32],
        }
    }

    fn issue(id: &[u8; 16], _not_after: UnixSeconds) -> Result<Vec<u8>, Error> {
        Ok(id.to_vec())
    }

    fn enrol(store: &Store, request: &Request) -> Decision {
        store.enrol(request, NOW, issue).unwrap()
    }

    fn is_enrolled(decision: &Decision) -> bool {
        matches!(decision, Decision::Enrolled(_))
    }

    fn connector_of(decision: Decision) -> Enrolled {
        match decision {
            Decision::Enrolled(enrolled) => enrolled,
            Decision::Refused(refusal) => panic!("{refusal:?}"),
        }
    }
}
