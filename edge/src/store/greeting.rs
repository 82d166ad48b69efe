//! Greetings: which machine presents a connector's identity, and what follows from it, in one
//! transaction with its audit row.

use connector_proto::message::{Fingerprint, RatchetValue, Verdict};
use connector_proto::time::UnixSeconds;
use rusqlite::{Connection, Transaction, params};

use super::audit::Entry;
use super::fingerprint::Columns;
use super::held::{self, Held};
use super::holder::{Holder, Identity, holder};
use super::{Store, ratchet, sql_time};
use crate::Error;
use crate::authorise::{Denied, Endpoint, authorise};
use crate::recognise::{
    Evidence, Incumbent, MovedNic, RatchetStanding, Recognition, recognise, verdict_name,
};
use crate::text::hex;

/// What a machine presents on a control channel.
#[derive(Clone, Debug)]
pub struct Greeting<'a> {
    /// SHA-256 of the subject public key info of its verified certificate.
    pub spki: [u8; 32],
    /// Its hardware.
    pub fingerprint: Fingerprint,
    /// The ratchet value it stored last.
    pub ratchet: RatchetValue,
    /// What is known of another control channel of the same connector.
    pub incumbent: Incumbent,
    /// A fresh random value, handed out if it is admitted.
    pub new_value: RatchetValue,
    /// The version it says it runs.
    pub version: &'a str,
    /// Where it dials from.
    pub address: &'a str,
}

/// What becomes of a greeting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeted {
    /// Welcome it, and hand out the new value with this step.
    Admitted(Admitted),
    /// Ask the incumbent, then greet again with what it did. Nothing was changed.
    AskIncumbent,
    /// Close. Nothing was changed.
    Denied(Denied),
    /// Tell it what it is taken for, and close with `Held`.
    Held {
        /// Whose identity it presents.
        identity: Identity,
        /// What it is taken for.
        verdict: Verdict,
        /// Whether its ratchet value is one that the connector itself may hold. An incumbent that
        /// answered is then to be handed another one with [`Store::advance_ratchet`], and only
        /// then: a copy that invents values wears out nobody's disk.
        fresh: bool,
    },
}

/// A machine that is taken for the connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The connector.
    pub identity: Identity,
    /// What it is taken for.
    pub verdict: Verdict,
    /// Step of the value that was handed out.
    pub step: u64,
    /// Active connectors of the edge: its return is spread among so many.
    pub fleet: u32,
}

impl Store {
    /// Judges a greeting and acts on it: an admitted machine is the connector from here on, its
    /// certificate supersedes those before it, and it is listed as connected.
    ///
    /// # Errors
    /// [`Error::Store`]; nothing was changed then, and nobody may be admitted.
    pub fn greet(&self, greeting: &Greeting<'_>, now: UnixSeconds) -> Result<Greeted, Error> {
        let presented = Presented {
            spki: &greeting.spki,
            fingerprint: &greeting.fingerprint,
            ratchet: &greeting.ratchet,
            address: greeting.address,
        };
        self.transact(|transaction| {
            let judged = self.judge(
                transaction,
                Endpoint::Control,
                &presented,
                greeting.incumbent,
                now,
            )?;
            Ok(match judged {
                Judged::AskIncumbent => Greeted::AskIncumbent,
                Judged::Denied(denied) => Greeted::Denied(denied),
                Judged::Held {
                    identity,
                    verdict,
                    fresh,
                } => Greeted::Held {
                    identity,
                    verdict,
                    fresh,
                },
                Judged::Admitted { identity, verdict } => {
                    let step = admit(transaction, &identity.id, greeting, now)?;
                    let query = "SELECT count(*) FROM connectors WHERE state = 'active'";
                    let fleet = transaction.query_row(query, [], |row| row.get(0))?;
                    Greeted::Admitted(Admitted {
                        identity,
                        verdict,
                        step,
                        fleet,
                    })
                }
            })
        })
    }

    /// Authorises and recognises a machine, and writes down whatever is not as it was: that it is
    /// held, and for what, or that it is taken for the connector although something changed.
    ///
    /// An admitted machine's evidence becomes the connector's own.
    pub(super) fn judge(
        &self,
        transaction: &Transaction<'_>,
        endpoint: Endpoint,
        presented: &Presented<'_>,
        incumbent: Incumbent,
        now: UnixSeconds,
    ) -> Result<Judged, Error> {
        let Holder { identity, standing } = holder(transaction, presented.spki)?;
        if let Err(denied) = authorise(endpoint, &standing, now) {
            return Ok(Judged::Denied(denied));
        }
        let Some(identity) = identity else {
            return Ok(Judged::Denied(Denied::Unknown));
        };
        let known = known(transaction, &identity.id)?;
        let evidence = Evidence {
            known: known.columns.fingerprint()?,
            presented: *presented.fingerprint,
            ratchet: ratchet::standing(transaction, &identity.id, presented.ratchet)?,
            superseded: standing.superseded,
            incumbent,
            policy: known.policy,
        };
        let case = Case {
            identity: &identity,
            presented,
            ratchet: evidence.ratchet,
        };
        Ok(match recognise(&evidence) {
            Recognition::AskIncumbent => Judged::AskIncumbent,
            Recognition::Hold(verdict) => {
                self.hold(transaction, &case, verdict, now)?;
                let fresh = evidence.ratchet == RatchetStanding::Fresh;
                Judged::Held {
                    identity,
                    verdict,
                    fresh,
                }
            }
            Recognition::Admit(verdict) => {
                let columns = Columns::new(presented.fingerprint).known_after(&known.columns);
                if columns != known.columns {
                    held::set_known(transaction, &identity.id, &columns)?;
                }
                if verdict != Verdict::SameMachine {
                    let entry = case.entry(transaction, verdict, true)?;
                    self.write_down(transaction, now, &entry)?;
                }
                Judged::Admitted { identity, verdict }
            }
        })
    }

