//! What one terminal's operator has typed so far, checked as it is typed.

use connector_proto::key::{GROUP_LEN, GROUPS, KEY_LETTERS, KeyInput, Pushed, SEED_LEN};
use connector_proto::limits::HOST_MAX;
use connector_proto::local::{EdgeText, FromConsole};
use ovf::property::EdgeName;
use zeroize::{Zeroize, Zeroizing};

use super::ignored::Ignored;
use super::keyboard::Stroke;
use super::proxy_entry::ProxyEntry;
use super::text::printable;

/// What the operator is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The service edge.
    Edge,
    /// The provisioning key.
    Key,
    /// The user for the HTTP proxy.
    ProxyUser,
    /// And the password.
    ProxyPassword,
    /// The word that confirms a factory reset; the line is the model's.
    Reset,
}

/// What a keystroke came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing but perhaps a change of the line.
    Echo,
    /// The line is to be drawn anew.
    Redraw,
    /// Something to tell the operator of this terminal; the line may have changed.
    Answer(String),
    /// A whole key whose groups all check, and what was ignored of it. The letters are forgotten here.
    Key(Zeroizing<[u8; SEED_LEN]>, Ignored),
    /// A service edge that can be one.
    Edge(EdgeText),
    /// User and password for the proxy are typed: [`Entry::proxy_credentials`] hands them over.
    ProxyCredentials,
}

/// The input line of one terminal.
#[derive(Debug, Default)]
pub struct Entry {
    key: KeyInput,
    ignored: Ignored,
    /// The last stroke was a dash where the line shows one.
    after_dash: bool,
    edge: String,
    proxy: ProxyEntry,
}

impl Entry {
    /// Takes one stroke of the answer to `question`.
    pub fn take(&mut self, question: Question, stroke: Stroke) -> Outcome {
        match (question, stroke) {
            (_, Stroke::Redraw) => Outcome::Redraw,
            (Question::Reset, _) | (_, Stroke::Edge | Stroke::Reset) => Outcome::Echo,
            (Question::Key, Stroke::Character(character)) => self.key_character(character),
            (Question::Key, Stroke::Enter) => self.key_enter(),
            (Question::Key, Stroke::Backspace) => {
                self.key.backspace();
                self.after_dash = false;
                Outcome::Echo
            }
            (Question::Edge, Stroke::Character(character)) => self.edge_character(character),
            (Question::Edge, Stroke::Enter) => self.edge_enter(),
            (Question::Edge, Stroke::Backspace) => {
                self.edge.pop();
                Outcome::Echo
            }
            (Question::Edge | Question::Key, Stroke::Escape) => Outcome::Echo,
            (_, Stroke::Clear | Stroke::Escape) => {
                self.clear();
                Outcome::Echo
            }
            (Question::ProxyUser | Question::ProxyPassword, stroke) => self.proxy_stroke(stroke),
        }
    }

    /// Which of the questions about the proxy comes next.
    #[must_use]
    pub const fn proxy_question(&self) -> Question {
        self.proxy.question()
    }

    /// User and password for the proxy, which are forgotten here.
    pub fn proxy_credentials(&mut self) -> FromConsole {
        self.proxy.take()
    }

    /// Forgets and wipes what was typed.
    pub fn clear(&mut self) {
        self.key.zeroize();
        (self.ignored, self.after_dash) = (Ignored::default(), false);
        self.edge.clear();
        self.proxy.clear();
    }

