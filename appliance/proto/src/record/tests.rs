use core::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::message::RatchetValue;
use proptest::prelude::*;

#[test]
fn a_record_survives_its_slot() {
    let record = parse(&emitted(7), &key()).unwrap();
    assert_eq!(record.generation, 7);
    assert_eq!(record.state.edge, "edge.example:443");
    assert_eq!(record.state.identity.as_ref().unwrap().name, "mumbai-01");
}

#[test]
fn every_flipped_bit_loses_that_slot_and_the_other_is_used() {
    let (old, new) = (emitted(1), emitted(2));
    for bit in 0..new.len() * 8 {
        let newest = newest([&old, &flipped(&new, bit)], &key());
        assert_eq!(newest.record.unwrap().generation, 1, "bit {bit}");
        assert_eq!(newest.write_to, 1);
    }
}

#[test]
fn every_flipped_bit_under_a_digest_that_was_made_to_fit_is_refused() {
    let good = emitted(2);
    for bit in 0..good.len() * 8 {
        let mut altered = flipped(&good, bit);
        let (header, payload) = altered.split_at_mut(PAYLOAD_AT);
        let digest = digest_of(&header[..DIGEST_AT], payload);
        header[DIGEST_AT..].copy_from_slice(&digest);
        // A bit of the digest itself was put right again.
        let is_whole = altered == good;
        assert_eq!(parse(&altered, &key()).is_ok(), is_whole, "bit {bit}");
    }
}

#[test]
fn a_write_cut_at_every_byte_leaves_the_old_record() {
    let (old, new) = (emitted(1), emitted(2));
    for cut in 0..new.len() {
        let mut slot = alloc::vec![0; SLOT_LEN];
        slot[..cut].copy_from_slice(&new[..cut]);
        let newest = newest([&old, &slot], &key());
        assert_eq!(newest.record.unwrap().generation, 1);
    }
}

#[test]
fn the_newest_record_is_never_the_one_that_is_written_over() {
    let (older, newer) = (emitted(4), emitted(5));
    assert_eq!(newest([&older, &newer], &key()).write_to, 0);
    assert_eq!(newest([&newer, &older], &key()).write_to, 1);
    assert_eq!(newest([&[0; SLOT_LEN], &newer], &key()).write_to, 0);
}

#[test]
fn a_fresh_partition_is_blank_and_a_file_system_is_named_as_foreign() {
    let blank = [0; SLOT_LEN];
    let newest = newest([&blank, &[0x5a; SLOT_LEN]], &key());
    assert!(newest.record.is_none());
    assert_eq!(
        newest.errors,
        [Some(SlotError::Blank), Some(SlotError::Magic)]
    );
}

#[test]
fn a_record_of_another_machine_says_whose_it_is_and_no_more() {
    let slot = emitted(3);
    for other in [
        SealingKey::derive(&[5; 32], Some(&[7; 16])),
        SealingKey::derive(&[6; 32], Some(&[6; 16])),
        SealingKey::derive(&[5; 32], None),
    ] {
        let wanted = SlotError::Sealed {
            name: "mumbai-01".try_into().unwrap(),
            generation: 3,
        };
        assert_eq!(parse(&slot, &other).err(), Some(wanted));
    }
}

#[test]
fn a_name_in_the_clear_that_is_no_name_reads_as_none() {
    let mut slot = emitted(3);
    for (len, first) in [(64, b'm'), (255, b'm'), (9, 0xff)] {
        slot[11] = len;
        slot[NAME_AT] = first;
        let (header, payload) = slot.split_at_mut(PAYLOAD_AT);
        let digest = digest_of(&header[..DIGEST_AT], payload);
        header[DIGEST_AT..].copy_from_slice(&digest);
        let wanted = SlotError::Sealed {
            name: Text::new(),
            generation: 3,
        };
        assert_eq!(parse(&slot, &key()).err(), Some(wanted));
    }
}

#[test]
fn no_secret_lies_in_a_slot() {
    let slot = emitted(3);
    let holds = |secret: &[u8]| slot.windows(secret.len()).any(|window| window == secret);
    assert!(holds(b"mumbai-01"), "the name does, in the clear header");
    assert!(!holds(&[42; 8]) && !holds(b"hunter2") && !holds(b"edge.example"));
}

