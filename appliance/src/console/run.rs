//! The console's one loop: PID 1's messages and the terminals' keys in, lines out.

use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use connector_proto::local::ToConsole;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use zeroize::Zeroize as _;

use super::channel::{Channel, Received};
use super::model::{Action, Event, Model};
use super::terminal::Terminal;
use super::view;
use crate::clock;

/// Runs until PID 1 closes the channel or `stop` becomes readable.
///
/// # Errors
/// What the kernel says, if `channel` is no socket or polling fails.
pub fn run(channel: BorrowedFd<'_>, stop: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut console = Console {
        channel: Channel::new(channel),
        model: Model::default(),
        terminals: Vec::new(),
    };
    loop {
        let ready = console.wait(stop)?;
        if ready.stop || !console.handle(&ready)? {
            return Ok(());
        }
    }
}

struct Console<'fd> {
    channel: Channel<'fd>,
    model: Model,
    terminals: Vec<Terminal>,
}

/// What polling found.
struct Ready {
    channel: PollFlags,
    stop: bool,
    /// One for each terminal; empty for those that were not polled.
    terminals: Vec<PollFlags>,
}

impl Console<'_> {
    fn wait(&self, stop: BorrowedFd<'_>) -> Result<Ready, Errno> {
        let unsent = if self.channel.has_unsent() {
            PollFlags::OUT
        } else {
            PollFlags::empty()
        };
        let mut polled = vec![
            PollFd::from_borrowed_fd(self.channel.as_fd(), PollFlags::IN | unsent),
            PollFd::from_borrowed_fd(stop, PollFlags::IN),
        ];
        for terminal in &self.terminals {
            if let Some(interest) = terminal.interest() {
                polled.push(PollFd::new(terminal, interest));
            }
        }
        let timeout = self
            .poll_timeout()
            .map(|at_us| timespec(at_us.saturating_sub(boot_us())));
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let mut found = polled.iter().map(PollFd::revents);
        let channel = found.next().unwrap_or(PollFlags::empty());
        let stop = found.next().is_some_and(|flags| !flags.is_empty());
        let terminals = self.terminals.iter().map(|terminal| {
            let polled = terminal.interest().and_then(|_| found.next());
            polled.unwrap_or(PollFlags::empty())
        });
        Ok(Ready {
            channel,
            stop,
            terminals: terminals.collect(),
        })
    }

    fn poll_timeout(&self) -> Option<u64> {
        let terminals = self.terminals.iter().filter_map(Terminal::poll_timeout);
        terminals.chain(self.model.poll_timeout()).min()
    }

    /// Handles what is ready; false when the channel is closed.
    fn handle(&mut self, ready: &Ready) -> Result<bool, Errno> {
        for (place, flags) in ready.terminals.iter().enumerate() {
            self.read_terminal(place, *flags);
        }
        let mut open = true;
        if !ready.channel.is_empty() {
            open = self.read_channel()?;
        }
        let actions = self.model.update(boot_us(), Event::Tick);
        self.perform(actions);
        if self.channel.flush().is_err() {
            open = false;
        }
        for (place, terminal) in self.terminals.iter_mut().enumerate() {
            let now_us = boot_us();
            terminal.update(now_us, view::live(&self.model, place, now_us));
        }
        Ok(open)
    }

    /// Takes the messages that wait, at most [`MESSAGES_MAX`]; false when the channel is closed.
    fn read_channel(&mut self) -> Result<bool, Errno> {
        for _ in 0..MESSAGES_MAX {
            match self.channel.receive()? {
                Received::Message(message, descriptors) => self.message(message, descriptors),
                Received::Garbage(error) => complain(&format!("{error}: it was dropped")),
                Received::Nothing => break,
                Received::Closed => return Ok(false),
            }
        }
        Ok(true)
    }

    fn message(&mut self, message: ToConsole, descriptors: Vec<OwnedFd>) {
        if let ToConsole::Start { terminals } = &message {
            if terminals.len() != descriptors.len() {
                complain(&format!(
                    "{} terminals were announced and {} descriptors came: the rest stay dark",
                    terminals.len(),
                    descriptors.len()
                ));
            }
            self.terminals = descriptors.into_iter().map(Terminal::new).collect();
        }
        let actions = self.model.update(boot_us(), Event::Message(message));
        self.perform(actions);
    }

    fn read_terminal(&mut self, place: usize, flags: PollFlags) {
        let Some(terminal) = self.terminals.get_mut(place) else {
            return;
        };
        let now_us = boot_us();
        if flags.intersects(PollFlags::IN) {
            let mut typed = [0; READ_MAX];
            let length = terminal.read(now_us, &mut typed);
            let event = Event::Typed {
                terminal: place,
                bytes: &typed[..length],
            };
            let actions = self.model.update(now_us, event);
            typed.zeroize();
            self.perform(actions);
        } else if flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            terminal.failed(now_us);
        }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for mut action in actions {
            match &action {
                Action::Say { terminal, line } => {
                    for (place, shown) in self.terminals.iter_mut().enumerate() {
                        if terminal.is_none_or(|only| only == place) {
                            shown.screen().say(line);
                        }
                    }
                }
                Action::Redraw { terminal } => {
                    if let Some(terminal) = self.terminals.get_mut(*terminal) {
                        terminal.screen().redraw();
                    }
                }
                Action::Send(message) => {
                    if self.channel.send(message).is_err() {
                        complain("PID 1 does not read: what was typed is dropped");
                    }
                }
            }
            action.wipe();
        }
    }
}

