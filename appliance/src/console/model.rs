//! The console's state, and what each event does to it. Pure: the caller supplies the time.
//!
//! [`facts`] is what PID 1 says, [`phases`] what the connector says, [`typing`] what the operator does,
//! [`reset`] what the operator does to erase the machine's identity.

mod facts;
mod phases;
mod reset;
mod typing;

use connector_proto::local::{
    Awaited, Boot, ConnectorStatus, Fact, FromConsole, Ipv6Config, Lease, Phase, Text, ToConsole,
};
use zeroize::Zeroizing;

use self::facts::Wait;
use self::typing::{Submitted, Terminal};
use super::entry::Question;
use super::sentence;
use super::text::{printable, stamp};

/// What can happen to the console.
#[derive(Debug)]
pub enum Event<'a> {
    /// PID 1 said something.
    Message(ToConsole),
    /// Bytes came from the keyboard of a terminal.
    Typed {
        /// Which terminal, by its place in [`ToConsole::Start`].
        terminal: usize,
        /// The bytes, in any portion.
        bytes: &'a [u8],
    },
    /// The time of [`Model::poll_timeout`] has come.
    Tick,
}

/// What the caller is to do, in this order.
#[derive(Debug)]
pub enum Action {
    /// Leave a line on every terminal, or on one.
    Say {
        /// The only terminal; `None`: all.
        terminal: Option<usize>,
        /// Printable ASCII, to be wrapped.
        line: String,
    },
    /// Draw the live line of a terminal even if it did not change.
    Redraw {
        /// Which.
        terminal: usize,
    },
    /// Send to PID 1.
    Send(FromConsole),
}

/// What the console knows.
#[derive(Debug, Default)]
pub struct Model {
    pub(super) shutting_down: Option<bool>,
    /// What the network waits for.
    network_wait: Option<Wait>,
    /// That the clock waits for a server.
    time_wait: Option<Wait>,
    pub(super) connector: Connector,
    /// Something typed was sent and the connector has not moved yet.
    pub(super) submitted: Option<Submitted>,
    terminals: Vec<Terminal>,
    nic: Option<Fact>,
    minted: Option<Fact>,
    system: Option<Fact>,
    lease: Option<Lease>,
    ipv6: Option<Ipv6Config>,
    /// The fact of the settings.
    settings: Option<Fact>,
    clock: Option<Fact>,
    problem: Option<(u64, Text<160>)>,
    /// Errors that left a line since the connector was last connected.
    errors_said: Vec<Text<160>>,
    /// The operator was told how to erase the identity.
    reset_named: bool,
    /// Whether the kernel carries sessions, as the operator was last told.
    engine_said: Option<bool>,
    /// The hours left of the certificate when the operator was last warned.
    warned_left_h: Option<u16>,
}

/// What is known about the connector.
#[derive(Debug, Default)]
pub(super) enum Connector {
    /// It was not started yet.
    #[default]
    NotYet,
    /// It runs.
    Running(ConnectorStatus),
    /// It ended, and PID 1 starts it again.
    Gone { since_us: u64 },
}

impl Model {
    /// Takes an event that happened at `now_us` of `CLOCK_BOOTTIME`.
    pub fn update(&mut self, now_us: u64, event: Event<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        self.say_waits(now_us, &mut actions);
        match event {
            Event::Message(ToConsole::Start { terminals }) => {
                self.terminals = terminals.iter().map(|name| Terminal::new(name)).collect();
            }
            Event::Message(ToConsole::Fact { fact, at_boot_us }) => {
                self.fact(fact, at_boot_us, &mut actions);
            }
            Event::Message(ToConsole::Connector(status)) => {
                self.status(now_us, status, &mut actions);
            }
            Event::Message(ToConsole::Slot(reply)) => {
                for line in sentence::slot_reply(&reply) {
                    actions.push(say(now_us, &line));
                }
            }
            Event::Message(ToConsole::ConnectorGone) => self.connector_gone(now_us, &mut actions),
            Event::Typed { terminal, bytes } => self.typed(now_us, terminal, bytes, &mut actions),
            Event::Tick => self.tick(now_us, &mut actions),
        }
        actions
    }

