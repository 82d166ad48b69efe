//! DNS messages of a stub resolver (RFC 1035, RFC 3596): one question, and the addresses of its
//! answer.
//!
//! What arrives is hostile: an answer counts only if its id, its question, its type and its class are
//! those that were asked, and addresses are taken only of the name asked for and of its aliases.
//! Work and memory are bounded by the size of the answer, at most [`TCP_MAX`] bytes.

use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

mod fuzz;
#[cfg(test)]
mod tests;
mod wire;

pub use fuzz::fuzz_dns;
use wire::{Name, Reader};

/// Largest answer that is taken over UDP, in bytes: without EDNS a server sends no larger one
/// (RFC 1035 section 4.2.1).
pub const UDP_MAX: usize = 512;
/// Largest answer that is taken over TCP, in bytes: more than a hundred addresses with their aliases.
pub const TCP_MAX: usize = 4096;
/// Addresses of one name and family that are kept.
pub const ADDRESSES_MAX: usize = 8;

/// Aliases followed from the question to the address.
const ALIASES_MAX: usize = 8;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4, by A records.
    V4,
    /// IPv6, by AAAA records.
    V6,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    id: u16,
    name: Name,
    family: Family,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The name's addresses of the family asked for, each once; 1 to [`ADDRESSES_MAX`].
    Addresses(Vec<IpAddr>),
    /// The server could not answer; its response code.
    Failed(u8),
    /// The name exists and has no address of the family.
    NoAddress,
    /// The name does not exist.
    NoName,
    /// The answer did not fit: ask again over TCP.
    Truncated,
}

/// Why bytes are not an answer to the question; they are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsError {
    /// It does not decode.
    Malformed,
    /// A name that cannot be asked for.
    Name,
    /// It answers another question, or none.
    NotOurs,
    /// It is larger than an answer may be, in bytes.
    Oversized {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("it does not decode"),
            Self::Name => f.write_str(
                "not a host name: 1 to 253 bytes, labels of 1 to 63 letters, digits, '-' or '_'",
            ),
            Self::NotOurs => f.write_str("it answers another question"),
            Self::Oversized { len, max } => write!(f, "it has {len} bytes, more than {max}"),
        }
    }
}

impl core::error::Error for DnsError {}

impl Question {
    /// Asks for the addresses of `host`, with or without its final dot.
    ///
    /// # Errors
    /// [`DnsError::Name`].
    pub fn new(id: u16, host: &str, family: Family) -> Result<Self, DnsError> {
        let name = Name::of_host(host)?;
        Ok(Self { id, name, family })
    }

    /// Which addresses it asks for.
    #[must_use]
    pub const fn family(&self) -> Family {
        self.family
    }

    /// The message to send, at most 271 bytes; over TCP its length goes before it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(wire::HEADER_LEN + self.name.as_bytes().len() + 4);
        bytes.extend_from_slice(&self.id.to_be_bytes());
        // Recursion desired; one question.
        bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(self.name.as_bytes());
        bytes.extend_from_slice(&self.family.record_type().to_be_bytes());
        bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
        bytes
    }

    /// Reads what may be an answer to this question.
    ///
    /// # Errors
    /// Why it is to be ignored.
    pub fn read(&self, bytes: &[u8]) -> Result<Answer, DnsError> {
        let len = bytes.len();
        if len > TCP_MAX {
            return Err(DnsError::Oversized { len, max: TCP_MAX });
        }
        let mut reader = Reader::new(bytes);
        let (id, flags) = (reader.u16()?, reader.u16()?);
        let (questions, answers) = (reader.u16()?, reader.u16()?);
        let _other_sections = (reader.u16()?, reader.u16()?);
        if id != self.id || flags & (RESPONSE | OPCODE) != RESPONSE || questions != 1 {
            return Err(DnsError::NotOurs);
        }
        let asked = (reader.name()?, reader.u16()?, reader.u16()?);
        if asked != (self.name.clone(), self.family.record_type(), CLASS_IN) {
            return Err(DnsError::NotOurs);
        }
        match flags.to_be_bytes()[1] & CODE {
            CODE_NO_NAME => Ok(Answer::NoName),
            0 if flags & TRUNCATED != 0 => Ok(Answer::Truncated),
            0 => Ok(self.follow(&self.records(&mut reader, answers)?)),
            code => Ok(Answer::Failed(code)),
        }
    }

    /// The records of the answer that matter, in their order.
    fn records(&self, reader: &mut Reader<'_>, count: u16) -> Result<Vec<Record>, DnsError> {
        let mut records = Vec::new();
        for _ in 0..count {
            let owner = reader.name()?;
            let (kind, class) = (reader.u16()?, reader.u16()?);
            let _time_to_live = (reader.u16()?, reader.u16()?);
            let len = usize::from(reader.u16()?);
            let mut data = reader.sub(len)?;
            if class != CLASS_IN {
                continue;
            }
            let what = if kind == TYPE_CNAME {
                What::Alias(data.name()?)
            } else if kind == self.family.record_type() {
                What::Address(self.family.address(&mut data)?)
            } else {
                continue;
            };
            if !data.is_at_end() {
                return Err(DnsError::Malformed);
            }
            records.push(Record { owner, what });
        }
        Ok(records)
    }

    /// Follows aliases from the name asked for to one that has addresses, in whatever order the
    /// server sent the records.
    fn follow(&self, records: &[Record]) -> Answer {
        let mut name = &self.name;
        for _ in 0..=ALIASES_MAX {
            let mut found = Vec::new();
            let mut alias = None;
            for record in records.iter().filter(|record| record.owner == *name) {
                match &record.what {
                    What::Address(address) if found.contains(address) => {}
                    What::Address(address) => found.push(*address),
                    What::Alias(target) => alias = alias.or(Some(target)),
                }
            }
            if !found.is_empty() {
                found.truncate(ADDRESSES_MAX);
                return Answer::Addresses(found);
            }
            match alias {
                Some(target) => name = target,
                None => break,
            }
        }
        Answer::NoAddress
    }
}

/// One record of an answer.
struct Record {
    owner: Name,
    what: What,
}

enum What {
    Address(IpAddr),
    Alias(Name),
}

impl Family {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    const fn record_type(self) -> u16 {
        match self {
            Self::V4 => TYPE_A,
            Self::V6 => TYPE_AAAA,
        }
    }

    fn address(self, data: &mut Reader<'_>) -> Result<IpAddr, DnsError> {
        Ok(match self {
            Self::V4 => Ipv4Addr::from(data.array::<4>()?).into(),
            Self::V6 => Ipv6Addr::from(data.array::<16>()?).into(),
        })
    }
}

const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const TRUNCATED: u16 = 0x0200;
/// The response code's bits in the last byte of the flags.
const CODE: u8 = 0x0f;
const CODE_NO_NAME: u8 = 3;
