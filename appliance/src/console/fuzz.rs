//! Any keys in any state: the body of the fuzz target `terminal`.

use core::net::{IpAddr, Ipv4Addr};

use connector_proto::local::{
    Awaited, Boot, ClockSource, ConnectorStatus, Fact, FallbackReason, FromConsole, KeyRefused,
    Lease, LeaseOrigin, NoIdentity, Phase, Servers, SlotContent, SlotName, SlotReply, SlotStatus,
    Text, ToConsole, text,
};
use connector_proto::message::{EnrolRefusal, Verdict};
use connector_proto::time::UnixSeconds;
use ovf::property::EdgeName;

use super::model::{Action, Event, Model};
use super::text::COLUMNS;
use super::view::{Screen, live};

/// Drives a console with two terminals by `data`: keys, facts, phases, the passing of time.
///
/// # Panics
/// If a byte other than printable ASCII and the console's own controls reaches a screen, a line is
/// wider than the screen, an edge, user or password that cannot be one is sent, or the console
/// panics itself.
pub fn fuzz_terminal(data: &[u8]) {
    let mut script = Script { data };
    let mut model = Model::default();
    let mut screens = [Screen::default(), Screen::default()];
    let names = ["tty1", "ttyS0\x1b"].into_iter().map(text).collect();
    let mut now_us = 0;
    model.update(
        now_us,
        Event::Message(ToConsole::Start { terminals: names }),
    );
    while let Some(command) = script.byte() {
        let message;
        let event = match command % 8 {
            0..=2 => {
                let length = usize::from(script.byte().unwrap_or(0) % 48);
                Event::Typed {
                    terminal: usize::from(command / 8 % 3),
                    bytes: script.take(length),
                }
            }
            3 => {
                message = ToConsole::Fact {
                    fact: script.fact(),
                    at_boot_us: script.number(),
                };
                Event::Message(message)
            }
            4 | 5 => {
                message = ToConsole::Connector(script.status());
                Event::Message(message)
            }
            6 if command > 99 => Event::Message(ToConsole::Slot(script.slot_reply())),
            6 => Event::Message(ToConsole::ConnectorGone),
            _ => {
                now_us += u64::from(command) * 100_000;
                Event::Tick
            }
        };
        for action in model.update(now_us, event) {
            perform(&action, &mut screens);
        }
        for (place, screen) in screens.iter_mut().enumerate() {
            // One of them is read rarely, as an unattended serial port is.
            if place == 0 || command > 200 {
                check(&screen.poll_transmit(now_us, live(&model, place, now_us)));
            }
        }
    }
}

fn perform(action: &Action, screens: &mut [Screen]) {
    match action {
        Action::Say { terminal, line } => {
            for (place, screen) in screens.iter_mut().enumerate() {
                if terminal.is_none_or(|only| only == place) {
                    screen.say(line);
                }
            }
        }
        Action::Redraw { terminal } => {
            if let Some(screen) = screens.get_mut(*terminal) {
                screen.redraw();
            }
        }
        Action::Send(FromConsole::Edge(edge)) => {
            assert!(edge.parse::<EdgeName>().is_ok(), "{edge} cannot be an edge");
        }
        Action::Send(FromConsole::ProxyCredentials { user, password }) => {
            assert!(!user.is_empty() && !user.contains(':'), "{user:?}");
            assert!(!password.is_empty());
            assert!(
                ![user, password]
                    .iter()
                    .any(|word| word.contains(char::is_control))
            );
        }
        Action::Send(FromConsole::Key(_) | FromConsole::Slot(_) | FromConsole::FactoryReset) => {}
    }
}

/// Checks what goes to a terminal.
fn check(output: &str) {
    let printed = output.replace("\x1b[K", "");
    for line in printed.split(['\r', '\n']) {
        assert!(line.len() <= COLUMNS, "{} columns: {line:?}", line.len());
        assert!(
            line.bytes().all(|byte| matches!(byte, b' '..=b'~')),
            "unprintable: {line:?}"
        );
    }
}

