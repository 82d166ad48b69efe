//! The connector: what the operator, PID 1 and the edge said, and what follows from it.
//!
//! Everything about the identity is decided by [`connector_proto::life::Life`]; here its actions are
//! performed ([`life`]), and what surrounds it is done: the network, proxies, the question for the time,
//! sessions.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use connector_proto::control::{Channel, ConnectorSide};
use connector_proto::grant::Seen;
use connector_proto::life::{CAP, Conditions, Life, Opened, SPREAD};
use connector_proto::limits::PROBE_SETTLE;
use connector_proto::local::{EdgeSample, FromConsole, IssuerText, Network, NoIdentity, Phase};
use connector_proto::message::{CloseCode, Fingerprint};
use connector_proto::record::ProxyCredentials;
use connector_proto::time::Instant;
use rustix::io::Errno;
use splice_core::plane::{self, Plane};

use crate::capacity::Resources;
use crate::interest::Interest;
use crate::pool::Pool;
use crate::store::{self, Store};
use crate::tls::Pinned;
use crate::tunnel::Tunnel;
use crate::waiting::Waiting;
use crate::{clock, edge_name};

mod channels;
mod failure;
mod life;
mod memory;
mod offer;
mod phase;
mod plan;
mod question;
mod sessions;
mod succession;
mod time;

use failure::Kind;
use memory::Memory;
pub use phase::stuck;
use question::Question;
use sessions::Sessions;

// Tokens of the parties that there is one of. Each is asked what it waits for before each wait: whatever happens
// may have changed it. Data channels and sessions have tokens of their own.

/// The token of the tunnel.
const TUNNEL: u64 = 0;
/// The token of the question for the time.
const QUESTION: u64 = 1;
/// The token of what the data plane has to tell.
const PLANE: u64 = 2;
/// The token of PID 1.
const LOCAL: u64 = 3;
/// The token of what is due though nothing happens.
const TIMES: u64 = 4;

/// A proxy that asked who is there is tried again, in case it lets the machine pass by now.
const PROXY_AGAIN: Duration = Duration::from_secs(30);
/// The same after it refused user and password: seldom enough for one that locks accounts.
const REFUSED_PROXY_AGAIN: Duration = Duration::from_secs(10 * 60);

/// The connector's whole state.
#[derive(Debug)]
pub struct Connector {
    store: Store,
    life: Life,
    memory: Memory,
    fingerprint: Fingerprint,
    version: String,
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
    proxy: ProxyDemand,
    /// For the certificate that the control channel showed last, or is going to.
    pinned: Option<Pinned>,
    /// Whether that is the one that is to take the identity's place.
    shows_next: bool,
    tunnel: Option<Tunnel>,
    /// What the tunnel is for, or was.
    kind: Kind,
    /// Counts what was opened and what ended: tells whether an event is of this connection.
    connection: u64,
    /// Who issued the certificate of the peer that the enrolment under way talks to.
    peer_issuer: Option<String>,
    /// Who issued the certificate of what answered in the edge's place last.
    foreign_issuer: Option<IssuerText>,
    pool: Pool,
    /// When the pool wants to dial again.
    dial_at: Option<Instant>,
    sessions: Sessions,
    waiting: Waiting,
    seen: Seen,
    phase: Phase,
    phase_since: Instant,
    certificate_left: Option<Duration>,
}

/// What a connector is told when it starts.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The edge that the image or a property names.
    pub edge: Option<&'a str>,
    /// The machine's evidence.
    pub fingerprint: Fingerprint,
    /// Version of the image.
    pub version: &'a str,
    /// Spreads delays and pings.
    pub seed: u64,
    /// How the data plane is run.
    pub plane: plane::Config,
}

/// What keeps the edge away: the HTTP proxy wants to know who asks.
#[derive(Clone, Copy, Debug, Default)]
struct ProxyDemand {
    /// It wants a user and a password; whether it refused some.
    refused: Option<bool>,
    /// It is left alone until then.
    again_at: Instant,
    /// The same, unless that is over.
    waited_for: Option<Instant>,
}

