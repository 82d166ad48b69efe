//! Users' passwords: argon2id at rest, and a short memory of those that were right.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use argon2::password_hash::{Output, PasswordHash, PasswordHasher as _, Salt, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use ring::{hmac, rand};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zeroize::{Zeroize as _, Zeroizing};

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
    /// Used with a permit of `hashing` only, so there are never more than [`HASHING_MAX`].
    buffers: Arc<Buffers>,
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
            buffers: Arc::default(),
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
        let buffers = Arc::clone(&self.buffers);
        let right = tokio::task::spawn_blocking(move || {
            // Dropped last: whoever gets the permit next finds the buffer given back.
            let _permit = permit;
            verify(&stored, &password, &buffers)
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

/// Memory to hash in, kept from one hash to the next. Allocated for every hash it would stay behind
/// in the allocator's arena of each blocking thread that ever hashed.
#[derive(Default)]
struct Buffers {
    /// Those not in use, of [`COST`]'s size and wiped.
    idle: Mutex<Vec<Vec<Block>>>,
    #[cfg(test)]
    allocated: std::sync::atomic::AtomicUsize,
}

impl Buffers {
    /// Lends `work` so many blocks, and wipes them afterwards. `None` if there is no memory for
    /// them.
    fn lend<T>(&self, blocks: usize, work: impl FnOnce(&mut [Block]) -> T) -> Option<T> {
        let kept = blocks <= COST.block_count();
        // A larger one is rare and goes again: no user added here has it.
        let idle = if kept { self.idle().pop() } else { None };
        let mut buffer = match idle {
            Some(buffer) => buffer,
            None => self.allocate(blocks.max(COST.block_count()))?,
        };
        let lent = &mut buffer[..blocks];
        let done = work(lent);
        lent.iter_mut().zeroize();
        if kept {
            self.idle().push(buffer);
        }
        Some(done)
    }

    fn allocate(&self, blocks: usize) -> Option<Vec<Block>> {
        // The number may come from a stored hash: too large a one is refused, not died of.
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(blocks).ok()?;
        buffer.resize(blocks, Block::new());
        #[cfg(test)]
        self.allocated
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Some(buffer)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Vec<Block>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the password is the one of the stored hash, whatever that one's parameters are.
fn verify(stored: &str, password: &str, buffers: &Buffers) -> bool {
    let Ok(stored) = PasswordHash::new(stored) else {
        return false;
    };
    let Some(expected) = stored.hash else {
        return false;
    };
    // Outputs are compared in constant time.
    computed(&stored, expected.len(), password, buffers).is_some_and(|output| output == expected)
}

/// What the password hashes to with a stored hash's algorithm, parameters and salt. The same as
/// `PasswordVerifier` computes, which cannot be given memory.
fn computed(
    stored: &PasswordHash<'_>,
    output_len: usize,
    password: &str,
    buffers: &Buffers,
) -> Option<Output> {
    let algorithm = Algorithm::try_from(stored.algorithm).ok()?;
    let version = stored.version.map(Version::try_from).transpose().ok()?;
    let params = Params::try_from(stored).ok()?;
    let mut salt = [0; Salt::MAX_LENGTH];
    let salt = stored.salt?.decode_b64(&mut salt).ok()?;
    let blocks = params.block_count();
    let argon = Argon2::new(algorithm, version.unwrap_or_default(), params);
    let output = buffers.lend(blocks, |memory| {
        Output::init_with(output_len, |output| {
            argon.hash_password_into_with_memory(password.as_bytes(), salt, output, memory)?;
            Ok(())
        })
    })?;
    output.ok()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::store::tests::{NOW, audit_key};
    use crate::store::users::NewUser;

    #[test]
    fn a_password_fits_its_hash_and_no_other() {
        let hash = hash("correct horse", cheap()).unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        let buffers = Buffers::default();
        assert!(verify(&hash, "correct horse", &buffers));
        assert!(!verify(&hash, "correct horsf", &buffers));
        assert!(!verify("not a hash", "correct horse", &buffers));
    }

    #[test]
    fn hashes_of_any_parameters_verify_in_the_same_memory() {
        let buffers = Buffers::default();
        let larger = Params::new(COST.m_cost() + 100, 1, 3, None).unwrap();
        let longer = Params::new(1027, 3, 4, Some(64)).unwrap();
        for cost in [COST, cheap(), longer, larger, COST] {
            let hash = hash("correct horse", cost).unwrap();
            assert!(verify(&hash, "correct horse", &buffers), "{hash}");
            assert!(!verify(&hash, "correct horsf", &buffers), "{hash}");
        }
        let wiped = |buffer: &Vec<Block>| buffer.iter().all(|block| block.as_ref() == [0; 128]);
        assert!(buffers.idle().iter().all(wiped));
        // One that is kept, and one for each check of the larger hash.
        assert_eq!(buffers.idle().len(), 1);
        assert_eq!(buffers.allocated.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn hashes_made_elsewhere_verify() {
        // From the tests of the reference implementation, github.com/P-H-C/phc-winner-argon2.
        for stored in [
            "$argon2i$v=16$m=256,t=2,p=2$c29tZXNhbHQ$tsEVYKap1h6scGt5ovl9aLRGOqOth+AMB+KwHpDFZPs",
            "$argon2i$v=19$m=256,t=2,p=2$c29tZXNhbHQ$T/XOJ2mh1/TIpJHfCdQan76Q5esCFVoT5MAeIM1Oq2E",
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
        ] {
            let buffers = Buffers::default();
            assert!(verify(stored, "password", &buffers), "{stored}");
            assert!(!verify(stored, "passwore", &buffers), "{stored}");
        }
    }

    #[test]
    fn hashes_that_cannot_be_computed_fit_no_password() {
        let buffers = Buffers::default();
        let good = hash("correct horse", cheap()).unwrap();
        assert!(good.contains("$argon2id$v=19$m=8,t=1,p=1$"), "{good}");
        for (from, to) in [
            ("argon2id", "scrypt"),
            ("v=19", "v=18"),
            ("m=8", "m=7"),
            ("t=1", "t=0"),
            ("p=1", "p=2"),
            ("p=1", "p=1,x=1"),
        ] {
            let bad = good.replace(from, to);
            assert!(!verify(&bad, "correct horse", &buffers), "{bad}");
        }
        assert!(buffers.allocate(usize::MAX).is_none());
        let (unfinished, _) = good.rsplit_once('$').unwrap();
        assert!(!verify(unfinished, "correct horse", &buffers));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_crowd_of_guesses_is_hashed_in_a_few_buffers() {
        let store = Store::in_memory(audit_key()).unwrap();
        let user = NewUser {
            name: "ann",
            password_hash: hash("correct horse", cheap()).unwrap(),
            applications: &[],
        };
        store.add_user(&user, NOW).unwrap();
        let passwords = Arc::new(Passwords::new(Arc::new(store)).unwrap());
        let mut checks = tokio::task::JoinSet::new();
        for guess in 0..100 {
            let passwords = Arc::clone(&passwords);
            let guess = Zeroizing::new(format!("guess {guess}"));
            checks.spawn(async move { passwords.is_right("ann", guess).await.unwrap() });
        }
        assert!(checks.join_all().await.iter().all(|right| !right));
        let allocated = passwords.buffers.allocated.load(Ordering::Relaxed);
        assert!((1..=HASHING_MAX).contains(&allocated), "{allocated}");
        assert_eq!(passwords.buffers.idle().len(), allocated);
        let right = Zeroizing::new("correct horse".to_owned());
        assert!(passwords.is_right("ann", right).await.unwrap());
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
