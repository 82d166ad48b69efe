//! User and password for an HTTP proxy, as they are typed: the one in sight, the other not.

use connector_proto::limits::PROXY_WORD_MAX;
use connector_proto::local::{FromConsole, Text};
use zeroize::{Zeroize, Zeroizing};

use super::entry::{Outcome, Question};
use super::text::printable;

/// Both, one after the other.
#[derive(Debug, Default)]
pub struct ProxyEntry {
    user: Word,
    password: Word,
    /// The user was entered; the password is typed.
    has_user: bool,
}

/// A word that never moves in memory, so that wiping it leaves no copy.
#[derive(Debug)]
struct Word(Zeroizing<String>);

impl Default for Word {
    fn default() -> Self {
        Self(Zeroizing::new(String::with_capacity(PROXY_WORD_MAX)))
    }
}

impl ProxyEntry {
    /// Which of the two is asked for.
    #[must_use]
    pub const fn question(&self) -> Question {
        if self.has_user {
            Question::ProxyPassword
        } else {
            Question::ProxyUser
        }
    }

    /// Takes a character.
    pub fn character(&mut self, character: char) -> Outcome {
        let (name, word) = match self.question() {
            Question::ProxyPassword => ("password", &mut self.password.0),
            _ => ("user", &mut self.user.0),
        };
        if name == "user" && character == ':' {
            return Outcome::Answer("A proxy's user holds no ':'. Is it the password?".to_owned());
        }
        // The character itself may be a part of a password: it is not repeated.
        if character.is_control() || character == char::REPLACEMENT_CHARACTER {
            return Outcome::Answer(format!("That character cannot be in a proxy's {name}."));
        }
        if word.len() + character.len_utf8() > PROXY_WORD_MAX {
            return Outcome::Answer(format!(
                "A proxy's {name} has at most {PROXY_WORD_MAX} bytes here. Ctrl-U begins again."
            ));
        }
        word.push(character);
        Outcome::Echo
    }

    /// Takes the last character back.
    pub fn backspace(&mut self) {
        match self.question() {
            Question::ProxyPassword => self.password.0.pop(),
            _ => self.user.0.pop(),
        };
    }

    /// Goes on to the password, or is done. Nothing typed is no answer: people press Enter to see
    /// whether a terminal is alive.
    pub fn enter(&mut self) -> Outcome {
        match self.question() {
            Question::ProxyPassword if self.password.0.is_empty() => Outcome::Redraw,
            Question::ProxyPassword => Outcome::ProxyCredentials,
            _ if self.user.0.is_empty() => Outcome::Redraw,
            _ => {
                self.has_user = true;
                Outcome::Echo
            }
        }
    }

    /// What was typed, as a message, and forgets it.
    pub fn take(&mut self) -> FromConsole {
        // Both fit: no more is taken.
        let message = FromConsole::ProxyCredentials {
            user: Text::try_from(self.user.0.as_str()).unwrap_or_default(),
            password: Text::try_from(self.password.0.as_str()).unwrap_or_default(),
        };
        self.clear();
        message
    }

    /// Forgets and wipes both, and begins with the user.
    pub fn clear(&mut self) {
        self.user.0.zeroize();
        self.password.0.zeroize();
        self.has_user = false;
    }

    /// Appends what the line shows.
    pub fn show(&self, line: &mut String) {
        match self.question() {
            Question::ProxyPassword => line.extend(self.password.0.chars().map(|_| '*')),
            _ => line.push_str(&printable(&self.user.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cleared_entry_holds_no_letter_and_has_not_moved() {
        let mut entry = ProxyEntry::default();
        let places = |entry: &ProxyEntry| [entry.user.0.as_ptr(), entry.password.0.as_ptr()];
        let before = places(&entry);
        for _ in 0..2 {
            for _ in 0..PROXY_WORD_MAX {
                assert_eq!(entry.character('x'), Outcome::Echo);
            }
            assert!(matches!(entry.character('x'), Outcome::Answer(_)));
            entry.enter();
        }
        assert_eq!(entry.enter(), Outcome::ProxyCredentials);
        entry.clear();
        assert_eq!(places(&entry), before);
        assert_eq!(entry.question(), Question::ProxyUser);
        assert!(entry.user.0.is_empty() && entry.password.0.is_empty());
    }

    #[test]
    fn a_wiped_message_holds_nothing() {
        let mut message = FromConsole::ProxyCredentials {
            user: "mona".try_into().unwrap(),
            password: "\u{e9}".repeat(64).as_str().try_into().unwrap(),
        };
        message.wipe();
        let FromConsole::ProxyCredentials { user, password } = message else {
            panic!("it is another message")
        };
        for word in [user, password] {
            assert_eq!(word.as_bytes(), [0; PROXY_WORD_MAX]);
        }
    }
}
