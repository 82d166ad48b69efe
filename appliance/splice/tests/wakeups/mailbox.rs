//! The mailbox of the connector's loop: who finds the flag unset rings a bell, which is readable until it
//! was read; and the loop takes the flag back before it takes the messages.

use super::{Model, ends};

/// Threads that send.
const SENDERS: usize = 3;
/// Messages of each.
const MESSAGES: u8 = 2;

/// How the loop takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Taking {
    /// When the bell is readable: as the product does.
    WhenReadable,
    /// At any other time as well.
    AtAnyTime,
    /// At any time, and whatever the flag says the bell is read.
    AtAnyTimeAndReads,
    /// When it is readable, messages first and the flag after them.
    MessagesFirst,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SenderAt {
    Sends,
    Swaps,
    Rings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Sender {
    left: u8,
    at: SenderAt,
}

/// Where the loop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Waits,
    LooksAtFlag,
    ReadsBell,
    TakesFlagBack,
    TakesMessages,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    taking: Taking,
    messages: u8,
    has_rung: bool,
    is_readable: bool,
    senders: [Sender; SENDERS],
    at: At,
    /// How many times more it takes messages though the bell is silent.
    other_times: u8,
}

impl State {
    fn new(taking: Taking) -> Self {
        let sender = Sender {
            left: MESSAGES,
            at: SenderAt::Sends,
        };
        Self {
            taking,
            messages: 0,
            has_rung: false,
            is_readable: false,
            senders: [sender; SENDERS],
            at: At::Waits,
            other_times: match taking {
                Taking::WhenReadable | Taking::MessagesFirst => 0,
                Taking::AtAnyTime | Taking::AtAnyTimeAndReads => 2,
            },
        }
    }

    /// The next step of one who sends (`Slot::send`): each is one access.
    fn send(mut self, number: usize) -> Option<Self> {
        let sender = &mut self.senders[number];
        match sender.at {
            SenderAt::Sends if sender.left == 0 => return None,
            SenderAt::Sends => {
                sender.left -= 1;
                self.messages += 1;
                sender.at = SenderAt::Swaps;
            }
            SenderAt::Swaps => {
                sender.at = match std::mem::replace(&mut self.has_rung, true) {
                    true => SenderAt::Sends,
                    false => SenderAt::Rings,
                };
            }
            SenderAt::Rings => {
                self.is_readable = true;
                sender.at = SenderAt::Sends;
            }
        }
        Some(self)
    }

    /// The next step of the loop (`Mailbox::take`).
    fn take(mut self) -> Option<Self> {
        self.at = match self.at {
            At::Waits if self.is_readable => self.first(),
            At::Waits if self.other_times > 0 => {
                self.other_times -= 1;
                self.first()
            }
            At::Waits => return None,
            At::LooksAtFlag if self.has_rung => At::ReadsBell,
            At::LooksAtFlag => At::TakesMessages,
            At::ReadsBell => {
                self.is_readable = false;
                At::TakesFlagBack
            }
            At::TakesFlagBack => {
                self.has_rung = false;
                match self.taking {
                    Taking::MessagesFirst => At::Waits,
                    _ => At::TakesMessages,
                }
            }
            At::TakesMessages => {
                self.messages = 0;
                match self.taking {
                    Taking::MessagesFirst => At::ReadsBell,
                    _ => At::Waits,
                }
            }
        };
        Some(self)
    }

    const fn first(&self) -> At {
        match self.taking {
            Taking::WhenReadable | Taking::AtAnyTime => At::LooksAtFlag,
            Taking::AtAnyTimeAndReads => At::ReadsBell,
            Taking::MessagesFirst => At::TakesMessages,
        }
    }
}

impl Model for State {
    fn steps(&self) -> Vec<Self> {
        let senders = (0..SENDERS).filter_map(|number| self.send(number));
        senders.chain(self.take()).collect()
    }
}

/// Messages that nobody will take, at worst; `None` if the bell may ring for ever.
fn left_behind(taking: Taking) -> Option<u8> {
    let ends = ends(State::new(taking))?;
    ends.iter().map(|end| end.messages).max()
}

#[test]
fn every_message_is_taken_and_the_bell_is_silent_afterwards() {
    assert_eq!(left_behind(Taking::WhenReadable), Some(0));
    assert_eq!(left_behind(Taking::AtAnyTimeAndReads), Some(0));
}

#[test]
fn a_flag_that_is_taken_back_after_the_messages_loses_some() {
    assert!(left_behind(Taking::MessagesFirst) > Some(0));
}

/// Why the loop takes messages only when the bell is readable.
#[test]
fn to_look_at_the_flag_of_a_silent_bell_may_leave_it_ringing_for_ever() {
    assert_eq!(left_behind(Taking::AtAnyTime), None);
}
