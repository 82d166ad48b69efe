//! A control channel: drives `connector_proto::control::Channel` between the connector and the broker.

use std::future::pending;
use std::io::ErrorKind;
use std::iter::from_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use connector_proto::control::{Channel, EdgeEvent, EdgeSide};
use connector_proto::error::Error as ProtocolError;
use connector_proto::message::{CloseCode, RatchetValue};
use log::{info, warn};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::time::{sleep_until, timeout};

use crate::acceptor::{Known, Ticket};
use crate::broker::{Command, Queues, Registration};
use crate::config::{MESSAGES_PER_TURN, WRITE_MAX};
use crate::server::Shared;
use crate::store::Store;
use crate::store::holder::Identity;
use crate::store::ratchet::Stored;
use crate::tls::{self, Tls};
use crate::{Error, clock};
use connector_proto::limits::INCUMBENT_MAX;

mod greeting;

use greeting::Hello;

/// Spread of a fleet's first reconnect per connector: 10,000 come back within 10 s, which an edge
/// of 1,000 handshakes a second takes.
const SPREAD_PER_CONNECTOR: Duration = Duration::from_millis(1);
/// Shortest spread: one connector need not wait longer for an edge that restarts.
const SPREAD_MIN: Duration = Duration::from_secs(1);
/// Longest spread.
const SPREAD_MAX: Duration = Duration::from_secs(10);
/// Cap of later reconnect delays in spreads: 10 s for a small fleet, 60 s for a large one at most.
const CAP_IN_SPREADS: u32 = 10;
/// Longest cap.
const CAP_MAX: Duration = Duration::from_secs(60);

/// Serves one control channel from its greeting to its end.
pub(crate) async fn serve(shared: &Arc<Shared>, known: Known) {
    let Known {
        mut tls,
        identity,
        spki,
        peer,
        ticket,
    } = known;
    let mut seed = [0; 8];
    // The seed only spreads pings; without randomness they are merely in step.
    let _ = getrandom::fill(&mut seed);
    let machine = Channel::edge(clock::now(), u64::from_be_bytes(seed));
    let mut control = Control {
        shared,
        identity,
        spki,
        peer,
        machine,
        waiting: Some(ticket),
        registered: None,
        step: 0,
        asked: Vec::new(),
        ratchet_wanted: false,
    };
    let name = control.identity.name.clone();
    match control.run(&mut tls).await {
        Ok(why) => info!("{peer}: {name} disconnected: {why}"),
        Err(problem) => warn!("{peer}: {name} disconnected: {problem}"),
    }
    control.sign_off().await;
    let last: Vec<u8> = from_fn(|| control.machine.poll_transmit())
        .flatten()
        .collect();
    drop(control);
    tls::farewell(tls, &last).await;
}

struct Control<'a> {
    shared: &'a Arc<Shared>,
    identity: Identity,
    spki: [u8; 32],
    peer: SocketAddr,
    machine: Channel<EdgeSide>,
    /// Before its greeting's turn has come; from then on the connector has one channel that is so far.
    waiting: Option<Ticket>,
    /// After the greeting.
    registered: Option<(Registration, Queues)>,
    /// Of the ratchet value that this channel handed out last.
    step: u64,
    /// Who wants to know whether the connector is there.
    asked: Vec<oneshot::Sender<()>>,
    /// Another ratchet value is to follow the one that is under way.
    ratchet_wanted: bool,
}