/// `CLOCK_BOOTTIME` in microseconds.
fn boot_us() -> u64 {
    clock::now().as_micros()
}

fn timespec(us: u64) -> Timespec {
    let (seconds, us) = (us / 1_000_000, us % 1_000_000);
    Timespec {
        tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
        // Rounded up, so that the time has come when the kernel says so.
        tv_nsec: i64::try_from(us * 1000 + 999).unwrap_or(0),
    }
}

/// Leaves a line in the log that PID 1 keeps of this process.
fn complain(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "{sentence}");
}

/// Messages taken before the terminals get their turn.
const MESSAGES_MAX: usize = 32;

/// Bytes taken from a terminal before the others get their turn.
const READ_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use connector_proto::key::ProvisioningKey;
    use connector_proto::limits::LOCAL_MAX;
    use connector_proto::local::{self, ConnectorStatus, FromConsole, NoIdentity, Phase, Text};
    use connector_sys::packet_channel;
    use rustix::io::{ioctl_fionbio, read, write};
    use rustix::net::{RecvFlags, recv};
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};
    use rustix::time::{ClockId, clock_gettime};
    use std::thread::JoinHandle;

    #[test]
    fn a_key_typed_on_a_real_terminal_comes_out_of_the_channel() {
        let machine = Machine::start(2);
        machine.ask_for_key();
        machine.wait_for(0, "Provisioning key: ");
        machine.wait_for(1, "Provisioning key: ");
        write(
            &machine.keyboards[1],
            b"brdtc-eufvc-gchbi-idjeg-kflgf-nhrif-tjuke\r\n",
        )
        .unwrap();
        let FromConsole::Key(data) = machine.receive() else {
            panic!("no key came")
        };
        let key = ProvisioningKey::from_data(data).unwrap();
        assert_eq!(
            key.to_text().as_str(),
            "brdtc-eufvc-gchbi-idjeg-kflgf-nhrif-tjuke"
        );
        machine.wait_for(0, "it was typed on pts1");
        machine.stop();
    }

    #[test]
    fn a_terminal_nobody_reads_does_not_keep_the_other_from_working() {
        let machine = Machine::start(2);
        machine.ask_for_key();
        for number in 0..2000 {
            let text = Text::try_from(format!("problem {number}").as_str()).unwrap();
            let fact = local::Fact::Problem { text };
            machine.send(
                &ToConsole::Fact {
                    fact,
                    at_boot_us: 0,
                },
                &[],
            );
            machine.wait_for(0, &format!("problem {number}\x1b"));
        }
        machine.wait_for(1, "lines could not be shown in time");
        machine.wait_for(1, "problem 1999");
        machine.stop();
    }

    #[test]
    fn a_terminal_that_hangs_up_is_left_alone() {
        let mut machine = Machine::start(2);
        drop(machine.keyboards.pop());
        machine.ask_for_key();
        machine.wait_for(0, "Provisioning key: ");
        // A loop that spins would spend this time on the processor.
        std::thread::sleep(std::time::Duration::from_millis(300));
        let (_, spent_us) = machine.stop();
        assert!(
            spent_us < 150_000,
            "{spent_us} us of the processor in 300 ms"
        );
    }

    #[test]
    fn the_terminals_mode_is_put_back() {
        let machine = Machine::start(1);
        let cooked = tcgetattr(&machine.keyboards[0]).unwrap().local_modes;
        machine.ask_for_key();
        machine.wait_for(0, "Provisioning key: ");
        let raw = tcgetattr(&machine.keyboards[0]).unwrap().local_modes;
        assert!(!raw.intersects(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG));
        let (keyboards, _) = machine.stop();
        assert_eq!(tcgetattr(&keyboards[0]).unwrap().local_modes, cooked);
    }

    #[test]
    fn garbage_on_the_channel_is_dropped() {
        let machine = Machine::start(1);
        packet_channel::send(&machine.channel, &[0xff; 100], &[]).unwrap();
        machine.ask_for_key();
        machine.wait_for(0, "Provisioning key: ");
        machine.stop();
    }

    /// The console in a thread, with PID 1's end of the channel and a person at each terminal.
    struct Machine {
        channel: OwnedFd,
        keyboards: Vec<OwnedFd>,
        /// Returns the processor time it spent, in microseconds.
        console: JoinHandle<i64>,
    }

    impl Machine {
        fn start(terminals: usize) -> Self {
            let (channel, theirs) = packet_channel::pair().unwrap();
            let (stop, never) = std::os::unix::net::UnixStream::pair().unwrap();
            let console = std::thread::spawn(move || {
                let _never = never;
                run(theirs.as_fd(), stop.as_fd()).unwrap();
                let spent = clock_gettime(ClockId::ThreadCPUTime);
                spent.tv_sec * 1_000_000 + spent.tv_nsec / 1000
            });
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
            let keyboards: Vec<_> = (0..terminals).map(|_| openpt(flags).unwrap()).collect();
            let screens: Vec<_> = keyboards
                .iter()
                .map(|keyboard| {
                    grantpt(keyboard).unwrap();
                    unlockpt(keyboard).unwrap();
                    let screen = ioctl_tiocgptpeer(keyboard, flags).unwrap();
                    ioctl_fionbio(&screen, true).unwrap();
                    screen
                })
                .collect();
            let machine = Self {
                channel,
                keyboards,
                console,
            };
            let names = (0..terminals).map(|number| format!("pts{number}"));
            let terminals = names
                .map(|name| name.as_str().try_into().unwrap())
                .collect();
            machine.send(&ToConsole::Start { terminals }, &screens);
            machine
        }

        fn ask_for_key(&self) {
            let status = ConnectorStatus {
                phase: Phase::NeedKey {
                    refused: None,
                    why: NoIdentity::Blank,
                },
                since_boot_us: 0,
                edge: None,
                proxy: None,
                recognised: None,
                foreign_issuer: None,
                certificate_left_h: None,
                is_kernel_engine: None,
                sessions: 0,
                sessions_total: 0,
                bytes_up: 0,
                bytes_down: 0,
            };
            self.send(&ToConsole::Connector(status), &[]);
        }

        fn send(&self, message: &ToConsole, descriptors: &[OwnedFd]) {
            let mut buffer = [0; LOCAL_MAX];
            let packet = local::encode(message, &mut buffer).unwrap();
            let borrowed: Vec<_> = descriptors.iter().map(|fd| fd.as_fd()).collect();
            packet_channel::send(&self.channel, packet, &borrowed).unwrap();
        }

        fn receive(&self) -> FromConsole {
            let mut polled = [PollFd::new(&self.channel, PollFlags::IN)];
            assert_eq!(
                poll(&mut polled, Some(&timespec(20_000_000))),
                Ok(1),
                "no message came"
            );
            let mut packet = [0; LOCAL_MAX];
            let (length, _) = recv(&self.channel, &mut packet, RecvFlags::empty()).unwrap();
            local::decode(&packet[..length]).unwrap()
        }

        /// Reads a terminal until `phrase` was on it.
        fn wait_for(&self, terminal: usize, phrase: &str) {
            let mut seen = String::new();
            while !seen.contains(phrase) {
                let keyboard = &self.keyboards[terminal];
                let patience = timespec(20_000_000);
                let mut polled = [PollFd::new(keyboard, PollFlags::IN)];
                let ready = poll(&mut polled, Some(&patience)).unwrap();
                assert_eq!(ready, 1, "{phrase:?} did not come: {}", tail(&seen));
                let mut bytes = [0; 1024];
                let length = read(keyboard, &mut bytes).unwrap();
                seen.push_str(core::str::from_utf8(&bytes[..length]).unwrap());
            }
        }

        /// Closes the channel and waits for the console's end: the terminals and the time it spent.
        fn stop(self) -> (Vec<OwnedFd>, i64) {
            drop(self.channel);
            let spent_us = self.console.join().unwrap();
            (self.keyboards, spent_us)
        }
    }

    fn tail(seen: &str) -> &str {
        &seen[seen.len().saturating_sub(500)..]
    }
}
