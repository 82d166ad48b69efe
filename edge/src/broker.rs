//! Who is connected, and which session waits for which data channel.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connector_proto::message::{Attach, CloseCode, SessionRefusal};
use splice_core::channel::Channel;
use splice_core::plane::SessionKey;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::config::READY_MAX;
use crate::store::holder::Identity;

mod sessions;
mod tunnel;
mod turns;

use sessions::Sessions;
pub(crate) use tunnel::{Command, Queues, Tunnel};
pub(crate) use turns::Turns;

/// A connector's id.
pub(crate) type ConnectorId = [u8; 16];
/// A session's id.
pub(crate) type SessionId = [u8; 16];

/// What became of an offer.
#[derive(Debug)]
pub(crate) enum Outcome {
    Attached(Box<Channel>),
    Refused {
        reason: SessionRefusal,
        detail: String,
    },
    /// The connector went away before it answered.
    Lost,
}

/// Why no connector takes a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoTunnel {
    /// None is there that takes sessions.
    Absent,
    /// Those that are there carry as many as they can.
    Full {
        /// The name of one of them.
        connector: String,
        /// How many there are.
        connectors: usize,
        /// How many sessions they carry together.
        sessions: usize,
    },
}

impl fmt::Display for NoTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("no connector is connected"),
            Self::Full {
                connector,
                connectors: 1,
                sessions,
            } => write!(
                f,
                "connector {connector} carries {sessions} sessions, which is its limit"
            ),
            Self::Full {
                connectors,
                sessions,
                ..
            } => write!(
                f,
                "all {connectors} connectors carry {sessions} sessions, which is their limit"
            ),
        }
    }
}

/// The registry.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    /// A tunnel became ready or went away.
    changed: Notify,
    /// Locked before `sessions` where both are.
    tunnels: Mutex<Tunnels>,
    sessions: Mutex<Sessions>,
    pub(crate) turns: Arc<Turns>,
}

#[derive(Debug, Default)]
struct Tunnels {
    up: BTreeMap<ConnectorId, Arc<Tunnel>>,
    /// The same by group; within it in the order of the ids, so that taking turns is well defined.
    of_groups: BTreeMap<(i64, ConnectorId), Arc<Tunnel>>,
    next_epoch: u64,
    turn: usize,
}

impl Broker {
    /// The control channel of a connector, if it has one.
    pub(crate) fn incumbent(&self, id: &ConnectorId) -> Option<Arc<Tunnel>> {
        self.tunnels().up.get(id).cloned()
    }

    /// Takes a control channel in. An older one of the same connector is told that it was replaced.
    /// It is offered no session before [`Registration::set_ready`].
    pub(crate) fn register(
        self: &Arc<Self>,
        identity: Identity,
        spki: [u8; 32],
    ) -> (Registration, Queues) {
        let mut tunnels = self.tunnels();
        let id = identity.id;
        let (tunnel, queues) = Tunnel::new(identity, spki, tunnels.next_epoch);
        tunnels.next_epoch += 1;
        let tunnel = Arc::new(tunnel);
        let older = tunnels.replace(id, &tunnel);
        drop(tunnels);
        if let Some(older) = older {
            older.command(Command::Close(CloseCode::Replaced));
        }
        self.sessions().want_again(&id);
        tunnel.successions.notify_one();
        let broker = Arc::clone(self);
        (Registration { broker, tunnel }, queues)
    }

    /// A place for the session of this fresh and random id, at a connector of one of the groups, and
    /// which of them. A connector that has just come in is waited for: its user saw "connected" a moment
    /// before.
    pub(crate) async fn place_of(
        self: &Arc<Self>,
        groups: &[i64],
        id: SessionId,
    ) -> Result<(usize, Expected), NoTunnel> {
        let looking = async {
            loop {
                // Made before the look, so that no change in between is missed.
                let changed = self.changed.notified();
                let found = self.look(groups, id);
                if found.is_ok() || !groups.iter().any(|group| self.is_awaited(*group)) {
                    return found;
                }
                changed.await;
            }
        };
        let found = timeout(READY_MAX, looking).await;
        found.unwrap_or_else(|_| self.look(groups, id))
    }

