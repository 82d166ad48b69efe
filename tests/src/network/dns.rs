//! A resolver (RFC 1035) with a table of names; it asks nobody else.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// The addresses of each name: lower case, no dot at the end.
pub type Names = BTreeMap<String, Vec<IpAddr>>;

/// The port of resolvers.
pub const PORT: u16 = 53;

/// How long answers may be kept, in seconds. Short, so that a change of the table is seen soon.
const TTL_S: u32 = 5;

/// The answer to a query: the addresses of a name in `names` of the family that is asked for, no
/// record for other types, NXDOMAIN for other names. None when it is no query at all.
pub fn answer(query: &[u8], names: &Names) -> Option<Vec<u8>> {
    let (head, rest) = query.split_first_chunk::<HEAD_BYTES>()?;
    let flags = u16::from_be_bytes([head[2], head[3]]);
    if flags & (FLAG_RESPONSE | MASK_OPCODE) != 0 {
        return None;
    }
    if head[4..6] != [0, 1] {
        return Some(response(head, &[], CODE_FORMAT_ERROR, &[]));
    }
    let Some((name, question)) = parse_question(rest) else {
        return Some(response(head, &[], CODE_FORMAT_ERROR, &[]));
    };
    let known = names.get(&name);
    let code = if known.is_some() {
        CODE_OK
    } else {
        CODE_NO_SUCH_NAME
    };
    let addresses: Vec<_> = known
        .into_iter()
        .flatten()
        .copied()
        .filter(|address| question.ends_with(&[0, type_of(address), 0, CLASS_IN]))
        .collect();
    Some(response(head, question, code, &addresses))
}

/// The question of a query, from the name on; None when there is none.
pub(crate) fn question(query: &[u8]) -> Option<&[u8]> {
    parse_question(query.get(HEAD_BYTES..)?).map(|(_, question)| question)
}

/// The name whose IPv4 addresses a query asks for, in lower case.
pub(crate) fn asked_for_ipv4(query: &[u8]) -> Option<String> {
    let (name, question) = parse_question(query.get(HEAD_BYTES..)?)?;
    question
        .ends_with(&[0, TYPE_A, 0, CLASS_IN])
        .then_some(name)
}

/// The type of record that holds an address.
const fn type_of(address: &IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => TYPE_A,
        IpAddr::V6(_) => TYPE_AAAA,
    }
}

/// The name in lower case, and the bytes of name, type and class.
fn parse_question(bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut name = String::new();
    let mut rest = bytes;
    loop {
        let (&length, after) = rest.split_first()?;
        if length == 0 {
            rest = after;
            break;
        }
        // Longer values are pointers, which have nowhere to point to in the first name.
        let (label, after) = (length <= LABEL_BYTES_MAX)
            .then(|| after.split_at_checked(usize::from(length)))
            .flatten()?;
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(
            label
                .iter()
                .map(|byte| char::from(byte.to_ascii_lowercase())),
        );
        rest = after;
    }
    let (_, after) = rest.split_at_checked(TYPE_AND_CLASS_BYTES)?;
    Some((name, &bytes[..bytes.len() - after.len()]))
}

fn response(
    query_head: &[u8; HEAD_BYTES],
    question: &[u8],
    code: u16,
    addresses: &[IpAddr],
) -> Vec<u8> {
    let query_flags = u16::from_be_bytes([query_head[2], query_head[3]]);
    let recursion_desired = query_flags & FLAG_RECURSION_DESIRED;
    let flags = FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | recursion_desired | code;
    let mut message = query_head[..2].to_vec();
    message.extend(flags.to_be_bytes());
    let answers = u16::try_from(addresses.len()).unwrap_or(u16::MAX);
    message.extend([0, u8::from(!question.is_empty())]);
    message.extend(answers.to_be_bytes());
    message.extend([0; 4]);
    message.extend(question);
    for address in addresses {
        message.extend(record(NAME_OF_QUESTION, *address));
    }
    message
}

