//! A resolver that is honest, silent, forged against, or only whole over TCP (RFC 7766).

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use super::address::HOSTILE;
use super::dns::{self, HEAD_BYTES, NAME_OF_QUESTION, Names};
use super::link::Chance;
use super::service::{BACKLOG_BYTES_MAX, Connection, Transmit, take};

/// How a resolver behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resolver {
    /// It does not answer.
    pub is_silent: bool,
    /// Somebody sends forged answers before each of its own; see [`forgeries`].
    pub is_forged: bool,
    /// What it says over TCP.
    pub over_tcp: OverTcp,
}

/// What a resolver says over TCP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OverTcp {
    /// The same as over UDP.
    #[default]
    Same,
    /// The answer, while UDP says only that it is truncated.
    Only,
    /// 64 KiB that are no answer, while UDP says that it is truncated.
    Huge,
}

impl Resolver {
    /// What arrives for a query over UDP, each with the time from the query on.
    pub fn answers(
        &self,
        query: &[u8],
        names: &Names,
        chance: &mut Chance,
    ) -> Vec<(Duration, Vec<u8>)> {
        let Some(right) = dns::answer(query, names).filter(|_| !self.is_silent) else {
            return Vec::new();
        };
        if self.over_tcp != OverTcp::Same {
            return vec![(Duration::ZERO, truncated(query, right))];
        }
        let forged = if self.is_forged {
            forgeries(query, chance)
        } else {
            Vec::new()
        };
        let delay = if forged.is_empty() {
            Duration::ZERO
        } else {
            HONEST_DELAY
        };
        let forged = forged.into_iter().map(|answer| (Duration::ZERO, answer));
        forged.chain([(delay, right)]).collect()
    }
}

/// The head and the question, with the bit that says that there is more.
fn truncated(query: &[u8], mut answer: Vec<u8>) -> Vec<u8> {
    answer.truncate(HEAD_BYTES + dns::question(query).map_or(0, <[u8]>::len));
    answer[2] |= FLAG_TRUNCATED;
    answer[6..12].fill(0);
    answer
}

/// Answers that lead to [`HOSTILE`], each wrong in one way: identifiers that are not the query's, a
/// question that is not the query's, names that point to themselves and to each other, a count
/// beyond what is there, an answer that is a query.
pub fn forgeries(query: &[u8], chance: &mut Chance) -> Vec<Vec<u8>> {
    let Some(question) = dns::question(query) else {
        return Vec::new();
    };
    let hostile = IpAddr::V4(HOSTILE);
    let head = |flags: [u8; 2], answers: u8| {
        let mut message = query[..2].to_vec();
        message.extend(flags);
        message.extend([0, 1, 0, answers, 0, 0, 0, 0]);
        message
    };
    let good = [
        head(ANSWER, 1),
        question.to_vec(),
        dns::record(NAME_OF_QUESTION, hostile),
    ]
    .concat();
    let mut all = Vec::new();
    for _ in 0..WRONG_IDS {
        let mut wrong_id = good.clone();
        // Never 0, so never the query's own.
        let difference = 1 + u16::try_from(chance.index(0xffff)).unwrap_or(0);
        let id = u16::from_be_bytes([query[0], query[1]]) ^ difference;
        wrong_id[..2].copy_from_slice(&id.to_be_bytes());
        all.push(wrong_id);
    }
    // The first letter of the name is another one.
    let mut wrong_question = good.clone();
    wrong_question[HEAD_BYTES + 1] = if wrong_question[HEAD_BYTES + 1] == b'x' {
        b'y'
    } else {
        b'x'
    };
    all.push(wrong_question);
    let name_at = u8::try_from(HEAD_BYTES + question.len()).unwrap_or(u8::MAX);
    // A name that points to itself, and two that point to each other.
    let to_itself = [0xc0, name_at];
    all.push(
        [
            head(ANSWER, 1),
            question.to_vec(),
            dns::record(to_itself, hostile),
        ]
        .concat(),
    );
    let second_at = name_at.saturating_add(16);
    all.push(
        [
            head(ANSWER, 2),
            question.to_vec(),
            dns::record([0xc0, second_at], hostile),
            dns::record(to_itself, hostile),
        ]
        .concat(),
    );
    // The question itself is a loop.
    let looped = [0xc0, u8::try_from(HEAD_BYTES).unwrap_or(0), 0, 1, 0, 1];
    all.push(
        [
            head(ANSWER, 1),
            looped.to_vec(),
            dns::record(NAME_OF_QUESTION, hostile),
        ]
        .concat(),
    );
    // More records than there are, and a query.
    all.push([head(ANSWER, 0xff), question.to_vec()].concat());
    all.push([&head([1, 0], 1)[..], &good[HEAD_BYTES..]].concat());
    all
}

/// A resolver's TCP connection: each message is preceded by its length, 2 bytes big-endian.
#[derive(Debug)]
pub struct DnsOverTcp {
    resolver: Resolver,
    names: Names,
    input: Vec<u8>,
    output: VecDeque<u8>,
    is_finished: bool,
}

