//! What PID 1 knows and who is told: the facts, the network, the connector's status.
//!
//! Pure. Every change yields letters; a service that was restarted is given the whole state again.

use connector_proto::local::{
    Awaited, ClockSource, ConnectorStatus, Fact, FromConsole, Ipv6Config, Lease, Network, Phase,
    Servers, Settings, SlotReply, Text, TimeServer, TimeServers, ToConnector, ToConsole, ToNetd,
    ToTimed, text,
};
use connector_proto::message::Fingerprint;
use connector_proto::time::Instant;

use crate::channel::Slot;
use crate::memory::Memory;
use crate::service::Service;

/// A message to a service. The slot says which earlier ones it replaces if they still wait.
#[derive(Debug)]
pub enum Letter {
    /// To the console.
    Console(Slot, ToConsole),
    /// To `netd`.
    Netd(Slot, ToNetd),
    /// To `timed`.
    Timed(Slot, ToTimed),
    /// To the connector.
    Connector(Slot, ToConnector),
}

/// Sentences for the operator that can hold at the same time, one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The state partition.
    State = 0,
    /// What the DHCP server offers.
    Lease = 1,
    /// The clock, and who says what the time is.
    Time = 2,
    /// The boot-state partition.
    BootState = 3,
    /// The promotion of a trial.
    Promotion = 5,
    /// The slot that does not run.
    IdleSlot = 6,
    /// What was set for this machine.
    Settings = 7,
    /// What an IPv6 router advertises.
    Router = 8,
}

/// The state that is told to services.
#[derive(Debug)]
pub struct Hub {
    /// What holds, each with the instant since when; at most one for each slot.
    facts: Vec<(Slot, Fact, Instant)>,
    settings: Settings,
    lease: Option<Lease>,
    ipv6: Option<Ipv6Config>,
    /// What `timed` was told last.
    asked: (TimeServers, Servers),
    status: Option<ConnectorStatus>,
    is_nic_present: bool,
    has_carrier: bool,
    is_clock_ok: bool,
    /// Nobody but the edge can say what the time is.
    is_edge_asked: bool,
    /// Whether memory was measured since the connector was started.
    is_memory_known: bool,
}

impl Hub {
    /// The state right after the start, with the image's version.
    #[must_use]
    pub fn new(version: &str, now: Instant) -> Self {
        let mut hub = Self {
            facts: Vec::new(),
            settings: Settings::default(),
            lease: None,
            ipv6: None,
            asked: <(TimeServers, Servers)>::default(),
            status: None,
            is_nic_present: false,
            has_carrier: false,
            is_clock_ok: false,
            is_edge_asked: false,
            is_memory_known: false,
        };
        hub.put(
            Fact::Booted {
                version: text(version),
            },
            SLOT_BOOTED,
            now,
        );
        hub.put_awaited(now);
        hub
    }

    /// The lease in force.
    #[must_use]
    pub const fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// Whether an NTP server, or the edge, has confirmed the clock.
    #[must_use]
    pub const fn is_clock_ok(&self) -> bool {
        self.is_clock_ok
    }

    /// A NIC was found.
    pub fn nic_found(&mut self, now: Instant, interface: &str, mac: [u8; 6]) -> Vec<Letter> {
        self.is_nic_present = true;
        let fact = self.put(
            Fact::Nic {
                interface: text(interface),
                mac,
            },
            SLOT_NIC,
            now,
        );
        self.with_awaited(now, vec![fact])
    }

    /// The NIC is gone, and with it everything that hung on it.
    pub fn nic_lost(&mut self, now: Instant) -> Vec<Letter> {
        self.is_nic_present = false;
        self.has_carrier = false;
        self.forget(SLOT_NIC);
        let mut letters = self.ipv6_lost(now);
        letters.extend(self.lease_lost(now));
        letters
    }

    /// The link has a carrier, or has none any more.
    pub fn carrier(&mut self, now: Instant, up: bool) -> Vec<Letter> {
        if self.has_carrier == up {
            return Vec::new();
        }
        self.has_carrier = up;
        let mut letters = vec![Letter::Netd(SLOT_CARRIER, ToNetd::Carrier { up })];
        // The lease outlived the gap: it is told again, which ends the wait for the link.
        if let Some(lease) = self.lease.clone().filter(|_| up) {
            letters.push(self.put(Fact::NetUp(lease), SLOT_NET_UP, now));
        }
        if up && self.network().is_some() {
            // The same network as before the gap: the connector probes its tunnel.
            letters.push(self.network_letter());
        }
        self.with_awaited(now, letters)
    }

