//! The connector: what the operator, PID 1 and the edge said, and what follows from it.

use std::collections::BTreeMap;
use std::time::Duration;

use connector_proto::backoff::Backoff;
use connector_proto::control::ConnectorEvent as ControlEvent;
use connector_proto::edge_time::Answer;
use connector_proto::enrol::{ConnectorEvent as EnrolEvent, Enrolment};
use connector_proto::error::Error as ProtocolError;
use connector_proto::grant;
use connector_proto::key::ProvisioningKey;
use connector_proto::limits::SESSIONS_MAX;
use connector_proto::local::{
    ConnectorStatus, EdgeSample, FromConsole, KeyRefused, Network, Phase, Text,
};
use connector_proto::message::{CloseCode, EnrolRefusal, Fingerprint, SessionRefusal};
use connector_proto::time::Instant;

use crate::interest::Watch;
use crate::pump::Carried;
use crate::session::{self, Context, Session, Target};
use crate::store::{Store, StoreError};
use crate::tls::Pinned;
use crate::tunnel::{Event, Plan, Purpose, Tunnel, TunnelError};
use crate::{clock, edge_name, edge_time, identity, tls};

/// Spread and cap of reconnect delays until the edge tells its own.
const SPREAD: Duration = Duration::from_secs(2);
const CAP: Duration = Duration::from_secs(30);
/// After an answer that did not make the clock right, the edge is asked for the time again.
const TIME_AGAIN: Duration = Duration::from_secs(30);
/// The token of the tunnel; sessions have those above.
const TUNNEL: u64 = 0;

