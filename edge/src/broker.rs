//! Who is connected, and which session waits for which data channel.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use connector_proto::limits::SESSIONS_MAX;
use connector_proto::message::{CloseCode, SessionRefusal};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::config::COMMANDS_MAX;
use crate::store::connectors::Identity;
use crate::tls::Tls;

/// A connector's id.
pub(crate) type ConnectorId = [u8; 16];
/// A session's id.
pub(crate) type SessionId = [u8; 16];

/// What a control channel's task is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Offer a session.
    Open {
        /// The signed grant.
        grant: Vec<u8>,
    },
    /// Say farewell and end.
    Close(CloseCode),
}

/// One control channel that is up.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) identity: Identity,
    epoch: u64,
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
    tunnels: Mutex<Tunnels>,
    sessions: Mutex<HashMap<SessionId, Session>>,
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
    /// Takes a control channel in. An older one of the same connector is told that it was replaced.
    pub(crate) fn register(
        self: &Arc<Self>,
        identity: Identity,
    ) -> (Registration, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let mut tunnels = self.tunnels();
        let epoch = tunnels.next_epoch;
        tunnels.next_epoch += 1;
        let id = identity.id;
        let tunnel = Arc::new(Tunnel {
            identity,
            epoch,
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

    /// A connector of the group that can carry one more session; they take turns.
    pub(crate) fn pick(&self, group_id: i64) -> Option<Arc<Tunnel>> {
        let mut tunnels = self.tunnels();
        let sessions = self.sessions();
        let carried = |id: ConnectorId| sessions.values().filter(|one| one.connector == id).count();
        let able: Vec<_> = tunnels
            .up
            .values()
            .filter(|tunnel| tunnel.identity.group_id == group_id)
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

    /// The ids of all connectors with a control channel or a session.
    pub(crate) fn present(&self) -> Vec<ConnectorId> {
        let mut ids: Vec<_> = self.connected();
        ids.extend(self.sessions().values().map(|session| session.connector));
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// The ids of all connectors with a control channel.
    pub(crate) fn connected(&self) -> Vec<ConnectorId> {
        self.tunnels().up.keys().copied().collect()
    }

    /// Ends a connector's control channel and sessions.
    pub(crate) fn expel(&self, connector: &ConnectorId) {
        let tunnel = self.tunnels().up.get(connector).cloned();
        if let Some(tunnel) = tunnel {
            tunnel.command(Command::Close(CloseCode::NotAuthorised));
        }
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
    /// Whether no newer control channel took this one's place.
    pub(crate) fn is_current(&self) -> bool {
        let tunnels = self.broker.tunnels();
        let current = tunnels.up.get(&self.tunnel.identity.id);
        current.is_some_and(|current| current.epoch == self.tunnel.epoch)
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
mod tests {
    use super::*;

    #[test]
    fn connectors_of_a_group_take_turns_and_suspects_are_passed_over() {
        let broker = Arc::new(Broker::default());
        let (one, _commands_1) = broker.register(identity(1, 7));
        let (_two, _commands_2) = broker.register(identity(2, 7));
        let (_other, _commands_3) = broker.register(identity(3, 8));
        let mut picked: Vec<_> = (0..4)
            .map(|_| broker.pick(7).unwrap().identity.id[0])
            .collect();
        assert_ne!(picked[0], picked[1]);
        picked.sort_unstable();
        assert_eq!(picked, [1, 1, 2, 2]);
        one.tunnel.set_suspect(true);
        assert!((0..4).all(|_| broker.pick(7).unwrap().identity.id[0] == 2));
        assert!(broker.pick(9).is_none());
    }

    #[test]
    fn a_newer_channel_replaces_the_older_and_outlives_its_end() {
        let broker = Arc::new(Broker::default());
        let (old, mut commands) = broker.register(identity(1, 7));
        let (new, _commands) = broker.register(identity(1, 7));
        assert!(matches!(
            commands.try_recv(),
            Ok(Command::Close(CloseCode::Replaced))
        ));
        assert!(!old.is_current() && new.is_current());
        drop(old);
        assert!(broker.pick(7).is_some());
        drop(new);
        assert!(broker.pick(7).is_none());
    }

    #[test]
    fn a_session_is_claimed_once_and_only_by_its_connector() {
        let broker = Arc::new(Broker::default());
        let expected = broker.expect([5; 16], [1; 16]);
        assert!(broker.claim(&[5; 16], &[2; 16]).is_none());
        assert!(broker.claim(&[6; 16], &[1; 16]).is_none());
        assert!(broker.claim(&[5; 16], &[1; 16]).is_some());
        assert!(broker.claim(&[5; 16], &[1; 16]).is_none());
        drop(expected);
        assert!(broker.present().is_empty());
    }

    #[test]
    fn who_waits_for_a_connector_that_goes_away_is_told() {
        let broker = Arc::new(Broker::default());
        let (registration, _commands) = broker.register(identity(1, 7));
        let mut expected = broker.expect([5; 16], [1; 16]);
        drop(registration);
        assert!(matches!(expected.outcome.try_recv(), Ok(Outcome::Lost)));
    }

    #[test]
    fn a_connector_that_is_full_is_not_picked() {
        let broker = Arc::new(Broker::default());
        let (_registration, _commands) = broker.register(identity(1, 7));
        let sessions: Vec<_> = (0..SESSIONS_MAX)
            .map(|number| {
                let mut id = [0; 16];
                id[..8].copy_from_slice(&number.to_be_bytes());
                broker.expect(id, [1; 16])
            })
            .collect();
        assert!(broker.pick(7).is_none());
        drop(sessions);
        assert!(broker.pick(7).is_some());
    }

    fn identity(id: u8, group_id: i64) -> Identity {
        let (name, group) = (format!("connector-{id}"), "hq".to_owned());
        Identity {
            id: [id; 16],
            name,
            group_id,
            group,
            active: true,
        }
    }
}