    /// A lease is in force.
    pub fn leased(&mut self, now: Instant, lease: Lease) -> Vec<Letter> {
        let is_new = !self
            .lease
            .as_ref()
            .is_some_and(|held| is_same_network(held, &lease));
        self.lease = Some(lease.clone());
        let mut letters = Vec::new();
        if is_new {
            letters = self.network_changed();
            letters.push(self.put(Fact::NetUp(lease), SLOT_NET_UP, now));
        }
        self.with_awaited(now, letters)
    }

    /// The machine has these IPv6 addresses.
    pub fn ipv6_up(&mut self, now: Instant, config: Ipv6Config) -> Vec<Letter> {
        if self.ipv6.as_ref() == Some(&config) {
            return Vec::new();
        }
        self.ipv6 = Some(config.clone());
        let mut letters = self.network_changed();
        letters.push(self.put(Fact::Ipv6Up(config), SLOT_IPV6_UP, now));
        self.with_awaited(now, letters)
    }

    /// The machine has no IPv6 address any more.
    pub fn ipv6_lost(&mut self, now: Instant) -> Vec<Letter> {
        let mut letters = Vec::new();
        if self.ipv6.take().is_some() {
            self.forget(SLOT_IPV6_UP);
            letters = self.network_changed();
        }
        self.with_awaited(now, letters)
    }

    /// What was set for this machine.
    pub fn configured(&mut self, now: Instant, settings: Settings) -> Vec<Letter> {
        if self.settings == settings {
            return Vec::new();
        }
        self.settings = settings;
        let letters = self.network_changed();
        self.with_awaited(now, letters)
    }

    /// What was found at one place where settings are: for the console.
    pub fn settings_found(&mut self, now: Instant, source: &str, what: &str) -> Vec<Letter> {
        let (source, what) = (text(source), text(what));
        self.put_if_new(now, SLOT_SETTINGS, Fact::Settings { source, what })
    }

    /// What was set for this machine.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The network as the services see it; `None` without an address.
    #[must_use]
    pub fn network(&self) -> Option<Network> {
        let mut network = Network {
            ipv4: self.lease.clone(),
            ipv6: self.ipv6.clone(),
            resolvers: self.settings.resolvers.clone(),
            proxy: self.settings.proxy.clone(),
        };
        if network.resolvers.is_empty() {
            let v4 = self.lease.iter().flat_map(|lease| &lease.resolvers);
            let v6 = self.ipv6.iter().flat_map(|config| &config.resolvers);
            // More than fit are left out; one of each family comes before a second of either.
            network.resolvers = interleave(v4, v6);
        }
        network.is_up().then_some(network)
    }

    /// The NTP servers to ask: those that were set, else those that DHCP names.
    #[must_use]
    pub fn time_servers(&self) -> TimeServers {
        if !self.settings.ntp.is_empty() {
            return self.settings.ntp.clone();
        }
        let servers = self.lease.iter().flat_map(|lease| &lease.ntp_servers);
        servers.copied().map(TimeServer::Address).collect()
    }

    /// Tells the connector and `timed` what the network is now.
    fn network_changed(&mut self) -> Vec<Letter> {
        let mut letters = vec![self.network_letter()];
        let asked = self.questions();
        if asked != self.asked {
            self.asked = asked;
            letters.push(self.time_letter());
        }
        letters
    }

    /// Whom `timed` is to ask, and by which resolvers it finds them: nobody without an address.
    fn questions(&self) -> (TimeServers, Servers) {
        self.network().map_or_else(Default::default, |network| {
            (self.time_servers(), network.resolvers)
        })
    }

    fn time_letter(&self) -> Letter {
        let (servers, resolvers) = self.asked.clone();
        Letter::Timed(SLOT_ONLY, ToTimed::Servers { servers, resolvers })
    }

