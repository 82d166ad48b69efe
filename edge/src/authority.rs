//! The keys of an edge: its roots, its TLS key, the key that signs grants and the one that signs the
//! audit log. Separate keys, so that none can be made to speak for another.
//!
//! They are files of mode 0600 in a directory of mode 0700. The roots' certificates are in the
//! store ([`crate::store::roots`]), so that what is decided about them is one transaction.

use std::fs;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use connector_proto::time::UnixSeconds;
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _,
};
use ring::digest;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use crate::config::DataDir;
use crate::store::Store;
use crate::store::audit::Entry;
use crate::text::{hex, normal_host};
use crate::{Error, clock};

mod certificate;
mod files;
mod request;
mod roots;

pub use request::{RequestKey, fuzz_request};
pub use roots::{Roots, retire, rotate};

pub(crate) use certificate::not_after;
pub(crate) use files::{make_directory, read, write_secret};
pub(crate) use roots::key_file;

use certificate::{holds_for, is_signed_by, leaf_params, sign};
use files::{read_ed25519, read_p256, replace};

/// Life of the edge's own certificate, which it makes anew by itself.
const LEAF_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// What is left of it when it is made anew.
const LEAF_RENEWED_AT: Duration = Duration::from_secs(10 * 86_400);

const LEAF_CERTIFICATE: &str = "edge.der";
const LEAF_KEY: &str = "edge.key";
const GRANT_KEY: &str = "grant.key";
const AUDIT_KEY: &str = "audit.key";

/// The key files that do not depend on the roots. The edge's certificate is made anew where it is
/// missing.
pub(crate) const KEY_FILES: [&str; 3] = [LEAF_KEY, GRANT_KEY, AUDIT_KEY];

/// Setting of the store that holds the edge's names, one per line.
const NAMES: &str = "names";
/// Names of one edge; more would not be an edge but a proxy for others.
const NAMES_MAX: usize = 16;

/// Issues certificates and signs grants.
#[derive(Debug)]
pub struct Authority {
    roots: RwLock<Arc<Roots>>,
    grant_key: Ed25519KeyPair,
}

/// The edge's own certificate and key, DER.
#[derive(Debug)]
pub struct Leaf {
    /// Certificate.
    pub certificate: Vec<u8>,
    /// PKCS#8 key.
    pub key: Zeroizing<Vec<u8>>,
}

impl Authority {
    /// Makes a new edge in `data`: directory, keys, CA, store.
    ///
    /// # Errors
    /// [`Error::DataDir`] if there is one already; [`Error::InvalidValue`] for a name; what the
    /// system says.
    pub fn create(data: &DataDir, names: &[String]) -> Result<Store, Error> {
        check_names(names)?;
        if data.store().exists() || data.file(AUDIT_KEY).exists() {
            let problem = format!(
                "{} holds an edge already; choose another --data directory",
                data.path().display()
            );
            return Err(Error::DataDir { problem });
        }
        make_directory(data.path())?;
        let now = clock::unix_now();
        write_secret(&data.file(AUDIT_KEY), &*new_seed()?)?;
        write_secret(&data.file(GRANT_KEY), &*new_seed()?)?;
        write_secret(&data.file(LEAF_KEY), new_p256()?.serialized_der())?;
        let ca = roots::make(data, now)?;
        write_secret(&data.store(), &[])?;
        let store = open_store(data)?;
        store.set_setting(NAMES, &names.join("\n"))?;
        let entry = Entry::new("edge_created").with("names", names.to_vec());
        store.add_first_root(&ca, entry, now)?;
        Ok(store)
    }

    /// Reads the keys in `data`, whose store is `store`.
    ///
    /// # Errors
    /// [`Error::DataDir`] if a key is not the one that this edge was made with; [`Error::Io`],
    /// [`Error::Crypto`], [`Error::Store`].
    pub fn open(data: &DataDir, store: &Store) -> Result<Self, Error> {
        roots::adopt_first(data, store, clock::unix_now())?;
        let grant_key = read_ed25519(&data.file(GRANT_KEY))?;
        check_pin(store, GRANT_KEY, &public_half(&grant_key))?;
        let roots = Roots::load(data, &store.roots()?)?;
        Ok(Self {
            roots: RwLock::new(Arc::new(roots)),
            grant_key,
        })
    }

