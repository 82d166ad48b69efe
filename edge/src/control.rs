//! A control channel: drives `connector_proto::control::Channel` between the connector and the broker.

use std::future::pending;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use connector_proto::control::{Channel, EdgeEvent, EdgeSide};
use connector_proto::message::{CloseCode, Welcome};
use log::{info, warn};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep_until, timeout};

use crate::broker::{Command, Outcome, Registration};
use crate::clock;
use crate::config::WRITE_MAX;
use crate::server::Shared;
use crate::store::connectors::Identity;
use crate::tls::{self, Tls};

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
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    mut tls: Tls,
    identity: Identity,
    peer: SocketAddr,
) {
    let mut seed = [0; 8];
    // The seed only spreads pings; without randomness they are merely in step.
    let _ = getrandom::fill(&mut seed);
    let machine = Channel::edge(clock::now(), u64::from_be_bytes(seed));
    let mut control = Control {
        shared,
        identity,
        peer,
        machine,
        registered: None,
    };
    let name = control.identity.name.clone();
    match control.run(&mut tls).await {
        Ok(why) => info!("{peer}: {name} disconnected: {why}"),
        Err(problem) => warn!("{peer}: {name} disconnected: {problem}"),
    }
    control.sign_off().await;
    let mut last = Vec::new();
    while let Some(bytes) = control.machine.poll_transmit() {
        last.extend(bytes);
    }
    tls::farewell(tls, &last).await;
}

struct Control<'a> {
    shared: &'a Arc<Shared>,
    identity: Identity,
    peer: SocketAddr,
    machine: Channel<EdgeSide>,
    /// After the greeting.
    registered: Option<(Registration, Receiver<Command>)>,
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
                command = next(&mut self.registered) => match command {
                    Command::Open { grant } => self.machine.open_session(&grant),
                    Command::Close(code) => {
                        why = code.to_string();
                        self.machine.close(code);
                        Ok(())
                    }
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

    /// What happened; why, if the connector closed.
    async fn handle(&mut self, event: EdgeEvent) -> Option<String> {
        match event {
            EdgeEvent::Greeted { version, .. } => self.welcome(&version).await,
            EdgeEvent::SessionRefused {
                session,
                reason,
                detail,
            } => {
                let waiting = self.shared.broker.claim(&session, &self.identity.id);
                // A refusal that comes after the time-out is nobody's any more.
                if let Some(waiting) = waiting {
                    let _ = waiting.send(Outcome::Refused { reason, detail });
                }
            }
            EdgeEvent::Closed { code } => return Some(code.to_string()),
        }
        None
    }

    /// Takes the connector in. It is registered before the store is asked once more whether it may
    /// connect: a revocation is then seen here or by housekeeping, never by neither.
    async fn welcome(&mut self, version: &str) {
        self.registered = Some(self.shared.broker.register(self.identity.clone()));
        let id = self.identity.id;
        let asked = self.shared.store.run(move |store| {
            let active = store
                .identity_by_id(&id)?
                .is_some_and(|identity| identity.active);
            Ok((active, store.active_connectors()?))
        });
        let fleet = match asked.await {
            Ok((true, fleet)) => fleet,
            Ok((false, _)) => return self.machine.close(CloseCode::NotAuthorised),
            Err(error) => {
                warn!("cannot take {} in: {error}", self.identity.name);
                return self.machine.close(CloseCode::InternalError);
            }
        };
        let (spread, cap) = reconnect_delays(fleet);
        let welcomed = self.machine.welcome(&Welcome {
            name: &self.identity.name,
            group: &self.identity.group,
            reconnect_spread_ms: millis(spread),
            reconnect_cap_ms: millis(cap),
        });
        if let Err(error) = welcomed {
            warn!("cannot welcome {}: {error}", self.identity.name);
            return self.machine.close(CloseCode::InternalError);
        }
        let Identity { name, group, .. } = &self.identity;
        info!(
            "{}: {name} of group {group} connected, version {version}",
            self.peer
        );
        self.note_connected(version).await;
    }

    /// Only the listing depends on it: a store that cannot be written keeps no connector out.
    async fn note_connected(&self, version: &str) {
        let (id, version) = (self.identity.id, version.to_owned());
        let address = self.peer.to_string();
        let noted = self
            .shared
            .store
            .run(move |store| store.set_connected(&id, &version, &address, clock::unix_now()));
        if let Err(error) = noted.await {
            warn!(
                "cannot note that {} is connected: {error}",
                self.identity.name
            );
        }
    }

    /// Notes that the connector is gone, unless a newer channel of its is up.
    async fn sign_off(&mut self) {
        let Some((registration, _)) = self.registered.take() else {
            return;
        };
        let current = registration.is_current();
        drop(registration);
        if current {
            let id = self.identity.id;
            let noted = self
                .shared
                .store
                .run(move |store| store.set_disconnected(&id, clock::unix_now()));
            if let Err(error) = noted.await {
                warn!(
                    "cannot note that {} is disconnected: {error}",
                    self.identity.name
                );
            }
        }
    }
}

/// The next command; never, while the connector has not greeted.
async fn next(registered: &mut Option<(Registration, Receiver<Command>)>) -> Command {
    match registered {
        // The registration beside it holds the sender, so the channel is open.
        Some((_, commands)) => match commands.recv().await {
            Some(command) => command,
            None => pending().await,
        },
        None => pending().await,
    }
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
