//! The body of the fuzz target `dns`.

use super::{ADDRESSES_MAX, Answer, Family, Question};

/// Any bytes as an answer, as they are and behind a matching start; never a panic, never more
/// addresses than the limit, and never one of the other family. Any text as a host name: what can be
/// asked for is recognised in its echo.
pub fn fuzz_dns(data: &[u8]) {
    for family in [Family::V4, Family::V6] {
        if let Ok(question) = Question::new(0x1234, "host.example", family) {
            read(&question, data);
            // With a matching start, so that the fuzzer need not find it.
            let mut bytes = question.encode();
            bytes[2] = 0x80;
            bytes[7] = data.first().copied().unwrap_or(0);
            bytes.extend_from_slice(data);
            read(&question, &bytes);
        }
        echo(data, family);
    }
}

fn read(question: &Question, bytes: &[u8]) {
    if let Ok(Answer::Addresses(found)) = question.read(bytes) {
        assert!((1..=ADDRESSES_MAX).contains(&found.len()));
        let is_v4 = question.family() == Family::V4;
        assert!(found.iter().all(|address| address.is_ipv4() == is_v4));
    }
}

/// Round trip: a question that can be asked is its own echo's question.
fn echo(data: &[u8], family: Family) {
    let host = core::str::from_utf8(data).unwrap_or("");
    if let Ok(question) = Question::new(7, host, family) {
        let mut bytes = question.encode();
        bytes[2] |= 0x80;
        assert_eq!(question.read(&bytes), Ok(Answer::NoAddress));
    }
}
