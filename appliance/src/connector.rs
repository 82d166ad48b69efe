//! The connector: what the operator, PID 1 and the edge said, and what follows from it.

use std::time::Duration;

use connector_proto::backoff::Backoff;
use connector_proto::control::ConnectorEvent as ControlEvent;
use connector_proto::enrol::{ConnectorEvent as EnrolEvent, Enrolment};
use connector_proto::error::Error as ProtocolError;
use connector_proto::grant;
use connector_proto::key::ProvisioningKey;
use connector_proto::limits::NAME_MAX;
use connector_proto::local::{EdgeSample, FromConsole, KeyRefused, Network, Phase, Text, text};
use connector_proto::message::{CloseCode, EnrolRefusal, Fingerprint, SessionRefusal};
use connector_proto::record::ProxyCredentials;
use connector_proto::time::Instant;

use crate::interest::Watch;
use crate::session::Target;
use crate::store::Store;
use crate::tls::Pinned;
use crate::tunnel::{Event, Tunnel, TunnelError};
use crate::{clock, edge_name};

mod memory;
mod outage;
mod phase;
mod plan;
mod question;
mod sessions;
mod time;

use memory::Memory;
pub use phase::stuck;
use question::Question;
use sessions::{Refused, Sessions};

/// Spread and cap of reconnect delays until the edge tells its own.
const SPREAD: Duration = Duration::from_secs(2);
const CAP: Duration = Duration::from_secs(30);
/// The token of the tunnel.
const TUNNEL: u64 = 0;
/// The token of the question for the time; sessions have those above.
const QUESTION: u64 = 1;

/// The connector's whole state.
#[derive(Debug)]
pub struct Connector {
    memory: Memory,
    fingerprint: Fingerprint,
    version: String,
    /// The edge from the image or a property, unless the state record has one.
    edge: Option<String>,
    network: Option<Network>,
    /// The network as it was when there was one.
    last_network: Network,
    /// Whether PID 1 vouches for the clock. Until then the dates of a certificate mean nothing.
    is_clock_right: bool,
    /// The dates of the edge's certificate did not hold by the clock.
    is_clock_doubted: bool,
    question: Question,
    /// What the edge said the time is, for PID 1.
    measured: Option<EdgeSample>,
    /// The key that was typed, until the edge has answered.
    key: Option<ProvisioningKey>,
    refused: Option<KeyRefused>,
    /// The proxy wants a user and a password; whether it refused some.
    proxy_refused: Option<bool>,
    pinned: Option<Pinned>,
    tunnel: Option<Tunnel>,
    /// Name and group that the edge welcomed the connector by.
    welcomed: (Text<NAME_MAX>, Text<NAME_MAX>),
    next_attempt: Instant,
    last_error: String,
    backoff: Backoff,
    sessions: Sessions,
    phase: Phase,
    phase_since: Instant,
}

impl Connector {
    /// Starts from the state record. `seed` spreads delays and pings.
    ///
    /// # Errors
    /// If the state record's certificate and key do not belong together.
    pub fn new(
        now: Instant,
        store: Store,
        edge: Option<&str>,
        fingerprint: Fingerprint,
        version: &str,
        seed: u64,
    ) -> Result<Self, rustls::Error> {
        let memory = Memory::new(store);
        let state = memory.state();
        let identity = state.identity.as_ref();
        let pinned = identity
            .map(|identity| Pinned::new(state, identity))
            .transpose()?;
        let stored = (!state.edge.is_empty()).then(|| state.edge.clone());
        let mut connector = Self {
            edge: stored.or_else(|| edge.map(str::to_owned)),
            memory,
            fingerprint,
            version: version.to_owned(),
            network: None,
            last_network: Network::default(),
            is_clock_right: false,
            is_clock_doubted: false,
            question: Question::new(SPREAD, CAP, !seed),
            measured: None,
            key: None,
            refused: None,
            proxy_refused: None,
            pinned,
            tunnel: None,
            welcomed: (Text::new(), Text::new()),
            next_attempt: now,
            last_error: String::new(),
            backoff: Backoff::new(SPREAD, CAP, seed),
            sessions: Sessions::new(QUESTION + 1),
            phase: Phase::NeedEdge,
            phase_since: now,
        };
        connector.update_phase(now);
        Ok(connector)
    }