    /// When to send [`Event::Tick`] although nothing else happens.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let submitted = self.submitted.as_ref();
        let answer_due = submitted.map(Submitted::answer_due);
        let waits = [&self.network_wait, &self.time_wait];
        let lines_due = waits.into_iter().flatten().filter_map(Wait::line_due);
        let strokes_due = self
            .terminals
            .iter()
            .filter_map(|terminal| terminal.keyboard.poll_timeout());
        lines_due.chain(answer_due).chain(strokes_due).min()
    }

    /// What the operator of a terminal is asked for now, if anything.
    #[must_use]
    pub fn question(&self, terminal: usize) -> Option<Question> {
        if self.shutting_down.is_some() || self.submitted.is_some() {
            return None;
        }
        let Connector::Running(status) = &self.connector else {
            return None;
        };
        if self.is_resetting(terminal) {
            return Some(Question::Reset);
        }
        let terminal = self.terminals.get(terminal);
        let other_edge = terminal.is_some_and(|terminal| terminal.other_edge);
        match &status.phase {
            Phase::NeedEdge => Some(Question::Edge),
            Phase::NeedKey { .. } if other_edge => Some(Question::Edge),
            Phase::NeedKey { .. } | Phase::Held { .. } => Some(Question::Key),
            Phase::Connecting {
                enrolling: true, ..
            } if other_edge => Some(Question::Edge),
            Phase::NeedProxyCredentials { .. } => {
                terminal.map(|terminal| terminal.entry.proxy_question())
            }
            Phase::Connecting { .. }
            | Phase::Enrolling
            | Phase::Connected { .. }
            | Phase::Stuck { .. } => None,
        }
    }

    /// What was typed on a terminal in answer to its question.
    #[must_use]
    pub fn typed_text(&self, terminal: usize, question: Question) -> Zeroizing<String> {
        let Some(terminal) = self.terminals.get(terminal) else {
            return Zeroizing::default();
        };
        match &terminal.reset {
            Some(answer) if question == Question::Reset => Zeroizing::new(printable(answer)),
            _ => terminal.entry.text(question, terminal.is_screen()),
        }
    }

    /// How many characters of the key that is typed on a terminal did not count.
    #[must_use]
    pub fn ignored(&self, terminal: usize) -> u32 {
        let terminal = self.terminals.get(terminal);
        terminal.map_or(0, |terminal| terminal.entry.ignored().total())
    }

    /// What PID 1 waits for, and since when; the network first, since the clock needs it.
    #[must_use]
    pub fn waits_for(&self) -> Option<(Awaited, u64)> {
        let wait = self.network_wait.or(self.time_wait)?;
        Some((wait.what, wait.since_us))
    }

    /// Until when a trial must have been promoted, and what that waits for.
    #[must_use]
    pub fn trial(&self) -> Option<(u64, &'static str)> {
        let Some(Fact::System {
            boot: Boot::Trial { until_boot_us, .. },
            ..
        }) = self.system
        else {
            return None;
        };
        let awaited = if self.clock.is_none() {
            "to set the clock and connect"
        } else {
            "to connect"
        };
        Some((until_boot_us, awaited))
    }
}

/// A line for every terminal, with its stamp.
fn say(at_us: u64, text: &str) -> Action {
    Action::Say {
        terminal: None,
        line: stamp(at_us) + text,
    }
}

impl Action {
    /// Wipes what is secret in a message that was sent.
    pub fn wipe(&mut self) {
        match self {
            Self::Send(message) => message.wipe(),
            Self::Say { .. } | Self::Redraw { .. } => {}
        }
    }
}
