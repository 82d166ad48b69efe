//! Whom the next connection goes to, by which way, and what it says there.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::Arc;

use connector_proto::local::{EdgeText, text};
use rustls::ClientConfig;

use super::Connector;
use crate::edge_time::Dates;
use crate::proxy::Proxy;
use crate::session::Context;
use crate::tls::{self, TlsError};
use crate::tunnel::{Plan, Purpose, TunnelError};
use crate::{clock, edge_name, identity};

impl Connector {
    /// The edge as its name was given.
    pub(super) fn edge_text(&self) -> EdgeText {
        self.edge.as_deref().map(text).unwrap_or_default()
    }

    /// Whether the edge may be dialled for what the connector is to be.
    pub(super) fn has_plan(&self) -> bool {
        let is_possible = match self.pinned {
            // The dates of a certificate mean nothing until the clock is right.
            Some(_) => self.is_clock_right,
            // The proofs of an enrolment need no clock.
            None => self.key.is_some(),
        };
        is_possible && self.can_dial()
    }

    /// Whether the edge may be asked for the time.
    pub(super) const fn may_ask_time(&self) -> bool {
        self.pinned.is_some() && self.can_dial()
    }

    const fn can_dial(&self) -> bool {
        self.network.is_some() && self.edge.is_some()
    }

    /// What the next connection is for. [`Self::has_plan`] is true.
    pub(super) fn next_plan(&mut self) -> Result<Plan, TunnelError> {
        let (config, purpose) = match (&self.pinned, &self.key) {
            (Some(pinned), _) => {
                let seed = ping_seed(self.backoff.attempts());
                let version = self.version.clone();
                (pinned.control.clone(), Purpose::Control { version, seed })
            }
            (None, Some(key)) => {
                let key = key.clone();
                let csr = self.prepare_enrolment()?;
                let config = tls::enrolment().map_err(|e| TunnelError::Tls(TlsError::Tls(e)))?;
                (config, Purpose::Enrol { key, csr })
            }
            (None, None) => return Err(TunnelError::Closed),
        };
        self.plan(config, purpose)
    }

    /// A question for the time, and where it is noted whether the certificate's dates held.
    pub(super) fn question_plan(&self) -> Result<(Plan, Arc<Dates>), TunnelError> {
        let pinned = self.pinned.as_ref().ok_or(TunnelError::Closed)?;
        let (config, dates) = pinned
            .time()
            .map_err(|error| TunnelError::Tls(TlsError::Tls(error)))?;
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce)
            .map_err(|error| unusable("no random bytes can be had", &error))?;
        Ok((self.plan(config, Purpose::Time { nonce })?, dates))
    }

    fn plan(&self, config: Arc<ClientConfig>, purpose: Purpose) -> Result<Plan, TunnelError> {
        let text = self.edge.as_deref().unwrap_or_default();
        let (host, port) = edge_name::parse(text)
            .map_err(|error| unusable("the edge's name is not usable", &error))?;
        Ok(Plan {
            host,
            port,
            resolvers: self.resolvers(),
            remembered: self.memory.addresses().to_vec(),
            proxy: self.proxy()?,
            config,
            purpose,
            fingerprint: self.fingerprint,
            ratchet: self.memory.state().ratchet,
        })
    }

    /// What a session needs to know of the machine and the edge.
    pub(super) fn context(&self) -> Option<Context> {
        let tunnel = self.tunnel.as_ref()?;
        let network = self.network.as_ref()?;
        let plan = tunnel.plan();
        Some(Context {
            resolvers: network.resolvers.to_vec(),
            own: network.addresses().collect(),
            gateways: network.gateways().collect(),
            proxy: plan.proxy.clone(),
            edge: tunnel.address()?,
            edges: tunnel.edges(),
            edge_host: plan.host.clone(),
            edge_port: plan.port,
            config: self.pinned.as_ref()?.data.clone(),
        })
    }

    fn resolvers(&self) -> Vec<IpAddr> {
        let network = self.network.as_ref();
        network.map_or_else(Vec::new, |network| network.resolvers.to_vec())
    }

    fn proxy(&self) -> Result<Option<Proxy>, TunnelError> {
        let text = self.network.as_ref().and_then(|it| it.proxy.as_deref());
        text.map(|text| {
            Proxy::parse(text, self.memory.credentials())
                .map_err(|error| unusable("the proxy setting is not usable", &error))
        })
        .transpose()
    }

    /// Stores the private key before anything is asked with it: a lost reply is then asked for
    /// again with the same key pair, and spends no second use.
    fn prepare_enrolment(&mut self) -> Result<Vec<u8>, TunnelError> {
        let edge = self.edge.clone().unwrap_or_default();
        let state = self.memory.state();
        let has_key = !state.private_key.is_empty();
        if !has_key || state.edge != edge {
            let key = if has_key {
                None
            } else {
                let key = identity::new_private_key();
                Some(key.map_err(|error| unusable("no private key can be made", &error))?)
            };
            self.memory
                .begin_enrolment(&edge, key)
                .map_err(|error| unusable("nothing can be remembered", &error))?;
        }
        identity::signing_request(&self.memory.state().private_key)
            .map_err(|error| unusable("the stored private key cannot be used", &error))
    }
}

/// What this machine lacks, as the reason why there is no connection.
fn unusable(what: &str, error: &dyn Display) -> TunnelError {
    TunnelError::Machine(format!("{what}: {error}"))
}

/// A seed for the pings of one control channel.
fn ping_seed(attempts: u32) -> u64 {
    clock::now().as_micros().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(attempts)
}
