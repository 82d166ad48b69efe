//! A life machine in a world that does whatever a script says: the body of the fuzz target `life`.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::validity::{Validity, unsigned_certificate};
use super::{Action, Conditions, Event, Failure, Life, Opened, Purpose};
use crate::enrol::Enrolment;
use crate::key::{SEED_LEN, VERSION};
use crate::local::{FromConsole, NoIdentity, Phase, text};
use crate::message::{CloseCode, EnrolRefusal, RatchetValue, RenewRefusal, Trust, Verdict};
use crate::record::{Identity, State};
use crate::time::{Instant, UnixSeconds};

/// Drives a connector's life by `data`: two bytes are a command and its argument.
///
/// # Panics
/// If the machine breaks one of the promises of [`super`], or panics itself.
pub fn fuzz_life(data: &[u8]) {
    let (head, script) = data.split_at(data.len().min(1));
    let mut world = World::new(head.first().copied().unwrap_or(0));
    for pair in script.chunks(2) {
        let argument = pair.get(1).copied().unwrap_or(0);
        world.step(pair[0], argument);
    }
}

/// The wall-clock time at which the script begins.
const START: u64 = 1_800_000_000;

/// What the machine is surrounded by, and what may be expected of it.
pub(super) struct World {
    pub(super) life: Life,
    pub(super) now: Instant,
    /// What is on the disk.
    pub(super) disk: State,
    conditions: Conditions,
    /// The connection that is open.
    pub(super) open: Option<Purpose>,
    /// What is being written; `Some(None)`: everything is being erased.
    pub(super) writing: Option<Option<Box<State>>>,
    pub(super) awaits_pair: bool,
    pairs: u8,
    serial: u8,
    /// Ratchet values of the open connection that were not stored yet.
    ratchets: Vec<(u64, RatchetValue)>,
    /// What the machine wanted, in its order.
    pub(super) log: Vec<Action>,
}

impl World {
    /// A machine whose record is blank, unreadable, or an enrolled connector's.
    pub(super) fn new(kind: u8) -> Self {
        let mut state = State::default();
        let why = match kind % 4 {
            0 => None,
            1 => Some(NoIdentity::Unreadable),
            _ => {
                state.edge = "edge.test:443".into();
                state.private_key = Vec::from([1]);
                state.identity = Some(identity(&certificate(START, 1, 86_400)));
                (kind % 4 == 2).then_some(NoIdentity::Unusable)
            }
        };
        let opened = Opened {
            state: state.clone(),
            why,
        };
        let image_edge = (kind & 16 == 0).then_some("edge.test:443");
        let now = Instant::from_micros(1_000_000);
        let mut world = Self {
            life: Life::new(now, opened, image_edge, kind.into()),
            now,
            disk: state,
            conditions: Conditions::default(),
            open: None,
            writing: None,
            awaits_pair: false,
            pairs: 1,
            serial: 1,
            ratchets: Vec::new(),
            log: Vec::new(),
        };
        world.drain();
        world
    }

    /// The wall-clock time.
    pub(super) fn wall(&self) -> u64 {
        START + self.now.as_micros() / 1_000_000
    }

    pub(super) fn step(&mut self, command: u8, argument: u8) {
        match command % 24 {
            0 => self.pass(Duration::from_secs(u64::from(argument))),
            1 => self.pass(Duration::from_secs(3_600 * u64::from(argument))),
            2 | 3 => self.timeout(),
            4 => self.set_conditions(argument & 1 == 0, argument & 2 == 0),
            5 => self.type_key(argument),
            6 => self.type_something(argument),
            7 => self
                .life
                .handle_network_changed(self.now, argument & 1 == 0),
            8 => self.life.handle_generation_changed(self.now),
            9..=11 => self.answer_disk(argument),
            12 => self.answer_pair(argument & 3 != 0),
            13 => self.life.amend(self.now, |state| state.last_good_time += 1),
            14..=16 => self.hear_good(argument),
            17 => self.hear_good(4),
            18 => self.hear_good(5),
            _ => self.hear_bad(argument),
        }
        self.drain();
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.drain();
    }

    /// The time of its next time-out comes; it does what was due.
    pub(super) fn timeout(&mut self) {
        if let Some(at) = self.life.poll_timeout() {
            self.now = self.now.max(at);
            self.life.handle_timeout(self.now);
            self.drain();
            let next = self.life.poll_timeout();
            assert!(
                next.is_none_or(|next| self.now < next),
                "a time-out without end"
            );
        }
    }

    pub(super) fn set_conditions(&mut self, can_dial: bool, is_clock_right: bool) {
        self.conditions = Conditions {
            can_dial,
            wall: is_clock_right.then_some(UnixSeconds(self.wall())),
        };
        self.life.handle_conditions(self.now, self.conditions);
        self.drain();
    }

