//! Users' passwords: argon2id at rest, and a short memory of those that were right.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use ring::{hmac, rand};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::Error;
use crate::store::Store;

/// Cost of a password in use: 19 MiB and two passes, the least that OWASP's password storage cheat
/// sheet recommends for argon2id.
pub const COST: Params = Params::DEFAULT;

/// How long a right password need not be hashed again. A page makes dozens of connections.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Right passwords remembered at once.
const REMEMBERED_MAX: usize = 1024;
/// Hashes computed at once: more would hand memory and both cores to whoever guesses.
const HASHING_MAX: usize = 2;
/// Longest user name or password looked at, in bytes.
pub(crate) const CREDENTIAL_MAX: usize = 256;

/// Hashes a password for the store.
///
/// # Errors
/// [`Error::InvalidValue`] if it is empty or too long; [`Error::Crypto`].
pub fn hash(password: &str, cost: Params) -> Result<String, Error> {
    if password.is_empty() || password.len() > CREDENTIAL_MAX {
        let value = format!("of {} bytes", password.len());
        let allowed = format!("1 to {CREDENTIAL_MAX} bytes");
        return Err(Error::InvalidValue {
            what: "password",
            value,
            allowed,
        });
    }
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(Error::crypto("a salt"))?;
    let salt = SaltString::encode_b64(&salt).map_err(Error::crypto("a salt"))?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost);
    let hash = argon.hash_password(password.as_bytes(), &salt);
    Ok(hash.map_err(Error::crypto("a password hash"))?.to_string())
}

/// A new password of 120 bits, in letters that are not mistaken for each other.
///
/// # Errors
/// [`Error::Crypto`] without randomness.
pub(crate) fn generate() -> Result<Zeroizing<String>, Error> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = Zeroizing::new([0_u8; 24]);
    getrandom::fill(&mut *random).map_err(Error::crypto("a new password"))?;
    let letter = |byte: &u8| char::from(LETTERS[usize::from(byte % 32)]);
    Ok(Zeroizing::new(random.iter().map(letter).collect()))
}

/// Checks users' passwords.
pub(crate) struct Passwords {
    store: Arc<Store>,
    /// Made at start and never stored: what is remembered means nothing to anyone else.
    memory_key: hmac::Key,
    remembered: Mutex<HashMap<[u8; 32], Instant>>,
    hashing: Arc<Semaphore>,
    /// Hash that no password has; checked for users that do not exist, so that a guesser cannot
    /// tell them by the time it takes.
    nobody: String,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords(..)")
    }
}

impl Passwords {
    pub(crate) fn new(store: Arc<Store>) -> Result<Self, Error> {
        let memory_key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())
            .map_err(Error::crypto("a new key"))?;
        let nobody = hash(&generate()?, COST)?;
        let hashing = Arc::new(Semaphore::new(HASHING_MAX));
        Ok(Self {
            store,
            memory_key,
            remembered: Mutex::default(),
            hashing,
            nobody,
        })
    }

    /// Whether this is the user's password now. The stored hash is read every time, so a changed
    /// password or a removed user counts at once.
    pub(crate) async fn is_right(
        &self,
        user: &str,
        password: Zeroizing<String>,
    ) -> Result<bool, Error> {
        let stored = self.store.password_hash(user)?;
        let exists = stored.is_some();
        let stored = stored.unwrap_or_else(|| self.nobody.clone());
        let tag = self.tag(&stored, &password);
        if self.remembers(&tag) {
            return Ok(exists);
        }
        let panicked = |_| Error::Crypto {
            what: "a password",
            cause: "hashing stopped".into(),
        };
        let permit = Arc::clone(&self.hashing)
            .acquire_owned()
            .await
            .map_err(|error| Error::Crypto {
                what: "a password",
                cause: error.to_string(),
            })?;
        // Of a crowd with one password the first one's hash does for all who waited meanwhile.
        if self.remembers(&tag) {
            return Ok(exists);
        }
        let right = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            verify(&stored, &password)
        });
        let right = right.await.map_err(panicked)? && exists;
        if right {
            self.remember(tag);
        }
        Ok(right)
    }

    /// Stands for a password and the very hash it was right for. The salt in the hash ties it to
    /// the user.
    fn tag(&self, stored: &str, password: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.memory_key);
        context.update(&(stored.len() as u64).to_be_bytes());
        context.update(stored.as_bytes());
        context.update(password.as_bytes());
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    fn remembers(&self, tag: &[u8; 32]) -> bool {
        let remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        remembered
            .get(tag)
            .is_some_and(|until| *until > Instant::now())
    }

    fn remember(&self, tag: [u8; 32]) {
        let now = Instant::now();
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, until| *until > now);
        }
        if remembered.len() < REMEMBERED_MAX {
            remembered.insert(tag, now + REMEMBERED);
        }
    }
}

fn verify(stored: &str, password: &str) -> bool {
    PasswordHash::new(stored).is_ok_and(|hash| {
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_fits_its_hash_and_no_other() {
        let hash = hash("correct horse", cheap()).unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(verify(&hash, "correct horse"));
        assert!(!verify(&hash, "correct horsf"));
        assert!(!verify("not a hash", "correct horse"));
    }

    #[test]
    fn empty_and_endless_passwords_are_refused() {
        for password in [String::new(), "a".repeat(CREDENTIAL_MAX + 1)] {
            assert!(matches!(
                hash(&password, cheap()),
                Err(Error::InvalidValue { .. })
            ));
        }
    }

    #[test]
    fn generated_passwords_differ_and_are_long() {
        let (one, two) = (generate().unwrap(), generate().unwrap());
        assert_eq!(one.len(), 24);
        assert_ne!(*one, *two);
    }

    fn cheap() -> Params {
        Params::new(Params::MIN_M_COST, 1, 1, None).unwrap()
    }
}
