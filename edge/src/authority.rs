//! The keys of an edge: its CA, its TLS key, the key that signs grants and the one that signs the
//! audit log. Four keys, so that none can be made to speak for another.
//!
//! They are files of mode 0600 in a directory of mode 0700.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use connector_proto::limits::DER_MAX;
use connector_proto::time::UnixSeconds;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber,
    SubjectPublicKeyInfo,
};
use ring::digest;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;
use zeroize::Zeroizing;

use crate::config::DataDir;
use crate::store::Store;
use crate::store::audit::Entry;
use crate::text::{hex, normal_host};
use crate::{Error, clock};

/// Life of a connector's certificate. There is no renewal yet, so a machine that is switched off
/// over a weekend must still get in; 24 h once it can renew.
pub const CONNECTOR_CERTIFICATE_LIFE: Duration = Duration::from_secs(7 * 86_400);

/// Certificates start this long ago: a connector's clock may be behind.
const BACKDATED: Duration = Duration::from_secs(86_400);
/// The CA is pinned by every connector, so it outlives them.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Life of the edge's own certificate, which it makes anew by itself.
const LEAF_LIFE: Duration = Duration::from_secs(30 * 86_400);
/// What is left of it when it is made anew.
const LEAF_RENEWED_AT: Duration = Duration::from_secs(10 * 86_400);

const CA_CERTIFICATE: &str = "ca.der";
const CA_KEY: &str = "ca.key";
const LEAF_CERTIFICATE: &str = "edge.der";
const LEAF_KEY: &str = "edge.key";
const GRANT_KEY: &str = "grant.key";
const AUDIT_KEY: &str = "audit.key";

/// Setting of the store that holds the edge's names, one per line.
const NAMES: &str = "names";
/// Names of one edge; more would not be an edge but a proxy for others.
const NAMES_MAX: usize = 16;

/// Issues certificates and signs grants.
#[derive(Debug)]
pub struct Authority {
    ca: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
    grant_key: Ed25519KeyPair,
}

/// A public key out of a request whose signature holds.
#[derive(Debug)]
pub struct RequestKey {
    key: SubjectPublicKeyInfo,
    /// SHA-256 of the subject public key info.
    pub spki: [u8; 32],
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
        if data.store().exists() || data.file(CA_KEY).exists() {
            let problem = format!(
                "{} holds an edge already; choose another --data directory",
                data.path().display()
            );
            return Err(Error::DataDir { problem });
        }
        make_directory(data.path())?;
        let ca_key = new_p256()?;
        let ca = ca_certificate(&ca_key, clock::unix_now())?;
        write_secret(&data.file(CA_KEY), ca_key.serialized_der())?;
        write_secret(&data.file(CA_CERTIFICATE), &ca)?;
        write_secret(&data.file(LEAF_KEY), new_p256()?.serialized_der())?;
        write_secret(&data.file(GRANT_KEY), &*new_seed()?)?;
        write_secret(&data.file(AUDIT_KEY), &*new_seed()?)?;
        write_secret(&data.store(), &[])?;
        let store = open_store(data)?;
        store.set_setting(NAMES, &names.join("\n"))?;
        let now = clock::unix_now();
        let entry = Entry::new("edge_created").with("names", names.to_vec());
        store.audit(now, entry.with("ca", hex(&sha256(&ca))))?;
        Ok(store)
    }

    /// Reads the keys in `data`.
    ///
    /// # Errors
    /// [`Error::DataDir`] if there is no edge; [`Error::Io`], [`Error::Crypto`].
    pub fn open(data: &DataDir) -> Result<Self, Error> {
        require_edge(data)?;
        let ca = read(&data.file(CA_CERTIFICATE))?.to_vec();
        let issuer = Issuer::from_ca_cert_der(&ca.as_slice().into(), read_p256(data, CA_KEY)?)
            .map_err(Error::crypto("the CA certificate"))?;
        Ok(Self {
            ca,
            issuer,
            grant_key: read_ed25519(data, GRANT_KEY)?,
        })
    }

    /// The CA certificate, DER.
    #[must_use]
    pub fn ca(&self) -> &[u8] {
        &self.ca
    }

    /// The key that signs grants.
    #[must_use]
    pub const fn grant_key(&self) -> &Ed25519KeyPair {
        &self.grant_key
    }

    /// Its public half.
    #[must_use]
    pub fn grant_public_key(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.grant_key.public_key().as_ref());
        bytes
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

    /// The edge's TLS certificate for its names, made anew when a third of its life is left.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Crypto`], [`Error::Store`].
    pub fn leaf(&self, data: &DataDir, store: &Store, now: UnixSeconds) -> Result<Leaf, Error> {
        let key = read_p256(data, LEAF_KEY)?;
        let path = data.file(LEAF_CERTIFICATE);
        let private = Zeroizing::new(key.serialized_der().to_vec());
        if let Ok(certificate) = fs::read(&path)
            && holds_for(&certificate, now) > LEAF_RENEWED_AT
        {
            return Ok(Leaf {
                certificate,
                key: private,
            });
        }
        let names = store.setting(NAMES)?.unwrap_or_default();
        let names: Vec<String> = names.lines().map(str::to_owned).collect();
        let not_after = UnixSeconds(now.0 + LEAF_LIFE.as_secs());
        let name = names.first().map_or("edge", String::as_str);
        let mut params = leaf_params(name, now, not_after)?;
        params.subject_alt_names = CertificateParams::new(names)
            .map_err(Error::crypto("the edge's names"))?
            .subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = sign(&params, &key, &self.issuer)?;
        replace(&path, &certificate)?;
        Ok(Leaf {
            certificate,
            key: private,
        })
    }
}

