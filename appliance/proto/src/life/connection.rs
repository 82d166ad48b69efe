//! What becomes of the connection that is open.

use alloc::borrow::ToOwned as _;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::journal::Intent;
use super::link::Pace;
use super::standing::{Standing, revoked, superseded, too_late};
use super::{Action, Event, Failure, Life};
use crate::enrol::Enrolment;
use crate::error::Error;
use crate::local::{KeyRefused, NoIdentity};
use crate::message::{CloseCode, EnrolRefusal, RenewRefusal, Trust, Verdict};
use crate::record::State;
use crate::time::Instant;

/// The connection that is open.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) kind: Kind,
    /// Which it is of all that were opened.
    pub(super) number: u64,
    /// The edge took the connector in.
    pub(super) is_welcomed: bool,
    /// Since when full-size packets pass.
    pub(super) proven_at: Option<Instant>,
    /// A ratchet value of this connection is on the disk.
    pub(super) has_stored_ratchet: bool,
    /// What the edge takes the machine for, if not for the same as before.
    recognised: Option<Verdict>,
}

/// What it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Enrol,
    Renew,
    Control { next: bool },
}

impl Kind {
    /// The private key that a certificate is requested for.
    pub(super) fn requested_key(self, state: &State) -> Option<&[u8]> {
        match self {
            Self::Enrol if state.identity.is_none() => Some(&state.private_key),
            Self::Enrol | Self::Renew => {
                state.next.as_ref().map(|next| next.private_key.as_slice())
            }
            Self::Control { .. } => None,
        }
    }
}

impl Connection {
    pub(super) const fn new(kind: Kind, number: u64) -> Self {
        Self {
            kind,
            number,
            is_welcomed: false,
            proven_at: None,
            has_stored_ratchet: false,
            recognised: None,
        }
    }
}

impl Life {
    /// Takes an event; the connection goes back to its place unless it is over.
    pub(super) fn take_event(&mut self, now: Instant, connection: Connection, event: Event) {
        if event.is_last() {
            self.link.disconnected(now, connection.proven_at);
            self.journal.connection_ended();
            self.take_end(now, &connection, event);
        } else {
            let connection = self.connection.insert(connection);
            if matches!(connection.kind, Kind::Control { .. }) {
                self.take_control(now, event);
            }
        }
    }

