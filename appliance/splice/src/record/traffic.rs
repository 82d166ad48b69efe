//! The secrets behind the keys, and the keys that follow a KeyUpdate (RFC 8446 section 7).
//!
//! rustls can do the same with what it leaves of a connection after the hand-over, but that is 1.3 KB for
//! each: it keeps the peer's certificates and the state of QUIC. The two secrets alone are a tenth of it.
//! rustls tells them where it would write them to a file for a protocol analyser; [`Overheard`] stands in
//! that place, for one connection, and lets nobody else hear them.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use ring::hkdf::{self, HKDF_SHA256, HKDF_SHA384, Prk};
use rustls::{ConnectionTrafficSecrets, KeyLog};
use zeroize::Zeroize;

use super::RecordError;
use crate::channel::DirectionKeys;

/// The traffic secrets of both directions, as long as the suite's hash.
pub struct Traffic {
    suite: Suite,
    inward: Secret,
    outward: Secret,
}

#[derive(Clone, Copy)]
enum Suite {
    Aes128Gcm,
    Aes256Gcm,
    Chacha20Poly1305,
}

/// A secret, zeros beyond the length of the suite's hash.
#[derive(Clone, Default)]
struct Secret([[u8; 16]; 3]);

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traffic")
    }
}

impl Traffic {
    /// The keys of the peer's direction after its KeyUpdate.
    ///
    /// # Errors
    /// [`RecordError::Suite`], which does not happen: all lengths are right.
    pub fn next_inward(&mut self) -> Result<DirectionKeys, RecordError> {
        self.inward.next(self.suite)
    }

    /// The keys of our direction after our KeyUpdate.
    ///
    /// # Errors
    /// See [`Self::next_inward`].
    pub fn next_outward(&mut self) -> Result<DirectionKeys, RecordError> {
        self.outward.next(self.suite)
    }
}

/// What rustls tells of one connection's secrets; its configuration is that connection's alone.
#[derive(Default)]
pub struct Overheard {
    secrets: Mutex<[Option<Secret>; 2]>,
}

impl fmt::Debug for Overheard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Overheard")
    }
}

impl KeyLog for Overheard {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        let at = LABELS.iter().position(|known| *known == label);
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = at.and_then(|at| secrets.get_mut(at)) {
            *place = Secret::of(secret);
        }
    }

    fn will_log(&self, label: &str) -> bool {
        LABELS.contains(&label)
    }
}

impl Overheard {
    /// The secrets of the connection, once; `keys` are of either direction. `None` before its handshake
    /// is done.
    #[must_use]
    pub fn take(&self, keys: &DirectionKeys, did_we_dial: bool) -> Option<Traffic> {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let [client, server] = std::mem::take(&mut *secrets);
        let (client, server) = (client?, server?);
        let (outward, inward) = match did_we_dial {
            true => (client, server),
            false => (server, client),
        };
        let suite = match keys.secrets {
            ConnectionTrafficSecrets::Aes128Gcm { .. } => Suite::Aes128Gcm,
            ConnectionTrafficSecrets::Aes256Gcm { .. } => Suite::Aes256Gcm,
            ConnectionTrafficSecrets::Chacha20Poly1305 { .. } => Suite::Chacha20Poly1305,
            _ => return None,
        };
        Some(Traffic {
            suite,
            inward,
            outward,
        })
    }
}

impl Secret {
    fn of(bytes: &[u8]) -> Option<Self> {
        let mut secret = Self::default();
        let place = secret.0.as_flattened_mut().get_mut(..bytes.len())?;
        place.copy_from_slice(bytes);
        Some(secret)
    }

    /// RFC 8446 section 7.2, then the keys of section 7.3.
    fn next(&mut self, suite: Suite) -> Result<DirectionKeys, RecordError> {
        let mut next = Self::default();
        let bytes = next.0.as_flattened_mut();
        let bytes = bytes.get_mut(..suite.hash_length());
        self.expand(suite, b"traffic upd", bytes.unwrap_or_default())?;
        *self = next;
        self.keys(suite)
    }

