//! What a fuzzer does with the record layer; the tests do it, too.

use rustls::ConnectionTrafficSecrets;

use super::{CONTENT_MAX, Content, Keys, OVERHEAD, RECEIVED_MAX, length};
use crate::channel::DirectionKeys;

/// Opens arbitrary bytes as records, then seals them as records and opens those; one byte changed, the
/// record must not open.
///
/// # Panics
/// If a record that was sealed does not open to what it was, or one that was changed opens.
pub fn fuzz_records(data: &[u8]) {
    open_whatever_comes(data);
    let Some((&[suite, kind, at_low, at_high, flip], content)) = data.split_first_chunk::<5>()
    else {
        return;
    };
    let content = &content[..content.len().min(CONTENT_MAX)];
    let kind = [Content::Alert, Content::Data, Content::Handshake][usize::from(kind % 3)];
    let mut record = vec![0; content.len() + OVERHEAD];
    record[5..5 + content.len()].copy_from_slice(content);
    let sealed = keys(suite).seal(&mut record, content.len(), kind);
    assert_eq!(sealed, Ok(record.len()));
    assert_eq!(length(&record), Ok(Some(record.len())));

    let mut changed = record.clone();
    let at = usize::from(u16::from_le_bytes([at_low, at_high])) % changed.len();
    changed[at] ^= flip;
    let opened = keys(suite).open(&mut changed, 0);
    assert_eq!(opened.is_ok(), flip == 0, "byte {at} changed by {flip:#x}");

    let opened = keys(suite).open(&mut record, 0);
    assert!(matches!(opened, Ok(opened) if opened.content == kind));
    assert_eq!(opened.map(|opened| opened.length), Ok(content.len()));
    assert_eq!(&record[..content.len()], content);
}

fn open_whatever_comes(data: &[u8]) {
    let mut keys = keys(0);
    let mut rest = data;
    while let Ok(Some(length)) = length(rest) {
        assert!((OVERHEAD..=RECEIVED_MAX).contains(&length));
        let Some((record, others)) = rest.split_at_checked(length) else {
            return;
        };
        assert!(keys.open(&mut record.to_vec(), 0).is_err());
        rest = others;
    }
}

/// Keys that anyone may know.
pub(crate) fn known_keys(suite: u8) -> DirectionKeys {
    let key = [suite; 32].into();
    let iv = [!suite; 12].into();
    let secrets = match suite % 3 {
        0 => ConnectionTrafficSecrets::Aes128Gcm { key, iv },
        1 => ConnectionTrafficSecrets::Aes256Gcm { key, iv },
        _ => ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
    };
    DirectionKeys {
        sequence: u64::from(suite) << 20,
        secrets,
    }
}

#[expect(
    clippy::expect_used,
    reason = "a fuzz body fails by a panic, and these keys are complete"
)]
fn keys(suite: u8) -> Keys {
    Keys::new(&known_keys(suite)).expect("a suite of TLS 1.3")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fuzz_records;

    proptest! {
        #[test]
        fn what_was_sealed_opens_and_what_was_changed_does_not(
            head in any::<[u8; 5]>(),
            content in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            fuzz_records(&[&head[..], &content].concat());
        }

        #[test]
        fn no_bytes_open_by_chance(
            bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 17..300), 1..4),
        ) {
            let mut data = Vec::new();
            for body in bodies {
                let length = u16::try_from(body.len()).unwrap_or(u16::MAX).to_be_bytes();
                data.extend([23, 3, 3, length[0], length[1]]);
                data.extend(body);
            }
            fuzz_records(&data);
        }
    }
}
