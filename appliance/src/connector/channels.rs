//! The data channels, and the sessions that need them.

use connector_proto::control::{Channel, ConnectorSide};
use connector_proto::time::Instant;

use super::Connector;
use crate::capacity::Resources;

impl Connector {
    /// Goes on with data channels and sessions, after what the control channel had to say.
    pub(super) fn turn_sessions(&mut self, now: Instant, ready: &[u64]) {
        self.tend_pool();
        // Sessions come first: what a handshake takes would be in their way.
        let mut refused = self
            .sessions
            .turn(now, ready, &mut self.pool, &mut self.waiting);
        self.flush_tunnel(now);
        if self.pool.turn(now, ready, &mut self.waiting) {
            refused.extend(
                self.sessions
                    .take_channels(now, &mut self.pool, &mut self.waiting),
            );
        }
        let (wanted, room) = (self.sessions.wanted(), self.sessions.room());
        self.dial_at = self.pool.dial(now, wanted, room, &mut self.waiting);
        for refused in refused {
            self.refuse(&refused);
        }
    }

    /// Data channels are kept warm while the edge may offer sessions, and go the way of the control
    /// channel: with it they end.
    fn tend_pool(&mut self) {
        let takes_sessions = self.life.takes_sessions() && self.network.is_some();
        let is_up = self
            .control()
            .is_some_and(|channel| channel.is_established());
        let pinned = self.pinned.as_ref();
        let config = pinned.filter(|_| takes_sessions && is_up);
        match config {
            None => self.pool.close(&mut self.waiting),
            Some(pinned) if self.pool.is_open_for(self.connection, &pinned.data) => {}
            Some(_) => match self.way() {
                Some(way) => self.pool.open(way, &mut self.waiting),
                None => self.pool.close(&mut self.waiting),
            },
        }
    }

    /// Tells the edge how many sessions this machine can carry by now.
    pub(super) fn announce_capacity(&mut self) {
        let capacity = Resources::here().capacity(self.sessions.len());
        self.sessions.set_capacity(capacity);
        self.tell_edge(|channel: &mut Channel<ConnectorSide>| channel.announce_capacity(capacity));
    }

    /// Drops sessions and data channels without another byte on them.
    pub(super) fn abandon_sessions(&mut self) {
        self.pool.abandon(&mut self.waiting);
        self.sessions.abandon(&mut self.waiting);
    }
}