impl ProxyDemand {
    /// Whether it may be dialled.
    fn lets_dial(&mut self, now: Instant) -> bool {
        let is_waiting = self.refused.is_some() && now < self.again_at;
        self.waited_for = is_waiting.then_some(self.again_at);
        !is_waiting
    }
}

impl Connector {
    /// Starts from the state record.
    ///
    /// # Errors
    /// If the system has no threads, descriptors or reactors for it.
    pub fn new(now: Instant, opened: store::Opened, setup: Setup<'_>) -> io::Result<Self> {
        let Setup {
            edge,
            fingerprint,
            version,
            seed,
            plane,
        } = setup;
        let waiting = Waiting::open(plane.reactor)?;
        let capacity = Resources::here().capacity(0);
        log::info!(
            "up to {capacity} sessions, carried by {} and woken by {}",
            plane.engine,
            waiting.reactor()
        );
        let sessions = Sessions::new(Plane::start(plane)?, capacity)?;
        let store::Opened { store, mut why } = opened;
        let state = store.state().clone();
        let pinned = Pinned::in_use(&state).unwrap_or_else(|error| {
            log::error!("the stored certificate and private key are not usable: {error}");
            why = Some(NoIdentity::Unusable);
            None
        });
        let opened = Opened { state, why };
        let mut connector = Self {
            store,
            life: Life::new(now, opened, edge, seed),
            memory: Memory::default(),
            fingerprint,
            version: version.to_owned(),
            network: None,
            last_network: Network::default(),
            is_clock_right: false,
            is_clock_doubted: false,
            question: Question::new(SPREAD, CAP, !seed),
            measured: None,
            proxy: ProxyDemand::default(),
            pinned,
            shows_next: false,
            tunnel: None,
            kind: Kind::Control,
            connection: 0,
            peer_issuer: None,
            foreign_issuer: None,
            pool: Pool::new(seed.rotate_left(32)),
            dial_at: None,
            sessions,
            waiting,
            seen: Seen::new(),
            phase: Phase::NeedEdge,
            phase_since: now,
            certificate_left: None,
        };
        connector.perform(now);
        connector.update_phase(now);
        Ok(connector)
    }

    /// Takes what the operator typed.
    pub fn handle_operator(&mut self, now: Instant, typed: &FromConsole) {
        match typed {
            FromConsole::Edge(text) => match edge_name::parse(text) {
                Ok(_) => self.take_typed(now, typed),
                Err(error) => log::warn!("the edge that was typed is not used: {error}"),
            },
            FromConsole::Key(_) | FromConsole::FactoryReset => self.take_typed(now, typed),
            FromConsole::ProxyCredentials { user, password } => {
                let credentials = ProxyCredentials {
                    user: user.as_str().to_owned(),
                    password: password.as_str().to_owned(),
                };
                self.life
                    .amend(now, |state| state.proxy_credentials = Some(credentials));
                self.proxy = ProxyDemand::default();
                self.question.restart(now);
                self.try_at_once(now);
            }
            // PID 1 answers it itself.
            FromConsole::Slot(_) => {}
        }
        self.turn(now, &[]);
    }

    fn take_typed(&mut self, now: Instant, typed: &FromConsole) {
        self.foreign_issuer = None;
        if let Err(declined) = self.life.handle_operator(now, typed) {
            log::warn!("what was typed ({typed:?}) is not used: {declined}");
        }
    }

