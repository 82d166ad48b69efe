//! Who is connected, and which session waits for which data channel.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connector_proto::limits::SESSIONS_MAX;
use connector_proto::message::{CloseCode, SessionRefusal};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

use crate::config::{COMMANDS_MAX, READY_MAX};
use crate::store::holder::Identity;
use crate::tls::Tls;

mod turns;

pub(crate) use turns::Turns;

/// A connector's id.
pub(crate) type ConnectorId = [u8; 16];
/// A session's id.
pub(crate) type SessionId = [u8; 16];

/// What a control channel's task is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Ask the connector whether it is there. Answered when it answers, dropped when it does not.
    AskAlive(oneshot::Sender<()>),
    /// Say farewell and end.
    Close(CloseCode),
    /// Hand out another ratchet value: a copy of the connector has shown up.
    NewRatchet,
    /// Offer a session.
    Open {
        /// The signed grant.
        grant: Vec<u8>,
    },
    /// Tell the connector the roots, which have changed.
    Trust,
}

/// One control channel that is up.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) identity: Identity,
    /// SHA-256 of the subject public key info of its certificate.
    pub(crate) spki: [u8; 32],
    epoch: u64,
    /// Whether the connector has stored a ratchet value of this channel.
    ready: AtomicBool,
    suspect: AtomicBool,
    commands: mpsc::Sender<Command>,
}

impl Tunnel {
    /// Hands a command over; false if the channel is gone or too many commands wait.
    pub(crate) fn command(&self, command: Command) -> bool {
        self.commands.try_send(command).is_ok()
    }

    /// Whether new sessions should go elsewhere.
    pub(crate) fn set_suspect(&self, suspect: bool) {
        self.suspect.store(suspect, Ordering::Relaxed);
    }
}

/// A data channel that was handed over to its session.
pub(crate) struct Carrier {
    pub(crate) tls: Tls,
    /// Bytes of the session that came with the connector's last frame.
    pub(crate) early: Vec<u8>,
}

impl fmt::Debug for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Carrier({} early bytes)", self.early.len())
    }
}

/// What became of an offer.
#[derive(Debug)]
pub(crate) enum Outcome {
    Attached(Box<Carrier>),
    Refused {
        reason: SessionRefusal,
        detail: String,
    },
    /// The connector went away before it answered.
    Lost,
}

/// The registry.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    /// A tunnel became ready or went away.
    changed: Notify,
    tunnels: Mutex<Tunnels>,
    sessions: Mutex<HashMap<SessionId, Session>>,
    pub(crate) turns: Arc<Turns>,
}

#[derive(Debug, Default)]
struct Tunnels {
    /// In the order of the ids, so that taking turns is well defined.
    up: BTreeMap<ConnectorId, Arc<Tunnel>>,
    next_epoch: u64,
    turn: usize,
}