impl DnsOverTcp {
    /// A new connection to a resolver that knows these names.
    pub fn new(resolver: Resolver, names: Names) -> Self {
        Self {
            resolver,
            names,
            input: Vec::new(),
            output: VecDeque::new(),
            is_finished: false,
        }
    }

    fn answer(&mut self, query: &[u8]) {
        let mut message = dns::answer(query, &self.names).unwrap_or_default();
        if self.resolver.over_tcp == OverTcp::Huge {
            message[6..8].copy_from_slice(&[0xff, 0xff]);
            let records = dns::record(NAME_OF_QUESTION, IpAddr::V4(HOSTILE));
            // Not a whole number of records: the last one is cut off.
            let missing = usize::from(u16::MAX) - message.len();
            message.extend(records.iter().cycle().take(missing));
            // The first name is a loop, so that whoever reads only the first record is caught too.
            let name_at = HEAD_BYTES + dns::question(query).map_or(0, <[u8]>::len);
            message[name_at + 1] = u8::try_from(name_at).unwrap_or(0);
        }
        let length = u16::try_from(message.len()).unwrap_or(0);
        self.output.extend(length.to_be_bytes());
        self.output.extend(&message[..usize::from(length)]);
    }
}

impl Connection for DnsOverTcp {
    fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while let Some((length, rest)) = self.input.split_first_chunk::<2>() {
            let Some(query) = rest.get(..usize::from(u16::from_be_bytes(*length))) else {
                break;
            };
            let query = query.to_vec();
            self.input.drain(..2 + query.len());
            self.answer(&query);
        }
    }

    fn finish(&mut self) {
        self.is_finished = true;
    }

    fn transmit(&mut self, buffer: &mut [u8]) -> Transmit {
        take(&mut self.output, buffer).unwrap_or(if self.is_finished {
            Transmit::End
        } else {
            Transmit::Pending
        })
    }

    fn wants_input(&self) -> bool {
        self.output.len() < BACKLOG_BYTES_MAX
    }
}

/// Flags of an answer: a response, recursion desired and available.
const ANSWER: [u8; 2] = [0x81, 0x80];
const FLAG_TRUNCATED: u8 = 0x02;
/// Guesses of the identifier.
const WRONG_IDS: usize = 64;
/// How long the honest answer comes after the forged ones.
const HONEST_DELAY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const QUERY: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04edge\x07example\x00\x00\x01\x00\x01";

    #[test]
    fn no_forgery_has_identifier_question_and_a_readable_record() {
        let forged = forgeries(QUERY, &mut Chance::new(1));
        assert_eq!(forged.len(), WRONG_IDS + 6);
        let good = [
            b"\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00",
            &QUERY[HEAD_BYTES..],
            &dns::record(NAME_OF_QUESTION, HOSTILE.into()),
        ]
        .concat();
        assert!(!forged.contains(&good));
    }

    #[test]
    fn a_truncated_answer_is_whole_over_tcp() {
        let resolver = Resolver {
            over_tcp: OverTcp::Only,
            ..Resolver::default()
        };
        let over_udp = resolver.answers(QUERY, &names(), &mut Chance::new(1));
        assert_eq!(over_udp.len(), 1);
        assert_eq!((over_udp[0].1[2] & 2, over_udp[0].1[7]), (2, 0));
        let whole = over_tcp(resolver);
        assert_eq!(whole[2..], dns::answer(QUERY, &names()).unwrap());
    }

    #[test]
    fn a_huge_answer_is_as_long_as_one_can_be() {
        let huge = over_tcp(Resolver {
            over_tcp: OverTcp::Huge,
            ..Resolver::default()
        });
        assert_eq!(huge.len(), 2 + usize::from(u16::MAX));
        assert_eq!(huge[..2], [0xff, 0xff]);
    }

    #[test]
    fn forged_answers_come_first_and_the_honest_one_still_comes() {
        let forged = Resolver {
            is_forged: true,
            ..Resolver::default()
        };
        let answers = forged.answers(QUERY, &names(), &mut Chance::new(1));
        let (last, before) = answers.split_last().unwrap();
        assert_eq!(last.1, dns::answer(QUERY, &names()).unwrap());
        assert!(before.iter().all(|(at, _)| *at < last.0));
    }

    /// What a connection answers to the query, sent byte by byte.
    fn over_tcp(resolver: Resolver) -> Vec<u8> {
        let mut connection = DnsOverTcp::new(resolver, names());
        let length = u16::try_from(QUERY.len()).unwrap().to_be_bytes();
        for byte in length.iter().chain(QUERY) {
            connection.receive(&[*byte]);
        }
        connection.finish();
        let (mut all, mut buffer) = (Vec::new(), [0; 999]);
        while let Transmit::Bytes(count) = connection.transmit(&mut buffer) {
            all.extend_from_slice(&buffer[..count]);
        }
        all
    }

    fn names() -> Names {
        let address = Ipv4Addr::new(203, 0, 113, 10).into();
        [("edge.example".to_owned(), vec![address])].into()
    }
}
