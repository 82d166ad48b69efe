//! The commands of a data plane's thread: a flag under the lock says that it sleeps, and who finds the flag
//! set takes it away and wakes the thread when the lock is free again.

use super::{Model, ends};

/// Threads that give commands.
const GIVERS: usize = 2;
/// Commands that each gives.
const COMMANDS: u8 = 2;
/// Times that the thread wakes by itself: a deadline, a socket.
const OTHER_WAKES: u8 = 1;

/// What may be done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Flaw {
    None,
    /// Who gives a command looks at the flag first, and gives it under another lock.
    FlagBeforeCommand,
    /// The thread looks whether there are commands, and sets the flag under another lock.
    LookBeforeFlag,
    /// The thread leaves commands for its next round, and does not look before it sleeps.
    NoLook,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Giver {
    left: u8,
    at: GiverAt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum GiverAt {
    Begin,
    /// Has looked at the flag, and has yet to give ([`Flaw::FlagBeforeCommand`]).
    Gives {
        was_asleep: bool,
    },
    Wakes,
}

/// Where the thread of the plane is in its round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Obeys,
    Looks,
    /// Has seen no commands, and has yet to say that it sleeps ([`Flaw::LookBeforeFlag`]).
    SaysSo,
    Waits {
        is_busy: bool,
    },
    IsAwake,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    flaw: Flaw,
    commands: u8,
    is_asleep: bool,
    /// The thread was woken and has not heard of it: many times are one.
    woken: bool,
    givers: [Giver; GIVERS],
    at: At,
    other_wakes: u8,
}

impl State {
    fn new(flaw: Flaw) -> Self {
        let giver = Giver {
            left: COMMANDS,
            at: GiverAt::Begin,
        };
        Self {
            flaw,
            commands: 0,
            is_asleep: false,
            woken: false,
            givers: [giver; GIVERS],
            at: At::Obeys,
            other_wakes: OTHER_WAKES,
        }
    }

    /// The next step of one who gives commands (`Queue::change`).
    fn give(mut self, number: usize) -> Option<Self> {
        let giver = &mut self.givers[number];
        match giver.at {
            GiverAt::Begin if giver.left == 0 => return None,
            GiverAt::Begin if self.flaw == Flaw::FlagBeforeCommand => {
                let was_asleep = std::mem::take(&mut self.is_asleep);
                giver.at = GiverAt::Gives { was_asleep };
                return Some(self);
            }
            GiverAt::Begin => {
                let was_asleep = std::mem::take(&mut self.is_asleep);
                self.commands += 1;
                giver.left -= 1;
                giver.at = next_of(was_asleep);
            }
            GiverAt::Gives { was_asleep } => {
                self.commands += 1;
                giver.left -= 1;
                giver.at = next_of(was_asleep);
            }
            GiverAt::Wakes => {
                self.woken = true;
                giver.at = GiverAt::Begin;
            }
        }
        Some(self)
    }

    /// The next steps of the thread (`Worker::run`): each is all that happens under one lock, or the wait.
    fn turn(mut self) -> Vec<Self> {
        let is_empty = self.commands == 0;
        match self.at {
            At::Obeys => {
                // One a round, where the product takes 64.
                self.commands = self.commands.saturating_sub(1);
                self.at = At::Looks;
            }
            At::Looks => match self.flaw {
                Flaw::LookBeforeFlag if is_empty => self.at = At::SaysSo,
                Flaw::NoLook => return vec![self.sleeps(true)],
                _ => return vec![self.sleeps(is_empty)],
            },
            At::SaysSo => return vec![self.sleeps(true)],
            At::Waits { is_busy } => return self.wait(is_busy),
            At::IsAwake => {
                self.is_asleep = false;
                self.at = At::Obeys;
            }
        }
        vec![self]
    }

    fn sleeps(mut self, sleeps: bool) -> Self {
        self.is_asleep = sleeps;
        self.at = At::Waits { is_busy: !sleeps };
        self
    }

    fn wait(mut self, is_busy: bool) -> Vec<Self> {
        self.at = At::IsAwake;
        let mut next = Vec::new();
        if is_busy || self.woken {
            next.push(Self {
                woken: false,
                ..self
            });
        }
        if !is_busy && !self.woken && self.other_wakes > 0 {
            self.other_wakes -= 1;
            next.push(self);
        }
        next
    }
}

impl Model for State {
    fn steps(&self) -> Vec<Self> {
        let givers = (0..GIVERS).filter_map(|number| self.give(number));
        givers.chain(self.turn()).collect()
    }
}

const fn next_of(was_asleep: bool) -> GiverAt {
    match was_asleep {
        true => GiverAt::Wakes,
        false => GiverAt::Begin,
    }
}

/// Commands that nobody will carry out, at worst.
fn left_behind(flaw: Flaw) -> Option<u8> {
    let ends = ends(State::new(flaw))?;
    ends.iter().map(|end| end.commands).max()
}

#[test]
fn a_thread_that_sleeps_is_woken_for_every_command() {
    assert_eq!(left_behind(Flaw::None), Some(0));
}

#[test]
fn a_flag_that_is_not_looked_at_together_with_the_commands_loses_some() {
    for flaw in [Flaw::FlagBeforeCommand, Flaw::LookBeforeFlag, Flaw::NoLook] {
        assert!(left_behind(flaw) > Some(0), "{flaw:?}");
    }
}
