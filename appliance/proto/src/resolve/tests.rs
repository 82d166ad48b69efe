use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::dns::DnsError;

mod network;
mod world;

use world::World;

const HOST: &str = "edge.example";

#[test]
fn all_resolvers_are_asked_for_both_families_at_once() {
    let mut world = World::new(2, &[]);
    let queries = world.queries();
    assert_eq!(queries.len(), 4);
    let mut ids: Vec<_> = queries
        .iter()
        .map(|query| query.bytes[..2].to_vec())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4, "each question has an id of its own");
    for query in &queries {
        assert_eq!(query.transport, Transport::Udp);
    }
    let families: Vec<u8> = (queries.iter())
        .map(|query| query.bytes[query.bytes.len() - 3])
        .collect();
    assert_eq!(families, [28, 1, 28, 1]);
}

#[test]
fn addresses_of_both_families_take_turns_and_ipv6_begins() {
    let mut world = World::new(1, &[]);
    world.answer(1, &["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    world.answer(0, &["2001:db8::1", "2001:db8::2"]);
    assert_eq!(
        world.found(),
        [
            "2001:db8::1",
            "10.0.0.1",
            "2001:db8::2",
            "10.0.0.2",
            "10.0.0.3"
        ]
    );
    assert_eq!(world.elapsed_ms(), 0);
}

#[test]
fn the_other_family_is_waited_for_fifty_milliseconds() {
    for (first, late, address) in [(1, 0, "10.0.0.1"), (0, 1, "2001:db8::1")] {
        let mut world = World::new(1, &[]);
        world.wait_ms(20);
        world.answer(first, &[address]);
        assert_eq!(world.outcome(), None);
        world.run_out();
        assert_eq!(world.found(), [address]);
        assert_eq!(world.elapsed_ms(), 70);
        world.answer(late, &["192.0.2.66"]);
        assert_eq!(world.found(), [address], "nothing is added afterwards");
    }
}

#[test]
fn nobody_is_waited_for_once_the_other_family_is_known_to_be_absent() {
    let mut world = World::new(2, &[]);
    world.answer(0, &[]);
    world.answer(1, &["10.0.0.1"]);
    assert_eq!(world.found(), ["10.0.0.1"]);
    assert_eq!(world.elapsed_ms(), 0);
}

#[test]
fn questions_are_asked_four_times_one_second_apart_out_of_the_same_socket() {
    let mut world = World::new(1, &[]);
    let first = world.queries();
    for second in 1..4 {
        world.wait_ms(1000);
        assert_eq!(world.queries(), first, "after {second} s");
    }
    world.wait_ms(1000);
    assert!(world.queries().is_empty());
    let no_answer = ResolveError::NoAnswer {
        resolver: world::resolver(0),
        others: 0,
    };
    assert_eq!(world.outcome(), Some(Err(no_answer)));
}

#[test]
fn a_question_that_was_answered_is_not_asked_again() {
    let mut world = World::new(2, &[]);
    world.answer(0, &[]);
    world.wait_ms(1000);
    let tokens: Vec<u32> = world.queries().iter().map(|query| query.token).collect();
    assert_eq!(tokens, [1, 2, 3]);
}

#[test]
fn a_resolver_without_the_name_is_overruled_by_one_that_answers_within_the_grace() {
    for code in [2, 3, 5] {
        let mut world = World::new(2, &[]);
        world.answer_code(0, code);
        world.answer_code(1, code);
        world.wait_ms(499);
        assert_eq!(world.outcome(), None);
        world.answer(3, &["10.0.0.1"]);
        world.answer(2, &[]);
        assert_eq!(world.found(), ["10.0.0.1"]);
    }
}

#[test]
fn a_resolver_without_the_name_decides_after_the_grace() {
    let mut world = World::new(2, &[]);
    world.answer_code(0, 3);
    world.answer_code(1, 3);
    world.run_out();
    assert_eq!(world.elapsed_ms(), 500);
    let resolver = world::resolver(0);
    assert_eq!(
        world.outcome(),
        Some(Err(ResolveError::NoName { resolver }))
    );
}

#[test]
fn what_a_resolver_says_tells_more_than_silence() {
    let resolver = world::resolver(1);
    let table: [(u8, ResolveError); 4] = [
        (0, ResolveError::NoAddress { resolver }),
        (2, ResolveError::ServerFailed { resolver, code: 2 }),
        (3, ResolveError::NoName { resolver }),
        (5, ResolveError::ServerFailed { resolver, code: 5 }),
    ];
    for (code, error) in table {
        let mut world = World::new(3, &[]);
        world.answer_code(2, code);
        world.answer_code(3, code);
        world.run_out();
        assert_eq!(world.outcome(), Some(Err(error)));
    }
}

#[test]
fn remembered_addresses_stand_in_for_silent_resolvers_after_a_second() {
    let mut world = World::new(2, &["203.0.113.10"]);
    world.run_out();
    assert_eq!(world.found(), ["203.0.113.10"]);
    assert_eq!(world.elapsed_ms(), 1000);
    assert!(world.resolution.is_remembered());
}

#[test]
fn remembered_addresses_stand_in_for_resolvers_that_fail() {
    let mut world = World::new(1, &["203.0.113.10"]);
    world.answer_code(0, 2);
    world.answer_code(1, 2);
    assert_eq!(world.found(), ["203.0.113.10"]);
}

#[test]
fn remembered_addresses_stand_in_when_there_is_no_resolver() {
    let world = World::new(0, &["203.0.113.10"]);
    assert_eq!(world.found(), ["203.0.113.10"]);
}

#[test]
fn remembered_addresses_do_not_outlive_a_name_that_every_resolver_denies() {
    let mut world = World::new(2, &["203.0.113.10"]);
    for token in 0..4 {
        world.answer_code(token, 3);
    }
    let resolver = world::resolver(0);
    assert_eq!(
        world.outcome(),
        Some(Err(ResolveError::NoName { resolver }))
    );
}

#[test]
fn an_answer_comes_before_remembered_addresses() {
    let mut world = World::new(1, &["203.0.113.10"]);
    world.wait_ms(900);
    world.answer(1, &["10.0.0.1"]);
    world.run_out();
    assert_eq!(world.found(), ["10.0.0.1"]);
    assert!(!world.resolution.is_remembered());
}

#[test]
fn a_truncated_answer_is_asked_for_over_tcp() {
    let mut world = World::new(1, &[]);
    world.answer(0, &[]);
    let query = world.truncate(1);
    assert_eq!(query.transport, Transport::Tcp);
    let (len, message) = query.bytes.split_at(2);
    assert_eq!(usize::from(len[1]), message.len());
    let reply = world::reply(message, 0, &["10.0.0.1"]);
    let framed = [&[0, u8::try_from(reply.len()).unwrap()][..], &reply].concat();
    // Byte by byte: a stream has no messages.
    for byte in &framed {
        assert_eq!(world.outcome(), None);
        world
            .resolution
            .handle_stream(world.now, query.token, &[*byte]);
    }
    assert_eq!(world.found(), ["10.0.0.1"]);
}

#[test]
fn an_exchange_over_tcp_that_fails_is_named_with_its_remedy() {
    type Fail = fn(&mut World, u32);
    let table: [(&str, Fail); 4] = [
        ("no answer in time", |world, _| world.run_out()),
        ("connection refused", |world, token| {
            world
                .resolution
                .handle_failure(world.now, token, "connection refused");
        }),
        ("65535 bytes, at most 4096 are read", |world, token| {
            world
                .resolution
                .handle_stream(world.now, token, &[0xff; 70_000]);
        }),
        ("it answers another question", |world, token| {
            let mut message = vec![0, 20];
            message.resize(22, 0);
            world.resolution.handle_stream(world.now, token, &message);
        }),
    ];
    for (why, fail) in table {
        let mut world = World::new(1, &[]);
        world.answer(0, &[]);
        let query = world.truncate(1);
        fail(&mut world, query.token);
        let Some(Err(error)) = world.outcome() else {
            panic!("{why}: {:?}", world.outcome());
        };
        let text = error.to_string();
        assert!(
            text.contains(why) && text.ends_with("let TCP 53 out, or set another"),
            "{text}"
        );
    }
}

#[test]
fn a_failure_of_this_machine_is_tried_again_and_named_at_the_end() {
    let mut world = World::new(1, &[]);
    for _ in 0..TRIES {
        for query in world.queries() {
            world
                .resolution
                .handle_failure(world.now, query.token, "no route");
        }
        assert_eq!(world.outcome(), None);
        world.wait_ms(1000);
    }
    let unsent = ResolveError::Unsent {
        resolver: world::resolver(0),
        why: "no route".into(),
    };
    assert_eq!(world.outcome(), Some(Err(unsent)));
}

#[test]
fn datagrams_larger_than_a_server_may_send_are_ignored() {
    let mut world = World::new(1, &[]);
    let mut reply = world::reply(&world.query(1).bytes, 0, &["192.0.2.66"]);
    reply.resize(UDP_MAX + 1, 0);
    world.resolution.handle_datagram(world.now, 1, &reply);
    reply.resize(65_535, 0);
    world.resolution.handle_datagram(world.now, 1, &reply);
    assert_eq!((world.outcome(), world.resolution.ignored()), (None, 2));
    world.answer(1, &["10.0.0.1"]);
    world.run_out();
    assert_eq!(world.found(), ["10.0.0.1"]);
}

#[test]
fn an_address_is_its_own_outcome() {
    for host in ["192.0.2.7", "2001:db8::7"] {
        let resolution = Resolution::new(Instant::default(), host, &[], &[], [0; 32]).unwrap();
        assert_eq!(resolution.outcome(), Some(Ok(vec![host.parse().unwrap()])));
    }
}

#[test]
fn what_cannot_be_asked_is_said_at_once() {
    let start = |host: &str, resolvers: &[IpAddr], remembered: &[IpAddr]| {
        Resolution::new(Instant::default(), host, resolvers, remembered, [0; 32]).err()
    };
    let some = [world::resolver(0)];
    assert_eq!(start(HOST, &[], &[]), Some(ResolveError::NoResolver));
    for resolvers in [&[][..], &some] {
        let name = start("no host", resolvers, &some);
        assert_eq!(name, Some(ResolveError::Name(DnsError::Name)));
    }
}

#[test]
fn no_more_resolvers_than_the_limit_are_asked_and_each_once() {
    let one = world::resolver(0);
    let twice = Resolution::new(Instant::default(), HOST, &[one, one], &[], [0; 32]).unwrap();
    assert_eq!(twice.exchanges.len(), 2);
    let mut world = World::new(9, &[]);
    assert_eq!(world.queries().len(), 2 * RESOLVERS_MAX);
}

#[test]
fn every_sentence_fits_the_console() {
    let resolver = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
    let why = "x".repeat(WHY_MAX);
    for error in [
        ResolveError::Cut {
            resolver,
            why: why.clone(),
        },
        ResolveError::Name(DnsError::Name),
        ResolveError::NoAddress { resolver },
        ResolveError::NoAnswer {
            resolver,
            others: 0,
        },
        ResolveError::NoAnswer {
            resolver,
            others: 3,
        },
        ResolveError::NoName { resolver },
        ResolveError::NoResolver,
        ResolveError::ServerFailed { resolver, code: 2 },
        ResolveError::ServerFailed { resolver, code: 5 },
        ResolveError::ServerFailed { resolver, code: 15 },
        ResolveError::Unsent { resolver, why },
    ] {
        let text = error.to_string();
        assert!(text.len() < 160, "{} bytes: {text}", text.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_script_of_answers_ends_in_an_outcome(data in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz_resolution(&data);
    }
}