impl Control<'_> {
    /// Until either side closes; the reason, or the problem. A farewell is left in the machine.
    async fn run(&mut self, tls: &mut Tls) -> Result<String, String> {
        let mut buffer = [0; 4096];
        let mut why = String::from("closed by the edge");
        loop {
            self.send(tls).await?;
            let Some(deadline) = self.machine.poll_timeout() else {
                return Ok(why);
            };
            let done = tokio::select! {
                read = tls.read(&mut buffer) => match read {
                    Ok(0) => return Ok("the connector closed the connection".into()),
                    Ok(len) => self.machine.handle_input(clock::now(), &buffer[..len]),
                    Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                        return Err("the connection broke off".into());
                    }
                    Err(error) => return Err(error.to_string()),
                },
                request = next(&mut self.registered) => match request {
                    Request::Command(command) => {
                        if let Command::Close(code) = &command {
                            why = code.to_string();
                        }
                        self.obey(command).await
                    }
                    Request::Offers(grants) => self.offer(&grants),
                    Request::Successions => self.ask_successors(),
                },
                () = sleep_until(clock::deadline(deadline)) => {
                    self.machine.handle_timeout(clock::now())
                }
            };
            done.map_err(|error| error.to_string())?;
            if let Some((registration, _)) = &self.registered {
                registration.tunnel.set_suspect(self.machine.is_suspect());
            }
            while let Some(event) = self.machine.poll_event() {
                if let Some(closed) = self.handle(event).await {
                    why = closed;
                }
            }
        }
    }

    async fn send(&mut self, tls: &mut Tls) -> Result<(), String> {
        let sending = async {
            while let Some(bytes) = self.machine.poll_transmit() {
                tls.write_all(&bytes).await?;
            }
            tls.flush().await
        };
        match timeout(WRITE_MAX, sending).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it did not read for {} s", WRITE_MAX.as_secs())),
        }
    }

    /// Does what the broker asks. What the channel is not ready for is left: whoever asked hears of
    /// it by the end of the channel, or asks the next one.
    async fn obey(&mut self, command: Command) -> Result<(), ProtocolError> {
        let done = match command {
            Command::AskAlive(answer) => {
                self.asked.retain(|waiting| !waiting.is_closed());
                self.asked.push(answer);
                self.machine.ask_alive(clock::now(), INCUMBENT_MAX)
            }
            Command::Close(code) => {
                self.machine.close(code);
                Ok(())
            }
            Command::NewRatchet => {
                self.advance_ratchet().await;
                Ok(())
            }
            Command::Trust => {
                let roots = self.shared.authority.roots();
                self.machine.trust(roots.ca(), roots.other_ca())
            }
        };
        self.unless_early(done)
    }

    /// Offers sessions.
    fn offer(&mut self, grants: &[Vec<u8>]) -> Result<(), ProtocolError> {
        for grant in grants {
            let offered = self.machine.open_session(grant);
            self.unless_early(offered)?;
        }
        Ok(())
    }

    /// Has the connector attach the next channels to sessions that want them.
    fn ask_successors(&mut self) -> Result<(), ProtocolError> {
        for _ in 0..MESSAGES_PER_TURN {
            let wanting = self.shared.broker.next_wanting(&self.identity.id);
            let Some((session, channel)) = wanting else {
                return Ok(());
            };
            let asked = self.machine.ask_successor(session, channel);
            self.unless_early(asked)?;
        }
        // There may be more, after what else is to do.
        if let Some((registration, _)) = &self.registered {
            registration.tunnel.successions.notify_one();
        }
        Ok(())
    }

    fn unless_early(&self, done: Result<(), ProtocolError>) -> Result<(), ProtocolError> {
        match done {
            Err(ProtocolError::NotReady { awaited }) => {
                info!("{}: not done before {awaited}", self.identity.name);
                Ok(())
            }
            done => done,
        }
    }

    /// What happened; why, if the connector closed.
    async fn handle(&mut self, event: EdgeEvent) -> Option<String> {
        match event {
            EdgeEvent::Greeted {
                version,
                fingerprint,
                ratchet,
            } => {
                let hello = Hello {
                    version,
                    fingerprint,
                    ratchet,
                };
                self.greet(hello).await;
            }
            EdgeEvent::Alive => {
                for asked in self.asked.drain(..) {
                    // Who asked may have lost patience.
                    let _ = asked.send(());
                }
            }
            EdgeEvent::RatchetStored { step } => self.ratchet_stored(step).await,
            EdgeEvent::TrustStored { digest } => self.trust_stored(digest).await,
            EdgeEvent::SessionRefused {
                session,
                reason,
                detail,
            } => {
                let broker = &self.shared.broker;
                broker.refuse(&self.identity.id, &session, reason, detail);
            }
            EdgeEvent::Capacity { sessions } => {
                if let Some((registration, _)) = &self.registered {
                    registration.tunnel.set_capacity(sessions);
                }
            }
            EdgeEvent::Closed { code } => return Some(code.to_string()),
        }
        None
    }

    /// Hands out another ratchet value, or does so when the one under way was answered for.
    async fn advance_ratchet(&mut self) {
        self.ratchet_wanted = self.machine.unstored_ratchet().is_some();
        if self.ratchet_wanted {
            return;
        }
        let id = self.identity.id;
        let advanced = async {
            let value = fresh_value()?;
            let store = &self.shared.store;
            let step = store.run(move |store| store.advance_ratchet(&id, &value));
            Ok::<_, Error>((step.await?, value))
        };
        let sent = match advanced.await {
            Ok((step, value)) => {
                self.step = step;
                self.machine.ratchet(step, value)
            }
            Err(error) => {
                return warn!("{} keeps its ratchet value: {error}", self.identity.name);
            }
        };
        if let Err(error) = sent {
            warn!("{} gets no ratchet value: {error}", self.identity.name);
        }
    }

    /// The connector has stored a value: from here on it is offered sessions. A store that cannot
    /// take that down ends the channel, and the next one begins anew.
    async fn ratchet_stored(&mut self, step: u64) {
        let id = self.identity.id;
        let stored = self
            .shared
            .store
            .run(move |store| store.ratchet_stored(&id, step));
        match stored.await {
            Ok(Stored::Current) => {}
            Ok(Stored::Overtaken) => return self.machine.close(CloseCode::Replaced),
            Err(error) => {
                warn!(
                    "cannot take down what {} stored: {error}",
                    self.identity.name
                );
                return self.machine.close(CloseCode::InternalError);
            }
        }
        if let Some((registration, _)) = &self.registered {
            registration.set_ready();
        }
        if self.ratchet_wanted {
            self.advance_ratchet().await;
        }
    }

    /// Only the administrator who changes the roots waits for it, and the connector says it again on
    /// its next channel.
    async fn trust_stored(&self, digest: [u8; 32]) {
        let id = self.identity.id;
        let stored = self
            .shared
            .store
            .run(move |store| store.trust_stored(&id, &digest));
        if let Err(error) = stored.await {
            warn!(
                "cannot take down what {} trusts: {error}",
                self.identity.name
            );
        }
    }

    /// Gives the place up, and notes that the connector is gone unless a newer channel of its is up.
    async fn sign_off(&mut self) {
        let Some((registration, _)) = self.registered.take() else {
            return;
        };
        drop(registration);
        let (id, step) = (self.identity.id, self.step);
        let gone = move |store: &Store| store.set_disconnected(&id, step, clock::unix_now());
        if let Err(error) = self.shared.store.run(gone).await {
            warn!(
                "cannot note that {} is disconnected: {error}",
                self.identity.name
            );
        }
    }
}