impl RequestKey {
    /// Takes the public key out of a PKCS#10 request (RFC 2986) and checks that its holder signed
    /// it. Subject, attributes and extensions are not looked at.
    ///
    /// # Errors
    /// [`Error::Crypto`].
    pub fn of_request(der: &[u8]) -> Result<Self, Error> {
        let invalid = |cause: String| Error::Crypto {
            what: "the signing request",
            cause,
        };
        if der.len() > DER_MAX {
            return Err(invalid(format!(
                "{} bytes, allowed are {DER_MAX}",
                der.len()
            )));
        }
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|error| invalid(error.to_string()))?;
        if !rest.is_empty() {
            return Err(invalid(format!("{} bytes too many", rest.len())));
        }
        let public_key = &request.certification_request_info.subject_pki;
        let key = SubjectPublicKeyInfo::from_der(public_key.raw)
            .map_err(|error| invalid(error.to_string()))?;
        if key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(invalid("the key is not of type ECDSA P-256".into()));
        }
        request
            .verify_signature()
            .map_err(|error| invalid(error.to_string()))?;
        let spki = sha256(&key.subject_public_key_info());
        Ok(Self { key, spki })
    }
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
    Store::open(&data.store(), read_ed25519(data, AUDIT_KEY)?)
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

fn ca_certificate(key: &KeyPair, now: UnixSeconds) -> Result<Vec<u8>, Error> {
    let short_id = &hex(&random::<4>()?);
    let not_after = UnixSeconds(now.0 + CA_LIFE.as_secs());
    let mut params = leaf_params(&format!("outgate edge CA {short_id}"), now, not_after)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = false;
    let certificate = params
        .self_signed(key)
        .map_err(Error::crypto("the CA certificate"))?;
    Ok(certificate.der().to_vec())
}

/// What every certificate has: a random serial number, a backdated start, one common name.
fn leaf_params(
    common_name: &str,
    now: UnixSeconds,
    not_after: UnixSeconds,
) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    let mut serial = random::<16>()?;
    // A serial number is positive, and its first byte is not zero (RFC 5280 section 4.1.2.2).
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.not_before = asn1(UnixSeconds(now.0.saturating_sub(BACKDATED.as_secs())))?.to_datetime();
    params.not_after = asn1(not_after)?.to_datetime();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn sign(
    params: &CertificateParams,
    key: &impl PublicKeyData,
    issuer: &Issuer<'static, KeyPair>,
) -> Result<Vec<u8>, Error> {
    let certificate = params
        .signed_by(key, issuer)
        .map_err(Error::crypto("a certificate"))?;
    Ok(certificate.der().to_vec())
}

fn asn1(time: UnixSeconds) -> Result<ASN1Time, Error> {
    let seconds = i64::try_from(time.0).map_err(Error::crypto("a certificate's time"))?;
    ASN1Time::from_timestamp(seconds).map_err(Error::crypto("a certificate's time"))
}

/// How long a certificate still holds; nothing if it does not parse.
fn holds_for(certificate: &[u8], now: UnixSeconds) -> Duration {
    let not_after = X509Certificate::from_der(certificate).map_or(0, |(_, certificate)| {
        certificate.validity().not_after.timestamp()
    });
    let not_after = u64::try_from(not_after).unwrap_or(0);
    Duration::from_secs(not_after.saturating_sub(now.0))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
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

fn read_p256(data: &DataDir, name: &str) -> Result<KeyPair, Error> {
    let der = read(&data.file(name))?;
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(der.as_slice());
    KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
        .map_err(Error::crypto("a key file"))
}

fn read_ed25519(data: &DataDir, name: &str) -> Result<Ed25519KeyPair, Error> {
    let seed = read(&data.file(name))?;
    Ed25519KeyPair::from_seed_unchecked(&seed).map_err(Error::crypto("a key file"))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let bytes = fs::read(path).map_err(Error::io(format!("reading {}", path.display())))?;
    Ok(Zeroizing::new(bytes))
}

fn make_directory(path: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(Error::io(format!("making {}", path.display())))?;
    let private = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o700);
    fs::set_permissions(path, private)
        .map_err(Error::io(format!("closing {} to others", path.display())))
}

/// Makes a file that only its owner reads and that was not there before.
fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), Error> {
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
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let beside = path.with_extension("new");
    // Left over from a stop in the middle of this very function.
    let _ = fs::remove_file(&beside);
    write_secret(&beside, bytes)?;
    fs::rename(&beside, path).map_err(Error::io(format!("replacing {}", path.display())))
}
