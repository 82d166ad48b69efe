//! What a grant must not get away with.

use super::*;
use alloc::string::ToString as _;
use proptest::prelude::*;
use ring::signature::KeyPair as _;

pub const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

#[test]
fn a_grant_of_the_edge_is_accepted_as_it_was_made() {
    let (pair, public) = key();
    let bytes = sign(&pair, &grant()).unwrap();
    assert_eq!(verify(&bytes, &public, &[1; 16], NOW), Ok(grant()));
}

#[test]
fn a_grant_of_another_connector_is_refused() {
    let (pair, public) = key();
    let bytes = sign(&pair, &grant()).unwrap();
    assert_eq!(
        verify(&bytes, &public, &[9; 16], NOW),
        Err((Some([2; 16]), GrantError::WrongConnector))
    );
}

#[test]
fn a_grant_is_refused_after_its_time_and_when_it_claims_too_much() {
    let (pair, public) = key();
    for (offset, good) in [
        (-31i64, false),
        (-29, true),
        (0, true),
        (89, true),
        (91, false),
    ] {
        let not_after = UnixSeconds(NOW.0.checked_add_signed(offset).unwrap());
        let bytes = sign(
            &pair,
            &Grant {
                not_after,
                ..grant()
            },
        )
        .unwrap();
        assert_eq!(
            verify(&bytes, &public, &[1; 16], NOW).is_ok(),
            good,
            "{offset} s"
        );
    }
}

#[test]
fn every_altered_byte_is_noticed_the_port_and_the_session_too() {
    let (pair, public) = key();
    let bytes = sign(&pair, &grant()).unwrap();
    for place in 0..bytes.len() {
        for other in (0..=u8::MAX).filter(|other| *other != bytes[place]) {
            let mut altered = bytes.clone();
            altered[place] = other;
            let result = verify(&altered, &public, &[1; 16], NOW);
            assert_eq!(
                result,
                Err((None, GrantError::Signature)),
                "byte {place} as {other}"
            );
        }
    }
    let next_port = Grant {
        port: grant().port + 1,
        ..grant()
    };
    let other = sign(&pair, &next_port).unwrap();
    let body_len = bytes.len() - SIGNATURE_LEN;
    let spliced = [&other[..body_len], &bytes[body_len..]].concat();
    let result = verify(&spliced, &public, &[1; 16], NOW);
    assert_eq!(result, Err((None, GrantError::Signature)), "port + 1");
}

#[test]
fn a_grant_that_is_cut_or_continued_is_noticed_at_every_byte() {
    let (pair, public) = key();
    let bytes = sign(&pair, &grant()).unwrap();
    for len in 0..bytes.len() {
        let result = verify(&bytes[..len], &public, &[1; 16], NOW);
        assert!(result.is_err(), "{len} bytes");
    }
    for (len, error) in [
        (bytes.len() + 1, GrantError::Signature),
        (bytes.len() + SIGNATURE_LEN, GrantError::Signature),
        (GRANT_MAX, GrantError::Signature),
        // Beyond the limit nothing is looked at.
        (GRANT_MAX + 1, GrantError::Malformed),
    ] {
        let mut longer = bytes.clone();
        longer.resize(len, 0);
        let result = verify(&longer, &public, &[1; 16], NOW);
        assert_eq!(result, Err((None, error)), "{len} bytes");
    }
}

#[test]
fn a_grant_signed_by_any_key_but_the_edges_grant_key_is_refused() {
    let (_, public) = key();
    let refused = Err((None, GrantError::Signature));
    for seed in [[0; 32], [6; 32], [0xff; 32]] {
        let other = signature::Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let bytes = sign(&other, &grant()).unwrap();
        assert_eq!(verify(&bytes, &public, &[1; 16], NOW), refused);
    }
    // The edge's TLS key is of another kind; its signatures are as long.
    let random = ring::rand::SystemRandom::new();
    let kind = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = signature::EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
    let tls = signature::EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap();
    let body = postcard::to_allocvec(&grant()).unwrap();
    let signature = tls.sign(&random, &[CONTEXT, &body].concat()).unwrap();
    let bytes = [&body, signature.as_ref()].concat();
    assert_eq!(verify(&bytes, &public, &[1; 16], NOW), refused);
}

