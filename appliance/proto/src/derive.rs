//! What both sides derive from a provisioning key, and the two proofs made with it.
//!
//! ```text
//! seed (14 bytes) --HKDF-SHA256, salt "outgate provisioning key v1"-->
//!     info "lookup id"          16 bytes   KeyId
//!     info "enrol signing key"  32 bytes   Ed25519 seed of EnrolSigner
//!     info "edge proof key"     32 bytes   HMAC-SHA256 key of EdgeProofKey
//! ```
//! The edge keeps the id, the Ed25519 *public* key and the proof key, not the seed: a stolen
//! database can pose as the edge for keys that are still open, and enrols nobody.
//!
//! What is ours is wiped when it is dropped. ring's own values (the HKDF state in [`EnrolSecrets::derive`],
//! the Ed25519 key pair, the HMAC key of one proof) cannot be: they are short-lived, none of them holds
//! the seed, and a process's memory is readable by nobody but the hypervisor.

use core::fmt;

use ring::signature::KeyPair as _;
use ring::{digest, hkdf, hmac, signature};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::key::ProvisioningKey;
use crate::time::UnixSeconds;

/// TLS exporter value of the connection, see [`crate::message::EXPORTER_LABEL`].
pub type Exporter = [u8; 32];

/// An exporter that is kept: wiped when dropped, not shown by `Debug`.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(crate) struct HeldExporter(pub(crate) Exporter);

impl fmt::Debug for HeldExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HeldExporter(..)")
    }
}

const SALT: &[u8] = b"outgate provisioning key v1";
const EDGE_CONTEXT: &[u8] = b"outgate edge v1";
const ENROL_CONTEXT: &[u8] = b"outgate enrol v1";

/// Everything derived from a key, as the connector holds it while it enrols.
pub struct EnrolSecrets {
    /// The key's lookup id.
    pub id: [u8; 16],
    /// Signs the enrolment request.
    pub signer: EnrolSigner,
    /// Checks the edge's proof.
    pub edge_proof: EdgeProofKey,
}

impl EnrolSecrets {
    /// Derives all parts.
    #[must_use]
    pub fn derive(key: &ProvisioningKey) -> Self {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(key.data());
        let mut id = [0; 16];
        expand(&prk, b"lookup id", &mut id);
        let mut seed = [0; 32];
        expand(&prk, b"enrol signing key", &mut seed);
        let signer = EnrolSigner::from_seed(&seed);
        seed.zeroize();
        let mut edge_proof = EdgeProofKey { bytes: [0; 32] };
        expand(&prk, b"edge proof key", &mut edge_proof.bytes);
        Self {
            id,
            signer,
            edge_proof,
        }
    }
}

impl fmt::Debug for EnrolSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolSecrets(..)")
    }
}

/// Length of a derived value, for ring's HKDF.
struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(prk: &hkdf::Prk, info: &[u8], out: &mut [u8]) {
    // Both calls fail only above 255 * 32 bytes; the outputs are 16 and 32 bytes.
    let filled = prk
        .expand(&[info], Len(out.len()))
        .and_then(|okm| okm.fill(out));
    assert!(
        filled.is_ok(),
        "HKDF output of 16 or 32 bytes is always possible"
    );
}

/// Signs an enrolment request: proof that the connector was given the key.
pub struct EnrolSigner {
    pair: signature::Ed25519KeyPair,
}

impl EnrolSigner {
    fn from_seed(seed: &[u8; 32]) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "ring rejects only seeds of another length"
        )]
        let pair =
            signature::Ed25519KeyPair::from_seed_unchecked(seed).expect("a 32-byte seed is valid");
        Self { pair }
    }

    /// The public key that the edge keeps.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        bytes
    }

    /// Signs the request for one TLS connection.
    #[must_use]
    pub fn sign(&self, exporter: &Exporter, csr: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(&enrol_statement(exporter, csr)).as_ref());
        bytes
    }
}

impl fmt::Debug for EnrolSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolSigner(..)")
    }
}

/// Whether `signature` over the request is by the holder of the key with this public key.
#[must_use]
pub fn request_is_signed(
    public_key: &[u8; 32],
    exporter: &Exporter,
    csr: &[u8],
    signature: &[u8; 64],
) -> bool {
    signature::UnparsedPublicKey::new(&signature::ED25519, public_key)
        .verify(&enrol_statement(exporter, csr), signature)
        .is_ok()
}

