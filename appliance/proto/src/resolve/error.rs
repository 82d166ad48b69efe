//! Why a host has no address now.

use alloc::string::String;
use core::fmt;
use core::net::IpAddr;

use super::exchange::{Exchange, State, Verdict};
use crate::dns::DnsError;

/// Why a host has no address now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// An answer is too long for UDP, and TCP fails.
    Cut {
        /// Whose answer.
        resolver: IpAddr,
        /// What happened over TCP.
        why: String,
    },
    /// It cannot be asked for.
    Name(DnsError),
    /// The name exists and has no address.
    NoAddress {
        /// Who says so.
        resolver: IpAddr,
    },
    /// No resolver answered.
    NoAnswer {
        /// The first that was asked.
        resolver: IpAddr,
        /// How many others were.
        others: usize,
    },
    /// The name does not exist.
    NoName {
        /// Who says so.
        resolver: IpAddr,
    },
    /// There is no resolver to ask.
    NoResolver,
    /// A resolver could not answer.
    ServerFailed {
        /// Which.
        resolver: IpAddr,
        /// Its response code.
        code: u8,
    },
    /// The machine could not send.
    Unsent {
        /// To whom.
        resolver: IpAddr,
        /// Why, in the machine's words.
        why: String,
    },
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { resolver, why } => write!(
                f,
                "DNS server {resolver} has a long answer, and TCP fails ({why}): let TCP 53 out, or set another"
            ),
            Self::Name(error) => write!(f, "{error}"),
            Self::NoAddress { resolver } => write!(
                f,
                "DNS server {resolver} knows the name but no address of it: add one there"
            ),
            Self::NoAnswer {
                resolver,
                others: 0,
            } => write!(
                f,
                "no DNS answer from {resolver}: let UDP and TCP 53 out to it, or set another server"
            ),
            Self::NoAnswer { resolver, others } => write!(
                f,
                "no DNS answer from {resolver} or {others} more: let UDP and TCP 53 out to them"
            ),
            Self::NoName { resolver } => write!(
                f,
                "DNS server {resolver} has no such name: check its spelling, or add it there"
            ),
            Self::NoResolver => f.write_str(
                "no DNS server is known: let DHCP name one (option 6), or set one for this machine",
            ),
            Self::ServerFailed {
                resolver,
                code: REFUSED,
            } => write!(
                f,
                "DNS server {resolver} refuses to answer: let this machine ask it, or name another"
            ),
            Self::ServerFailed { resolver, code } => write!(
                f,
                "DNS server {resolver} fails ({}): look at that server, or name another",
                CodeName(*code)
            ),
            Self::Unsent { resolver, why } => write!(
                f,
                "DNS server {resolver} cannot be asked ({why}): check the network's settings"
            ),
        }
    }
}

impl core::error::Error for ResolveError {}

/// The error of exchanges that found no address: what a resolver said tells more than what none did.
pub(super) fn most_telling(exchanges: &[Exchange]) -> ResolveError {
    let errors = exchanges.iter().filter_map(error);
    errors
        .min_by_key(|(rank, _)| *rank)
        .map_or_else(|| silence(exchanges), |(_, error)| error)
}

/// What an exchange says, and its rank; `None` if it says nothing.
fn error(exchange: &Exchange) -> Option<(u8, ResolveError)> {
    let resolver = exchange.resolver;
    let State::Done(verdict) = &exchange.state else {
        let why = exchange.trouble.clone()?;
        return Some((UNSENT, ResolveError::Unsent { resolver, why }));
    };
    Some(match verdict {
        Verdict::NoName => (0, ResolveError::NoName { resolver }),
        Verdict::Cut(why) => {
            let why = why.clone();
            (1, ResolveError::Cut { resolver, why })
        }
        Verdict::ServerFailed(code) => {
            let code = *code;
            (2, ResolveError::ServerFailed { resolver, code })
        }
        Verdict::Unsent(why) => {
            let why = why.clone();
            (UNSENT, ResolveError::Unsent { resolver, why })
        }
        // Of one family; the other's exchange may have more to tell.
        Verdict::NoAddress => (UNSENT + 1, ResolveError::NoAddress { resolver }),
        Verdict::Addresses(_) | Verdict::Silent => return None,
    })
}

const UNSENT: u8 = 3;

fn silence(exchanges: &[Exchange]) -> ResolveError {
    match exchanges.first() {
        Some(first) => ResolveError::NoAnswer {
            resolver: first.resolver,
            // Two exchanges with each.
            others: exchanges.len() / 2 - 1,
        },
        None => ResolveError::NoResolver,
    }
}

/// A response code by its name (RFC 1035 section 4.1.1).
struct CodeName(u8);

impl fmt::Display for CodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("FORMERR"),
            2 => f.write_str("SERVFAIL"),
            4 => f.write_str("NOTIMP"),
            code => write!(f, "response code {code}"),
        }
    }
}

const REFUSED: u8 = 5;