/// A record of an address, under a name of two bytes, which is a pointer.
pub(crate) fn record(name: [u8; 2], address: IpAddr) -> Vec<u8> {
    let mut record = name.to_vec();
    record.extend([0, type_of(&address), 0, CLASS_IN]);
    record.extend(TTL_S.to_be_bytes());
    match address {
        IpAddr::V4(address) => {
            record.extend([0, 4]);
            record.extend(address.octets());
        }
        IpAddr::V6(address) => {
            record.extend([0, 16]);
            record.extend(address.octets());
        }
    }
    record
}

pub(crate) const HEAD_BYTES: usize = 12;
const LABEL_BYTES_MAX: u8 = 63;
const TYPE_AND_CLASS_BYTES: usize = 4;
const TYPE_A: u8 = 1;
const TYPE_AAAA: u8 = 28;
const CLASS_IN: u8 = 1;
/// A pointer to the first byte after the head.
pub(crate) const NAME_OF_QUESTION: [u8; 2] = [0xc0, 12];

const FLAG_RESPONSE: u16 = 0x8000;
const MASK_OPCODE: u16 = 0x7800;
const FLAG_RECURSION_DESIRED: u16 = 0x0100;
const FLAG_RECURSION_AVAILABLE: u16 = 0x0080;
const CODE_OK: u16 = 0;
const CODE_FORMAT_ERROR: u16 = 1;
const CODE_NO_SUCH_NAME: u16 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use smoltcp::wire::{DnsPacket, DnsRcode, DnsRecord, DnsRecordData};

    const QUERY: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04Edge\x07example\x00\x00\x01\x00\x01";

    #[test]
    fn a_known_name_has_its_address_whatever_the_case() {
        let answer = answer(QUERY, &names()).unwrap();
        let packet = DnsPacket::new_checked(&answer[..]).unwrap();
        assert_eq!(
            (packet.transaction_id(), packet.rcode()),
            (0x1234, DnsRcode::NoError)
        );
        assert_eq!(packet.answer_record_count(), 1);
        let (_, record) = DnsRecord::parse(&answer[QUERY.len()..]).unwrap();
        assert_eq!(
            record.data,
            DnsRecordData::A(Ipv4Addr::new(203, 0, 113, 10))
        );
    }

    #[test]
    fn another_type_of_a_known_name_is_empty_and_an_unknown_name_does_not_exist() {
        let mut quad_a = QUERY.to_vec();
        quad_a[27] = 28;
        let empty = answer(&quad_a, &names()).unwrap();
        assert_eq!((empty[3] & 0xf, empty[7]), (0, 0));
        let unknown = answer(QUERY, &BTreeMap::new()).unwrap();
        assert_eq!((unknown[3] & 0xf, unknown[7]), (3, 0));
    }

    #[test]
    fn each_family_is_answered_to_who_asks_for_it() {
        let v6: Ipv6Addr = "2001:db8::10".parse().unwrap();
        let mut names = names();
        names.get_mut("edge.example").unwrap().push(v6.into());
        let mut quad_a = QUERY.to_vec();
        quad_a[27] = TYPE_AAAA;
        let answer = answer(&quad_a, &names).unwrap();
        assert_eq!(answer[7], 1);
        assert!(answer.ends_with(&v6.octets()));
    }

    #[test]
    fn broken_queries_are_format_errors_or_nothing() {
        for length in 0..QUERY.len() {
            match answer(&QUERY[..length], &names()) {
                None => assert!(length < HEAD_BYTES),
                Some(response) => assert_eq!(response[3] & 0xf, 1, "{length} bytes"),
            }
        }
        let mut response = QUERY.to_vec();
        response[2] |= 0x80;
        assert_eq!(answer(&response, &names()), None);
    }

    fn names() -> Names {
        let address = Ipv4Addr::new(203, 0, 113, 10).into();
        [("edge.example".to_owned(), vec![address])].into()
    }
}
