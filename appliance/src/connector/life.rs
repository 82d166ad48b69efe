//! Performs what the life machine wants done, and tells it what became of it.

use connector_proto::control::{Channel, ConnectorEvent as ControlEvent, ConnectorSide};
use connector_proto::enrol::ConnectorEvent as EnrolEvent;
use connector_proto::error::Error as ProtocolError;
use connector_proto::life::{Action, Event, Failure, Purpose};
use connector_proto::message::CloseCode;
use connector_proto::record::State;
use connector_proto::renew::ConnectorEvent as RenewEvent;
use connector_proto::time::Instant;

use super::failure::Kind;
use super::{Connector, Memory, ProxyDemand, Seen, TUNNEL};
use crate::identity;
use crate::tls::{self, Pinned};
use crate::tunnel::{self, Tunnel};

impl Connector {
    /// Does what the life machine wants, until it wants nothing more.
    pub(super) fn perform(&mut self, now: Instant) {
        while let Some(action) = self.life.poll_action() {
            match action {
                Action::NewKey => {
                    let key = identity::new_private_key().map_err(|error| error.to_string());
                    self.life.handle_new_key(now, key);
                }
                Action::Save(state) => self.save(now, *state),
                Action::Erase => self.erase(now),
                Action::Open(purpose) => self.open(now, purpose),
                Action::Close(code) => self.close(code),
                Action::RatchetStored { step } => {
                    self.tell_edge(|channel| channel.ratchet_stored(step));
                }
                // What was saved is in force already.
                Action::TrustStored { digest } => {
                    self.tell_edge(|channel| channel.trust_stored(digest));
                }
            }
        }
    }

    fn save(&mut self, now: Instant, state: State) {
        let is_other = state.identity != self.store.state().identity;
        let saved = self.store.save(state).map_err(|error| {
            log::error!("the state record is not written: {error}");
            error.to_string()
        });
        let is_other = is_other && saved.is_ok();
        self.life.handle_saved(now, saved);
        if is_other {
            self.pin_again();
        }
    }

    /// A factory reset: nothing of what was known is left, here or on the disk.
    fn erase(&mut self, now: Instant) {
        let erased = self.store.erase().map_err(|error| {
            log::error!("the state record is not erased: {error}");
            error.to_string()
        });
        if erased.is_ok() {
            log::warn!(
                "factory reset: the identity and everything else in the state record is erased"
            );
            self.pinned = None;
            self.foreign_issuer = None;
            self.proxy = ProxyDemand::default();
            self.abandon_sessions();
            self.seen = Seen::new();
            self.memory = Memory::default();
            self.question.drop();
            // The console is told even if the phase is the same as before.
            self.phase_since = now;
        }
        self.life.handle_saved(now, erased);
    }

    fn open(&mut self, now: Instant, purpose: Purpose) {
        self.connection += 1;
        self.peer_issuer = None;
        self.kind = match purpose {
            Purpose::Enrol { .. } => Kind::Enrolment,
            Purpose::Renew => Kind::Renewal,
            Purpose::Control { .. } => Kind::Control,
        };
        let plan = match self.plan_for(purpose) {
            Ok(plan) => plan,
            Err((why, text)) => return self.tell(now, Event::Failed { why, text }),
        };
        self.waiting.release(TUNNEL);
        match Tunnel::start(now, plan) {
            Ok(tunnel) => self.tunnel = Some(tunnel),
            Err(error) => self.fail(now, &error),
        }
    }

    fn close(&mut self, code: Option<CloseCode>) {
        self.connection += 1;
        let Some(mut tunnel) = self.take_tunnel() else {
            return;
        };
        match code {
            Some(code) => tunnel.close(code),
            None => tunnel.abandon(),
        }
    }

    /// Says something on the control channel. What the edge does not await any more is not said.
    pub(super) fn tell_edge(
        &mut self,
        say: impl FnOnce(&mut Channel<ConnectorSide>) -> Result<(), ProtocolError>,
    ) {
        if let Some(Err(error)) = self.control().map(say) {
            log::warn!("the edge is not told: {error}");
        }
    }

    /// Makes the TLS of what is opened from here on anew: the identity or its trust anchors are others, or
    /// the machine is.
    pub(super) fn pin_again(&mut self) {
        let state = self.life.state();
        let next = self.shows_next.then(|| Pinned::next(state));
        let next = next.transpose().map(Option::flatten);
        let pinned = match next {
            Ok(Some(next)) => Ok(Some(next)),
            Ok(None) => Pinned::in_use(state),
            Err(error) => Err(error),
        };
        match pinned {
            Ok(pinned) => self.pinned = pinned,
            Err(error) => log::error!("the stored identity is not usable: {error}"),
        }
    }

    /// The tunnel, which waits for nothing any more: what is done with it may close its descriptors.
    fn take_tunnel(&mut self) -> Option<Tunnel> {
        self.waiting.release(TUNNEL);
        self.tunnel.take()
    }

