//! The connector's life: when it enrols, renews and connects, what it keeps, and what the console says.
//!
//! Everything that is decided about the identity is decided here; the appliance performs the
//! [`Action`]s and reports what became of them, the fleet simulation does the same in virtual time.
//!
//! ```text
//!   handle_operator, handle_conditions, ..     poll_action          done at once, in this order
//!   ------------------------------------> Life ------------------> NewKey  -> handle_new_key
//!   handle_timeout  (at poll_timeout)                              Save    -> handle_saved
//!                                                                  Erase   -> handle_saved
//!                                                                  Open    -> handle_event ..
//! ```
//! After every call, drain [`Life::poll_action`] until `None`, answer what asks for an answer, and
//! call [`Life::handle_timeout`] when [`Life::poll_timeout`] has come.
//!
//! What holds at all times:
//!
//! - A private key is on the disk before it is asked with, a certificate before it is used, a ratchet
//!   value before the edge is told so.
//! - One connection is open at most. The control channel is left for the second that a renewal takes.
//! - A renewed certificate takes the old one's place when the edge has welcomed it; until then the
//!   connector falls back to the old one. An identity is replaced by an enrolment only when what the
//!   enrolment gave is on the disk.
//! - Nobody gives up: a connector that does not wait for a person has a connection or a time-out.

use alloc::collections::VecDeque;
use alloc::string::String;
use core::net::IpAddr;
use core::time::Duration;

use crate::key::ProvisioningKey;
use crate::local::{FromConsole, KeyRefused};
use crate::message::Verdict;
use crate::record::State;
use crate::time::Instant;

mod action;
mod connection;
mod event;
mod fuzz;
mod journal;
mod link;
mod operator;
mod phase;
mod plan;
mod renewal;
mod standing;
#[cfg(test)]
mod tests;
pub mod validity;

pub use action::{Action, Purpose};
pub use event::{Conditions, Declined, Event, Failure, Opened};
pub use fuzz::fuzz_life;
pub use renewal::BACKDATED;

use connection::Connection;
use journal::Journal;
use link::Link;
use renewal::Renewal;
use standing::Standing;

/// Spread of the first reconnect delay until the edge tells its own.
pub const SPREAD: Duration = Duration::from_secs(2);
/// Cap of later ones until the edge tells its own.
pub const CAP: Duration = Duration::from_secs(30);

/// The life of one connector.
#[derive(Debug)]
pub struct Life {
    /// What is on the disk, and what [`Self::amend`] added to it.
    state: State,
    standing: Standing,
    /// The edge from the image or a property.
    image_edge: Option<String>,
    /// The edge that was typed, until an enrolment keeps it.
    typed_edge: Option<String>,
    /// The key that was typed, until the edge has answered.
    key: Option<ProvisioningKey>,
    /// Why the last key did not do.
    refused: Option<KeyRefused>,
    conditions: Conditions,
    /// When the conditions were those.
    conditions_at: Instant,
    connection: Option<Connection>,
    /// Connections opened so far: tells what belongs to which.
    opened: u64,
    link: Link,
    renewal: Renewal,
    journal: Journal,
    /// A key pair is being made.
    awaits_pair: bool,
    /// The key pair at hand did not do for a request.
    wants_new_pair: bool,
    /// The key pair at hand was made after the key was typed.
    is_pair_new: bool,
    /// What the edge took the machine for when it took it in last, if not for the same as before.
    recognised: Option<Verdict>,
    actions: VecDeque<Action>,
}

impl Life {
    /// Starts with what the state record holds. `image_edge` is the edge of the image or a property;
    /// the record's wins. `seed` spreads delays: it has to differ between machines and starts.
    #[must_use]
    pub fn new(now: Instant, opened: Opened, image_edge: Option<&str>, seed: u64) -> Self {
        let Opened { state, why } = opened;
        let mut life = Self {
            standing: Standing::opened(&state, why),
            renewal: Renewal::new(now, &state, seed.rotate_left(17)),
            state,
            image_edge: image_edge.map(Into::into),
            typed_edge: None,
            key: None,
            refused: None,
            conditions: Conditions::default(),
            conditions_at: now,
            connection: None,
            opened: 0,
            link: Link::new(now, seed),
            journal: Journal::new(seed.rotate_left(34)),
            awaits_pair: false,
            wants_new_pair: false,
            is_pair_new: false,
            recognised: None,
            actions: VecDeque::new(),
        };
        life.decide(now);
        life
    }

    /// Takes what the surroundings allow now: when that changes, and when the clock was set.
    pub fn handle_conditions(&mut self, now: Instant, conditions: Conditions) {
        self.conditions = conditions;
        self.conditions_at = now;
        self.decide(now);
    }