    /// Takes the network as it is now, or the news that its link is back. A tunnel whose address the
    /// machine still has is probed, not dropped; what is being opened starts over.
    pub fn handle_network(&mut self, now: Instant, network: Option<Network>) {
        self.network = network;
        if let Some(network) = self.network.clone() {
            let before = std::mem::replace(&mut self.last_network, network);
            if before.proxy != self.last_network.proxy {
                self.proxy = ProxyDemand::default();
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
        let is_refused = self.proxy.refused == Some(true);
        let channel = self.control();
        match channel.filter(|channel| channel.is_established()) {
            Some(channel) if !is_gone => channel.probe(now + PROBE_SETTLE),
            Some(_) => {
                log::info!("the tunnel's address is not this machine's any more: a new tunnel");
                self.life.handle_network_changed(now, false);
            }
            // A proxy that locks accounts must not hear refused credentials at every change.
            None if is_refused => {}
            None => {
                self.try_at_once(now);
                self.question.restart(now);
            }
        }
        // The console hears of it even if the next tunnel is up within this very turn.
        self.update_phase(now);
    }

    /// Takes the hardware evidence as it is now. With another VM generation id this machine is another
    /// one than a moment ago: no byte leaves on a connection from before.
    pub fn handle_fingerprint(&mut self, now: Instant, fingerprint: Fingerprint) {
        let before = self.fingerprint;
        self.fingerprint = Fingerprint {
            tpm: before.tpm,
            ..fingerprint
        };
        if fingerprint.vm_generation != before.vm_generation {
            log::warn!(
                "the VM generation id changed: this machine was cloned, restored or reverted, and \
                 every connection from before is dropped"
            );
            self.question.abandon(now);
            self.abandon_sessions();
            self.life.handle_generation_changed(now);
            self.perform(now);
            // Nothing of a TLS session from before is used again either.
            self.pin_again();
        }
        self.turn(now, &[]);
    }

    /// Says farewell to the edge.
    pub fn stop(&mut self) {
        if let Some(tunnel) = &mut self.tunnel {
            tunnel.close(CloseCode::GoingAway);
        }
    }

    /// Waits until there is something to do, PID 1 says something on `local`, or it is `deadline`. Whose
    /// tokens are ready, for [`Self::turn`]. `local` is the same in each call.
    ///
    /// # Errors
    /// Those of the reactor.
    pub fn wait(
        &mut self,
        local: &impl AsFd,
        deadline: Option<Instant>,
    ) -> Result<Vec<u64>, Errno> {
        let may_ask = self.may_ask_time();
        let waiting = &mut self.waiting;
        // These three wait as long as they live, and are watched once: before a tunnel is touched it waits
        // no more ([`Self::take_tunnel`]).
        if let Some(tunnel) = &self.tunnel {
            waiting.keep(TUNNEL, |watch| tunnel.watch(watch));
        }
        let readable = Interest::new(true, false);
        waiting.keep(PLANE, |watch| watch.add(&self.sessions, readable));
        waiting.keep(LOCAL, |watch| watch.add(local, readable));
        waiting.set(QUESTION, |watch| self.question.watch(watch, may_ask));
        waiting.set(TIMES, |watch| {
            watch.until(deadline);
            watch.until(self.life.poll_timeout());
            watch.until(self.proxy.waited_for);
            watch.until(self.sessions.deadline());
            watch.until(self.dial_at);
        });
        let ready = waiting.wait();
        waiting.release(QUESTION);
        waiting.release(TIMES);
        ready
    }

    /// Whether PID 1 has said something, of what [`Self::wait`] yielded.
    #[must_use]
    pub fn is_told(ready: &[u64]) -> bool {
        ready.contains(&LOCAL)
    }

    /// Goes on: control traffic first, then the data channels and sessions whose tokens are `ready`.
    pub fn turn(&mut self, now: Instant, ready: &[u64]) {
        self.turn_life(now, ready.contains(&TUNNEL));
        self.turn_sessions(now, ready);
        // What the sessions had to say to the edge goes out in this turn.
        self.flush_tunnel(now);
        // What became of the tunnel may be a reason to ask.
        self.turn_question(now);
        self.perform(now);
        self.certificate_left = self.life.certificate_left(now);
        self.update_phase(now);
    }

    fn turn_life(&mut self, now: Instant, is_tunnel_ready: bool) {
        let wall = self.is_clock_right.then(clock::unix);
        let can_dial = self.proxy.lets_dial(now) && self.network.is_some();
        self.life
            .handle_conditions(now, Conditions { can_dial, wall });
        self.perform(now);
        if is_tunnel_ready || self.is_tunnel_due(now) {
            self.turn_tunnel(now);
        }
    }

    /// Has what is not connected tried now.
    fn try_at_once(&mut self, now: Instant) {
        self.life.handle_network_changed(now, true);
    }

    fn control(&mut self) -> Option<&mut Channel<ConnectorSide>> {
        self.tunnel.as_mut().and_then(Tunnel::control)
    }
}