    fn take_control(&mut self, now: Instant, event: Event) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let number = connection.number;
        match event {
            Event::Recognised { verdict, .. } => connection.recognised = Some(verdict),
            Event::Welcomed {
                name,
                group,
                spread,
                cap,
            } => {
                self.link.set_limits(spread, cap);
                self.take_welcome(&name, &group);
            }
            Event::PathProven => {
                connection.proven_at = Some(now);
                self.link.connected();
            }
            Event::Ratchet { step, value } => self.journal.want(Intent::Ratchet {
                step,
                value,
                connection: number,
            }),
            Event::Trust { ca, other_ca } => self.take_trust(number, ca, other_ca),
            // The others are the last ones of a connection.
            _ => {}
        }
    }

    fn take_welcome(&mut self, name: &str, group: &str) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        connection.is_welcomed = true;
        self.recognised = connection
            .recognised
            .filter(|verdict| *verdict != Verdict::SameMachine);
        self.standing = Standing::Good;
        self.refused = None;
        if connection.kind == (Kind::Control { next: true }) {
            self.journal.want(Intent::Promote);
        } else if self.renewal.gives_up_next() {
            self.journal.want(Intent::ForgetNext);
        }
        if let Some(identity) = &mut self.state.identity
            && (identity.name != name || identity.group != group)
        {
            name.clone_into(&mut identity.name);
            group.clone_into(&mut identity.group);
            self.journal.amended();
        }
    }

    /// What is in force already is not written again.
    fn take_trust(&mut self, connection: u64, ca: Vec<u8>, other_ca: Vec<u8>) {
        let trust = Trust {
            ca: &ca,
            other_ca: &other_ca,
        };
        let digest = trust.digest();
        let identity = self.state.identity.as_ref();
        let is_next = self
            .journal
            .holds(|intent| matches!(intent, Intent::Trust { .. }));
        // What is in force may not be what a write that failed left on the disk.
        let is_stored = !is_next && !self.journal.is_doubtful();
        if is_stored && identity.is_some_and(|own| own.ca == ca && own.other_ca == other_ca) {
            self.actions.push_back(Action::TrustStored { digest });
            return;
        }
        self.journal.want(Intent::Trust {
            ca,
            other_ca,
            digest,
            connection,
        });
    }

    fn take_end(&mut self, now: Instant, connection: &Connection, event: Event) {
        match (connection.kind, event) {
            (Kind::Enrol, Event::Enrolled(enrolment)) => self.take_enrolment(enrolment),
            (Kind::Enrol, Event::EnrolRefused { reason }) => self.take_refusal(now, reason),
            (Kind::Enrol, Event::EdgeNotProven) => self.refuse_key(now, KeyRefused::EdgeNotProven),
            (Kind::Enrol, Event::NotTheProtocol) => self.refuse_key(now, KeyRefused::Protocol),
            (Kind::Renew, Event::Renewed { certificate }) => {
                self.journal.want(Intent::Renewed { certificate });
            }
            (Kind::Renew, Event::RenewRefused { reason }) => self.take_renew_refusal(now, reason),
            (_, Event::Closed { code }) => self.take_close(now, connection, code),
            (kind, Event::Failed { why, text }) => self.take_failure(now, kind, why, text),
            (kind, _) => self.lose(now, kind, "the edge answered another question".into()),
        }
    }

    fn take_enrolment(&mut self, enrolment: Enrolment) {
        let Enrolment { identity, time } = enrolment;
        let edge = self.edge().unwrap_or_default().into();
        self.journal.want(Intent::Enrolled {
            identity,
            edge,
            time,
        });
    }

    fn take_refusal(&mut self, now: Instant, reason: EnrolRefusal) {
        match reason {
            EnrolRefusal::TryLater => {
                self.retry(now, "the edge cannot decide now".into(), Pace::Backoff);
            }
            // The key pair may be one that the edge knows from elsewhere: once with another.
            EnrolRefusal::RequestInvalid if !self.is_pair_new => {
                self.wants_new_pair = true;
                self.retry(
                    now,
                    "the edge does not take the request".into(),
                    Pace::Backoff,
                );
            }
            EnrolRefusal::RequestInvalid
            | EnrolRefusal::KeyUnknown
            | EnrolRefusal::KeySpent { .. }
            | EnrolRefusal::KeyExpired { .. }
            | EnrolRefusal::KeyRevoked => self.refuse_key(now, KeyRefused::ByEdge(reason)),
        }
    }

    /// The key did not do: it is forgotten. An identity that is in doubt is asked about at its own pace.
    fn refuse_key(&mut self, now: Instant, refused: KeyRefused) {
        self.key = None;
        self.refused = Some(refused);
        self.link.try_at_once(now);
        if !self.is_eager(now) {
            self.link.retry(now, String::new(), Pace::Held);
        }
    }

    fn take_renew_refusal(&mut self, now: Instant, reason: RenewRefusal) {
        let text = "the edge does not renew the certificate";
        match reason {
            RenewRefusal::Revoked => self.shut(revoked(&self.state)),
            RenewRefusal::TooLate { .. } => self.shut(too_late(&self.state)),
            RenewRefusal::Superseded if self.renewal.superseded() => {
                self.retry(now, text.into(), Pace::Backoff);
            }
            // An administrator may confirm the machine all the same.
            RenewRefusal::Superseded => self.doubt(now, superseded(&self.state), text.into()),
            RenewRefusal::Held(verdict) => self.hold(now, verdict),
            RenewRefusal::Disabled => {
                self.renewal.failed(now);
                self.retry(now, CloseCode::Disabled.to_string(), Pace::Cap);
            }
            RenewRefusal::RequestInvalid => {
                self.wants_new_pair = true;
                self.renewal.failed(now);
                self.retry(now, text.into(), Pace::Backoff);
            }
            RenewRefusal::TryLater => {
                self.renewal.failed(now);
                self.retry(now, "the edge cannot decide now".into(), Pace::Backoff);
            }
        }
    }

    fn take_close(&mut self, now: Instant, connection: &Connection, code: CloseCode) {
        let text = Error::PeerClosed { code }.to_string();
        match (connection.kind, code) {
            // The network's and the edge's own troubles say nothing about the key.
            (
                Kind::Enrol,
                CloseCode::GoingAway | CloseCode::TimedOut | CloseCode::InternalError,
            ) => self.retry(now, text, Pace::Backoff),
            (Kind::Enrol, _) => self.refuse_key(now, KeyRefused::Protocol),
            (Kind::Control { .. } | Kind::Renew, CloseCode::Held) => {
                self.hold(now, connection.recognised.unwrap_or(Verdict::Copy));
            }
            (Kind::Control { .. } | Kind::Renew, CloseCode::Revoked) => {
                self.shut(revoked(&self.state));
            }
            (Kind::Control { .. } | Kind::Renew, CloseCode::Disabled) => {
                self.retry(now, text, Pace::Cap);
            }
            (kind, CloseCode::NotAuthorised) => self.take_certificate_refusal(now, kind, text),
            (kind, _) => self.lose(now, kind, text),
        }
    }

    fn take_failure(&mut self, now: Instant, kind: Kind, why: Failure, text: String) {
        match (kind, why) {
            (Kind::Enrol, Failure::Unusable) => {
                self.wants_new_pair = true;
                self.retry(now, text, Pace::Backoff);
            }
            (Kind::Control { next: true }, Failure::Unusable) => {
                self.renewal.certificate_refused(now, true);
                self.journal.want(Intent::ForgetNext);
                self.retry(now, text, Pace::Backoff);
            }
            (Kind::Control { next: false } | Kind::Renew, Failure::Unusable) => {
                self.shut(NoIdentity::Unusable);
            }
            (Kind::Control { .. } | Kind::Renew, Failure::CertificateRefused) => {
                self.take_certificate_refusal(now, kind, text);
            }
            // The edge's certificate authority may be another one by now.
            (Kind::Renew, Failure::EdgeNotVerified) if self.has_expired(now) => {
                self.doubt(now, too_late(&self.state), text);
            }
            (kind, _) => self.lose(now, kind, text),
        }
    }

    /// The edge does not take the certificate. Another one may do; a renewal says why, if none does.
    fn take_certificate_refusal(&mut self, now: Instant, kind: Kind, text: String) {
        match kind {
            Kind::Control { next } => {
                self.renewal.certificate_refused(now, next);
                self.retry(now, text, Pace::Backoff);
            }
            Kind::Renew => self.doubt(now, too_late(&self.state), text),
            Kind::Enrol => self.lose(now, kind, text),
        }
    }

    /// The connection broke off, for no reason that matters to the identity.
    fn lose(&mut self, now: Instant, kind: Kind, text: String) {
        if kind == Kind::Renew {
            self.renewal.failed(now);
        }
        self.retry(now, text, Pace::Backoff);
    }

    pub(super) fn retry(&mut self, now: Instant, text: String, pace: Pace) {
        let pace = if self.is_eager(now) { pace } else { Pace::Held };
        self.link.retry(now, text, pace);
    }

    fn hold(&mut self, now: Instant, verdict: Verdict) {
        self.standing = Standing::Held(verdict);
        self.retry(now, CloseCode::Held.to_string(), Pace::Held);
    }

    /// There is nothing that could be asked any more: a key is needed.
    fn shut(&mut self, why: NoIdentity) {
        self.standing = Standing::shut(why);
        self.link.last_error.clear();
    }

    /// A key is needed by all that can be told; the edge is asked again all the same.
    fn doubt(&mut self, now: Instant, why: NoIdentity, text: String) {
        self.renewal.failed(now);
        self.standing = Standing::Shut {
            why,
            asks_again: true,
        };
        self.retry(now, text, Pace::Held);
    }

    /// Ends the connection if there is one.
    pub(super) fn drop_connection(&mut self, code: Option<CloseCode>) {
        if self.connection.take().is_some() {
            self.actions.push_back(Action::Close(code));
            self.journal.connection_ended();
        }
    }
}