    pub(super) fn type_key(&mut self, argument: u8) {
        let mut data = [argument; SEED_LEN];
        data[0] = VERSION << 4;
        let _ = self.life.handle_operator(self.now, &FromConsole::Key(data));
        self.drain();
    }

    fn type_something(&mut self, argument: u8) {
        let typed = match argument % 4 {
            0 => FromConsole::FactoryReset,
            1 => FromConsole::Edge(text("other.test")),
            2 => FromConsole::Edge(text("edge.test:443")),
            _ => FromConsole::Key([0xff; SEED_LEN]),
        };
        let _ = self.life.handle_operator(self.now, &typed);
    }

    pub(super) fn answer_disk(&mut self, argument: u8) {
        let Some(writing) = self.writing.take() else {
            return;
        };
        let is_written = argument & 3 != 0;
        // A failure may have come after the bytes were on the disk.
        if is_written || argument & 4 != 0 {
            self.disk = writing.map_or_else(State::default, |state| *state);
        }
        let result = is_written.then_some(()).ok_or_else(|| String::from("disk"));
        self.life.handle_saved(self.now, result);
        self.drain();
    }

    pub(super) fn answer_pair(&mut self, is_made: bool) {
        if core::mem::take(&mut self.awaits_pair) {
            self.pairs = self.pairs.wrapping_add(1);
            let pair = Vec::from([self.pairs, 1]);
            let result = is_made.then_some(pair).ok_or_else(|| String::from("pair"));
            self.life.handle_new_key(self.now, result);
            self.drain();
        }
    }

    /// What an edge says that means well, as far as it fits the connection.
    pub(super) fn hear_good(&mut self, argument: u8) {
        self.serial = self.serial.wrapping_add(1);
        let event = match (&self.open, argument % 8) {
            (Some(Purpose::Enrol { .. }), _) => Event::Enrolled(Enrolment {
                identity: identity(&certificate(self.wall(), self.serial, 86_400)),
                time: UnixSeconds(self.wall()),
            }),
            (Some(Purpose::Renew), _) => Event::Renewed {
                certificate: certificate(self.wall(), self.serial, 86_400),
            },
            (Some(Purpose::Control { .. }), 0..=2) => Event::Welcomed {
                name: "c1".into(),
                group: "g".into(),
                spread: Duration::from_secs(2),
                cap: Duration::from_secs(30),
            },
            (Some(Purpose::Control { .. }), 3) => Event::PathProven,
            (Some(Purpose::Control { .. }), 4) => {
                let (step, value) = (u64::from(self.serial), RatchetValue([self.serial; 32]));
                self.ratchets.push((step, value));
                Event::Ratchet { step, value }
            }
            (Some(Purpose::Control { .. }), 5) => Event::Trust {
                ca: Vec::from([argument >> 3]),
                other_ca: Vec::new(),
            },
            (Some(Purpose::Control { .. }), _) => Event::Recognised {
                verdict: Verdict::Reverted,
                admitted: true,
            },
            (None, _) => Event::PathProven,
        };
        self.hear(event);
    }

    /// Anything that can go wrong, on whatever connection.
    fn hear_bad(&mut self, argument: u8) {
        let text = || String::from("broken");
        let expired_at = UnixSeconds(0);
        self.hear(match argument % 24 {
            0 => Event::EnrolRefused {
                reason: EnrolRefusal::TryLater,
            },
            1 => Event::EnrolRefused {
                reason: EnrolRefusal::RequestInvalid,
            },
            2 => Event::EnrolRefused {
                reason: EnrolRefusal::KeyUnknown,
            },
            3 => Event::EdgeNotProven,
            4 => Event::NotTheProtocol,
            5 => Event::RenewRefused {
                reason: RenewRefusal::TryLater,
            },
            6 => Event::RenewRefused {
                reason: RenewRefusal::RequestInvalid,
            },
            7 => Event::RenewRefused {
                reason: RenewRefusal::Superseded,
            },
            8 => Event::RenewRefused {
                reason: RenewRefusal::Held(Verdict::MovedNic),
            },
            9 => Event::RenewRefused {
                reason: RenewRefusal::TooLate { expired_at },
            },
            10 => Event::RenewRefused {
                reason: RenewRefusal::Disabled,
            },
            11 => Event::Closed {
                code: CloseCode::Held,
            },
            12 => Event::Closed {
                code: CloseCode::Disabled,
            },
            13 => Event::Closed {
                code: CloseCode::Revoked,
            },
            14 => Event::Closed {
                code: CloseCode::NotAuthorised,
            },
            15 => Event::Closed {
                code: CloseCode::GoingAway,
            },
            16 => Event::Closed {
                code: CloseCode::UnexpectedMessage,
            },
            17 => Event::Failed {
                why: Failure::CertificateRefused,
                text: text(),
            },
            18 => Event::Failed {
                why: Failure::EdgeNotVerified,
                text: text(),
            },
            19 => Event::Failed {
                why: Failure::Dates,
                text: text(),
            },
            20 => Event::Failed {
                why: Failure::Unusable,
                text: text(),
            },
            21 => Event::Recognised {
                verdict: Verdict::Copy,
                admitted: false,
            },
            _ => Event::Failed {
                why: Failure::Transport,
                text: text(),
            },
        });
    }

