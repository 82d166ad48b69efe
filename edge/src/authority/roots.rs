//! The roots as a running edge holds them, and the commands that change them.

use std::fs;
use std::path::PathBuf;

use connector_proto::message::Trust;
use connector_proto::time::UnixSeconds;
use rcgen::{ExtendedKeyUsagePurpose, Issuer, KeyPair, PublicKeyData as _};

use super::certificate::{ca_certificate, leaf_params, sign};
use super::files::{read, read_p256, write_secret};
use super::{RequestKey, new_p256, sha256, spki_of_certificate};
use crate::Error;
use crate::config::DataDir;
use crate::store::Store;
use crate::store::audit::Entry;
use crate::store::roots::{Root, RootState, anchors};
use crate::text::hex;

/// Certificate and key of an edge of schema 1, which had one root for good.
const FIRST_CERTIFICATE: &str = "ca.der";
const FIRST_KEY: &str = "ca.key";

/// The roots at one moment: whoever proves one and issues by it uses the same value for both.
#[derive(Debug)]
pub struct Roots {
    ca: Vec<u8>,
    other_ca: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Roots {
    /// The CA that issues, DER.
    #[must_use]
    pub fn ca(&self) -> &[u8] {
        &self.ca
    }

    /// The other CA, DER: the next one or the one before. Empty if there is one.
    #[must_use]
    pub fn other_ca(&self) -> &[u8] {
        &self.other_ca
    }

    /// SHA-256 of [`Self::ca`], as the store names the issuer of a certificate.
    #[must_use]
    pub fn issuer(&self) -> [u8; 32] {
        sha256(&self.ca)
    }

    /// What a connector that trusts these roots answers.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let (ca, other_ca) = (self.ca(), self.other_ca());
        Trust { ca, other_ca }.digest()
    }

    /// Issues a connector's certificate. Only the public key is the request's; everything else is
    /// the edge's decision.
    ///
    /// # Errors
    /// [`Error::Crypto`].
    pub fn issue(
        &self,
        key: &RequestKey,
        connector_id: &[u8; 16],
        now: UnixSeconds,
        not_after: UnixSeconds,
    ) -> Result<Vec<u8>, Error> {
        let mut params = leaf_params(&hex(connector_id), now, not_after)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        sign(&params, &key.key, &self.issuer)
    }

    pub(super) const fn signer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Reads the key of the active root and checks that it is that root's.
    pub(super) fn load(data: &DataDir, roots: &[Root]) -> Result<Self, Error> {
        let Some(active) = roots.iter().find(|root| root.state == RootState::Active) else {
            let problem = "the store has no root; restore the data directory from a backup".into();
            return Err(Error::DataDir { problem });
        };
        let path = key_file(data, &active.certificate);
        let key = read_p256(&path)?;
        let held = Some(sha256(&key.subject_public_key_info()));
        if held != spki_of_certificate(&active.certificate) {
            return Err(Error::DataDir {
                problem: format!(
                    "{} is not the key of the CA certificate in the store; restore it from a backup",
                    path.display()
                ),
            });
        }
        let der = active.certificate.as_slice().into();
        let issuer = Issuer::from_ca_cert_der(&der, key);
        let Trust { ca, other_ca } = anchors(roots);
        Ok(Self {
            ca: ca.to_vec(),
            other_ca: other_ca.to_vec(),
            issuer: issuer.map_err(Error::crypto("the CA certificate"))?,
        })
    }

    pub(super) fn is_of(&self, roots: &[Root]) -> bool {
        let Trust { ca, other_ca } = anchors(roots);
        self.ca == ca && self.other_ca == other_ca
    }
}

/// Makes a root whose key is a file in `data`; its certificate.
pub(super) fn make(data: &DataDir, now: UnixSeconds) -> Result<Vec<u8>, Error> {
    let key = new_p256()?;
    let certificate = ca_certificate(&key, now)?;
    write_secret(&key_file(data, &certificate), key.serialized_der())?;
    Ok(certificate)
}

/// The root of an edge of schema 1 becomes the active one of the store. Done again after a stop in
/// the middle, it ends the same.
pub(super) fn adopt_first(data: &DataDir, store: &Store, now: UnixSeconds) -> Result<(), Error> {
    let (certificate, key) = (data.file(FIRST_CERTIFICATE), data.file(FIRST_KEY));
    if !certificate.exists() {
        return Ok(());
    }
    let der = read(&certificate)?;
    if store.roots()?.is_empty() {
        store.add_first_root(&der, Entry::new("root_adopted"), now)?;
    }
    let failed = || Error::io("moving the first root's key");
    if key.exists() {
        fs::rename(&key, key_file(data, &der)).map_err(failed())?;
    }
    fs::remove_file(&certificate).map_err(failed())
}

/// Makes the root that is to take the active one's place; its certificate.
///
/// # Errors
/// [`Error::Refused`] if there are two already; what the system says.
pub fn rotate(data: &DataDir, store: &Store, now: UnixSeconds) -> Result<Vec<u8>, Error> {
    let certificate = make(data, now)?;
    let added = store.add_next_root(&certificate, now);
    if added.is_err() {
        // Nothing names this key: it is no loss, and not there is tidier.
        let _ = fs::remove_file(key_file(data, &certificate));
    }
    added.map(|()| certificate)
}

/// Drops the root before and its key; the connectors that are lost by it.
///
/// # Errors
/// What [`Store::retire_root`] says; [`Error::Io`] if the key could not be removed, which then is
/// good for nothing but is to be removed by hand.
pub fn retire(
    data: &DataDir,
    store: &Store,
    force: bool,
    now: UnixSeconds,
) -> Result<Vec<String>, Error> {
    let (certificate, lost) = store.retire_root(force, now)?;
    let path = key_file(data, &certificate);
    let what = format!("the root is retired; removing its key {}", path.display());
    fs::remove_file(&path).map_err(Error::io(what))?;
    Ok(lost)
}

/// Where the key of a root is.
pub(crate) fn key_file(data: &DataDir, certificate: &[u8]) -> PathBuf {
    data.file(&format!("ca-{}.key", hex(&sha256(certificate)[..8])))
}