    fn look(
        self: &Arc<Self>,
        groups: &[i64],
        id: SessionId,
    ) -> Result<(usize, Expected), NoTunnel> {
        let mut reason = NoTunnel::Absent;
        for (number, group) in groups.iter().enumerate() {
            match self.place(*group, id) {
                Ok(expected) => return Ok((number, expected)),
                Err(NoTunnel::Absent) => {}
                Err(full) => reason = full,
            }
        }
        Err(reason)
    }

    /// Whether a connector of the group is in and has not stored its ratchet value yet.
    fn is_awaited(&self, group_id: i64) -> bool {
        let tunnels = self.tunnels();
        let mut of_group = tunnels.of_group(group_id);
        of_group.any(|tunnel| !tunnel.ready.load(Ordering::Relaxed))
    }

    /// A place at a connector of the group that can carry one more session; they take turns. The work is
    /// bounded by the number of the group's connectors.
    pub(crate) fn place(
        self: &Arc<Self>,
        group_id: i64,
        id: SessionId,
    ) -> Result<Expected, NoTunnel> {
        let mut tunnels = self.tunnels();
        let mut sessions = self.sessions();
        let there = tunnels.of_group(group_id);
        let (able, full): (Vec<_>, Vec<_>) = there
            .filter(|tunnel| tunnel.takes_sessions())
            .partition(|tunnel| sessions.carried(&tunnel.identity.id) < tunnel.capacity());
        let Some(turn) = tunnels.turn.checked_rem(able.len()) else {
            return Err(full.first().map_or(NoTunnel::Absent, |one| NoTunnel::Full {
                connector: one.identity.name.clone(),
                connectors: full.len(),
                sessions: { full.iter() }
                    .map(|tunnel| sessions.carried(&tunnel.identity.id))
                    .sum(),
            }));
        };
        let tunnel = Arc::clone(able[turn]);
        tunnels.turn = tunnels.turn.wrapping_add(1);
        let (sender, outcome) = oneshot::channel();
        let (connector, cancel) = (tunnel.identity.id, Arc::new(Notify::new()));
        sessions.add(connector, id, sender, Arc::clone(&cancel));
        let slot = Slot {
            broker: Arc::clone(self),
            connector,
            id,
            cancel,
        };
        Ok(Expected {
            tunnel,
            slot,
            outcome,
        })
    }

    /// Answers whoever waits for this session, if it is the connector's own; at most once.
    pub(crate) fn refuse(
        &self,
        connector: &ConnectorId,
        id: &SessionId,
        reason: SessionRefusal,
        detail: String,
    ) {
        let waiting = self.sessions().claim(connector, id);
        // A refusal that comes after the time-out is nobody's any more.
        if let Some(waiting) = waiting {
            let _ = waiting.send(Outcome::Refused { reason, detail });
        }
    }

    /// Gives a session of the connector the data channel that asks for it; the channel again, if nobody waits
    /// for it. A successor goes to the data plane by `succeed`, while no other one can: their order is that
    /// of their numbers.
    pub(crate) fn attach(
        &self,
        connector: &ConnectorId,
        attach: &Attach,
        channel: Channel,
        succeed: impl FnMut(SessionKey, Channel),
    ) -> Option<Channel> {
        if attach.channel > 0 {
            let mut sessions = self.sessions();
            return sessions.succeed(connector, attach, channel, succeed);
        }
        let Some(waiting) = self.sessions().claim(connector, &attach.session) else {
            return Some(channel);
        };
        match waiting.send(Outcome::Attached(Box::new(channel))) {
            // The user has gone meanwhile.
            Err(Outcome::Attached(channel)) => Some(*channel),
            Ok(()) | Err(Outcome::Refused { .. } | Outcome::Lost) => None,
        }
    }

    /// How many sessions of a connector wait for their first data channel.
    pub(crate) fn opening(&self, connector: &ConnectorId) -> usize {
        self.sessions().opening(connector)
    }

