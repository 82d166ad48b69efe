//! What comes next: a connection, a key pair, a write.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use zeroize::Zeroizing;

use super::connection::{Connection, Kind};
use super::journal::{Intent, Write, Written};
use super::link::Pace;
use super::standing::Standing;
use super::{Action, Life, Purpose};
use crate::local::NoIdentity;
use crate::message::CloseCode;
use crate::record::State;
use crate::time::{Instant, UnixSeconds};

impl Life {
    /// Does all that is due.
    pub(super) fn decide(&mut self, now: Instant) {
        if !self.awaits_pair && !self.journal.is_busy() {
            self.go_on(now);
        }
        let spares_record = self.spares_record();
        match self.journal.start(now, spares_record) {
            Some(Write::State) => {
                let mut state = Box::new(self.state.clone());
                for intent in self.journal.being_written() {
                    intent.apply(&mut state);
                }
                self.actions.push_back(Action::Save(state));
            }
            Some(Write::Erasure) => self.actions.push_back(Action::Erase),
            None => {}
        }
    }

    /// Everything that was to be on the disk is there.
    fn go_on(&mut self, now: Instant) {
        let Some(goal) = self.goal(now) else {
            return;
        };
        match &self.connection {
            None if now < self.link.next_attempt => {}
            Some(connection) if !connection.is_welcomed || goal != Kind::Renew => {}
            None | Some(_) if !self.is_prepared(goal) => self.prepare(goal),
            None | Some(_) => {
                self.drop_connection(Some(CloseCode::Normal));
                self.open(goal);
            }
        }
    }

    /// What the next connection is for, whenever it is opened.
    fn goal(&self, now: Instant) -> Option<Kind> {
        let can_dial = self.conditions.can_dial && self.edge().is_some();
        if !can_dial || self.journal.is_erasing() {
            return None;
        }
        if self.key.is_some() {
            // The proofs of an enrolment need no clock.
            return Some(Kind::Enrol);
        }
        let is_shut = matches!(
            self.standing,
            Standing::Shut {
                asks_again: false,
                ..
            }
        );
        if is_shut || self.state.identity.is_none() {
            return None;
        }
        let wall = self.wall(now)?;
        Some(
            if self.renewal.is_due(now, wall, self.connection.is_some()) {
                Kind::Renew
            } else {
                // The edge gives up the older certificate as soon as it sees the next one, so the next
                // one must be on the disk for certain. What is in doubt is written again by itself.
                let next = self.renewal.uses_next(wall) && !self.journal.is_doubtful();
                Kind::Control { next }
            },
        )
    }

    /// Whether the key pair to ask with is on the disk, and the edge it is for.
    fn is_prepared(&self, goal: Kind) -> bool {
        let has_pair = match goal {
            Kind::Control { .. } => return true,
            // The disk may hold another pair than the one that would be asked with.
            Kind::Enrol | Kind::Renew if self.journal.is_doubtful() => return false,
            Kind::Enrol if self.state.identity.is_none() => {
                self.edge() == Some(self.state.edge.as_str()) && !self.state.private_key.is_empty()
            }
            Kind::Enrol | Kind::Renew => {
                let next = self.state.next.as_ref();
                next.is_some_and(|next| next.certificate.is_empty())
            }
        };
        has_pair && !self.wants_new_pair
    }

    /// Has a key pair made, or the edge remembered for the one there is.
    fn prepare(&mut self, goal: Kind) {
        if self.journal.is_doubtful() {
            return self.journal.want(Intent::Again);
        }
        let is_first = goal == Kind::Enrol && self.state.identity.is_none();
        if is_first && !self.state.private_key.is_empty() && !self.wants_new_pair {
            self.journal.want(Intent::Prepare {
                private_key: None,
                edge: self.edge().unwrap_or_default().into(),
            });
        } else {
            self.awaits_pair = true;
            self.actions.push_back(Action::NewKey);
        }
    }

    fn open(&mut self, goal: Kind) {
        let purpose = match (goal, &self.key) {
            (Kind::Enrol, Some(key)) => Purpose::Enrol { key: key.clone() },
            (Kind::Enrol, None) => return,
            (Kind::Renew, _) => Purpose::Renew,
            (Kind::Control { next }, _) => Purpose::Control { next },
        };
        self.opened += 1;
        self.connection = Some(Connection::new(goal, self.opened));
        self.actions.push_back(Action::Open(purpose));
    }

    pub(super) fn take_new_pair(&mut self, now: Instant, result: Result<Vec<u8>, String>) {
        if !core::mem::take(&mut self.awaits_pair) || self.journal.is_erasing() {
            return;
        }
        let private_key = match result {
            Ok(private_key) => Zeroizing::new(private_key),
            Err(error) => return self.put_off(now, format!("no private key can be made: {error}")),
        };
        self.wants_new_pair = false;
        self.is_pair_new = true;
        self.journal.want(if self.state.identity.is_none() {
            Intent::Prepare {
                private_key: Some(private_key),
                edge: self.edge().unwrap_or_default().into(),
            }
        } else {
            Intent::Pair {
                private_key,
                promotes: !self.renewal.gives_up_next(),
            }
        });
    }

    /// A renewal, or the next attempt, lacks something of this machine's own.
    fn put_off(&mut self, now: Instant, why: String) {
        if self.key.is_none() {
            self.renewal.failed(now);
        }
        if self.connection.is_none() {
            self.retry(now, why, Pace::Backoff);
        }
    }

