//! A resolution on a network that loses, delays, reorders and repeats datagrams, with somebody on it
//! who answers first and knows neither ids nor questions.

use alloc::vec::Vec;
use core::time::Duration;

use proptest::prelude::*;

use super::super::{RETRY_AFTER, TRIES, Transport};
use super::world::{World, reply};

/// Of two resolvers, both with the same addresses.
const V6: &str = "2001:db8::1";
const V4: &str = "10.0.0.1";
const EVIL: &str = "10.6.6.6";

/// What becomes of one datagram, there and back.
#[derive(Clone, Copy, Debug)]
struct Fate {
    is_lost: bool,
    delay_ms: u16,
    is_repeated: bool,
}

fn fate() -> impl Strategy<Value = Fate> {
    (prop::bool::weighted(0.4), 0u16..900, any::<bool>()).prop_map(
        |(is_lost, delay_ms, is_repeated)| Fate {
            is_lost,
            delay_ms,
            is_repeated,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn on_a_bad_network_the_name_is_resolved_as_soon_as_an_answer_gets_through(
        fates in prop::collection::vec(fate(), 16),
        difference in 1u16..,
    ) {
        let mut world = World::new(2, &[]);
        let mut fates = fates.into_iter();
        // Datagrams under way: when they arrive, where, and what they are.
        let mut flying: Vec<(Duration, u32, Vec<u8>)> = Vec::new();
        let mut first_arrival = None;
        let start = world.now;
        while world.outcome().is_none() {
            for query in world.queries() {
                prop_assert_eq!(query.transport, Transport::Udp);
                let sent = world.now.since(start);
                for forged in forgeries(&query.bytes, difference) {
                    flying.push((sent, query.token, forged));
                }
                let Some(fate) = fates.next().filter(|fate| !fate.is_lost) else { continue };
                let address = if query.token % 2 == 0 { V6 } else { V4 };
                let right = reply(&query.bytes, 0, &[address]);
                let at = sent + Duration::from_millis(fate.delay_ms.into());
                first_arrival = Some(first_arrival.map_or(at, |first: Duration| first.min(at)));
                for copy in 0..1 + u32::from(fate.is_repeated) {
                    flying.push((at + Duration::from_millis(3) * copy, query.token, right.clone()));
                }
            }
            flying.sort_by_key(|(at, ..)| core::cmp::Reverse(*at));
            let arrival = flying.last().map(|(at, ..)| start + *at);
            let timer = world.resolution.poll_timeout().unwrap();
            if let Some((_, token, bytes)) = flying.pop_if(|_| arrival.is_some_and(|at| at <= timer)) {
                world.now = arrival.unwrap();
                world.resolution.handle_datagram(world.now, token, &bytes);
            } else {
                world.now = timer;
                world.resolution.handle_timeout(timer);
            }
        }
        let elapsed = world.now.since(start);
        match world.outcome().unwrap() {
            Ok(found) => {
                prop_assert!(!found.contains(&EVIL.parse().unwrap()), "{found:?}");
                let expected = first_arrival.unwrap();
                prop_assert!(elapsed >= expected && elapsed <= expected + super::FAMILY_DELAY);
            }
            Err(_) => {
                prop_assert_eq!(elapsed, RETRY_AFTER * TRIES);
                prop_assert!(first_arrival.is_none_or(|at| at >= elapsed));
            }
        }
    }
}

/// Answers of somebody who sees that there is a query and not what is in it, or who has it wrong.
fn forgeries(query: &[u8], difference: u16) -> [Vec<u8>; 4] {
    let good = reply(query, 0, &[EVIL]);
    let mut wrong_id = good.clone();
    let id = u16::from_be_bytes([query[0], query[1]]) ^ difference;
    wrong_id[..2].copy_from_slice(&id.to_be_bytes());
    let mut wrong_name = good.clone();
    wrong_name[13] = b'x';
    let mut wrong_code = wrong_id.clone();
    wrong_code[3] |= 3;
    let mut huge = good;
    huge.resize(65_535, 0);
    [wrong_id, wrong_name, wrong_code, huge]
}
