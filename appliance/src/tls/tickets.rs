//! Tickets of the edge: each makes one handshake a short one.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connector_proto::limits::EDGES_MAX;
use connector_proto::time::Instant;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;

use crate::clock;

/// How long a ticket is used, whatever the edge says: it carries on what was verified when it was made.
const LIFE: Duration = Duration::from_secs(600);
/// Tickets of one edge: two for each channel of a full pool.
const TICKETS_MAX: usize = 2 * crate::pool::demand::WARM_MOST;

/// The tickets of one configuration. They are gone with it: another certificate, other trust anchors or
/// another machine begin without.
#[derive(Debug)]
pub(super) struct Tickets {
    edges: Mutex<Vec<Edge>>,
}

#[derive(Debug)]
struct Edge {
    name: ServerName<'static>,
    group: Option<NamedGroup>,
    tickets: Shelf<Tls13ClientSessionValue>,
}

/// Tickets with the time at which each was put there, the oldest first.
#[derive(Debug)]
struct Shelf<T>(VecDeque<(Instant, T)>);

impl<T> Shelf<T> {
    const fn new() -> Self {
        Self(VecDeque::new())
    }

    fn put(&mut self, now: Instant, ticket: T) {
        self.expire(now);
        if self.0.len() == TICKETS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, ticket));
    }

    /// The newest one; nobody gets it again.
    fn take(&mut self, now: Instant) -> Option<T> {
        self.expire(now);
        self.0.pop_back().map(|(_, ticket)| ticket)
    }

    fn expire(&mut self, now: Instant) {
        while self
            .0
            .front()
            .is_some_and(|(put, _)| now.since(*put) >= LIFE)
        {
            self.0.pop_front();
        }
    }
}

impl Tickets {
    pub(super) const fn new() -> Self {
        Self {
            edges: Mutex::new(Vec::new()),
        }
    }

    fn edges(&self) -> MutexGuard<'_, Vec<Edge>> {
        // What a panic left behind is whole: nothing is done in two steps.
        self.edges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(&self, name: &ServerName<'_>, act: impl FnOnce(&mut Edge) -> R) -> R {
        let mut edges = self.edges();
        let known = edges.iter().position(|edge| edge.name == *name);
        let place = known.unwrap_or_else(|| {
            if edges.len() == EDGES_MAX {
                edges.remove(0);
            }
            edges.push(Edge {
                name: name.to_owned(),
                group: None,
                tickets: Shelf::new(),
            });
            edges.len() - 1
        });
        act(&mut edges[place])
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.with(&name, |edge| edge.group = Some(group));
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.with(name, |edge| edge.group)
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.with(&name, |edge| edge.tickets.put(clock::now(), ticket));
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.with(name, |edge| edge.tickets.take(clock::now()))
    }

    // Nothing but TLS 1.3 is spoken.
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Instant = Instant::from_micros(1_000_000);

    #[test]
    fn a_ticket_is_taken_once_the_newest_first_and_none_that_is_ten_minutes_old() {
        let mut shelf = Shelf::new();
        for minute in 0..12 {
            shelf.put(START + Duration::from_secs(60 * minute), minute);
        }
        let now = START + Duration::from_secs(60 * 11);
        assert_eq!(shelf.take(now), Some(11));
        let later = now + Duration::from_secs(8 * 60);
        assert_eq!(shelf.take(later), Some(10));
        assert_eq!(shelf.take(later), None);
        assert!(shelf.0.is_empty());
    }

    #[test]
    fn an_edge_that_sends_tickets_without_end_fills_nothing() {
        let mut shelf = Shelf::new();
        for number in 0..10 * TICKETS_MAX {
            shelf.put(START, number);
        }
        assert_eq!(shelf.0.len(), TICKETS_MAX);
        assert_eq!(shelf.take(START), Some(10 * TICKETS_MAX - 1));
    }

    #[test]
    fn edges_are_told_apart_and_only_as_many_as_there_may_be_are_remembered() {
        let tickets = Tickets::new();
        let name = |number: usize| ServerName::try_from(format!("edge{number}.test")).unwrap();
        for number in 0..=EDGES_MAX {
            tickets.set_kx_hint(name(number), NamedGroup::X25519);
        }
        assert_eq!(tickets.kx_hint(&name(0)), None);
        assert_eq!(tickets.kx_hint(&name(EDGES_MAX)), Some(NamedGroup::X25519));
        assert_eq!(tickets.edges().len(), EDGES_MAX);
    }
}