/// `"outgate enrol v1" | exporter | SHA-256(csr)`.
fn enrol_statement(exporter: &Exporter, csr: &[u8]) -> [u8; ENROL_CONTEXT.len() + 64] {
    let mut statement = [0; ENROL_CONTEXT.len() + 64];
    let (context, rest) = statement.split_at_mut(ENROL_CONTEXT.len());
    context.copy_from_slice(ENROL_CONTEXT);
    rest[..32].copy_from_slice(exporter);
    rest[32..].copy_from_slice(digest::digest(&digest::SHA256, csr).as_ref());
    statement
}

/// The key with which an edge proves itself to a connector that holds the provisioning key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct EdgeProofKey {
    bytes: [u8; 32],
}

impl EdgeProofKey {
    /// The key as the edge's database keeps it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { bytes }
    }

    /// The bytes for the edge's database.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// HMAC-SHA256 over `"outgate edge v1" | exporter | SHA-256(ca) | time (u64, big-endian)`.
    #[must_use]
    pub fn proof(&self, exporter: &Exporter, ca: &[u8], time: UnixSeconds) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes
            .copy_from_slice(hmac::sign(&self.key(), &edge_statement(exporter, ca, time)).as_ref());
        bytes
    }

    /// Whether `mac` is the proof; compared in constant time.
    #[must_use]
    pub fn holds(&self, exporter: &Exporter, ca: &[u8], time: UnixSeconds, mac: &[u8; 32]) -> bool {
        hmac::verify(&self.key(), &edge_statement(exporter, ca, time), mac).is_ok()
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.bytes)
    }
}

impl fmt::Debug for EdgeProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EdgeProofKey(..)")
    }
}

fn edge_statement(
    exporter: &Exporter,
    ca: &[u8],
    time: UnixSeconds,
) -> [u8; EDGE_CONTEXT.len() + 72] {
    let mut statement = [0; EDGE_CONTEXT.len() + 72];
    let (context, rest) = statement.split_at_mut(EDGE_CONTEXT.len());
    context.copy_from_slice(EDGE_CONTEXT);
    rest[..32].copy_from_slice(exporter);
    rest[32..64].copy_from_slice(digest::digest(&digest::SHA256, ca).as_ref());
    rest[64..].copy_from_slice(&time.0.to_be_bytes());
    statement
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "brdtc-eufvc-gchbi-idjeg-kflgf-nhrif-tjuke";
    const EXPORTER: Exporter = [7; 32];

    #[test]
    fn derivations_are_those_of_the_protocol_document() {
        let secrets = EnrolSecrets::derive(&ProvisioningKey::parse(TEXT).unwrap());
        assert_eq!(hex(&secrets.id), "bbfa6a4b5f0fc57eac12bfd4a3190b43");
        assert_eq!(
            hex(&secrets.signer.public_key()),
            "7824577c37055104d57b5d1e99008bd5ff04442378daec0ba05e5092f3593375"
        );
        assert_eq!(
            hex(secrets.edge_proof.as_bytes()),
            "1bfa352052a6255d9a5595cbe6175f119870393bc348f1dc8b17914e55c87ea6"
        );
    }

    #[test]
    fn a_request_signed_for_one_connection_is_not_valid_on_another() {
        let secrets = EnrolSecrets::derive(&ProvisioningKey::parse(TEXT).unwrap());
        let signature = secrets.signer.sign(&EXPORTER, b"csr");
        let public = secrets.signer.public_key();
        assert!(request_is_signed(&public, &EXPORTER, b"csr", &signature));
        assert!(!request_is_signed(&public, &[8; 32], b"csr", &signature));
        assert!(!request_is_signed(
            &public, &EXPORTER, b"another", &signature
        ));
    }

    #[test]
    fn an_edges_proof_binds_connection_ca_and_time() {
        let key = EnrolSecrets::derive(&ProvisioningKey::parse(TEXT).unwrap()).edge_proof;
        let time = UnixSeconds(1_700_000_000);
        let mac = key.proof(&EXPORTER, b"ca", time);
        assert!(key.holds(&EXPORTER, b"ca", time, &mac));
        assert!(!key.holds(&[8; 32], b"ca", time, &mac));
        assert!(!key.holds(&EXPORTER, b"mitm", time, &mac));
        assert!(!key.holds(&EXPORTER, b"ca", UnixSeconds(time.0 + 1), &mac));
        let other = EnrolSecrets::derive(&ProvisioningKey::from_random([9; 14])).edge_proof;
        assert!(!other.holds(&EXPORTER, b"ca", time, &mac));
    }

    fn hex(bytes: &[u8]) -> alloc::string::String {
        bytes
            .iter()
            .map(|byte| alloc::format!("{byte:02x}"))
            .collect()
    }
}