#[derive(Debug)]
struct Session {
    connector: ConnectorId,
    /// Taken by the first data channel or refusal.
    waiting: Option<oneshot::Sender<Outcome>>,
    cancel: Arc<Notify>,
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
    ) -> (Registration, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let mut tunnels = self.tunnels();
        let epoch = tunnels.next_epoch;
        tunnels.next_epoch += 1;
        let id = identity.id;
        let tunnel = Arc::new(Tunnel {
            identity,
            spki,
            epoch,
            ready: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
            commands,
        });
        let older = tunnels.up.insert(id, Arc::clone(&tunnel));
        drop(tunnels);
        if let Some(older) = older {
            older.command(Command::Close(CloseCode::Replaced));
        }
        (
            Registration {
                broker: Arc::clone(self),
                tunnel,
            },
            receiver,
        )
    }

    /// A connector of one of the groups that can carry one more session, and which of them. One that
    /// has just come in is waited for: its user saw "connected" a moment before.
    pub(crate) async fn pick_of(&self, groups: &[i64]) -> Option<(usize, Arc<Tunnel>)> {
        let picking = async {
            loop {
                // Made before the look, so that no change in between is missed.
                let changed = self.changed.notified();
                let mut places = groups.iter().enumerate();
                if let Some(picked) =
                    places.find_map(|(place, group)| Some((place, self.pick(*group)?)))
                {
                    return Some(picked);
                }
                if !groups.iter().any(|group| self.is_awaited(*group)) {
                    return None;
                }
                changed.await;
            }
        };
        timeout(READY_MAX, picking).await.ok().flatten()
    }

    /// Whether a connector of the group is in and has not stored its ratchet value yet.
    fn is_awaited(&self, group_id: i64) -> bool {
        let tunnels = self.tunnels();
        let mut of_group = tunnels
            .up
            .values()
            .filter(|tunnel| tunnel.identity.group_id == group_id);
        of_group.any(|tunnel| !tunnel.ready.load(Ordering::Relaxed))
    }

    /// A connector of the group that can carry one more session; they take turns.
    pub(crate) fn pick(&self, group_id: i64) -> Option<Arc<Tunnel>> {
        let mut tunnels = self.tunnels();
        let sessions = self.sessions();
        let carried = |id: ConnectorId| sessions.values().filter(|one| one.connector == id).count();
        let able: Vec<_> = tunnels
            .up
            .values()
            .filter(|tunnel| tunnel.identity.group_id == group_id)
            .filter(|tunnel| tunnel.ready.load(Ordering::Relaxed))
            .filter(|tunnel| !tunnel.suspect.load(Ordering::Relaxed))
            .filter(|tunnel| carried(tunnel.identity.id) < SESSIONS_MAX)
            .collect();
        let turn = tunnels.turn.checked_rem(able.len())?;
        let picked = Arc::clone(able[turn]);
        drop(sessions);
        tunnels.turn = tunnels.turn.wrapping_add(1);
        Some(picked)
    }

    /// Awaits the data channel of a new session. `id` is fresh and random.
    pub(crate) fn expect(self: &Arc<Self>, id: SessionId, connector: ConnectorId) -> Expected {
        let (sender, outcome) = oneshot::channel();
        let cancel = Arc::new(Notify::new());
        let slot = Slot {
            broker: Arc::clone(self),
            id,
            cancel: Arc::clone(&cancel),
        };
        let session = Session {
            connector,
            waiting: Some(sender),
            cancel,
        };
        self.sessions().insert(id, session);
        Expected { slot, outcome }
    }

    /// Who waits for this session, if it is the connector's own; at most once.
    pub(crate) fn claim(
        &self,
        id: &SessionId,
        connector: &ConnectorId,
    ) -> Option<oneshot::Sender<Outcome>> {
        let mut sessions = self.sessions();
        let session = sessions
            .get_mut(id)
            .filter(|session| session.connector == *connector)?;
        session.waiting.take()
    }

    /// All control channels.
    pub(crate) fn tunnels_up(&self) -> Vec<Arc<Tunnel>> {
        self.tunnels().up.values().cloned().collect()
    }

    /// The ids of all connectors that carry a session, or are to.
    pub(crate) fn carrying(&self) -> Vec<ConnectorId> {
        let sessions = self.sessions();
        let mut ids: Vec<_> = sessions.values().map(|session| session.connector).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Ends a connector's sessions.
    pub(crate) fn end_sessions(&self, connector: &ConnectorId) {
        self.sessions()
            .values()
            .filter(|session| session.connector == *connector)
            .for_each(|session| session.cancel.notify_one());
    }

    /// Tells every connector that the edge goes away and ends every session.
    pub(crate) fn stop(&self) {
        for tunnel in self.tunnels().up.values() {
            tunnel.command(Command::Close(CloseCode::GoingAway));
        }
        self.sessions()
            .values()
            .for_each(|session| session.cancel.notify_one());
    }

    /// Answers everyone who waits for this connector.
    fn lose(&self, connector: &ConnectorId) {
        for session in self.sessions().values_mut() {
            if session.connector == *connector
                && let Some(waiting) = session.waiting.take()
            {
                // Whoever waited may have gone; then there is nobody to tell.
                let _ = waiting.send(Outcome::Lost);
            }
        }
    }

    fn tunnels(&self) -> MutexGuard<'_, Tunnels> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
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
        if tunnels
            .up
            .get(id)
            .is_some_and(|current| current.epoch == self.tunnel.epoch)
        {
            tunnels.up.remove(id);
            drop(tunnels);
            self.broker.lose(id);
            self.broker.changed.notify_waiters();
        }
    }
}

/// A session that was offered.
#[derive(Debug)]
pub(crate) struct Expected {
    /// Keep it as long as the session lives.
    pub(crate) slot: Slot,
    pub(crate) outcome: oneshot::Receiver<Outcome>,
}

/// A session's place in the registry; given up when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    broker: Arc<Broker>,
    id: SessionId,
    /// Notified when the session is to end.
    pub(crate) cancel: Arc<Notify>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.broker.sessions().remove(&self.id);
    }
}

#[cfg(test)]
mod tests;
