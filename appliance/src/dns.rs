//! DNS messages of a stub resolver (RFC 1035): one question, and the addresses of its answer. Pure.

use std::fmt;
use std::net::Ipv4Addr;

/// Largest answer that is taken over UDP, in bytes; without EDNS a server sends at most 512.
pub const ANSWER_MAX: usize = 512;
/// Addresses of one name that are kept.
pub const ADDRESSES_MAX: usize = 8;

const HEADER_LEN: usize = 12;
const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const CLASS_IN: u16 = 1;
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;
/// Compression pointers followed in one name; a legal name of 127 labels needs no more than that.
const POINTERS_MAX: usize = 16;
/// Aliases followed from the question to the address.
const ALIASES_MAX: usize = 8;

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The name's addresses, at most [`ADDRESSES_MAX`]; at least one.
    Addresses(Vec<Ipv4Addr>),
    /// The name does not exist or has no IPv4 address.
    NotFound,
    /// The server could not answer; its response code.
    Failed(u8),
}

/// Why bytes are not an answer to the question; they are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsError {
    /// It answers another question, or none.
    NotOurs,
    /// It does not decode.
    Malformed,
    /// A name that cannot be asked for.
    Name,
}

impl fmt::Display for DnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotOurs => "not an answer to the question",
            Self::Malformed => "does not decode",
            Self::Name => {
                "not a host name: 1 to 253 bytes, labels of 1 to 63 letters, digits, '-' or '_'"
            }
        })
    }
}

impl std::error::Error for DnsError {}

/// A question for the IPv4 addresses of `name`.
///
/// # Errors
/// [`DnsError::Name`].
pub fn question(id: u16, name: &str) -> Result<Vec<u8>, DnsError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(DnsError::Name);
    }
    let mut bytes = Vec::with_capacity(HEADER_LEN + name.len() + 6);
    bytes.extend_from_slice(&id.to_be_bytes());
    // Recursion desired; one question.
    bytes.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let len = u8::try_from(label.len()).map_err(|_| DnsError::Name)?;
        if label.is_empty() || label.len() > LABEL_MAX || !label.bytes().all(is_host) {
            return Err(DnsError::Name);
        }
        bytes.push(len);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&TYPE_A.to_be_bytes());
    bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
    Ok(bytes)
}

/// Reads an answer to [`question`]`(id, name)`.
///
/// # Errors
/// Why it is to be ignored.
pub fn answer(id: u16, name: &str, bytes: &[u8]) -> Result<Answer, DnsError> {
    let mut reader = Reader { bytes, at: 0 };
    if reader.u16()? != id {
        return Err(DnsError::NotOurs);
    }
    let flags = reader.u16()?;
    let (questions, answers) = (reader.u16()?, reader.u16()?);
    reader.at = HEADER_LEN;
    let is_response = flags & 0x8000 != 0;
    if !is_response || questions != 1 {
        return Err(DnsError::NotOurs);
    }
    let wanted = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let asked = (reader.name()?, reader.u16()?, reader.u16()?);
    if asked != (wanted.clone(), TYPE_A, CLASS_IN) {
        return Err(DnsError::NotOurs);
    }
    match flags & 0x000f {
        0 => addresses(&mut reader, answers, wanted),
        3 => Ok(Answer::NotFound),
        code => Ok(Answer::Failed(u8::try_from(code).unwrap_or(u8::MAX))),
    }
}

