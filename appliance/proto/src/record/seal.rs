//! What seals a record: its key, and how a payload is sealed under it.
//!
//! ```text
//! device secret --HKDF-SHA256, salt "outgate state record v3"-->
//!     info "mac" | UUID         32 bytes   K1
//!     info "content" | UUID     32 bytes   K2
//! siv    = HMAC-SHA256(K1, clear header | plaintext)
//! sealed = ChaCha20-Poly1305(HKDF-Expand(K2, siv), nonce 0, clear header, plaintext)
//! ```
//! No random number takes part, as in RFC 5297: a machine that a snapshot set back may have a random
//! generator that repeats itself, and a nonce from it would be used for two contents. Here two contents
//! have two `siv`s, thus two keys, and the one nonce is used once with each. The price: equal contents
//! under equal headers have equal bytes, and as the header counts writes, these are one write and its
//! copies. Opening computes `siv` again, so that a payload is bound to one key and one header.
//!
//! The UUID is left out where a TPM seals the device secret. Where it takes part, one whose first three
//! fields are in the other byte order opens too: SMBIOS 2.6 turned them round, so that an upgrade of a
//! machine's virtual hardware can.

use alloc::vec::Vec;
use core::fmt;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::{hkdf, hmac};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes by which a sealed payload is longer than its plaintext.
pub(super) const TAG_LEN: usize = 16;
/// Bytes of the synthetic IV.
pub(super) const SIV_LEN: usize = 32;

const SALT: &[u8] = b"outgate state record v3";

/// What seals and opens the records of one machine. Wiped when dropped; not in `Debug`.
#[derive(Clone, ZeroizeOnDrop)]
pub struct SealingKey {
    own: Keys,
    /// Of the UUID in the other byte order. Opens, and seals nothing.
    turned: Option<Keys>,
}

#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Keys {
    mac: [u8; 32],
    content: [u8; 32],
}

impl SealingKey {
    /// Derives it; `uuid` is the SMBIOS UUID in the byte order of its text, `None` where a TPM seals the
    /// secret. ring keeps the intermediate key of HKDF in memory of its own, which cannot be wiped.
    #[must_use]
    pub fn derive(device_secret: &[u8; 32], uuid: Option<&[u8; 16]>) -> Self {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(device_secret);
        Self {
            own: Keys::derive(&secret, uuid.map_or(&[], |uuid| uuid)),
            turned: uuid.map(|uuid| Keys::derive(&secret, &in_other_order(uuid))),
        }
    }

    /// Seals in place: `payload` is the plaintext and [`TAG_LEN`] bytes of room. Returns the `siv`.
    pub(super) fn seal(&self, clear: &[u8], payload: &mut [u8]) -> [u8; SIV_LEN] {
        self.own.seal(clear, payload)
    }

    /// Opens a sealed payload; `None` if it was not sealed under this key with this header.
    pub(super) fn open(
        &self,
        clear: &[u8],
        siv: &[u8; SIV_LEN],
        sealed: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let keys = [Some(&self.own), self.turned.as_ref()];
        let mut keys = keys.into_iter().flatten();
        keys.find_map(|keys| keys.open(clear, siv, sealed))
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(..)")
    }
}

impl Keys {
    fn derive(secret: &hkdf::Prk, uuid: &[u8]) -> Self {
        let mut keys = Self {
            mac: [0; 32],
            content: [0; 32],
        };
        expand(secret, &[b"mac", uuid], &mut keys.mac);
        expand(secret, &[b"content", uuid], &mut keys.content);
        keys
    }

    fn seal(&self, clear: &[u8], payload: &mut [u8]) -> [u8; SIV_LEN] {
        let (content, room) = payload.split_at_mut(payload.len() - TAG_LEN);
        let mut siv = [0; SIV_LEN];
        siv.copy_from_slice(hmac::sign(&self.mac_key(), &statement(clear, content)).as_ref());
        let tag =
            self.record_key(&siv)
                .seal_in_place_separate_tag(nonce(), Aad::from(clear), content);
        #[expect(
            clippy::expect_used,
            reason = "ring refuses only contents of more than 2^38 bytes"
        )]
        let tag = tag.expect("a slot is 64 KiB");
        room.copy_from_slice(tag.as_ref());
        siv
    }

    fn open(&self, clear: &[u8], siv: &[u8; SIV_LEN], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut content = Zeroizing::new(sealed.to_vec());
        let len = self
            .record_key(siv)
            .open_in_place(nonce(), Aad::from(clear), &mut content)
            .ok()?
            .len();
        content.truncate(len);
        hmac::verify(&self.mac_key(), &statement(clear, &content), siv).ok()?;
        Some(content)
    }

    fn mac_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.mac)
    }

    /// The key of the one record with this `siv`.
    fn record_key(&self, siv: &[u8; SIV_LEN]) -> LessSafeKey {
        let mut key = Zeroizing::new([0; 32]);
        let content = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &self.content);
        expand(&content, &[siv], &mut key);
        #[expect(
            clippy::expect_used,
            reason = "ring refuses only keys of another length"
        )]
        let key = UnboundKey::new(&CHACHA20_POLY1305, &*key).expect("a 32-byte key is valid");
        LessSafeKey::new(key)
    }
}