    /// No lease is in force.
    pub fn lease_lost(&mut self, now: Instant) -> Vec<Letter> {
        let mut letters = Vec::new();
        if self.lease.take().is_some() {
            self.forget(SLOT_NET_UP);
            letters = self.network_changed();
        }
        self.with_awaited(now, letters)
    }

    /// Nobody but the edge can say what the time is.
    pub fn edge_asked(&mut self, now: Instant) -> Vec<Letter> {
        self.is_edge_asked = true;
        self.with_awaited(now, Vec::new())
    }

    /// The clock was confirmed or set. Told once; later adjustments are no news.
    pub fn clock_ok(
        &mut self,
        now: Instant,
        source: ClockSource,
        offset_us: i64,
        bound_us: u32,
    ) -> Vec<Letter> {
        if self.is_clock_ok {
            return Vec::new();
        }
        self.clock_moved(now, source, offset_us, bound_us)
    }

    /// The clock was set, perhaps although it had been right. It is told each time: the connector
    /// tries at once what a wrong clock kept it from.
    pub fn clock_moved(
        &mut self,
        now: Instant,
        source: ClockSource,
        offset_us: i64,
        bound_us: u32,
    ) -> Vec<Letter> {
        self.is_clock_ok = true;
        let fact = Fact::ClockOk {
            source,
            offset_us,
            bound_us,
        };
        let letters = vec![self.clock(), self.put(fact, SLOT_CLOCK_OK, now)];
        self.with_awaited(now, letters)
    }

    /// The connector says how it does.
    pub fn status(&mut self, status: ConnectorStatus) -> Vec<Letter> {
        self.status = Some(status.clone());
        vec![Letter::Console(SLOT_STATUS, ToConsole::Connector(status))]
    }

    /// What a minted image says.
    pub fn minted(&mut self, now: Instant, fact: Fact) -> Vec<Letter> {
        self.put_if_new(now, SLOT_MINTED, fact)
    }

    /// Which system runs, and why.
    pub fn system(&mut self, now: Instant, fact: Fact) -> Vec<Letter> {
        self.put_if_new(now, SLOT_SYSTEM, fact)
    }

    /// Answers a request about the slots.
    #[must_use]
    pub const fn slot_reply(reply: SlotReply) -> Letter {
        Letter::Console(SLOT_REPLY, ToConsole::Slot(reply))
    }