    /// What was typed, as the line shows it. Of a key that is what [`KeyInput::shown`] does: on a screen
    /// the group that is being typed, so that an operator whose keyboard has another layout sees what
    /// comes of it, and nothing where what is shown may be kept.
    #[must_use]
    pub fn text(&self, question: Question, is_screen: bool) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(EDGE_MAX));
        match question {
            Question::Edge => text.push_str(&self.edge),
            Question::ProxyUser | Question::ProxyPassword => self.proxy.show(&mut text),
            Question::Reset => {}
            Question::Key => {
                text.push_str(&self.key.shown(is_screen));
                if self.is_between_groups() {
                    text.push('-');
                }
            }
        }
        text
    }

    /// What of the typed key did not count.
    #[must_use]
    pub const fn ignored(&self) -> Ignored {
        self.ignored
    }

    /// Whether the line shows a dash that waits for the next group.
    fn is_between_groups(&self) -> bool {
        !self.key.is_empty() && self.key.len().is_multiple_of(GROUP_LEN)
    }

    fn proxy_stroke(&mut self, stroke: Stroke) -> Outcome {
        match stroke {
            Stroke::Character(character) => self.proxy.character(character),
            Stroke::Enter => self.proxy.enter(),
            Stroke::Backspace => {
                self.proxy.backspace();
                Outcome::Echo
            }
            Stroke::Clear | Stroke::Edge | Stroke::Escape | Stroke::Redraw | Stroke::Reset => {
                Outcome::Echo
            }
        }
    }

    fn key_character(&mut self, character: char) -> Outcome {
        let after_dash = core::mem::take(&mut self.after_dash);
        match self.key.push(character) {
            Pushed::Letter | Pushed::Full => Outcome::Echo,
            Pushed::Ignored => {
                // The line shows a dash behind each group: the operator's own is that one.
                if character == '-' && self.is_between_groups() && !after_dash {
                    self.after_dash = true;
                } else {
                    self.ignored.count(character);
                }
                Outcome::Echo
            }
            Pushed::GroupRight { group } if group + 1 == GROUPS => self.key_complete(),
            Pushed::GroupRight { .. } => Outcome::Echo,
            Pushed::GroupWrong { group } => {
                self.key.erase_group();
                Outcome::Answer(wrong_group(group))
            }
            Pushed::Foreign { character } => Outcome::Answer(format!(
                "'{}' is in no key. The letters are cbdefghijklnrtuv.",
                printable(character.encode_utf8(&mut [0; 4]))
            )),
        }
    }

    fn key_complete(&mut self) -> Outcome {
        let outcome = match self.key.key() {
            Ok(key) => Outcome::Key(Zeroizing::new(*key.data()), self.ignored),
            Err(error) => Outcome::Answer(format!("Key refused: {error}.")),
        };
        self.clear();
        outcome
    }

    fn key_enter(&self) -> Outcome {
        let missing = KEY_LETTERS - self.key.len();
        match self.key.len() {
            0 => Outcome::Redraw,
            _ if missing == 1 => {
                Outcome::Answer(format!("1 of the key's {KEY_LETTERS} letters is missing."))
            }
            _ => Outcome::Answer(format!(
                "{missing} of the key's {KEY_LETTERS} letters are missing."
            )),
        }
    }

    fn edge_character(&mut self, character: char) -> Outcome {
        if !is_edge_character(character) {
            return Outcome::Answer(format!(
                "'{}' is in no host name. Type letters, digits, '-' and '.', then perhaps :port.",
                printable(character.encode_utf8(&mut [0; 4]))
            ));
        }
        if self.edge.len() == EDGE_MAX {
            return Outcome::Answer(format!(
                "A host name has at most {HOST_MAX} characters. Ctrl-U clears the line."
            ));
        }
        self.edge.push(character.to_ascii_lowercase());
        Outcome::Echo
    }

    fn edge_enter(&mut self) -> Outcome {
        if self.edge.is_empty() {
            return Outcome::Redraw;
        }
        match self.edge.parse::<EdgeName>() {
            Ok(_) => {
                let edge = EdgeText::try_from(self.edge.as_str()).unwrap_or_default();
                self.clear();
                Outcome::Edge(edge)
            }
            // The line stays, to be corrected.
            Err(error) => Outcome::Answer(printable(&error.to_string())),
        }
    }
}

/// The sentence for a group whose check letter does not fit; `group` counts from 0.
fn wrong_group(group: usize) -> String {
    format!(
        "Group {} of {GROUPS} has a wrong letter. Type that group again.",
        group + 1
    )
}

const fn is_edge_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | ':')
}

/// Longest `name:port` in characters.
const EDGE_MAX: usize = HOST_MAX + ":65535".len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cleared_entry_holds_no_letter() {
        let mut entry = Entry::default();
        for character in "brdtceuf".chars() {
            entry.take(Question::Key, Stroke::Character(character));
        }
        assert_eq!(*entry.text(Question::Key, true), "*****-euf");
        assert_eq!(entry.take(Question::Key, Stroke::Clear), Outcome::Echo);
        assert_eq!(*entry.text(Question::Key, true), "");
    }
}