#[test]
fn a_signature_over_another_statement_of_the_edge_is_no_grant() {
    let (pair, public) = key();
    let body = postcard::to_allocvec(&grant()).unwrap();
    for context in [&b""[..], b"outgate enrol v1", b"outgate grant v2"] {
        let statement = [context, &body].concat();
        let bytes = [&body, pair.sign(&statement).as_ref()].concat();
        let result = verify(&bytes, &public, &[1; 16], NOW);
        assert_eq!(result, Err((None, GrantError::Signature)));
    }
    let statement = [CONTEXT, &body].concat();
    let bytes = [&body, pair.sign(&statement).as_ref()].concat();
    assert_eq!(verify(&bytes, &public, &[1; 16], NOW), Ok(grant()));
}

#[test]
fn a_statement_of_the_edge_that_is_not_exactly_a_possible_grant_is_refused_though_signed() {
    let (pair, public) = key();
    let long = "a".repeat(HOST_MAX + 1);
    let impossible = [
        Grant { port: 0, ..grant() },
        Grant {
            host: "",
            ..grant()
        },
        Grant {
            host: &long,
            ..grant()
        },
    ];
    let mut bodies: Vec<Vec<u8>> = impossible
        .iter()
        .map(|grant| postcard::to_allocvec(grant).unwrap())
        .collect();
    let body = postcard::to_allocvec(&grant()).unwrap();
    bodies.push([&body[..], &[0]].concat());
    bodies.push(body[..body.len() - 1].to_vec());
    for body in bodies {
        let signature = pair.sign(&[CONTEXT, &body].concat());
        let bytes = [&body, signature.as_ref()].concat();
        let result = verify(&bytes, &public, &[1; 16], NOW);
        assert_eq!(result, Err((None, GrantError::Malformed)), "{body:?}");
    }
}

#[test]
fn each_refusal_says_why_and_one_for_its_time_both_times_in_their_order() {
    let (not_after, now) = (UnixSeconds(111), UnixSeconds(222));
    for (error, words) in [
        (GrantError::Malformed, "does not decode"),
        (
            GrantError::NotValidNow { not_after, now },
            "holds until 111, the connector's clock says 222",
        ),
        (GrantError::Replayed, "used before"),
        (GrantError::Signature, "not signed by the edge"),
        (GrantError::WrongConnector, "for another connector"),
    ] {
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn the_longest_host_is_signed_and_accepted() {
    let (pair, public) = key();
    let host = "a".repeat(HOST_MAX);
    let grant = Grant {
        host: &host,
        ..grant()
    };
    let bytes = sign(&pair, &grant).unwrap();
    assert_eq!(verify(&bytes, &public, &[1; 16], NOW), Ok(grant));
}

#[test]
fn an_impossible_target_is_not_signed() {
    let (pair, _) = key();
    assert!(sign(&pair, &Grant { port: 0, ..grant() }).is_err());
    assert!(
        sign(
            &pair,
            &Grant {
                host: "",
                ..grant()
            }
        )
        .is_err()
    );
    let long = "a".repeat(HOST_MAX + 1);
    assert!(
        sign(
            &pair,
            &Grant {
                host: &long,
                ..grant()
            }
        )
        .is_err()
    );
}

proptest! {
    #[test]
    fn no_bytes_are_a_grant(data: Vec<u8>) {
        fuzz_grant(&data);
    }
}

pub fn key() -> (signature::Ed25519KeyPair, [u8; 32]) {
    let pair = signature::Ed25519KeyPair::from_seed_unchecked(&[5; 32]).unwrap();
    let public = pair.public_key().as_ref().try_into().unwrap();
    (pair, public)
}

pub fn grant() -> Grant<'static> {
    Grant {
        connector_id: [1; 16],
        session: [2; 16],
        host: "intranet.corp.example",
        port: 80,
        protocol: Protocol::Tcp,
        not_after: UnixSeconds(NOW.0 + 60),
    }
}