    /// Takes what the operator typed.
    pub fn handle_operator(&mut self, now: Instant, typed: FromConsole) {
        match typed {
            FromConsole::Edge(text) => match edge_name::parse(&text) {
                Ok(_) if self.pinned.is_none() => {
                    self.edge = Some(text.as_str().to_owned());
                    self.try_at_once(now);
                }
                Ok(_) => log::warn!("an edge was typed, but this connector is enrolled already"),
                Err(error) => log::warn!("the edge that was typed is not used: {error}"),
            },
            FromConsole::Key(data) if self.pinned.is_none() => {
                match ProvisioningKey::from_data(data) {
                    Ok(key) => {
                        self.key = Some(key);
                        self.refused = None;
                        self.try_at_once(now);
                    }
                    Err(error) => log::warn!("the key that was typed is not used: {error}"),
                }
            }
            FromConsole::Key(_) => {
                log::warn!("a key was typed, but this connector is enrolled already");
            }
            FromConsole::ProxyCredentials { user, password } => {
                self.memory.set_credentials(ProxyCredentials {
                    user: user.as_str().to_owned(),
                    password: password.as_str().to_owned(),
                });
                self.proxy_refused = None;
                self.question.restart(now);
                if !self.is_connected() {
                    self.try_at_once(now);
                }
            }
            // PID 1 answers these itself.
            FromConsole::Slot(_) | FromConsole::FactoryReset => {}
        }
        self.turn(now, &[]);
    }

    /// Takes the network as it is now, or the news that its link is back. A tunnel whose address the
    /// machine still has is probed, not dropped; what is being opened starts over.
    pub fn handle_network(&mut self, now: Instant, network: Option<Network>) {
        self.network = network;
        if let Some(network) = self.network.clone() {
            let before = std::mem::replace(&mut self.last_network, network);
            if before.proxy != self.last_network.proxy {
                self.proxy_refused = None;
            }
            self.check_tunnel(now, &before);
        }
        self.turn(now, &[]);
    }

    /// Sees to it that the tunnel is one of this network, or that there is one soon.
    fn check_tunnel(&mut self, now: Instant, before: &Network) {
        let local = self.tunnel.as_ref().and_then(Tunnel::local_address);
        let is_gone = local.is_some_and(|local| {
            let has = |network: &Network| network.addresses().any(|own| own == local);
            has(before) && !has(&self.last_network)
        });
        let channel = self.tunnel.as_mut().and_then(Tunnel::control);
        match channel.filter(|channel| channel.is_established()) {
            Some(channel) if !is_gone => channel.probe(now),
            Some(_) => {
                log::info!("the tunnel's address is not this machine's any more: a new tunnel");
                self.try_at_once(now);
            }
            // A proxy that locks accounts must not hear refused credentials at every change.
            None if self.proxy_refused == Some(true) => {}
            None => {
                self.try_at_once(now);
                self.question.restart(now);
            }
        }
        // The console hears of it even if the next tunnel is up within this very turn.
        self.update_phase(now);
    }

