//! Finds the addresses of one host by asking all resolvers at once, for IPv4 and IPv6.
//!
//! Pure: the caller carries each [`Query`] to its resolver and what comes back to the handlers, with
//! the query's token. A UDP query wants a fresh socket, connected to the resolver, so that the kernel
//! picks a random port and drops what others send; a query that is repeated goes out of the same one.
//!
//! The first good answer wins. The other family is waited for [`FAMILY_DELAY`] (RFC 8305 section 3),
//! and a resolver that has nothing to say does not end the matter before [`GRACE`] is over. The
//! host's remembered addresses stand in for DNS after [`REMEMBERED_AFTER`], unless every resolver says
//! that the host has none.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use crate::dns::{Answer, Family, UDP_MAX};
use crate::time::Instant;

mod error;
mod exchange;
mod fuzz;
#[cfg(test)]
mod tests;

pub use error::ResolveError;
use exchange::{Exchange, State, Verdict};
pub use fuzz::fuzz_resolution;

/// Resolvers that are asked; more are left out.
pub const RESOLVERS_MAX: usize = 4;
/// When a question is asked again, after each time.
pub const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often a question is asked in all.
pub const TRIES: u32 = 4;
/// How long the other family is waited for once there are addresses.
pub const FAMILY_DELAY: Duration = Duration::from_millis(50);
/// How long the other resolvers are waited for once one has no address to give.
pub const GRACE: Duration = Duration::from_millis(500);
/// When remembered addresses are taken.
pub const REMEMBERED_AFTER: Duration = Duration::from_secs(1);
/// How long an exchange over TCP may take.
pub const TCP_MAX_TIME: Duration = Duration::from_secs(4);

/// A resolution under way.
#[derive(Debug)]
pub struct Resolution {
    exchanges: Vec<Exchange>,
    remembered: Vec<IpAddr>,
    transmits: VecDeque<Query>,
    tries: u32,
    next_try: Instant,
    /// When remembered addresses are taken.
    remembered_at: Instant,
    /// When the other family is waited for no longer; set by the first addresses.
    settled_at: Option<Instant>,
    /// When other resolvers are waited for no longer; set by the first that has no address to give.
    grace_until: Option<Instant>,
    ignored: u32,
    is_remembered: bool,
    outcome: Option<Result<Vec<IpAddr>, ResolveError>>,
}

/// A message to carry to a resolver's port 53.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The resolver.
    pub resolver: IpAddr,
    /// How.
    pub transport: Transport,
    /// Names the exchange to the handlers. A repeated query has the same one.
    pub token: u32,
    /// The bytes, over TCP with their length before them.
    pub bytes: Vec<u8>,
}

/// How a query is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A connection of its own.
    Tcp,
}

impl Resolution {
    /// Starts to resolve `host`. An address is its own outcome. `remembered` are addresses the host
    /// had before; `seed` must be random and fresh, for it is the ids of the questions.
    ///
    /// # Errors
    /// [`ResolveError::Name`], [`ResolveError::NoResolver`].
    pub fn new(
        now: Instant,
        host: &str,
        resolvers: &[IpAddr],
        remembered: &[IpAddr],
        seed: [u8; 32],
    ) -> Result<Self, ResolveError> {
        let mut resolution = Self {
            exchanges: Vec::new(),
            remembered: remembered.to_vec(),
            transmits: VecDeque::new(),
            tries: 0,
            next_try: now,
            remembered_at: now + REMEMBERED_AFTER,
            settled_at: None,
            grace_until: None,
            ignored: 0,
            is_remembered: false,
            outcome: None,
        };
        if let Ok(address) = host.parse() {
            resolution.outcome = Some(Ok(alloc::vec![address]));
            return Ok(resolution);
        }
        resolution.exchanges = exchange::of_all(host, resolvers, &seed)?;
        if resolution.exchanges.is_empty() {
            resolution.finish_without_dns(ResolveError::NoResolver);
        } else {
            resolution.ask(now);
        }
        match resolution.outcome {
            Some(Err(error)) => Err(error),
            _ => Ok(resolution),
        }
    }