    pub(super) fn take_saved(&mut self, now: Instant, result: Result<(), String>) {
        if let Err(error) = result {
            return self.take_unsaved(now, error);
        }
        match self.journal.succeeded() {
            Some(Written::Intents(intents)) if !self.journal.is_erasing() => {
                for intent in &intents {
                    intent.apply(&mut self.state);
                    self.take_stored(now, intent);
                }
            }
            Some(Written::Erasure) => self.start_anew(now),
            Some(Written::Intents(_)) | None => {}
        }
    }

    /// The disk does not take it. A renewal that cannot be kept is put off; the rest is tried again.
    fn take_unsaved(&mut self, now: Instant, error: String) {
        let why = format!("nothing can be remembered: {error}");
        let is_enrolling = self.key.is_some();
        let is_open = self.connection.is_some();
        let given_up = self.journal.failed(now, why.clone(), |intent| {
            intent.is_renewal(is_enrolling) || intent.ends_with_connection() && !is_open
        });
        if given_up
            .iter()
            .any(|intent| intent.is_renewal(is_enrolling))
        {
            self.put_off(now, why);
        }
    }

    /// It is on the disk, and in the state.
    fn take_stored(&mut self, now: Instant, intent: &Intent) {
        match intent {
            Intent::Enrolled { .. } => {
                self.key = None;
                self.refused = None;
                self.typed_edge = None;
                self.recognised = None;
                self.standing = Standing::Good;
                self.link.try_at_once(now);
                self.renewal.certificate_issued(now, &self.state);
            }
            Intent::Renewed { .. } => {
                self.link.try_at_once(now);
                self.renewal.certificate_issued(now, &self.state);
                if self
                    .wall(now)
                    .is_some_and(|wall| self.renewal.is_expired(wall))
                {
                    // The answer to a question of long ago: a new one needs a new key pair.
                    self.wants_new_pair = true;
                    self.put_off(now, String::from("the renewed certificate has expired"));
                }
            }
            Intent::Pair { .. } | Intent::Promote | Intent::ForgetNext => {
                self.renewal.certificates_moved(&self.state);
            }
            Intent::Prepare { .. } | Intent::Again => {}
            Intent::Ratchet {
                step, connection, ..
            } => {
                if let Some(open) = &mut self.connection
                    && open.number == *connection
                {
                    open.has_stored_ratchet = true;
                    self.actions
                        .push_back(Action::RatchetStored { step: *step });
                }
            }
            Intent::Trust {
                digest, connection, ..
            } => {
                let open = self.connection.as_ref();
                if open.is_some_and(|open| open.number == *connection) {
                    self.actions
                        .push_back(Action::TrustStored { digest: *digest });
                }
            }
        }
    }

    /// Everything is erased: this is a machine that was never enrolled.
    fn start_anew(&mut self, now: Instant) {
        self.state = State::default();
        self.standing = Standing::shut(NoIdentity::Blank);
        self.typed_edge = None;
        self.key = None;
        self.refused = None;
        self.recognised = None;
        self.wants_new_pair = false;
        self.link.try_at_once(now);
        self.renewal.certificate_issued(now, &self.state);
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let write = self.journal.poll_timeout(self.spares_record());
        if self.awaits_pair || self.journal.is_busy() {
            return write;
        }
        let attempt = self.next_attempt();
        write.into_iter().chain(attempt).min()
    }

    /// When [`Self::go_on`] has something to do.
    fn next_attempt(&self) -> Option<Instant> {
        let goal = self.goal(self.conditions_at);
        match &self.connection {
            None => goal.map(|_| self.link.next_attempt),
            Some(connection) if connection.is_welcomed => {
                goal?;
                let wall = self.conditions.wall?;
                self.renewal.due_at(|due| {
                    let seconds = due.0.saturating_sub(wall.0);
                    self.conditions_at + Duration::from_secs(seconds)
                })
            }
            Some(_) => None,
        }
    }

    /// The wall-clock time, while it is known.
    pub(super) fn wall(&self, now: Instant) -> Option<UnixSeconds> {
        let wall = self.conditions.wall?;
        let passed = now.since(self.conditions_at).as_secs();
        Some(UnixSeconds(wall.0.saturating_add(passed)))
    }

    pub(super) fn has_expired(&self, now: Instant) -> bool {
        let wall = self.wall(now);
        wall.is_some_and(|wall| self.renewal.is_expired(wall))
    }

    /// Whether the certificate is too old to be renewed, by this machine's clock. The edge has the last
    /// word, and is asked now and then.
    pub(super) fn is_too_late(&self, now: Instant) -> bool {
        let wall = self.wall(now);
        wall.is_some_and(|wall| self.renewal.is_too_late(wall))
    }

    /// Whether the edge is to be reached as soon as it can be: there is a key, or an identity that
    /// nobody doubts.
    pub(super) fn is_eager(&self, now: Instant) -> bool {
        let is_good = self.standing == Standing::Good && !self.is_too_late(now);
        self.key.is_some() || is_good
    }

    /// Whether a key would be of use.
    pub(super) fn wants_key(&self, now: Instant) -> bool {
        self.standing != Standing::Good || self.is_too_late(now)
    }

    /// Whether the record stays as it is unless somebody types a key.
    fn spares_record(&self) -> bool {
        self.standing.spares_record()
    }
}