/// Follows aliases from the question; records are taken in the order in which servers send them,
/// an alias before what it stands for.
fn addresses(
    reader: &mut Reader<'_>,
    answers: u16,
    mut wanted: String,
) -> Result<Answer, DnsError> {
    let mut found = Vec::new();
    let mut aliases = 0;
    for _ in 0..answers {
        let owner = reader.name()?;
        let (kind, class) = (reader.u16()?, reader.u16()?);
        let _time_to_live = (reader.u16()?, reader.u16()?);
        let data_len = usize::from(reader.u16()?);
        let data_at = reader.at;
        let data = reader.take(data_len)?;
        if owner != wanted || class != CLASS_IN {
            continue;
        }
        match (kind, data) {
            (TYPE_A, &[a, b, c, d]) => found.push(Ipv4Addr::new(a, b, c, d)),
            (TYPE_A, _) => return Err(DnsError::Malformed),
            (TYPE_CNAME, _) if aliases < ALIASES_MAX => {
                aliases += 1;
                wanted = Reader {
                    bytes: reader.bytes,
                    at: data_at,
                }
                .name()?;
            }
            _ => {}
        }
    }
    found.truncate(ADDRESSES_MAX);
    if found.is_empty() {
        Ok(Answer::NotFound)
    } else {
        Ok(Answer::Addresses(found))
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DnsError> {
        let taken = self
            .bytes
            .get(self.at..self.at + len)
            .ok_or(DnsError::Malformed)?;
        self.at += len;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, DnsError> {
        match self.take(2)? {
            &[high, low] => Ok(u16::from_be_bytes([high, low])),
            _ => Err(DnsError::Malformed),
        }
    }

    /// A name in lower case without the final dot. Pointers must point backwards, so that following
    /// them ends.
    fn name(&mut self) -> Result<String, DnsError> {
        let mut name = String::new();
        let mut at = self.at;
        let mut pointers = 0;
        loop {
            let len = usize::from(*self.bytes.get(at).ok_or(DnsError::Malformed)?);
            if len & 0xc0 == 0xc0 {
                let low = usize::from(*self.bytes.get(at + 1).ok_or(DnsError::Malformed)?);
                let target = (len & 0x3f) << 8 | low;
                if target >= at || pointers >= POINTERS_MAX {
                    return Err(DnsError::Malformed);
                }
                if pointers == 0 {
                    self.at = at + 2;
                }
                pointers += 1;
                at = target;
                continue;
            }
            if len == 0 {
                if pointers == 0 {
                    self.at = at + 1;
                }
                return Ok(name);
            }
            let label = self
                .bytes
                .get(at + 1..at + 1 + len)
                .ok_or(DnsError::Malformed)?;
            if len > LABEL_MAX || name.len() + len + 1 > NAME_MAX + 1 || !label.is_ascii() {
                return Err(DnsError::Malformed);
            }
            if !name.is_empty() {
                name.push('.');
            }
            name.extend(
                label
                    .iter()
                    .map(|byte| char::from(byte.to_ascii_lowercase())),
            );
            at += 1 + len;
        }
    }
}

/// Body of the fuzz target `dns`: any bytes, never a panic.
pub fn fuzz_dns(data: &[u8]) {
    let _ = answer(0x1234, "host.example", data);
    // With a matching start, so that the fuzzer need not find it.
    if let Ok(mut bytes) = question(0x1234, "host.example") {
        bytes[2] = 0x80;
        bytes[7] = data.first().copied().unwrap_or(0);
        bytes.extend_from_slice(data);
        let _ = answer(0x1234, "host.example", &bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_through_an_alias_is_followed() {
        let bytes = response(
            "www.example",
            &[
                ("www.example", TYPE_CNAME, b"\x04host\x07example\x00"),
                ("host.example", TYPE_A, &[10, 0, 0, 7]),
            ],
        );
        assert_eq!(
            answer(7, "WWW.example.", &bytes),
            Ok(Answer::Addresses(vec![Ipv4Addr::new(10, 0, 0, 7)]))
        );
    }

    #[test]
    fn addresses_of_other_names_are_not_taken() {
        let bytes = response("www.example", &[("evil.example", TYPE_A, &[10, 6, 6, 6])]);
        assert_eq!(answer(7, "www.example", &bytes), Ok(Answer::NotFound));
    }

    #[test]
    fn an_answer_with_another_id_or_question_is_not_ours() {
        let bytes = response("www.example", &[("www.example", TYPE_A, &[10, 0, 0, 7])]);
        assert_eq!(answer(8, "www.example", &bytes), Err(DnsError::NotOurs));
        assert_eq!(answer(7, "other.example", &bytes), Err(DnsError::NotOurs));
    }

    #[test]
    fn a_pointer_loop_ends_in_an_error() {
        let mut bytes = response("www.example", &[]);
        bytes[7] = 1;
        let at = u16::try_from(bytes.len()).unwrap();
        bytes.extend_from_slice(&(0xc000 | at).to_be_bytes());
        assert_eq!(answer(7, "www.example", &bytes), Err(DnsError::Malformed));
    }

    #[test]
    fn every_cut_of_an_answer_is_an_error_and_no_panic() {
        let bytes = response("www.example", &[("www.example", TYPE_A, &[10, 0, 0, 7])]);
        for cut in 0..bytes.len() {
            assert!(answer(7, "www.example", &bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn names_that_no_host_has_are_not_asked_for() {
        for name in [
            "",
            ".",
            "a..b",
            "-".repeat(64).as_str(),
            "a b",
            "\u{e9}.example",
            &"a.".repeat(128),
        ] {
            assert_eq!(question(1, name), Err(DnsError::Name), "{name:?}");
        }
        assert!(question(1, "a-1_b.example.").is_ok());
    }

    #[test]
    fn random_answers_are_handled() {
        let mut seed = 1u64;
        let mut data = [0; 80];
        for _ in 0..20_000 {
            for byte in &mut data {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = u8::try_from(seed >> 56).unwrap();
            }
            fuzz_dns(&data);
        }
    }

    fn response(name: &str, records: &[(&str, u16, &[u8])]) -> Vec<u8> {
        let mut bytes = question(7, name).unwrap();
        bytes[2] |= 0x80;
        bytes[7] = u8::try_from(records.len()).unwrap();
        for (owner, kind, data) in records {
            let encoded = question(0, owner).unwrap();
            bytes.extend_from_slice(&encoded[HEADER_LEN..encoded.len() - 4]);
            bytes.extend_from_slice(&kind.to_be_bytes());
            bytes.extend_from_slice(&CLASS_IN.to_be_bytes());
            bytes.extend_from_slice(&[0, 0, 0, 60]);
            bytes.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(data);
        }
        bytes
    }
}