    /// Whether the connector says that it is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        let phase = self.status.as_ref().map(|status| &status.phase);
        matches!(phase, Some(Phase::Connected { .. }))
    }

    /// Whether memory is to be measured: the connector is connected for the first time since it was
    /// started.
    #[must_use]
    pub fn is_memory_due(&self) -> bool {
        !self.is_memory_known && self.is_connected()
    }

    /// Memory was measured.
    pub fn memory(&mut self, now: Instant, memory: Memory) -> Vec<Letter> {
        self.is_memory_known = true;
        let fact = Fact::Memory {
            total_kib: memory.total_kib,
            available_kib: memory.available_kib,
        };
        vec![self.put(fact, SLOT_MEMORY, now)]
    }

    /// A service ended and is started again.
    pub fn died(
        &mut self,
        now: Instant,
        service: Service,
        how: &str,
        restart_in_ms: u32,
    ) -> Vec<Letter> {
        let fact = Fact::ServiceDied {
            service: text(service.name()),
            how: text(how),
            restart_in_ms,
        };
        let mut letters = vec![self.put(fact, SLOT_DIED + slot_of(service), now)];
        if service == Service::Connector {
            self.status = None;
            self.is_memory_known = false;
            letters.push(Letter::Console(SLOT_STATUS, ToConsole::ConnectorGone));
        }
        letters
    }

    /// Something the operator can act on.
    pub fn problem(&mut self, now: Instant, topic: Topic, sentence: &str) -> Vec<Letter> {
        let fact = Fact::Problem {
            text: text(sentence),
        };
        self.put_if_new(now, SLOT_PROBLEM + topic as Slot, fact)
    }

    /// What is wrong with the settings: a sentence for each slip, in place of those before.
    pub fn complaints(&mut self, now: Instant, sentences: &[Text<160>]) -> Vec<Letter> {
        let mut letters = Vec::new();
        for (slot, sentence) in (SLOT_COMPLAINT..).zip(sentences) {
            let text = sentence.clone();
            letters.extend(self.put_if_new(now, slot, Fact::Problem { text }));
        }
        for slot in (SLOT_COMPLAINT..=Slot::MAX).skip(sentences.len()) {
            self.forget(slot);
        }
        letters
    }

    /// The problem of this topic is over: a console that starts later is not told of it.
    pub fn solved(&mut self, topic: Topic) {
        self.forget(SLOT_PROBLEM + topic as Slot);
    }

    /// The machine goes down.
    pub fn shutting_down(&mut self, now: Instant, restart: bool) -> Vec<Letter> {
        vec![self.put(Fact::ShuttingDown { restart }, SLOT_DOWN, now)]
    }

    /// Asks the connector to ask the edge for the time.
    #[must_use]
    pub const fn ask_time() -> Letter {
        Letter::Connector(SLOT_ASK_TIME, ToConnector::AskTime)
    }

    /// Asks `timed` to ask the NTP servers at once.
    #[must_use]
    pub const fn resync() -> Letter {
        Letter::Timed(SLOT_RESYNC, ToTimed::Resync)
    }

    /// Tells the connector what the machine is known by.
    #[must_use]
    pub const fn evidence(fingerprint: Fingerprint) -> Letter {
        Letter::Connector(SLOT_EVIDENCE, ToConnector::Fingerprint(fingerprint))
    }

    /// Asks the connector to tell the edge and to end.
    #[must_use]
    pub const fn stop_connector() -> Letter {
        Letter::Connector(SLOT_STOP, ToConnector::Stop)
    }

    /// Passes on what the operator typed.
    #[must_use]
    pub fn operator(&self, message: FromConsole) -> Vec<Letter> {
        let slot = match message {
            FromConsole::Key(_) => SLOT_KEY,
            FromConsole::Edge(_) => SLOT_EDGE,
            FromConsole::ProxyCredentials { .. } => SLOT_PROXY,
            // PID 1 answers it itself.
            FromConsole::Slot(_) => return Vec::new(),
            FromConsole::FactoryReset => SLOT_RESET,
        };
        vec![Letter::Connector(slot, ToConnector::Operator(message))]
    }

    /// Everything a service that was just started has to know, after its `Start`.
    #[must_use]
    pub fn greeting(&self, service: Service) -> Vec<Letter> {
        match service {
            Service::Console => self.greet_console(),
            Service::Netd => vec![Letter::Netd(
                SLOT_CARRIER,
                ToNetd::Carrier {
                    up: self.has_carrier,
                },
            )],
            Service::Timed => vec![self.time_letter()],
            Service::Connector => vec![self.clock(), self.network_letter()],
        }
    }

    fn greet_console(&self) -> Vec<Letter> {
        let mut facts: Vec<_> = self.facts.iter().collect();
        facts.sort_by_key(|(_, _, since)| *since);
        let mut letters: Vec<_> = facts
            .into_iter()
            .map(|(slot, fact, since)| Letter::Console(*slot, told(fact.clone(), *since)))
            .collect();
        letters.push(Letter::Console(
            SLOT_STATUS,
            self.status
                .clone()
                .map_or(ToConsole::ConnectorGone, ToConsole::Connector),
        ));
        letters
    }

    fn network_letter(&self) -> Letter {
        let network = self.network();
        Letter::Connector(SLOT_NETWORK, ToConnector::Network { network })
    }

    const fn clock(&self) -> Letter {
        let is_right = self.is_clock_ok;
        Letter::Connector(SLOT_CLOCK, ToConnector::Clock { is_right })
    }

    /// Adds the news that PID 1 waits for something else than before, or for nothing any more.
    fn with_awaited(&mut self, now: Instant, mut letters: Vec<Letter>) -> Vec<Letter> {
        letters.extend(self.put_awaited(now));
        letters
    }

    fn put_awaited(&mut self, now: Instant) -> Option<Letter> {
        let held = self.facts.iter().find_map(|(_, fact, _)| match fact {
            Fact::Waiting { what, .. } => Some(*what),
            _ => None,
        });
        let awaited = self.awaited();
        if awaited == held {
            return None;
        }
        let Some(what) = awaited else {
            self.forget(SLOT_WAITING);
            return None;
        };
        let fact = Fact::Waiting {
            what,
            since_boot_us: now.as_micros(),
        };
        Some(self.put(fact, SLOT_WAITING, now))
    }

    /// The first thing on the way up that is missing.
    fn awaited(&self) -> Option<Awaited> {
        if !self.is_nic_present {
            Some(Awaited::Nic)
        } else if !self.has_carrier {
            Some(Awaited::Link)
        } else if self.network().is_none() {
            Some(if self.settings.ipv4.is_some() {
                Awaited::Router
            } else {
                Awaited::Lease
            })
        } else if self.is_clock_ok {
            None
        } else if self.is_edge_asked {
            Some(Awaited::EdgeTime)
        } else {
            Some(Awaited::Time)
        }
    }

    /// Keeps a fact in the place of an earlier one of its slot.
    fn put(&mut self, fact: Fact, slot: Slot, now: Instant) -> Letter {
        self.forget(slot);
        self.facts.push((slot, fact.clone(), now));
        Letter::Console(slot, told(fact, now))
    }

    /// As [`Self::put`], unless the same fact holds already.
    fn put_if_new(&mut self, now: Instant, slot: Slot, fact: Fact) -> Vec<Letter> {
        let mut held = self.facts.iter();
        if held.any(|(place, old, _)| *place == slot && *old == fact) {
            return Vec::new();
        }
        vec![self.put(fact, slot, now)]
    }

    fn forget(&mut self, slot: Slot) {
        self.facts.retain(|(held, _, _)| *held != slot);
    }
}

