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
    /// The number of the channel that the data plane is to have next.
    next: u32,
    /// Channels that came before their turn, each with its number: those that were attached one behind the
    /// other may be heard of in another order, and before the session is on the data plane.
    early: Vec<(u32, Channel)>,
    /// The number of the channel that it wants and does not have.
    wanted: Option<u32>,
    cancel: Arc<Notify>,
}

/// Channels of one session that wait for their turn: fewer than a session of the data plane may have
/// ([`splice_core::session::LINKS_MAX`]).
const EARLY_MAX: u32 = 6;

#[derive(Debug)]
enum Stage {
    /// It awaits its first data channel or a refusal.
    Offered(oneshot::Sender<Outcome>),
    /// It has its answer, and is not on the data plane yet.
    Answered,
    /// It is on the data plane.
    Carried(SessionKey),
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
            next: 1,
            early: Vec::new(),
            wanted: None,
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

    /// Gives a session a channel with which it goes on: by `succeed` when its turn has come and the session
    /// is on the data plane. The channel again, if there is no place for it.
    pub(super) fn succeed(
        &mut self,
        connector: &ConnectorId,
        attach: &Attach,
        channel: Channel,
        succeed: impl FnMut(SessionKey, Channel),
    ) -> Option<Channel> {
        match self.session(connector, &attach.session) {
            Some(session) if session.has_place(attach.channel) => {
                session.early.push((attach.channel, channel));
                session.wanted = session.wanted.filter(|wanted| *wanted != attach.channel);
                session.hand_over(succeed);
                None
            }
            Some(_) | None => Some(channel),
        }
    }

    /// Notes that a session is on the data plane. The successors that came before go there by `succeed`.
    pub(super) fn set_carried(
        &mut self,
        connector: &ConnectorId,
        id: &SessionId,
        key: SessionKey,
        succeed: impl FnMut(SessionKey, Channel),
    ) {
        if let Some(session) = self.session(connector, id) {
            session.stage = Stage::Carried(key);
            session.hand_over(succeed);
        }
    }

    fn session(&mut self, connector: &ConnectorId, id: &SessionId) -> Option<&mut Session> {
        self.of.get_mut(connector)?.sessions.get_mut(id)
    }

    /// Notes that the connector is to attach the channel of this number to a session, unless it has.
    pub(super) fn want(&mut self, connector: &ConnectorId, id: &SessionId, number: u32) {
        let Some(load) = self.of.get_mut(connector) else {
            return;
        };
        if let Some(session) = load.sessions.get_mut(id)
            && session.has_place(number)
        {
            session.wanted = Some(number);
            load.wanting.push_back(*id);
        }
    }

    /// The next session for which the connector is to be asked, and for which channel.
    pub(super) fn next_wanting(&mut self, connector: &ConnectorId) -> Option<(SessionId, u32)> {
        let Load {
            sessions, wanting, ..
        } = self.of.get_mut(connector)?;
        // Some have ended meanwhile, or have been served.
        std::iter::from_fn(|| wanting.pop_front())
            .find_map(|id| Some((id, sessions.get(&id)?.wanted?)))
    }

    /// The connector is to be asked again for all that it was asked for and has not done: its control
    /// channel is a new one.
    pub(super) fn want_again(&mut self, connector: &ConnectorId) {
        if let Some(load) = self.of.get_mut(connector) {
            let wanting = load.sessions.iter().filter(|(_, one)| one.wanted.is_some());
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
        match std::mem::replace(&mut self.stage, Stage::Answered) {
            Stage::Offered(waiting) => Some(waiting),
            Stage::Answered | Stage::Carried(_) => None,
        }
    }

    /// Whether a channel of this number can be taken now, or kept for its turn.
    fn has_place(&self, number: u32) -> bool {
        let is_known = self.early.iter().any(|(early, _)| *early == number);
        let ahead = number.checked_sub(self.next);
        !self.is_opening() && !is_known && ahead.is_some_and(|ahead| ahead < EARLY_MAX)
    }

    /// Gives the data plane the channels whose turn has come.
    fn hand_over(&mut self, mut succeed: impl FnMut(SessionKey, Channel)) {
        let Stage::Carried(key) = self.stage else {
            return;
        };
        while let Some(at) = self.early.iter().position(|(early, _)| *early == self.next) {
            let (number, channel) = self.early.swap_remove(at);
            self.next = number.saturating_add(1);
            succeed(key, channel);
        }
    }
}