    /// Takes what the operator typed for the connector: a key, an edge, the wish to erase everything.
    /// What is meant for others is ignored.
    ///
    /// # Errors
    /// If it is not used, and why.
    pub fn handle_operator(&mut self, now: Instant, typed: &FromConsole) -> Result<(), Declined> {
        let result = self.take_typed(now, typed);
        self.decide(now);
        result
    }

    /// The machine was cloned, restored or reverted while it ran. What is open is dropped without
    /// another byte on it, because its keys may have been used twice, and opened anew.
    pub fn handle_generation_changed(&mut self, now: Instant) {
        if self.connection.is_some() {
            self.drop_connection(None);
            self.link.try_at_once(now);
        }
        self.decide(now);
    }

    /// The network is another one, or back. What is being opened starts over at once. A control channel
    /// that stands stays if `keep_established`: the caller has it probed. A machine that the edge
    /// holds keeps its pace.
    pub fn handle_network_changed(&mut self, now: Instant, keep_established: bool) {
        let stands = self.connection.as_ref().is_some_and(|it| it.is_welcomed);
        if !(stands && keep_established) {
            let is_open = self.connection.is_some();
            self.drop_connection(None);
            if is_open || self.is_eager(now) {
                self.link.try_at_once(now);
            }
        }
        self.decide(now);
    }

    /// Takes what happened on the connection. Ignored if none is open.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        if let Some(connection) = self.connection.take() {
            self.take_event(now, connection, event);
        }
        self.decide(now);
    }

    /// Answers [`Action::Save`] and [`Action::Erase`]: the reason if it failed, for a person.
    pub fn handle_saved(&mut self, now: Instant, result: Result<(), String>) {
        self.take_saved(now, result);
        self.decide(now);
    }

    /// Answers [`Action::NewKey`]: the private key, PKCS#8 DER, or why there is none.
    pub fn handle_new_key(&mut self, now: Instant, result: Result<alloc::vec::Vec<u8>, String>) {
        self.take_new_pair(now, result);
        self.decide(now);
    }

    /// Goes on when the time of [`Self::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.decide(now);
    }

    /// Changes what is only remembered (last good time, the edge's addresses, the proxy's user and
    /// password), and writes it. If that fails it is tried again later, and blocks nothing.
    pub fn amend(&mut self, now: Instant, change: impl FnOnce(&mut State)) {
        change(&mut self.state);
        self.journal.amended();
        self.decide(now);
    }

    /// The same, but it goes along with the next write: for what is not worth one.
    pub fn note(&mut self, change: impl FnOnce(&mut State)) {
        change(&mut self.state);
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_timeout()
    }

    /// What is on the disk, and what [`Self::amend`] and [`Self::note`] added.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// The edge that the open connection, or the next one, is for.
    #[must_use]
    pub fn edge(&self) -> Option<&str> {
        let stored = Some(self.state.edge.as_str()).filter(|edge| !edge.is_empty());
        if self.state.identity.is_some() && self.key.is_none() {
            return stored;
        }
        let typed = self.typed_edge.as_deref();
        typed.or(stored).or(self.image_edge.as_deref())
    }

    /// Addresses at which [`Self::edge`] was reached, the last one first.
    #[must_use]
    pub fn edge_addresses(&self) -> &[IpAddr] {
        let is_same = self.edge() == Some(self.state.edge.as_str());
        if is_same {
            &self.state.edge_addresses
        } else {
            &[]
        }
    }

    /// The private key, PKCS#8 DER, that the open enrolment or renewal requests a certificate for.
    #[must_use]
    pub fn requested_key(&self) -> Option<&[u8]> {
        self.connection.as_ref()?.kind.requested_key(&self.state)
    }

    /// What the edge took the machine for when it took it in last, if not for the same as before.
    #[must_use]
    pub const fn recognised(&self) -> Option<Verdict> {
        self.recognised
    }

    /// Whether there is an identity that the edge has not refused for good.
    #[must_use]
    pub const fn is_enrolled(&self) -> bool {
        self.state.identity.is_some() && !matches!(self.standing, Standing::Shut { .. })
    }

    /// Whether the control channel is up, full-size packets pass, and what the edge handed out can be
    /// kept.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|it| it.proven_at.is_some()) && self.journal.failure().is_none()
    }

    /// Whether a session that the edge offers may be taken: a ratchet value of this channel is kept.
    #[must_use]
    pub fn takes_sessions(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|it| it.has_stored_ratchet)
    }

    /// For how long the certificate is still good, if its renewal is overdue and failed.
    #[must_use]
    pub fn certificate_left(&self, now: Instant) -> Option<Duration> {
        let wall = self.wall(now)?;
        self.renewal.left_while_failing(wall)
    }
}
