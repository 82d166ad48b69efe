//! One question to one resolver: over UDP, over TCP when the answer was cut short, to its verdict.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::{Query, ResolveError, TCP_MAX_TIME, Transport};
use crate::dns::{Answer, Family, Question, TCP_MAX};
use crate::time::Instant;

/// One question to one resolver.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) resolver: IpAddr,
    pub(super) question: Question,
    pub(super) state: State,
    /// Why the last try failed on this machine.
    pub(super) trouble: Option<String>,
    token: u32,
    /// The question over TCP, with an id of its own.
    tcp_question: Question,
}

#[derive(Debug)]
pub(super) enum State {
    /// Asked by datagram, again and again.
    Asking,
    /// Asked over a connection; what has come of the answer and its length.
    OverTcp { received: Vec<u8>, until: Instant },
    /// Over.
    Done(Verdict),
}

/// How an exchange ended.
#[derive(Debug)]
pub(super) enum Verdict {
    Addresses(Vec<IpAddr>),
    NoAddress,
    NoName,
    /// The response code.
    ServerFailed(u8),
    /// The answer is too long for UDP, and TCP failed; why.
    Cut(String),
    /// Nothing came.
    Silent,
    /// The question did not even leave; why.
    Unsent(String),
}

/// Tokens of exchanges over UDP are their index; over TCP this is added, more than any index.
const TCP_TOKENS: u32 = 1 << 16;

/// The exchanges with all resolvers, two for each, side by side. Each takes two ids of the seed.
pub(super) fn of_all(
    host: &str,
    resolvers: &[IpAddr],
    seed: &[u8; 32],
) -> Result<Vec<Exchange>, ResolveError> {
    let (ids, _) = seed.as_chunks::<4>();
    let mut ids = (0..).zip(ids);
    let mut exchanges: Vec<Exchange> = Vec::new();
    // A name that cannot be asked for is an error even where nobody could be asked.
    Question::new(0, host, Family::V4).map_err(ResolveError::Name)?;
    for resolver in resolvers {
        if exchanges.iter().any(|other| other.resolver == *resolver) {
            continue;
        }
        for family in [Family::V6, Family::V4] {
            // The seed has as many ids as RESOLVERS_MAX resolvers need: the rest is left out.
            let Some((token, [a, b, c, d])) = ids.next() else {
                return Ok(exchanges);
            };
            let question = |id| Question::new(id, host, family).map_err(ResolveError::Name);
            exchanges.push(Exchange {
                resolver: *resolver,
                question: question(u16::from_be_bytes([*a, *b]))?,
                state: State::Asking,
                trouble: None,
                token,
                tcp_question: question(u16::from_be_bytes([*c, *d]))?,
            });
        }
    }
    Ok(exchanges)
}

impl Exchange {
    /// The datagram to send, if it is still of use.
    pub(super) fn ask(&mut self) -> Option<Query> {
        self.is_asking().then(|| {
            self.trouble = None;
            Query {
                resolver: self.resolver,
                transport: Transport::Udp,
                token: self.token,
                bytes: self.question.encode(),
            }
        })
    }

    /// Asks again over TCP.
    pub(super) fn begin_tcp(&mut self, now: Instant) -> Query {
        self.state = State::OverTcp {
            received: Vec::new(),
            until: now + TCP_MAX_TIME,
        };
        let message = self.tcp_question.encode();
        // At most 271 bytes.
        let len = u16::try_from(message.len()).unwrap_or(u16::MAX);
        let mut bytes = len.to_be_bytes().to_vec();
        bytes.extend(message);
        Query {
            resolver: self.resolver,
            transport: Transport::Tcp,
            token: self.token + TCP_TOKENS,
            bytes,
        }
    }

    /// Takes bytes of the connection; with the last one of the answer the exchange is over.
    pub(super) fn take_stream(&mut self, bytes: &[u8]) {
        let State::OverTcp { received, .. } = &mut self.state else {
            return;
        };
        let room = 2 + TCP_MAX - received.len();
        received.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let Some((len, message)) = received.split_first_chunk() else {
            return;
        };
        let len = usize::from(u16::from_be_bytes(*len));
        let verdict = if len > TCP_MAX {
            Verdict::Cut(alloc::format!("{len} bytes, at most {TCP_MAX} are read"))
        } else if let Some(message) = message.get(..len) {
            match self.tcp_question.read(message) {
                Ok(answer) => Verdict::of(answer),
                Err(error) => Verdict::Cut(alloc::format!("{error}")),
            }
        } else {
            return;
        };
        self.state = State::Done(verdict);
    }

    /// Ends an exchange over TCP that takes too long.
    pub(super) fn end_overdue_tcp(&mut self, now: Instant) {
        if self.tcp_deadline().is_some_and(|until| now >= until) {
            self.state = State::Done(Verdict::Cut("no answer in time".into()));
        }
    }

    /// Ends an exchange whose tries are spent.
    pub(super) fn give_up(&mut self) {
        if self.is_asking() {
            let trouble = self.trouble.take();
            self.state = State::Done(trouble.map_or(Verdict::Silent, Verdict::Unsent));
        }
    }

    pub(super) fn tcp_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::OverTcp { until, .. } => Some(*until),
            State::Asking | State::Done(_) => None,
        }
    }

    pub(super) fn awaits(&self, token: u32) -> bool {
        match &self.state {
            State::Asking => token == self.token,
            State::OverTcp { .. } => token == self.token + TCP_TOKENS,
            State::Done(_) => false,
        }
    }

    pub(super) const fn is_asking(&self) -> bool {
        matches!(self.state, State::Asking)
    }

    pub(super) const fn is_done(&self) -> bool {
        matches!(self.state, State::Done(_))
    }

    /// Whether the resolver says that there is no address.
    pub(super) const fn denies(&self) -> bool {
        matches!(
            self.state,
            State::Done(Verdict::NoAddress | Verdict::NoName)
        )
    }

    /// The addresses it found.
    pub(super) fn found(&self) -> &[IpAddr] {
        match &self.state {
            State::Done(Verdict::Addresses(found)) => found,
            State::Asking | State::OverTcp { .. } | State::Done(_) => &[],
        }
    }
}

impl Verdict {
    pub(super) fn of(answer: Answer) -> Self {
        match answer {
            Answer::Addresses(found) => Self::Addresses(found),
            Answer::Failed(code) => Self::ServerFailed(code),
            Answer::NoAddress => Self::NoAddress,
            Answer::NoName => Self::NoName,
            Answer::Truncated => Self::Cut("cut short there, too".into()),
        }
    }
}