    /// A query to carry, until `None`.
    pub fn poll_transmit(&mut self) -> Option<Query> {
        self.transmits.pop_front()
    }

    /// A datagram came from the resolver of `token`.
    pub fn handle_datagram(&mut self, now: Instant, token: u32, bytes: &[u8]) {
        let Some(exchange) = self.udp(token) else {
            return;
        };
        if bytes.len() > UDP_MAX {
            self.ignored = self.ignored.saturating_add(1);
            return;
        }
        match exchange.question.read(bytes) {
            Ok(Answer::Truncated) => {
                let query = exchange.begin_tcp(now);
                self.transmits.push_back(query);
            }
            Ok(answer) => exchange.state = State::Done(Verdict::of(answer)),
            Err(_) => self.ignored = self.ignored.saturating_add(1),
        }
        self.conclude(now);
    }

    /// More bytes came over the connection of `token`.
    pub fn handle_stream(&mut self, now: Instant, token: u32, bytes: &[u8]) {
        if let Some(exchange) = self.tcp(token) {
            exchange.take_stream(bytes);
            self.conclude(now);
        }
    }

    /// The exchange of `token` cannot go on, for a reason that the machine gives. Over UDP it is
    /// tried again.
    pub fn handle_failure(&mut self, now: Instant, token: u32, why: &str) {
        let why: String = why.chars().take(WHY_MAX).collect();
        if let Some(exchange) = self.udp(token) {
            exchange.trouble = Some(why);
        } else if let Some(exchange) = self.tcp(token) {
            exchange.state = State::Done(Verdict::Cut(why));
        }
        self.conclude(now);
    }

    /// What is due is done.
    pub fn handle_timeout(&mut self, now: Instant) {
        for exchange in &mut self.exchanges {
            exchange.end_overdue_tcp(now);
        }
        if now >= self.next_try {
            if self.tries < TRIES {
                self.ask(now);
            } else {
                self.exchanges.iter_mut().for_each(Exchange::give_up);
            }
        }
        self.conclude(now);
    }

