//! The greeting: is this the connector, is it there already, and what is it told.

use std::sync::Arc;

use connector_proto::error::Error as ProtocolError;
use connector_proto::message::{CloseCode, Fingerprint, RatchetValue, Verdict, Welcome};
use log::{info, warn};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Control, fresh_value, millis, reconnect_delays};
use crate::authorise::{Endpoint, authorise};
use crate::broker::{Command, Tunnel};
use crate::config::GREETING_TURN_MAX;
use crate::recognise::{Incumbent, verdict_name};
use crate::store::greeting::{Admitted, Greeted, Greeting};
use crate::{Error, clock};
use connector_proto::limits::INCUMBENT_MAX;

/// What the connector said of itself.
#[derive(Clone, Debug)]
pub(super) struct Hello {
    pub(super) version: String,
    pub(super) fingerprint: Fingerprint,
    pub(super) ratchet: RatchetValue,
}

impl Control<'_> {
    /// Takes the connector in, or tells it why not.
    pub(super) async fn greet(&mut self, hello: Hello) {
        let turns = Arc::clone(&self.shared.broker.turns);
        let Ok(_turn) = timeout(GREETING_TURN_MAX, turns.take(self.identity.id)).await else {
            warn!(
                "{}: too many greetings of {}",
                self.peer, self.identity.name
            );
            return self.machine.close(CloseCode::TimedOut);
        };
        self.waiting = None;
        let decided = async {
            let value = fresh_value()?;
            Ok::<_, Error>((self.decide(&hello, value).await?, value))
        };
        match decided.await {
            Ok((Greeted::Admitted(admitted), value)) => {
                self.welcome(admitted, value, &hello.version).await;
            }
            Ok((Greeted::Held { verdict, .. }, _)) => self.hold(verdict),
            Ok((Greeted::Denied(denied), _)) => {
                warn!("{}: {} is refused: {denied}", self.peer, self.identity.name);
                self.machine.close(denied.close_code());
            }
            Ok((Greeted::AskIncumbent, _)) => {
                // The incumbent was asked: only a fault of the edge's own asks again.
                self.machine.close(CloseCode::InternalError);
            }
            Err(error) => {
                warn!("cannot decide on {}: {error}", self.identity.name);
                self.machine.close(CloseCode::InternalError);
            }
        }
    }

    /// What the store decides, after the incumbent was asked if need be.
    async fn decide(&self, hello: &Hello, value: RatchetValue) -> Result<Greeted, Error> {
        let Some(tunnel) = self.shared.broker.incumbent(&self.identity.id) else {
            return self.ask_store(hello, value, Incumbent::None).await;
        };
        match self.ask_store(hello, value, Incumbent::Unknown).await? {
            Greeted::AskIncumbent => {}
            decided @ (Greeted::Admitted(_) | Greeted::Denied(_) | Greeted::Held { .. }) => {
                return Ok(decided);
            }
        }
        let incumbent = ask(&tunnel).await;
        let greeted = self.ask_store(hello, value, incumbent).await?;
        if incumbent == Incumbent::Alive && matches!(greeted, Greeted::Held { fresh: true, .. }) {
            // From when it has stored another value, the one that was presented is the copy's alone.
            tunnel.command(Command::NewRatchet);
        }
        Ok(greeted)
    }

    async fn ask_store(
        &self,
        hello: &Hello,
        new_value: RatchetValue,
        incumbent: Incumbent,
    ) -> Result<Greeted, Error> {
        let (spki, hello, address) = (self.spki, hello.clone(), self.peer.to_string());
        let asking = self.shared.store.run(move |store| {
            let greeting = Greeting {
                spki,
                fingerprint: hello.fingerprint,
                ratchet: hello.ratchet,
                incumbent,
                new_value,
                version: &hello.version,
                address: &address,
            };
            store.greet(&greeting, clock::unix_now())
        });
        asking.await
    }

    fn hold(&mut self, verdict: Verdict) {
        warn!(
            "{}: a machine with the identity of {} is held: {}",
            self.peer,
            self.identity.name,
            verdict_name(verdict)
        );
        if let Err(error) = self.machine.recognise(verdict, false) {
            warn!("{}: cannot say so: {error}", self.peer);
        }
        self.machine.close(CloseCode::Held);
    }

    /// Registers the connector, asks once more whether it may connect, and welcomes it: a revocation
    /// is then seen here or by housekeeping, never by neither.
    async fn welcome(&mut self, admitted: Admitted, value: RatchetValue, version: &str) {
        self.identity = admitted.identity.clone();
        self.step = admitted.step;
        let registered = self
            .shared
            .broker
            .register(admitted.identity.clone(), self.spki);
        self.registered = Some(registered);
        let spki = self.spki;
        let holder = self
            .shared
            .store
            .run(move |store| store.holder(&spki))
            .await;
        let allowed =
            holder.map(|holder| authorise(Endpoint::Control, &holder.standing, clock::unix_now()));
        match allowed {
            Ok(Ok(())) => {}
            Ok(Err(denied)) => return self.machine.close(denied.close_code()),
            Err(error) => {
                warn!("cannot take {} in: {error}", self.identity.name);
                return self.machine.close(CloseCode::InternalError);
            }
        }
        if let Err(error) = self.say_welcome(&admitted, value) {
            warn!("cannot welcome {}: {error}", self.identity.name);
            return self.machine.close(CloseCode::InternalError);
        }
        let (name, group) = (&self.identity.name, &self.identity.group);
        let taken_for = match admitted.verdict {
            Verdict::SameMachine => String::new(),
            verdict => format!(", taken for {}", verdict_name(verdict)),
        };
        info!(
            "{}: {name} of group {group} connected, version {version}{taken_for}",
            self.peer
        );
    }

    fn say_welcome(
        &mut self,
        admitted: &Admitted,
        value: RatchetValue,
    ) -> Result<(), ProtocolError> {
        if admitted.verdict != Verdict::SameMachine {
            self.machine.recognise(admitted.verdict, true)?;
        }
        let (spread, cap) = reconnect_delays(admitted.fleet);
        self.machine.welcome(&Welcome {
            name: &self.identity.name,
            group: &self.identity.group,
            reconnect_spread_ms: millis(spread),
            reconnect_cap_ms: millis(cap),
        })?;
        if !self.machine.is_established() {
            // It closed right behind its hello.
            return Ok(());
        }
        let roots = self.shared.authority.roots();
        self.machine.trust(roots.ca(), roots.other_ca())?;
        self.machine.ratchet(admitted.step, value)
    }
}

/// Whether the connector at the other end of a tunnel is there. One that is not, or does not say so
/// in time, has lost its place by then.
async fn ask(tunnel: &Tunnel) -> Incumbent {
    let (answer, answered) = oneshot::channel();
    if !tunnel.command(Command::AskAlive(answer)) {
        return Incumbent::None;
    }
    match timeout(INCUMBENT_MAX, answered).await {
        Ok(Ok(())) => Incumbent::Alive,
        Ok(Err(_)) | Err(_) => Incumbent::None,
    }
}
