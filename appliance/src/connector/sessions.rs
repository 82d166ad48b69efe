//! The sessions that the connector carries.

use std::collections::BTreeMap;
use std::fmt::Display;

use connector_proto::limits::SESSIONS_MAX;
use connector_proto::message::SessionRefusal;
use connector_proto::time::Instant;

use crate::interest::Watch;
use crate::pump::Carried;
use crate::session::{Context, Session, Step, Target};

/// All sessions under way, and the sums of those that were.
#[derive(Debug)]
pub(super) struct Sessions {
    open: BTreeMap<u64, Session>,
    next_token: u64,
    ended: Carried,
    /// Sessions that began since the process started.
    begun: u64,
}

/// What the edge is told of a session that does not come about.
#[derive(Debug)]
pub(super) struct Refused {
    pub session: [u8; 16],
    pub reason: SessionRefusal,
    pub detail: String,
}

impl Sessions {
    /// None yet; their tokens are `first_token` and above.
    pub(super) const fn new(first_token: u64) -> Self {
        Self {
            open: BTreeMap::new(),
            next_token: first_token,
            ended: Carried { up: 0, down: 0 },
            begun: 0,
        }
    }

    /// Sessions under way.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.open.len()).unwrap_or(u32::MAX)
    }

    pub(super) const fn begun(&self) -> u64 {
        self.begun
    }

    /// Bytes of all sessions, ended or not.
    pub(super) fn carried(&self) -> Carried {
        let mut carried = self.ended;
        for session in self.open.values() {
            carried.up += session.carried().up;
            carried.down += session.carried().down;
        }
        carried
    }

    /// Starts a session that a grant allows.
    pub(super) fn start(
        &mut self,
        now: Instant,
        target: Target,
        context: Context,
    ) -> Option<Refused> {
        if self.open.len() >= SESSIONS_MAX {
            let detail = format!("it carries {SESSIONS_MAX}, which is the limit");
            let reason = SessionRefusal::TooManySessions;
            return Some(refused(&target, reason, detail));
        }
        let token = self.next_token;
        self.next_token += 1;
        let step = Session::start(now, target, context);
        self.begun += u64::from(matches!(step, Step::Open(_)));
        self.take_step(token, step)
    }

    /// Goes on with those whose tokens are `ready` or whose time has come.
    pub(super) fn turn(&mut self, now: Instant, ready: &[u64]) -> Vec<Refused> {
        let is_due = |session: &Session| session.deadline().is_some_and(|due| due <= now);
        let due: Vec<u64> = self
            .open
            .iter()
            .filter(|(token, session)| ready.contains(token) || is_due(session))
            .map(|(token, _)| *token)
            .collect();
        let mut refused = Vec::new();
        for token in due {
            if let Some(session) = self.open.remove(&token) {
                refused.extend(self.take_step(token, session.turn(now)));
            }
        }
        refused
    }

    /// Adds what they wait for.
    pub(super) fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        for (token, session) in &self.open {
            session.watch(watch, *token);
        }
    }

    /// Ends all of them without another byte on a data channel.
    pub(super) fn abandon(&mut self) {
        for (_, session) in std::mem::take(&mut self.open) {
            let carried = session.carried();
            self.ended.up += carried.up;
            self.ended.down += carried.down;
            log_ended(
                session.target(),
                carried,
                Some(&"it was dropped with everything"),
            );
            session.abandon();
        }
    }

    fn take_step(&mut self, token: u64, step: Step) -> Option<Refused> {
        match step {
            Step::Open(session) => {
                self.open.insert(token, session);
            }
            Step::Refused {
                target,
                reason,
                detail,
            } => return Some(refused(&target, reason, detail)),
            Step::Ended {
                target,
                carried,
                broken,
            } => {
                self.ended.up += carried.up;
                self.ended.down += carried.down;
                let broken = broken.as_ref().map(|broken| broken as &dyn Display);
                log_ended(&target, carried, broken);
            }
        }
        None
    }
}

/// Notes that a session does not come about, for the log and for the edge.
fn refused(target: &Target, reason: SessionRefusal, detail: String) -> Refused {
    log::warn!("{target} is refused: {reason}: {detail}");
    Refused {
        session: target.session,
        reason,
        detail,
    }
}

fn log_ended(target: &Target, carried: Carried, broken: Option<&dyn Display>) {
    let Carried { up, down } = carried;
    match broken {
        None => log::info!("{target} ended: {up} bytes up, {down} down"),
        Some(broken) => log::info!("{target} broke: {broken}; {up} bytes up, {down} down"),
    }
}
