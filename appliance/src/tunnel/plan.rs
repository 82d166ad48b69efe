//! Whom to connect to, by which way, and what for.

use std::net::IpAddr;
use std::sync::Arc;

use connector_proto::key::ProvisioningKey;
use connector_proto::message::{Fingerprint, RatchetValue};
use rustls::ClientConfig;

use crate::proxy::Proxy;

/// What a connection to the edge is for, and what it needs.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// To enrol.
    Enrol {
        /// The key that was typed.
        key: ProvisioningKey,
        /// The signing request, DER; its private key is stored already.
        csr: Vec<u8>,
    },
    /// To ask for the time.
    Time {
        /// Random, for this question alone.
        nonce: [u8; 32],
    },
    /// To renew the certificate that TLS shows.
    Renew {
        /// The signing request for the new key pair, DER; its private key is stored already.
        csr: Vec<u8>,
    },
    /// To hold the control channel.
    Control {
        /// Version of the image.
        version: String,
        /// Spreads pings.
        seed: u64,
    },
}

/// Whom to connect to, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The edge's name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// DNS servers.
    pub resolvers: Vec<IpAddr>,
    /// Addresses at which the edge was reached before, for when no resolver answers.
    pub remembered: Vec<IpAddr>,
    /// The proxy to go through.
    pub proxy: Option<Proxy>,
    /// TLS of this purpose.
    pub config: Arc<ClientConfig>,
    /// What for.
    pub purpose: Purpose,
    /// The machine's evidence.
    pub fingerprint: Fingerprint,
    /// The ratchet value that is stored.
    pub ratchet: RatchetValue,
}
