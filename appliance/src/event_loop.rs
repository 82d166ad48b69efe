//! The one loop: waits for PID 1, the tunnel and the sessions, and lets the connector go on.

use std::os::fd::OwnedFd;
use std::time::Duration;

use connector_proto::local::{
    ConnectorStatus, EdgeSample, EngineSetting, FromConnector, StartDescriptors, ToConnector,
};
use connector_proto::message::Fingerprint;
use connector_proto::time::Instant;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use splice_core::calibrate::calibrate;
use splice_core::engine::Engine;
use splice_core::plane;
use zeroize::Zeroize as _;

use crate::clock;
use crate::connector::{self, Connector, Setup};
use crate::local_channel::{Incoming, LocalChannel};
use crate::store::{NoTpm, Store, StoreError, Unsealer};
use crate::tpm::Tpm;

/// Counters change with every byte; the console shows them once a second.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// More than the stack that receiving a message, deriving from a key and writing the state record take.
const STACK_BYTES: usize = 128 << 10;

/// Why the process ends.
#[derive(Debug)]
pub enum Exit {
    /// PID 1 said so, or is gone.
    Stopped,
    /// The machine failed this process.
    Failed(String),
}

/// Runs until PID 1 ends it. Sessions are carried as `plane` says, but for the engine, which is a setting.
#[must_use]
pub fn run(channel: &LocalChannel, plane: plane::Config) -> Exit {
    let mut connector = None;
    let mut reporter = Reporter::default();
    let mut is_told = true;
    loop {
        let now = clock::now();
        if is_told && let Err(exit) = hear(now, channel, &mut connector, &mut reporter, plane) {
            return exit;
        }
        if let Some(sample) = connector.as_mut().and_then(Connector::poll_time) {
            reporter.time = Some(sample);
        }
        let deadline = match reporter.report(now, connector.as_ref(), channel) {
            Ok(deadline) => deadline,
            Err(exit) => return exit,
        };
        let waited = match &mut connector {
            Some(connector) => connector.wait(channel, deadline).map(|ready| {
                connector.turn(clock::now(), &ready);
                Connector::is_told(&ready)
            }),
            None => wait_for_start(channel, deadline.map(|deadline| deadline.since(now))),
        };
        is_told = match waited {
            Ok(is_told) => is_told,
            Err(error) => return Exit::Failed(format!("waiting: {error}")),
        };
    }
}

/// Takes all that PID 1 has said.
fn hear(
    now: Instant,
    channel: &LocalChannel,
    connector: &mut Option<Connector>,
    reporter: &mut Reporter,
    plane: plane::Config,
) -> Result<(), Exit> {
    loop {
        match channel.recv() {
            Ok(Incoming::Message(mut message, descriptors)) => {
                if let Some(stuck) = handle(now, connector, &message, descriptors, plane)? {
                    reporter.stuck = Some(stuck);
                }
                if let ToConnector::Operator(typed) = &mut *message {
                    typed.wipe();
                    wipe_stack();
                }
            }
            Ok(Incoming::Empty) => return Ok(()),
            Ok(Incoming::Closed) => return Err(Exit::Stopped),
            Err(error) => return Err(Exit::Failed(format!("local channel: {error}"))),
        }
    }
}