/// What the `siv` is computed over. The clear header has one length, so the two cannot be mixed up.
fn statement(clear: &[u8], content: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new([clear, content].concat())
}

/// Length of a derived key, for ring's HKDF.
struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(secret: &hkdf::Prk, info: &[&[u8]], out: &mut [u8; 32]) {
    // Both calls fail only above 255 * 32 bytes.
    let filled = secret
        .expand(info, Len(out.len()))
        .and_then(|okm| okm.fill(out));
    assert!(filled.is_ok(), "HKDF output of 32 bytes is always possible");
}

/// Every nonce is used once: the key is of this one record.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// The first three fields turned round (RFC 4122 section 4.1.2: 4, 2 and 2 bytes).
fn in_other_order(uuid: &[u8; 16]) -> [u8; 16] {
    let mut turned = *uuid;
    for field in [0..4, 4..6, 6..8] {
        turned[field].reverse();
    }
    turned
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = [5; 32];
    const UUID: [u8; 16] = *b"0123456789abcdef";

    #[test]
    fn a_uuid_in_the_other_byte_order_opens_and_every_other_one_does_not() {
        let key = SealingKey::derive(&SECRET, Some(&UUID));
        let (siv, sealed) = sealed(&key, b"plain");
        let opens = |uuid: Option<&[u8; 16]>| {
            let key = SealingKey::derive(&SECRET, uuid);
            key.open(b"clear", &siv, &sealed).is_some()
        };
        assert!(opens(Some(&UUID)) && opens(Some(b"3210547689abcdef")));
        assert!(!opens(None) && !opens(Some(&[0; 16])));
        for bit in 0..128 {
            let mut other = UUID;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!opens(Some(&other)), "bit {bit}");
        }
    }

    #[test]
    fn every_bit_of_secret_header_siv_and_payload_counts() {
        let key = SealingKey::derive(&SECRET, None);
        let (siv, sealed) = sealed(&key, b"plain");
        assert_eq!(*key.open(b"clear", &siv, &sealed).unwrap(), b"plain");
        for bit in 0..32 * 8 {
            let (mut secret, mut other_siv) = (SECRET, siv);
            secret[bit / 8] ^= 1 << (bit % 8);
            other_siv[bit / 8] ^= 1 << (bit % 8);
            let other = SealingKey::derive(&secret, None);
            assert!(other.open(b"clear", &siv, &sealed).is_none(), "bit {bit}");
            assert!(
                key.open(b"clear", &other_siv, &sealed).is_none(),
                "bit {bit}"
            );
        }
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(key.open(b"clear", &siv, &altered).is_none(), "bit {bit}");
        }
        assert!(key.open(b"cleat", &siv, &sealed).is_none());
        for cut in 0..sealed.len() {
            assert!(key.open(b"clear", &siv, &sealed[..cut]).is_none());
        }
    }

    #[test]
    fn another_content_has_another_key_and_the_same_one_the_same_bytes() {
        let key = SealingKey::derive(&SECRET, None);
        assert_eq!(sealed(&key, b"plain"), sealed(&key, b"plain"));
        let ((one, _), (other, _)) = (sealed(&key, b"plain"), sealed(&key, b"plaim"));
        assert_ne!(one, other);
        assert_ne!(
            key.own.seal(b"cleat", &mut [0; 21]),
            key.own.seal(b"clear", &mut [0; 21])
        );
    }

    fn sealed(key: &SealingKey, plain: &[u8]) -> ([u8; SIV_LEN], Vec<u8>) {
        let mut payload = plain.to_vec();
        payload.resize(plain.len() + TAG_LEN, 0);
        (key.seal(b"clear", &mut payload), payload)
    }
}
