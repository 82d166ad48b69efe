//! A simulated appliance: its hardware, its disk, and the connector that runs on it.

use connector_proto::control::{Channel, ConnectorEvent, ConnectorSide};
use connector_proto::enrol::{self, ConnectorEvent as EnrolEvent};
use connector_proto::error::Error;
use connector_proto::life::{Event, Failure, Life};
use connector_proto::local::NoIdentity;
use connector_proto::message::{CloseCode, Fingerprint};
use connector_proto::renew::{self, ConnectorEvent as RenewEvent};
use connector_proto::time::Instant;

use super::chance::Chance;
use super::disk::Disk;
use super::edge::Line;

/// An appliance.
#[derive(Debug)]
pub struct Machine {
    /// Not a copy of another one.
    pub is_original: bool,
    pub hardware: Fingerprint,
    pub disk: Disk,
    /// While it is switched on.
    pub life: Option<Life>,
    /// How often it was switched on: tells what belongs to which time.
    pub boot: u64,
    /// The connection that is open.
    pub line: Option<Line>,
    pub is_clock_right: bool,
    pub has_network: bool,
    /// No packet gets through until then.
    pub cut_off_until: Instant,
    /// The connector that it is, as far as its disk has said that it knows.
    pub acknowledged: Option<[u8; 16]>,
    /// An earlier state of its.
    pub snapshot: Option<Disk>,
    /// The newest of its wake-ups; older ones mean nothing.
    pub wake: u64,
}

impl Machine {
    pub fn new(chance: &mut Chance) -> Self {
        Self {
            is_original: true,
            hardware: Fingerprint {
                mac: chance.bytes(),
                smbios_uuid: chance.bytes(),
                vm_generation: chance.bytes(),
                tpm: [0; 32],
            },
            disk: Disk::default(),
            life: None,
            boot: 0,
            line: None,
            is_clock_right: false,
            has_network: true,
            cut_off_until: Instant::default(),
            acknowledged: None,
            snapshot: None,
            wake: 0,
        }
    }

    /// Switches it on.
    ///
    /// # Panics
    /// If its disk forgot who it is.
    pub fn start(&mut self, now: Instant, chance: &mut Chance) {
        let opened = self.disk.open(self.hardware.smbios_uuid);
        let found = opened.state.identity.as_ref().map(|it| it.connector_id);
        let is_foreign = matches!(opened.why, Some(NoIdentity::Foreign { .. }));
        if self.acknowledged.is_some() && !is_foreign {
            assert!(found.is_some(), "an identity that was acknowledged is lost");
        }
        self.boot += 1;
        self.is_clock_right = false;
        self.has_network = true;
        self.acknowledged = found;
        self.life = Some(Life::new(now, opened, Some("edge.test:443"), chance.next()));
    }

    pub fn is_connected(&self) -> bool {
        self.life.as_ref().is_some_and(Life::is_connected)
    }
}

/// The machine's end of a connection.
#[derive(Debug)]
pub enum Client {
    Enrol(enrol::Connector),
    Renew(renew::Connector),
    Control {
        channel: Box<Channel<ConnectorSide>>,
        is_path_proven: bool,
    },
}

/// What the life machine is told, and whether a session was offered.
#[derive(Debug)]
pub enum Heard {
    Event(Event),
    Session,
}

impl Client {
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) -> Vec<Heard> {
        let result = match self {
            Self::Enrol(machine) => machine.handle_input(bytes),
            Self::Renew(machine) => machine.handle_input(bytes),
            Self::Control { channel, .. } => channel.handle_input(now, bytes),
        };
        self.heard(result)
    }

    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Heard> {
        let result = match self {
            Self::Enrol(machine) => machine.handle_timeout(now),
            Self::Renew(machine) => machine.handle_timeout(now),
            Self::Control { channel, .. } => channel.handle_timeout(now),
        };
        self.heard(result)
    }

    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Enrol(machine) => machine.poll_transmit(),
            Self::Renew(machine) => machine.poll_transmit(),
            Self::Control { channel, .. } => channel.poll_transmit(),
        }
    }

    /// When something is due. The heartbeat of a channel that carries everything changes nothing and
    /// is left out: `is_broken` says that it does not.
    pub fn poll_timeout(&self, is_broken: bool) -> Option<Instant> {
        match self {
            Self::Enrol(machine) => machine.poll_timeout(),
            Self::Renew(machine) => machine.poll_timeout(),
            Self::Control {
                channel,
                is_path_proven,
            } => channel
                .poll_timeout()
                .filter(|_| !is_path_proven || is_broken),
        }
    }

    pub fn close(&mut self, code: CloseCode) {
        if let Self::Control { channel, .. } = self {
            channel.close(code);
        }
    }

    fn heard(&mut self, result: Result<(), Error>) -> Vec<Heard> {
        let mut heard = Vec::new();
        match self {
            Self::Enrol(machine) => heard.extend(machine.poll_event().and_then(enrolment)),
            Self::Renew(machine) => heard.extend(machine.poll_event().map(renewal)),
            Self::Control {
                channel,
                is_path_proven,
            } => {
                while let Some(event) = channel.poll_event() {
                    *is_path_proven |= event == ConnectorEvent::PathProven;
                    heard.push(control(event));
                }
            }
        }
        if let Err(error) = result {
            let is_enrolment = matches!(self, Self::Enrol(_));
            heard.push(Heard::Event(failed(&error, is_enrolment)));
        }
        heard
    }
}

fn enrolment(event: EnrolEvent) -> Option<Heard> {
    match event {
        EnrolEvent::EdgeProven => None,
        EnrolEvent::Enrolled(enrolment) => Some(Heard::Event(Event::Enrolled(enrolment))),
        EnrolEvent::Refused { reason, .. } => Some(Heard::Event(Event::EnrolRefused { reason })),
    }
}

fn renewal(event: RenewEvent) -> Heard {
    Heard::Event(match event {
        RenewEvent::Renewed { certificate, .. } => Event::Renewed { certificate },
        RenewEvent::Refused(reason) => Event::RenewRefused { reason },
    })
}

fn control(event: ConnectorEvent) -> Heard {
    Heard::Event(match event {
        ConnectorEvent::Recognised { verdict, admitted } => Event::Recognised { verdict, admitted },
        ConnectorEvent::Welcomed {
            name,
            group,
            reconnect_spread: spread,
            reconnect_cap: cap,
        } => Event::Welcomed {
            name,
            group,
            spread,
            cap,
        },
        ConnectorEvent::PathProven => Event::PathProven,
        ConnectorEvent::Ratchet { step, value } => Event::Ratchet { step, value },
        ConnectorEvent::Trust { ca, other_ca } => Event::Trust { ca, other_ca },
        ConnectorEvent::SessionOffered { .. } | ConnectorEvent::Succeed { .. } => {
            return Heard::Session;
        }
        ConnectorEvent::Closed { code } => Event::Closed { code },
    })
}

fn failed(error: &Error, is_enrolment: bool) -> Event {
    match error {
        Error::PeerClosed { code } => Event::Closed { code: *code },
        Error::ProofInvalid if is_enrolment => Event::EdgeNotProven,
        _ => Event::Failed {
            why: Failure::Transport,
            text: error.to_string(),
        },
    }
}
