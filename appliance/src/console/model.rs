//! The console's state, and what each event does to it. Pure: the caller supplies the time.

use connector_proto::key::SEED_LEN;
use connector_proto::local::{
    Awaited, Boot, ConnectorStatus, EdgeText, Fact, FromConsole, Ipv6Config, Lease, Phase, Text,
    ToConsole,
};
use zeroize::{Zeroize, Zeroizing};

use super::entry::{Entry, Outcome, Question};
use super::keyboard::{Keyboard, Stroke};
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
}

/// A wait of PID 1 for something outside.
#[derive(Clone, Copy, Debug)]
struct Wait {
    what: Awaited,
    since_us: u64,
    /// It left a line.
    said: bool,
    /// It, or one that it followed without anything being reached between them, left a line.
    outage_said: bool,
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

/// An answer that is on its way to the connector.
#[derive(Debug)]
pub(super) struct Submitted {
    pub(super) question: Question,
    at_us: u64,
}

#[derive(Debug)]
struct Terminal {
    name: String,
    keyboard: Keyboard,
    entry: Entry,
    /// The operator asked to type another service edge.
    other_edge: bool,
    /// The last answer given, and when.
    answered: Option<(String, u64)>,
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
        let answer_due = submitted.map(|submitted| submitted.at_us.saturating_add(PATIENCE_US));
        let waits = [&self.network_wait, &self.time_wait];
        let lines_due = waits.into_iter().flatten().filter_map(Wait::line_due);
        lines_due.chain(answer_due).min()
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
        let other_edge = self
            .terminals
            .get(terminal)
            .is_some_and(|terminal| terminal.other_edge);
        match &status.phase {
            Phase::NeedEdge => Some(Question::Edge),
            Phase::NeedKey { .. } if other_edge => Some(Question::Edge),
            Phase::NeedKey { .. } => Some(Question::Key),
            Phase::Connecting {
                enrolling: true, ..
            } if other_edge => Some(Question::Edge),
            Phase::Connecting { .. }
            | Phase::Enrolling
            | Phase::NeedProxyCredentials { .. }
            | Phase::Connected { .. }
            | Phase::Stuck { .. } => None,
        }
    }

