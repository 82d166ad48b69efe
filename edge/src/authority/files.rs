//! Key files: mode 0600, written whole or not at all, wiped from memory.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use ring::signature::Ed25519KeyPair;
use zeroize::Zeroizing;

use crate::Error;

/// A PKCS#8 file.
pub(super) fn read_p256(path: &Path) -> Result<KeyPair, Error> {
    let der = read(path)?;
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(der.as_slice());
    KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
        .map_err(Error::crypto("a key file"))
}

/// A file of 32 bytes of seed.
pub(super) fn read_ed25519(path: &Path) -> Result<Ed25519KeyPair, Error> {
    let seed = read(path)?;
    Ed25519KeyPair::from_seed_unchecked(&seed).map_err(Error::crypto("a key file"))
}

/// A whole file.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let bytes = fs::read(path).map_err(Error::io(format!("reading {}", path.display())))?;
    Ok(Zeroizing::new(bytes))
}

/// A directory that only its owner enters.
pub(crate) fn make_directory(path: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(Error::io(format!("making {}", path.display())))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
        .map_err(Error::io(format!("closing {} to others", path.display())))
}

/// Makes a file that only its owner reads and that was not there before.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = || Error::io(format!("writing {}", path.display()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(failed())?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(failed())
}

/// Puts new content in the place of a file, whole or not at all.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let beside = path.with_extension("new");
    // Left over from a stop in the middle of this very function.
    let _ = fs::remove_file(&beside);
    write_secret(&beside, bytes)?;
    fs::rename(&beside, path).map_err(Error::io(format!("replacing {}", path.display())))
}
