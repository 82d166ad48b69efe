//! The body of the fuzz target `resolution`: a script of answers, failures and waits.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use super::{Query, RETRY_AFTER, Resolution, TCP_MAX_TIME, TRIES, Transport};
use crate::time::Instant;

/// Two resolvers answer as `data` says: any bytes, in any order, to any query. Whatever they do, no
/// panic; the resolution ends in time, with an address or an error; and no timer is due twice.
pub fn fuzz_resolution(data: &[u8]) {
    let resolvers = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
    let (first, script) = data.split_first().unwrap_or((&0, &[]));
    let remembered = &resolvers[..usize::from(first & 1)];
    let mut now = Instant::default();
    let started = Resolution::new(now, "host.example", &resolvers, remembered, [7; 32]);
    let Ok(mut resolution) = started else {
        return;
    };
    let mut queries = Vec::new();
    let mut script = script;
    while let Some((step, rest)) = script.split_first_chunk::<4>() {
        queries.extend(core::iter::from_fn(|| resolution.poll_transmit()));
        let taken = usize::from(step[3]).min(rest.len());
        let (bytes, rest) = rest.split_at(taken);
        act(&mut resolution, &mut now, &queries, *step, bytes);
        script = rest;
    }
    run_out(&mut resolution, now);
}

fn act(
    resolution: &mut Resolution,
    now: &mut Instant,
    queries: &[Query],
    [kind, which, millis, _]: [u8; 4],
    bytes: &[u8],
) {
    *now = *now + Duration::from_millis(millis.into());
    let Some(query) = queries.get(usize::from(which) % queries.len().max(1)) else {
        return;
    };
    match (kind % 4, query.transport) {
        (0, _) => resolution.handle_timeout(*now),
        (1, _) => resolution.handle_failure(*now, query.token, "no route"),
        (2, _) => resolution.handle_datagram(*now, query.token, bytes),
        (_, Transport::Udp) => {
            resolution.handle_datagram(*now, query.token, &reply(&query.bytes, kind, bytes));
        }
        (_, Transport::Tcp) => {
            let message = reply(&query.bytes[2..], kind, bytes);
            let len = u16::try_from(message.len()).unwrap_or(u16::MAX);
            resolution.handle_stream(*now, query.token, &len.to_be_bytes());
            resolution.handle_stream(*now, query.token, &message);
        }
    }
}

/// The question as the head of an answer, so that the fuzzer need not find it.
fn reply(question: &[u8], kind: u8, records: &[u8]) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2] |= 0x80 | kind >> 3 & 0x02;
    bytes[3] = kind >> 5;
    bytes[7] = u8::from(!records.is_empty());
    bytes.extend_from_slice(records);
    bytes
}

/// With nobody answering any more, timers alone end it.
fn run_out(resolution: &mut Resolution, now: Instant) {
    let end = now + RETRY_AFTER * TRIES + TCP_MAX_TIME;
    let mut last = now;
    while let Some(due) = resolution.poll_timeout() {
        let due = due.max(last);
        assert!(due <= end, "{due:?} is later than {end:?}");
        resolution.handle_timeout(due);
        let next = resolution.poll_timeout();
        assert!(next.is_none_or(|next| next > due), "{next:?} is due again");
        last = due;
    }
    match resolution.outcome() {
        Some(Ok(found)) => assert!(!found.is_empty()),
        Some(Err(_)) => assert!(!resolution.is_remembered()),
        None => panic!("no timer is set and there is no outcome"),
    }
}
