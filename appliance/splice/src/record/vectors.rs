//! Records of RFC 8448 section 3, sealed and opened; and what each rule of RFC 8446 section 5 refuses.

use rustls::ConnectionTrafficSecrets;

use super::*;

const CLIENT: (&str, &str) = (
    "17422dda596ed5d9acd890e3c63f5051",
    "5b78923dee08579033e523d9",
);
const SERVER: (&str, &str) = (
    "9f02283b6c9c07efc26bb9f2ac92e356",
    "cf782b88dd83549aadf1e984",
);

#[test]
fn the_application_data_of_rfc_8448_is_sealed_and_opened_byte_by_byte() {
    let content: Vec<u8> = (0..50).collect();
    both_ways(
        keys_of(CLIENT, 0),
        keys_of(CLIENT, 0),
        Content::Data,
        &content,
        "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f\
         2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae6\
         3aeebb21694915e4",
    );
    // Its first record was a ticket.
    both_ways(
        keys_of(SERVER, 1),
        keys_of(SERVER, 1),
        Content::Data,
        &content,
        "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36\
         e30efaf97d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf33254\
         0dd032e167c2955d",
    );
}

#[test]
fn the_close_notify_alerts_of_rfc_8448_are_sealed_and_opened() {
    let close_notify = [1, 0];
    both_ways(
        keys_of(CLIENT, 1),
        keys_of(CLIENT, 1),
        Content::Alert,
        &close_notify,
        "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3",
    );
    both_ways(
        keys_of(SERVER, 2),
        keys_of(SERVER, 2),
        Content::Alert,
        &close_notify,
        "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9",
    );
}

#[test]
fn padding_is_stripped_and_a_record_of_nothing_else_is_refused() {
    let mut padded = sealed_by_hand(&[b'o', b'k', 23, 0, 0, 0]);
    let opened = keys_of(CLIENT, 0).open(&mut padded, 0).unwrap();
    assert_eq!((opened.content, opened.length), (Content::Data, 2));
    assert_eq!(&padded[..2], b"ok");
    let mut nothing = sealed_by_hand(&[0; 90]);
    assert_eq!(
        keys_of(CLIENT, 0).open(&mut nothing, 0),
        Err(RecordError::Padding)
    );
}

#[test]
fn content_of_16384_bytes_is_taken_and_one_byte_more_is_not() {
    let mut content = vec![7; CONTENT_MAX];
    content.push(23);
    let mut largest = sealed_by_hand(&content);
    assert_eq!(
        keys_of(CLIENT, 0).open(&mut largest, 0).unwrap().length,
        CONTENT_MAX
    );
    content.insert(0, 7);
    let mut long = sealed_by_hand(&content);
    assert_eq!(length(&long), Ok(Some(long.len())));
    assert_eq!(
        keys_of(CLIENT, 0).open(&mut long, 0),
        Err(RecordError::Long)
    );
    let mut slot = vec![0; CONTENT_MAX + 1 + OVERHEAD];
    let sealed = keys_of(CLIENT, 0).seal(&mut slot, CONTENT_MAX + 1, Content::Data);
    assert_eq!(sealed, Err(RecordError::Long));
}

#[test]
fn a_type_without_a_place_after_the_handshake_is_refused() {
    let mut change_cipher_spec = sealed_by_hand(&[1, 20]);
    assert_eq!(
        keys_of(CLIENT, 0).open(&mut change_cipher_spec, 0),
        Err(RecordError::Type)
    );
}

#[test]
fn headers_are_measured_and_refused_by_type_version_and_length() {
    for (header, expected) in [
        (&[23, 3, 3, 0][..], Ok(None)),
        (&[23, 3, 3, 0, 17], Ok(Some(22))),
        (&[23, 3, 3, 0x41, 0], Ok(Some(RECEIVED_MAX))),
        (&[23, 3, 3, 0x41, 1], Err(RecordError::Long)),
        (&[23, 3, 3, 0, 16], Err(RecordError::Short)),
        (&[22, 3, 3, 0, 17], Err(RecordError::Header)),
        (&[21, 3, 3, 0, 2], Err(RecordError::Header)),
        (&[20, 3, 3, 0, 1], Err(RecordError::Header)),
        (&[23, 3, 1, 0, 17], Err(RecordError::Header)),
    ] {
        assert_eq!(length(header), expected, "{header:?}");
    }
}

