//! Leaves nothing of what the operator typed in PID 1's memory.
//!
//! A provisioning key passes through on its way to the connector. The buffers of [`crate::channel`] wipe
//! themselves; here is the rest: the decoded message, and the copies that moving it left on the stack.

use std::hint::black_box;

use connector_proto::local::{FromConsole, Text, ToConnector};
use zeroize::Zeroize;

use crate::hub::Letter;

/// More than the stack on which a message is received, decoded, passed on and encoded again: a few
/// buffers of [`connector_proto::limits::LOCAL_MAX`] bytes.
const STACK_BYTES: usize = 128 << 10;

/// Wipes what a letter says if it is what the operator typed.
pub fn letter(letter: &mut Letter) {
    if let Letter::Connector(_, ToConnector::Operator(message)) = letter {
        typed(message);
    }
}

fn typed(message: &mut FromConsole) {
    match message {
        FromConsole::Key(seed) => seed.zeroize(),
        FromConsole::ProxyCredentials { user, password } => {
            fill(user);
            fill(password);
        }
        FromConsole::Edge(_) | FromConsole::Slot(_) | FromConsole::FactoryReset => {}
    }
}

/// Overwrites all of the text's room.
fn fill<const N: usize>(text: &mut Text<N>) {
    text.clear();
    while text.push('\0').is_ok() {}
    // The text is dropped unread: without a reader the writes would be left out.
    black_box(text);
}

/// Overwrites what calls that have returned left on the stack. To be called from the function that
/// called them.
#[inline(never)]
pub fn stack() {
    let mut room = [0xff_u8; STACK_BYTES];
    room.zeroize();
    black_box(&room);
}

#[cfg(test)]
mod tests {
    use connector_proto::local::text;

    use super::*;

    #[test]
    fn a_typed_key_and_a_typed_password_are_wiped_and_other_letters_are_not() {
        let of = |message| Letter::Connector(1, ToConnector::Operator(message));
        let mut key = of(FromConsole::Key([7; 14]));
        letter(&mut key);
        let Letter::Connector(_, ToConnector::Operator(FromConsole::Key(seed))) = key else {
            panic!("it is another letter now");
        };
        assert_eq!(seed, [0; 14]);

        let (user, password) = (text("proxy user"), text("secret"));
        let mut credentials = of(FromConsole::ProxyCredentials { user, password });
        letter(&mut credentials);
        let Letter::Connector(_, ToConnector::Operator(message)) = &credentials else {
            panic!("it is another letter now");
        };
        let FromConsole::ProxyCredentials { user, password } = message else {
            panic!("it is another message now");
        };
        assert!(user.bytes().chain(password.bytes()).all(|byte| byte == 0));
        assert_eq!(
            (user.len(), password.len()),
            (user.capacity(), password.capacity())
        );

        let mut edge = of(FromConsole::Edge(text("edge.example")));
        letter(&mut edge);
        assert!(format!("{edge:?}").contains("edge.example"));
    }
}