    /// What was typed on a terminal in answer to its question.
    #[must_use]
    pub fn typed_text(&self, terminal: usize, question: Question) -> Zeroizing<String> {
        self.terminals
            .get(terminal)
            .map(|terminal| terminal.entry.text(question))
            .unwrap_or_default()
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

    /// Leaves a line for each wait that lasts. Most of those of a boot are over in a moment, and a
    /// line would send the operator looking for a fault that is not there.
    fn say_waits(&mut self, now_us: u64, actions: &mut Vec<Action>) {
        let waits = [&mut self.network_wait, &mut self.time_wait];
        for wait in waits.into_iter().flatten() {
            if wait.line_due().is_some_and(|due_us| due_us <= now_us) {
                (wait.said, wait.outage_said) = (true, true);
                let lasted_us = now_us.saturating_sub(wait.since_us);
                let line = stamp(now_us) + &sentence::waiting(wait.what, lasted_us);
                actions.push(Action::Say {
                    terminal: None,
                    line,
                });
            }
        }
    }

    fn fact(&mut self, fact: Fact, at_us: u64, actions: &mut Vec<Action>) {
        if self.is_news(&fact, at_us) {
            let text = match &fact {
                Fact::Nic { interface, mac } => sentence::nic(interface, *mac, self.minted_mac()),
                _ => sentence::fact(&fact),
            };
            let is_first_line = matches!(fact, Fact::Booted { .. });
            let line = if is_first_line {
                text
            } else {
                stamp(at_us) + &text
            };
            actions.push(Action::Say {
                terminal: None,
                line,
            });
        }
        match fact {
            Fact::Booted { .. } | Fact::Memory { .. } | Fact::ServiceDied { .. } => {}
            // What is waited for next, PID 1 says next.
            Fact::Nic { .. } => self.nic = Some(fact),
            Fact::Minted { .. } => self.learn_minted(at_us, fact, actions),
            Fact::System { .. } => self.system = Some(fact),
            Fact::NetUp(lease) => {
                self.network_wait = None;
                self.lease = Some(lease);
            }
            Fact::Ipv6Up(config) => {
                self.network_wait = None;
                self.ipv6 = Some(config);
            }
            Fact::Settings { .. } => self.settings = Some(fact),
            Fact::ClockOk { .. } => {
                self.time_wait = None;
                self.clock = Some(fact);
            }
            Fact::Waiting {
                what,
                since_boot_us,
            } => {
                let wait = match what {
                    Awaited::Time | Awaited::EdgeTime => &mut self.time_wait,
                    Awaited::Nic | Awaited::Link | Awaited::Lease | Awaited::Router => {
                        &mut self.network_wait
                    }
                };
                *wait = Some(Wait::after(wait.as_ref(), what, since_boot_us));
            }
            Fact::Problem { text } => self.problem = Some((at_us, text)),
            Fact::ShuttingDown { restart } => {
                self.shutting_down = Some(restart);
                self.forget_typed();
            }
        }
    }

    /// A disk that appears after the NIC says only then which MAC address the NIC is to have.
    fn learn_minted(&mut self, at_us: u64, minted: Fact, actions: &mut Vec<Action>) {
        let before = self.minted_mac();
        self.minted = Some(minted);
        if let Some(Fact::Nic { interface, mac }) = &self.nic
            && self.minted_mac() != before
        {
            let text = sentence::nic(interface, *mac, self.minted_mac());
            actions.push(say(at_us, &text));
        }
    }

    /// The MAC address that the image was minted for.
    const fn minted_mac(&self) -> Option<[u8; 6]> {
        match self.minted {
            Some(Fact::Minted { mac, .. }) => mac,
            _ => None,
        }
    }

    /// Whether a fact tells the operator something that the screen does not say already. Leases are
    /// renewed and clocks measured all the time.
    fn is_news(&self, fact: &Fact, at_us: u64) -> bool {
        match fact {
            Fact::Booted { .. } | Fact::Memory { .. } | Fact::ServiceDied { .. } => true,
            Fact::Nic { .. } => {
                self.network_wait.is_some_and(|wait| wait.said) || self.nic.as_ref() != Some(fact)
            }
            Fact::NetUp(lease) => {
                self.network_wait.is_some_and(|wait| wait.outage_said)
                    || self.lease.as_ref().map(sentence::network_up)
                        != Some(sentence::network_up(lease))
            }
            Fact::Ipv6Up(config) => {
                self.network_wait.is_some_and(|wait| wait.outage_said)
                    || self.ipv6.as_ref() != Some(config)
            }
            Fact::Settings { .. } => self.settings.as_ref() != Some(fact),
            Fact::ClockOk {
                source, offset_us, ..
            } => {
                let same_source = matches!(&self.clock, Some(Fact::ClockOk { source: known, .. }) if known == source);
                self.time_wait.is_some_and(|wait| wait.outage_said)
                    || !same_source
                    || offset_us.unsigned_abs() >= CLOCK_NEWS_US
            }
            Fact::Minted { name, .. } => name.is_some() && self.minted.as_ref() != Some(fact),
            Fact::System { .. } => self.system.as_ref() != Some(fact),
            // It leaves its line when it lasts.
            Fact::Waiting { .. } => false,
            Fact::Problem { text } => self
                .problem
                .as_ref()
                .is_none_or(|(at, known)| (*at, known) != (at_us, text)),
            Fact::ShuttingDown { restart } => self.shutting_down != Some(*restart),
        }
    }

    fn status(&mut self, now_us: u64, status: ConnectorStatus, actions: &mut Vec<Action>) {
        let before = match core::mem::take(&mut self.connector) {
            Connector::Running(before) => Some(before),
            Connector::NotYet | Connector::Gone { .. } => None,
        };
        let moved = before.as_ref().is_none_or(|before| {
            before.since_boot_us != status.since_boot_us || before.phase != status.phase
        });
        if moved {
            // What happens within a phase happens now, not when the phase began.
            let began = before
                .as_ref()
                .is_none_or(|before| before.since_boot_us != status.since_boot_us);
            let at_us = if began { status.since_boot_us } else { now_us };
            self.moved(
                at_us,
                &status,
                before.as_ref().map(|before| &before.phase),
                actions,
            );
        }
        self.connector = Connector::Running(status);
    }

    /// The connector's phase, or something in it, is another than `before`.
    fn moved(
        &mut self,
        at_us: u64,
        status: &ConnectorStatus,
        before: Option<&Phase>,
        actions: &mut Vec<Action>,
    ) {
        self.submitted = None;
        let mut say = |text: String| {
            let line = stamp(at_us) + &text;
            actions.push(Action::Say {
                terminal: None,
                line,
            });
        };
        let goes_on = match (before, &status.phase) {
            (
                Some(Phase::Connecting { enrolling: was, .. }),
                Phase::Connecting { enrolling: is, .. },
            ) => was == is,
            (Some(Phase::Connecting { enrolling, .. }), Phase::Enrolling) => *enrolling,
            (
                Some(Phase::Enrolling),
                Phase::Connecting {
                    enrolling: true, ..
                },
            ) => !self.errors_said.is_empty(),
            _ => false,
        };
        if !goes_on {
            say(sentence::phase(status, before));
        }
        match &status.phase {
            Phase::Connecting {
                attempt,
                last_error,
                ..
            } => {
                let lost = matches!(before, Some(Phase::Connected { .. }));
                if lost {
                    self.errors_said.clear();
                }
                if !last_error.is_empty() && !self.errors_said.contains(last_error) {
                    if !lost {
                        say(sentence::attempt_failed(status, *attempt, last_error));
                    }
                    self.errors_said.truncate(ERRORS_SAID_MAX - 1);
                    self.errors_said.insert(0, last_error.clone());
                }
            }
            Phase::Connected { .. } | Phase::Stuck { .. } => self.forget_typed(),
            Phase::Enrolling
            | Phase::NeedEdge
            | Phase::NeedKey { .. }
            | Phase::NeedProxyCredentials { .. } => {}
        }
        if matches!(
            status.phase,
            Phase::Connected { .. } | Phase::NeedKey { .. }
        ) {
            self.errors_said.clear();
        }
    }

    fn connector_gone(&mut self, now_us: u64, actions: &mut Vec<Action>) {
        if matches!(self.connector, Connector::Running(_)) {
            let line = stamp(now_us) + "The connector is not running";
            actions.push(Action::Say {
                terminal: None,
                line,
            });
        }
        if !matches!(self.connector, Connector::Gone { .. }) {
            self.connector = Connector::Gone { since_us: now_us };
        }
        self.submitted = None;
    }

    fn typed(&mut self, now_us: u64, place: usize, bytes: &[u8], actions: &mut Vec<Action>) {
        for byte in bytes {
            let question = self.question(place);
            let may_change_edge = self.may_change_edge();
            let Some(terminal) = self.terminals.get_mut(place) else {
                return;
            };
            let Some(stroke) = terminal.keyboard.take(now_us, *byte) else {
                continue;
            };
            if stroke == Stroke::Edge && may_change_edge {
                terminal.other_edge = !terminal.other_edge;
                continue;
            }
            let Some(question) = question else {
                if matches!(stroke, Stroke::Enter | Stroke::Redraw) {
                    actions.push(Action::Redraw { terminal: place });
                }
                continue;
            };
            match terminal.entry.take(question, stroke) {
                Outcome::Echo => {}
                Outcome::Redraw => actions.push(Action::Redraw { terminal: place }),
                Outcome::Answer(line) => {
                    if terminal.is_new_answer(now_us, &line) {
                        actions.push(Action::Say {
                            terminal: Some(place),
                            line,
                        });
                    }
                }
                Outcome::Key(key) => self.submit_key(now_us, place, &key, actions),
                Outcome::Edge(edge) => self.submit_edge(now_us, place, edge, actions),
            }
        }
    }

    fn submit_key(
        &mut self,
        now_us: u64,
        place: usize,
        key: &[u8; SEED_LEN],
        actions: &mut Vec<Action>,
    ) {
        let name = self
            .terminals
            .get(place)
            .map_or("", |terminal| &terminal.name);
        let line = format!(
            "{}All groups of the key check; it was typed on {name}",
            stamp(now_us)
        );
        actions.push(Action::Say {
            terminal: None,
            line,
        });
        actions.push(Action::Send(FromConsole::Key(*key)));
        self.forget_typed();
        self.submitted = Some(Submitted {
            question: Question::Key,
            at_us: now_us,
        });
    }

    fn submit_edge(
        &mut self,
        now_us: u64,
        place: usize,
        edge: EdgeText,
        actions: &mut Vec<Action>,
    ) {
        let name = self
            .terminals
            .get(place)
            .map_or("", |terminal| &terminal.name);
        let line = format!(
            "{}Service edge {} was typed on {name}",
            stamp(now_us),
            printable(&edge)
        );
        actions.push(Action::Say {
            terminal: None,
            line,
        });
        actions.push(Action::Send(FromConsole::Edge(edge)));
        if let Some(terminal) = self.terminals.get_mut(place) {
            terminal.other_edge = false;
        }
        // Elsewhere a new edge does not change the phase, so there is nothing to wait for.
        if matches!(
            &self.connector,
            Connector::Running(ConnectorStatus {
                phase: Phase::NeedEdge,
                ..
            })
        ) {
            self.submitted = Some(Submitted {
                question: Question::Edge,
                at_us: now_us,
            });
        }
    }

    fn tick(&mut self, now_us: u64, actions: &mut Vec<Action>) {
        let late =
            |submitted: &mut Submitted| now_us.saturating_sub(submitted.at_us) >= PATIENCE_US;
        let Some(submitted) = self.submitted.take_if(late) else {
            return;
        };
        let what = match submitted.question {
            Question::Edge => "service edge",
            Question::Key => "key",
        };
        let line = format!(
            "{}The connector did not take the {what} within {} s. Type it again.",
            stamp(now_us),
            PATIENCE_US / 1_000_000
        );
        actions.push(Action::Say {
            terminal: None,
            line,
        });
    }

    /// Whether the operator may name another edge although one is known: until enrolment, a typing
    /// error in the edge's name must not be final.
    fn may_change_edge(&self) -> bool {
        self.shutting_down.is_none()
            && self.submitted.is_none()
            && matches!(
                &self.connector,
                Connector::Running(ConnectorStatus {
                    phase: Phase::NeedKey { .. }
                        | Phase::Connecting {
                            enrolling: true,
                            ..
                        },
                    ..
                })
            )
    }

    /// Wipes what was typed on every terminal.
    fn forget_typed(&mut self) {
        for terminal in &mut self.terminals {
            terminal.entry.clear();
            terminal.other_edge = false;
        }
    }
}

/// A line for every terminal, with its stamp.
fn say(at_us: u64, text: &str) -> Action {
    Action::Say {
        terminal: None,
        line: stamp(at_us) + text,
    }
}

impl Wait {
    /// The wait that a fact tells of, when `before` is the one in force: the same or another.
    fn after(before: Option<&Self>, what: Awaited, since_us: u64) -> Self {
        let same = |wait: &Self| (wait.what, wait.since_us) == (what, since_us);
        Self {
            what,
            since_us,
            said: before.is_some_and(|wait| wait.said && same(wait)),
            outage_said: before.is_some_and(|wait| wait.outage_said),
        }
    }