/// A renewal changes nothing but the time, and perhaps the server.
fn is_same_network(a: &Lease, b: &Lease) -> bool {
    let renewed = Lease {
        lease_s: a.lease_s,
        origin: a.origin,
        ..b.clone()
    };
    *a == renewed
}

/// The items of both in turn, as many as fit.
fn interleave<'a>(
    first: impl IntoIterator<Item = &'a std::net::IpAddr>,
    second: impl IntoIterator<Item = &'a std::net::IpAddr>,
) -> Servers {
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut both = Servers::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            return both;
        }
        for server in pair.into_iter().flatten() {
            if !both.contains(server) && both.push(*server).is_err() {
                return both;
            }
        }
    }
}

const fn told(fact: Fact, since: Instant) -> ToConsole {
    ToConsole::Fact {
        fact,
        at_boot_us: since.as_micros(),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "there are four services")]
const fn slot_of(service: Service) -> Slot {
    service.index() as Slot
}

/// The slot of `Start`: it comes first, and nothing replaces it.
pub const SLOT_START: Slot = 0;
/// The slot of a channel on which only one kind of state is sent.
const SLOT_ONLY: Slot = 1;
const SLOT_CARRIER: Slot = 2;
const SLOT_NETWORK: Slot = 3;
const SLOT_KEY: Slot = 4;
const SLOT_EDGE: Slot = 5;
const SLOT_STOP: Slot = 6;
const SLOT_BOOTED: Slot = 10;
const SLOT_NIC: Slot = 11;
const SLOT_NET_UP: Slot = 12;
const SLOT_CLOCK_OK: Slot = 13;
const SLOT_WAITING: Slot = 14;
const SLOT_DOWN: Slot = 15;
const SLOT_STATUS: Slot = 16;
const SLOT_MEMORY: Slot = 17;
const SLOT_MINTED: Slot = 18;
const SLOT_SYSTEM: Slot = 19;
const SLOT_REPLY: Slot = 7;
const SLOT_CLOCK: Slot = 8;
const SLOT_PROXY: Slot = 9;
const SLOT_RESET: Slot = 49;
const SLOT_EVIDENCE: Slot = 50;
const SLOT_IPV6_UP: Slot = 45;
const SLOT_SETTINGS: Slot = 46;
const SLOT_ASK_TIME: Slot = 47;
const SLOT_RESYNC: Slot = 48;
/// One slot for each service from here.
const SLOT_DIED: Slot = 20;
/// One slot for each topic from here.
const SLOT_PROBLEM: Slot = 30;
/// One slot for each complaint about the settings from here.
const SLOT_COMPLAINT: Slot = 64;

#[cfg(test)]
mod tests;
