//! The terminals that are handed to the console process.

use std::os::fd::OwnedFd;

use connector_proto::local::{ToConsole, text};
use rustix::fs::{Mode, OFlags, open as open_file};

/// The screen and the serial port.
pub const TERMINALS: [&str; 2] = ["tty1", "ttyS0"];

/// Opens the terminals that exist and work, and the message that names them.
///
/// A serial port that is not there has a device node all the same; asking for its settings fails.
#[must_use]
pub fn open() -> (ToConsole, Vec<OwnedFd>) {
    let mut terminals = Vec::new();
    let mut descriptors = Vec::new();
    for name in TERMINALS {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = open_file(format!("/dev/{name}"), flags, Mode::empty())
            .and_then(|terminal| rustix::termios::tcgetattr(&terminal).map(|_| terminal));
        match opened {
            Ok(terminal) => {
                terminals.push(text(name));
                descriptors.push(terminal);
            }
            Err(error) => log::info!("no terminal {name}: {error}"),
        }
    }
    let terminals = terminals.into_iter().collect();
    (ToConsole::Start { terminals }, descriptors)
}