#[test]
fn a_record_left_out_sent_twice_or_moved_does_not_open() {
    let mut sealing = keys_of(CLIENT, 0);
    let records: Vec<Vec<u8>> = (0..3).map(|byte| one_byte(&mut sealing, byte)).collect();
    for order in [&[1][..], &[0, 0], &[0, 2], &[1, 0]] {
        let mut opening = keys_of(CLIENT, 0);
        let mut last = Err(RecordError::Short);
        for &at in order {
            last = opening.open(&mut records[at].clone(), 0);
        }
        assert_eq!(last, Err(RecordError::Forged), "{order:?}");
    }
}

#[test]
fn every_flipped_bit_of_a_record_is_refused() {
    let record = one_byte(&mut keys_of(CLIENT, 0), 1);
    for bit in 0..record.len() * 8 {
        let mut changed = record.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let opened = keys_of(CLIENT, 0).open(&mut changed, 0);
        assert_eq!(opened, Err(RecordError::Forged), "bit {bit}");
    }
}

#[test]
fn the_last_sequence_number_is_never_passed() {
    let mut keys = keys_of(CLIENT, u64::MAX);
    let sealed = keys.seal(&mut [0; 64], 1, Content::Data);
    assert_eq!(sealed, Err(RecordError::Spent));
    assert_eq!(keys.open(&mut [0; 64], 0), Err(RecordError::Spent));
}

#[test]
fn aes_keys_are_spent_before_their_limit_and_chacha_keys_are_not() {
    assert!(keys_of(CLIENT, RECORDS_LIMIT).is_spent());
    assert!(!keys_of(CLIENT, RECORDS_LIMIT - 1).is_spent());
    let mut chacha = super::fuzz::known_keys(2);
    chacha.sequence = RECORDS_LIMIT;
    assert!(!Keys::new(&chacha).unwrap().is_spent());
}

#[test]
fn keys_are_not_in_their_debug_text() {
    assert_eq!(format!("{:?}", keys_of(CLIENT, 3)), "Keys(record 3)");
}

fn both_ways(mut sealing: Keys, mut opening: Keys, content: Content, bytes: &[u8], expected: &str) {
    let mut record = vec![0; bytes.len() + OVERHEAD];
    record[HEADER..HEADER + bytes.len()].copy_from_slice(bytes);
    let length = sealing.seal(&mut record, bytes.len(), content);
    assert_eq!(length, Ok(record.len()));
    assert_eq!(record, unhex(expected));
    let opened = opening.open(&mut record, 0).unwrap();
    assert_eq!((opened.content, opened.length), (content, bytes.len()));
    assert_eq!(&record[..bytes.len()], bytes);
}

fn one_byte(keys: &mut Keys, byte: u8) -> Vec<u8> {
    let mut record = vec![byte; 1 + OVERHEAD];
    keys.seal(&mut record, 1, Content::Data).unwrap();
    record
}

/// The client's first record with this inner plaintext, made without [`Keys::seal`].
fn sealed_by_hand(inner: &[u8]) -> Vec<u8> {
    let key = UnboundKey::new(&aead::AES_128_GCM, &unhex(CLIENT.0)).unwrap();
    let nonce = Nonce::try_assume_unique_for_key(&unhex(CLIENT.1)).unwrap();
    let length = u16::try_from(inner.len() + TAG).unwrap().to_be_bytes();
    let header = [23, 3, 3, length[0], length[1]];
    let mut body = inner.to_vec();
    LessSafeKey::new(key)
        .seal_in_place_append_tag(nonce, Aad::from(header), &mut body)
        .unwrap();
    [&header[..], &body].concat()
}

fn keys_of((key, iv): (&str, &str), sequence: u64) -> Keys {
    let mut bytes = [0; KEY_MAX];
    bytes[..16].copy_from_slice(&unhex(key));
    let iv: [u8; 12] = unhex(iv).try_into().unwrap();
    Keys::new(&DirectionKeys {
        sequence,
        secrets: ConnectionTrafficSecrets::Aes128Gcm {
            key: bytes.into(),
            iv: iv.into(),
        },
    })
    .unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
