//! What is secret is not shown by `Debug`, and cannot be compared byte by byte by accident.

use std::fmt::Debug;

use connector_proto::control::{Channel, EdgeSide};
use connector_proto::derive::{EdgeProofKey, EnrolSecrets, EnrolSigner};
use connector_proto::enrol;
use connector_proto::frame::{self, Deframer};
use connector_proto::key::{KeyInput, ProvisioningKey, SEED_LEN};
use connector_proto::message::{Fingerprint, Hello, Message, Ratchet, RatchetValue, RenewRequest};
use connector_proto::renew;
use connector_proto::time::Instant;

/// A byte that is nowhere but in secrets, here.
const SECRET: u8 = 0xe7;

#[test]
fn debug_output_of_whatever_holds_a_secret_has_none_of_its_bytes() {
    let now = Instant::default();
    let key = || ProvisioningKey::from_random([SECRET; SEED_LEN]);
    let ratchet = RatchetValue([SECRET; 32]);
    let fingerprint = Fingerprint::default();
    let mut input = KeyInput::new();
    let text = key().to_text();
    for letter in text.chars() {
        input.push(letter);
    }
    let secrets = EnrolSecrets::derive(&key());
    for text in [text.as_str(), &text.replace('-', "")] {
        assert!(!shown(&input).contains(text) && !shown(&key()).contains(text));
    }
    assert_hidden(&key());
    assert_hidden(&input);
    assert_hidden(&EdgeProofKey::from_bytes([SECRET; 32]));
    assert_hidden(&secrets);
    assert_hidden(&secrets.signer);
    assert_hidden(&ratchet);
    assert_hidden(&Ratchet {
        step: 1,
        value: ratchet,
    });
    let hello = Hello {
        version: "0.1.0",
        fingerprint,
        ratchet,
    };
    assert_hidden(&hello);
    assert_hidden(&RenewRequest {
        csr: b"csr",
        fingerprint,
        ratchet,
    });

    // Machines that hold one, or have it in what they are about to send or have read in part.
    let exporter = [SECRET; 32];
    let connector = enrol::Connector::new(now, secrets, exporter, b"csr".to_vec(), fingerprint);
    assert_hidden(&connector.unwrap());
    assert_hidden(&enrol::Edge::new(now, exporter));
    let channel = Channel::connector(now, 1, "0.1.0", fingerprint, ratchet).unwrap();
    assert_hidden(&channel);
    assert_hidden(&renew::Connector::new(now, b"csr", fingerprint, ratchet).unwrap());
    let bytes = frame::encode(Hello::ID, &postcard::to_allocvec(&hello).unwrap()).unwrap();
    let part = &bytes[..bytes.len() - 1];
    let mut deframer = Deframer::new();
    assert_eq!(deframer.next(&mut { part }), Ok(None));
    assert_hidden(&deframer);
    let mut edge = Channel::<EdgeSide>::edge(now, 1);
    edge.handle_input(now, &bytes).unwrap();
    assert_hidden(&edge);
}

#[test]
fn ratchet_values_are_equal_only_if_every_byte_is() {
    let value = RatchetValue([SECRET; 32]);
    assert_eq!(value, RatchetValue([SECRET; 32]));
    for place in 0..32 {
        for bit in 0..8 {
            let mut other = value;
            other.0[place] ^= 1 << bit;
            assert_ne!(value, other, "byte {place}, bit {bit}");
        }
    }
}

/// Does not compile if one of these types can be compared with `==`: then two implementations of the
/// trait fit, and the compiler cannot tell which is meant.
#[test]
fn keys_cannot_be_compared_with_an_operator() {
    trait Incomparable<Case> {
        const NAME: &'static str;
    }
    impl<T: ?Sized> Incomparable<()> for T {
        const NAME: &'static str = "is a secret";
    }
    struct Comparable;
    impl<T: ?Sized + PartialEq> Incomparable<Comparable> for T {
        const NAME: &'static str = "can be compared";
    }
    let names = [
        <ProvisioningKey as Incomparable<_>>::NAME,
        <KeyInput as Incomparable<_>>::NAME,
        <EnrolSecrets as Incomparable<_>>::NAME,
        <EnrolSigner as Incomparable<_>>::NAME,
        <EdgeProofKey as Incomparable<_>>::NAME,
    ];
    assert_eq!(names, ["is a secret"; 5]);
}

fn assert_hidden(value: &impl Debug) {
    let shown = shown(value);
    for byte in ["231,", "e7,", "e7e7", "E7E7"] {
        assert!(!shown.contains(byte), "{shown}");
    }
}

/// Both ways in which `Debug` shows bytes.
fn shown(value: &impl Debug) -> String {
    format!("{value:?} {value:#?} {value:x?}")
}