    /// The next session of a connector that wants a successor, and the number of that channel.
    pub(crate) fn next_wanting(&self, connector: &ConnectorId) -> Option<(SessionId, u32)> {
        self.sessions().next_wanting(connector)
    }

    /// All control channels.
    pub(crate) fn tunnels_up(&self) -> Vec<Arc<Tunnel>> {
        self.tunnels().up.values().cloned().collect()
    }

    /// The ids of all connectors that carry a session, or are to.
    pub(crate) fn carrying(&self) -> Vec<ConnectorId> {
        self.sessions().connectors()
    }

    /// Ends a connector's sessions.
    pub(crate) fn end_sessions(&self, connector: &ConnectorId) {
        self.sessions().cancel(connector);
    }

    /// Tells every connector that the edge goes away and ends every session.
    pub(crate) fn stop(&self) {
        for tunnel in self.tunnels().up.values() {
            tunnel.command(Command::Close(CloseCode::GoingAway));
        }
        self.sessions().cancel_all();
    }

    fn tunnels(&self) -> MutexGuard<'_, Tunnels> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tunnels {
    fn of_group(&self, group_id: i64) -> impl Iterator<Item = &Arc<Tunnel>> {
        let ids = (group_id, [0; 16])..=(group_id, [0xff; 16]);
        self.of_groups.range(ids).map(|(_, tunnel)| tunnel)
    }

    /// The older one of the same connector.
    fn replace(&mut self, id: ConnectorId, tunnel: &Arc<Tunnel>) -> Option<Arc<Tunnel>> {
        let older = self.remove(&id);
        self.up.insert(id, Arc::clone(tunnel));
        let place = (tunnel.identity.group_id, id);
        self.of_groups.insert(place, Arc::clone(tunnel));
        older
    }

    fn remove(&mut self, id: &ConnectorId) -> Option<Arc<Tunnel>> {
        let older = self.up.remove(id)?;
        self.of_groups.remove(&(older.identity.group_id, *id));
        Some(older)
    }
}

/// A control channel's place in the registry; given up when dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    broker: Arc<Broker>,
    pub(crate) tunnel: Arc<Tunnel>,
}

impl Registration {
    /// Sessions may be offered from here on.
    pub(crate) fn set_ready(&self) {
        self.tunnel.ready.store(true, Ordering::Relaxed);
        self.broker.changed.notify_waiters();
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let id = &self.tunnel.identity.id;
        let mut tunnels = self.broker.tunnels();
        let is_current = |current: &Arc<Tunnel>| current.epoch == self.tunnel.epoch;
        if tunnels.up.get(id).is_some_and(is_current) {
            tunnels.remove(id);
            drop(tunnels);
            self.broker.sessions().lose(id);
            self.broker.changed.notify_waiters();
        }
    }
}

/// A session that is to be offered: it has its place already.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) tunnel: Arc<Tunnel>,
    /// Keep it as long as the session lives.
    pub(crate) slot: Slot,
    pub(crate) outcome: oneshot::Receiver<Outcome>,
}

/// A session's place in the registry; given up when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    broker: Arc<Broker>,
    connector: ConnectorId,
    id: SessionId,
    /// Notified when the session is to end.
    pub(crate) cancel: Arc<Notify>,
}

impl Slot {
    /// Notes that the session is on the data plane. Successors that came before go there by `succeed`.
    pub(crate) fn set_carried(&self, key: SessionKey, succeed: impl FnMut(SessionKey, Channel)) {
        let mut sessions = self.broker.sessions();
        sessions.set_carried(&self.connector, &self.id, key, succeed);
    }

    /// Has the connector asked for the session's channel of this number: now, or as soon as it is there.
    /// Does not block.
    pub(crate) fn asker(&self) -> impl Fn(u32) + Send + use<> {
        let (broker, connector, id) = (Arc::clone(&self.broker), self.connector, self.id);
        move |channel| {
            broker.sessions().want(&connector, &id, channel);
            if let Some(tunnel) = broker.incumbent(&connector) {
                tunnel.successions.notify_one();
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut sessions = self.broker.sessions();
        sessions.remove(&self.connector, &self.id);
    }
}

#[cfg(test)]
mod tests;