    /// The roots now.
    #[must_use]
    pub fn roots(&self) -> Arc<Roots> {
        Arc::clone(&self.roots.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what a command has done to the roots; whether it did anything.
    ///
    /// # Errors
    /// [`Error::Store`]; what [`Self::open`] says of a root's key. The roots then stay as they are.
    pub fn refresh(&self, data: &DataDir, store: &Store) -> Result<bool, Error> {
        let stored = store.roots()?;
        if self.roots().is_of(&stored) {
            return Ok(false);
        }
        let roots = Arc::new(Roots::load(data, &stored)?);
        *self.roots.write().unwrap_or_else(PoisonError::into_inner) = roots;
        Ok(true)
    }

    /// The key that signs grants.
    #[must_use]
    pub const fn grant_key(&self) -> &Ed25519KeyPair {
        &self.grant_key
    }

    /// Its public half.
    #[must_use]
    pub fn grant_public_key(&self) -> [u8; 32] {
        public_half(&self.grant_key)
    }

    /// The edge's TLS certificate for its names, made anew when a third of its life is left or
    /// another root issues.
    ///
    /// # Errors
    /// [`Error::DataDir`] if the key is a root's; [`Error::Io`], [`Error::Crypto`],
    /// [`Error::Store`].
    pub fn leaf(&self, data: &DataDir, store: &Store, now: UnixSeconds) -> Result<Leaf, Error> {
        let (roots, key) = (self.roots(), read_p256(&data.file(LEAF_KEY))?);
        let spki = Some(sha256(&key.subject_public_key_info()));
        if [roots.ca(), roots.other_ca()]
            .map(spki_of_certificate)
            .contains(&spki)
        {
            let problem = format!("{LEAF_KEY} is the key of a CA; restore it from a backup");
            return Err(Error::DataDir { problem });
        }
        let path = data.file(LEAF_CERTIFICATE);
        let private = Zeroizing::new(key.serialized_der().to_vec());
        if let Ok(certificate) = fs::read(&path)
            && holds_for(&certificate, now) > LEAF_RENEWED_AT
            && is_signed_by(&certificate, roots.ca())
            && spki_of_certificate(&certificate) == spki
        {
            return Ok(Leaf {
                certificate,
                key: private,
            });
        }
        let certificate = new_leaf(&roots, &key, store, now)?;
        replace(&path, &certificate)?;
        Ok(Leaf {
            certificate,
            key: private,
        })
    }
}

fn new_leaf(
    roots: &Roots,
    key: &KeyPair,
    store: &Store,
    now: UnixSeconds,
) -> Result<Vec<u8>, Error> {
    let names = store.setting(NAMES)?.unwrap_or_default();
    let names: Vec<String> = names.lines().map(str::to_owned).collect();
    let not_after = UnixSeconds(now.0 + LEAF_LIFE.as_secs());
    let name = names.first().map_or("edge", String::as_str);
    let mut params = leaf_params(name, now, not_after)?;
    params.subject_alt_names = CertificateParams::new(names)
        .map_err(Error::crypto("the edge's names"))?
        .subject_alt_names;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    sign(&params, key, roots.signer())
}

/// SHA-256 of the subject public key info of a certificate; `None` if it does not parse.
pub(crate) fn spki_of_certificate(der: &[u8]) -> Option<[u8; 32]> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(sha256(certificate.public_key().raw))
}

/// Opens the store of an edge that exists.
///
/// # Errors
/// [`Error::DataDir`] if there is no edge; [`Error::Io`], [`Error::Crypto`], [`Error::Store`].
pub fn open_store(data: &DataDir) -> Result<Store, Error> {
    require_edge(data)?;
    let audit_key = read_ed25519(&data.file(AUDIT_KEY))?;
    let public = public_half(&audit_key);
    let store = Store::open(&data.store(), audit_key)?;
    check_pin(&store, AUDIT_KEY, &public)?;
    Ok(store)
}

/// A key file in another's place is refused: the store remembers which public key each had when it
/// was first used.
fn check_pin(store: &Store, file: &str, public: &[u8; 32]) -> Result<(), Error> {
    let public = hex(public);
    match store.setting(file)? {
        Some(pinned) if pinned == public => Ok(()),
        Some(_) => Err(Error::DataDir {
            problem: format!("{file} is another key than this edge's; restore it from a backup"),
        }),
        None => store.set_setting(file, &public),
    }
}

fn public_half(key: &Ed25519KeyPair) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(key.public_key().as_ref());
    bytes
}

fn require_edge(data: &DataDir) -> Result<(), Error> {
    if data.store().exists() {
        return Ok(());
    }
    let path = data.path().display();
    let problem =
        format!("there is no edge in {path}; make one with `edge --data {path} init --name NAME`");
    Err(Error::DataDir { problem })
}

fn check_names(names: &[String]) -> Result<(), Error> {
    let problem = |value: &str, allowed: &str| {
        let (value, allowed) = (value.to_owned(), allowed.to_owned());
        Err(Error::InvalidValue {
            what: "name",
            value,
            allowed,
        })
    };
    if names.is_empty() || names.len() > NAMES_MAX {
        let value = format!("{} names", names.len());
        return problem(&value, &format!("1 to {NAMES_MAX} names"));
    }
    let is_normal = |name: &String| normal_host(name).is_ok_and(|normal| normal == *name);
    match names.iter().find(|name| !is_normal(name)) {
        Some(name) => problem(
            name,
            "a host name or address in lower case, without brackets",
        ),
        None => Ok(()),
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

fn new_p256() -> Result<KeyPair, Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(Error::crypto("a new key"))
}

fn new_seed() -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(Error::crypto("a new key"))?;
    Ok(seed)
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Error::crypto("random bytes"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
