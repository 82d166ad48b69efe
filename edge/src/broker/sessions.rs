//! Which session waits for which data channel, and which is carried.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use connector_proto::message::Attach;
use splice_core::channel::Channel;
use splice_core::plane::SessionKey;
use tokio::sync::{Notify, oneshot};

use super::{ConnectorId, Outcome, SessionId};

/// The sessions of all connectors. A session is looked for among those of one connector alone: another
/// one's is none.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// No connector is here without a session.
    of: HashMap<ConnectorId, Load>,
}

/// What one connector carries, or is to.
#[derive(Debug, Default)]
struct Load {
    sessions: HashMap<SessionId, Session>,
    /// How many of them wait for their first data channel.
    opening: usize,
    /// Those that want a successor and for which the connector has not been asked.
    wanting: VecDeque<SessionId>,
}

#[derive(Debug)]
struct Session {
    stage: Stage,
    /// Whether it wants a successor.
    is_wanting: bool,
    cancel: Arc<Notify>,
}

#[derive(Debug)]
enum Stage {
    /// It awaits its first data channel or a refusal.
    Offered(oneshot::Sender<Outcome>),
    /// It has its answer, and is not on the data plane yet. A successor may be there already: the
    /// connector's end may near its limit before the user has heard of the session.
    Answered(Option<Channel>),
    /// It is on the data plane.
    Carried {
        key: SessionKey,
        /// The number of its next channel.
        next: u32,
    },
}

impl Sessions {
    /// How many sessions a connector carries, or is to.
    pub(super) fn carried(&self, connector: &ConnectorId) -> usize {
        self.of.get(connector).map_or(0, |load| load.sessions.len())
    }

    /// How many of them wait for their first data channel.
    pub(super) fn opening(&self, connector: &ConnectorId) -> usize {
        self.of.get(connector).map_or(0, |load| load.opening)
    }

    /// The connectors that carry a session, or are to.
    pub(super) fn connectors(&self) -> Vec<ConnectorId> {
        self.of.keys().copied().collect()
    }

    /// Takes a session in.
    pub(super) fn add(
        &mut self,
        connector: ConnectorId,
        id: SessionId,
        waiting: oneshot::Sender<Outcome>,
        cancel: Arc<Notify>,
    ) {
        let load = self.of.entry(connector).or_default();
        let stage = Stage::Offered(waiting);
        let session = Session {
            stage,
            is_wanting: false,
            cancel,
        };
        load.opening += 1;
        load.sessions.insert(id, session);
    }

    /// Forgets a session.
    pub(super) fn remove(&mut self, connector: &ConnectorId, id: &SessionId) {
        let Some(load) = self.of.get_mut(connector) else {
            return;
        };
        let removed = load.sessions.remove(id);
        load.opening -= usize::from(removed.is_some_and(|session| session.is_opening()));
        if load.sessions.is_empty() {
            self.of.remove(connector);
        }
    }

    /// Who waits for this session; at most once.
    pub(super) fn claim(
        &mut self,
        connector: &ConnectorId,
        id: &SessionId,
    ) -> Option<oneshot::Sender<Outcome>> {
        let load = self.of.get_mut(connector)?;
        let waiting = load.sessions.get_mut(id)?.claim()?;
        load.opening -= 1;
        Some(waiting)
    }

    /// Gives a session the channel with which it goes on: by `succeed`, if it is on the data plane. The
    /// channel again, if it is not the next one.
    pub(super) fn succeed(
        &mut self,
        connector: &ConnectorId,
        attach: &Attach,
        channel: Channel,
        succeed: impl FnOnce(SessionKey, Channel),
    ) -> Option<Channel> {
        let load = self.of.get_mut(connector);
        let Some(session) = load.and_then(|load| load.sessions.get_mut(&attach.session)) else {
            return Some(channel);
        };
        match &mut session.stage {
            Stage::Answered(early @ None) if attach.channel == 1 => {
                *early = Some(channel);
                session.is_wanting = false;
                None
            }
            Stage::Carried { key, next } if attach.channel == *next => {
                let Some(following) = next.checked_add(1) else {
                    return Some(channel);
                };
                *next = following;
                session.is_wanting = false;
                succeed(*key, channel);
                None
            }
            Stage::Answered(_) | Stage::Carried { .. } | Stage::Offered(_) => Some(channel),
        }
    }

