//! Whom to ask: the servers that were given, their addresses, and what each asked for itself.
//!
//! Pure. A server is given by address or by name; a name has several addresses, of which more than one
//! are asked if there is room. What an address answers is remembered until other servers are given.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use connector_proto::local::TimeServer;
use connector_proto::time::Instant;

/// Addresses that are asked in one round.
pub const ASKED_MAX: usize = 4;
/// A server that does not serve this machine is asked again after this: its administrator may have
/// changed that.
pub const DENIED_FOR: Duration = Duration::from_secs(86_400);
/// Between two questions to a server that is asked too often, at first and at most; they double.
pub const RATE_LIMITED: (Duration, Duration) = (Duration::from_secs(64), Duration::from_secs(1024));
/// Names are looked up again after this: their servers move.
pub const NAME_HOLDS_FOR: Duration = Duration::from_secs(86_400);

/// The servers.
#[derive(Debug, Default)]
pub struct Servers {
    entries: Vec<Entry>,
    manners: BTreeMap<IpAddr, Manners>,
}

#[derive(Debug)]
struct Entry {
    server: TimeServer,
    /// The ones that were silent last are at the end.
    addresses: Vec<IpAddr>,
    looked_up_at: Option<Instant>,
}

/// What a server asked for.
#[derive(Clone, Copy, Debug)]
struct Manners {
    again_at: Instant,
    interval: Duration,
}

impl Servers {
    /// These, and nothing known about them.
    #[must_use]
    pub fn new(servers: &[TimeServer]) -> Self {
        let entry = |server: &TimeServer| Entry {
            server: server.clone(),
            addresses: match server {
                TimeServer::Address(address) => vec![*address],
                TimeServer::Name(_) => Vec::new(),
            },
            looked_up_at: None,
        };
        Self {
            entries: servers.iter().map(entry).collect(),
            manners: BTreeMap::new(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many were given.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The names that have no address, or had theirs for long.
    pub fn names_due(&self, now: Instant) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(move |entry| {
            let holds = entry
                .looked_up_at
                .is_some_and(|at| now < at + NAME_HOLDS_FOR);
            match &entry.server {
                TimeServer::Name(name) if entry.addresses.is_empty() || !holds => Some(&**name),
                TimeServer::Name(_) | TimeServer::Address(_) => None,
            }
        })
    }

    /// A name has these addresses.
    pub fn found(&mut self, now: Instant, name: &str, addresses: Vec<IpAddr>) {
        for entry in &mut self.entries {
            if matches!(&entry.server, TimeServer::Name(known) if &**known == name) {
                entry.addresses.clone_from(&addresses);
                entry.looked_up_at = Some(now);
            }
        }
    }

    /// The addresses to ask at `now`: one of each server, then more of those that have more.
    #[must_use]
    pub fn to_ask(&self, now: Instant) -> Vec<IpAddr> {
        let may_ask = |address: &&IpAddr| {
            let manners = self.manners.get(*address);
            manners.is_none_or(|manners| manners.again_at <= now)
        };
        let willing: Vec<Vec<IpAddr>> = self
            .entries
            .iter()
            .map(|entry| entry.addresses.iter().filter(may_ask).copied().collect())
            .collect();
        let rank = |place: usize| willing.iter().filter_map(move |list| list.get(place));
        let mut asked = Vec::new();
        for address in (0..ASKED_MAX).flat_map(rank) {
            if asked.len() < ASKED_MAX && !asked.contains(address) {
                asked.push(*address);
            }
        }
        asked
    }

    /// When the first of those that want to be left alone may be asked; `None` if none wants to be.
    #[must_use]
    pub fn next_willing(&self) -> Option<Instant> {
        self.manners.values().map(|manners| manners.again_at).min()
    }

    /// A server said that it does not serve this machine.
    pub fn denied(&mut self, now: Instant, address: IpAddr) {
        let manners = Manners {
            again_at: now + DENIED_FOR,
            interval: RATE_LIMITED.1,
        };
        self.manners.insert(address, manners);
    }

    /// A server said that it is asked too often: half as often from here on.
    pub fn rate_exceeded(&mut self, now: Instant, address: IpAddr) {
        let known = self.manners.get(&address);
        let interval = known.map_or(RATE_LIMITED.0, |manners| {
            (manners.interval * 2).min(RATE_LIMITED.1)
        });
        let again_at = now + interval;
        self.manners.insert(address, Manners { again_at, interval });
    }

    /// A server answered. One that asked for less goes on being asked at its own pace.
    pub fn answered(&mut self, now: Instant, address: IpAddr) {
        if let Some(manners) = self.manners.get_mut(&address) {
            manners.again_at = now + manners.interval;
        }
    }

    /// An address did not answer: others of its name come first the next time.
    pub fn was_silent(&mut self, address: IpAddr) {
        for entry in &mut self.entries {
            if let Some(at) = entry.addresses.iter().position(|known| *known == address) {
                entry.addresses[at..].rotate_left(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn one_of_each_server_is_asked_before_a_second_of_any() {
        let mut servers = Servers::new(&[name("pool"), address(1), name("other")]);
        assert_eq!(servers.to_ask(at(0)), [ip(1)]);
        assert_eq!(
            servers.names_due(at(0)).collect::<Vec<_>>(),
            ["pool", "other"]
        );
        servers.found(at(0), "pool", (10..20).map(ip).collect());
        servers.found(at(0), "other", vec![ip(30), ip(1)]);
        assert_eq!(servers.to_ask(at(0)), [ip(10), ip(1), ip(30), ip(11)]);
        assert_eq!(servers.names_due(at(86_399)).count(), 0);
        assert_eq!(servers.names_due(at(86_400)).count(), 2);
    }

    #[test]
    fn an_address_that_is_silent_gives_way_to_another_of_its_name() {
        let mut servers = Servers::new(&[name("a"), address(7), address(8), address(9)]);
        servers.found(at(0), "a", vec![ip(1), ip(2)]);
        assert_eq!(servers.to_ask(at(0))[0], ip(1));
        servers.was_silent(ip(1));
        assert_eq!(servers.to_ask(at(0))[0], ip(2));
        servers.was_silent(ip(7));
        assert_eq!(servers.to_ask(at(0)).len(), 4);
    }

    #[test]
    fn a_server_that_denies_is_left_alone_for_a_day_and_the_others_are_not() {
        let mut servers = Servers::new(&[address(1), address(2)]);
        servers.denied(at(0), ip(1));
        assert_eq!(servers.to_ask(at(1)), [ip(2)]);
        assert_eq!(servers.next_willing(), Some(at(86_400)));
        assert_eq!(servers.to_ask(at(86_400)), [ip(1), ip(2)]);
    }

    #[test]
    fn a_server_that_is_asked_too_often_is_asked_half_as_often_each_time() {
        let mut servers = Servers::new(&[address(1)]);
        let mut now = 0;
        for interval in [64, 128, 256, 512, 1024, 1024] {
            servers.rate_exceeded(at(now), ip(1));
            assert_eq!(servers.next_willing(), Some(at(now + interval)));
            now += interval;
        }
        servers.answered(at(now), ip(1));
        assert!(servers.to_ask(at(now + 1023)).is_empty());
        assert_eq!(servers.to_ask(at(now + 1024)), [ip(1)]);
    }

    fn name(name: &str) -> TimeServer {
        TimeServer::Name(name.parse().unwrap())
    }

    fn address(last: u8) -> TimeServer {
        TimeServer::Address(ip(last))
    }

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn at(second: u64) -> Instant {
        Instant::from_micros(second * 1_000_000)
    }
}