    /// Whether the connection is to be moved on although nothing came on it.
    pub(super) fn is_tunnel_due(&self, now: Instant) -> bool {
        let deadline = self.tunnel.as_ref().and_then(Tunnel::deadline);
        deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Sends what was said on the control channel.
    pub(super) fn flush_tunnel(&mut self, now: Instant) {
        if let Some(Err(error)) = self.tunnel.as_mut().map(Tunnel::flush) {
            self.fail(now, &error);
        }
    }

    /// Moves the connection on and handles what happened on it.
    pub(super) fn turn_tunnel(&mut self, now: Instant) {
        let Some(tunnel) = self.take_tunnel() else {
            return;
        };
        let connection = self.connection;
        let mut events = Vec::new();
        let failed = match tunnel.turn(now, &mut events) {
            Ok(tunnel) => {
                self.tunnel = Some(tunnel);
                None
            }
            Err(error) => Some(error),
        };
        for event in events {
            self.handle_event(now, event);
            if self.connection != connection {
                return;
            }
        }
        if let Some(error) = failed {
            self.fail(now, &error);
        }
    }

    /// Tells the life machine what happened on the connection, and does what follows.
    pub(super) fn tell(&mut self, now: Instant, event: Event) {
        if event.is_last() {
            self.connection += 1;
            drop(self.take_tunnel());
        }
        self.life.handle_event(now, event);
        // A loss is one even if the next attempt succeeds within this very turn.
        self.update_phase(now);
        self.perform(now);
    }

    fn handle_event(&mut self, now: Instant, event: tunnel::Event) {
        match event {
            tunnel::Event::Issuer(issuer) => self.peer_issuer = Some(issuer),
            tunnel::Event::Enrol(event) => self.handle_enrol(now, event),
            tunnel::Event::Renew(event) => self.handle_renew(now, event),
            tunnel::Event::Control(event) => self.handle_control(now, event),
            // Asked on the question's connection only.
            tunnel::Event::Time(_) => {}
        }
    }

    fn handle_enrol(&mut self, now: Instant, event: EnrolEvent) {
        match event {
            EnrolEvent::EdgeProven => {
                self.proxy.refused = None;
                self.foreign_issuer = None;
            }
            EnrolEvent::Enrolled(enrolment) => {
                let identity = &enrolment.identity;
                let key = self.life.requested_key().unwrap_or_default();
                match Pinned::new(identity, &identity.certificate, key) {
                    Ok(_) => {
                        let (name, group) = (&identity.name, &identity.group);
                        log::info!("enrolled as {name:?} in group {group:?}");
                        self.tell(now, Event::Enrolled(enrolment));
                    }
                    Err(error) => self.refuse_certificate(now, &error),
                }
            }
            EnrolEvent::Refused { reason, proven } => {
                log::warn!("enrolment refused: {reason:?}, edge proven: {proven}");
                self.tell(now, Event::EnrolRefused { reason });
            }
        }
    }

    fn handle_renew(&mut self, now: Instant, event: RenewEvent) {
        match event {
            RenewEvent::Renewed {
                certificate,
                generation,
            } => {
                let state = self.life.state();
                let key = self.life.requested_key().unwrap_or_default();
                let identity = state.identity.as_ref();
                let usable = identity.map(|identity| Pinned::new(identity, &certificate, key));
                match usable {
                    Some(Err(error)) => self.refuse_certificate(now, &error),
                    Some(Ok(_)) | None => {
                        log::info!("the certificate is renewed: it is number {generation}");
                        self.tell(now, Event::Renewed { certificate });
                    }
                }
            }
            RenewEvent::Refused(reason) => {
                log::warn!("renewal refused: {reason:?}");
                self.tell(now, Event::RenewRefused { reason });
            }
        }
    }

    /// The edge issued a certificate that is none, or is for another key: nothing is taken over.
    fn refuse_certificate(&mut self, now: Instant, error: &rustls::Error) {
        let text = format!("the certificate that the edge issued is not usable: {error}");
        log::error!("{text}");
        let why = Failure::Transport;
        self.tell(now, Event::Failed { why, text });
    }

    fn handle_control(&mut self, now: Instant, event: ControlEvent) {
        match event {
            ControlEvent::Recognised { verdict, admitted } => {
                log::warn!("the edge takes this machine for: {verdict:?}, admitted: {admitted}");
                self.tell(now, Event::Recognised { verdict, admitted });
            }
            ControlEvent::Welcomed {
                name,
                group,
                reconnect_spread: spread,
                reconnect_cap: cap,
            } => {
                self.question.set_limits(spread, cap);
                self.foreign_issuer = None;
                self.announce_capacity();
                self.tell(
                    now,
                    Event::Welcomed {
                        name,
                        group,
                        spread,
                        cap,
                    },
                );
            }
            ControlEvent::PathProven => self.handle_connected(now),
            ControlEvent::Ratchet { step, value } => {
                self.tell(now, Event::Ratchet { step, value });
            }
            ControlEvent::Trust { ca, other_ca } => match tls::roots(&ca, &other_ca) {
                Ok(_) => self.tell(now, Event::Trust { ca, other_ca }),
                // The anchors in force have done so far, and are kept.
                Err(error) => log::error!("the edge's new trust anchors are not usable: {error}"),
            },
            ControlEvent::SessionOffered { grant } => self.handle_offer(now, &grant),
            ControlEvent::Succeed { session, channel } => {
                self.sessions.succeed(&session, channel);
            }
            ControlEvent::Closed { code } => self.tell(now, Event::Closed { code }),
        }
    }

    /// The edge took the connector in, and full-size packets pass.
    fn handle_connected(&mut self, now: Instant) {
        log::info!("control channel up; full-size packets pass");
        self.proxy.refused = None;
        self.is_clock_doubted = false;
        if let Some(address) = self.reached() {
            self.memory.reached(now, &mut self.life, address);
        }
        self.question.ask_soon(now);
        self.tell(now, Event::PathProven);
    }

    /// The edge's address, if it was found by its name and reached without a proxy.
    fn reached(&self) -> Option<std::net::IpAddr> {
        let tunnel = self.tunnel.as_ref()?;
        let plan = tunnel.plan();
        let is_named = plan.host.parse::<std::net::IpAddr>().is_err();
        let address = tunnel.address().map(|address| address.ip());
        address.filter(|_| is_named && plan.proxy.is_none())
    }
}