/// What the rest of the edge asks of a control channel.
enum Request {
    Command(Command),
    /// Signed grants, at most [`MESSAGES_PER_TURN`].
    Offers(Vec<Vec<u8>>),
    /// Sessions want successors.
    Successions,
}

/// The next request; never, while the connector has not greeted. Which kind comes first is drawn, so that
/// none keeps the others waiting.
async fn next(registered: &mut Option<(Registration, Queues)>) -> Request {
    let Some((registration, queues)) = registered else {
        return pending().await;
    };
    let mut grants = Vec::new();
    // The registration holds the senders, so the queues are open.
    tokio::select! {
        Some(command) = queues.commands.recv() => Request::Command(command),
        1.. = queues.offers.recv_many(&mut grants, MESSAGES_PER_TURN) => Request::Offers(grants),
        () = registration.tunnel.successions.notified() => Request::Successions,
        else => pending().await,
    }
}

fn fresh_value() -> Result<RatchetValue, Error> {
    let mut value = RatchetValue::default();
    getrandom::fill(&mut value.0).map_err(Error::crypto("a ratchet value"))?;
    Ok(value)
}

/// Spread of the first and cap of later reconnect delays for a fleet of this size.
fn reconnect_delays(fleet: u32) -> (Duration, Duration) {
    let spread = SPREAD_PER_CONNECTOR
        .saturating_mul(fleet)
        .clamp(SPREAD_MIN, SPREAD_MAX);
    (spread, (spread * CAP_IN_SPREADS).min(CAP_MAX))
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_fleet_spreads_its_return() {
        let seconds = |fleet| {
            let (spread, cap) = reconnect_delays(fleet);
            (spread.as_secs(), cap.as_secs())
        };
        assert_eq!(seconds(1), (1, 10));
        assert_eq!(seconds(5_000), (5, 50));
        assert_eq!(seconds(10_000), (10, 60));
        assert_eq!(seconds(u32::MAX), (10, 60));
    }
}
