//! What the operator types, and what becomes of it.

use connector_proto::key::SEED_LEN;
use connector_proto::local::{ConnectorStatus, EdgeText, FromConsole, Phase};

use super::super::entry::{Entry, Outcome, Question};
use super::super::ignored::Ignored;
use super::super::keyboard::{Keyboard, Stroke};
use super::super::sentence;
use super::super::text::printable;
use super::{Action, Connector, Model, say};

/// An answer that is on its way to the connector.
#[derive(Debug)]
pub(in crate::console) struct Submitted {
    pub(in crate::console) question: Question,
    at_us: u64,
}

/// One terminal's keyboard and line.
#[derive(Debug)]
pub(super) struct Terminal {
    name: String,
    pub(super) keyboard: Keyboard,
    pub(super) entry: Entry,
    /// The operator asked to type another service edge.
    pub(super) other_edge: bool,
    /// What was typed to confirm a factory reset, while that is asked for.
    pub(super) reset: Option<String>,
    /// The last answer given, and when.
    answered: Option<(String, u64)>,
}

impl Model {
    pub(super) fn typed(
        &mut self,
        now_us: u64,
        place: usize,
        bytes: &[u8],
        actions: &mut Vec<Action>,
    ) {
        self.lone_escape(now_us, place, actions);
        for byte in bytes {
            let Some(terminal) = self.terminals.get_mut(place) else {
                return;
            };
            if let Some(stroke) = terminal.keyboard.take(now_us, *byte) {
                self.stroke(now_us, place, stroke, actions);
            }
        }
    }

    /// Takes an Esc that nothing followed.
    fn lone_escape(&mut self, now_us: u64, place: usize, actions: &mut Vec<Action>) {
        let terminal = self.terminals.get_mut(place);
        if let Some(stroke) = terminal.and_then(|it| it.keyboard.handle_timeout(now_us)) {
            self.stroke(now_us, place, stroke, actions);
        }
    }

    fn stroke(&mut self, now_us: u64, place: usize, stroke: Stroke, actions: &mut Vec<Action>) {
        if self.reset_stroke(now_us, place, stroke, actions) {
            return;
        }
        let question = self.question(place);
        let may_change_edge = self.may_change_edge();
        let Some(terminal) = self.terminals.get_mut(place) else {
            return;
        };
        if stroke == Stroke::Edge && may_change_edge {
            terminal.other_edge = !terminal.other_edge;
            return;
        }
        let Some(question) = question else {
            if matches!(stroke, Stroke::Enter | Stroke::Redraw) {
                actions.push(Action::Redraw { terminal: place });
            }
            return;
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
            Outcome::Key(key, ignored) => {
                self.submit_key(now_us, place, &key, ignored, actions);
            }
            Outcome::Edge(edge) => self.submit_edge(now_us, place, edge, actions),
            Outcome::ProxyCredentials => {
                let message = terminal.entry.proxy_credentials();
                self.submit_credentials(now_us, place, message, actions);
            }
        }
    }

    fn submit_credentials(
        &mut self,
        now_us: u64,
        place: usize,
        message: FromConsole,
        actions: &mut Vec<Action>,
    ) {
        let name = self
            .terminals
            .get(place)
            .map_or("", |terminal| &terminal.name);
        let text = format!("User and password for the proxy were typed on {name}");
        actions.push(say(now_us, &text));
        actions.push(Action::Send(message));
        self.forget_typed();
        self.submitted = Some(Submitted::new(Question::ProxyPassword, now_us));
    }

    fn submit_key(
        &mut self,
        now_us: u64,
        place: usize,
        key: &[u8; SEED_LEN],
        ignored: Ignored,
        actions: &mut Vec<Action>,
    ) {
        let name = self
            .terminals
            .get(place)
            .map_or("", |terminal| &terminal.name);
        let mut text = format!("All groups of the key check; it was typed on {name}");
        if ignored.total() > 0 {
            text += &format!(" (ignored: {ignored})");
        }
        actions.push(say(now_us, &text));
        actions.push(Action::Send(FromConsole::Key(*key)));
        self.forget_typed();
        self.submitted = Some(Submitted::new(Question::Key, now_us));
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
        let text = format!("Service edge {} was typed on {name}", printable(&edge));
        actions.push(say(now_us, &text));
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
            self.submitted = Some(Submitted::new(Question::Edge, now_us));
        }
    }

    pub(super) fn tick(&mut self, now_us: u64, actions: &mut Vec<Action>) {
        for place in 0..self.terminals.len() {
            self.lone_escape(now_us, place, actions);
        }
        let late = |submitted: &mut Submitted| submitted.answer_due() <= now_us;
        let Some(submitted) = self.submitted.take_if(late) else {
            return;
        };
        let (what, them) = match submitted.question {
            Question::Reset => {
                return actions.push(say(now_us, sentence::NOT_ERASED));
            }
            Question::Edge => ("service edge", "it"),
            Question::Key => ("key", "it"),
            Question::ProxyUser | Question::ProxyPassword => ("user and password", "them"),
        };
        let patience = PATIENCE_US / 1_000_000;
        let text = format!(
            "The connector did not take the {what} within {patience} s. Type {them} again."
        );
        actions.push(say(now_us, &text));
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
    pub(super) fn forget_typed(&mut self) {
        for terminal in &mut self.terminals {
            terminal.entry.clear();
            terminal.other_edge = false;
        }
    }
}

impl Submitted {
    pub(super) const fn new(question: Question, at_us: u64) -> Self {
        Self { question, at_us }
    }

    /// When the connector must have reacted.
    pub(super) const fn answer_due(&self) -> u64 {
        self.at_us.saturating_add(PATIENCE_US)
    }
}

impl Terminal {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: printable(name),
            keyboard: Keyboard::default(),
            entry: Entry::default(),
            other_edge: false,
            reset: None,
            answered: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is one of the machine's own screens, `tty1`, of which nothing is kept. What a serial
    /// port sends, hypervisors write into files.
    pub(super) fn is_screen(&self) -> bool {
        let number = self.name.strip_prefix("tty");
        number.is_some_and(|number| number.starts_with(|digit: char| digit.is_ascii_digit()))
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

/// How long the connector may take to react to what was typed before the operator is asked again.
const PATIENCE_US: u64 = 10_000_000;

/// An answer is not repeated within this time: longer than a paste's portions are apart, shorter
/// than a group takes to type.
const REPEAT_US: u64 = 300_000;