/// Waits for PID 1 while there is nobody else to wait for; whether it may have said something.
fn wait_for_start(channel: &LocalChannel, at_most: Option<Duration>) -> Result<bool, Errno> {
    let timeout = at_most.map(|at_most| Timespec {
        tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: at_most.subsec_nanos().into(),
    });
    match poll(&mut [PollFd::new(channel, PollFlags::IN)], timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Handles a message of PID 1. A state record that cannot be used yields the status that says so.
fn handle(
    now: Instant,
    connector: &mut Option<Connector>,
    message: &ToConnector,
    descriptors: Vec<OwnedFd>,
    plane: plane::Config,
) -> Result<Option<ConnectorStatus>, Exit> {
    match (message, connector.as_mut()) {
        (
            ToConnector::Start {
                descriptors: named,
                edge,
                fingerprint,
                version,
                engine,
            },
            None,
        ) => {
            let mut random = [0; 8];
            getrandom::fill(&mut random).map_err(|error| Exit::Failed(error.to_string()))?;
            let setup = Setup {
                edge: edge.as_deref(),
                fingerprint: *fingerprint,
                version,
                seed: u64::from_ne_bytes(random),
                plane: plane::Config {
                    engine: engine_for(*engine),
                    ..plane
                },
            };
            match start(now, setup, *named, descriptors) {
                Ok(started) => *connector = Some(started?),
                Err(error) => {
                    log::error!("{error}");
                    return Ok(Some(connector::stuck(now, &error)));
                }
            }
        }
        (ToConnector::Network { network }, Some(connector)) => {
            connector.handle_network(now, network.clone());
        }
        (ToConnector::Clock { is_right }, Some(connector)) => {
            connector.handle_clock(now, *is_right);
        }
        (ToConnector::Fingerprint(fingerprint), Some(connector)) => {
            connector.handle_fingerprint(now, *fingerprint);
        }
        (ToConnector::AskTime, Some(connector)) => connector.handle_ask_time(now),
        (ToConnector::Operator(typed), Some(connector)) => connector.handle_operator(now, typed),
        (ToConnector::Stop, connector) => {
            if let Some(connector) = connector {
                connector.stop();
            }
            return Err(Exit::Stopped);
        }
        (ToConnector::Start { .. }, Some(_)) => log::warn!("a second start is ignored"),
        (
            ToConnector::Network { .. }
            | ToConnector::Clock { .. }
            | ToConnector::Fingerprint(_)
            | ToConnector::AskTime
            | ToConnector::Operator(_),
            None,
        ) => {}
    }
    Ok(None)
}

/// The engine that is set, or the faster one.
fn engine_for(setting: EngineSetting) -> Engine {
    match setting {
        EngineSetting::Kernel => Engine::Kernel,
        EngineSetting::User => Engine::InPlace,
        EngineSetting::Auto => {
            let found = calibrate();
            log::info!("engines were compared: {found}");
            found.chosen
        }
    }
}

/// Opens the state record, with the TPM where there is one, and starts from it. The descriptors are those
/// that `named` names, in its order.
fn start(
    now: Instant,
    mut setup: Setup<'_>,
    named: StartDescriptors,
    descriptors: Vec<OwnedFd>,
) -> Result<Result<Connector, Exit>, StoreError> {
    let mut descriptors = descriptors.into_iter();
    let mut next = |is_there: bool| is_there.then(|| descriptors.next()).flatten();
    let (partition, tpm) = (next(named.state), next(named.tpm));
    let unsealer = unsealer(tpm, &mut setup.fingerprint);
    let opened = Store::open(partition, setup.fingerprint.smbios_uuid, unsealer)?;
    let connector = Connector::new(now, opened, setup);
    Ok(connector.map_err(|error| Exit::Failed(format!("the connector cannot start: {error}"))))
}

/// What seals the device secret; a TPM is evidence as well.
fn unsealer(device: Option<OwnedFd>, fingerprint: &mut Fingerprint) -> Box<dyn Unsealer> {
    match device.map(Tpm::open) {
        None => Box::new(NoTpm),
        Some(Ok(tpm)) => {
            fingerprint.tpm = tpm.storage_key_hash();
            Box::new(tpm)
        }
        Some(Err(fault)) => {
            log::warn!("the TPM is not used: {fault}");
            Box::new(NoTpm)
        }
    }
}

/// Tells PID 1 the edge's time, and the status: a change of phase at once, counters once a second.
#[derive(Debug, Default)]
struct Reporter {
    /// Not told yet.
    time: Option<EdgeSample>,
    sent: Option<ConnectorStatus>,
    /// When the counters were looked at last.
    looked_at: Instant,
    stuck: Option<ConnectorStatus>,
}

impl Reporter {
    /// Sends what is due; returns when the next report is.
    fn report(
        &mut self,
        now: Instant,
        connector: Option<&Connector>,
        channel: &LocalChannel,
    ) -> Result<Option<Instant>, Exit> {
        if let Some(sample) = self.time.take()
            && !send(channel, &FromConnector::Time(sample.clone()))?
        {
            self.time = Some(sample);
            return Ok(Some(now + STATUS_INTERVAL));
        }
        self.report_status(now, connector, channel)
    }

    fn report_status(
        &mut self,
        now: Instant,
        connector: Option<&Connector>,
        channel: &LocalChannel,
    ) -> Result<Option<Instant>, Exit> {
        let next = self.looked_at + STATUS_INTERVAL;
        let is_news = match (&self.sent, connector) {
            (Some(sent), Some(connector)) => connector.is_elsewhere(sent),
            _ => true,
        };
        if !is_news && now < next {
            return Ok(Some(next));
        }
        let status = connector
            .map(Connector::status)
            .or_else(|| self.stuck.clone());
        self.looked_at = now;
        let Some(status) = status.filter(|status| self.sent.as_ref() != Some(status)) else {
            return Ok(None);
        };
        if !send(channel, &FromConnector::Status(status.clone()))? {
            return Ok(Some(now + STATUS_INTERVAL));
        }
        self.sent = Some(status);
        Ok(None)
    }
}

/// Overwrites the copies that passing on what was typed left on the stack, which calls that have
/// returned used.
#[inline(never)]
fn wipe_stack() {
    let mut room = [0xff_u8; STACK_BYTES];
    room.zeroize();
    std::hint::black_box(&room);
}

/// Whether PID 1 took the message; if not, it is to be sent again.
fn send(channel: &LocalChannel, message: &FromConnector) -> Result<bool, Exit> {
    let sent = channel.send(message);
    sent.map_err(|error| Exit::Failed(format!("local channel: {error}")))
}