/// What the fuzzer wrote, read as numbers, strings, facts and phases.
struct Script<'a> {
    data: &'a [u8],
}

impl<'a> Script<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.data.split_first()?;
        self.data = rest;
        Some(*first)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.data.split_at(length.min(self.data.len()));
        self.data = rest;
        taken
    }

    /// Small, large and extreme numbers alike.
    fn number(&mut self) -> u64 {
        let bits = u64::from(self.byte().unwrap_or(0));
        bits.rotate_right(u32::from(self.byte().unwrap_or(0)))
    }

    fn u32(&mut self) -> u32 {
        let number = self.number();
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    fn string<const N: usize>(&mut self) -> Text<N> {
        let length = usize::from(self.byte().unwrap_or(0));
        text(&String::from_utf8_lossy(self.take(length)))
    }

    fn address(&mut self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.u32())
    }

    fn fact(&mut self) -> Fact {
        match self.byte().unwrap_or(0) % 12 {
            0 => Fact::Booted {
                version: self.string(),
            },
            1 => Fact::Nic {
                interface: self.string(),
                mac: [self.byte().unwrap_or(0); 6],
            },
            2 => Fact::NetUp(Lease {
                address: self.address(),
                prefix_len: self.byte().unwrap_or(0),
                router: self.byte().map(|byte| Ipv4Addr::from([byte; 4])),
                resolvers: Servers::new(),
                ntp_servers: Servers::new(),
                mtu: None,
                lease_s: self.u32(),
                hostname: None,
                origin: match self.byte() {
                    Some(0..99) => LeaseOrigin::Static,
                    _ => LeaseOrigin::Dhcp {
                        server: self.address(),
                    },
                },
            }),
            3 => Fact::ClockOk {
                source: match self.byte() {
                    Some(0..99) => ClockSource::Edge(self.string()),
                    _ => ClockSource::Ntp(IpAddr::V4(self.address())),
                },
                offset_us: self.number().cast_signed(),
                bound_us: self.u32(),
            },
            4 => Fact::Waiting {
                what: match self.byte() {
                    Some(0..99) => Awaited::EdgeTime,
                    _ => Awaited::Time,
                },
                since_boot_us: self.number(),
            },
            5 => Fact::Waiting {
                what: Awaited::Lease,
                since_boot_us: self.number(),
            },
            6 => Fact::ServiceDied {
                service: self.string(),
                how: self.string(),
                restart_in_ms: self.u32(),
            },
            7 => Fact::Problem {
                text: self.string(),
            },
            8 => Fact::Memory {
                total_kib: self.u32(),
                available_kib: self.u32(),
            },
            9 => Fact::Minted {
                name: self.byte().map(|_| self.string()),
                mac: self.byte().map(|byte| [byte; 6]),
                group: self.byte().map(|_| self.string()),
            },
            10 => Fact::System {
                slot: self.byte().map(slot_name),
                version: self.string(),
                boot: self.boot(),
            },
            // Rarely, since nothing is asked after it.
            _ if self.byte() == Some(255) => Fact::ShuttingDown { restart: true },
            _ => Fact::Waiting {
                what: Awaited::Link,
                since_boot_us: self.number(),
            },
        }
    }

    fn boot(&mut self) -> Boot {
        match self.byte().unwrap_or(0) % 4 {
            0 => Boot::Good,
            1 => Boot::Trial {
                left: self.byte().unwrap_or(0),
                until_boot_us: self.number(),
            },
            2 => Boot::Fallback {
                from: slot_name(self.byte().unwrap_or(0)),
                why: match self.byte() {
                    Some(0..99) => FallbackReason::TriesSpent,
                    _ => FallbackReason::NotLoaded,
                },
            },
            _ => Boot::Unknown,
        }
    }

    fn slot_content(&mut self) -> SlotContent {
        match self.byte() {
            Some(0..99) => SlotContent::System(self.string()),
            _ => SlotContent::Unusable(self.string()),
        }
    }

    fn slot_reply(&mut self) -> SlotReply {
        match self.byte().unwrap_or(0) % 3 {
            0 => SlotReply::Done(self.string()),
            1 => SlotReply::Refused(self.string()),
            _ => SlotReply::Status(SlotStatus {
                running: self.byte().map(slot_name),
                good: slot_name(self.byte().unwrap_or(0)),
                trial: self.byte().map(|byte| (slot_name(byte), byte)),
                a: self.slot_content(),
                b: self.slot_content(),
            }),
        }
    }

    fn status(&mut self) -> ConnectorStatus {
        ConnectorStatus {
            phase: self.phase(),
            since_boot_us: self.number(),
            proxy: self
                .byte()
                .is_some_and(|byte| byte > 199)
                .then(|| self.string::<259>()),
            edge: self
                .byte()
                .is_some_and(|byte| byte > 99)
                .then(|| self.string::<259>()),
            recognised: self.verdict(),
            foreign_issuer: self
                .byte()
                .is_some_and(|byte| byte > 199)
                .then(|| self.string()),
            certificate_left_h: self.byte().map(u16::from),
            is_kernel_engine: self.byte().map(|byte| byte > 99),
            sessions: self.u32(),
            sessions_total: self.number(),
            bytes_up: self.number(),
            bytes_down: self.number(),
        }
    }

    fn verdict(&mut self) -> Option<Verdict> {
        Some(match self.byte()? % 6 {
            0 => Verdict::SameMachine,
            1 => Verdict::MovedNic,
            2 => Verdict::Reverted,
            3 => Verdict::Copy,
            4 => Verdict::RestoredBackup,
            _ => return None,
        })
    }

    fn no_identity(&mut self) -> NoIdentity {
        match self.byte().unwrap_or(0) % 8 {
            0 => NoIdentity::Blank,
            1 => NoIdentity::Unreadable,
            2 => NoIdentity::Foreign {
                name: self.string(),
            },
            3 => NoIdentity::Unusable,
            4 => NoIdentity::Revoked {
                name: self.string(),
            },
            5 => NoIdentity::Superseded {
                name: self.string(),
            },
            6 => NoIdentity::Sealed {
                name: self.string(),
            },
            _ => NoIdentity::TooLate {
                name: self.string(),
            },
        }
    }

    fn phase(&mut self) -> Phase {
        let refusals = [
            KeyRefused::ByEdge(EnrolRefusal::KeyExpired {
                at: UnixSeconds(self.number()),
            }),
            KeyRefused::ByEdge(EnrolRefusal::KeySpent {
                max_uses: self.u32(),
            }),
            KeyRefused::EdgeNotProven,
        ];
        let choice = usize::from(self.byte().unwrap_or(0)) % (2 * refusals.len());
        let refused = refusals.get(choice).copied();
        match self.byte().unwrap_or(0) % 9 {
            0 => Phase::NeedEdge,
            1 => Phase::Held {
                verdict: self.verdict().unwrap_or(Verdict::Copy),
                name: self.string(),
                refused,
            },
            2 | 3 => Phase::NeedKey {
                refused,
                why: self.no_identity(),
            },
            4 => Phase::Enrolling,
            5 => Phase::Connecting {
                attempt: self.u32(),
                last_error: self.string(),
                next_boot_us: self.number(),
                enrolling: self.byte().unwrap_or(0) < 128,
            },
            6 => Phase::Connected {
                name: self.string(),
                group: self.string(),
            },
            7 => Phase::NeedProxyCredentials {
                refused: self.byte().unwrap_or(0) < 128,
            },
            _ => Phase::Stuck {
                text: self.string(),
            },
        }
    }
}

const fn slot_name(byte: u8) -> SlotName {
    if byte < 128 { SlotName::A } else { SlotName::B }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn any_keys_in_any_state_leave_only_printable_lines(
            data in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            fuzz_terminal(&data);
        }
    }
}
