//! The factory reset: asked for with Ctrl-R, in every phase, and confirmed by a word.

use connector_proto::local::{FromConsole, Phase};

use super::super::entry::Question;
use super::super::keyboard::Stroke;
use super::typing::Submitted;
use super::{Action, Connector, Model, say};

/// What is to be typed: five letters that are at the same place on QWERTY, QWERTZ and AZERTY.
const WORD: &str = "RESET";

/// Longest answer that is kept; a longer one is no confirmation anyway.
const ANSWER_MAX: usize = 16;

impl Model {
    /// Whether somebody is there to erase the identity.
    fn may_reset(&self) -> bool {
        self.shutting_down.is_none()
            && self.submitted.is_none()
            && matches!(&self.connector, Connector::Running(status)
                if !matches!(status.phase, Phase::Stuck { .. }))
    }

    /// Whether the operator of a terminal is asked to confirm.
    pub(super) fn is_resetting(&self, place: usize) -> bool {
        let terminal = self.terminals.get(place);
        self.may_reset() && terminal.is_some_and(|terminal| terminal.reset.is_some())
    }

    /// Takes a stroke that has to do with the factory reset; false if it has not.
    pub(super) fn reset_stroke(
        &mut self,
        now_us: u64,
        place: usize,
        stroke: Stroke,
        actions: &mut Vec<Action>,
    ) -> bool {
        let is_resetting = self.is_resetting(place);
        let may_reset = self.may_reset();
        let Some(terminal) = self.terminals.get_mut(place) else {
            return false;
        };
        let Some(answer) = terminal.reset.as_mut().filter(|_| is_resetting) else {
            terminal.reset = (stroke == Stroke::Reset && may_reset).then(String::new);
            return stroke == Stroke::Reset;
        };
        match stroke {
            Stroke::Character(character) => {
                if answer.len() < ANSWER_MAX {
                    answer.push(character);
                }
            }
            Stroke::Backspace => drop(answer.pop()),
            Stroke::Clear => answer.clear(),
            Stroke::Redraw => actions.push(Action::Redraw { terminal: place }),
            Stroke::Enter if answer == WORD => self.submit_reset(now_us, place, actions),
            Stroke::Enter | Stroke::Escape | Stroke::Reset | Stroke::Edge => {
                terminal.reset = None;
                actions.push(Action::Say {
                    terminal: Some(place),
                    line: "Nothing was erased.".to_owned(),
                });
            }
        }
        true
    }

    fn submit_reset(&mut self, now_us: u64, place: usize, actions: &mut Vec<Action>) {
        let name = self
            .terminals
            .get(place)
            .map_or("", |terminal| terminal.name());
        let text = format!("Factory reset: this machine's identity is erased, as typed on {name}");
        actions.push(say(now_us, &text));
        actions.push(Action::Send(FromConsole::FactoryReset));
        self.forget_typed();
        for terminal in &mut self.terminals {
            terminal.reset = None;
        }
        self.submitted = Some(Submitted::new(Question::Reset, now_us));
    }
}