    /// Notes the machine that is held, for whoever is to confirm it.
    fn hold(
        &self,
        transaction: &Transaction<'_>,
        case: &Case<'_>,
        verdict: Verdict,
        now: UnixSeconds,
    ) -> Result<(), Error> {
        let (id, presented) = (&case.identity.id, case.presented);
        if verdict == Verdict::Copy {
            ratchet::quarantine(transaction, id, presented.ratchet, now)?;
        }
        let held = Held {
            spki: presented.spki,
            verdict,
            columns: &Columns::new(presented.fingerprint),
            address: presented.address,
        };
        if held::note(transaction, id, &held, now)? {
            let entry = case.entry(transaction, verdict, false)?;
            self.write_down(transaction, now, &entry)?;
        }
        Ok(())
    }
}

/// What a machine presents on any connection.
pub(super) struct Presented<'a> {
    pub(super) spki: &'a [u8; 32],
    pub(super) fingerprint: &'a Fingerprint,
    pub(super) ratchet: &'a RatchetValue,
    pub(super) address: &'a str,
}

/// What a machine is found to be.
pub(super) enum Judged {
    Admitted {
        identity: Identity,
        verdict: Verdict,
    },
    AskIncumbent,
    Denied(Denied),
    Held {
        identity: Identity,
        verdict: Verdict,
        /// See [`Greeted::Held`].
        fresh: bool,
    },
}

/// A machine under judgement.
struct Case<'a> {
    identity: &'a Identity,
    presented: &'a Presented<'a>,
    ratchet: RatchetStanding,
}

impl Case<'_> {
    fn entry(
        &self,
        connection: &Connection,
        verdict: Verdict,
        admitted: bool,
    ) -> Result<Entry, Error> {
        let (identity, presented) = (self.identity, self.presented);
        let ratchet = match self.ratchet {
            RatchetStanding::Fresh => "fresh",
            RatchetStanding::Quarantined => "quarantined",
            RatchetStanding::Stale => {
                if ratchet::was_handed_out(connection, &identity.id, presented.ratchet)? {
                    "stale"
                } else {
                    "never_handed_out"
                }
            }
        };
        let entry = Entry::new("connector_recognised")
            .with("connector", hex(&identity.id))
            .with("name", identity.name.as_str())
            .with("verdict", verdict_name(verdict))
            .with("admitted", admitted)
            .with("ratchet", ratchet)
            .with("address", presented.address);
        Ok(Columns::new(presented.fingerprint).describe(entry))
    }
}

/// The machine that is taken for a connector, and its group's policy.
struct Known {
    columns: Columns,
    policy: MovedNic,
}

fn known(connection: &Connection, id: &[u8; 16]) -> Result<Known, Error> {
    let query = "SELECT mac, smbios_uuid, vm_generation, tpm, moved_nic = 'accept'
         FROM connectors JOIN groups ON groups.id = group_id WHERE connectors.id = ?1";
    let known = connection.query_row(query, [id], |row| {
        let policy = if row.get(4)? {
            MovedNic::Accept
        } else {
            MovedNic::Hold
        };
        Ok(Known {
            columns: Columns::of_row(row, 0)?,
            policy,
        })
    });
    Ok(known?)
}

/// What follows from being admitted to a control channel; the step of the value handed out.
fn admit(
    connection: &Connection,
    id: &[u8; 16],
    greeting: &Greeting<'_>,
    now: UnixSeconds,
) -> Result<u64, Error> {
    let now = sql_time(now);
    let used = "UPDATE certificates SET used_at = ?2 WHERE spki = ?1 AND used_at IS NULL";
    connection.execute(used, params![greeting.spki, now])?;
    connection.execute(
        "UPDATE certificates SET superseded_at = ?3
         WHERE connector_id = ?2 AND superseded_at IS NULL
         AND generation < (SELECT generation FROM certificates WHERE spki = ?1)",
        params![greeting.spki, id, now],
    )?;
    connection.execute(
        "UPDATE connectors SET connected_at = ?2, last_seen = ?2, version = ?3, address = ?4
         WHERE id = ?1",
        params![id, now, greeting.version, greeting.address],
    )?;
    ratchet::presented(connection, id, &greeting.ratchet)?;
    ratchet::hand_out(connection, id, &greeting.new_value)
}

#[cfg(test)]
mod tests;
