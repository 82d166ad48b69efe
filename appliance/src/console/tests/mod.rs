//! The console as its operator sees it: model and view together, in virtual time.

use connector_proto::local::{
    Awaited, ClockSource, ConnectorStatus, EdgeText, Fact, FromConsole, IssuerText, KeyRefused,
    Lease, LeaseOrigin, NoIdentity, Phase, Servers, ToConsole,
};

use connector_proto::message::Verdict;

use super::model::{Action, Event, Model};
use super::text::COLUMNS;
use super::view::{self, Screen};

mod connector;
mod facts;
mod identity;
mod proxy;
mod slots;
mod typing;

const KEY: &str = "brdtc-eufvc-gchbi-idjeg-kflgf-nhrif-tjuke";
const KEY_DATA: [u8; 14] = [
    0x1c, 0x2d, 0x3e, 0x4f, 0x50, 0x61, 0x72, 0x83, 0x94, 0xa5, 0xb6, 0xc7, 0xd8, 0xe9,
];

fn lease() -> Lease {
    let router = [10, 77, 0, 1].into();
    Lease {
        address: [10, 77, 0, 15].into(),
        prefix_len: 24,
        router: Some(router),
        resolvers: Servers::from_slice(&[router.into()]).unwrap(),
        ntp_servers: Servers::new(),
        mtu: None,
        lease_s: 3600,
        hostname: None,
        origin: LeaseOrigin::Dhcp { server: router },
    }
}

fn clock(offset_us: i64) -> Fact {
    Fact::ClockOk {
        source: ClockSource::Ntp([10, 77, 0, 123].into()),
        offset_us,
        bound_us: 3_900,
    }
}

fn connecting(attempt: u32, error: &str, enrolling: bool) -> Phase {
    let last_error = error.try_into().unwrap();
    Phase::Connecting {
        attempt,
        last_error,
        next_boot_us: 0,
        enrolling,
    }
}

fn connected() -> Phase {
    let name = "mumbai-01".try_into().unwrap();
    Phase::Connected {
        name,
        group: "Mumbai".try_into().unwrap(),
    }
}

/// A person before two terminals, and PID 1 behind them.
struct Operator {
    model: Model,
    screens: [Screen; 2],
    /// Everything that was written to each terminal.
    raw: [String; 2],
    sent: Vec<String>,
    now_us: u64,
    edge: Option<EdgeText>,
    proxy: Option<EdgeText>,
    recognised: Option<Verdict>,
    foreign_issuer: Option<IssuerText>,
    certificate_left_h: Option<u16>,
    is_kernel_engine: Option<bool>,
    bytes_up: u64,
    /// As the connector does, the beginning of a phase is that of its kind.
    since_us: u64,
    phase_kind: Option<core::mem::Discriminant<Phase>>,
}

impl Operator {
    fn new() -> Self {
        let mut operator = Self {
            model: Model::default(),
            screens: [Screen::default(), Screen::default()],
            raw: [String::new(), String::new()],
            sent: Vec::new(),
            now_us: 0,
            edge: Some("edge.example".try_into().unwrap()),
            proxy: None,
            recognised: None,
            foreign_issuer: None,
            certificate_left_h: None,
            is_kernel_engine: None,
            bytes_up: 14_000_000,
            since_us: 0,
            phase_kind: None,
        };
        let names = ["tty1", "ttyS0"].map(|name| name.try_into().unwrap());
        operator.message(ToConsole::Start {
            terminals: names.into_iter().collect(),
        });
        operator
    }

    /// Ten seconds after power-on, before the prompt.
    fn asked_for_key() -> Self {
        let mut operator = Self::new();
        operator.now_us = 10_000_000;
        operator.status(Phase::NeedKey {
            refused: None,
            why: NoIdentity::Blank,
        });
        operator
    }

    fn message(&mut self, message: ToConsole) {
        self.event(Event::Message(message));
    }

