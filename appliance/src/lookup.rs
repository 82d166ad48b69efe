//! Finds the addresses of a host: at once for an address, by asking all resolvers for a name.

use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use connector_proto::time::Instant;
use rustix::event::PollFlags;

use crate::dns::{self, Answer};
use crate::interest::{Interest, Watch};

/// Port of DNS servers.
const PORT: u16 = 53;
/// When a question is asked again, after the first time.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often a question is asked in all.
const TRIES: u32 = 4;

/// A lookup under way.
#[derive(Debug)]
pub struct Lookup {
    name: String,
    /// One connected socket for each resolver, so that the kernel drops what others send. Each has
    /// a random source port, and each question a random id.
    questions: Vec<Question>,
    tries: u32,
    next_try: Instant,
    failure: LookupError,
}

#[derive(Debug)]
struct Question {
    socket: UdpSocket,
    id: u16,
    open: bool,
}

/// Why a name has no address now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookupError {
    /// There is no DNS server to ask.
    NoResolver,
    /// No server answered.
    NoAnswer,
    /// The servers say that there is no such name.
    NotFound,
    /// The servers could not answer; the response code.
    ServerFailed(u8),
    /// It cannot be asked for.
    Name(dns::DnsError),
    /// The machine refused to send, in words.
    Io(String),
}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoResolver => f.write_str("no DNS server is known (the DHCP server named none)"),
            Self::NoAnswer => f.write_str("no DNS server answers"),
            Self::NotFound => f.write_str("DNS has no such name"),
            Self::ServerFailed(code) => write!(f, "DNS servers fail with code {code}"),
            Self::Name(error) => write!(f, "{error}"),
            Self::Io(error) => write!(f, "cannot ask DNS: {error}"),
        }
    }
}

impl std::error::Error for LookupError {}

/// Where a lookup stands.
#[derive(Debug)]
pub enum Step {
    /// Not done yet.
    Pending(Lookup),
    /// The host's addresses, at least one.
    Found(Vec<IpAddr>),
    /// It has none now.
    Failed(LookupError),
}

/// Starts to look `host` up.
pub fn start(now: Instant, host: &str, resolvers: &[IpAddr], _remembered: &[IpAddr]) -> Step {
    if let Ok(address) = host.parse() {
        return Step::Found(vec![address]);
    }
    match Lookup::new(now, host, resolvers) {
        Ok(lookup) => Step::Pending(lookup),
        Err(error) => Step::Failed(error),
    }
}

impl Lookup {
    fn new(now: Instant, name: &str, resolvers: &[IpAddr]) -> Result<Self, LookupError> {
        dns::question(0, name).map_err(LookupError::Name)?;
        if resolvers.is_empty() {
            return Err(LookupError::NoResolver);
        }
        let questions = resolvers
            .iter()
            .map(|resolver| Question::open(SocketAddr::new(*resolver, PORT)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| LookupError::Io(error.to_string()))?;
        let failure = LookupError::NoAnswer;
        let mut lookup = Self {
            name: name.into(),
            questions,
            tries: 0,
            next_try: now,
            failure,
        };
        lookup.ask(now)?;
        Ok(lookup)
    }

    /// Reads what has arrived and asks again when it is time.
    pub fn turn(mut self, now: Instant) -> Step {
        for index in 0..self.questions.len() {
            if let Some(addresses) = self.read_answers(index) {
                return Step::Found(addresses);
            }
        }
        if self.questions.iter().all(|question| !question.open) {
            return Step::Failed(self.failure);
        }
        if now < self.next_try {
            return Step::Pending(self);
        }
        if self.tries >= TRIES {
            return Step::Failed(self.failure);
        }
        match self.ask(now) {
            Ok(()) => Step::Pending(self),
            Err(error) => Step::Failed(error),
        }
    }

    /// When [`Self::turn`] is due even if nothing arrives.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.next_try
    }

    /// Adds the sockets to wait for.
    pub fn watch<'a>(&'a self, watch: &mut Watch<'a>, token: u64) {
        for question in self.questions.iter().filter(|question| question.open) {
            watch.add(token, &question.socket, Interest::from_flags(PollFlags::IN));
        }
    }

    fn ask(&mut self, now: Instant) -> Result<(), LookupError> {
        self.tries += 1;
        self.next_try = now + RETRY_AFTER;
        for question in self.questions.iter().filter(|question| question.open) {
            let bytes = dns::question(question.id, &self.name).map_err(LookupError::Name)?;
            if let Err(error) = question.socket.send(&bytes) {
                // A resolver that cannot be reached now may be reachable at the next try.
                self.failure = LookupError::Io(error.to_string());
            }
        }
        Ok(())
    }

    fn read_answers(&mut self, index: usize) -> Option<Vec<IpAddr>> {
        let question = &mut self.questions[index];
        let mut buffer = [0; dns::ANSWER_MAX];
        while let Ok(len) = question.socket.recv(&mut buffer) {
            match dns::answer(question.id, &self.name, &buffer[..len]) {
                Ok(Answer::Addresses(found)) => {
                    return Some(found.into_iter().map(IpAddr::V4).collect());
                }
                Ok(Answer::NotFound) => {
                    question.open = false;
                    self.failure = LookupError::NotFound;
                }
                Ok(Answer::Failed(code)) => {
                    question.open = false;
                    self.failure = LookupError::ServerFailed(code);
                }
                Err(error) => log::debug!("a DNS answer is ignored: {error}"),
            }
        }
        None
    }
}

impl Question {
    fn open(resolver: SocketAddr) -> std::io::Result<Self> {
        let any: IpAddr = match resolver {
            SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(resolver)?;
        let mut id = [0; 2];
        getrandom::fill(&mut id).map_err(std::io::Error::other)?;
        Ok(Self {
            socket,
            id: u16::from_ne_bytes(id),
            open: true,
        })
    }
}