    pub(super) fn hear(&mut self, event: Event) {
        if event.is_last() {
            self.open = None;
            self.ratchets.clear();
        }
        self.life.handle_event(self.now, event);
        self.drain();
    }

    /// Takes what the machine wants, and checks what it promises.
    pub(super) fn drain(&mut self) {
        let mut count = 0;
        while let Some(action) = self.life.poll_action() {
            count += 1;
            assert!(count < 16, "actions without end");
            self.take(&action);
            self.log.push(action);
        }
        self.check_patience();
    }

    fn take(&mut self, action: &Action) {
        match action {
            Action::NewKey => {
                assert!(!self.awaits_pair, "one key pair at a time");
                self.awaits_pair = true;
            }
            Action::Save(state) => {
                assert!(self.writing.is_none(), "one write at a time");
                let keeps = self.disk.identity.is_none() || state.identity.is_some();
                assert!(keeps, "a write that forgets the identity");
                self.writing = Some(Some(state.clone()));
            }
            Action::Erase => {
                assert!(self.writing.is_none(), "one write at a time");
                self.writing = Some(None);
            }
            Action::Open(purpose) => self.take_open(purpose),
            Action::Close(_) => {
                assert!(self.open.take().is_some(), "there is nothing to close");
                self.ratchets.clear();
            }
            Action::RatchetStored { step } => {
                let value = self.ratchets.iter().find(|(of, _)| of == step);
                let stored = value.map(|(_, value)| value.0);
                assert_eq!(
                    stored,
                    Some(self.disk.ratchet.0),
                    "a value that is not on the disk"
                );
            }
            Action::TrustStored { digest } => {
                assert!(self.open.is_some());
                let identity = self.disk.identity.as_ref().expect("it has one");
                let (ca, other_ca) = (identity.ca.as_slice(), identity.other_ca.as_slice());
                assert_eq!(Trust { ca, other_ca }.digest(), *digest);
            }
        }
    }

    fn take_open(&mut self, purpose: &Purpose) {
        assert!(self.open.is_none(), "one connection at a time");
        assert!(
            self.writing.is_none() && !self.awaits_pair,
            "everything is on the disk"
        );
        assert!(self.conditions.can_dial && self.life.edge().is_some());
        let next = self.disk.next.as_ref();
        match purpose {
            Purpose::Enrol { .. } => {
                let has_identity = self.disk.identity.is_some();
                let pair = if has_identity {
                    next.map(|next| next.private_key.as_slice())
                } else {
                    Some(self.disk.private_key.as_slice())
                };
                assert_eq!(
                    self.life.requested_key(),
                    pair,
                    "a key pair that is on the disk"
                );
            }
            Purpose::Renew => {
                let pair = next.map(|next| next.private_key.as_slice());
                assert!(pair.is_some() && self.life.requested_key() == pair);
            }
            Purpose::Control { next: true } => {
                assert!(next.is_some_and(|next| !next.certificate.is_empty()));
            }
            Purpose::Control { next: false } => assert!(self.disk.identity.is_some()),
        }
        if !matches!(purpose, Purpose::Enrol { .. }) {
            assert!(self.conditions.wall.is_some(), "dates mean something");
        }
        self.open = Some(purpose.clone());
    }

    /// A machine that does not wait for a person, the network or the time has something to do.
    fn check_patience(&self) {
        let waits = matches!(
            self.life.phase(self.now),
            Phase::NeedEdge | Phase::NeedKey { .. }
        );
        let is_hindered = !self.conditions.can_dial || self.conditions.wall.is_none();
        let is_busy = self.open.is_some() || self.writing.is_some() || self.awaits_pair;
        let has_timeout = self.life.poll_timeout().is_some();
        assert!(
            waits || is_hindered || is_busy || has_timeout,
            "it has given up"
        );
    }
}

/// An identity with this certificate.
pub(super) fn identity(certificate: &[u8]) -> Identity {
    Identity {
        ca: Vec::from([1]),
        other_ca: Vec::new(),
        certificate: certificate.to_vec(),
        connector_id: [2; 16],
        name: "c1".into(),
        group: "g".into(),
        grant_key: [3; 32],
    }
}

/// A certificate that was issued at `wall` for so many seconds.
pub(super) fn certificate(wall: u64, serial: u8, life: u64) -> Vec<u8> {
    let dates = Validity {
        not_before: UnixSeconds(wall.saturating_sub(super::BACKDATED.as_secs())),
        not_after: UnixSeconds(wall + life),
    };
    unsigned_certificate(dates, &[serial])
}