    fn fact(&mut self, at_boot_us: u64, fact: Fact) {
        self.now_us = self.now_us.max(at_boot_us);
        self.message(ToConsole::Fact { fact, at_boot_us });
    }

    fn wait_for(&mut self, since_boot_us: u64, what: Awaited) {
        self.fact(
            since_boot_us,
            Fact::Waiting {
                what,
                since_boot_us,
            },
        );
    }

    /// The connector enters a phase.
    fn status(&mut self, phase: Phase) {
        let phase_kind = core::mem::discriminant(&phase);
        if self.phase_kind.replace(phase_kind) != Some(phase_kind) {
            self.since_us = self.now_us;
        }
        self.repeat_status(phase);
    }

    /// The connector is in a phase as before; other parts of its status may have changed.
    fn repeat_status(&mut self, phase: Phase) {
        self.message(ToConsole::Connector(ConnectorStatus {
            phase,
            since_boot_us: self.since_us,
            edge: self.edge.clone(),
            proxy: self.proxy.clone(),
            recognised: self.recognised,
            foreign_issuer: self.foreign_issuer.clone(),
            certificate_left_h: self.certificate_left_h,
            is_kernel_engine: self.is_kernel_engine,
            sessions: 2,
            sessions_total: 5,
            bytes_up: self.bytes_up,
            bytes_down: 3_000_000,
        }));
    }

    fn refuse(&mut self, why: KeyRefused) {
        self.status(Phase::NeedKey {
            refused: Some(why),
            why: NoIdentity::Blank,
        });
    }

    fn types(&mut self, terminal: usize, keys: &str) {
        self.event(Event::Typed {
            terminal,
            bytes: keys.as_bytes(),
        });
    }

    fn pass(&mut self, seconds: u64) {
        self.now_us += seconds * 1_000_000;
        self.event(Event::Tick);
    }

    fn event(&mut self, event: Event<'_>) {
        for action in self.model.update(self.now_us, event) {
            match action {
                Action::Say { terminal, line } => {
                    for (place, screen) in self.screens.iter_mut().enumerate() {
                        if terminal.is_none_or(|only| only == place) {
                            screen.say(&line);
                        }
                    }
                }
                Action::Redraw { terminal } => self.screens[terminal].redraw(),
                Action::Send(FromConsole::Key(data)) => self.sent.push(format!("Key {data:02x?}")),
                Action::Send(FromConsole::Edge(edge)) => self.sent.push(format!("Edge {edge}")),
                Action::Send(FromConsole::ProxyCredentials { user, password }) => {
                    self.sent.push(format!("Proxy {user} {password}"));
                }
                Action::Send(FromConsole::Slot(request)) => {
                    self.sent.push(format!("Slot {request:?}"));
                }
                Action::Send(FromConsole::FactoryReset) => self.sent.push("FactoryReset".into()),
            }
        }
        for (place, screen) in self.screens.iter_mut().enumerate() {
            let live = view::live(&self.model, place, self.now_us);
            self.raw[place].push_str(&screen.poll_transmit(self.now_us, live));
        }
    }

    fn forget_history(&mut self) {
        self.raw = [String::new(), String::new()];
    }

    /// The lines that scrolled by on a terminal, as they stand on it.
    fn history(&self, terminal: usize) -> Vec<String> {
        let raw = &self.raw[terminal];
        let Some((history, _live)) = raw.rsplit_once("\r\n") else {
            return Vec::new();
        };
        history.split("\r\n").map(last_drawn).collect()
    }

    /// The live line as it would be drawn now.
    fn live(&self, terminal: usize) -> String {
        let live = view::live(&self.model, terminal, self.now_us);
        assert!(live.text.len() <= COLUMNS);
        live.text.trim_end().to_owned()
    }
}

/// What is left of a line that was drawn over several times.
fn last_drawn(line: &str) -> String {
    let (_, last) = line.rsplit_once('\r').unwrap();
    last.strip_suffix("\x1b[K").unwrap().to_owned()
}
