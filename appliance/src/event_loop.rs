//! The one loop: waits for PID 1, the tunnel and the sessions, and lets the connector go on.

use std::time::Duration;

use connector_proto::local::{ConnectorStatus, EdgeSample, FromConnector, ToConnector};
use connector_proto::time::Instant;
use rustix::event::PollFlags;

use crate::clock;
use crate::connector::{self, Connector};
use crate::interest::{Interest, Watch};
use crate::local_channel::{Incoming, LocalChannel};
use crate::store::Store;

/// Counters change with every byte; the console shows them once a second.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// The token of the local channel.
const LOCAL: u64 = u64::MAX;

/// Why the process ends.
#[derive(Debug)]
pub enum Exit {
    /// PID 1 said so, or is gone.
    Stopped,
    /// The machine failed this process.
    Failed(String),
}

/// Runs until PID 1 ends it.
#[must_use]
pub fn run(channel: &LocalChannel) -> Exit {
    let mut connector = None;
    let mut reporter = Reporter::default();
    loop {
        let now = clock::now();
        loop {
            match channel.recv() {
                Ok(Incoming::Message(message, descriptors)) => {
                    match handle(now, &mut connector, *message, descriptors) {
                        Ok(Some(stuck)) => reporter.stuck = Some(stuck),
                        Ok(None) => {}
                        Err(exit) => return exit,
                    }
                }
                Ok(Incoming::Empty) => break,
                Ok(Incoming::Closed) => return Exit::Stopped,
                Err(error) => return Exit::Failed(format!("local channel: {error}")),
            }
        }
        if let Some(sample) = connector.as_mut().and_then(Connector::poll_time) {
            reporter.time = Some(sample);
        }
        let deadline = match reporter.report(now, connector.as_ref(), channel) {
            Ok(deadline) => deadline,
            Err(exit) => return exit,
        };
        let mut watch = Watch::default();
        watch.add(LOCAL, channel, Interest::from_flags(PollFlags::IN));
        watch.until(deadline);
        if let Some(connector) = &connector {
            connector.watch(&mut watch);
        }
        let ready = match watch.wait(now) {
            Ok(ready) => ready,
            Err(error) => return Exit::Failed(format!("poll: {error}")),
        };
        if let Some(connector) = &mut connector {
            connector.turn(clock::now(), &ready);
        }
    }
}

/// Handles a message of PID 1. A state record that cannot be used yields the status that says so.
fn handle(
    now: Instant,
    connector: &mut Option<Connector>,
    message: ToConnector,
    descriptors: Vec<std::os::fd::OwnedFd>,
) -> Result<Option<ConnectorStatus>, Exit> {
    match (message, connector.as_mut()) {
        (
            ToConnector::Start {
                descriptors: _,
                edge,
                fingerprint,
                version,
            },
            None,
        ) => {
            let store = match Store::open(descriptors.into_iter().next()) {
                Ok(store) => store,
                Err(error) => {
                    log::error!("{error}");
                    return Ok(Some(connector::stuck(now, &error)));
                }
            };
            let mut seed = [0; 8];
            getrandom::fill(&mut seed).map_err(|error| Exit::Failed(error.to_string()))?;
            let seed = u64::from_ne_bytes(seed);
            let edge = edge.as_deref();
            let started = Connector::new(now, store, edge, fingerprint, &version, seed)
                .map_err(|error| Exit::Failed(format!("state record: {error}")))?;
            *connector = Some(started);
        }
        (ToConnector::Network { network }, Some(connector)) => {
            connector.handle_network(now, network);
        }
        (ToConnector::Clock { is_right }, Some(connector)) => {
            connector.handle_clock(now, is_right);
        }
        (ToConnector::Fingerprint(_), _) => {}
        (ToConnector::AskTime, Some(connector)) => connector.handle_ask_time(now),
        (ToConnector::Operator(typed), Some(connector)) => connector.handle_operator(now, typed),
        (ToConnector::Stop, Some(connector)) => {
            connector.stop();
            return Err(Exit::Stopped);
        }
        (ToConnector::Stop, None) => return Err(Exit::Stopped),
        (ToConnector::Start { .. }, Some(_)) => log::warn!("a second start is ignored"),
        (
            ToConnector::Network { .. }
            | ToConnector::Clock { .. }
            | ToConnector::AskTime
            | ToConnector::Operator(_),
            None,
        ) => {}
    }
    Ok(None)
}

/// Tells PID 1 the edge's time, and the status: a change of phase at once, counters once a second.
#[derive(Debug, Default)]
struct Reporter {
    /// Not told yet.
    time: Option<EdgeSample>,
    sent: Option<ConnectorStatus>,
    sent_at: Instant,
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
        let Some(status) = connector
            .map(Connector::status)
            .or_else(|| self.stuck.clone())
        else {
            return Ok(None);
        };
        let due = match &self.sent {
            None => true,
            Some(sent) if *sent == status => return Ok(None),
            Some(sent) => {
                sent.phase != status.phase
                    || sent.sessions != status.sessions
                    || now >= self.sent_at + STATUS_INTERVAL
            }
        };
        if !due {
            return Ok(Some(self.sent_at + STATUS_INTERVAL));
        }
        if !send(channel, &FromConnector::Status(status.clone()))? {
            return Ok(Some(now + STATUS_INTERVAL));
        }
        self.sent = Some(status);
        self.sent_at = now;
        Ok(None)
    }
}

/// Whether PID 1 took the message; if not, it is to be sent again.
fn send(channel: &LocalChannel, message: &FromConnector) -> Result<bool, Exit> {
    let sent = channel.send(message);
    sent.map_err(|error| Exit::Failed(format!("local channel: {error}")))
}