    /// RFC 8446 section 7.3.
    fn keys(&self, suite: Suite) -> Result<DirectionKeys, RecordError> {
        let (mut key, mut iv) = ([0; 32], [0; 12]);
        let bytes = key.get_mut(..suite.key_length()).unwrap_or_default();
        self.expand(suite, b"key", bytes)?;
        self.expand(suite, b"iv", &mut iv)?;
        let secrets = match (key.into(), iv.into()) {
            (key, iv) if matches!(suite, Suite::Aes128Gcm) => {
                ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            }
            (key, iv) if matches!(suite, Suite::Aes256Gcm) => {
                ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            }
            (key, iv) => ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
        };
        key.zeroize();
        Ok(DirectionKeys {
            sequence: 0,
            secrets,
        })
    }

    /// HKDF-Expand-Label of RFC 8446 section 7.1, without context.
    fn expand(&self, suite: Suite, label: &[u8], out: &mut [u8]) -> Result<(), RecordError> {
        let wrong = |_| RecordError::Suite;
        let secret = self.0.as_flattened().get(..suite.hash_length());
        let secret = Prk::new_less_safe(suite.hash(), secret.unwrap_or_default());
        let length = u16::try_from(out.len()).map_err(|_| RecordError::Suite)?;
        let label_length = u8::try_from(PREFIX.len() + label.len()).unwrap_or(u8::MAX);
        secret
            .expand(
                &[&length.to_be_bytes(), &[label_length], PREFIX, label, &[0]],
                Length(out.len()),
            )
            .map_err(wrong)?
            .fill(out)
            .map_err(wrong)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Suite {
    fn hash(self) -> hkdf::Algorithm {
        match self {
            Self::Aes256Gcm => HKDF_SHA384,
            Self::Aes128Gcm | Self::Chacha20Poly1305 => HKDF_SHA256,
        }
    }

    const fn hash_length(self) -> usize {
        match self {
            Self::Aes256Gcm => 48,
            Self::Aes128Gcm | Self::Chacha20Poly1305 => 32,
        }
    }

    const fn key_length(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::Chacha20Poly1305 => 32,
        }
    }
}

/// How many bytes to expand to.
#[derive(Clone, Copy)]
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// Of the client's secret and the server's, in this order, as key logs call them.
const LABELS: [&str; 2] = ["CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"];

/// Before each label.
const PREFIX: &[u8] = b"tls13 ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_rfc_8448_come_from_its_secrets() {
        let secret = Secret::of(&[
            0x9e, 0x40, 0x64, 0x6c, 0xe7, 0x9a, 0x7f, 0x9d, 0xc0, 0x5a, 0xf8, 0x88, 0x9b, 0xce,
            0x65, 0x52, 0x87, 0x5a, 0xfa, 0x0b, 0x06, 0xdf, 0x00, 0x87, 0xf7, 0x92, 0xeb, 0xb7,
            0xc1, 0x75, 0x04, 0xa5,
        ]);
        let keys = secret.unwrap().keys(Suite::Aes128Gcm).unwrap();
        let (key, iv) = parts(&keys);
        assert_eq!(
            key[..16],
            [
                0x17, 0x42, 0x2d, 0xda, 0x59, 0x6e, 0xd5, 0xd9, 0xac, 0xd8, 0x90, 0xe3, 0xc6, 0x3f,
                0x50, 0x51
            ]
        );
        assert_eq!(
            iv,
            [
                0x5b, 0x78, 0x92, 0x3d, 0xee, 0x08, 0x57, 0x90, 0x33, 0xe5, 0x23, 0xd9
            ]
        );
    }

    #[test]
    fn the_secrets_of_a_channel_are_small_and_not_in_its_debug_text() {
        assert!(size_of::<Traffic>() <= 104);
        let overheard = Overheard::default();
        overheard.log(LABELS[0], &[], &[0xee; 32]);
        assert_eq!(format!("{overheard:?}"), "Overheard");
        assert!(!overheard.will_log("CLIENT_HANDSHAKE_TRAFFIC_SECRET"));
    }

    fn parts(keys: &DirectionKeys) -> (&[u8], &[u8]) {
        match &keys.secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key.as_ref(), iv.as_ref()),
            _ => (&[], &[]),
        }
    }
}