    /// Says farewell to the edge.
    pub fn stop(&mut self) {
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.close(CloseCode::GoingAway);
        }
    }

    /// Adds everything the connector waits for.
    pub fn watch<'a>(&'a self, watch: &mut Watch<'a>) {
        match &self.tunnel {
            Some(tunnel) => tunnel.watch(watch, TUNNEL),
            None if self.has_plan() => watch.until(Some(self.next_attempt)),
            None => {}
        }
        self.question.watch(watch, QUESTION, self.may_ask_time());
        self.sessions.watch(watch);
    }

    /// Goes on: control traffic first, then the sessions whose tokens are `ready` or whose time has
    /// come.
    pub fn turn(&mut self, now: Instant, ready: &[u64]) {
        self.turn_tunnel(now);
        for refused in self.sessions.turn(now, ready) {
            self.refuse(&refused);
        }
        // What the sessions had to say to the edge goes out in this turn.
        self.turn_tunnel(now);
        // What became of the tunnel may be a reason to ask.
        self.turn_question(now);
        self.update_phase(now);
    }

    fn turn_tunnel(&mut self, now: Instant) {
        if self.tunnel.is_none() && self.has_plan() && self.next_attempt <= now {
            let started = self.next_plan().and_then(|plan| Tunnel::start(now, plan));
            match started {
                Ok(tunnel) => self.tunnel = Some(tunnel),
                Err(error) => self.lose_tunnel(now, &error),
            }
        }
        let Some(tunnel) = self.tunnel.take() else {
            return;
        };
        let mut events = Vec::new();
        let failed = match tunnel.turn(now, &mut events) {
            Ok(tunnel) => {
                self.tunnel = Some(tunnel);
                None
            }
            Err(error) => Some(error),
        };
        let mut over = false;
        for event in events {
            over |= self.handle_event(now, event);
        }
        match failed {
            _ if over => self.tunnel = None,
            Some(error) => self.lose_tunnel(now, &error),
            None => {}
        }
    }

    /// Handles an event of the tunnel; true if the tunnel has served its purpose.
    fn handle_event(&mut self, now: Instant, event: Event) -> bool {
        match event {
            Event::Enrol(EnrolEvent::EdgeProven) => {
                self.proxy_refused = None;
                false
            }
            Event::Enrol(EnrolEvent::Enrolled(enrolment)) => {
                self.handle_enrolled(now, enrolment);
                true
            }
            Event::Enrol(EnrolEvent::Refused { reason, proven }) => {
                log::warn!("enrolment refused: {reason:?}, edge proven: {proven}");
                self.handle_refused(now, reason);
                true
            }
            // Asked on the question's connection only.
            Event::Time(_) => true,
            Event::Control(event) => self.handle_control(now, event),
        }
    }

    fn handle_control(&mut self, now: Instant, event: ControlEvent) -> bool {
        match event {
            ControlEvent::Welcomed {
                name,
                group,
                reconnect_spread,
                reconnect_cap,
            } => {
                self.backoff.set_limits(reconnect_spread, reconnect_cap);
                self.question.set_limits(reconnect_spread, reconnect_cap);
                self.welcomed = (text(&name), text(&group));
                false
            }
            ControlEvent::PathProven => {
                self.handle_connected(now);
                false
            }
            ControlEvent::SessionOffered { grant } => {
                self.handle_offer(now, &grant);
                false
            }
            ControlEvent::Closed { code } => {
                let error = ProtocolError::PeerClosed { code };
                self.lose_tunnel(now, &TunnelError::Protocol(error));
                true
            }
        }
    }

    fn handle_enrolled(&mut self, now: Instant, enrolment: Enrolment) {
        let Enrolment { identity, time } = enrolment;
        let (name, group) = (identity.name.clone(), identity.group.clone());
        let pinned = Pinned::new(self.memory.state(), &identity);
        let saved = self.memory.enrolled(identity, time, self.reached());
        match (pinned, saved) {
            (Ok(pinned), Ok(())) => {
                log::info!("enrolled as {name} in group {group}");
                self.pinned = Some(pinned);
                self.key = None;
                self.try_at_once(now);
            }
            (Err(error), _) => {
                self.retry_later(
                    now,
                    &format!("the certificate is not usable: {error}"),
                    None,
                );
            }
            (Ok(_), Err(error)) => self.retry_later(now, &error.to_string(), None),
        }
    }

    fn handle_refused(&mut self, now: Instant, reason: EnrolRefusal) {
        if reason == EnrolRefusal::TryLater {
            self.retry_later(now, "the edge cannot decide now", None);
        } else {
            self.key = None;
            self.refused = Some(KeyRefused::ByEdge(reason));
        }
    }

    /// The edge took the connector in, and full-size packets pass.
    fn handle_connected(&mut self, now: Instant) {
        let (name, group) = self.welcomed.clone();
        log::info!("control channel up as {name} in group {group}; full-size packets pass");
        self.backoff.reset();
        self.last_error.clear();
        self.proxy_refused = None;
        self.is_clock_doubted = false;
        if let Some(address) = self.reached() {
            self.memory.reached(now, address);
        }
        self.question.ask_soon(now);
        self.set_phase(now, Phase::Connected { name, group });
    }

    /// The edge's address, if it was found by its name and reached without a proxy.
    fn reached(&self) -> Option<std::net::IpAddr> {
        let tunnel = self.tunnel.as_ref()?;
        let plan = tunnel.plan();
        let is_named = plan.host.parse::<std::net::IpAddr>().is_err();
        let address = tunnel.address().map(|address| address.ip());
        address.filter(|_| is_named && plan.proxy.is_none())
    }

    fn handle_offer(&mut self, now: Instant, bytes: &[u8]) {
        let Some(identity) = &self.memory.state().identity else {
            return;
        };
        let verified = grant::verify(
            bytes,
            &identity.grant_key,
            &identity.connector_id,
            clock::unix(),
        );
        let target = match verified {
            Ok(grant) => Target {
                session: grant.session,
                host: grant.host.to_owned(),
                port: grant.port,
            },
            Err((session, error)) => {
                log::warn!("a session is refused: {error}");
                let detail = error.to_string();
                let reason = SessionRefusal::GrantInvalid;
                if let Some(session) = session {
                    self.refuse(&Refused {
                        session,
                        reason,
                        detail,
                    });
                }
                return;
            }
        };
        if let Some(context) = self.context()
            && let Some(refused) = self.sessions.start(now, target, context)
        {
            self.refuse(&refused);
        }
    }

    fn refuse(&mut self, refused: &Refused) {
        let Some(channel) = self.tunnel.as_mut().and_then(Tunnel::control) else {
            return;
        };
        let Refused {
            session,
            reason,
            detail,
        } = refused;
        if let Err(error) = channel.refuse_session(*session, *reason, detail) {
            log::warn!("the edge is not told of a refusal: {error}");
        }
    }
}