/// The connector's whole state.
#[derive(Debug)]
pub struct Connector {
    store: Store,
    fingerprint: Fingerprint,
    version: String,
    /// The edge from the image or a property, unless the state record has one.
    edge: Option<String>,
    network: Option<Network>,
    /// Whether PID 1 vouches for the clock. Until then the dates of a certificate mean nothing.
    is_clock_right: bool,
    /// What the edge said the time is, for PID 1.
    measured: Option<EdgeSample>,
    /// The key that was typed, until the edge has answered.
    key: Option<ProvisioningKey>,
    refused: Option<KeyRefused>,
    pinned: Option<Pinned>,
    tunnel: Option<Tunnel>,
    next_attempt: Instant,
    last_error: String,
    backoff: Backoff,
    sessions: BTreeMap<u64, Session>,
    next_token: u64,
    ended: Carried,
    sessions_total: u64,
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
        let state = store.state();
        let pinned = state
            .identity
            .as_ref()
            .map(|identity| Pinned::new(state, identity))
            .transpose()?;
        let stored = (!state.edge.is_empty()).then(|| state.edge.clone());
        let mut connector = Self {
            edge: stored.or_else(|| edge.map(str::to_owned)),
            store,
            fingerprint,
            version: version.to_owned(),
            network: None,
            is_clock_right: false,
            measured: None,
            key: None,
            refused: None,
            pinned,
            tunnel: None,
            next_attempt: now,
            last_error: String::new(),
            backoff: Backoff::new(SPREAD, CAP, seed),
            sessions: BTreeMap::new(),
            next_token: TUNNEL + 1,
            ended: Carried::default(),
            sessions_total: 0,
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
            FromConsole::ProxyCredentials { .. } => {}
            // PID 1 answers these itself.
            FromConsole::Slot(_) => {}
            FromConsole::Key(_) => {
                log::warn!("a key was typed, but this connector is enrolled already");
            }
        }
        self.turn(now, &[]);
    }

    /// Takes the network as it is now. A live tunnel is probed, not dropped: its address may be
    /// the same, and if it is not, the probe finds out.
    pub fn handle_network(&mut self, now: Instant, network: Option<Network>) {
        let came_back = self.network.is_none() && network.is_some();
        self.network = network;
        if came_back {
            self.next_attempt = now;
        }
        if let Some(channel) = self.tunnel.as_mut().and_then(Tunnel::control) {
            channel.probe(now);
        }
        self.turn(now, &[]);
    }

    /// Takes what the clock is worth. Once it is right, the question for the time is moot.
    pub fn handle_clock(&mut self, now: Instant, is_right: bool) {
        if is_right && !self.is_clock_right && self.pinned.is_some() {
            self.try_at_once(now);
        }
        self.is_clock_right = is_right;
        self.turn(now, &[]);
    }

    /// Asks the edge for the time once more.
    pub fn handle_ask_time(&mut self, now: Instant) {
        self.turn(now, &[]);
    }

    /// What the edge said the time is, once.
    pub const fn poll_time(&mut self) -> Option<EdgeSample> {
        self.measured.take()
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
        for (token, session) in &self.sessions {
            session.watch(watch, *token);
        }
    }

    /// Goes on: control traffic first, then the sessions whose tokens are `ready` or whose time has
    /// come.
    pub fn turn(&mut self, now: Instant, ready: &[u64]) {
        self.turn_tunnel(now);
        let due: Vec<u64> = self
            .sessions
            .iter()
            .filter(|(token, session)| {
                ready.contains(token) || session.deadline().is_some_and(|deadline| deadline <= now)
            })
            .map(|(token, _)| *token)
            .collect();
        for token in due {
            if let Some(session) = self.sessions.remove(&token) {
                self.take_step(token, session.turn(now));
            }
        }
        // What the sessions had to say to the edge goes out in this turn.
        self.turn_tunnel(now);
        self.update_phase(now);
    }

    /// The status as the console shows it.
    #[must_use]
    pub fn status(&self) -> ConnectorStatus {
        let mut carried = self.ended;
        for session in self.sessions.values() {
            carried.up += session.carried().up;
            carried.down += session.carried().down;
        }
        ConnectorStatus {
            phase: self.phase.clone(),
            since_boot_us: self.phase_since.as_micros(),
            edge: self.edge.as_deref().map(cut),
            proxy: None,
            sessions: u32::try_from(self.sessions.len()).unwrap_or(u32::MAX),
            sessions_total: self.sessions_total,
            bytes_up: carried.up,
            bytes_down: carried.down,
        }
    }

    fn has_plan(&self) -> bool {
        self.network.is_some()
            && self.edge.is_some()
            && (self.pinned.is_some() || self.key.is_some())
    }

    fn turn_tunnel(&mut self, now: Instant) {
        if self.tunnel.is_none() && self.has_plan() && self.next_attempt <= now {
            match self.plan().and_then(|plan| Tunnel::start(now, plan)) {
                Ok(tunnel) => self.tunnel = Some(tunnel),
                Err(error) => self.lose_tunnel(now, &error),
            }
        }
        let Some(tunnel) = self.tunnel.take() else {
            return;
        };
        let mut events = Vec::new();
        let result = tunnel.turn(now, &mut events);
        let failed = match result {
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

    /// What the next connection is for.
    fn plan(&mut self) -> Result<Plan, TunnelError> {
        let text = self.edge.clone().unwrap_or_default();
        let (host, port) = edge_name::parse(&text).map_err(|error| {
            log::warn!("{error}");
            TunnelError::Tls(tls::TlsError::Name)
        })?;
        let (config, purpose) = match (&self.pinned, &self.key) {
            (Some(pinned), _) if !self.is_clock_right => {
                let mut nonce = [0; 32];
                getrandom::fill(&mut nonce).map_err(|error| {
                    TunnelError::Tls(tls::TlsError::Io(std::io::Error::other(error)))
                })?;
                (pinned.time.clone(), Purpose::Time { nonce })
            }
            (Some(pinned), _) => {
                let seed = now_seed(self.backoff.attempts());
                let version = self.version.clone();
                (pinned.control.clone(), Purpose::Control { version, seed })
            }
            (None, Some(key)) => {
                let key = key.clone();
                let csr = self.prepare_enrolment(&text)?;
                let config =
                    tls::enrolment().map_err(|e| TunnelError::Tls(tls::TlsError::Tls(e)))?;
                (config, Purpose::Enrol { key, csr })
            }
            // `has_plan` was true.
            (None, None) => return Err(TunnelError::Closed),
        };
        let resolvers = self
            .network
            .as_ref()
            .map(|network| network.resolvers.to_vec())
            .unwrap_or_default();
        Ok(Plan {
            host,
            port,
            resolvers,
            remembered: Vec::new(),
            proxy: None,
            config,
            purpose,
            fingerprint: self.fingerprint,
        })
    }

    /// Stores the private key before anything is asked with it: a lost reply is then asked for
    /// again with the same key pair, and spends no second use.
    fn prepare_enrolment(&mut self, edge: &str) -> Result<Vec<u8>, TunnelError> {
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            log::error!("{what}: {error}");
            TunnelError::Tls(tls::TlsError::Io(std::io::Error::other(format!(
                "{what}: {error}"
            ))))
        };
        let mut state = self.store.state().clone();
        if state.private_key.is_empty() || state.edge != edge {
            if state.private_key.is_empty() {
                state.private_key = identity::new_private_key()
                    .map_err(|error| failed("no private key can be made", &error))?;
            }
            edge.clone_into(&mut state.edge);
            self.store
                .save(state)
                .map_err(|error| failed("nothing can be remembered", &error))?;
        }
        identity::signing_request(&self.store.state().private_key)
            .map_err(|error| failed("the stored private key cannot be used", &error))
    }

    /// Handles an event of the tunnel; true if the tunnel has served its purpose.
    fn handle_event(&mut self, now: Instant, event: Event) -> bool {
        match event {
            Event::Enrol(EnrolEvent::EdgeProven) => false,
            Event::Enrol(EnrolEvent::Enrolled(enrolment)) => {
                self.handle_enrolled(now, enrolment);
                true
            }
            Event::Enrol(EnrolEvent::Refused { reason, proven }) => {
                log::warn!("enrolment refused: {reason:?}, edge proven: {proven}");
                self.handle_refused(now, reason);
                true
            }
            Event::Time(answer) => {
                self.handle_time(now, &answer);
                true
            }
            Event::Control(ControlEvent::Welcomed {
                name,
                group,
                reconnect_spread,
                reconnect_cap,
            }) => {
                self.backoff.set_limits(reconnect_spread, reconnect_cap);
                self.handle_welcomed(now, &name, &group);
                false
            }
            Event::Control(ControlEvent::SessionOffered { grant }) => {
                self.handle_offer(now, &grant);
                false
            }
            Event::Control(ControlEvent::Closed { code }) => {
                self.lose_tunnel(
                    now,
                    &TunnelError::Protocol(ProtocolError::PeerClosed { code }),
                );
                true
            }
        }
    }

    fn handle_enrolled(&mut self, now: Instant, enrolment: Enrolment) {
        let identity = enrolment.identity;
        let (name, group) = (identity.name.clone(), identity.group.clone());
        let mut state = self.store.state().clone();
        // Proven by the key, and right even where this machine's clock is not.
        state.last_good_time = enrolment.time.0;
        let pinned = Pinned::new(&state, &identity);
        state.identity = Some(identity);
        match (pinned, self.store.save(state)) {
            (Ok(pinned), Ok(())) => {
                log::info!("enrolled as {} in group {}", name, group);
                self.pinned = Some(pinned);
                self.key = None;
                self.backoff.reset();
                self.next_attempt = now;
                self.last_error.clear();
            }
            (Err(error), _) => {
                self.retry_later(now, &format!("the certificate is not usable: {error}"))
            }
            (Ok(_), Err(error)) => self.retry_later(now, &error.to_string()),
        }
    }

    /// Passes the edge's time on. PID 1 says whether it makes the clock right.
    fn handle_time(&mut self, now: Instant, answer: &Answer) {
        let edge = self.edge.as_deref().map(cut).unwrap_or_default();
        self.measured = edge_time::sample(edge, answer, (clock::now(), clock::unix_us()));
        match &self.measured {
            Some(sample) => log::info!(
                "by the edge's time the clock is off by {} us, within {} us",
                sample.offset_us,
                sample.bound_us
            ),
            None => log::warn!("the edge's time cannot be: {:?}", answer.time),
        }
        self.backoff.reset();
        self.last_error.clear();
        self.next_attempt = now + TIME_AGAIN;
    }

    fn handle_refused(&mut self, now: Instant, reason: EnrolRefusal) {
        if reason == EnrolRefusal::TryLater {
            self.retry_later(now, "the edge cannot decide now");
        } else {
            self.key = None;
            self.refused = Some(KeyRefused::ByEdge(reason));
        }
    }

    fn handle_welcomed(&mut self, now: Instant, name: &str, group: &str) {
        log::info!("control channel up as {name} in group {group}");
        self.backoff.reset();
        self.last_error.clear();
        self.set_phase(
            now,
            Phase::Connected {
                name: cut(name),
                group: cut(group),
            },
        );
    }

    fn handle_offer(&mut self, now: Instant, bytes: &[u8]) {
        let Some(identity) = self.store.state().identity.clone() else {
            return;
        };
        let verified = grant::verify(
            bytes,
            &identity.grant_key,
            &identity.connector_id,
            clock::unix(),
        );
        let grant = match verified {
            Ok(grant) => grant,
            Err((session, error)) => {
                log::warn!("a session is refused: {error}");
                let detail = error.to_string();
                if let Some(session) = session {
                    self.refuse(session, SessionRefusal::GrantInvalid, &detail);
                }
                return;
            }
        };
        if self.sessions.len() >= SESSIONS_MAX {
            let detail = format!("it carries {SESSIONS_MAX}, which is the limit");
            self.refuse(grant.session, SessionRefusal::TooManySessions, &detail);
            return;
        }
        let target = Target {
            session: grant.session,
            host: grant.host.to_owned(),
            port: grant.port,
        };
        let Some(context) = self.context() else {
            return;
        };
        let token = self.next_token;
        self.next_token += 1;
        let step = Session::start(now, target, context);
        self.sessions_total += u64::from(matches!(step, session::Step::Open(_)));
        self.take_step(token, step);
    }

    fn context(&self) -> Option<Context> {
        let tunnel = self.tunnel.as_ref()?;
        let network = self.network.as_ref()?;
        Some(Context {
            resolvers: network.resolvers.to_vec(),
            own: network.addresses().collect(),
            gateways: network.gateways().collect(),
            proxy: None,
            edge: tunnel.address()?,
            edge_host: tunnel.plan().host.clone(),
            config: self.pinned.as_ref()?.data.clone(),
        })
    }

    fn take_step(&mut self, token: u64, step: session::Step) {
        match step {
            session::Step::Open(session) => {
                self.sessions.insert(token, session);
            }
            session::Step::Refused {
                session,
                reason,
                detail,
            } => {
                log::warn!("a session does not come about: {detail}");
                self.refuse(session, reason, &detail);
            }
            session::Step::Ended { carried, broken } => {
                self.ended.up += carried.up;
                self.ended.down += carried.down;
                if let Some(broken) = broken {
                    log::info!("a session broke: {broken}");
                }
            }
        }
    }

    fn refuse(&mut self, session: [u8; 16], reason: SessionRefusal, detail: &str) {
        let Some(channel) = self.tunnel.as_mut().and_then(Tunnel::control) else {
            return;
        };
        if let Err(error) = channel.refuse_session(session, reason, detail) {
            log::warn!("the edge is not told of a refusal: {error}");
        }
    }

    fn lose_tunnel(&mut self, now: Instant, error: &TunnelError) {
        self.tunnel = None;
        if self.pinned.is_none()
            && let TunnelError::Protocol(protocol) = error
        {
            // What the edge said is final for this key; what the network did is not.
            let refused = match protocol {
                ProtocolError::ProofInvalid => Some(KeyRefused::EdgeNotProven),
                ProtocolError::TimedOut { .. } => None,
                ProtocolError::PeerClosed {
                    code: CloseCode::GoingAway | CloseCode::TimedOut | CloseCode::InternalError,
                } => None,
                _ => Some(KeyRefused::Protocol),
            };
            if refused.is_some() {
                log::warn!("enrolment failed: {error}");
                self.key = None;
                self.refused = refused;
                return;
            }
        }
        self.retry_later(now, &error.to_string());
    }

    /// Starts over, with what the operator typed.
    fn try_at_once(&mut self, now: Instant) {
        self.tunnel = None;
        self.last_error.clear();
        self.backoff.reset();
        self.next_attempt = now;
    }

    fn retry_later(&mut self, now: Instant, why: &str) {
        self.tunnel = None;
        why.clone_into(&mut self.last_error);
        let delay = self.backoff.next_delay();
        self.next_attempt = now + delay;
        log::warn!(
            "no tunnel: {why}; next attempt in {:.1} s",
            delay.as_secs_f32()
        );
        // Even if the next attempt succeeds within this very turn, the loss was one.
        self.update_phase(now);
    }

    fn update_phase(&mut self, now: Instant) {
        let established = self
            .tunnel
            .as_mut()
            .and_then(Tunnel::control)
            .is_some_and(|c| c.is_established());
        if established {
            return;
        }
        let enrolling = self.pinned.is_none();
        let phase = match (&self.edge, enrolling && self.key.is_none()) {
            (None, _) => Phase::NeedEdge,
            (Some(_), true) => Phase::NeedKey {
                refused: self.refused,
            },
            (Some(_), false) if enrolling && self.backoff.attempts() == 0 => Phase::Enrolling,
            (Some(_), false) => Phase::Connecting {
                attempt: self.backoff.attempts().saturating_add(1),
                last_error: cut(&self.last_error),
                next_boot_us: self.next_attempt.as_micros(),
                enrolling,
            },
        };
        self.set_phase(now, phase);
    }

    fn set_phase(&mut self, now: Instant, phase: Phase) {
        if std::mem::discriminant(&phase) != std::mem::discriminant(&self.phase) {
            self.phase_since = now;
        }
        self.phase = phase;
    }
}

/// The status of a connector that cannot start.
#[must_use]
pub fn stuck(now: Instant, error: &StoreError) -> ConnectorStatus {
    let text = format!("{error}. Boot this machine from the disk image it came with.");
    ConnectorStatus {
        phase: Phase::Stuck { text: cut(&text) },
        since_boot_us: now.as_micros(),
        edge: None,
        proxy: None,
        sessions: 0,
        sessions_total: 0,
        bytes_up: 0,
        bytes_down: 0,
    }
}

/// As much of `text` as fits.
fn cut<const N: usize>(text: &str) -> Text<N> {
    let mut bounded = Text::new();
    for character in text.chars() {
        if bounded.push(character).is_err() {
            break;
        }
    }
    bounded
}

/// A seed for the pings of one control channel.
fn now_seed(attempts: u32) -> u64 {
    clock::now().as_micros().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(attempts)
}