    /// When it leaves its line, unless it has.
    fn line_due(&self) -> Option<u64> {
        (!self.said).then(|| self.since_us.saturating_add(WAIT_NEWS_US))
    }
}

impl Terminal {
    fn new(name: &str) -> Self {
        Self {
            name: printable(name),
            keyboard: Keyboard::default(),
            entry: Entry::default(),
            other_edge: false,
            answered: None,
        }
    }

    /// Whether to give an answer. A paste makes one mistake many times at once; it is told of once.
    fn is_new_answer(&mut self, now_us: u64, answer: &str) -> bool {
        let new = self.answered.as_ref().is_none_or(|(known, at_us)| {
            known != answer || now_us.saturating_sub(*at_us) >= REPEAT_US
        });
        self.answered = Some((answer.to_owned(), now_us));
        new
    }
}

impl Action {
    /// Wipes the key in a message that was sent.
    pub fn wipe(&mut self) {
        if let Self::Send(FromConsole::Key(key)) = self {
            key.zeroize();
        }
    }
}

/// A wait that is over sooner leaves no line in the history; the live line shows it at once.
const WAIT_NEWS_US: u64 = 2_000_000;

/// How long the connector may take to react to what was typed before the operator is asked again.
const PATIENCE_US: u64 = 10_000_000;

/// An answer is not repeated within this time: longer than a paste's portions are apart, shorter
/// than a group takes to type.
const REPEAT_US: u64 = 300_000;

/// A clock that moved by less, by the same source, is not worth a line.
const CLOCK_NEWS_US: u64 = 100_000;

/// Different errors remembered during one outage, so that errors which alternate leave a line each,
/// not a line per attempt.
const ERRORS_SAID_MAX: usize = 4;