    /// When [`Self::handle_timeout`] is due; `None` once there is an outcome.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.outcome.is_some() {
            return None;
        }
        let retry = self.exchanges.iter().any(Exchange::is_asking);
        let remembered = self.settled_at.is_none() && !self.remembered.is_empty();
        let own = [
            retry.then_some(self.next_try),
            remembered.then_some(self.remembered_at),
            self.settled_at,
            self.grace_until,
        ];
        let tcp = self.exchanges.iter().filter_map(Exchange::tcp_deadline);
        own.into_iter().flatten().chain(tcp).min()
    }

    /// The host's addresses, at least one, IPv6 and IPv4 in turn (RFC 8305 section 4), or why there
    /// are none; `None` as long as it is open.
    #[must_use]
    pub fn outcome(&self) -> Option<Result<Vec<IpAddr>, ResolveError>> {
        self.outcome.clone()
    }

    /// Whether something is still expected from the exchange of `token`.
    #[must_use]
    pub fn awaits(&self, token: u32) -> bool {
        let awaited = |exchange: &Exchange| exchange.awaits(token);
        self.outcome.is_none() && self.exchanges.iter().any(awaited)
    }

    /// Whether the outcome is the remembered addresses.
    #[must_use]
    pub const fn is_remembered(&self) -> bool {
        self.is_remembered
    }

    /// Datagrams that came from a resolver and did not answer its question.
    #[must_use]
    pub const fn ignored(&self) -> u32 {
        self.ignored
    }

    fn udp(&mut self, token: u32) -> Option<&mut Exchange> {
        self.open(token).filter(|exchange| exchange.is_asking())
    }

    fn tcp(&mut self, token: u32) -> Option<&mut Exchange> {
        self.open(token).filter(|exchange| !exchange.is_asking())
    }

    fn open(&mut self, token: u32) -> Option<&mut Exchange> {
        let is_open = self.outcome.is_none();
        let mut exchanges = self.exchanges.iter_mut();
        exchanges.find(|exchange| is_open && exchange.awaits(token))
    }

    fn ask(&mut self, now: Instant) {
        self.tries += 1;
        self.next_try = now + RETRY_AFTER;
        // A query that the caller has not taken yet is not sent twice.
        self.transmits
            .retain(|query| query.transport == Transport::Tcp);
        let queries = self.exchanges.iter_mut().filter_map(Exchange::ask);
        self.transmits.extend(queries);
    }

    /// Decides whether what is known is enough.
    fn conclude(&mut self, now: Instant) {
        if self.outcome.is_some() {
            return;
        }
        if let Some(found) = self.found() {
            let until = *self.settled_at.get_or_insert(now + FAMILY_DELAY);
            if now >= until || self.is_settled() {
                self.finish(Ok(found));
            }
            return;
        }
        if self.exchanges.iter().all(Exchange::denies) {
            return self.finish(Err(error::most_telling(&self.exchanges)));
        }
        if !self.remembered.is_empty() && now >= self.remembered_at {
            return self.finish_without_dns(ResolveError::NoResolver);
        }
        if self.has_a_resolver_without_addresses() {
            self.grace_until.get_or_insert(now + GRACE);
        }
        let is_over = self.grace_until.is_some_and(|until| now >= until);
        if is_over || self.exchanges.iter().all(Exchange::is_done) {
            self.finish_without_dns(error::most_telling(&self.exchanges));
        }
    }

    /// The addresses of both families in turn, IPv6 first; `None` if there are none yet.
    fn found(&self) -> Option<Vec<IpAddr>> {
        let (v6, v4) = (self.of(Family::V6), self.of(Family::V4));
        let pairs = (0..v6.len().max(v4.len())).flat_map(|index| [v6.get(index), v4.get(index)]);
        let found: Vec<IpAddr> = pairs.flatten().copied().collect();
        (!found.is_empty()).then_some(found)
    }

    /// The addresses of a family that some resolver found.
    fn of(&self, family: Family) -> &[IpAddr] {
        let of_family = |exchange: &&Exchange| exchange.question.family() == family;
        let mut exchanges = self.exchanges.iter().filter(of_family).map(Exchange::found);
        exchanges
            .find(|found| !found.is_empty())
            .unwrap_or_default()
    }

    /// Whether nothing is to be added to addresses that were found: there are some of both families,
    /// the resolver that found them has answered for both, or nobody is waited for.
    fn is_settled(&self) -> bool {
        let has_both = [Family::V4, Family::V6]
            .iter()
            .all(|family| !self.of(*family).is_empty());
        let is_done = |resolver: &[Exchange]| resolver.iter().all(Exchange::is_done);
        let has_found = |resolver: &[Exchange]| resolver.iter().any(|one| !one.found().is_empty());
        has_both
            || is_done(&self.exchanges)
            || (self.exchanges.chunks(2)).any(|resolver| has_found(resolver) && is_done(resolver))
    }

    fn has_a_resolver_without_addresses(&self) -> bool {
        let mut resolvers = self.exchanges.chunks(2);
        resolvers.any(|pair| pair.iter().all(Exchange::is_done))
    }

    /// Takes the remembered addresses if there are any.
    fn finish_without_dns(&mut self, error: ResolveError) {
        self.is_remembered = !self.remembered.is_empty();
        if self.is_remembered {
            let remembered = core::mem::take(&mut self.remembered);
            self.finish(Ok(remembered));
        } else {
            self.finish(Err(error));
        }
    }

    fn finish(&mut self, outcome: Result<Vec<IpAddr>, ResolveError>) {
        self.transmits.clear();
        self.outcome = Some(outcome);
    }
}

/// Characters of a machine's reason that are kept: with what is said around it, it stays one line.
const WHY_MAX: usize = 40;
// Of the seed, each exchange takes two ids of two bytes, and each resolver two exchanges.
const _: () = assert!(RESOLVERS_MAX * 2 * 2 * 2 == 32);
