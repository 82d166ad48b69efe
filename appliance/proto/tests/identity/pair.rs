//! Two ends and a clock.

use std::time::Duration;

use connector_proto::control::{Channel, ConnectorSide, EdgeEvent, EdgeSide, Side};
use connector_proto::error::Error;
use connector_proto::frame;
use connector_proto::message::{Fingerprint, Message, RatchetValue, Welcome};
use connector_proto::time::Instant;

pub const START: Instant = Instant::from_micros(0);
pub const SECOND: Duration = Duration::from_secs(1);
pub const VALUE: RatchetValue = RatchetValue([9; 32]);
pub const WELCOME: Welcome<'static> = Welcome {
    name: "mumbai-01",
    group: "Mumbai",
    reconnect_spread_ms: 2_000,
    reconnect_cap_ms: 30_000,
};

pub fn assert_not_ready<T: std::fmt::Debug>(result: &Result<T, Error>) {
    assert!(matches!(result, Err(Error::NotReady { .. })), "{result:?}");
}

pub fn assert_unexpected(result: &Result<(), Error>) {
    assert!(
        matches!(result, Err(Error::UnexpectedMessage { .. })),
        "{result:?}"
    );
}

pub struct Pair {
    pub connector: Channel<ConnectorSide>,
    pub edge: Channel<EdgeSide>,
    pub now: Instant,
}

impl Pair {
    /// The edge has the hello and has not answered.
    pub fn greeted() -> Self {
        let fingerprint = Fingerprint::default();
        let connector = Channel::connector(START, 1, "0.1.0", fingerprint, VALUE).unwrap();
        let mut pair = Self {
            connector,
            edge: Channel::edge(START, 2),
            now: START,
        };
        pair.exchange();
        let greeted = pair.edge.poll_event();
        assert!(matches!(greeted, Some(EdgeEvent::Greeted { ratchet, .. }) if ratchet == VALUE));
        pair
    }

    /// Welcomed, and the path proven.
    pub fn established() -> Self {
        let mut pair = Self::greeted();
        pair.edge.welcome(&WELCOME).unwrap();
        pair.exchange();
        while pair.connector.poll_event().is_some() {}
        assert!(pair.connector.is_path_proven());
        pair
    }

    /// Carries what both say until neither has more to say.
    pub fn exchange(&mut self) {
        loop {
            let to_edge = self.connector.poll_transmit();
            let to_connector = self.edge.poll_transmit();
            if to_edge.is_none() && to_connector.is_none() {
                return;
            }
            if let Some(bytes) = to_edge {
                self.edge.handle_input(self.now, &bytes).unwrap();
            }
            if let Some(bytes) = to_connector {
                self.connector.handle_input(self.now, &bytes).unwrap();
            }
        }
    }

    /// Lets time pass, with all that is due in it.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            self.connector.handle_timeout(self.now).unwrap();
            self.edge.handle_timeout(self.now).unwrap();
            self.exchange();
            if self.now == end {
                return;
            }
            let due = self.due().max(self.now + Duration::from_micros(1));
            self.now = due.min(end);
        }
    }

    pub fn due(&self) -> Instant {
        let of = |due: Option<Instant>| due.unwrap();
        of(self.connector.poll_timeout()).min(of(self.edge.poll_timeout()))
    }

    pub fn tell_connector<'a, M: Message<'a>>(&mut self, message: &M) -> Result<(), Error> {
        tell(&mut self.connector, self.now, message)
    }

    pub fn tell_edge<'a, M: Message<'a>>(&mut self, message: &M) -> Result<(), Error> {
        tell(&mut self.edge, self.now, message)
    }
}

/// Says `message` to an end whatever its peer would say.
pub fn tell<'a, S: Side, M: Message<'a>>(
    end: &mut Channel<S>,
    now: Instant,
    message: &M,
) -> Result<(), Error> {
    end.handle_input(now, &encoded(message))
}

fn encoded<'a, M: Message<'a>>(message: &M) -> Vec<u8> {
    frame::encode(M::ID, &postcard::to_allocvec(message).unwrap()).unwrap()
}
