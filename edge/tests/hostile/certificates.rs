//! Certificates, true and false ones.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use connector_proto::message::ALPN_RENEW;
use connector_proto::renew::{Connector as Renewing, ConnectorEvent as RenewEvent};
use connector_proto::time::UnixSeconds;
use edge::authority::{Authority, RequestKey, open_store};
use edge::config::DataDir;
use edge::store::keys::KeyOrder;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::shared::harness::tls::connect;
use crate::shared::harness::{Identity, Machine, TestEdge, Tls, clock, enrol, now, soon, until};

/// A chain, the leaf first, and the key that is used with it, all DER.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub chain: Vec<Vec<u8>>,
    pub key: Vec<u8>,
}

impl Credentials {
    pub fn of(identity: &Identity) -> Self {
        Self {
            chain: vec![identity.enrolment.certificate.clone()],
            key: identity.machine.key.serialized_der().to_vec(),
        }
    }

    /// A connection with them, whether they belong together or not. `ca`: the only issuer trusted.
    pub async fn dial(&self, edge: SocketAddr, alpn: &[u8], ca: &[u8]) -> io::Result<Tls> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(ca.to_vec())).unwrap();
        let key = any_ecdsa_type(&PrivatePkcs8KeyDer::from(self.key.clone()).into()).unwrap();
        let chain = self.chain.iter().cloned().map(CertificateDer::from);
        let certified = CertifiedKey::new(chain.collect(), key);
        let config = ClientConfig::builder_with_provider(default_provider().into())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        connect(edge, alpn, config).await
    }

    /// A leaf with the key that it is for.
    pub fn new(leaf: Vec<u8>, key: &KeyPair) -> Self {
        Self {
            chain: vec![leaf],
            key: key.serialize_der(),
        }
    }
}

/// What a certificate of this edge's says, but for what the caller wants otherwise.
pub fn params(name: &str, purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let name_of = &mut params.distinguished_name;
    name_of.push(rcgen::DnType::CommonName, name);
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    params
}

/// What certificates of a connector are made out to.
pub fn subject(identity: &Identity) -> String {
    let id = identity.enrolment.connector_id;
    id.map(|byte| format!("{byte:02x}")).concat()
}

/// The CA of the edge, with its key or another.
pub fn ca(identity: &Identity, key: KeyPair) -> Issuer<'static, KeyPair> {
    Issuer::from_ca_cert_der(&identity.enrolment.ca.as_slice().into(), key).unwrap()
}

/// The key of the only CA.
pub fn ca_key(edge: &TestEdge) -> KeyPair {
    let names = std::fs::read_dir(&edge.dir).unwrap();
    let mut paths = names.map(|entry| entry.unwrap().path());
    let is_ca_key = |path: &PathBuf| path.to_string_lossy().contains("/ca-");
    let key = std::fs::read(paths.find(is_ca_key).unwrap()).unwrap();
    KeyPair::try_from(key.as_slice()).unwrap()
}

/// A connector of another group than the harness has.
pub async fn enrolled_in(edge: &TestEdge, group: &str) -> Identity {
    edge.store().add_group(group, now()).unwrap();
    let order = KeyOrder {
        group,
        max_uses: 1,
        expires_at: UnixSeconds(now().0 + 3600),
        label: None,
    };
    let key = edge.store().mint_key(&order, now()).unwrap().key;
    let machine = Machine::new();
    let enrolment = enrol(edge.address(), &key, &machine).await.unwrap();
    Identity { machine, enrolment }
}

/// A connector whose certificate ended so many seconds ago.
pub async fn ended(edge: &TestEdge, ago: u64) -> Identity {
    let mut identity = edge.enrolled().await;
    let data = DataDir::new(&edge.dir);
    let store = open_store(&data).unwrap();
    let roots = Authority::open(&data, &store).unwrap().roots();
    let key = RequestKey::of_request(&identity.machine.csr).unwrap();
    let not_after = UnixSeconds(now().0 - ago);
    let id = identity.enrolment.connector_id;
    identity.enrolment.certificate = roots.issue(&key, &id, not_after, not_after).unwrap();
    let statement = "UPDATE certificates SET not_after = ?1 WHERE spki = ?2";
    let values = rusqlite::params![i64::try_from(not_after.0).unwrap(), key.spki];
    let database = rusqlite::Connection::open(data.store()).unwrap();
    assert_eq!(database.execute(statement, values).unwrap(), 1);
    identity
}

/// A connector that has used a newer certificate than this one.
pub async fn superseded(edge: &TestEdge) -> Identity {
    let old = edge.enrolled().await;
    drop(old.connect(edge.address()).await);
    let request = Machine::new();
    let certificate = renewed(edge, &old, &request).await;
    request.store(old.machine.stored());
    let mut enrolment = old.enrolment.clone();
    enrolment.certificate = certificate;
    let new = Identity {
        machine: request,
        enrolment,
    };
    drop(new.connect(edge.address()).await);
    gone(edge, &new).await;
    old.machine.store(new.machine.stored());
    old
}

async fn renewed(edge: &TestEdge, identity: &Identity, request: &Machine) -> Vec<u8> {
    let mut tls = identity.dial(edge.address(), ALPN_RENEW).await.unwrap();
    let (fingerprint, ratchet) = (identity.machine.fingerprint, identity.machine.stored());
    let mut renewing = Renewing::new(clock(), &request.csr, fingerprint, ratchet).unwrap();
    tls.write_all(&renewing.poll_transmit().unwrap())
        .await
        .unwrap();
    tls.flush().await.unwrap();
    let mut buffer = [0; 4096];
    loop {
        let len = soon("the renewal", tls.read(&mut buffer)).await.unwrap();
        renewing.handle_input(&buffer[..len]).unwrap();
        match renewing.poll_event() {
            Some(RenewEvent::Renewed { certificate, .. }) => return certificate,
            Some(RenewEvent::Refused(reason)) => panic!("{reason:?}"),
            None => {}
        }
    }
}

/// Returns when a connector's control channel has ended.
pub async fn gone(edge: &TestEdge, identity: &Identity) {
    until("the end of the channel", || {
        !edge.is_connected(identity.name())
    })
    .await;
}

/// Everything that the edge remembers.
pub fn memory(edge: &TestEdge) -> Vec<String> {
    let database = rusqlite::Connection::open(DataDir::new(&edge.dir).store()).unwrap();
    let tables = "SELECT name FROM sqlite_schema WHERE type = 'table'";
    let mut tables = database.prepare(tables).unwrap();
    let names = tables.query_map([], |row| row.get(0)).unwrap();
    let names: Vec<String> = names.map(Result::unwrap).collect();
    names
        .iter()
        .flat_map(|name| rows(&database, name))
        .collect()
}

fn rows(database: &rusqlite::Connection, table: &str) -> Vec<String> {
    let mut statement = database.prepare(&format!("SELECT * FROM {table}")).unwrap();
    let columns = statement.column_count();
    let row = |row: &rusqlite::Row<'_>| {
        let value = |at| row.get::<_, rusqlite::types::Value>(at).unwrap();
        let values: Vec<_> = (0..columns).map(value).collect();
        Ok(format!("{table} {values:?}"))
    };
    let rows = statement.query_map([], row).unwrap();
    rows.map(Result::unwrap).collect()
}