#[test]
fn two_writes_of_one_state_have_no_block_in_common() {
    let (one, other) = (emitted(3), emitted(4));
    let mut pairs = one[CLEAR_LEN..]
        .chunks(16)
        .zip(other[CLEAR_LEN..].chunks(16));
    assert!(pairs.all(|(one, other)| one != other));
}

#[test]
fn debug_output_has_no_secret() {
    let text = alloc::format!("{:?} {:?}", sample(1), key());
    assert!(
        !text.contains("42, 42") && !text.contains("hunter2") && !text.contains("5, 5"),
        "{text}"
    );
    let credentials = sample(1).state.proxy_credentials.clone();
    assert!(!alloc::format!("{credentials:?}").contains("hunter2"));
}

#[test]
fn the_floor_of_the_clock_is_read_without_a_key_and_from_the_newest_record_only() {
    let mut partition = alloc::vec![0; SLOTS * SLOT_LEN];
    assert_eq!(last_good_time(&partition), None);
    let mut never = sample(8);
    never.state.last_good_time = 0;
    for (at, record, wanted) in [(0, sample(7), Some(1_700_000_000)), (SLOT_LEN, never, None)] {
        let slot = emit(&record, &key()).unwrap();
        partition[at..at + slot.len()].copy_from_slice(&slot);
        assert_eq!(last_good_time(&partition), wanted);
    }
    assert_eq!(last_good_time(&partition[..SLOT_LEN]), Some(1_700_000_000));
    partition[SLOT_LEN + 24] ^= 1;
    assert_eq!(last_good_time(&partition), Some(1_700_000_000));
    assert_eq!(last_good_time(&[]), None);
}

#[test]
fn a_record_of_another_version_is_named_and_not_read() {
    for version in [0, 1, 2, VERSION + 1, u16::MAX] {
        let clear = Clear {
            version,
            generation: 1,
            last_good_time: 1,
            name: "mumbai-01",
        };
        let slot = slot(&clear, &[0; 40], &key());
        assert_eq!(
            parse(&slot, &key()).err(),
            Some(SlotError::Version { version })
        );
    }
}

#[test]
fn a_state_that_does_not_fit_is_refused_and_the_largest_one_does() {
    let mut record = sample(1);
    let used = emit(&record, &key()).unwrap().len();
    // The length in front of the key grows by two bytes.
    record.state.private_key = alloc::vec![42; 40 + SLOT_LEN - used - 2];
    let slot = emit(&record, &key()).unwrap();
    assert_eq!(slot.len(), SLOT_LEN);
    assert!(parse(&slot, &key()).is_ok());
    record.state.private_key.push(42);
    let len = u32::MAX;
    assert_eq!(emit(&record, &key()).err(), Some(SlotError::Length { len }));
}

proptest! {
    #[test]
    fn any_slot_is_handled(data: Vec<u8>) {
        fuzz_record(&data);
    }
}

fn flipped(slot: &[u8], bit: usize) -> Vec<u8> {
    let mut altered = slot.to_vec();
    altered[bit / 8] ^= 1 << (bit % 8);
    altered
}

fn emitted(generation: u64) -> Vec<u8> {
    emit(&sample(generation), &key()).unwrap()
}

fn key() -> SealingKey {
    SealingKey::derive(&[5; 32], Some(&[6; 16]))
}

fn sample(generation: u64) -> Record {
    let identity = Identity {
        ca: alloc::vec![1; 40],
        other_ca: Vec::new(),
        certificate: alloc::vec![2; 40],
        connector_id: [3; 16],
        name: "mumbai-01".into(),
        group: "Mumbai".into(),
        grant_key: [4; 32],
    };
    let state = State {
        private_key: alloc::vec![42; 40],
        edge: "edge.example:443".into(),
        identity: Some(identity),
        last_good_time: 1_700_000_000,
        edge_addresses: EdgeAddresses::from_slice(&[
            Ipv6Addr::LOCALHOST.into(),
            Ipv4Addr::new(192, 0, 2, 7).into(),
        ])
        .unwrap(),
        proxy_credentials: Some(ProxyCredentials {
            user: "plant".into(),
            password: "hunter2".into(),
        }),
        next: None,
        ratchet: RatchetValue::default(),
    };
    Record { generation, state }
}
