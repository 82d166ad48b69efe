//! Joins the terminal to a machine's serial line.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

use crate::console::Console;

/// The key that leaves: Ctrl-], as in telnet.
pub const LEAVE_KEY: u8 = 0x1d;

/// How [`join`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// The person pressed [`LEAVE_KEY`].
    ByKey,
    /// The machine ended.
    ByMachine,
}

/// Shows what `console` says on the terminal and types what the person types, until the person
/// presses [`LEAVE_KEY`] or the machine ends. The terminal is raw meanwhile, so that Ctrl-C
/// reaches the guest.
///
/// When standard input ends (it is a pipe or a file), the machine's output is still shown.
///
/// # Errors
/// Those of the terminal.
pub fn join(console: &Console) -> io::Result<Left> {
    let raw = RawMode::enter()?;
    let outcome = pass(console, &mut console.tap()?);
    drop(raw);
    outcome
}

fn pass(console: &Console, tap: &mut UnixStream) -> io::Result<Left> {
    let mut stdin_open = true;
    loop {
        let (said, typed) = wait(tap, stdin_open)?;
        if said && !show(tap)? {
            return Ok(Left::ByMachine);
        }
        if typed {
            match read_typed(console)? {
                Typed::End => stdin_open = false,
                Typed::Leave => return Ok(Left::ByKey),
                Typed::Sent => {}
            }
        }
    }
}

/// Which of the two can be read: the machine's output, the person's input.
fn wait(tap: &UnixStream, stdin_open: bool) -> io::Result<(bool, bool)> {
    let stdin = io::stdin();
    let mut fds = [
        PollFd::from_borrowed_fd(tap.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
    ];
    let fds = if stdin_open {
        &mut fds[..]
    } else {
        &mut fds[..1]
    };
    match poll(fds, None) {
        Ok(_) => {
            let ready = |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
            Ok((ready(0), ready(1)))
        }
        Err(rustix::io::Errno::INTR) => Ok((false, false)),
        Err(error) => Err(error.into()),
    }
}

/// Passes on what the machine said; false at its end.
fn show(tap: &mut UnixStream) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    let count = tap.read(&mut buffer)?;
    let mut stdout = io::stdout();
    stdout.write_all(&buffer[..count])?;
    stdout.flush()?;
    Ok(count > 0)
}

/// What came of the person's input.
enum Typed {
    /// There will be no more.
    End,
    /// [`LEAVE_KEY`].
    Leave,
    /// It was typed into the machine.
    Sent,
}

fn read_typed(console: &Console) -> io::Result<Typed> {
    let mut buffer = [0; 256];
    // Unbuffered: bytes that `Stdin` kept to itself would not wake `poll`.
    let count = rustix::io::read(io::stdin().as_fd(), &mut buffer)?;
    let typed = &buffer[..count];
    let leave_at = typed.iter().position(|&byte| byte == LEAVE_KEY);
    // An error means that the machine ended, which the tap reports.
    let _ = console.send(&typed[..leave_at.unwrap_or(count)]);
    Ok(match (leave_at, count) {
        (Some(_), _) => Typed::Leave,
        (None, 0) => Typed::End,
        (None, _) => Typed::Sent,
    })
}

/// Raw mode of the terminal on standard input, if it is one; restored when dropped.
#[derive(Debug)]
struct RawMode {
    before: Option<Termios>,
}

impl RawMode {
    fn enter() -> io::Result<Self> {
        let stdin = io::stdin();
        if !isatty(&stdin) {
            return Ok(Self { before: None });
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Flush, &raw)?;
        Ok(Self {
            before: Some(before),
        })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // There is no one to tell: the terminal itself is what failed.
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, before);
        }
    }
}