    /// Notes that a session is on the data plane. The successor that came before, if one did, goes there by
    /// `succeed`.
    pub(super) fn set_carried(
        &mut self,
        connector: &ConnectorId,
        id: &SessionId,
        key: SessionKey,
        succeed: impl FnOnce(SessionKey, Channel),
    ) {
        let load = self.of.get_mut(connector);
        let Some(session) = load.and_then(|load| load.sessions.get_mut(id)) else {
            return;
        };
        let carried = |next| Stage::Carried { key, next };
        match std::mem::replace(&mut session.stage, carried(1)) {
            Stage::Answered(Some(early)) => {
                session.stage = carried(2);
                succeed(key, early);
            }
            Stage::Answered(None) | Stage::Carried { .. } | Stage::Offered(_) => {}
        }
    }

    /// Notes that the connector is to attach another channel to a session.
    pub(super) fn want_successor(&mut self, connector: &ConnectorId, id: &SessionId) {
        let Some(load) = self.of.get_mut(connector) else {
            return;
        };
        if let Some(session) = load.sessions.get_mut(id) {
            session.is_wanting = true;
            load.wanting.push_back(*id);
        }
    }

    /// The next session for which the connector is to be asked.
    pub(super) fn next_wanting(&mut self, connector: &ConnectorId) -> Option<SessionId> {
        let Load {
            sessions, wanting, ..
        } = self.of.get_mut(connector)?;
        // Some have ended meanwhile, or have been served.
        let is_wanting = |id: &SessionId| sessions.get(id).is_some_and(|one| one.is_wanting);
        std::iter::from_fn(|| wanting.pop_front()).find(is_wanting)
    }

    /// The connector is to be asked again for all that it was asked for and has not done: its control
    /// channel is a new one.
    pub(super) fn want_again(&mut self, connector: &ConnectorId) {
        if let Some(load) = self.of.get_mut(connector) {
            let wanting = load.sessions.iter().filter(|(_, one)| one.is_wanting);
            load.wanting = wanting.map(|(id, _)| *id).collect();
        }
    }

    /// Answers everyone who waits for this connector.
    pub(super) fn lose(&mut self, connector: &ConnectorId) {
        let Some(load) = self.of.get_mut(connector) else {
            return;
        };
        for waiting in load.sessions.values_mut().filter_map(Session::claim) {
            // Whoever waited may have gone; then there is nobody to tell.
            let _ = waiting.send(Outcome::Lost);
        }
        load.opening = 0;
    }

    /// Ends a connector's sessions.
    pub(super) fn cancel(&self, connector: &ConnectorId) {
        if let Some(load) = self.of.get(connector) {
            load.cancel();
        }
    }

    /// Ends all sessions.
    pub(super) fn cancel_all(&self) {
        self.of.values().for_each(Load::cancel);
    }
}

impl Load {
    fn cancel(&self) {
        let sessions = self.sessions.values();
        sessions.for_each(|session| session.cancel.notify_one());
    }
}

impl Session {
    const fn is_opening(&self) -> bool {
        matches!(self.stage, Stage::Offered(_))
    }

    fn claim(&mut self) -> Option<oneshot::Sender<Outcome>> {
        if !self.is_opening() {
            return None;
        }
        match std::mem::replace(&mut self.stage, Stage::Answered(None)) {
            Stage::Offered(waiting) => Some(waiting),
            Stage::Answered(_) | Stage::Carried { .. } => None,
        }
    }
}
