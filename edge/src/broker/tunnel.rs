//! One control channel that is up, as the rest of the edge sees it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use connector_proto::limits::SESSIONS_MAX;
use connector_proto::message::CloseCode;
use tokio::sync::mpsc::Permit;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::config::{COMMANDS_MAX, OFFERS_MAX};
use crate::store::holder::Identity;

/// What a control channel's task is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Ask the connector whether it is there. Answered when it answers, dropped when it does not.
    AskAlive(oneshot::Sender<()>),
    /// Say farewell and end.
    Close(CloseCode),
    /// Hand out another ratchet value: a copy of the connector has shown up.
    NewRatchet,
    /// Tell the connector the roots, which have changed.
    Trust,
}

/// One control channel that is up.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) identity: Identity,
    /// SHA-256 of the subject public key info of its certificate.
    pub(crate) spki: [u8; 32],
    pub(super) epoch: u64,
    /// Whether the connector has stored a ratchet value of this channel.
    pub(super) ready: AtomicBool,
    suspect: AtomicBool,
    /// Sessions that it carries at once.
    capacity: AtomicUsize,
    commands: mpsc::Sender<Command>,
    /// Signed grants. Those wait in a queue of their own: a burst of them delays no command.
    offers: mpsc::Sender<Vec<u8>>,
    /// Some of its sessions want a successor.
    pub(crate) successions: Notify,
}

/// The other ends of a tunnel's queues.
#[derive(Debug)]
pub(crate) struct Queues {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) offers: mpsc::Receiver<Vec<u8>>,
}

impl Tunnel {
    pub(super) fn new(identity: Identity, spki: [u8; 32], epoch: u64) -> (Self, Queues) {
        let (commands, commanded) = mpsc::channel(COMMANDS_MAX);
        let (offers, offered) = mpsc::channel(OFFERS_MAX);
        let tunnel = Self {
            identity,
            spki,
            epoch,
            ready: AtomicBool::new(false),
            suspect: AtomicBool::new(false),
            capacity: AtomicUsize::new(SESSIONS_MAX),
            commands,
            offers,
            successions: Notify::new(),
        };
        let queues = Queues {
            commands: commanded,
            offers: offered,
        };
        (tunnel, queues)
    }

    /// Hands a command over; false if the channel is gone or too many commands wait.
    pub(crate) fn command(&self, command: Command) -> bool {
        self.commands.try_send(command).is_ok()
    }

    /// Waits for room to offer a session; `None` if the channel is gone.
    pub(crate) async fn room(&self) -> Option<Permit<'_, Vec<u8>>> {
        self.offers.reserve().await.ok()
    }

    /// Whether new sessions should go elsewhere.
    pub(crate) fn set_suspect(&self, suspect: bool) {
        self.suspect.store(suspect, Ordering::Relaxed);
    }

    /// How many sessions the connector says it carries.
    pub(crate) fn set_capacity(&self, sessions: u32) {
        let sessions = usize::try_from(sessions).unwrap_or(usize::MAX);
        self.capacity.store(sessions, Ordering::Relaxed);
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Whether it is offered sessions at all.
    pub(super) fn takes_sessions(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && !self.suspect.load(Ordering::Relaxed)
    }
}
